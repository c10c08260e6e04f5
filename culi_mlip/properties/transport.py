"""Diffusion from trajectories: mean square displacements, coefficients with errors, Arrhenius."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from ase import Atoms, units
from ase.geometry import find_mic
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from culi_mlip.errors import CuliError

BLOCKS = 10
"""Parts of a trajectory, whose coefficients tell the error of their mean."""

FITTED = 1.0, 5.0
"""Times in ps between which displacements are fitted: vibrations are over."""


@dataclass(frozen=True)
class Diffusion:
    """How fast atoms of an element wander.

    Attributes
    ----------
    coefficient
        In Å²/ps (10⁻⁴ cm²/s); None where the trajectory is too short for it.
    error
        Half width of its 95 % confidence interval.
    lags, displacements
        Time in ps and mean square displacement in Å², over all origins and atoms.
    exponent
        Of a power law through the fitted part: 1 of diffusion, 0 of atoms that stay.
    withheld
        Why there is no coefficient.
    """

    coefficient: float | None
    error: float | None
    lags: NDArray[np.float64]
    displacements: NDArray[np.float64]
    exponent: float
    withheld: str | None = None


@dataclass(frozen=True)
class Arrhenius:
    """D = D₀ exp(-E/kT).

    Attributes
    ----------
    activation_energy, error
        E in eV, and the half width of its 95 % confidence interval.
    prefactor
        D₀ in Å²/ps.
    """

    activation_energy: float
    error: float
    prefactor: float


def unwrapped(frames: Sequence[Atoms]) -> NDArray[np.float64]:
    """Return positions that do not jump across cell boundaries, shape (frames, atoms, 3), in Å.

    Atoms may move by less than half of a cell between frames.
    """
    steps = [
        find_mic(after.positions - before.positions, after.cell, after.pbc)[0]
        for before, after in pairwise(frames)
    ]
    return np.asarray(frames[0].positions + np.cumsum([np.zeros_like(steps[0]), *steps], axis=0))


def mean_square_displacement(
    positions: NDArray[np.float64], lags: ArrayLike
) -> NDArray[np.float64]:
    """Return the mean over atoms and all origins of the square of displacements, in Å².

    Parameters
    ----------
    positions
        Unwrapped, shape (frames, atoms, dimensions), in Å.
    lags
        In frames.
    """
    return np.array(
        [
            np.square(positions[lag:] - positions[: len(positions) - lag]).sum(axis=-1).mean()
            for lag in np.asarray(lags, dtype=int)
        ]
    )


def diffusion(
    positions: NDArray[np.float64],
    interval: float,
    *,
    relative_to: NDArray[np.float64] | None = None,
    fit: tuple[float, float] = FITTED,
    blocks: int = BLOCKS,
) -> Diffusion:
    """Return the diffusion coefficient of atoms, with its error.

    The trajectory is parted into blocks. In each a straight line is fitted to the mean square
    displacements of all origins; its slope is 2 D a dimension (Einstein). The error is that of the
    mean of the blocks' coefficients, by Student's t.

    Parameters
    ----------
    positions
        Unwrapped positions of the atoms that diffuse, shape (frames, atoms, dimensions), in Å; two
        dimensions for a surface. See `unwrapped`.
    interval
        Time between frames in ps.
    relative_to
        Positions of what they diffuse in, shape (frames, others, dimensions), whose drift is taken
        out; by default none is.
    fit
        Times in ps between which the line is fitted.
    blocks
        How many.

    Raises
    ------
    CuliError
        If a block is shorter than twice the times that are fitted, or these are too near.

    Examples
    --------
    >>> steps = np.random.default_rng(0).normal(size=(4000, 50, 3), scale=0.2)
    >>> found = diffusion(steps.cumsum(axis=0), interval=0.04)
    >>> round(found.coefficient, 1)  # 0.2² Å²/(2 · 0.04 ps)
    0.5
    """
    length = len(positions) // blocks
    first, last = (round(time / interval) for time in fit)
    if length < 2 * last:
        raise CuliError(
            f"a trajectory of {len(positions) * interval:g} ps, in {blocks} blocks, is too short "
            f"for displacements up to {fit[1]:g} ps: give at least {2 * blocks * fit[1]:g} ps, or "
            "fit earlier ones"
        )
    if not 0 < first < last:
        raise CuliError(
            f"displacements between {fit[0]:g} and {fit[1]:g} ps, of frames each {interval:g} ps: "
            "give times of two frames or more"
        )
    if relative_to is not None:
        positions = positions - relative_to.mean(axis=1, keepdims=True)
    lags = np.unique(np.linspace(first, last, 20).round().astype(int))
    times, dimensions = lags * interval, positions.shape[-1]
    of_blocks = np.array(
        [
            mean_square_displacement(positions[i * length : (i + 1) * length], lags)
            for i in range(blocks)
        ]
    )
    coefficients = np.polyfit(times, of_blocks.T, 1)[0] / (2 * dimensions)
    mean = of_blocks.mean(axis=0)
    exponent = float(np.polyfit(np.log(times), np.log(np.maximum(mean, 1e-12)), 1)[0])
    error = float(stats.sem(coefficients) * stats.t.ppf(0.975, blocks - 1))
    if exponent < 0.7:
        return Diffusion(
            None,
            None,
            times,
            mean,
            exponent,
            f"mean square displacements grow as time to the power of {exponent:.2f} up to "
            f"{times[-1]:g} ps, where they are {mean[-1]:.2g} Å²: run longer",
        )
    return Diffusion(float(coefficients.mean()), error, times, mean, exponent)


def diffusion_in(
    frames: Sequence[Atoms],
    symbol: str,
    *,
    interval: float | None = None,
    in_plane: bool = False,
    fit: tuple[float, float] = FITTED,
    blocks: int = BLOCKS,
) -> Diffusion:
    """Return the diffusion coefficient of an element in a trajectory; see `diffusion`.

    Parameters
    ----------
    frames
        Of equal distance in time.
    symbol
        The element; the drift of all others is taken out.
    interval
        Time between frames in ps; by default what ``info["time_ps"]`` of the frames says.
    in_plane
        Along x and y alone.
    fit, blocks
        As in `diffusion`.

    Raises
    ------
    CuliError
        If the element is not there, the interval is not known, or the trajectory is too short.
    """
    if len(frames) < 2:
        raise CuliError("a trajectory of one frame: give more")
    chosen = frames[0].symbols == symbol
    if not chosen.any():
        raise CuliError(f"{frames[0].get_chemical_formula()} holds no {symbol}: name another one")
    if interval is None:
        times = np.array([atoms.info.get("time_ps", np.nan) for atoms in frames])
        steps = np.diff(times)
        if not (np.allclose(steps, steps[0]) and steps[0] > 0):
            raise CuliError("the frames do not tell equal steps of time: give the interval in ps")
        interval = float(steps.mean())
    positions = unwrapped(frames)[:, :, : 2 if in_plane else 3]
    others = None if chosen.all() else positions[:, ~chosen]
    return diffusion(positions[:, chosen], interval, relative_to=others, fit=fit, blocks=blocks)


def arrhenius(temperatures: ArrayLike, coefficients: ArrayLike, errors: ArrayLike) -> Arrhenius:
    """Fit activation energy and prefactor to diffusion coefficients.

    Parameters
    ----------
    temperatures
        In K, at least two.
    coefficients, errors
        In Å²/ps, with half widths of 95 % confidence intervals, as in `Diffusion`.

    Raises
    ------
    CuliError
        If there are fewer than two temperatures, or a coefficient or error is not positive.
    """
    kelvin, values, widths = (
        np.asarray(x, dtype=float) for x in (temperatures, coefficients, errors)
    )
    if len(kelvin) < 2 or not ((values > 0) & (widths > 0) & (kelvin > 0)).all():
        raise CuliError(
            "an Arrhenius fit needs two temperatures, and positive coefficients and errors"
        )
    relative = widths / values / stats.norm.ppf(0.975)  # standard errors of ln D
    (slope, offset), covariance = np.polyfit(
        1 / (units.kB * kelvin), np.log(values), 1, w=1 / relative, cov="unscaled"
    )
    error = float(np.sqrt(covariance[0, 0]) * stats.norm.ppf(0.975))
    return Arrhenius(float(-slope), error, float(np.exp(offset)))


def radial_distribution(
    frames: Sequence[Atoms],
    pair: tuple[str, str],
    *,
    r_max: float = 10.0,
    bin_width: float = 0.05,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how atoms of one element lie about those of another, g(r), averaged over frames.

    Parameters
    ----------
    frames
        Periodic in three directions: elsewhere there is no density to compare with.
    pair
        Elements of centre and neighbour.
    r_max, bin_width
        In Å.

    Returns
    -------
    distances : array, shape (bins,)
        Centres of the bins in Å.
    density : array, shape (bins,)
        Of neighbours, over their mean in the cell: 1 far away.

    Raises
    ------
    CuliError
        If a frame is not periodic, or lacks an element.
    """
    from matscipy.neighbours import neighbour_list

    edges = np.arange(0, r_max + bin_width / 2, bin_width)
    shells = 4 / 3 * np.pi * np.diff(edges**3)
    found = np.zeros(len(shells))
    for atoms in frames:
        of_each = [atoms.symbols == symbol for symbol in pair]
        if not atoms.pbc.all() or not all(chosen.any() for chosen in of_each):
            raise CuliError(
                f"{atoms.get_chemical_formula()}: a radial distribution of {' and '.join(pair)} "
                "needs both, and three periods"
            )
        i, j, lengths = neighbour_list("ijd", atoms, r_max)
        counts, _ = np.histogram(lengths[of_each[0][i] & of_each[1][j]], bins=edges)
        others = of_each[1].sum() - (pair[0] == pair[1])
        found += counts / (of_each[0].sum() * shells * others / atoms.get_volume())
    return (edges[1:] + edges[:-1]) / 2, found / len(frames)
