"""Coherent interfaces: a film laid on a substrate by a match of their superlattices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from culi_mlip.errors import StructureError
from culi_mlip.structures.bulk import bulk_modulus
from culi_mlip.structures.checks import check_distances, check_integers, check_numbers
from culi_mlip.structures.lattices import integer_span
from culi_mlip.structures.matching import LatticeMatch, first_match, plane_of, polar
from culi_mlip.structures.orientation import upright
from culi_mlip.structures.slabs import slab, supercell
from culi_mlip.structures.surfaces import adsorption_sites, in_plane_operations

Strained = Literal["film", "substrate", "shared"]


def interface(
    film: str,
    film_miller: Sequence[int],
    substrate: str,
    substrate_miller: Sequence[int],
    *,
    gap: float = 3.0,
    vacuum: float = 15.0,
    strain: Strained = "film",
    shift: Sequence[float] = (0.0, 0.0),
    film_thickness: float | None = None,
    substrate_thickness: float | None = None,
    film_a: float | None = None,
    substrate_a: float | None = None,
    max_area: float = 400.0,
    area_tolerance: float = 0.09,
    length_tolerance: float = 0.09,
    angle_tolerance: float = 0.09,
    min_bond: float = 0.7,
) -> Atoms:
    """Return the smallest coherent interface of two elements by Miller index.

    Parameters
    ----------
    film, film_miller, substrate, substrate_miller
        Element and Miller index of the two slabs.
    gap, vacuum, strain, shift, min_bond
        As in `join`.
    film_thickness, substrate_thickness
        Thickness of the slabs in Å; defaults as in `slab`.
    film_a, substrate_a
        Cubic lattice constants in Å; defaults as in `slab`.
    max_area, area_tolerance, length_tolerance, angle_tolerance
        Limits of the search, as in `lattice_matches`. Of the matches of the smallest area the
        least strained is taken.

    Raises
    ------
    StructureError
        If no superlattices match within the limits, or atoms overlap.
    """
    above = slab(film, film_miller, a=film_a, thickness=film_thickness, free_layers=None)
    below = slab(
        substrate, substrate_miller, a=substrate_a, thickness=substrate_thickness, free_layers=None
    )
    match = first_match(
        above,
        below,
        max_area=max_area,
        area_tolerance=area_tolerance,
        length_tolerance=length_tolerance,
        angle_tolerance=angle_tolerance,
    )
    return join(
        above, below, match, gap=gap, vacuum=vacuum, strain=strain, shift=shift, min_bond=min_bond
    )


def join(
    film: Atoms,
    substrate: Atoms,
    match: LatticeMatch,
    *,
    gap: float = 3.0,
    vacuum: float = 15.0,
    strain: Strained = "film",
    shift: Sequence[float] = (0.0, 0.0),
    min_bond: float = 0.7,
) -> Atoms:
    """Lay a film on a substrate by a lattice match.

    Parameters
    ----------
    film, substrate
        Slabs of one element each, that were matched; vectors and layers are those of
        `culi_mlip.structures.upright`.
    match
        One of their `lattice_matches`.
    gap
        Distance between the topmost substrate layer and the lowest film layer in Å.
    vacuum
        Empty space below the substrate and above the film in Å.
    strain
        Who is strained: the film, the substrate, or both ("shared"), so that the elastic energy
        of the two is least for their bulk moduli and thicknesses. Layer spacings stay as they
        are.
    shift
        In-plane shift of the film in units of the substrate's two vectors; at (0, 0) an atom
        of the lowest film layer is above one of the topmost substrate layer.
    min_bond
        No two atoms may be closer than this fraction of the sum of their covalent radii.

    Returns
    -------
    Atoms
        Substrate below, film above, unconstrained, periodic in the plane; ``arrays["layer"]``
        numbers the layers from the bottom. ``info`` holds the area (Å²) and the strain tensors
        (xx, yy, xy, in the axes of the cell) of film and substrate.

    Raises
    ------
    StructureError
        If `strain` is unknown, a length is out of range, the match is not one of these slabs, or
        atoms overlap.
    """
    check_numbers(gap=gap, vacuum=vacuum, above=0)
    check_numbers(min_bond=min_bond, least=0)
    if np.shape(shift) != (2,):
        raise StructureError(f"shift={shift!r}: give two numbers")
    check_numbers(**dict(zip(("shift[0]", "shift[1]"), shift, strict=True)))
    share = _film_share(film, substrate, strain)
    film, substrate = _with_layers(upright(film)), _with_layers(upright(substrate))
    if np.linalg.det(match.film @ plane_of(film)) < 0:
        film = _turned_over(film)
    above, below = supercell(film, match.film), supercell(substrate, match.substrate)
    start, end = plane_of(above), plane_of(below)
    rotation, stretch = polar(np.linalg.solve(start, end))
    if not np.allclose(stretch - np.eye(2), match.strain, atol=1e-6):
        raise StructureError(
            "the match belongs to other slabs: give join the film and the substrate, in this "
            "order, that were matched"
        )
    deformation = {
        "film": _power(stretch, share),
        "substrate": _power(stretch, share - 1.0),
    }
    _deform(above, rotation @ deformation["film"])
    _deform(below, deformation["substrate"])
    vectors = plane_of(substrate) @ deformation["substrate"]
    above.positions -= above.positions[_edge_atom(above, lowest=True)]
    above.positions[:, :2] += np.asarray(shift) @ vectors
    above.positions += below.positions[_edge_atom(below, lowest=False)] + [0, 0, gap]
    above.arrays["layer"] += below.arrays["layer"].max() + 1
    both = below + above
    to_x = _rotation_to_x(below.cell.array[0, :2])
    _deform(both, to_x)
    both.positions[:, 2] += vacuum - both.positions[:, 2].min()
    height = both.positions[:, 2].max() + vacuum
    both.cell[2] = [0, 0, height]
    both.pbc = (True, True, False)
    both.wrap()
    both.info = {"area": abs(float(np.linalg.det(plane_of(both))))} | {
        f"{side}_strain": _components(to_x.T @ tensor @ to_x - np.eye(2))
        for side, tensor in deformation.items()
    }
    check_distances(
        both, min_bond, "raise gap, choose another shift or match, or check the lattice constants"
    )
    return both


def registry_shifts(
    film: Atoms,
    substrate: Atoms,
    match: LatticeMatch,
    *,
    strain: Strained = "film",
    grid: int | None = None,
) -> NDArray[np.float64]:
    """Return in-plane shifts for `join`, one of each set that symmetry makes equivalent.

    Moving the film by a vector of its own lattice or of the substrate's changes nothing, so a
    shift counts modulo the lattice that the two span together.

    Parameters
    ----------
    film, substrate, match, strain
        As in `join`.
    grid
        Points along each vector of the cell of that lattice. By default the high-symmetry
        registries: the lowest film atom above each top, bridge and hollow site of the substrate.

    Returns
    -------
    array, shape (n, 2)
        In units of the substrate's two vectors; the first is (0, 0).
    """
    if grid is None:
        substrate = upright(substrate)
        sites = [site.position for site in adsorption_sites(substrate, distinct=False)]
        top = substrate.positions[_edge_atom(substrate, lowest=False)]
        points = (np.array(sites) - top)[:, :2] @ np.linalg.inv(plane_of(substrate))
    else:
        points = _grid(grid) @ spanned(match)
    points, classes = _told_apart(film, substrate, match, strain, points)
    return points[np.unique(classes, return_index=True)[1]]


def registry_map(
    film: Atoms,
    substrate: Atoms,
    match: LatticeMatch,
    *,
    strain: Strained = "film",
    grid: int,
) -> NDArray[np.int64]:
    """Return which of `registry_shifts` each point of a grid is equivalent to, shape (grid, grid).

    The grid runs along the vectors of `spanned`, the second fastest.
    """
    _, classes = _told_apart(film, substrate, match, strain, _grid(grid) @ spanned(match))
    return classes.reshape(grid, grid)


def spanned(match: LatticeMatch) -> NDArray[np.float64]:
    """Return the lattice that film and substrate span together.

    Rows are its vectors in units of the substrate's two.
    """
    layer, basis = np.array(match.film), np.array(match.substrate)
    film_vectors = np.linalg.solve(layer, basis)
    n_film = abs(round(np.linalg.det(layer)))
    return integer_span(np.vstack([n_film * np.eye(2), n_film * film_vectors])) / n_film


def _grid(n: int) -> NDArray[np.float64]:
    """Points of the unit square, shape (n², 2)."""
    check_integers("grid", n, 1)
    return np.array([(i, j) for i in range(n) for j in range(n)]) / n


def _told_apart(
    film: Atoms,
    substrate: Atoms,
    match: LatticeMatch,
    strain: Strained,
    points: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Shifts within a cell of the lattice of both, and numbers of their classes by symmetry."""
    span, basis = spanned(match), np.array(match.substrate)
    aligned = join(film, substrate, match, strain=strain, min_bond=0.0)
    operations = in_plane_operations(aligned)[0]
    # Operations act on fractions of the superlattice; so do shifts after this change.
    to_cell, to_span = np.linalg.inv(basis), np.linalg.inv(span)
    images = points @ to_cell @ operations.swapaxes(1, 2) @ basis  # (operations, points, 2)
    chosen: list[int] = []
    classes = np.zeros(len(points), dtype=int)
    for i in range(len(points)):
        off = (images[:, i, None] - points[chosen]) @ to_span
        is_same = (np.abs(off - np.rint(off)).max(axis=-1) < 1e-4).any(axis=0)
        if not is_same.any():
            chosen.append(i)
        classes[i] = np.argmax(is_same) if is_same.any() else len(chosen) - 1
    inside = points @ to_span
    return np.asarray((inside - np.floor(inside + 1e-6)).round(9) @ span) + 0.0, classes


