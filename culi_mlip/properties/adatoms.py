"""Adsorption of adatoms on faces of a metal: at every distinct site, and by coverage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from numpy.typing import ArrayLike

from culi_mlip.dynamics import Relaxed, relax
from culi_mlip.progress import Progress, no_progress
from culi_mlip.properties.eos import equation_of_state
from culi_mlip.properties.evaluation import energies_of, why_not_converged
from culi_mlip.properties.surfaces import STEPS, Face, face
from culi_mlip.structures import adatoms, li_on_cu, slab, supercell


@dataclass(frozen=True)
class Adsorbed:
    """Adatoms on a slab, relaxed.

    Attributes
    ----------
    name
        The site that they were put at ("top", "bridge", "hollow"), or the coverage.
    coverage
        Adatoms a primitive surface cell.
    to_bulk, to_atom
        Energy of an adatom in eV, (E(slab with n) - E(slab))/n less that of an atom in the bulk of
        its element, or of a free atom: negative where it is bound. None where it did not relax.
    moved
        How far an adatom has gone along the surface at most, in Å: from a site that is no minimum
        it leaves.
    atoms
        As relaxed.
    withheld
        Why there is no energy.
    """

    name: str
    coverage: float
    to_bulk: float | None
    to_atom: float | None
    moved: float
    atoms: Atoms
    withheld: str | None = None


@dataclass(frozen=True)
class Adsorption:
    """Energies of adatoms on a face.

    Attributes
    ----------
    adatom, substrate, miller
        Elements and face.
    of_each
        By site, or by coverage.
    """

    adatom: str
    substrate: str
    miller: Face
    of_each: tuple[Adsorbed, ...]

    @property
    def nucleation_overpotential(self) -> float | None:
        """How far below its bulk's potential an electrode must be to hold an adatom, in V.

        The energy of an adatom at its best site or coverage above that of an atom in its bulk, over
        the charge of one electron (of lithium): without zero-point motion, entropy and electrolyte.
        Zero where adatoms are bound more strongly than in their bulk, and deposit first (under
        potential). None where nothing relaxed.
        """
        energies = [x.to_bulk for x in self.of_each if x.to_bulk is not None]
        return max(0.0, min(energies)) if energies else None


def adsorption(
    adatom: str,
    substrate: str,
    miller: Sequence[int],
    calculator: Calculator,
    *,
    repeat: ArrayLike = (3, 3, 1),
    a: float | None = None,
    thickness: float = 10.0,
    vacuum: float = 12.0,
    fmax: float = 0.005,
    steps: int = STEPS,
    progress: Progress = no_progress,
) -> Adsorption:
    """Return the energy of an adatom at each symmetry-distinct site of a face.

    Two layers of each side of the slab relax, and the adatom. A free atom is far from what a
    potential of bulk and surfaces has learnt: trust `to_bulk`.

    Parameters
    ----------
    adatom, substrate, miller
        Elements and face.
    calculator
        Any of ASE's; one that evaluates many structures at a time is given all together.
    repeat
        Cells of the slab, as in `culi_mlip.structures.supercell`.
    a
        Cubic lattice constant of the substrate in Å; by default that of `equation_of_state`.
    thickness, vacuum
        Of the slab, and on each side of it, in Å.
    fmax, steps
        Largest force in eV/Å once a structure is relaxed, and the most steps.
    progress
        Called with (percent done, 100) of the relaxation.

    Examples
    --------
    >>> from ase.calculators.emt import EMT
    >>> found = adsorption("Cu", "Cu", (1, 0, 0), EMT(), repeat=(2, 2, 1), thickness=6)
    >>> [(site.name, round(site.to_bulk, 2)) for site in found.of_each]
    [('top', 1.24), ('bridge', 0.93), ('hollow', 0.52)]
    """
    a = equation_of_state(substrate, calculator).lattice_constant if a is None else a
    base = slab(substrate, miller, a=a, thickness=thickness, vacuum=vacuum)
    covered = adatoms(base, adatom, repeat=repeat)
    names = [atoms.info["site"] for atoms in covered]
    bare = supercell(base, repeat)
    found = _energies(adatom, bare, covered, names, len(base), calculator, fmax, steps, progress)
    return Adsorption(adatom, substrate, face(miller), found)


def coverage_series(
    adatom: str,
    substrate: str,
    miller: Sequence[int],
    calculator: Calculator,
    *,
    coverages: Sequence[float] = (0.25, 0.5, 0.75, 1.0, 2.0),
    repeat: ArrayLike = (2, 2, 1),
    a: float | None = None,
    adatom_a: float | None = None,
    thickness: float = 10.0,
    vacuum: float = 12.0,
    seed: int = 0,
    fmax: float = 0.005,
    steps: int = STEPS,
    progress: Progress = no_progress,
) -> Adsorption:
    """Return the energy of an adatom by coverage, in hollow sites as `li_on_cu` takes them.

    Parameters
    ----------
    coverages
        Adatoms a primitive surface cell.
    adatom_a
        Cubic lattice constant of the adatom's bulk in Å; by default that of `equation_of_state`.
    seed
        Of a partial layer's sites.
    adatom, substrate, miller, calculator, repeat, a, thickness, vacuum, fmax, steps, progress
        As in `adsorption`.
    """
    a, adatom_a = (
        equation_of_state(symbol, calculator).lattice_constant if given is None else given
        for symbol, given in ((substrate, a), (adatom, adatom_a))
    )
    base = slab(substrate, miller, a=a, thickness=thickness, vacuum=vacuum)
    covered = [
        li_on_cu(base, x, seed=seed, repeat=repeat, symbol=adatom, adatom_a=adatom_a)
        for x in coverages
    ]
    names = [f"{x:g} ML" for x in coverages]
    bare = supercell(base, repeat)
    found = _energies(adatom, bare, covered, names, len(base), calculator, fmax, steps, progress)
    return Adsorption(adatom, substrate, face(miller), found)


def _energies(
    adatom: str,
    bare: Atoms,
    covered: Sequence[Atoms],
    names: Sequence[str],
    layers: int,
    calculator: Calculator,
    fmax: float,
    steps: int,
    progress: Progress,
) -> tuple[Adsorbed, ...]:
    """Relax slabs with adatoms and the bare one, and compare them."""
    in_bulk = equation_of_state(adatom, calculator).energy
    (free,) = energies_of([Atoms(adatom, cell=[20.0] * 3, pbc=False)], calculator)
    options: dict[str, Any] = {"fmax": fmax, "steps": steps, "optimizer": "lbfgs"}
    clean, *relaxed = relax([bare, *covered], calculator, progress=progress, **options)
    cells = len(bare) / layers
    found = []
    for before, after, name in zip(covered, relaxed, names, strict=True):
        n = len(before) - len(bare)
        withheld = why_not_converged([clean, after], ["the bare slab", name], fmax)
        energy = None if withheld else _per_adatom(after, clean, n)
        along = (after.atoms.positions - before.positions)[-n:, :2]
        found.append(
            Adsorbed(
                name,
                n / cells,
                None if energy is None else energy - in_bulk,
                None if energy is None else energy - float(free),
                float(np.linalg.norm(along, axis=1).max()),
                after.atoms,
                withheld,
            )
        )
    return tuple(found)


def _per_adatom(after: Relaxed, clean: Relaxed, n: int) -> float:
    """Energy of an adatom in eV."""
    energies = (r.atoms.get_potential_energy() for r in (after, clean))
    with_adatoms, without = energies
    return float(with_adatoms - without) / n
