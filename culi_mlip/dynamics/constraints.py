"""Constraints of a run: merged, checked, and written so that they can be read again."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from ase import Atoms
from ase.constraints import (
    ExternalForce,
    FixAtoms,
    FixCartesian,
    FixConstraint,
    FixedLine,
    FixedPlane,
    MirrorForce,
    MirrorTorque,
)
from numpy.typing import NDArray

from culi_mlip.constraints import OF_SINGLE_ATOMS, free_directions
from culi_mlip.errors import StructureError
from culi_mlip.files import CONSTRAINTS_KEY


def merged_constraints(atoms: Atoms) -> list[FixConstraint]:
    """Return constraints that leave the same motions, each atom being held by one of them.

    Those that hold single atoms (FixAtoms, FixCartesian, FixScaled, FixedPlane, FixedLine) are
    merged: an atom in two planes moves on their line. FixScaled becomes a plane or a line, on which
    ASE keeps positions and momenta alike; in a skewed cell ASE's own FixScaled does not. The cell
    does not change in a run.

    Raises
    ------
    StructureError
        If constraints act on momenta otherwise than by holding them, or contradict each other.
    """
    merged: list[FixConstraint] = []
    allowed, others = free_directions(atoms)
    kinds = np.unique(allowed.round(8).reshape(-1, 9) + 0.0, axis=0, return_inverse=True)[1]
    for kind in range(kinds.max() + 1):
        indices = np.flatnonzero(kinds.ravel() == kind)
        merged.extend(_holding(indices, allowed[indices[0]]))
    _check(atoms, merged + others)
    return merged + others


def held_momenta(
    atoms: Atoms, constraints: list[FixConstraint], momenta: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return what constraints leave of momenta, shape (atoms, 3)."""
    left = momenta.copy()
    for constraint in constraints:
        constraint.adjust_momenta(atoms, left)
    return left


def removed_degrees(atoms: Atoms, constraints: list[FixConstraint]) -> int:
    """Return how many degrees of freedom merged constraints remove.

    Those on single atoms are counted. For the others (bond lengths, centre of mass, modes, …)
    the rank of what they take from random momenta is; what an atom is held in already does not
    count again.
    """
    local = [c for c in constraints if type(c) in OF_SINGLE_ATOMS]
    others = [c for c in constraints if type(c) not in OF_SINGLE_ATOMS]
    count = sum(int(c.get_removed_dof(atoms)) for c in local)
    most = min(3 * len(atoms), sum(_most_removed(c, atoms) for c in others))
    if most == 0:
        return count
    root = np.sqrt(atoms.get_masses())[:, None]
    random = np.random.default_rng(0).standard_normal((most, len(atoms), 3)) * root
    taken = [
        held_momenta(atoms, local, momenta - held_momenta(atoms, others, momenta)) / root
        for momenta in random
    ]
    sizes = np.linalg.svd(np.reshape(taken, (most, -1)), compute_uv=False)
    return count + int((sizes > 1e-6 * max(1.0, sizes[0])).sum())


def with_written_constraints(atoms: Atoms) -> Atoms:
    """Return a copy, without other info, that keeps its constraints in extended XYZ.

    FixAtoms and FixCartesian are the column ``move_mask`` that ASE and OVITO read. ASE's dictionary
    of the others is ``ase_constraints`` in the comment line, from where
    `culi_mlip.files.read_frames` takes it.

    Raises
    ------
    StructureError
        If a constraint cannot be written.
    """
    copy = atoms.copy()
    copy.info = {}
    others = [c for c in atoms.constraints if not isinstance(c, FixAtoms | FixCartesian)]
    if others:
        copy.info[CONSTRAINTS_KEY] = [constraint_values(c) for c in others]
    return copy


def constraint_values(constraint: FixConstraint) -> Any:
    """Return ASE's dictionary of a constraint as plain values.

    Raises
    ------
    StructureError
        If it has none.
    """
    try:
        return json.loads(json.dumps(constraint.todict(), default=lambda value: value.tolist()))
    except (AttributeError, TypeError) as error:
        raise StructureError(
            f"{type(constraint).__name__} cannot be written, so that a run could not be continued "
            "with it: remove it, or hold atoms by another constraint"
        ) from error


def _holding(indices: NDArray[np.int64], allowed: NDArray[np.float64]) -> list[FixConstraint]:
    """The constraint that leaves some atoms the directions of a projector, if it takes any."""
    rank = round(np.trace(allowed))
    diagonal = np.diag(allowed)
    if rank == 3:
        return []
    if rank == 0:
        return [FixAtoms(indices)]
    if np.allclose(allowed, np.diag(diagonal), atol=1e-8):
        return [FixCartesian(indices, mask=diagonal < 0.5)]
    directions = np.linalg.eigh(allowed)[1]  # the smallest eigenvalue is first
    if rank == 1:
        return [FixedLine(indices, directions[:, 2])]
    return [FixedPlane(indices, directions[:, 0])]


def _most_removed(constraint: FixConstraint, atoms: Atoms) -> int:
    """More than a constraint can remove; FixInternals holds the whole besides."""
    try:
        return int(constraint.get_removed_dof(atoms)) + 6
    except NotImplementedError:
        return 3 * len(atoms)


def _check(atoms: Atoms, constraints: list[FixConstraint]) -> None:
    """Refuse constraints that change momenta otherwise than by holding them."""
    for constraint in constraints:
        if isinstance(constraint, ExternalForce | MirrorForce | MirrorTorque):
            raise StructureError(
                f"{type(constraint).__name__} is for relaxations, as ASE adds it to momenta as "
                "well: remove it"
            )
    root = np.sqrt(atoms.get_masses())[:, None]
    momenta = np.random.default_rng(0).standard_normal((len(atoms), 3)) * root
    once = held_momenta(atoms, constraints, momenta)
    twice = held_momenta(atoms, constraints, once)
    if not np.allclose(once, twice, atol=1e-6 * np.abs(momenta).max()):
        names = " and ".join(sorted({type(c).__name__ for c in constraints}))
        raise StructureError(
            f"{names}: ASE obeys these constraints one after the other, and the last undoes what "
            "another holds; keep one of them for each atom"
        )
