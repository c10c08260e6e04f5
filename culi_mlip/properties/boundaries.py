"""How sharp the boundary of a film and its substrate is, as time goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy import optimize, stats

from culi_mlip.errors import CuliError

BIN = 0.2
"""Thickness of a slice in Å."""

TEN_TO_NINETY = 2 * stats.norm.ppf(0.9)
"""Between shares of 10 and 90 %, in standard deviations of the error function."""


@dataclass(frozen=True)
class Intermixing:
    """The boundary of a film and its substrate in parts of a trajectory.

    Attributes
    ----------
    film, substrate
        Elements.
    times
        Middle of each part in ps; of frames without times their numbers.
    widths
        Between 10 and 90 % of film, in Å.
    heights
        Middle of the error function, where half of the atoms are film, z in Å.
    crossed
        Shares of the film's atoms below that height, and of the substrate's above it, shape
        (parts, 2).
    bins
        Middles of slices along z in Å, shape (bins,).
    profiles
        Atoms of film and substrate a frame and Å in each slice, shape (parts, 2, bins).
    """

    film: str
    substrate: str
    times: NDArray[np.float64]
    widths: NDArray[np.float64]
    heights: NDArray[np.float64]
    crossed: NDArray[np.float64]
    bins: NDArray[np.float64]
    profiles: NDArray[np.float64]


def intermixing(
    frames: Sequence[Atoms], film: str = "Li", substrate: str = "Cu", *, parts: int = 10
) -> Intermixing:
    """Return the width of the boundary between a film and the substrate below it.

    The share of film atoms is an error function of the height; its middle and width are the most
    likely ones for the elements at the heights of all atoms of a part of the trajectory.

    Parameters
    ----------
    frames
        A trajectory of a film on a substrate, z upwards, not periodic along z or with empty space.
    film, substrate
        Elements.
    parts
        Of the trajectory.

    Raises
    ------
    CuliError
        If a frame lacks one of the elements, the film lies below the substrate, or there are
        fewer frames than parts.
    """
    if len(frames) < parts or parts < 1:
        raise CuliError(f"{len(frames)} frames in {parts} parts: give as many frames, or more")
    for atoms in frames:
        if not {film, substrate} <= set(atoms.symbols):
            raise CuliError(
                f"{atoms.get_chemical_formula()} has no boundary of {film} and {substrate}"
            )
    everywhere = np.concatenate([atoms.positions[:, 2] for atoms in frames])
    edges = np.arange(everywhere.min() - 1, everywhere.max() + 1 + BIN, BIN)
    times, rows, profiles = [], [], []
    for indices in np.array_split(np.arange(len(frames)), parts):
        part = [frames[i] for i in indices]
        of_each = [
            np.concatenate([atoms.positions[atoms.symbols == symbol, 2] for atoms in part])
            for symbol in (film, substrate)
        ]
        if of_each[0].mean() <= of_each[1].mean():
            raise CuliError(f"the {film} does not lie above the {substrate}: turn the cell over")
        height, deviation = _boundary(*of_each)
        crossed = (of_each[0] < height).mean(), (of_each[1] > height).mean()
        times.append(
            np.mean([a.info.get("time_ps", i) for a, i in zip(part, indices, strict=True)])
        )
        rows.append([deviation, height, *crossed])
        profiles.append([np.histogram(z, edges)[0] / (len(part) * BIN) for z in of_each])
    found = np.array(rows)
    return Intermixing(
        film,
        substrate,
        np.array(times),
        TEN_TO_NINETY * found[:, 0],
        found[:, 1],
        found[:, 2:4],
        (edges[1:] + edges[:-1]) / 2,
        np.array(profiles),
    )


def _boundary(film: NDArray[np.float64], substrate: NDArray[np.float64]) -> tuple[float, float]:
    """Middle and standard deviation in Å of the error function most likely for the heights."""

    def unlikelihood(parameters: NDArray[np.float64]) -> float:
        middle, deviation = parameters[0], np.exp(parameters[1])
        return -float(
            stats.norm.logcdf((film - middle) / deviation).sum()
            + stats.norm.logsf((substrate - middle) / deviation).sum()
        )

    # In a sharp boundary the middle of the gap: every width below the gap's is as likely.
    start = (np.quantile(film, 0.05) + np.quantile(substrate, 0.95)) / 2
    found = optimize.minimize(
        unlikelihood,
        [start, 0.0],
        method="L-BFGS-B",
        bounds=[(None, None), (np.log(0.05), np.log(100.0))],
    )
    return float(found.x[0]), float(np.exp(found.x[1]))
