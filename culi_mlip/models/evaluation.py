"""Errors of a potential on labelled frames, by kind of structure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from numpy.typing import ArrayLike, NDArray

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
    """

    errors: list[Errors]
    energies: NDArray[np.float64]
    forces: NDArray[np.float64]
    stresses: NDArray[np.float64]


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
    for i, frame in enumerate(frames):
        atoms = frame.copy()
        atoms.set_constraint()
        atoms.calc = calculator
        pair = {
            "energy": _pair(frame.get_potential_energy(), atoms.get_potential_energy())
            / len(atoms),
            "forces": np.empty((0, 2)),
            "stress": np.empty((0, 2)),
        }
        if "forces" in frame.calc.results:
            pair["forces"] = _pair(frame.get_forces(apply_constraint=False), atoms.get_forces())
        if "stress" in frame.calc.results and "stress" in calculator.results:
            pair["stress"] = _pair(frame.get_stress(apply_constraint=False), atoms.get_stress())
        pairs.append(pair)
        if progress:
            progress(i + 1, len(frames))
    kinds = [str(frame.info.get("kind", frame.info.get("config_type", ""))) for frame in frames]
    names = [*sorted(set(kinds)), "all"] if len(set(kinds)) > 1 else ["all"]
    chosen = {n: [p for p, k in zip(pairs, kinds, strict=True) if n in (k, "all")] for n in names}
    return Evaluation(
        [_errors(name, members) for name, members in chosen.items()],
        *(np.vstack([p[key] for p in pairs]) for key in ("energy", "forces", "stress")),
    )


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
