"""Cells as codes take them: right-handed, and repeated in all directions."""

from __future__ import annotations

from typing import Any

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from culi_mlip.errors import EngineError
from culi_mlip.reference.kpoints import MIN_VACUUM, vacuum_axes


def right_handed(atoms: Atoms) -> Atoms:
    """Return the structure in a right-handed cell of the same lattice, as a copy.

    The vectors of a left-handed cell are reversed, which keeps their order, their lengths and the
    atoms' positions. Energy, forces and stress are those of the structure, as all are Cartesian.
    """
    turned = atoms.copy()
    if atoms.cell.handedness < 0:
        turned.set_cell(-atoms.cell.array, scale_atoms=False)
    return turned


def repeated(atoms: Atoms) -> Atoms:
    """Return the structure as codes see it that repeat all in three directions, as a copy.

    Raises
    ------
    EngineError
        If there is no cell, or too little vacuum where the structure is not periodic.
    """
    name = atoms.get_chemical_formula()
    if atoms.cell.rank < 3:
        raise EngineError(f"{name} has no cell in three directions: give it one, with vacuum")
    close = [i for i in range(3) if not atoms.pbc[i] and i not in vacuum_axes(atoms)]
    if close:
        raise EngineError(
            f"{name} is not periodic along {' and '.join('abc'[i] for i in close)}, but the engine "
            f"repeats it there: give it at least {MIN_VACUUM:g} Å of vacuum"
        )
    periodic = right_handed(atoms)
    periodic.pbc = True
    return periodic


def only_right_handed(calculator: Calculator) -> Calculator:
    """Let a calculator see right-handed cells alone; return it."""
    whole = calculator.calculate

    def calculate(
        atoms: Atoms | None = None, properties: Any = None, system_changes: Any = all_changes
    ) -> None:
        structure = calculator.atoms if atoms is None else atoms
        whole(right_handed(structure), properties or ["energy"], system_changes)
        calculator.atoms = structure.copy()

    calculator.calculate = calculate  # type: ignore[method-assign]
    return calculator
