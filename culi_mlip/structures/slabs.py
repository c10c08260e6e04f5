"""Slabs of fcc and bcc elements by Miller index, with primitive surface cells."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms
from numpy.typing import ArrayLike, NDArray

from culi_mlip.errors import StructureError
from culi_mlip.structures.bulk import PRIMITIVE_VECTORS, crystal_of, lattice_constant
from culi_mlip.structures.checks import check_integers, check_numbers
from culi_mlip.structures.lattices import hermite_normal_form, reduced_plane, superlattices
from culi_mlip.structures.orientation import upright

THICKNESS = {"Cu": 30.0, "Li": 20.0}
"""Slab thickness in Å at which the surface energy is converged (the paper, section 3.2)."""


def slab(
    symbol: str,
    miller: Sequence[int],
    *,
    a: float | None = None,
    thickness: float | None = None,
    vacuum: float = 15.0,
    free_layers: int | None = 2,
) -> Atoms:
    """Return a slab with the primitive surface cell and two equivalent faces.

    A one-atom crystal is cut so that each layer holds one atom of the cell: successive
    layers are a lattice vector apart, and the inversion through the slab's centre exchanges
    the faces.

    Parameters
    ----------
    symbol
        Chemical symbol of an fcc or bcc element.
    miller
        Miller index (h, k, l) in the conventional cubic axes.
    a
        Cubic lattice constant in Å; for Cu and Li there is a default.
    thickness
        Distance between the outermost layers in Å: the fewest layers that reach it.
        Default 30 Å for Cu, 20 Å for Li and every other element.
    vacuum
        Empty space on each side in Å.
    free_layers
        Layers on each face that may move; all others are fixed (``FixAtoms``).
        ``None`` fixes nothing.

    Returns
    -------
    Atoms
        c along z, centred, periodic in the plane only; ``arrays["layer"]`` numbers the
        layers from the bottom.

    Raises
    ------
    StructureError
        If the element or the Miller index cannot be used, a length is not positive, or the
        slab has fewer layers than would be free.
    """
    plane, step = surface_lattice(symbol, miller, a=a)
    thickness = THICKNESS.get(symbol, 20.0) if thickness is None else thickness
    check_numbers(thickness=thickness, vacuum=vacuum, above=0)
    n_layers = math.ceil(thickness / step[2] - 1e-9) + 1
    if free_layers is not None:
        check_integers("free_layers", free_layers, 1, least=0)
    if free_layers is not None and 2 * free_layers > n_layers:
        raise StructureError(
            f"slab of {symbol} {tuple(miller)} has {n_layers} layers, which cannot hold "
            f"2×{free_layers} free ones: change thickness or free_layers"
        )
    layer = np.arange(n_layers)
    height = step[2] * (n_layers - 1) + 2 * vacuum
    cell = np.array([[*plane[0], 0], [*plane[1], 0], [0, 0, height]])
    positions = layer[:, None] * step + [0, 0, vacuum]
    atoms = Atoms([symbol] * n_layers, positions=positions, cell=cell, pbc=(True, True, False))
    atoms.wrap()
    atoms.set_array("layer", layer)
    if free_layers is not None:
        inner = (layer >= free_layers) & (layer < n_layers - free_layers)
        atoms.set_constraint(FixAtoms(mask=inner))
    return atoms


def surface_lattice(
    symbol: str, miller: Sequence[int], *, a: float | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the primitive lattice of a surface and the step from layer to layer.

    Parameters
    ----------
    symbol, miller, a
        As in `slab`.

    Returns
    -------
    plane : array, shape (2, 2)
        Gauss-reduced in-plane lattice vectors (rows) in Å, the first along x.
    step : array, shape (3,)
        Vector in Å from an atom to one in the next layer above; its z is the layer spacing.
    """
    index = _checked_miller(miller)
    vectors = PRIMITIVE_VECTORS[crystal_of(symbol)] * lattice_constant(symbol, a)
    # Heights of the primitive vectors above the plane, in units of the layer spacing.
    heights = np.rint(2 * vectors @ index / lattice_constant(symbol, a)).astype(int)
    heights //= math.gcd(*heights)
    in_plane, step = _plane_and_step(heights)
    first, second = reduced_plane(in_plane @ vectors)
    z = index / np.linalg.norm(index)
    if np.dot(np.cross(first, second), z) < 0:  # make the basis right-handed, 120° if hexagonal
        hexagonal = np.isclose(first @ first, second @ second)
        first, second = (second, first) if hexagonal else (first, -second)
    length = np.linalg.norm(first)
    x = first / length
    axes = np.array([x, np.cross(z, x), z])
    plane = np.array([[length, 0.0], axes[:2] @ second])
    return plane, axes @ (step @ vectors)


