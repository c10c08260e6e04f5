"""What a run shows: drift of the energy, heights of the atoms, atoms that left."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list
from numpy.typing import ArrayLike, NDArray

from culi_mlip.records import Record


class Heights(Record):
    """How atoms of an element are distributed along z; see `height_profile`."""

    height: list[float]
    density: list[float]


class MDSummary(Record):
    """What a thermostatted run and one without a thermostat show."""

    temperature_K: float  # of the thermostat
    # Lengths of the runs.
    nvt_time_ps: float
    nve_time_ps: float
    nve_drift: float  # of the energy without thermostat, eV/atom/ps
    lost_atoms: list[int]  # atoms that left the slab
    heights: dict[str, Heights]  # by element, averaged over the thermostatted run


def energy_drift(time_ps: ArrayLike, energy: ArrayLike, n_atoms: int) -> float:
    """Return the slope of a straight line through the energy, in eV/atom/ps.

    Parameters
    ----------
    time_ps
        Times in ps, at least two.
    energy
        Total (or conserved) energy in eV at each time.
    n_atoms
        Number of atoms.
    """
    slope, _ = np.polyfit(np.asarray(time_ps, float), np.asarray(energy, float), 1)
    return float(slope) / n_atoms


def height_profile(
    frames: list[Atoms], symbol: str, *, bin_width: float = 0.1
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how atoms of one element are distributed along z, averaged over frames.

    Parameters
    ----------
    frames
        Frames of a trajectory.
    symbol
        The element.
    bin_width
        Width of a bin in Å.

    Returns
    -------
    heights : array, shape (bins,)
        Centres of the bins in Å.
    density : array, shape (bins,)
        Atoms a frame in each bin, per Å.
    """
    z = np.concatenate([atoms.positions[atoms.symbols == symbol, 2] for atoms in frames])
    edges = np.arange(z.min() - 1, z.max() + 1 + bin_width, bin_width)
    counts, edges = np.histogram(z, bins=edges)
    return (edges[1:] + edges[:-1]) / 2, counts / (len(frames) * bin_width)


def lost_atoms(atoms: Atoms, *, cutoff: float = 5.0) -> list[int]:
    """Return the atoms that have left: those not connected to the largest cluster.

    Atoms closer than `cutoff` (Å) are connected; a stray pair counts as two lost atoms.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    i, j = neighbor_list("ij", atoms, cutoff)
    graph = coo_array((np.ones(len(i)), (i, j)), shape=(len(atoms), len(atoms)))
    _, cluster = connected_components(graph)
    return np.flatnonzero(cluster != np.bincount(cluster).argmax()).tolist()
