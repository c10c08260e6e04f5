"""Coherent interfaces of two slabs by the Zur-McGill search for matching superlattices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import Any, Literal

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list
from numpy.typing import ArrayLike, NDArray

from culi_mlip.errors import StructureError
from culi_mlip.structures.bulk import bulk_modulus
from culi_mlip.structures.lattices import (
    Matrix,
    distinct_superlattices,
    integer_span,
    point_group,
    reduced_plane,
    superlattices,
)
from culi_mlip.structures.slabs import slab, supercell
from culi_mlip.structures.surfaces import adsorption_sites, in_plane_operations

Strained = Literal["film", "substrate", "shared"]


@dataclass(frozen=True)
class Tolerances:
    """How far two superlattices may be from each other, all relative.

    Attributes
    ----------
    area
        Difference of the areas, in units of the larger one; the paper uses 9 %.
    length
        Difference of the lengths of the vectors that are laid on each other.
    angle
        Difference of the angles between them.
    """

    area: float = 0.09
    length: float = 0.09
    angle: float = 0.09

    def __post_init__(self) -> None:
        for name, value in (("area", self.area), ("length", self.length), ("angle", self.angle)):
            if not 0 <= value < 1:
                raise StructureError(
                    f"{name} tolerance {value}: give a fraction from 0 to below 1, such as 0.09"
                )


@dataclass(frozen=True)
class LatticeMatch:
    """Two superlattices, of a film and of a substrate, that nearly coincide.

    Attributes
    ----------
    film, substrate
        Integer 2×2 matrices (rows) of the superlattices in the slabs' in-plane vectors; row i
        of the one is laid on row i of the other. The substrate's are its two shortest vectors.
        A film matrix with a negative determinant means that the film is turned over.
    area
        Area of the substrate's superlattice in Å².
    mismatch
        Relative differences of area, lengths (the larger one) and angle.
    strain
        Symmetric 2×2 strain of a film that is laid on the substrate and takes up all of the
        misfit, in the substrate's axes, after the rotation.
    """

    film: Matrix
    substrate: Matrix
    area: float
    mismatch: Tolerances
    strain: NDArray[np.float64]

    @property
    def max_strain(self) -> float:
        """Largest principal strain, by magnitude."""
        return float(np.abs(np.linalg.eigvalsh(self.strain)).max())


def lattice_matches(
    film: Atoms,
    substrate: Atoms,
    *,
    max_area: float = 400.0,
    area_tolerance: float = 0.09,
    length_tolerance: float = 0.09,
    angle_tolerance: float = 0.09,
) -> list[LatticeMatch]:
    """Return all inequivalent pairs of superlattices that match, best first.

    Every superlattice of the substrate up to its symmetry is compared, in its reduced form,
    with every superlattice of the film in each of its bases of short vectors. Two matches are
    equivalent when they lay the film on the substrate in the same way, up to rotations and
    reflections of the two lattices: a larger cell of the same interface is no match of its own.

    Parameters
    ----------
    film, substrate
        Slabs with their first two cell vectors in the plane.
    max_area
        Largest area of the substrate's superlattice in Å².
    area_tolerance, length_tolerance, angle_tolerance
        See `Tolerances`.

    Returns
    -------
    list of LatticeMatch
        Ordered by area, then by the largest strain.

    References
    ----------
    Zur and McGill, J. Appl. Phys. 55, 378 (1984).
    """
    tolerances = Tolerances(area_tolerance, length_tolerance, angle_tolerance)
    return list(_matches(_plane(film), _plane(substrate), max_area, tolerances))


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
    above, below = (
        slab(symbol, miller, a=a, thickness=thickness, vacuum=vacuum, free_layers=None)
        for symbol, miller, a, thickness in (
            (film, film_miller, film_a, film_thickness),
            (substrate, substrate_miller, substrate_a, substrate_thickness),
        )
    )
    tolerances = Tolerances(area_tolerance, length_tolerance, angle_tolerance)
    match = first_match(above, below, max_area=max_area, tolerances=tolerances)
    return join(
        above, below, match, gap=gap, vacuum=vacuum, strain=strain, shift=shift, min_bond=min_bond
    )


def first_match(
    film: Atoms,
    substrate: Atoms,
    *,
    max_area: float = 400.0,
    tolerances: Tolerances = Tolerances(),
) -> LatticeMatch:
    """Return the smallest match of two slabs, of several the least strained.

    Parameters
    ----------
    film, substrate, max_area
        As in `lattice_matches`.
    tolerances
        Limits of the mismatch.

    Raises
    ------
    StructureError
        If there is none; the message tells the nearest miss.
    """
    planes = _plane(film), _plane(substrate)
    match = next(_matches(*planes, max_area, tolerances), None)
    if match is None:
        raise StructureError(
            f"no match of {film.symbols[0]} on {substrate.symbols[0]} within {max_area:g} Å²: "
            f"{_nearest_miss(*planes, max_area, tolerances)}"
        )
    return match


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
        Slabs of one element each, that were matched.
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
        If `strain` is unknown or atoms overlap.
    """
    if not (vacuum > 0 and gap > 0):
        raise StructureError(
            f"interface with gap {gap} Å and vacuum {vacuum} Å: give positive lengths"
        )
    share = _film_share(film, substrate, strain)
    film, substrate = _with_layers(film), _with_layers(substrate)
    if np.linalg.det(match.film @ _plane(film)) < 0:
        film = _turned_over(film)
    above, below = supercell(film, match.film), supercell(substrate, match.substrate)
    start, end = _plane(above), _plane(below)
    rotation, stretch = _polar(np.linalg.solve(start, end))
    deformation = {
        "film": _power(stretch, share),
        "substrate": _power(stretch, share - 1.0),
    }
    _deform(above, rotation @ deformation["film"])
    _deform(below, deformation["substrate"])
    vectors = _plane(substrate) @ deformation["substrate"]
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
    both.info = {"area": abs(float(np.linalg.det(_plane(both))))} | {
        f"{side}_strain": _components(to_x.T @ tensor @ to_x - np.eye(2))
        for side, tensor in deformation.items()
    }
    _check_distances(both, min_bond)
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
    layer, basis = np.array(match.film), np.array(match.substrate)
    # The lattice that film and substrate span, in units of the substrate's vectors.
    film_vectors = np.linalg.solve(layer, basis)
    n_film = abs(round(np.linalg.det(layer)))
    span = integer_span(np.vstack([n_film * np.eye(2), n_film * film_vectors])) / n_film
    if grid is None:
        sites = [site.position for site in adsorption_sites(substrate)]
        top = substrate.positions[_edge_atom(substrate, lowest=False)]
        points = (np.array(sites) - top)[:, :2] @ np.linalg.inv(_plane(substrate))
    else:
        points = np.array([(i, j) for i in range(grid) for j in range(grid)]) / grid @ span
    aligned = join(film, substrate, match, strain=strain, min_bond=0.0)
    operations = in_plane_operations(aligned)[0]
    # Operations act on fractions of the superlattice; so do shifts after this change.
    to_cell, to_span = np.linalg.inv(basis), np.linalg.inv(span)
    images = points @ to_cell @ operations.swapaxes(1, 2) @ basis  # (operations, points, 2)
    chosen: list[int] = []
    for i in range(len(points)):
        off = (images[:, i, None] - points[chosen]) @ to_span
        if not (np.abs(off - np.rint(off)).max(axis=-1) < 1e-4).any():
            chosen.append(i)
    return np.asarray(points[chosen])