def distinct_millers(max_index: int = 3) -> list[tuple[int, int, int]]:
    """Return one Miller index of each family of cubic crystals, low indices first.

    Parameters
    ----------
    max_index
        Largest component; 3 gives the paper's 13 families.
    """
    everything = itertools.combinations_with_replacement(range(max_index, -1, -1), 3)
    families = [index for index in everything if math.gcd(*index) == 1]
    return sorted(families, key=lambda index: (sum(i * i for i in index), index))


def supercell(slab: Atoms, repeat: ArrayLike) -> Atoms:
    """Return a slab in an in-plane superlattice, with its constraints.

    Parameters
    ----------
    slab
        Slab, brought to the convention of `slab` by `culi_mlip.structures.upright`.
    repeat
        A 2×2 integer matrix whose rows times the slab's vectors are the new ones; or repeats
        along the three vectors, of which the third is 1; or the number of cells, for the
        superlattice with that many whose shortest vector is longest.

    Raises
    ------
    StructureError
        If `repeat` is none of these.
    """
    wanted = _checked_repeat(repeat)
    slab = upright(slab)
    plane = slab.cell.array[:2, :2]
    if wanted.shape == (3,):
        return slab * wanted.tolist()
    if wanted.shape == ():
        bases = reduced_plane(superlattices(int(wanted)) @ plane)
        lengths = np.linalg.norm(bases, axis=-1).round(6)
        basis = bases[np.lexsort((lengths[:, 1], -lengths[:, 0]))[0]]
        basis = basis if np.linalg.det(basis) > 0 else basis[::-1]  # right-handed
    else:
        basis = wanted @ plane
    (first, _), (_, second) = hermite_normal_form(np.rint(basis @ np.linalg.inv(plane)).astype(int))
    result = slab * (int(first), int(second), 1)  # the right atoms; their cell follows
    result.cell[:2, :2] = basis
    result.wrap(pbc=(True, True, False))
    return result


def _checked_repeat(repeat: ArrayLike) -> NDArray[np.int64]:
    wanted = np.asarray(repeat)
    valid = np.issubdtype(wanted.dtype, np.integer) and (
        (wanted.shape == () and wanted >= 1)
        or (wanted.shape == (3,) and (wanted >= 1).all() and wanted[2] == 1)
        or (wanted.shape == (2, 2) and round(np.linalg.det(wanted)) != 0)
    )
    if not valid:
        raise StructureError(
            f"repeat {wanted.tolist()} of a slab: give a number of cells, "
            "three positive integers of which the last is 1, or a 2×2 integer matrix"
        )
    return wanted


def _checked_miller(miller: Sequence[int]) -> NDArray[np.int64]:
    index = np.asarray(miller)
    if index.shape != (3,) or not np.issubdtype(index.dtype, np.integer) or not index.any():
        raise StructureError(
            f"Miller index {miller!r}: give three integers, not all zero, such as (1, 1, 1)"
        )
    return index // math.gcd(*(int(i) for i in index))


def _plane_and_step(heights: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split Z³ by the integer height m·heights: a basis of height 0, and a vector of height 1.

    Column operations of the extended Euclidean algorithm bring `heights` to (1, 0, 0); the
    unimodular matrix that collects them has the wanted vectors as rows.
    """
    rest, basis = heights.copy(), np.eye(3, dtype=int)
    while np.count_nonzero(rest) > 1:
        nonzero = np.flatnonzero(rest)
        pivot = nonzero[np.argmin(np.abs(rest[nonzero]))]
        for i in nonzero[nonzero != pivot]:
            factor = rest[i] // rest[pivot]
            rest[i] -= factor * rest[pivot]
            basis[i] -= factor * basis[pivot]
    pivot = int(np.flatnonzero(rest)[0])
    return np.delete(basis, pivot, axis=0), basis[pivot] * rest[pivot]
