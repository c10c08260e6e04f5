"""Adatoms on slabs, and partial monolayers of lithium on copper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy.spatial import Delaunay

from culi_mlip.errors import StructureError
from culi_mlip.structures.bulk import check_symbol

SITE_KINDS = {1: "top", 2: "bridge"}
"""Kind of a site by the number of top-layer atoms nearest to it; three or more: hollow."""

_ENVIRONMENT_RADIUS = 7.0  # Å; distances up to here tell sites apart
_SAME = 1e-3  # Å


def adatoms(
    slab: Atoms, symbol: str, *, height: float = 2.0, repeat: Sequence[int] = (2, 2, 1)
) -> list[Atoms]:
    """Return one structure for each distinct adsorption site of a slab's top layer.

    Sites are the atoms (top), edge centres (bridge) and circumcentres (hollow) of the
    Delaunay triangulation of the top layer. Sites with the same distances to the atoms
    around them are the same.

    Parameters
    ----------
    slab
        Primitive slab with ``arrays["layer"]``, as from `culi_mlip.structures.slab`.
    symbol
        Element of the adatom.
    height
        Height above the top layer in Å.
    repeat
        Supercell that holds the adatom, along the three lattice vectors.

    Returns
    -------
    list of Atoms
        Tops first, then bridges, then hollows; ``info["site"]`` names the kind. Constraints
        of the slab are kept.

    Raises
    ------
    StructureError
        If the symbol is not an element or the height not positive.
    """
    structures = []
    _check_adatom(symbol, height)
    for kind, point in adsorption_sites(slab):
        structure = slab * tuple(repeat)
        structure.info["site"] = kind
        structures.append(_with_atoms(structure, symbol, [point], height))
    return structures


def adsorption_sites(slab: Atoms) -> list[tuple[str, NDArray[np.float64]]]:
    """Return kind and in-plane position (Å) of each distinct site of the top layer."""
    sites: list[tuple[str, NDArray[np.float64]]] = []
    seen: list[NDArray[np.float64]] = []
    points = _candidate_sites(_top_layer(slab).positions[:, :2], slab.cell.array[:2, :2])
    surroundings = _patch(slab.positions, slab.cell.array[:2])
    z = slab.positions[:, 2].max()
    for point in points:
        distances = np.linalg.norm(surroundings - [*point, z], axis=1)
        distances = np.sort(distances[distances < _ENVIRONMENT_RADIUS])
        if not any(
            len(distances) == len(other) and np.abs(distances - other).max() < 10 * _SAME
            for other in seen
        ):
            seen.append(distances)
            top = np.linalg.norm(
                surroundings[np.abs(surroundings[:, 2] - z) < _SAME] - [*point, z], axis=1
            )
            nearest = int((top < top.min() + 10 * _SAME).sum())
            sites.append((SITE_KINDS.get(nearest, "hollow"), point))
    order = {"top": 0, "bridge": 1, "hollow": 2}
    return sorted(sites, key=lambda site: order[site[0]])


def li_on_cu(
    slab: Atoms,
    coverage: float,
    *,
    seed: int,
    repeat: Sequence[int] = (3, 3, 1),
    height: float = 2.0,
    symbol: str = "Li",
) -> Atoms:
    """Return a slab with a random partial monolayer in its hollow sites.

    Parameters
    ----------
    slab
        Primitive slab, as from `culi_mlip.structures.slab`.
    coverage
        Adatoms per atom of the slab's top layer, above 0 and at most 1.
    seed
        Seed of the choice of sites.
    repeat
        Supercell, along the three lattice vectors.
    height
        Height of the adatoms above the top layer in Å.
    symbol
        Element of the adatoms.

    Raises
    ------
    StructureError
        If the coverage is out of range or leaves no adatom in the cell.
    """
    if not 0 < coverage <= 1:
        raise StructureError(f"coverage {coverage} of {symbol}: give more than 0 and at most 1")
    _check_adatom(symbol, height)
    site = next(point for kind, point in adsorption_sites(slab) if kind == "hollow")
    structure = slab * tuple(repeat)
    cells = np.array([(i, j) for i in range(repeat[0]) for j in range(repeat[1])])
    top = _top_layer(structure)
    # One hollow of the same kind a surface cell; a cell of a primitive slab has one top atom.
    points = site + cells @ slab.cell.array[:2, :2]
    n_adatoms = round(coverage * len(top))
    if n_adatoms == 0:
        raise StructureError(
            f"coverage {coverage} puts no {symbol} on {len(top)} surface atoms: raise repeat"
        )
    chosen = np.random.default_rng(seed).permutation(len(points))[:n_adatoms]
    return _with_atoms(structure, symbol, points[np.sort(chosen)], height)


def _check_adatom(symbol: str, height: float) -> None:
    check_symbol(symbol)
    if not height > 0:
        raise StructureError(f"adatom {symbol} at height {height} Å: give a positive height")


def _top_layer(slab: Atoms) -> Atoms:
    return slab[slab.positions[:, 2] > slab.positions[:, 2].max() - _SAME]


def _with_atoms(slab: Atoms, symbol: str, points: Any, height: float) -> Atoms:
    z = slab.positions[:, 2].max() + height
    added = Atoms([symbol] * len(points), positions=[[*point, z] for point in points])
    if "layer" in slab.arrays:
        added.set_array("layer", np.full(len(points), slab.arrays["layer"].max() + 1))
    result = slab + added
    result.set_cell(slab.cell)
    result.wrap(pbc=(True, True, False))
    return result


def _candidate_sites(
    top: NDArray[np.float64], plane: NDArray[np.float64]
) -> list[NDArray[np.float64]]:
    """All tops, edge centres and circumcentres in one cell, possibly many times over."""
    patch = _patch(top, plane)
    triangles = patch[Delaunay(patch).simplices]
    edges = (triangles + np.roll(triangles, 1, axis=1)) / 2
    centres = np.array([_circumcentre(t) for t in triangles])
    candidates = np.vstack([top, edges.reshape(-1, 2), centres])
    fractional = candidates @ np.linalg.inv(plane)
    inside = ((fractional > -1e-6) & (fractional < 1 - 1e-6)).all(axis=1)
    # Tops, centres of edges, of triangles; a triangle with a right angle (a square's half)
    # has its centre on an edge centre, where the site is a hollow, not a bridge.
    return list(candidates[inside])


def _circumcentre(triangle: NDArray[np.float64]) -> NDArray[np.float64]:
    a, b, c = triangle
    matrix = 2 * np.array([b - a, c - a])
    return np.linalg.solve(matrix, [b @ b - a @ a, c @ c - a @ a])


def _patch(positions: NDArray[np.float64], plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """Positions in enough periodic images to surround the home cell."""
    shortest = min(np.linalg.norm(plane, axis=1))
    n = int(np.ceil(_ENVIRONMENT_RADIUS / shortest)) + 2
    shifts = np.array([(i, j) for i in range(-n, n + 1) for j in range(-n, n + 1)])
    return (positions[:, None, :] + (shifts @ plane)[None, :, :]).reshape(-1, positions.shape[1])
