"""Directions in which constraints leave single atoms free."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from ase import Atoms
from ase.constraints import (
    FixAtoms,
    FixCartesian,
    FixConstraint,
    FixedLine,
    FixedPlane,
    FixScaled,
)
from numpy.typing import NDArray

_NORMALS: dict[type, Callable[[Any, Atoms], NDArray[np.float64]]] = {
    FixAtoms: lambda constraint, atoms: np.eye(3),
    FixCartesian: lambda constraint, atoms: np.eye(3)[constraint.mask],
    FixScaled: lambda constraint, atoms: atoms.cell.reciprocal()[constraint.mask],
    FixedPlane: lambda constraint, atoms: constraint.dir[None],
    FixedLine: lambda constraint, atoms: np.eye(3) - np.outer(constraint.dir, constraint.dir),
}
"""Directions in which a constraint holds each of its atoms, in rows."""

OF_SINGLE_ATOMS = tuple(_NORMALS)
"""Constraints that hold single atoms."""


def free_directions(atoms: Atoms) -> tuple[NDArray[np.float64], list[FixConstraint]]:
    """Return projectors on the directions that are free for each atom, and other constraints.

    Projectors have the shape (atoms, 3, 3): an atom that several constraints hold is free where all
    leave it free. The others are the constraints that do not hold single atoms.
    """
    held = np.zeros((len(atoms), 3, 3))
    others = []
    for constraint in atoms.constraints:
        if type(constraint) in _NORMALS:
            normals = _NORMALS[type(constraint)](constraint, atoms)
            normals = normals / np.linalg.norm(normals, axis=1).clip(1e-12)[:, None]
            held[constraint.index] += normals.T @ normals
        else:
            others.append(constraint)
    weights, axes = np.linalg.eigh(held)
    free = axes * (weights < 1e-8)[:, None, :]
    return free @ free.transpose(0, 2, 1), others
