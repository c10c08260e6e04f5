"""The audit of labelled frames before training."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list
from numpy.typing import NDArray
from pydantic import Field

from culi_mlip.configuration import Configuration
from culi_mlip.datasets.frames import missing_labels
from culi_mlip.datasets.references import Composition, composition_energies, fit_energies
from culi_mlip.errors import DatasetError
from culi_mlip.structures import Entry


class AuditSettings(Configuration):
    """Thresholds beyond which a frame is not trained on.

    Attributes
    ----------
    max_force
        Largest force component in eV/Å that a frame may have.
    min_bond
        Shortest distance of two atoms, in sums of their covalent radii.
    energy_spreads
        Largest deviation of a frame's energy per atom from the median of all, in robust spreads
        (1.4826 times the median absolute deviation).
    """

    max_force: float = Field(30.0, gt=0)
    min_bond: float = Field(0.6, gt=0)
    energy_spreads: float = Field(8.0, gt=0)


class Finding(NamedTuple):
    """One frame.

    Attributes
    ----------
    uid
        Its content id.
    kind
        What sort of structure it is, or "".
    formula
        Its chemical formula.
    atoms
        How many it has.
    energy
        eV/atom beyond the fitted energies of its elements and the median of all; NaN if unknown.
    force
        Largest component in eV/Å; NaN if unknown.
    reason
        Why it should not be trained on; "" if it may.
    """

    uid: str
    kind: str
    formula: str
    atoms: int
    energy: float
    force: float
    reason: str


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes
    ----------
    findings
        One for each frame, in their order.
    notes
        What is to be known of the set as a whole, a sentence each.
    """

    findings: list[Finding]
    notes: list[str]

    @property
    def kept(self) -> list[int]:
        """Index of each frame that is fit for training."""
        return [i for i, finding in enumerate(self.findings) if not finding.reason]

    @property
    def dropped(self) -> dict[int, str]:
        """Reason by frame index."""
        return {i: finding.reason for i, finding in enumerate(self.findings) if finding.reason}

    @property
    def reasons(self) -> dict[str, int]:
        """How many frames were dropped for each reason."""
        return dict(Counter(reason.split(":")[0] for reason in self.dropped.values()))


def audit(frames: Iterable[Atoms], settings: AuditSettings | None = None) -> Audit:
    """Find frames that should not be trained on.

    A frame is dropped when a label is missing or not finite, a force is too large, two atoms are
    too close, it repeats an earlier frame (its atoms lattice vectors apart or not), or its energy
    per atom (less the fitted references) lies too many robust spreads, and at least 1 eV/atom,
    from the median of all frames.

    Parameters
    ----------
    frames
        Labelled frames, read once; ``info["engine_digest"]`` tells who labelled them.
    settings
        What is too large, too close and too many.

    Raises
    ------
    DatasetError
        If there are no frames.
    """
    settings = settings or AuditSettings()
    findings: list[Finding] = []
    compositions: list[Composition] = []
    energies: list[float] = []
    engines: Counter[str] = Counter()
    seen: dict[bytes, int] = {}
    for i, atoms in enumerate(frames):
        results = atoms.calc.results if atoms.calc is not None else {}
        uid, place = Entry(atoms, "").uid, _place(atoms)
        reason = _reason(atoms, settings)
        if reason is None and place in seen:
            reason = f"duplicate: of frame {seen[place]}"
        seen.setdefault(place, i)
        force = float(np.abs(results["forces"]).max()) if "forces" in results else np.nan
        kind, formula = str(atoms.info.get("kind", "")), atoms.get_chemical_formula()
        findings.append(Finding(uid, kind, formula, len(atoms), np.nan, force, reason or ""))
        compositions.append(atoms.symbols.formula.count())
        energies.append(float(results.get("energy", np.nan)))
        engines[str(atoms.info.get("engine_digest", ""))] += 1
    if not findings:
        raise DatasetError("the dataset holds no labelled frame: label some structures first")
    found = Audit(findings, _notes(compositions, engines))
    residuals = _residuals(found, compositions, np.array(energies), settings.energy_spreads)
    for i, residual in enumerate(residuals):
        findings[i] = findings[i]._replace(energy=float(residual))
    return found


def _place(atoms: Atoms) -> bytes:
    """Species, cell and positions to 1e-6 of the cell, less whole lattice vectors."""
    cell = atoms.cell.complete()
    scaled = np.rint(cell.scaled_positions(atoms.positions) * 1e6).astype(np.int64)
    scaled[:, atoms.pbc] %= 10**6
    content = hashlib.sha256()
    for array in (atoms.numbers, atoms.pbc, np.rint(cell.array * 1e6).astype(np.int64), scaled):
        content.update(np.asarray(array, np.int64).tobytes())
    return content.digest()


def _reason(atoms: Atoms, settings: AuditSettings) -> str | None:
    missing = missing_labels(atoms)
    if missing:
        return f"label missing: {', '.join(missing)}"
    results = atoms.calc.results
    for key in ("energy", "forces", "stress"):
        if key in results and not np.isfinite(results[key]).all():
            return f"label not finite: {key}"
    largest = np.abs(results["forces"]).max()
    if largest > settings.max_force:
        return f"force too large: {largest:.1f} eV/Å"
    radii = covalent_radii[atoms.numbers]
    i, j, distances = neighbor_list("ijd", atoms, 2 * settings.min_bond * float(radii.max()))
    bonds = distances / (radii[i] + radii[j])
    if len(i) and bonds.min() < settings.min_bond:
        return f"atoms too close: {distances[bonds.argmin()]:.2f} Å"
    return None


def _residuals(
    found: Audit,
    compositions: Sequence[Composition],
    energies: NDArray[np.float64],
    spreads: float,
) -> NDArray[np.float64]:
    """Energies per atom beyond the references; marks outliers, again without those found."""
    sizes = np.array([sum(counts.values()) for counts in compositions])
    while kept := found.kept:
        references = fit_energies([compositions[i] for i in kept], energies[kept])
        known = [set(counts) <= set(references) for counts in compositions]
        residuals = np.full(len(energies), np.nan)
        residuals[known] = energies[known] - composition_energies(
            [counts for counts, is_known in zip(compositions, known, strict=True) if is_known],
            references,
        )
        residuals /= sizes
        residuals -= np.median(residuals[kept])
        spread = 1.4826 * float(np.median(np.abs(residuals[kept])))
        limit = max(1.0, spreads * spread)
        outliers = [i for i in kept if abs(residuals[i]) > limit]
        if not outliers:
            return residuals
        for i in outliers:
            reason = f"energy outlier: {residuals[i]:+.2f} eV/atom"
            found.findings[i] = found.findings[i]._replace(reason=reason)
    return np.full(len(energies), np.nan)


def _notes(compositions: Sequence[Composition], engines: Counter[str]) -> list[str]:
    notes = []
    if len(engines) > 1:
        several = ", ".join(f"{digest or 'unknown'} ({n})" for digest, n in engines.items())
        notes.append(
            f"Labels of {len(engines)} engines or settings are mixed: {several}. Their energies "
            "cannot be compared: train on those of one."
        )
    elif "" in engines:
        notes.append("No frame says which engine and settings its labels are from.")
    species = {symbol for counts in compositions for symbol in counts}
    alone = {next(iter(counts)) for counts in compositions if sum(counts.values()) == 1}
    if species - alone:
        notes.append(
            f"There is no isolated atom of {' and '.join(sorted(species - alone))}: reference "
            "energies are fitted to the frames, so that only energy differences are learnt well."
        )
    return notes