def _matches(
    film: NDArray[np.float64],
    substrate: NDArray[np.float64],
    max_area: float,
    tolerances: Tolerances,
) -> Iterator[LatticeMatch]:
    """Yield matches by increasing area, those of the same area by increasing strain."""
    film_area, substrate_area = (abs(float(np.linalg.det(p))) for p in (film, substrate))
    groups = point_group(film), point_group(substrate)
    seen: set[bytes] = set()
    for n_substrate in range(1, int(max_area / substrate_area + 1e-9) + 1):
        area = n_substrate * substrate_area
        fewest = max(1, int(np.ceil(area * (1 - tolerances.area) / film_area - 1e-9)))
        most = int(area / (1 - tolerances.area) / film_area + 1e-9)
        if most < fewest:
            continue
        candidates = np.concatenate([_short_bases(film, n) for n in range(fewest, most + 1)])
        metric = _metric(candidates @ film)
        bases = [
            _integers(_right_handed(reduced_plane(form @ substrate)), substrate)
            for form in distinct_superlattices(n_substrate, groups[1])
        ]
        near = [_is_near(metric, _metric(basis @ substrate), tolerances) for basis in bases]
        pairs = np.array(
            [
                (candidate, basis)
                for basis, is_near in zip(bases, near, strict=True)
                for candidate in candidates[is_near]
            ]
        ).reshape(-1, 2, 2, 2)
        # Of equivalent ones take the first, with the film not turned over.
        pairs = pairs[np.argsort(np.linalg.det(pairs[:, 0]) < 0, kind="stable")]
        new = []
        for pair, key in zip(pairs, _map_keys(pairs, *groups), strict=True):
            if (name := key.tobytes()) not in seen:
                seen.add(name)
                new.append(pair)
        if new:
            yield from _described(np.array(new), film, substrate)


