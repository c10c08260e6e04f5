"""Where to evaluate next: the point whose predicted objectives add most hypervolume."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import softmax

from culi_mlip.optimize.hypervolume import Improvement
from culi_mlip.optimize.space import Space
from culi_mlip.optimize.surrogates import Surrogates, Uncertainty, squared_distances

Array = NDArray[np.float64]

N_CANDIDATES = 1000
"""Random candidates, half of them near good points."""

N_STARTS = 3
"""Candidates that are improved by SLSQP: the best of all, and as many of those from anywhere."""

EXTREME = 0.3
"""Concentration of the random weights of objectives: less than 1 favours the ends of the front."""

NEAREST = 1e-4
"""Least distance of a new point from all others, in coordinates from -1 to 1."""

WALK, SEARCH = 12, 40
"""Most steps of a local search: towards the front, and of the hypervolume."""

SCALE = 0.1
"""Unit of the logarithm of the gain in local searches: sets how precisely they end."""

DOUBT = 7.0
"""A point counts as infeasible from this doubt on that its evaluation succeeds."""

WITHIN = 1e-6
"""How far inside the constraints the local search ends, in their units: it ends on them."""


@dataclass(frozen=True)
class Infill:
    """What a new point is worth."""

    surrogates: Surrogates  # of the objectives, then of the constraints
    n_objectives: int  # number of objectives
    improvement: Improvement  # hypervolume added to the front of all evaluated and believed points
    margins: Array  # added to each predicted constraint, in its unit, shape (constraints,)
    spans: Array  # range of each objective in the evaluations, shape (n_objectives,)
    units: Array  # unit of each constraint: its typical size, shape (constraints,)
    uncertainty: Uncertainty  # of the surrogates, with believed and failed points taken as known
    # Times each objective's error and the uncertainty is what is taken off the prediction: 0 is
    # the predicted hypervolume (PHV), 1 the S-metric with a bonus for what is unknown (SMS).
    optimism: float
    errors: Array  # error of each objective's surrogate where nothing is known, shape (objectives,)
    # Coordinates of evaluations that gave a result, and of those that failed.
    successes: Array
    failures: Array
    trust: float  # how far neighbours foretell success, from 0 to 1, see `trust_in_neighbours`
    caution: float  # exponent of the estimated success: how much it weighs beside the hypervolume

    def merit(self, points: Array) -> Array:
        """Return what points are worth: hypervolume if feasible, else minus the violation.

        Points are coordinates, shape (m, dimension); the result has the shape (m,).
        """
        predicted = self.surrogates.predict(points)
        objectives = predicted[:, : self.n_objectives]
        if self.optimism:
            unknown = self.uncertainty(points)[:, None]
            objectives = objectives - self.optimism * self.errors * unknown
        violation = (predicted[:, self.n_objectives :] + self.margins) / self.units
        doubt = self.doubt(points)
        violation = np.maximum(violation, 0.0).sum(axis=1) + np.maximum(doubt - DOUBT, 0.0)
        gain = self.improvement(objectives) * np.exp(-doubt)
        return np.where(violation > 0, -violation, gain)

    def doubt(self, points: Array) -> Array:
        """Return minus the logarithm of the estimated success of an evaluation, shape (m,).

        That is the share of successes among all evaluations and that among neighbours, mixed by
        `trust`, to the power of `caution`; in units of what it is among successes alone.
        """
        if len(self.failures) == 0:
            return np.zeros(len(points))
        known = np.vstack([self.successes, self.failures])
        nearby = _neighbours(points, known)[:, : len(self.successes)].sum(axis=1)
        rate = len(self.successes) / len(known)
        unsure = (1 - self.trust) * rate
        share = (unsure + self.trust * nearby) / (unsure + self.trust)
        return np.asarray(-self.caution * np.log(np.maximum(share, 1e-300)))

    def gain(self, point: Array, values: Array, jacobian: Array) -> tuple[float, Array]:
        """Return the hypervolume gained at a point and its gradient, for a local search.

        Values and jacobian are those of the surrogates there.
        """
        objectives, slopes = values[: self.n_objectives], jacobian[: self.n_objectives]
        if self.optimism:
            unknown, slope = self.uncertainty.with_gradient(point)
            objectives = objectives - self.optimism * self.errors * unknown
            slopes = slopes - self.optimism * self.errors[:, None] * slope
        gain, by_objective = self.improvement.with_gradient(objectives)
        return gain, by_objective @ slopes

    def slack(self, values: Array, jacobian: Array) -> tuple[Array, Array]:
        """Return by how much each constraint is met, positive if it is, and the jacobian."""
        constraints = values[self.n_objectives :] + self.margins
        return -constraints / self.units, -jacobian[self.n_objectives :] / self.units[:, None]


def trust_in_neighbours(successes: Array, failures: Array) -> float:
    """Return how far neighbours foretell success: 0 if failures come at random, 1 at most.

    The weight of the neighbours' share of successes, mixed with the share among all, that makes
    what happened likeliest when each evaluation is foretold from the others; the least weight that
    does so within one unit of the logarithm. Both are coordinates, shape (points, dimension).
    """
    if len(failures) == 0 or len(successes) == 0:
        return 0.0
    known = np.vstack([successes, failures])
    happened = np.arange(len(known)) < len(successes)
    weights = _neighbours(known, known, others_only=True)
    nearby = weights[:, : len(successes)].sum(axis=1)
    rate = (len(successes) - happened) / max(len(known) - 1, 1)
    trusts = np.linspace(0, 1, 11)
    foretold = (1 - trusts[:, None]) * rate + trusts[:, None] * nearby
    foretold = np.clip(foretold, 0.5 / len(known), 1 - 0.5 / len(known))
    likelihoods = np.log(np.where(happened, foretold, 1 - foretold)).sum(axis=1)
    return float(trusts[np.argmax(likelihoods > likelihoods.max() - 1.0)])


def _neighbours(points: Array, known: Array, others_only: bool = False) -> Array:
    """Weights of known points by inverse distance (Shepard, 1968), shape (points, known)."""
    power = (points.shape[1] + 2) / 2
    logarithms = -power * np.log(squared_distances(points, known) + 1e-12)
    if others_only:
        np.fill_diagonal(logarithms, -np.inf)
    return np.asarray(softmax(logarithms, axis=1))


def best_point(
    infill: Infill, space: Space, good: Array, taken: Array, rng: np.random.Generator
) -> Array | None:
    """Search for the point of highest merit, shape (dimension,); None if every candidate is taken.

    Random candidates over the space and near good points are ranked together; the best few are
    improved by SLSQP in the continuous coordinates. Points that are good, and that are taken and
    not to be asked again, have the shape (points, dimension).
    """
    anywhere = _free(_anywhere(space, rng), taken)
    candidates = np.vstack([anywhere, _free(_near(space, good, rng), taken)])
    if len(candidates) == 0:
        return None
    everywhere, merits = candidates, infill.merit(candidates)
    merit, order = merits, np.argsort(-merits, kind="stable")
    if space.is_continuous.any():
        starts = _apart(candidates[order[: 10 * N_STARTS]])
        starts += _apart(anywhere[order[order < len(anywhere)][: 10 * N_STARTS]])
        weights = rng.dirichlet(np.full(infill.n_objectives, EXTREME), len(starts)) / infill.spans
        polished = np.array(
            [_polished(infill, space, *pair) for pair in zip(starts, weights, strict=True)]
        )
        polished = _free(space.snap(polished), taken)
        candidates = np.vstack([candidates[order[:1]], polished])
        merit = infill.merit(candidates)
    best = merit.argmax()
    if merit[best] == 0 and infill.optimism == 0:  # nothing is promised: hope for more
        return best_point(replace(infill, optimism=1.0), space, good, taken, rng)
    if merit[best] == 0:  # go where least is known
        unknown = infill.uncertainty(everywhere) * np.exp(-infill.doubt(everywhere))
        return np.asarray(everywhere[np.where(merits == 0, unknown, -1.0).argmax()])
    return np.asarray(candidates[best])


def _anywhere(space: Space, rng: np.random.Generator) -> Array:
    points = rng.uniform(space.lower, space.upper, (N_CANDIDATES // 2, space.dimension))
    return rng.permutation(np.unique(space.snap(points), axis=0))


def _near(space: Space, good: Array, rng: np.random.Generator) -> Array:
    """Random steps from good points, and from between them."""
    n = N_CANDIDATES // 2
    first, second = rng.integers(len(good), size=(2, n))
    mix = np.where(rng.random(n) < 0.3, rng.random(n), 0.0)[:, None]
    between = space.snap(good[first] + mix * (good[second] - good[first]))
    steps = space.steps(rng, between, 10 ** rng.uniform(-3, -0.2, n))
    return rng.permutation(np.unique(steps, axis=0))


def _free(candidates: Array, taken: Array) -> Array:
    if len(candidates) == 0:
        return candidates
    nearest2 = squared_distances(candidates, taken).min(axis=1)
    return candidates[nearest2 > NEAREST**2]


def _apart(ranked: Array) -> list[Array]:
    """The first few points that are not close to a better one."""
    chosen: list[Array] = []
    for point in ranked:
        if len(chosen) == N_STARTS:
            break
        if all(np.linalg.norm(point - other) > 0.1 for other in chosen):
            chosen.append(point)
    return chosen


def _polished(infill: Infill, space: Space, start: Array, weights: Array) -> Array:
    """Improve a point's continuous coordinates.

    The hypervolume is flat where the front dominates: from there, and from where constraints do
    not hold, the search first minimises the weighted sum of the predicted objectives.
    """
    gain = infill.merit(start[None])[0]
    if gain <= 0:
        start = _searched(infill, space, start, partial(_weighted, weights), WALK)
        gain = infill.merit(start[None])[0]
    if gain <= 0:
        return start

    def objective(point: Array, values: Array, jacobian: Array) -> tuple[float, Array]:
        """Minus the logarithm of the gain: products of sides become sums, which suit SLSQP."""
        value, gradient = infill.gain(point, values, jacobian)
        value = max(value, 1e-3 * gain)
        return -SCALE * np.log(value / gain), -SCALE * gradient / value

    return _searched(infill, space, start, objective, SEARCH)


def _weighted(weights: Array, _point: Array, values: Array, jacobian: Array) -> tuple[float, Array]:
    return float(weights @ values[: len(weights)]), weights @ jacobian[: len(weights)]


def _searched(
    infill: Infill,
    space: Space,
    start: Array,
    objective: Callable[[Array, Array, Array], tuple[float, Array]],
    steps: int,
) -> Array:
    """Minimise a function of a point and the surrogates there, from a start on, by SLSQP."""
    free = space.is_continuous

    def whole(x: Array) -> Array:
        point = start.copy()
        point[free] = x
        return point

    last: dict[bytes, tuple[Array, Array]] = {}

    def predicted(x: Array) -> tuple[Array, Array]:
        """The surrogates, evaluated once for objective, constraints and their derivatives."""
        key = x.tobytes()
        if key not in last:
            last.clear()
            last[key] = infill.surrogates.with_jacobian(whole(x))
        return last[key]

    def function(x: Array) -> tuple[float, Array]:
        value, gradient = objective(whole(x), *predicted(x))
        return value, gradient[free]

    constraints = []
    if len(infill.units):
        constraints = [
            {
                "type": "ineq",
                "fun": lambda x: infill.slack(*predicted(x))[0] - WITHIN,
                "jac": lambda x: infill.slack(*predicted(x))[1][:, free],
            }
        ]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        result = minimize(
            function,
            start[free],
            jac=True,
            method="SLSQP",
            bounds=list(zip(space.lower[free], space.upper[free], strict=True)),
            constraints=constraints,
            options={"maxiter": steps, "ftol": 1e-6},
        )
    return whole(result.x) if np.isfinite(result.x).all() else start
