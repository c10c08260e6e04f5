"""Adatoms on slabs, and lithium on copper from a tenth of a monolayer to many layers."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray

from culi_mlip.errors import StructureError
from culi_mlip.structures.bulk import atomic_volume, nearest_distance
from culi_mlip.structures.checks import check_distances, check_numbers, check_symbol
from culi_mlip.structures.lattices import reduced_plane
from culi_mlip.structures.orientation import inside, upright
from culi_mlip.structures.slabs import supercell
from culi_mlip.structures.surfaces import Site, adsorption_sites, periodic_patch, primitive_slab

Arrangement = Literal["random", "island"]


def adatoms(
    slab: Atoms, symbol: str, *, height: float = 2.0, repeat: ArrayLike = (2, 2, 1)
) -> list[Atoms]:
    """Return one structure for each symmetry-distinct adsorption site of a slab.

    Parameters
    ----------
    slab
        Unrelaxed primitive slab of one element, as from `culi_mlip.structures.slab`; it is
        brought to that convention by `culi_mlip.structures.upright`.
    symbol
        Element of the adatom.
    height
        Height above the mean of the site's surface atoms in Å. Where an atom of the slab would
        be nearer than this (at the foot of a step), the adatom is lifted until none is.
    repeat
        Supercell that holds the adatom, as in `culi_mlip.structures.supercell`.

    Returns
    -------
    list of Atoms
        In the order of `adsorption_sites`; ``info["site"]`` names the kind. Constraints of
        the slab are kept.

    Raises
    ------
    StructureError
        If the symbol is not an element, the height not positive, or the adatom overlaps.
    """
    _check_adatom(symbol, height)
    slab = upright(slab)
    base = supercell(slab, repeat)
    structures = []
    for site in adsorption_sites(slab):
        structure = _with_atoms(base, symbol, [_lifted(site, slab, height)])
        check_distances(structure, 0.7, "raise height")
        structure.info["site"] = site.kind
        structures.append(structure)
    return structures


def li_on_cu(
    slab: Atoms,
    coverage: float,
    *,
    seed: int = 0,
    arrangement: Arrangement = "random",
    repeat: ArrayLike = (3, 3, 1),
    height: float = 2.0,
    symbol: str = "Li",
    adatom_a: float | None = None,
) -> Atoms:
    """Return a slab with adatoms in hollow sites, from a tenth of a monolayer to many layers.

    A monolayer is one adatom a primitive surface cell, in the first hollow of
    `adsorption_sites`: the fcc hollow of a (111) face, the one at the upper edge of a stepped
    face. Full layers are stacked from hollow to hollow, as far apart as keeps the adatoms'
    volume that of their bulk; the last layer may be partial. A full layer has the spacing of
    the slab's atoms, so lithium on copper is 14 % closer in the plane than in its bulk.

    Parameters
    ----------
    slab
        Unrelaxed slab of one element, as in `adatoms`.
    coverage
        Adatoms a primitive surface cell; above 0.
    seed
        Seed of a partial layer's sites.
    arrangement
        Sites of a partial layer: "random", or one compact "island".
    repeat
        Supercell, as in `culi_mlip.structures.supercell`.
    height
        Height of the first layer above the site's surface atoms in Å.
    symbol
        Element of the adatoms.
    adatom_a
        Cubic lattice constant of the adatoms' crystal in Å, for more than one layer; for Cu and
        Li there is a default.

    Raises
    ------
    StructureError
        If the coverage is not positive or leaves no adatom in the cell, the arrangement is
        unknown, or atoms overlap (many layers on a stepped face).
    """
    check_numbers(coverage=coverage, above=0)
    if arrangement not in ("random", "island"):
        raise StructureError(f"arrangement '{arrangement}': choose random or island")
    _check_adatom(symbol, height)
    slab = upright(slab)
    hollow = next(site for site in adsorption_sites(slab) if site.kind == "hollow")
    base = supercell(slab, repeat)
    cells = _cells(primitive_slab(slab), slab, base)
    n_adatoms = round(coverage * len(cells))
    if n_adatoms == 0:
        raise StructureError(
            f"coverage {coverage} puts no {symbol} on {len(cells)} surface cells: raise repeat"
        )
    first = _lifted(hollow, slab, height)
    top = slab.positions[slab.positions[:, 2].argmax()]
    area = base.cell.volume / base.cell[2, 2] / len(cells)
    n_layers = math.ceil(n_adatoms / len(cells))
    step = np.array([*(hollow.position - top)[:2], 0.0])
    if n_layers > 1:
        step[2] = atomic_volume(symbol, adatom_a) / area
        _check_compression(slab, symbol, adatom_a)
    points = []
    for layer in range(n_layers):
        left = n_adatoms - layer * len(cells)
        sites = first + layer * step + cells
        if left < len(cells):
            sites = sites[_chosen(cells, left, arrangement, seed, base.cell.array)]
        points.append(sites)
    covered = _with_atoms(base, symbol, np.vstack(points))
    check_distances(covered, 0.7, "choose a flatter face, fewer layers, or an interface")
    return covered


def _check_compression(slab: Atoms, symbol: str, a: float | None) -> None:
    """Refuse layers whose atoms would be much closer in the plane than in their bulk."""
    spacing = np.linalg.norm(reduced_plane(slab.cell.array[:2, :2])[0])
    bulk = nearest_distance(symbol, a)
    if spacing < 0.8 * bulk:
        raise StructureError(
            f"full layers of {symbol} on {slab.symbols[0]} would have neighbours at {spacing:.2f} "
            f"Å, {bulk:.2f} Å in its bulk: build an interface instead"
        )


def _check_adatom(symbol: str, height: float) -> None:
    check_symbol(symbol)
    check_numbers(height=height, above=0)


def _lifted(site: Site, slab: Atoms, height: float) -> NDArray[np.float64]:
    """Position of an adatom over a site, no nearer than `height` to any atom of the slab."""
    position = np.add(site.position, [0, 0, height])
    atoms = periodic_patch(slab.positions - position * [1, 1, 0], slab.cell.array)
    atoms += position * [1, 1, 0]
    beside = height**2 - ((atoms - position)[:, :2] ** 2).sum(axis=1)
    touching = atoms[beside > 0, 2] + np.sqrt(beside[beside > 0])
    position[2] = max([position[2], *touching])
    return np.asarray(position)


def _cells(primitive: Atoms, slab: Atoms, base: Atoms) -> NDArray[np.float64]:
    """Vectors from the first primitive cell of a supercell to each of them, z = 0."""
    if len(primitive) == len(slab):
        one = base.positions[:: len(slab)] * [1, 1, 0]
        return np.asarray(one - one[0])
    point = Atoms("X", cell=primitive.cell, pbc=primitive.pbc)
    repeat = base.cell.array[:2, :2] @ np.linalg.inv(primitive.cell.array[:2, :2])
    return np.asarray(supercell(point, np.rint(repeat).astype(int)).positions)


def _chosen(
    cells: NDArray[np.float64],
    n: int,
    arrangement: str,
    seed: int,
    cell: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Choose n of the cells."""
    if arrangement == "random":
        return np.sort(np.random.default_rng(seed).permutation(len(cells))[:n])
    images = np.array([(i, j, 0) for i in (-1, 0, 1) for j in (-1, 0, 1)]) @ cell
    distance = np.linalg.norm(cells[:, None] + images, axis=-1).min(axis=1).round(6)
    return np.sort(np.lexsort((np.arange(len(cells)), distance))[:n])


def _with_atoms(slab: Atoms, symbol: str, points: ArrayLike) -> Atoms:
    positions = np.atleast_2d(points)
    added = Atoms([symbol] * len(positions), positions=positions)
    if "layer" in slab.arrays:
        _, order = np.unique(positions[:, 2].round(6), return_inverse=True)
        added.set_array("layer", slab.arrays["layer"].max() + 1 + order)
    result = slab + added
    result.set_cell(slab.cell)
    # Room above, as much as there was.
    rise = positions[:, 2].max() - slab.positions[:, 2].max()
    result.cell[2, 2] += max(0.0, rise)
    result.wrap(pbc=(True, True, False))
    return inside(result)
