"""Formation and migration of vacancies in fcc and bcc elements."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from culi_mlip.dynamics import relax
from culi_mlip.progress import Progress, no_progress
from culi_mlip.properties.barriers import Barrier, barrier
from culi_mlip.properties.eos import equation_of_state
from culi_mlip.properties.evaluation import energies_of, why_not_converged
from culi_mlip.structures import bulk
from culi_mlip.structures.bulk import crystal_of

REPEAT = {"fcc": 3, "bcc": 4}
"""Cubes along each side of the supercell: 108 and 128 atoms."""


@dataclass(frozen=True)
class Vacancy:
    """A vacancy in a supercell of the crystal, at its lattice constant.

    Attributes
    ----------
    symbol
        The element.
    formation, unrelaxed
        E(N - 1) - (N - 1)/N E(N) in eV, once the atoms are relaxed and before; `formation` is None
        where they did not relax.
    migration
        The hop of a nearest neighbour into it, None if not asked for.
    atoms
        The relaxed vacancy.
    withheld
        Why there is no formation energy.
    """

    symbol: str
    formation: float | None
    unrelaxed: float
    migration: Barrier | None
    atoms: Atoms
    withheld: str | None = None


def vacancy(
    symbol: str,
    calculator: Calculator,
    *,
    a: float | None = None,
    repeat: int | None = None,
    migration: bool = True,
    fmax: float = 0.005,
    images: int = 3,
    band_fmax: float = 0.02,
    steps: int = 500,
    progress: Progress = no_progress,
) -> Vacancy:
    """Return the energy of a vacancy, and the barrier of its hop to a nearest neighbour's place.

    Parameters
    ----------
    symbol
        An fcc or bcc element.
    calculator
        Any of ASE's.
    a
        Cubic lattice constant in Å; by default that of `equation_of_state`.
    repeat
        Cubes along each side of the supercell; by default 3 (fcc) or 4 (bcc).
    migration
        Whether to compute the barrier, which takes most of the time.
    fmax, steps
        Largest force in eV/Å once atoms are relaxed, and the most steps.
    images, band_fmax
        Of the barrier: between the ends, the middle one at the top; and the largest force on them.
    progress
        Called with (percent done, 100) of the barrier.

    Examples
    --------
    >>> from ase.calculators.emt import EMT
    >>> round(vacancy("Cu", EMT(), migration=False).formation, 2)
    1.22
    """
    a = equation_of_state(symbol, calculator).lattice_constant if a is None else a
    repeat = repeat or REPEAT[crystal_of(symbol)]
    perfect = bulk(symbol, a=a, cubic=True, repeat=(repeat,) * 3)
    neighbor = int(np.argsort(perfect.get_distances(0, range(1, len(perfect)), mic=True))[0])
    empty = perfect.copy()
    del empty[0]  # numbers of the others fall by one: `neighbor` is the nearest of `empty`
    whole, before = energies_of([perfect, empty], calculator)
    (relaxed,) = relax([empty], calculator, fmax=fmax, steps=steps, optimizer="lbfgs")
    withheld = why_not_converged([relaxed], [f"vacancy in {len(perfect)} sites"], fmax)
    bulk_energy = whole * (len(perfect) - 1) / len(perfect)
    hop = None
    if migration and not withheld:
        moved = empty.copy()
        moved.positions[neighbor] = perfect.positions[0]
        hop = barrier(
            empty, moved, calculator, images=images, fmax=band_fmax, steps=steps, progress=progress
        )
    return Vacancy(
        symbol,
        None if withheld else float(relaxed.atoms.get_potential_energy() - bulk_energy),
        float(before - bulk_energy),
        hop,
        relaxed.atoms,
        withheld,
    )
