"""Equation of state and cohesive energy of fcc and bcc elements."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.data import atomic_numbers, reference_states
from ase.eos import EquationOfState as Fit
from numpy.typing import NDArray

from culi_mlip.errors import EngineError
from culi_mlip.properties.evaluation import energies_of
from culi_mlip.structures import bulk
from culi_mlip.structures.bulk import atomic_volume, crystal_of

EXPANSIONS = np.linspace(-0.01, 0.01, 9)
"""Of the lattice constant."""

Energies = Callable[[Sequence[Atoms]], Sequence[float] | NDArray[np.float64]]
"""Returns the energies of structures in eV."""


class NoMinimumError(EngineError):
    """The energies of a crystal have no minimum within reach."""


@dataclass(frozen=True)
class EquationOfState:
    """The fit of Birch and Murnaghan to energies of a crystal (Phys. Rev. 71, 809, 1947).

    Attributes
    ----------
    symbol, crystal
        The element, and "fcc" or "bcc".
    lattice_constant
        Cubic, in Å, at zero pressure and temperature, without zero-point motion.
    bulk_modulus
        In GPa.
    energy
        In eV/atom.
    volumes, energies
        What was fitted: Å³/atom, eV/atom.
    """

    symbol: str
    crystal: str
    lattice_constant: float
    bulk_modulus: float
    energy: float
    volumes: NDArray[np.float64]
    energies: NDArray[np.float64]


def equation_of_state(
    symbol: str, calculator: Calculator, *, a: float | None = None
) -> EquationOfState:
    """Return the equation of state of an element's crystal, within 1 % of its lattice constant.

    Parameters
    ----------
    symbol
        An fcc or bcc element.
    calculator
        Any of ASE's.
    a
        Cubic lattice constant in Å to begin with; by default that of experiment.

    Raises
    ------
    NoMinimumError
        If the energies have no minimum.
    StructureError
        If the crystal of the element is neither fcc nor bcc, or cannot be evaluated.

    Examples
    --------
    >>> from ase.calculators.emt import EMT
    >>> found = equation_of_state("Cu", EMT())
    >>> round(found.lattice_constant, 2), round(found.bulk_modulus)
    (3.59, 134)
    """
    return fitted(symbol, lambda cells: energies_of(cells, calculator), a=a)


def cohesive_energy(symbol: str, calculator: Calculator, *, energy: float | None = None) -> float:
    """Return the energy of the free atom above that of the crystal, in eV/atom.

    A potential of bulk and surfaces has not learnt free atoms, unless they were among its data.

    Parameters
    ----------
    symbol, calculator
        As in `equation_of_state`.
    energy
        Of the crystal in eV/atom; by default that of `equation_of_state`.
    """
    (atom,) = energies_of([Atoms(symbol, cell=[20.0] * 3, pbc=False)], calculator)
    in_bulk = equation_of_state(symbol, calculator).energy if energy is None else energy
    return float(atom) - in_bulk


def start(symbol: str) -> float:
    """Return a cubic lattice constant of an element to begin with in Å, ASE's (experiment).

    Raises
    ------
    StructureError
        If the crystal of the element is neither fcc nor bcc.
    """
    crystal_of(symbol)
    state: Mapping[str, Any] = reference_states[atomic_numbers[symbol]] or {}
    return float(state["a"])


def fitted(
    symbol: str,
    energies: Energies,
    *,
    a: float | None = None,
    strains: NDArray[np.float64] = EXPANSIONS,
    within: float = 1e-3,
) -> EquationOfState:
    """Fit the equation of state to primitive cells about a lattice constant, and again about that.

    Parameters
    ----------
    symbol
        An fcc or bcc element.
    energies
        Returns the energies of cells in eV.
    a
        Cubic lattice constant in Å to begin with; by default that of experiment.
    strains
        Of the lattice constant.
    within
        The result is as near to the middle of the cells, relative to it.

    Raises
    ------
    NoMinimumError
        If the energies have no minimum.
    StructureError
        If the crystal of the element is neither fcc nor bcc.
    """
    middle = first = start(symbol) if a is None else a
    for _ in range(8):
        lengths = middle * (1 + strains)
        found = np.asarray(energies([bulk(symbol, a=length) for length in lengths]), dtype=float)
        lowest = int(found.argmin())
        best = float(lengths[lowest])
        if 0 < lowest < len(lengths) - 1:
            volumes = np.array([atomic_volume(symbol, length) for length in lengths])
            try:
                volume, energy, modulus = Fit(volumes, found, eos="birchmurnaghan").fit(warn=False)
            except (ValueError, RuntimeError, TypeError):  # however the fit fails
                break
            best = float(middle * (volume / atomic_volume(symbol, middle)) ** (1 / 3))
            if abs(best / middle - 1) < within:
                gpa = float(modulus / units.GPa)
                crystal = crystal_of(symbol)
                return EquationOfState(symbol, crystal, best, gpa, float(energy), volumes, found)
        if not lengths[0] <= best <= lengths[-1]:
            break
        middle = best
    raise NoMinimumError(
        f"the energies of {symbol} have no minimum near a lattice constant of {first:.3f} Å"
    )
