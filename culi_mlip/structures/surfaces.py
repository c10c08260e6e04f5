"""What a slab's upper face looks like: coordination, exposed atoms, symmetry, adsorption sites."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import spglib
from ase import Atoms
from ase.neighborlist import neighbor_list
from numpy.typing import NDArray
from scipy.spatial import Delaunay

from culi_mlip.errors import StructureError
from culi_mlip.structures.bulk import crystal_of
from culi_mlip.structures.lattices import integer_span, reduced_plane
from culi_mlip.structures.orientation import VACUUM, upright

COORDINATION = {"fcc": 12, "bcc": 8}
"""Nearest neighbours of an atom in the bulk."""

_SHELL = {"fcc": (1 + 2**0.5) / 2, "bcc": (1 + 2 / 3**0.5) / 2}
"""Between the first and the second shell of neighbours, in nearest distances."""

_SAME = 1e-3
"""Å; positions nearer than this are one."""


@dataclass(frozen=True)
class Site:
    """An adsorption site.

    Attributes
    ----------
    kind
        "top", "bridge" or "hollow".
    position
        Mean of the positions of the site's surface atoms in Å.
    atoms
        Number of these atoms.
    """

    kind: str
    position: NDArray[np.float64]
    atoms: int


def coordination(slab: Atoms) -> NDArray[np.int64]:
    """Return the number of nearest neighbours of each atom of an unrelaxed slab.

    Neighbours are closer than the mean of the first and the second shell's distance in the
    crystal of the element.

    Raises
    ------
    StructureError
        If the slab holds several elements, or one that is neither fcc nor bcc.
    """
    crystal = _crystal(slab)
    slab = upright(slab)
    nearest = neighbor_list("d", slab, 6.0).min()
    i = neighbor_list("i", slab, _SHELL[crystal] * nearest)
    return np.bincount(i, minlength=len(slab))


def exposed_atoms(slab: Atoms) -> NDArray[np.int64]:
    """Return the indices of the surface atoms of a slab's upper half.

    These lack at least two nearest neighbours. (An atom that lacks a single one lies at the
    bottom of a pit: the missing neighbour is an adsorption site.) The rule knows nothing of
    vacuum, cell or heights. The upper half is that of `culi_mlip.structures.upright`.

    Raises
    ------
    StructureError
        If there is none, or the slab is not of one fcc or bcc element.
    """
    slab = upright(slab)
    lost = COORDINATION[_crystal(slab)] - coordination(slab)
    z = slab.positions[:, 2]
    exposed = np.flatnonzero((lost >= 2) & (z > (z.min() + z.max()) / 2))
    if len(exposed) == 0:
        raise StructureError(
            f"slab {slab.get_chemical_formula()} has no exposed atom: give a slab with vacuum above"
        )
    return exposed


def in_plane_operations(slab: Atoms) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the symmetry operations of a slab that move nothing along z.

    Returns
    -------
    rotations : array, shape (n, 2, 2)
        Acting on column vectors of fractional coordinates.
    translations : array, shape (n, 2)
        Fractional.
    """
    cell = slab.cell.array.copy()
    cell[2, 2] = np.ptp(slab.positions[:, 2]) + 2 * VACUUM  # no lattice along the normal
    fractions = slab.positions @ np.linalg.inv(cell)
    found = spglib.get_symmetry((cell, fractions, slab.numbers), symprec=_SAME)
    if found is None:
        raise StructureError(
            f"{slab.get_chemical_formula()} has no symmetry, not even the identity, to spglib: "
            "look for atoms on top of each other"
        )
    rotations, translations = found["rotations"], found["translations"]
    height = np.abs(translations[:, 2] - np.rint(translations[:, 2]))
    upright = (rotations[:, 2] == [0, 0, 1]).all(axis=1) & (height * cell[2, 2] < 10 * _SAME)
    return rotations[upright, :2, :2], translations[upright, :2]


def primitive_slab(slab: Atoms) -> Atoms:
    """Return a slab in its smallest in-plane cell, without constraints."""
    rotations, translations = in_plane_operations(slab)
    steps = translations[(rotations == np.eye(2)).all(axis=(1, 2))]
    n = len(steps)
    if n == 1:
        return slab.copy()
    cell = slab.cell.array.copy()
    cell[:2] = integer_span(n * np.vstack([np.eye(2), steps])) / n @ cell[:2]
    result = Atoms(slab.numbers, slab.positions, cell=cell, pbc=slab.pbc)
    i, j = neighbor_list("ij", result, 10 * _SAME)
    return result[np.setdiff1d(np.arange(len(slab)), i[i > j])]


