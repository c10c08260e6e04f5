"""Meshes of k-points that follow the cell, one point along vacuum."""

from __future__ import annotations

import math

import numpy as np
from ase import Atoms

MIN_VACUUM = 7.0
"""Width of an empty layer in Å from which on it is vacuum."""


def kpoint_mesh(atoms: Atoms, length: float = 32.0) -> tuple[int, int, int]:
    """Return N_i = ⌈length / |a_i|⌉ for each cell vector, 1 along vacuum."""
    vacuum = vacuum_axes(atoms)
    sizes = atoms.cell.lengths()
    # 1e-6: a cell vector of exactly length / N gives N, whatever its last digit
    numbers = [
        1 if i in vacuum else max(1, math.ceil(length / size - 1e-6))
        for i, size in enumerate(sizes)
    ]
    return numbers[0], numbers[1], numbers[2]


def vacuum_axes(atoms: Atoms) -> list[int]:
    """Return the cell vectors along which there is an empty layer of `MIN_VACUUM` or more."""
    heights = atoms.cell.volume / np.linalg.norm(
        [np.cross(atoms.cell[(i + 1) % 3], atoms.cell[(i + 2) % 3]) for i in range(3)], axis=1
    )
    widths = [1 - occupied(atoms, axis)[1] for axis in range(3)]
    return [i for i in range(3) if widths[i] * heights[i] >= MIN_VACUUM]


def occupied(atoms: Atoms, axis: int) -> tuple[float, float]:
    """Return centre and width of what the atoms fill along a cell vector, wherever it is cut.

    The structure is taken as periodic. Both are parts of the vector, the centre from 0 to 1.
    """
    places = np.sort(np.linalg.solve(atoms.cell.T, atoms.positions.T)[axis] % 1)
    gaps = np.diff([*places, places[0] + 1])
    last = int(gaps.argmax())
    width = 1 - float(gaps[last])
    return float(places[last] - width / 2) % 1, width
