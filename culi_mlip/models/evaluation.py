"""Errors of a potential on labelled frames, by kind of structure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from numpy.typing import ArrayLike, NDArray
from scipy.stats import spearmanr

from culi_mlip.errors import DatasetError
from culi_mlip.progress import Progress
from culi_mlip.records import Record


@dataclass(frozen=True)
class Errors:
    """Mean absolute and root mean square errors of one kind of structure.

    Attributes
    ----------
    kind
        Kind of structure, or "all".
    frames
        Number of frames.
    energy_mae, energy_rmse
        Error of the energy in eV/atom.
    force_mae, force_rmse
        Error of the force components in eV/Å; None without reference forces.
    stress_mae
        Error of the stress components in eV/Å³; None without reference stresses.
    """

    kind: str
    frames: int
    energy_mae: float
    energy_rmse: float
    force_mae: float | None
    force_rmse: float | None
    stress_mae: float | None


class ErrorsRecord(Record):
    """Content of ``errors.json``: one row a kind of structure, then "all"."""

    UPDATES = (lambda rows: {"errors": rows},)

    errors: list[Errors]


@dataclass(frozen=True)
class Evaluation:
    """Labels beside predictions.

    Attributes
    ----------
    errors
        One a kind, in alphabetical order, then "all".
    energies
        Shape (frames, 2): reference and prediction in eV/atom.
    forces
        Shape (components, 2): reference and prediction in eV/Å, of frames that have both.
    stresses
        Shape (components, 2): reference and prediction in eV/Å³, of frames that have both.
    force_errors
        Shape (atoms, 2): expected and true length of the force error in eV/Å, where the calculator
        gives an ``uncertainty``, or a committee's ``forces_std``.
    outside
        Whether an atom of a frame is outside the model's domain, where the calculator tells.
    """

    errors: list[Errors]
    energies: NDArray[np.float64]
    forces: NDArray[np.float64]
    stresses: NDArray[np.float64]
    force_errors: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 2)))
    outside: list[bool] = field(default_factory=list)

    @property
    def rank_correlation(self) -> float | None:
        """Spearman's, of expected and true force errors; None where none are expected."""
        expected, true = self.force_errors.T
        return float(spearmanr(expected, true).statistic) if len(expected) > 1 else None


def evaluate(
    frames: Sequence[Atoms],
    calculator: Calculator,
    *,
    progress: Progress | None = None,
) -> Evaluation:
    """Compare a potential with the labels of frames.

    Parameters
    ----------
    frames
        Frames with energies, and forces and stresses or not; ``info["kind"]`` groups them.
    calculator
        The potential.
    progress
        Called after each frame.

    Raises
    ------
    DatasetError
        If there are no frames.
    """
    if not frames:
        raise DatasetError("no frames to evaluate on: give at least one")
    pairs: list[dict[str, NDArray[np.float64]]] = []
    outside = []
    for i, frame in enumerate(frames):
        atoms = frame.copy()
        atoms.set_constraint()
        atoms.calc = calculator
        pair = {
            "energy": _pair(frame.get_potential_energy(), atoms.get_potential_energy())
            / len(atoms),
            "forces": np.empty((0, 2)),
            "stress": np.empty((0, 2)),
            "force_errors": np.empty((0, 2)),
        }
        if "forces" in frame.calc.results:
            reference = frame.get_forces(apply_constraint=False)
            pair["forces"] = _pair(reference, atoms.get_forces())
            found = calculator.results
            expected = found.get("uncertainty", found.get("forces_std"))
            if expected is not None:
                errors = np.linalg.norm(atoms.get_forces() - reference, axis=1)
                pair["force_errors"] = _pair(expected, errors)
        if "stress" in frame.calc.results and "stress" in calculator.results:
            pair["stress"] = _pair(frame.get_stress(apply_constraint=False), atoms.get_stress())
        if "domain_distance" in calculator.results:
            outside.append(bool(calculator.results["domain_distance"].max() > 1))
        pairs.append(pair)
        if progress:
            progress(i + 1, len(frames))
    kinds = [str(frame.info.get("kind", frame.info.get("config_type", ""))) for frame in frames]
    names = [*sorted(set(kinds)), "all"] if len(set(kinds)) > 1 else ["all"]
    chosen = {n: [p for p, k in zip(pairs, kinds, strict=True) if n in (k, "all")] for n in names}
    labels = ("energy", "forces", "stress", "force_errors")
    energies, forces, stresses, errors = (np.vstack([p[key] for p in pairs]) for key in labels)
    by_kind = [_errors(name, members) for name, members in chosen.items()]
    return Evaluation(by_kind, energies, forces, stresses, errors, outside)


def _pair(reference: ArrayLike, prediction: ArrayLike) -> NDArray[np.float64]:
    return np.column_stack([np.ravel(reference), np.ravel(prediction)]).astype(float)


def _errors(kind: str, pairs: Sequence[dict[str, NDArray[np.float64]]]) -> Errors:
    energy, force, stress = (
        np.diff(np.vstack([p[key] for p in pairs]))[:, 0] for key in ("energy", "forces", "stress")
    )
    return Errors(
        kind,
        len(pairs),
        energy_mae=float(np.abs(energy).mean()),
        energy_rmse=float(np.sqrt((energy**2).mean())),
        force_mae=float(np.abs(force).mean()) if len(force) else None,
        force_rmse=float(np.sqrt((force**2).mean())) if len(force) else None,
        stress_mae=float(np.abs(stress).mean()) if len(stress) else None,
    )
