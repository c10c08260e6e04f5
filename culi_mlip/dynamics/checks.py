"""What a run refuses before it starts."""

from __future__ import annotations

import math

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.neighborlist import neighbor_list

from culi_mlip.dynamics.constraints import merged_constraints
from culi_mlip.dynamics.velocities import (
    check_that_something_moves,
    degrees_of_freedom,
    kinetic_temperature,
)
from culi_mlip.errors import CuliError, EngineError, StructureError
from culi_mlip.files import check_finite

MAX_TEMPERATURE = 10_000.0
"""In K; no potential here has seen what is hotter, and no solid or liquid is left."""

OVERLAP = 0.3
"""Å; no two nuclei come as close."""


def check_numbers(**values: float) -> None:
    """Raise a `CuliError` if a number is not positive and finite, or a temperature absurd."""
    for name, value in values.items():
        if not (value > 0 and math.isfinite(value)):
            raise CuliError(f"{name} is {value}: give a positive number")
        if name in {"temperature", "initial_temperature", "hold"} and value > MAX_TEMPERATURE:
            raise CuliError(
                f"{name} is {value:g} K: nothing is left of a structure there; give at most "
                f"{MAX_TEMPERATURE:g} K"
            )


def check_counts(*, stride: int, seed: int) -> None:
    """Raise a `CuliError` if a stride or a seed is out of range."""
    if stride < 1:
        raise CuliError(f"stride is {stride}: give at least 1")
    if seed < 0:
        raise CuliError(f"seed is {seed}: give at least 0")


def check_structure(atoms: Atoms) -> None:
    """Raise a `StructureError` if a structure cannot be run, as where atoms overlap."""
    name = atoms.get_chemical_formula()
    if len(atoms) == 0:
        raise StructureError("the structure holds no atoms: give one with some")
    check_finite(atoms, name)
    bad = np.flatnonzero(~np.isfinite(atoms.get_momenta()).all(axis=1))
    if len(bad):
        raise StructureError(f"{name}: the velocity of atom {bad[0]} is NaN or infinite: mend it")
    bad = np.flatnonzero(~(atoms.get_masses() > 0))
    if len(bad):
        raise StructureError(f"{name}: the mass of atom {bad[0]} is not positive: name its element")
    vectors = atoms.cell[atoms.pbc]
    lengths = np.linalg.norm(vectors, axis=1)
    if len(vectors) and (
        lengths.min() < OVERLAP or np.linalg.matrix_rank(vectors, tol=1e-3) < len(vectors)
    ):
        raise StructureError(
            f"{name}: periodic cell vectors are zero or parallel, so that the cell has no volume: "
            "mend the cell, or make it not periodic"
        )
    i, j, distances = neighbor_list("ijd", atoms, OVERLAP)
    if len(i):
        raise StructureError(
            f"{name}: atoms {i[0]} and {j[0]} are {distances[0]:.3f} Å apart: move or remove one"
        )
    check_that_something_moves(atoms)
    temperature = kinetic_temperature(atoms, degrees_of_freedom(atoms))
    if temperature > MAX_TEMPERATURE:
        raise StructureError(
            f"{name}: its velocities are of {temperature:.0f} K, where nothing is left of a "
            f"structure: give at most {MAX_TEMPERATURE:g} K, in ASE's units of velocity, or none"
        )


def prepared(atoms: Atoms, calculator: Calculator, name: str) -> Atoms:
    """Return a copy of a structure, fit to be run, whose energy has been computed once.

    So what cannot be run leaves no folder behind.

    Raises
    ------
    StructureError
        If the structure cannot be run.
    EngineError
        If the potential cannot compute it.
    """
    moving = atoms.copy()
    moving.set_constraint(merged_constraints(atoms))
    moving.calc = calculator
    try:
        energy, forces = moving.get_potential_energy(), moving.get_forces()
    except CuliError:
        raise
    except Exception as error:  # an engine may refuse in any way
        raise EngineError(
            f"{name or 'the potential'} cannot compute {atoms.get_chemical_formula()} "
            f"({type(error).__name__}: {error})"
        ) from error
    if not (np.isfinite(energy) and np.isfinite(forces).all()):
        raise EngineError(
            f"{name or 'the potential'} gives energy or forces of NaN or infinity for "
            f"{atoms.get_chemical_formula()}: mend the structure or choose another potential"
        )
    return moving
