"""Coherent interfaces of two slabs by the Zur-McGill search for matching superlattices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from ase import Atoms
from ase.build import make_supercell
from numpy.typing import NDArray

from culi_mlip.errors import StructureError
from culi_mlip.structures.slabs import reduced_plane, slab


@dataclass(frozen=True)
class LatticeMatch:
    """Two superlattices, of a film and of a substrate, that nearly coincide.

    Attributes
    ----------
    film, substrate
        Integer 2×2 matrices (rows) of the superlattices in the slabs' in-plane vectors;
        row i of the one is laid on row i of the other.
    area
        Area of the substrate's superlattice in Å².
    strain
        Symmetric 2×2 strain that lays the film on the substrate, in the film's axes.
    """

    film: tuple[tuple[int, int], tuple[int, int]]
    substrate: tuple[tuple[int, int], tuple[int, int]]
    area: float
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
    max_strain: float = 0.09,
) -> list[LatticeMatch]:
    """Return the matching superlattices of two slabs, smallest area first.

    All superlattices of both, as Hermite normal forms, are compared in their reduced form.

    Parameters
    ----------
    film, substrate
        Slabs with their first two cell vectors in the plane.
    max_area
        Largest area in Å².
    area_tolerance
        How much larger, relatively, the larger of the two areas may be.
    max_strain
        Largest principal strain of the film.

    Returns
    -------
    list of LatticeMatch
        Ordered by area, then by strain; of matches of equal area and principal strains, one.

    References
    ----------
    Zur and McGill, J. Appl. Phys. 55, 378 (1984).
    """
    found: dict[tuple[float, ...], LatticeMatch] = {}
    for match in _matches_by_area(film, substrate, max_area, area_tolerance, max_strain):
        found.setdefault(_signature(match), match)
    return sorted(found.values(), key=lambda m: (round(m.area, 6), m.max_strain))


def interface(
    film: str,
    film_miller: Sequence[int],
    substrate: str,
    substrate_miller: Sequence[int],
    *,
    gap: float = 3.0,
    vacuum: float = 15.0,
    film_thickness: float | None = None,
    substrate_thickness: float | None = None,
    film_a: float | None = None,
    substrate_a: float | None = None,
    max_area: float = 400.0,
    area_tolerance: float = 0.09,
    max_strain: float = 0.09,
) -> Atoms:
    """Return the smallest coherent interface of a strained film on a substrate.

    Parameters
    ----------
    film, film_miller, substrate, substrate_miller
        Element and Miller index of the two slabs.
    gap
        Distance between the topmost substrate layer and the lowest film layer in Å.
    vacuum
        Empty space below the substrate and above the film in Å.
    film_thickness, substrate_thickness
        Thickness of the slabs in Å; defaults as in `slab`.
    film_a, substrate_a
        Cubic lattice constants in Å; defaults as in `slab`.
    max_area, area_tolerance, max_strain
        Limits of the search, as in `lattice_matches`.

    Returns
    -------
    Atoms
        Substrate below, film above; the substrate keeps its lattice. ``info`` holds the
        match's area (Å²) and largest strain. Unconstrained.

    Raises
    ------
    StructureError
        If no superlattices match within the limits.
    """
    below = slab(
        substrate,
        substrate_miller,
        a=substrate_a,
        thickness=substrate_thickness,
        vacuum=vacuum,
        free_layers=None,
    )
    above = slab(
        film, film_miller, a=film_a, thickness=film_thickness, vacuum=vacuum, free_layers=None
    )
    match = next(_matches_by_area(above, below, max_area, area_tolerance, max_strain), None)
    if match is None:
        raise StructureError(
            f"no match of {film} {tuple(film_miller)} on {substrate} {tuple(substrate_miller)} "
            f"within {max_area} Å² and {max_strain:.0%} strain: raise max_area or max_strain"
        )
    base = _supercell(below, match.substrate)
    layer = _supercell(above, match.film)
    layer.set_cell([*base.cell.array[:2], layer.cell.array[2]], scale_atoms=True)
    layer.positions[:, 2] += base.positions[:, 2].max() + gap - layer.positions[:, 2].min()
    both = base + layer
    both.cell[2] = [0, 0, both.positions[:, 2].max() + vacuum]
    both.info = {"area": match.area, "max_strain": match.max_strain}
    del both.arrays["layer"]
    return both


def _matches_by_area(
    film: Atoms, substrate: Atoms, max_area: float, area_tolerance: float, max_strain: float
) -> Iterator[LatticeMatch]:
    """Yield matches by increasing area, those of the same area by increasing strain."""
    film_plane, substrate_plane = film.cell.array[:2, :2], substrate.cell.array[:2, :2]
    film_area, substrate_area = (abs(np.linalg.det(p)) for p in (film_plane, substrate_plane))
    superlattices = lru_cache(maxsize=None)(
        lambda which, n: reduced_plane(
            _hermite_normal_forms(n) @ (film_plane if which == "film" else substrate_plane)
        )
    )
    for n_substrate in range(1, int(max_area / substrate_area + 1e-9) + 1):
        area = n_substrate * substrate_area
        n_low = max(1, int(np.ceil(area / (1 + area_tolerance) / film_area - 1e-9)))
        n_high = int(area * (1 + area_tolerance) / film_area + 1e-9)
        matches = []
        for n_film in range(n_low, n_high + 1):
            targets = superlattices("substrate", n_substrate)
            starts = superlattices("film", n_film)
            # Straining a lattice changes its two shortest lengths by no more than the strain.
            ratio = np.linalg.norm(targets[:, None], axis=-1) / np.linalg.norm(starts, axis=-1)
            near = (np.abs(ratio - 1) <= max_strain + 1e-9).all(axis=-1)
            matches += [
                _match(film_plane, starts[j], substrate_plane, targets[i])
                for i, j in np.argwhere(near)
            ]
        yield from sorted(
            (m for m in matches if m.max_strain <= max_strain), key=lambda m: round(m.max_strain, 9)
        )


def _signature(match: LatticeMatch) -> tuple[float, ...]:
    """What inequivalent matches differ in: both areas and the principal strains."""
    n_film, n_substrate = (round(_area(*np.array(m))) for m in (match.film, match.substrate))
    return n_film, n_substrate, *np.round(np.linalg.eigvalsh(match.strain), 6)


def _hermite_normal_forms(determinant: int) -> NDArray[np.int64]:
    """Return one integer 2×2 matrix for each superlattice of the given index."""
    return np.array(
        [
            [[i, j], [0, determinant // i]]
            for i in range(1, determinant + 1)
            if determinant % i == 0
            for j in range(determinant // i)
        ]
    )


def _match(
    film_plane: NDArray[np.float64],
    start: NDArray[np.float64],
    substrate_plane: NDArray[np.float64],
    target: NDArray[np.float64],
) -> LatticeMatch:
    """Lay a reduced superlattice of the film on one of the substrate with the least strain."""
    target = _right_handed(target)
    u, v = _right_handed(start)
    short = np.array([u, v, u + v, u - v, -u, -v, -u - v, v - u])
    pairs = [np.array([p, q]) for p in short for q in short]
    bases = [b for b in pairs if np.isclose(_area(*b), _area(u, v))]
    strains = [_strain(basis, target) for basis in bases]
    best = int(np.argmin([round(float(np.linalg.norm(s)), 9) for s in strains]))
    return LatticeMatch(
        film=_integers(bases[best], film_plane),
        substrate=_integers(target, substrate_plane),
        area=_area(*target),
        strain=strains[best],
    )


def _strain(start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.float64]:
    """Symmetric strain of the map start → end of row vectors, rotation removed."""
    left, stretch, _ = np.linalg.svd(np.linalg.solve(start, end))
    return left @ np.diag(stretch) @ left.T - np.eye(2)


def _area(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    return float(p[0] * q[1] - p[1] * q[0])


def _right_handed(basis: NDArray[np.float64]) -> NDArray[np.float64]:
    return basis if _area(*basis) > 0 else np.array([basis[0], -basis[1]])


def _integers(
    basis: NDArray[np.float64], plane: NDArray[np.float64]
) -> tuple[tuple[int, int], tuple[int, int]]:
    (a, b), (c, d) = np.rint(basis @ np.linalg.inv(plane)).astype(int).tolist()
    return (a, b), (c, d)


def _supercell(atoms: Atoms, matrix: tuple[tuple[int, int], tuple[int, int]]) -> Atoms:
    """Return the slab in an in-plane superlattice, first vector along x."""
    (a, b), (c, d) = matrix
    result = make_supercell(atoms, [[a, b, 0], [c, d, 0], [0, 0, 1]])
    x, y = result.cell.array[0, :2]
    result.rotate(-np.degrees(np.arctan2(y, x)), "z", rotate_cell=True)
    result.wrap(pbc=(True, True, False))
    return result