def _film_share(film: Atoms, substrate: Atoms, strain: str) -> float:
    """Share of the (logarithmic) strain that the film takes."""
    if strain in ("film", "substrate"):
        return float(strain == "film")
    if strain != "shared":
        raise StructureError(f"strain '{strain}': choose film, substrate or shared")
    # The elastic energy of two slabs under strains h·w and h·(1 - w) is least at this w.
    resistance = [
        bulk_modulus(str(atoms.symbols[0])) * np.ptp(atoms.positions[:, 2])
        for atoms in (film, substrate)
    ]
    return float(resistance[1] / sum(resistance))


def _with_layers(slab: Atoms) -> Atoms:
    """Return an unconstrained copy whose ``arrays["layer"]`` numbers the layers by height."""
    result = slab.copy()
    result.set_constraint()
    _, layer = np.unique(result.positions[:, 2].round(3), return_inverse=True)
    result.set_array("layer", layer)
    return result


def _turned_over(slab: Atoms) -> Atoms:
    """Return a slab rotated by 180° about x."""
    result = slab.copy()
    result.positions *= [1, -1, -1]
    result.cell[:2, 1] *= -1
    result.arrays["layer"] = result.arrays["layer"].max() - result.arrays["layer"]
    return result


def _deform(atoms: Atoms, matrix: NDArray[np.float64]) -> None:
    """Multiply in-plane vectors and positions (rows) by a 2×2 matrix, in place."""
    atoms.cell[:2, :2] = atoms.cell[:2, :2] @ matrix
    atoms.positions[:, :2] = atoms.positions[:, :2] @ matrix


def _edge_atom(slab: Atoms, *, lowest: bool) -> int:
    """Return the first of the atoms in the lowest or the topmost layer."""
    z = slab.positions[:, 2] * (-1 if lowest else 1)
    return int(np.flatnonzero(z > z.max() - 1e-6)[0])


def _power(stretch: NDArray[np.float64], exponent: float) -> NDArray[np.float64]:
    """Power of a symmetric positive matrix."""
    sizes, axes = np.linalg.eigh(stretch)
    return np.asarray((axes * sizes**exponent) @ axes.T)


def _rotation_to_x(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation that brings a row vector to the x axis."""
    x, y = vector / np.linalg.norm(vector)
    return np.array([[x, -y], [y, x]])


def _components(tensor: NDArray[np.float64]) -> list[float]:
    return [float(tensor[0, 0]), float(tensor[1, 1]), float(tensor[0, 1])]
