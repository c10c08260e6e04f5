"""Per-element reference energies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray

Composition = Mapping[str, int]
"""Number of atoms by chemical symbol."""


def composition(atoms: Atoms) -> dict[str, int]:
    """Return the number of atoms by chemical symbol."""
    return dict(atoms.symbols.formula.count())


def fit_reference_energies(frames: Sequence[Atoms]) -> dict[str, float]:
    """Fit one energy an element, in eV/atom, to the total energies of labelled frames.

    See `fit_energies`.
    """
    energies = [atoms.get_potential_energy() for atoms in frames]
    return fit_energies([composition(atoms) for atoms in frames], energies)


def fit_energies(compositions: Sequence[Composition], energies: ArrayLike) -> dict[str, float]:
    """Fit one energy an element, in eV/atom, to total energies in eV, shape (frames,).

    Least squares on E = Σ n_element E_element, each frame divided by its number of atoms, so that
    the residuals are energies per atom. Where compositions cannot tell elements apart the smallest
    solution is taken. Elements are in alphabetical order.
    """
    symbols = sorted({symbol for counts in compositions for symbol in counts})
    counts = _table(compositions, symbols)
    sizes = counts.sum(axis=1, keepdims=True)
    solution, *_ = np.linalg.lstsq(counts / sizes, np.asarray(energies) / sizes[:, 0], rcond=None)
    return dict(zip(symbols, (float(e) for e in solution), strict=True))


def composition_energies(
    compositions: Iterable[Composition], references: Mapping[str, float]
) -> NDArray[np.float64]:
    """Return Σ n_element E_element of each frame in eV."""
    symbols = sorted(references)
    return _table(compositions, symbols) @ np.array([references[s] for s in symbols])


def _table(compositions: Iterable[Composition], symbols: Sequence[str]) -> NDArray[np.float64]:
    return np.array([[counts.get(s, 0) for s in symbols] for counts in compositions], float)
