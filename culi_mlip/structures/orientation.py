"""Slabs as others write them, brought to one convention: whole, upright, right-handed."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from culi_mlip.errors import StructureError

VACUUM = 5.0
"""Å; a narrower gap between layers of atoms is no vacuum."""


def upright(slab: Atoms) -> Atoms:
    """Return a slab with its normal along z, whole, in a right-handed cell.

    The vacuum is along the one direction that is not periodic or, in a structure that is periodic
    in all, along the cell vector with the widest gap between atoms. Atoms on the other side of a
    cell boundary that runs through the slab are moved by that cell vector. If the other two cell
    vectors do not span the xy plane, the slab is turned, its vacuum vector upwards. In a
    left-handed cell the second vector is reversed. The slabs of `culi_mlip.structures.slab` stay
    as they are.

    Parameters
    ----------
    slab
        Atoms between vacuum, in any cell.

    Returns
    -------
    Atoms
        Periodic in its first two vectors, in the xy plane; the third is along z, as long as the
        layers of slabs are apart. Constraints and arrays are kept.

    Raises
    ------
    StructureError
        If there is no such direction.
    """
    axis = _vacuum_axis(slab)
    result = slab.copy()
    first, second = (axis + 1) % 3, (axis + 2) % 3
    cell = slab.cell.array[[first, second, axis]]
    normal = np.cross(cell[0], cell[1])
    normal /= np.linalg.norm(normal)
    result.positions += _shifts(slab, axis, normal)[:, None] * cell[2]
    if abs(abs(normal[2]) - 1) < 1e-9:
        normal = np.array([0.0, 0.0, 1.0])
    else:
        normal *= np.sign(normal @ cell[2]) or 1.0
        result.set_cell(cell)
        result.rotate(normal, "z", rotate_cell=True)
        cell = result.cell.array.copy()
        normal = np.array([0.0, 0.0, 1.0])
    cell[:2, 2] = 0.0
    if np.linalg.det(cell[:2, :2]) < 0:
        cell[1] *= -1
    height = abs(cell[2, 2])
    if height < 1e-6:  # no cell along the normal
        height = float(np.ptp(result.positions[:, 2])) + 6 * VACUUM
    cell[2] = [0.0, 0.0, height]
    result.set_cell(cell)
    result.pbc = (True, True, False)
    return result


def inside(slab: Atoms) -> Atoms:
    """Return an upright slab, moved to the middle of its cell if it sticks out."""
    z = slab.positions[:, 2]
    if z.min() < -1e-6 or z.max() > slab.cell[2, 2] + 1e-6:
        slab = slab.copy()
        slab.positions[:, 2] += (slab.cell[2, 2] - z.min() - z.max()) / 2
    return slab


def _vacuum_axis(slab: Atoms) -> int:
    """The cell vector along which there is vacuum."""
    name = slab.get_chemical_formula()
    bounded = np.flatnonzero(~slab.pbc)
    if len(bounded) == 1:
        axis = int(bounded[0])
        plane = slab.cell.array[[(axis + 1) % 3, (axis + 2) % 3]]
        if np.linalg.norm(np.cross(*plane)) < 1e-6:
            raise StructureError(f"{name} is no slab: its cell spans no plane")
        return axis
    if len(bounded) > 1 or abs(slab.cell.volume) < 1e-6:
        raise StructureError(f"{name} is no slab: it must be periodic in two directions")
    gaps = [_gap(slab, axis)[0] for axis in range(3)]
    if max(gaps) < VACUUM:
        raise StructureError(
            f"{name} is no slab: give one with at least {VACUUM:g} Å of vacuum along a cell vector"
        )
    return int(np.argmax(gaps))


def _gap(slab: Atoms, axis: int) -> tuple[float, float]:
    """The widest gap between atoms along a periodic direction in Å, and the fraction amid it."""
    plane = slab.cell.array[[(axis + 1) % 3, (axis + 2) % 3]]
    height = slab.cell.volume / np.linalg.norm(np.cross(*plane))
    levels = np.sort(slab.cell.scaled_positions(slab.positions)[:, axis] % 1)
    gaps = np.diff(np.append(levels, levels[0] + 1))
    widest = int(gaps.argmax())
    return float(gaps[widest] * height), float(levels[widest] + gaps[widest] / 2)


def _shifts(slab: Atoms, axis: int, normal: NDArray[np.float64]) -> NDArray[np.float64]:
    """How many cell vectors each atom is to be moved along the vacuum, for the slab to be whole."""
    heights = np.sort(slab.positions @ normal)
    is_whole = np.diff(heights).max(initial=0.0) < VACUUM
    if is_whole or abs(slab.cell.volume) < 1e-6:
        return np.zeros(len(slab))
    fractions = slab.cell.scaled_positions(slab.positions)[:, axis]
    was_wrapped = (fractions > -1e-6).all() and (fractions < 1 + 1e-6).all()
    if not (slab.pbc[axis] or was_wrapped):
        return np.zeros(len(slab))
    cut = _gap(slab, axis)[1]
    shifts = np.rint((fractions - cut) % 1 + cut - fractions)
    return np.asarray(shifts - shifts.min())
