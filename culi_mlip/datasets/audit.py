"""The audit of labelled frames before training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list

from culi_mlip.datasets.references import composition_energies, fit_reference_energies
from culi_mlip.errors import DatasetError

MAX_FORCE = 30.0
"""Largest force component in eV/Å that a frame may have."""

MIN_BOND = 0.6
"""Shortest distance of two atoms, in sums of their covalent radii."""

ENERGY_SPREADS = 8.0
"""Largest deviation of a frame's energy per atom from the median of all, in robust spreads."""


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes
    ----------
    kept
        Index of each frame that is fit for training.
    dropped
        Reason by frame index.
    """

    kept: list[int]
    dropped: dict[int, str]

    @property
    def reasons(self) -> dict[str, int]:
        """How many frames were dropped for each reason."""
        return dict(Counter(reason.split(":")[0] for reason in self.dropped.values()))


def audit(frames: Sequence[Atoms]) -> Audit:
    """Find frames that should not be trained on.

    A frame is dropped when a label is missing or not finite, a force exceeds `MAX_FORCE`,
    two atoms are closer than `MIN_BOND`, it repeats an earlier frame, or its energy per atom
    (less the fitted references) lies `ENERGY_SPREADS` robust spreads, and at least 1 eV/atom,
    from the median of all frames.

    Parameters
    ----------
    frames
        Labelled frames; ``info["engine_digest"]`` tells who labelled them.

    Raises
    ------
    DatasetError
        If there are no frames, labels of several engines are mixed, or none is fit.
    """
    if not frames:
        raise DatasetError("the dataset holds no labelled frame: label some structures first")
    engines = {atoms.info.get("engine_digest", "") for atoms in frames}
    if len(engines) > 1:
        raise DatasetError(
            f"labels of {len(engines)} engines or settings are mixed "
            f"({', '.join(sorted(engines))}): export one at a time"
        )
    dropped: dict[int, str] = {}
    seen: dict[str, int] = {}
    for i, atoms in enumerate(frames):
        reason = _reason(atoms)
        uid = atoms.info.get("uid", "")
        if reason is None and uid and uid in seen:
            reason = f"duplicate: of frame {seen[uid]}"
        seen.setdefault(uid, i)
        if reason:
            dropped[i] = reason
    sound = [i for i in range(len(frames)) if i not in dropped]
    if not sound:
        raise DatasetError(f"no frame is fit for training: {Audit([], dropped).reasons}")
    dropped |= _energy_outliers(frames, sound)
    return Audit([i for i in sound if i not in dropped], dropped)


def missing_labels(atoms: Atoms) -> list[str]:
    """Return which of energy and forces a frame lacks."""
    results = atoms.calc.results if atoms.calc is not None else {}
    return [key for key in ("energy", "forces") if key not in results]


def _reason(atoms: Atoms) -> str | None:
    missing = missing_labels(atoms)
    if missing:
        return f"label missing: {', '.join(missing)}"
    results = atoms.calc.results
    for key in ("energy", "forces", "stress"):
        if key in results and not np.isfinite(results[key]).all():
            return f"label not finite: {key}"
    largest = np.abs(results["forces"]).max()
    if largest > MAX_FORCE:
        return f"force too large: {largest:.1f} eV/Å"
    i, j, distances = neighbor_list("ijd", atoms, 2.0)
    radii = covalent_radii[atoms.numbers]
    if len(i) and (distances / (radii[i] + radii[j])).min() < MIN_BOND:
        return f"atoms too close: {distances.min():.2f} Å"
    return None


def _energy_outliers(frames: Sequence[Atoms], sound: Sequence[int]) -> dict[int, str]:
    chosen = [frames[i] for i in sound]
    references = fit_reference_energies(chosen)
    energies = np.array([atoms.get_potential_energy() for atoms in chosen])
    sizes = np.array([len(atoms) for atoms in chosen])
    residual = (energies - composition_energies(chosen, references)) / sizes
    residual -= np.median(residual)
    limit = max(1.0, ENERGY_SPREADS * 1.4826 * float(np.median(np.abs(residual))))
    return {
        i: f"energy outlier: {deviation:+.2f} eV/atom"
        for i, deviation in zip(sound, residual, strict=True)
        if abs(deviation) > limit
    }
