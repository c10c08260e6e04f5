"""Degrees of freedom that carry heat, and velocities that have none but these."""

from __future__ import annotations

import numpy as np
from ase import Atoms, units
from ase.constraints import Hookean
from numpy.typing import NDArray

from culi_mlip.dynamics.constraints import held_momenta, merged_constraints, removed_degrees
from culi_mlip.errors import StructureError


def degrees_of_freedom(atoms: Atoms) -> int:
    """Return how many degrees of freedom share the kinetic energy: ½ kT belongs to each.

    Of the 3N, those are left out that constraints hold, and motions of the whole that nothing
    changes: the centre of mass wherever no constraint holds or tethers an atom, and the rotation
    of an isolated cluster (no periodic direction, no tether) that has no angular momentum. The
    potential is taken to depend on the atoms' relative positions alone. VASP's own MD (SMASS)
    counts for itself, 3N − 3 or the coordinates that selective dynamics leaves.

    Parameters
    ----------
    atoms
        The structure with its velocities.

    References
    ----------
    Martyna, Klein, Tuckerman, J. Chem. Phys. 97, 2635 (1992), on what a thermostat conserves.
    """
    constraints = merged_constraints(atoms)
    shifts, turns = _conserved_motions(atoms)
    root = np.sqrt(atoms.get_masses())[:, None]
    momenta = (atoms.get_momenta() / root).ravel()
    at_rest = np.linalg.norm(turns @ momenta) <= 1e-3 * np.linalg.norm(momenta)
    conserved = len(shifts) + (len(turns) if at_rest else 0)
    return 3 * len(atoms) - removed_degrees(atoms, constraints) - conserved


def with_velocities(atoms: Atoms, temperature: float, rng: np.random.Generator) -> Atoms:
    """Draw velocities at a temperature in K where a structure has none; return it.

    Of velocities that it has, the drift of the centre of mass is removed where nothing would
    change it, and what constraints hold.

    Raises
    ------
    StructureError
        If nothing can move.
    """
    check_that_something_moves(atoms)
    if atoms.get_momenta().any():
        atoms.set_momenta(atoms.get_momenta())
        _stop(atoms, _conserved_motions(atoms)[0])
    if kinetic_temperature(atoms, degrees_of_freedom(atoms)) < 1e-6:
        draw_velocities(atoms, temperature, rng)
    return atoms


def draw_velocities(atoms: Atoms, temperature: float, rng: np.random.Generator) -> None:
    """Give a structure velocities of a Maxwell-Boltzmann distribution at a temperature in K.

    Its centre of mass and, in an isolated cluster, its rotation are at rest where constraints
    allow them at all; the temperature is exact.

    Raises
    ------
    StructureError
        If nothing can move.
    """
    check_that_something_moves(atoms)
    width = np.sqrt(atoms.get_masses() * units.kB * temperature)
    atoms.set_momenta(rng.standard_normal((len(atoms), 3)) * width[:, None])
    shifts, turns = _conserved_motions(atoms)
    _stop(atoms, np.concatenate([shifts, turns]))
    found = kinetic_temperature(atoms, degrees_of_freedom(atoms))
    atoms.set_momenta(atoms.get_momenta() * np.sqrt(temperature / found), apply_constraint=False)


def kinetic_temperature(atoms: Atoms, n_degrees: int) -> float:
    """Return the temperature in K of velocities that so many degrees of freedom share."""
    return float(2 * atoms.get_kinetic_energy() / (n_degrees * units.kB))


def check_that_something_moves(atoms: Atoms) -> None:
    """Raise a `StructureError` if no degree of freedom can carry heat."""
    bare = atoms.copy()
    bare.set_momenta(np.zeros((len(atoms), 3)))
    if degrees_of_freedom(bare) > 0:
        return
    name = atoms.get_chemical_formula()
    if removed_degrees(atoms, merged_constraints(atoms)) == 3 * len(atoms):
        raise StructureError(
            f"{name}: constraints hold every atom, so that nothing moves: free some"
        )
    raise StructureError(
        f"{name}: nothing can move but the whole, which keeps its momentum and has no temperature: "
        "repeat the cell, or free more atoms"
    )


def _conserved_motions(atoms: Atoms) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Translations, and rotations besides, that keep their momentum.

    They are those that constraints and tethers leave as they are (Noether). Rows are orthonormal
    velocities, weighted by the root of the mass, shape (motions, 3 atoms).
    """
    arms = atoms.positions - atoms.get_center_of_mass()
    directions = np.eye(3)
    periodic = atoms.cell[atoms.pbc]
    axes: NDArray[np.float64] = directions[:0]
    if len(periodic) < 2 and not _tethers(atoms):
        axes = periodic / np.linalg.norm(periodic, axis=1)[:, None] if len(periodic) else directions
    shifts = np.array([np.broadcast_to(direction, arms.shape) for direction in directions])
    turns = np.array([np.cross(axis, arms) for axis in axes]).reshape(-1, len(atoms), 3)
    translations = _kept(atoms, shifts)
    motions = _kept(atoms, np.concatenate([shifts, turns]))
    rotations = motions - motions @ translations.T @ translations
    return translations, _span(rotations)


def _kept(atoms: Atoms, motions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Combinations of velocities, shape (k, atoms, 3), that constraints and tethers leave alone."""
    root = np.sqrt(atoms.get_masses())[:, None]
    weighted = (motions * root).reshape(len(motions), -1)
    sizes = np.linalg.norm(weighted, axis=1)
    motions, weighted = motions[sizes > 1e-8], weighted[sizes > 1e-8]
    scale = sizes[sizes > 1e-8][:, None]
    weighted /= scale
    constraints = merged_constraints(atoms)
    changes = []
    for motion, size in zip(motions, scale[:, 0], strict=True):
        momenta = motion * root**2
        lost = (momenta - held_momenta(atoms, constraints, momenta)) / root
        strains = [normals @ motion[atom] for atom, normals in _tethers(atoms)]
        changes.append(np.concatenate([lost.ravel(), *strains]) / size)
    mixtures, lengths, _ = np.linalg.svd(np.array(changes), full_matrices=False)
    return _span(mixtures[:, lengths < 1e-6].T @ weighted)


def _tethers(atoms: Atoms) -> list[tuple[int, NDArray[np.float64]]]:
    """Atoms that springs tie to a point or a plane, and the directions of these, in rows."""
    found = []
    for constraint in atoms.constraints:
        if isinstance(constraint, Hookean):
            values = constraint.todict()["kwargs"]
            if np.ndim(values["a2"]):
                point = len(values["a2"]) == 3
                normals = np.eye(3) if point else np.array([values["a2"][:3]], dtype=float)
                found.append((values["a1"], normals))
    return found


def _span(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """An orthonormal basis of rows."""
    _, lengths, basis = np.linalg.svd(rows, full_matrices=False)
    return np.asarray(basis[lengths > 1e-6])


def _stop(atoms: Atoms, motions: NDArray[np.float64]) -> None:
    """Take motions out of the momenta."""
    root = np.sqrt(atoms.get_masses())[:, None]
    weighted = (atoms.get_momenta() / root).ravel()
    weighted -= motions.T @ (motions @ weighted)
    atoms.set_momenta(weighted.reshape(-1, 3) * root, apply_constraint=False)
