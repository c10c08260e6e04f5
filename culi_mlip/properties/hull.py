"""Compounds of two elements on a convex hull."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from culi_mlip.dynamics import relax
from culi_mlip.progress import Progress, no_progress
from culi_mlip.properties.eos import EquationOfState, equation_of_state
from culi_mlip.properties.evaluation import check_stress, why_not_converged
from culi_mlip.properties.surfaces import FMAX, STEPS
from culi_mlip.structures.compounds import PROTOTYPES, compound


@dataclass(frozen=True)
class Compound:
    """An ordered compound, its cell and atoms relaxed.

    Attributes
    ----------
    name
        Prototype and formula, such as "L1_2 Cu3Li".
    fraction
        Share of the second element's atoms.
    formation_energy
        Above the elements, eV/atom: negative where the compound is more stable than they are. None
        where it did not relax.
    above_hull
        Above the most stable mixture of all, eV/atom: 0 of a stable compound.
    volume
        In Å³/atom.
    atoms
        As relaxed.
    withheld
        Why there is no energy.
    """

    name: str
    fraction: float
    formation_energy: float | None
    above_hull: float | None
    volume: float
    atoms: Atoms
    withheld: str | None = None


@dataclass(frozen=True)
class ConvexHull:
    """Compounds of two elements.

    Attributes
    ----------
    elements
        Both.
    compounds
        In order of their fractions.
    """

    elements: tuple[str, str]
    compounds: tuple[Compound, ...]

    @property
    def stable(self) -> tuple[Compound, ...]:
        """The compounds on the hull."""
        return tuple(c for c in self.compounds if c.above_hull is not None and c.above_hull < 1e-9)


def convex_hull(
    first: str,
    second: str,
    calculator: Calculator,
    *,
    others: Iterable[Atoms] = (),
    fmax: float = FMAX,
    steps: int = STEPS,
    progress: Progress = no_progress,
) -> ConvexHull:
    """Return the energies of ordered compounds of two elements, and which of them are stable.

    They are those of `culi_mlip.structures.compounds.PROTOTYPES`, with either element on either
    kind of sites. Energies are at 0 K without zero-point motion; the hull is pymatgen's.

    Parameters
    ----------
    first, second
        Fcc or bcc elements.
    calculator
        Any of ASE's with a stress; one that evaluates many structures at a time is given all
        together.
    others
        Further crystals of the two elements, to be relaxed like those.
    fmax, steps
        Largest force, and force of the strain, in eV/Å once a crystal is relaxed; the most steps.
    progress
        Called with (percent done, 100) of the relaxation.

    Raises
    ------
    EngineError
        If the calculator has no stress.
    """
    check_stress(calculator, "relaxed cells")
    elements = {symbol: equation_of_state(symbol, calculator) for symbol in (first, second)}
    frames = [
        compound(prototype, a, b, volume=_volume(prototype, elements[a], elements[b]))
        for prototype, sites in PROTOTYPES.items()
        for a, b in ((first, second), (second, first))[: 1 if _is_even(prototype) else 2]
    ]
    frames += [atoms.copy() for atoms in others]
    options: dict[str, Any] = {"fmax": fmax, "steps": steps, "optimizer": "lbfgs", "cell": True}
    found = relax(frames, calculator, progress=progress, **options)
    names = [
        f"{atoms.info.get('prototype', 'other')} {atoms.get_chemical_formula(empirical=True)}"
        for atoms in frames
    ]
    reasons = [why_not_converged([r], [name], fmax) for r, name in zip(found, names, strict=True)]
    atoms_of = [r.atoms for r in found]
    usable = [atoms for atoms, reason in zip(atoms_of, reasons, strict=True) if not reason]
    energies = iter(_above(usable, elements))
    compounds = []
    for name, atoms, reason in zip(names, atoms_of, reasons, strict=True):
        formation, above = (None, None) if reason else next(energies)
        fraction = float(np.mean(atoms.symbols == second))
        volume = atoms.get_volume() / len(atoms)
        compounds.append(Compound(name, fraction, formation, above, volume, atoms, reason))
    return ConvexHull((first, second), tuple(sorted(compounds, key=lambda c: c.fraction)))


def _is_even(prototype: str) -> bool:
    """Whether both kinds of sites are alike, so that elements may be exchanged."""
    sites = PROTOTYPES[prototype]
    return len(sites.first) == len(sites.second)


def _volume(prototype: str, first: EquationOfState, second: EquationOfState) -> float:
    """Of the cell in Å³, if atoms have the volumes that they have in their own crystals."""
    sites = PROTOTYPES[prototype]
    of_each = [{"fcc": 4, "bcc": 2}[e.crystal] for e in (first, second)]
    volumes = [e.lattice_constant**3 / n for e, n in zip((first, second), of_each, strict=True)]
    return len(sites.first) * volumes[0] + len(sites.second) * volumes[1]


def _above(found: list[Atoms], elements: dict[str, EquationOfState]) -> list[tuple[float, float]]:
    """Formation energies and energies above the hull in eV/atom, by pymatgen."""
    from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram

    entries = [PDEntry(str(atoms.symbols), atoms.get_potential_energy()) for atoms in found]
    ends = [PDEntry(symbol, of.energy) for symbol, of in elements.items()]
    diagram = PhaseDiagram([*entries, *ends])
    above = [diagram.get_e_above_hull(entry) or 0.0 for entry in entries]
    formation = [diagram.get_form_energy_per_atom(entry) for entry in entries]
    return list(zip(map(float, formation), map(float, above), strict=True))