def adsorption_sites(slab: Atoms, *, distinct: bool = True) -> list[Site]:
    """Return the adsorption sites of a slab's upper face.

    The exposed atoms, seen from above, are triangulated by Delaunay; triangles with a common
    circumcircle are one polygon. Tops are the exposed atoms, bridges the middles of the
    polygons' sides, hollows the means of their corners.

    Parameters
    ----------
    slab
        Unrelaxed slab of one element; positions are those of `culi_mlip.structures.upright` of it.
    distinct
        Of sites that a symmetry operation of the slab relates return one; otherwise all of a
        primitive cell.

    Returns
    -------
    list of Site
        Tops, bridges, hollows; of a kind the highest first, then the one of fewest atoms, then
        the most open one: the fcc hollow before the hcp hollow.

    Raises
    ------
    StructureError
        If the slab holds several elements, is neither fcc nor bcc, or no atom is exposed.
    """
    slab = primitive_slab(upright(slab))
    slab.positions = _wrapped(slab.positions, slab.cell.array)
    exposed = slab.positions[exposed_atoms(slab)]
    operations = in_plane_operations(slab)
    inverse = np.linalg.inv(slab.cell.array[:2, :2])
    if not distinct:
        operations = np.eye(2, dtype=int)[None], np.zeros((1, 2))
    sites: list[Site] = []
    for site in _all_sites(exposed, slab.cell.array):
        fraction = site.position[:2] @ inverse
        images = operations[0] @ fraction + operations[1]
        if not any(_is_among(other, site, images, inverse) for other in sites):
            sites.append(site)
    atoms = periodic_patch(slab.positions, slab.cell.array)
    return sorted(sites, key=lambda site: _order(site, atoms))


def _order(site: Site, atoms: NDArray[np.float64]) -> tuple[float, ...]:
    """Sorts by kind, height and number of atoms; then the farthest from its neighbours first."""
    kind = ("top", "bridge", "hollow").index(site.kind)
    distances = np.sort(np.linalg.norm(atoms - site.position, axis=1))
    return kind, -round(site.position[2], 3), site.atoms, *(-distances[:12].round(3))


def _is_among(
    other: Site, site: Site, images: NDArray[np.float64], inverse: NDArray[np.float64]
) -> bool:
    if other.kind != site.kind or abs(other.position[2] - site.position[2]) > _SAME:
        return False
    off = images - other.position[:2] @ inverse
    off = (off - np.rint(off)) @ np.linalg.inv(inverse)
    return bool((np.linalg.norm(off, axis=1) < 10 * _SAME).any())


def _all_sites(exposed: NDArray[np.float64], cell: NDArray[np.float64]) -> list[Site]:
    """All sites of one cell, some of them several times, in an order of the cell alone."""
    plane = cell[:2, :2]
    patch = periodic_patch(exposed, cell)
    triangulation = Delaunay(patch[:, :2])
    sites = [Site("top", atom, 1) for atom in exposed]
    for corners in triangulation.simplices:
        centre = _circumcentre(patch[corners, :2])
        radius = np.linalg.norm(patch[corners[0], :2] - centre)
        distance = np.linalg.norm(patch[:, :2] - centre, axis=1)
        polygon = np.flatnonzero(np.abs(distance - radius) < _SAME)
        sites.append(Site("hollow", patch[polygon].mean(axis=0), len(polygon)))
        for pair in combinations(corners, 2):
            if _is_side(patch[list(pair), :2], patch[polygon, :2]):
                sites.append(Site("bridge", patch[list(pair)].mean(axis=0), 2))
    fractions = np.array([site.position[:2] for site in sites]) @ np.linalg.inv(plane)
    inside = ((fractions > -1e-6) & (fractions < 1 - 1e-6)).all(axis=1)
    # The triangulation's own order is Qhull's.
    order = np.lexsort(fractions[inside].round(5).T)
    return [sites[i] for i in np.flatnonzero(inside)[order]]


def _is_side(pair: NDArray[np.float64], polygon: NDArray[np.float64]) -> bool:
    """Say whether all corners of a convex polygon are on one side of the line of two of them."""
    along = pair[1] - pair[0]
    across = (polygon - pair[0]) @ [-along[1], along[0]] / np.linalg.norm(along)
    return not (across.min() < -_SAME and across.max() > _SAME)


def _circumcentre(triangle: NDArray[np.float64]) -> NDArray[np.float64]:
    a, b, c = triangle
    matrix = 2 * np.array([b - a, c - a])
    return np.linalg.solve(matrix, [b @ b - a @ a, c @ c - a @ a])


def periodic_patch(
    positions: NDArray[np.float64], cell: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return positions in enough periodic images for all polygons and neighbours in the cell.

    Parameters
    ----------
    positions
        Shape (n, 3), in Å.
    cell
        Of an upright slab, shape (3, 3).
    """
    plane = cell[:2, :2]
    reach = np.linalg.norm(reduced_plane(plane), axis=1).sum()  # no hole is wider than that
    spacing = abs(np.linalg.det(plane)) / np.linalg.norm(plane[::-1], axis=1)
    n_first, n_second = np.ceil(reach / spacing).astype(int)
    shifts = [
        (i, j, 0) for i in range(-n_first, n_first + 1) for j in range(-n_second, n_second + 1)
    ]
    return np.asarray((_wrapped(positions, cell)[:, None] + shifts @ cell).reshape(-1, 3))


def _wrapped(positions: NDArray[np.float64], cell: NDArray[np.float64]) -> NDArray[np.float64]:
    """Positions moved into the cell in the plane; those at its lower edges stay."""
    outside = np.floor(positions[:, :2] @ np.linalg.inv(cell[:2, :2]) + 1e-6)
    return np.asarray(positions - np.column_stack([outside @ cell[:2, :2], 0 * outside[:, 0]]))


def _crystal(slab: Atoms) -> str:
    symbols = sorted(set(slab.symbols))
    if len(symbols) != 1:
        raise StructureError(
            f"slab of {' and '.join(symbols)}: surface sites are found on slabs of one element"
        )
    return crystal_of(symbols[0])
