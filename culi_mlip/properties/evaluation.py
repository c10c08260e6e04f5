"""Evaluation and relaxation of many structures, and what a property asks of a calculator."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from numpy.typing import NDArray

from culi_mlip.dynamics import Relaxed, relax
from culi_mlip.errors import EngineError
from culi_mlip.progress import Progress, no_progress

PER_EV_A2 = units.m**2 / units.J
"""J/m² in 1 eV/Å²."""


def evaluated(
    frames: Sequence[Atoms], calculator: Calculator, *, progress: Progress = no_progress
) -> list[Atoms]:
    """Return structures with their energies, forces and stresses.

    `progress` is called with (percent done, 100).

    Raises
    ------
    StructureError
        If the calculator cannot evaluate one.
    """
    return [found.atoms for found in relax(frames, calculator, steps=0, progress=progress)]


def energies_of(frames: Sequence[Atoms], calculator: Calculator) -> NDArray[np.float64]:
    """Return the energies of structures in eV.

    Raises
    ------
    StructureError
        If the calculator cannot evaluate one.
    """
    return np.array([atoms.get_potential_energy() for atoms in evaluated(frames, calculator)])


def why_not_converged(found: Sequence[Relaxed], names: Sequence[str], fmax: float) -> str | None:
    """Return why a value cannot be given: which relaxation did not converge; None if all did."""
    for relaxed, name in zip(found, names, strict=True):
        if not relaxed.converged:
            why = relaxed.failure or f"not below {fmax:g} eV/Å after {relaxed.steps} steps"
            return f"{name}: {why}"
    return None


def check_stress(calculator: Calculator, wanted_for: str) -> None:
    """Raise an `EngineError` if a calculator has no stress."""
    if "stress" not in calculator.implemented_properties:
        raise EngineError(
            f"{type(calculator).__name__} has no stress, which {wanted_for} need: choose another "
            "calculator"
        )
