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
    found = []
    for axis, height in enumerate(heights):
        places = np.sort(atoms.get_scaled_positions()[:, axis])
        gaps = np.diff([*places, places[0] + 1])
        if gaps.max() * height >= MIN_VACUUM:
            found.append(axis)
    return found
