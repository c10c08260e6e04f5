"""Labels of an ASE calculator, and relaxations by one."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError
from ase.calculators.singlepoint import SinglePointCalculator
from ase.optimize import BFGS

from culi_mlip.errors import EngineError
from culi_mlip.progress import Progress


def computed_labels(atoms: Atoms) -> dict[str, Any]:
    """Compute energy, forces without constraints, and stress where cell and engine have one.

    With smeared electrons the energy is the free energy, whose derivatives the forces are.

    Parameters
    ----------
    atoms
        A structure with a calculator.

    Returns
    -------
    dict
        ``energy`` in eV, ``forces`` in eV/Å, ``stress`` in eV/Å³ (ASE's sign and Voigt order).

    Raises
    ------
    EngineError
        If one of them is not a number.
    """
    energy = atoms.get_potential_energy()
    results: dict[str, Any] = {
        "energy": float(atoms.calc.results.get("free_energy", energy)),
        "forces": np.asarray(atoms.get_forces(apply_constraint=False), dtype=float),
    }
    if atoms.cell.rank == 3:
        with suppress(PropertyNotImplementedError):
            results["stress"] = np.asarray(atoms.get_stress(apply_constraint=False), dtype=float)
    for key, value in results.items():
        if not np.isfinite(value).all():
            raise EngineError(f"the engine gave a {key} of NaN or infinity")
    return results


def relax(
    atoms: Atoms,
    calculator: Calculator,
    *,
    force: float,
    steps: int,
    progress: Progress,
) -> list[Atoms]:
    """Relax a structure in its cell by BFGS; its constraints are obeyed.

    Parameters
    ----------
    atoms
        The structure.
    calculator
        The engine's.
    force
        Largest force on an atom at the end, eV/Å.
    steps
        The most steps.
    progress
        Called with (steps done, steps at most).

    Returns
    -------
    list of Atoms
        The steps with their labels, the first of which is the structure.

    Raises
    ------
    EngineError
        If the forces are not small after so many steps.
    """
    moving = atoms.copy()
    moving.calc = calculator
    frames: list[Atoms] = []

    def keep() -> None:
        frame = moving.copy()
        frame.calc = SinglePointCalculator(frame, **computed_labels(moving))
        frames.append(frame)
        progress(len(frames), steps)

    optimizer = BFGS(moving, logfile=None)
    optimizer.attach(keep)
    if not optimizer.run(fmax=force, steps=steps - 1):
        raise EngineError(f"the relaxation did not reach {force} eV/Å in {steps} steps")
    return frames
