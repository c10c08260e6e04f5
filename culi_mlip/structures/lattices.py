"""Lattices in the plane: reduction, superlattices, point groups, matches of two of them."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

Matrix = tuple[tuple[int, int], tuple[int, int]]


def reduced_plane(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Gauss-reduced bases of 2-D lattices: the two shortest vectors, angle ≥ 90°.

    Vectors are in two or three dimensions (last axis), two a lattice (last axis but one); there may
    be any number of lattices (leading axes).
    """
    u, v = np.moveaxis(np.asarray(vectors, dtype=float), -2, 0)
    while True:
        longer = (_dot(u, u) > _dot(v, v) * (1 + 1e-12))[..., None]
        u, v = np.where(longer, v, u), np.where(longer, u, v)
        multiple = np.rint(_dot(u, v) / _dot(u, u) * (1 - 1e-12))[..., None]
        if not multiple.any():
            break
        v = v - multiple * u
    # Of the equally short ±v take the obtuse one, so that hexagons are 120°.
    acute = (_dot(u, v) > 1e-9 * _dot(u, u))[..., None]
    return np.stack([u, np.where(acute, -v, v)], axis=-2)


@functools.lru_cache(maxsize=1024)
def superlattices(index: int) -> NDArray[np.int64]:
    """Return one integer matrix (rows) for each superlattice of an index, shape (n, 2, 2).

    These are the Hermite normal forms [[i, j], [0, index / i]] with 0 ≤ j < index / i.
    """
    return np.array(
        [
            [[i, j], [0, index // i]]
            for i in range(1, index + 1)
            if index % i == 0
            for j in range(index // i)
        ]
    )


def hermite_normal_form(matrices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the Hermite normal forms of integer matrices, shape (..., 2, 2), any sign."""
    first, second = np.moveaxis(np.asarray(matrices), -2, 0)
    while (lower := second[..., 0] != 0).any():  # Euclid's algorithm on the first column
        quotient = np.where(lower, first[..., 0] // np.where(lower, second[..., 0], 1), 0)
        swapped = first - quotient[..., None] * second
        first, second = (
            np.where(lower[..., None], second, first),
            np.where(lower[..., None], swapped, second),
        )
    first = first * np.where(first[..., :1] < 0, -1, 1)
    second = second * np.where(second[..., 1:] < 0, -1, 1)
    first = first - (first[..., 1] // second[..., 1])[..., None] * second
    return np.stack([first, second], axis=-2)


def integer_span(vectors: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return a basis of the lattice that integer vectors (rows, shape (n, 2)) span."""
    rest = np.rint(vectors).astype(int)
    basis = []
    for column in (0, 1):
        while np.count_nonzero(rest[:, column]) > 1:  # Euclid's algorithm
            nonzero = np.flatnonzero(rest[:, column])
            pivot = nonzero[np.abs(rest[nonzero, column]).argmin()]
            others = nonzero[nonzero != pivot]
            rest[others] -= np.outer(rest[others, column] // rest[pivot, column], rest[pivot])
        pivot = np.flatnonzero(rest[:, column])[0]
        basis.append(rest[pivot])
        rest = np.delete(rest, pivot, axis=0)
    return hermite_normal_form(np.array(basis))


def point_group(plane: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the integer matrices P for which P·plane is the plane rotated or reflected.

    The plane's vectors are rows, shape (2, 2); the matrices have the shape (2, 4, 8 or 12, 2, 2).
    """
    reduced = reduced_plane(plane)
    change = np.rint(reduced @ np.linalg.inv(plane)).astype(int)
    # In a reduced basis the entries of an isometry are -1, 0 or 1.
    entries = np.stack(np.meshgrid(*[[-1, 0, 1]] * 4, indexing="ij"), axis=-1).reshape(-1, 2, 2)
    metric = reduced @ reduced.T
    same = np.abs(entries @ metric @ entries.swapaxes(1, 2) - metric).max(axis=(1, 2))
    inverse = np.rint(np.linalg.inv(change)).astype(int)
    return np.asarray(inverse @ entries[same <= 1e-6 * metric.max()] @ change)


def distinct_superlattices(index: int, group: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return one superlattice of each orbit under a point group, shape (n, 2, 2)."""
    forms = superlattices(index)
    images = _code(hermite_normal_form(forms[:, None] @ group), index)
    return forms[images.min(axis=1) == _code(forms, index)]


def _code(forms: NDArray[np.int64], index: int) -> NDArray[np.int64]:
    """One number for each Hermite normal form of an index."""
    return np.asarray(forms[..., 0, 0] * (index + 1) + forms[..., 0, 1])


def _dot(u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((u * v).sum(axis=-1))
