"""Zur-McGill search: superlattices of two faces that nearly coincide."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray

from culi_mlip.errors import StructureError
from culi_mlip.structures.checks import check_numbers
from culi_mlip.structures.lattices import (
    Matrix,
    distinct_superlattices,
    point_group,
    reduced_plane,
    superlattices,
)
from culi_mlip.structures.orientation import upright


class Mismatch(NamedTuple):
    """How far two superlattices are from each other, or may be.

    Attributes
    ----------
    area
        Difference of the areas, in units of the larger one.
    length
        Difference of the lengths of the vectors that are laid on each other, in units of the
        longer one; the worse of the two.
    angle
        Difference of the angles between them, in units of the larger one.
    """

    area: float
    length: float
    angle: float


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
        Relative differences of areas, lengths and angles.
    strain
        Symmetric 2×2 strain of a film that is laid on the substrate and takes up all of the
        misfit, in the substrate's axes, after the rotation.
    """

    film: Matrix
    substrate: Matrix
    area: float
    mismatch: Mismatch
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

    Every superlattice of the substrate up to its symmetry is compared, by its two shortest
    vectors, with every superlattice of the film in each of its bases. Two matches are
    equivalent when they lay the film's lattice on the substrate's in the same way, up to
    rotations and reflections of the two lattices: a larger cell of the same interface is no
    match of its own, nor is a film that is turned by 180° (of a twin, say).

    Parameters
    ----------
    film, substrate
        Slabs; vectors are those of `culi_mlip.structures.upright`.
    max_area
        Largest area of the substrate's superlattice in Å².
    area_tolerance, length_tolerance, angle_tolerance
        Largest `Mismatch`, from 0 to 0.5. The paper's 9 % of the area, and as much for the
        others.

    Returns
    -------
    list of LatticeMatch
        Ordered by area, then by the largest strain.

    Raises
    ------
    StructureError
        If a tolerance is out of its range.

    References
    ----------
    Zur and McGill, J. Appl. Phys. 55, 378 (1984).
    """
    limits = _limits(max_area, area_tolerance, length_tolerance, angle_tolerance)
    return list(_matches(plane_of(film), plane_of(substrate), max_area, limits))


def first_match(
    film: Atoms,
    substrate: Atoms,
    *,
    max_area: float = 400.0,
    area_tolerance: float = 0.09,
    length_tolerance: float = 0.09,
    angle_tolerance: float = 0.09,
) -> LatticeMatch:
    """Return the smallest match of two slabs, of several the least strained.

    Parameters
    ----------
    film, substrate, max_area, area_tolerance, length_tolerance, angle_tolerance
        As in `lattice_matches`.

    Raises
    ------
    StructureError
        If there is none (the message tells the nearest miss) or a tolerance is out of its range.
    """
    limits = _limits(max_area, area_tolerance, length_tolerance, angle_tolerance)
    planes = plane_of(film), plane_of(substrate)
    match = next(_matches(*planes, max_area, limits), None)
    if match is None:
        raise StructureError(
            f"no match of {film.symbols[0]} on {substrate.symbols[0]} within {max_area:g} Å²: "
            f"{_nearest_miss(*planes, max_area, limits)}"
        )
    return match


def plane_of(atoms: Atoms) -> NDArray[np.float64]:
    """Return the two in-plane vectors of a slab, shape (2, 2), made upright.

    Raises
    ------
    StructureError
        If it is no slab.
    """
    return np.array(upright(atoms).cell.array[:2, :2])


def polar(maps: NDArray[np.floating[Any]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Split maps of row vectors (..., 2, 2) into a rotation and the stretch that follows it."""
    left, sizes, right = np.linalg.svd(maps)
    return left @ right, right.swapaxes(-1, -2) @ (sizes[..., None] * right)


_WIDEST = 0.5
"""Cells that differ by more than this do not match in any useful sense."""


def _limits(max_area: float, area: float, length: float, angle: float) -> Mismatch:
    limits = Mismatch(area, length, angle)
    check_numbers(max_area=max_area, above=0)
    for name, value in limits._asdict().items():
        check_numbers(**{f"{name}_tolerance": value})
        if not 0 <= value <= _WIDEST:
            raise StructureError(
                f"{name} tolerance {value}: give a fraction from 0 to {_WIDEST}, such as 0.09"
            )
    return limits