_SHORT = [(1, 0), (0, 1), (1, 1), (1, -1)]
_CHANGES = np.array(
    [
        [first, (sign * second[0], sign * second[1])]
        for first in _SHORT
        for second in _SHORT
        for sign in (1, -1)
        if abs(first[0] * second[1] - first[1] * second[0]) == 1
    ]
)
"""From a reduced basis to all bases of the same lattice made of its four shortest vectors."""


def _short_bases(plane: NDArray[np.float64], index: int) -> NDArray[np.int64]:
    """All bases of short vectors of all superlattices of an index, shape (n, 2, 2)."""
    reduced = _integers(reduced_plane(superlattices(index) @ plane), plane)
    return np.asarray((_CHANGES @ reduced[:, None]).reshape(-1, 2, 2))


def _metric(bases: NDArray[np.float64]) -> NDArray[np.float64]:
    """Both lengths and the angle (radians) of bases (..., 2, 2), shape (..., 3)."""
    lengths = np.linalg.norm(bases, axis=-1)
    cosine = (bases[..., 0, :] * bases[..., 1, :]).sum(axis=-1) / lengths.prod(axis=-1)
    return np.concatenate([lengths, np.arccos(np.clip(cosine, -1, 1))[..., None]], axis=-1)


def _relative_difference(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(np.abs(np.subtract(a, b)) / np.maximum(a, b))


def _is_near(
    metric: NDArray[np.float64], target: NDArray[np.float64], tolerances: Tolerances
) -> NDArray[np.bool_]:
    off = _relative_difference(metric, target)
    limits = np.array([tolerances.length, tolerances.length, tolerances.angle])
    return np.asarray((off <= limits + 1e-9).all(axis=-1))


def _map_keys(
    pairs: NDArray[np.int64], film_group: NDArray[np.int64], substrate_group: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the same four integers for pairs of bases that describe the same interface.

    The map from film to substrate coordinates is what a change of basis, or a larger cell of
    the same interface, leaves alone; symmetries of the two lattices act from both sides.
    """
    maps = np.linalg.solve(pairs[:, 0], pairs[:, 1])
    images = film_group[:, None] @ maps[:, None, None] @ substrate_group
    images = images.reshape(len(pairs), len(film_group) * len(substrate_group), 4)
    # The entries are rational: irrational weights tell all different maps apart.
    best = (images @ np.sqrt([2.0, 3.0, 5.0, 7.0])).round(9).argmax(axis=1)
    return np.rint(images[np.arange(len(pairs)), best] * 1e5 * np.pi).astype(int)


def _described(
    pairs: NDArray[np.int64],
    film: NDArray[np.float64],
    substrate: NDArray[np.float64],
) -> list[LatticeMatch]:
    """Matches of one substrate area, the least strained first."""
    film_bases, substrate_bases = pairs[:, 0], pairs[:, 1]
    start, end = film_bases @ film, substrate_bases @ substrate
    start[np.linalg.det(film_bases) * np.linalg.det(film) < 0, :, 1] *= -1
    areas = np.abs(np.linalg.det(start)), np.abs(np.linalg.det(end))
    off = np.column_stack(
        [_relative_difference(*areas), _relative_difference(_metric(start), _metric(end))]
    )
    strains = _polar(np.linalg.solve(start, end))[1] - np.eye(2)
    sizes = np.abs(np.linalg.eigvalsh(strains)).max(axis=1).round(9)
    return [
        LatticeMatch(
            film=_matrix(film_bases[i]),
            substrate=_matrix(substrate_bases[i]),
            area=float(areas[1][i]),
            mismatch=Tolerances(off[i, 0], max(off[i, 1:3]), off[i, 3]),
            strain=strains[i],
        )
        for i in np.argsort(sizes, kind="stable")
    ]


def _nearest_miss(
    film: NDArray[np.float64],
    substrate: NDArray[np.float64],
    max_area: float,
    tolerances: Tolerances,
) -> str:
    """Say which limits the match that misses them by least breaks."""
    limits = np.array(astuple(tolerances))
    for factor in (1.25, 1.5, 2.0, 4.0):
        wider = Tolerances(*np.minimum(np.maximum(limits, 0.005) * factor, 0.9))
        matches = list(_matches(film, substrate, max_area, wider))
        if matches:
            excess = [
                np.max(np.array(astuple(m.mismatch)) / np.maximum(limits, 0.005)) for m in matches
            ]
            nearest = matches[int(np.argmin(excess))]
            broken = [
                f"{name} by {off:.2%} (limit {limit:.2%})"
                for name, off, limit in zip(
                    ("area", "length", "angle"), astuple(nearest.mismatch), limits, strict=True
                )
                if off > limit
            ]
            return (
                f"the nearest miss, at {nearest.area:.0f} Å², is off in {' and '.join(broken)}: "
                "raise that tolerance, or max_area"
            )
    return "nothing comes near: raise max_area"


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


def _check_distances(atoms: Atoms, min_bond: float) -> None:
    radii = min_bond * covalent_radii[atoms.numbers]
    i, j, distances = neighbor_list("ijd", atoms, list(radii))
    if len(i):
        nearest = int(distances.argmin())
        pair = "-".join(sorted(str(atoms.symbols[k[nearest]]) for k in (i, j)))
        raise StructureError(
            f"atoms overlap: {pair} at {distances[nearest]:.2f} Å, closer than {min_bond:.0%} of "
            "their bond: raise gap, or choose another shift or match"
        )


def _polar(maps: NDArray[np.floating[Any]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Split maps of row vectors (..., 2, 2) into a rotation and the stretch that follows it."""
    left, sizes, right = np.linalg.svd(maps)
    return left @ right, right.swapaxes(-1, -2) @ (sizes[..., None] * right)


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


def _plane(atoms: Atoms) -> NDArray[np.float64]:
    return np.array(atoms.cell.array[:2, :2])


def _right_handed(basis: NDArray[np.float64]) -> NDArray[np.float64]:
    return basis if np.linalg.det(basis) > 0 else basis[::-1]


def _integers(bases: NDArray[np.float64], plane: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.rint(bases @ np.linalg.inv(plane)).astype(int)


def _matrix(basis: NDArray[np.int64]) -> Matrix:
    (a, b), (c, d) = basis.tolist()
    return (a, b), (c, d)
