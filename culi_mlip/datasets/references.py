"""Per-element reference energies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from ase import Atoms
from numpy.typing import NDArray


def fit_reference_energies(frames: Sequence[Atoms]) -> dict[str, float]:
    """Fit one energy an element, in eV/atom, to the total energies of labelled frames.

    Least squares on E = Σ n_element E_element, each frame divided by its number of atoms, so
    that the residuals are energies per atom. Where compositions cannot tell elements apart
    the smallest solution is taken.

    Parameters
    ----------
    frames
        Frames with energies.

    Returns
    -------
    dict
        Energy by chemical symbol, in alphabetical order.
    """
    symbols = sorted({symbol for atoms in frames for symbol in atoms.symbols})
    counts = _counts(frames, symbols)
    sizes = counts.sum(axis=1, keepdims=True)
    energies = np.array([atoms.get_potential_energy() for atoms in frames])
    solution, *_ = np.linalg.lstsq(counts / sizes, energies / sizes[:, 0], rcond=None)
    return dict(zip(symbols, (float(e) for e in solution), strict=True))


def composition_energies(
    frames: Sequence[Atoms], references: Mapping[str, float]
) -> NDArray[np.float64]:
    """Return Σ n_element E_element of each frame in eV."""
    symbols = sorted(references)
    return _counts(frames, symbols) @ np.array([references[s] for s in symbols])


def _counts(frames: Sequence[Atoms], symbols: Sequence[str]) -> NDArray[np.float64]:
    return np.array([[(atoms.symbols == s).sum() for s in symbols] for atoms in frames], float)