def _matches(
    film: NDArray[np.float64],
    substrate: NDArray[np.float64],
    max_area: float,
    limits: Mismatch,
) -> Iterator[LatticeMatch]:
    """Yield matches by increasing area, those of the same area by increasing strain."""
    film_area, substrate_area = (abs(float(np.linalg.det(p))) for p in (film, substrate))
    stretch = _stretch(limits)
    groups = point_group(film), point_group(substrate)
    seen: set[bytes] = set()
    for n_substrate in range(1, int(max_area / substrate_area + 1e-9) + 1):
        area = n_substrate * substrate_area
        fewest = max(1, int(np.ceil(area * (1 - limits.area) / film_area - 1e-9)))
        most = int(area / (1 - limits.area) / film_area + 1e-9)
        if most < fewest:
            continue
        candidates = np.concatenate([_bases(film, n, stretch) for n in range(fewest, most + 1)])
        metric = _metric(candidates @ film)
        bases = [
            _integers(_right_handed(reduced_plane(form @ substrate)), substrate)
            for form in distinct_superlattices(n_substrate, groups[1])
        ]
        near = [_is_near(metric, _metric(basis @ substrate), limits) for basis in bases]
        pairs: NDArray[np.int64] = np.array(
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


def _stretch(limits: Mismatch) -> float:
    """Largest product of the lengths of a film basis that can match, in units of its area.

    A reduced basis has at most 2/√3 and angles from 60° to 120°; the tolerances widen both.
    """
    by_length = 2 / 3**0.5 / ((1 - limits.area) * (1 - limits.length) ** 2)
    widest, narrowest = 120 / (1 - limits.angle), 60 * (1 - limits.angle)
    if widest >= 180:
        return by_length
    by_angle = 1 / np.sin(np.radians([widest, narrowest])).min()
    return float(min(by_length, by_angle)) + 1e-9


def _bases(plane: NDArray[np.float64], index: int, stretch: float) -> NDArray[np.int64]:
    """All bases of all superlattices of an index, up to a product of lengths, shape (n, 2, 2).

    Of a basis and its negative there is one.
    """
    area = index * abs(float(np.linalg.det(plane)))
    reduced = _integers(reduced_plane(superlattices(index) @ plane), plane)
    # The shorter vector: no longer than the root of stretch times area.
    starts = (_completed_vectors(int(2 / 3**0.5 * stretch)) @ reduced[:, None]).reshape(-1, 2, 2)
    first, second = np.moveaxis(starts @ plane, 1, 0)
    square = (first**2).sum(axis=1)
    short = square <= stretch * area
    starts, first, second, square = starts[short], first[short], second[short], square[short]
    # The longer vector: any multiple of the shorter one may be added.
    centre = -(first * second).sum(axis=1) / square
    width = area * np.sqrt(stretch**2 - 1) / square
    lowest = np.ceil(centre - width).astype(int)
    count = np.floor(centre + width).astype(int) - lowest + 1
    starts = np.repeat(starts, count, axis=0)
    multiple = np.arange(len(starts)) - np.repeat(np.cumsum(count) - count - lowest, count)
    starts[:, 1] += multiple[:, None] * starts[:, 0]
    mirrored = starts * [[1], [-1]]
    return np.concatenate([starts, mirrored, starts[:, ::-1], mirrored[:, ::-1]])


@functools.lru_cache(maxsize=16)
def _completed_vectors(reach: int) -> NDArray[np.int64]:
    """Primitive vectors of Z² with entries up to `reach`, each with one that completes a basis."""
    bases = []
    for a in range(-reach, reach + 1):
        for b in range(reach + 1):
            if math.gcd(a, b) == 1 and (b or a == 1):
                d = pow(a, -1, b) if b else a  # a·d - b·c = 1
                bases.append([[a, b], [(a * d - 1) // b if b else 0, d]])
    return np.array(bases)


def _metric(bases: NDArray[np.float64]) -> NDArray[np.float64]:
    """Both lengths and the angle (radians) of bases (..., 2, 2), shape (..., 3)."""
    lengths = np.linalg.norm(bases, axis=-1)
    cosine = (bases[..., 0, :] * bases[..., 1, :]).sum(axis=-1) / lengths.prod(axis=-1)
    return np.concatenate([lengths, np.arccos(np.clip(cosine, -1, 1))[..., None]], axis=-1)


def _relative_difference(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(np.abs(np.subtract(a, b)) / np.maximum(a, b))


def _is_near(
    metric: NDArray[np.float64], target: NDArray[np.float64], limits: Mismatch
) -> NDArray[np.bool_]:
    off = _relative_difference(metric, target)
    largest = np.array([limits.length, limits.length, limits.angle])
    return np.asarray((off <= largest + 1e-9).all(axis=-1))


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
    strains = polar(np.linalg.solve(start, end))[1] - np.eye(2)
    sizes = np.abs(np.linalg.eigvalsh(strains)).max(axis=1).round(9)
    return [
        LatticeMatch(
            film=_matrix(film_bases[i]),
            substrate=_matrix(substrate_bases[i]),
            area=float(areas[1][i]),
            mismatch=Mismatch(float(off[i, 0]), float(max(off[i, 1:3])), float(off[i, 3])),
            strain=strains[i],
        )
        for i in np.argsort(sizes, kind="stable")
    ]


def _nearest_miss(
    film: NDArray[np.float64],
    substrate: NDArray[np.float64],
    max_area: float,
    limits: Mismatch,
) -> str:
    """Say which limits the match that misses them by least breaks."""
    tightest = np.maximum(limits, 0.005)
    for factor in (1.25, 1.5, 2.0, 4.0):
        wider = Mismatch(*np.minimum(tightest * factor, _WIDEST))
        matches = list(_matches(film, substrate, max_area, wider))
        if matches:
            nearest = min(matches, key=lambda match: np.max(match.mismatch / tightest))
            broken = [
                f"{name} by {off:.2%} (limit {limit:.2%})"
                for name, off, limit in zip(Mismatch._fields, nearest.mismatch, limits, strict=True)
                if off > limit
            ]
            return (
                f"the nearest miss, at {nearest.area:.0f} Å², is off in {' and '.join(broken)}: "
                "raise that tolerance, or max_area"
            )
    return "nothing comes near: raise max_area"


def _right_handed(basis: NDArray[np.float64]) -> NDArray[np.float64]:
    return basis if np.linalg.det(basis) > 0 else basis[::-1]


def _integers(bases: NDArray[np.float64], plane: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.rint(bases @ np.linalg.inv(plane)).astype(int)


def _matrix(basis: NDArray[np.int64]) -> Matrix:
    (a, b), (c, d) = basis.tolist()
    return (a, b), (c, d)
