"""SAMO-COBRA: surrogate-assisted multi-objective optimisation with constraints, ask and tell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache, cached_property
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import qmc
from threadpoolctl import ThreadpoolController

from culi_mlip.errors import SpaceError
from culi_mlip.optimize.hypervolume import Improvement, hypervolume, nondominated
from culi_mlip.optimize.infill import Infill, best_point, trust_in_neighbours
from culi_mlip.optimize.space import Space
from culi_mlip.optimize.surrogates import Surrogates, Uncertainty, fit

Array = NDArray[np.float64]
Point = dict[str, Any]

OPTIMISM = (0.0, 0.0, 0.0, 0.0, 1.0)
"""Criteria of evaluations in turn: four of predicted hypervolume, one of S-metric."""

FIRST_MARGIN, LEAST_MARGIN, LARGEST_MARGIN = 0.3, 0.2, 2.0
"""Roots of the margins of constraints, in units of the error of the constraint's surrogate."""

MOST_OF_SIZE = 0.16
"""Largest margin in units of the constraint's mean size."""

NARROWER, WIDER = 0.9, 1.2
"""Factors of that root after an evaluation where the constraint held, and where it did not."""

LEAST_CAUTION, MOST_CAUTION = 2.0, 100.0
"""Exponents of the estimated success of an evaluation."""

BOLDER, WARIER = 0.99, 3.0
"""Factors of that exponent after an evaluation that succeeded, and after one that failed."""

FOCUS = 30
"""Most evaluations that judge the surrogates."""


class SamoCobra:
    """Minimise several expensive functions at once, subject to constraints.

    Every function has a surrogate through all evaluations, of the kernel and transform that
    predict it best. The next point is the one whose predicted objectives add most to the
    hypervolume where all constraints are predicted to hold. In a batch, earlier points are
    believed to turn out as predicted. Whatever is asked is a function of the history, the pending
    points and the seed alone.

    Parameters
    ----------
    space
        What is searched.
    n_objectives
        Number of objectives, at least 1; all are minimised.
    n_constraints
        Number of constraints; each holds where its value is at most 0.
    seed
        Seed of all that is random.
    n_initial
        Evaluations of the initial Halton design; parameters + 1 by default.
    reference
        Reference point of the hypervolume, shape (n_objectives,); by default it lies beyond the
        worst objectives of all evaluations.
    noisy
        Whether repeated evaluations differ: surrogates are then smoothed as far as leave-one-out
        errors ask for.

    Raises
    ------
    SpaceError
        If a number is impossible.

    References
    ----------
    de Winter, van Stein, Bäck, SAMO-COBRA: a fast surrogate assisted constrained multi-objective
    optimization algorithm, EMO 2021, LNCS 12654, 270 (2021).

    Examples
    --------
    >>> from culi_mlip.optimize import Real, SamoCobra, Space
    >>> opt = SamoCobra(Space(x=Real(-2, 2)), n_objectives=2, seed=0)
    >>> for _ in range(5):
    ...     points = opt.ask(2)
    ...     opt.tell(points, [(p["x"] ** 2, (p["x"] - 1) ** 2) for p in points])
    >>> len(opt.history)
    10
    """

    def __init__(
        self,
        space: Space,
        n_objectives: int,
        n_constraints: int = 0,
        *,
        seed: int = 0,
        n_initial: int | None = None,
        reference: ArrayLike | None = None,
        noisy: bool = False,
    ) -> None:
        if n_objectives < 1 or n_constraints < 0:
            raise SpaceError(
                f"{n_objectives} objectives and {n_constraints} constraints: give at least one "
                "objective and no negative number"
            )
        if n_initial is not None and n_initial < 1:
            raise SpaceError(f"an initial design of {n_initial}: give at least 1 evaluation")
        self.space = space
        self.n_objectives, self.n_constraints = n_objectives, n_constraints
        self.seed = check_seed(seed)
        self.n_initial = n_initial or len(space.parameters) + 1
        self.reference = None if reference is None else np.asarray(reference, float)
        if self.reference is not None and (
            self.reference.shape != (n_objectives,) or not np.isfinite(self.reference).all()
        ):
            raise SpaceError(
                f"reference point {self.reference}: give one number for each of {n_objectives} "
                "objectives, all finite"
            )
        self.noisy = noisy
        self.history: list[Point] = []
        self.pending: list[Point] = []
        self._coordinates: list[Array] = []
        self._values: list[Array] = []  # objectives and constraints; NaN where it failed

    def ask(self, n: int = 1) -> list[Point]:
        """Return the next points to evaluate; they are pending until told.

        Parameters
        ----------
        n
            How many. Fewer are returned if a space without real parameters has no more.
        """
        points: list[Point] = []
        plan = _Plan(self)
        with _blas().limit(limits=1):  # matrices are small: threads would only wait for each other
            for _ in range(n):
                point = plan.next()
                if point is None:
                    break
                points.append(point)
                self.pending.append(point)
        return points

    def tell(self, points: Iterable[Mapping[str, Any]], outcomes: Iterable[Any]) -> None:
        """Report evaluations, of points that were asked or any others.

        Parameters
        ----------
        points
            What was evaluated.
        outcomes
            For each point its objectives followed by its constraints, or a pair of both; ``None``,
            an exception or anything that is not finite is a failure.

        Raises
        ------
        SpaceError
            If a point is not of the space, or the number of values is wrong. Nothing is told then.
        """
        told = [(dict(p), self.space.encode(p), self._outcome(o)) for p, o in
                zip(points, outcomes, strict=True)]  # fmt: skip
        for point, coordinates, values in told:
            if point in self.pending:
                self.pending.remove(point)
            self.history.append(point)
            self._coordinates.append(coordinates)
            self._values.append(values)

    @property
    def objectives(self) -> Array:
        """Objectives of the history, NaN where it failed; shape (evaluations, n_objectives)."""
        return self._table()[:, : self.n_objectives]

    @property
    def constraints(self) -> Array:
        """Constraints of the history, NaN where it failed; shape (evaluations, n_constraints)."""
        return self._table()[:, self.n_objectives :]

    def pareto_front(self) -> tuple[list[Point], Array]:
        """Return the feasible points that no other dominates, and their objectives."""
        feasible = np.flatnonzero(self._feasible())
        objectives = self.objectives[feasible]
        chosen = feasible[nondominated(objectives)]
        order = chosen[np.argsort(self.objectives[chosen, 0], kind="stable")]
        return [self.history[i] for i in order], self.objectives[order]

    def hypervolume(self, reference: ArrayLike) -> float:
        """Return the hypervolume of the front at a fixed reference point."""
        return hypervolume(self.pareto_front()[1], np.asarray(reference, float))

    def _table(self) -> Array:
        return np.array(self._values).reshape(-1, self.n_objectives + self.n_constraints)

    def _feasible(self) -> NDArray[np.bool_]:
        table = self._table()
        holds = (table[:, self.n_objectives :] <= 0).all(axis=1)
        return np.asarray(holds & np.isfinite(table).all(axis=1))

    def _outcome(self, outcome: Any) -> Array:
        n = self.n_objectives + self.n_constraints
        failed = np.full(n, np.nan)
        if outcome is None or isinstance(outcome, BaseException):
            return failed
        values = np.concatenate([np.ravel(np.asarray(part, float)) for part in _parts(outcome)])
        if not np.isfinite(values).all():
            return failed
        if len(values) != n:
            raise SpaceError(
                f"an outcome of {len(values)} numbers: give {self.n_objectives} objectives"
                + (f" and {self.n_constraints} constraints" if self.n_constraints else "")
            )
        return values


def check_seed(seed: int) -> int:
    """Return the seed of a search.

    Raises
    ------
    SpaceError
        If it is negative or no integer.
    """
    if not isinstance(seed, Integral) or seed < 0:
        raise SpaceError(f"seed {seed}: give an integer of at least 0")
    return seed


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


def _parts(outcome: Any) -> Sequence[Any]:
    is_nested = isinstance(outcome, (tuple, list)) and any(np.ndim(part) for part in outcome)
    return outcome if is_nested else [outcome]


class _Plan:
    """The points of one call of `SamoCobra.ask`."""

    def __init__(self, optimizer: SamoCobra) -> None:
        self.optimizer, self.space = optimizer, optimizer.space
        table = optimizer._table()
        succeeded = np.asarray(np.isfinite(table).all(axis=1))
        known = np.array(optimizer._coordinates).reshape(-1, self.space.dimension)
        self.successes, self.failures = known[succeeded], known[~succeeded]
        self.values, self.succeeded = table[succeeded], succeeded
        self.pending = [self.space.encode(point) for point in optimizer.pending]
        self.n_told = len(table)

    def next(self) -> Point | None:
        """The next point, which is pending from now on."""
        asked = self.n_told + len(self.pending)
        chosen: Array | None = None
        if asked < self.optimizer.n_initial or len(self.values) < 2:
            chosen = self._design(asked)
        elif asked < self.space.n_points:
            chosen = self._best()
        if chosen is None:
            chosen = self._unseen()
        if chosen is None:
            return None
        point = self.space.decode(chosen)
        self.pending.append(self.space.encode(point))
        return point

    @property
    def taken(self) -> Array:
        """All points that are evaluated or pending."""
        return np.vstack([self.successes, self.failures, *(p[None] for p in self.pending)])

    def _design(self, index: int) -> Array | None:
        sampler = qmc.Halton(self.space.dimension, rng=self.optimizer.seed)
        for _ in range(2):  # the design, then more of the same where it repeats itself
            units = sampler.random(max(64, 2 * (index + 1)))
            points = self.space.snap(
                self.space.lower + units * (self.space.upper - self.space.lower)
            )
            seen = {tuple(np.round(p, 9)) for p in self.taken}
            for point in points:
                if tuple(np.round(point, 9)) not in seen:
                    return np.asarray(point)
        return None

    def _unseen(self) -> Array | None:
        """Any point that was not asked, found at random."""
        rng = np.random.default_rng([self.optimizer.seed, self.n_told, len(self.pending), 1])
        seen = {tuple(np.round(p, 9)) for p in self.taken}
        for _ in range(100):
            units = rng.uniform(self.space.lower, self.space.upper, (100, self.space.dimension))
            for point in self.space.snap(units):
                if tuple(np.round(point, 9)) not in seen:
                    return np.asarray(point)
        return None

    def _best(self) -> Array | None:
        rng = np.random.default_rng([self.optimizer.seed, self.n_told, len(self.pending)])
        surrogates, margins, units = self._surrogates, self._margins, self._units
        k = self.optimizer.n_objectives
        objectives, constraints = self.values[:, :k], self.values[:, k:]
        feasible = (constraints <= 0).all(axis=1)
        front, good = objectives[feasible], self.successes[feasible]
        if self.pending:
            pending = np.array(self.pending)
            believed = surrogates.predict(pending)
            holds = (believed[:, k:] + margins <= 0).all(axis=1)
            front = np.vstack([front, believed[holds, :k]])
            good = np.vstack([good, pending[holds]])
        chosen = nondominated(front)
        front, good = front[chosen], good[chosen]
        if len(good) == 0:
            violation = (np.maximum(constraints, 0.0) / units).sum(axis=1)
            good = self.successes[violation.argsort(kind="stable")[:5]]
        errors = np.array([f.error for f in surrogates.functions[:k]])
        optimism = OPTIMISM[(self.n_told + len(self.pending)) % len(OPTIMISM)]
        infill = Infill(
            surrogates=surrogates,
            n_objectives=k,
            improvement=Improvement(front, self._reference()),
            margins=margins,
            spans=np.maximum(np.ptp(objectives, axis=0), 1e-12),
            units=units,
            uncertainty=Uncertainty(self.taken),
            optimism=optimism,
            errors=errors,
            successes=self.successes,
            failures=self.failures,
            trust=self._trust,
            caution=self._caution(),
        )
        return best_point(infill, self.space, good, self.taken, rng)

    @cached_property
    def _surrogates(self) -> Surrogates:
        """Surrogates of all functions; believed points do not change what they predict."""
        return fit(self.successes, self.values, focus=self._focus(), noisy=self.optimizer.noisy)

    def _focus(self) -> NDArray[np.int64]:
        """The evaluations that matter: the newest, and those that the front is made of."""
        k, n = self.optimizer.n_objectives, len(self.values)
        violation = np.maximum(self.values[:, k:], 0.0).sum(axis=1)
        feasible = np.flatnonzero(violation == 0)
        good = feasible[nondominated(self.values[feasible, :k])]
        if len(good) == 0:
            good = violation.argsort(kind="stable")[:4]
        return np.union1d(good[-FOCUS:], np.arange(max(0, n - 4), n))

    @cached_property
    def _units(self) -> Array:
        """The mean size of each constraint."""
        units = np.abs(self.values[:, self.optimizer.n_objectives :]).mean(axis=0)
        units[units == 0] = 1.0
        return np.asarray(units)

    @cached_property
    def _margins(self) -> Array:
        """Margins of the constraints, in proportion to the errors of their surrogates.

        Each evaluation where a constraint holds narrows its margin, others widen it.
        """
        k = self.optimizer.n_objectives
        roots = np.full(self.optimizer.n_constraints, FIRST_MARGIN)
        for factors in np.where(self.values[self.optimizer.n_initial :, k:] <= 0, NARROWER, WIDER):
            roots = np.minimum(np.maximum(roots * factors, LEAST_MARGIN), LARGEST_MARGIN)
        errors = np.array([f.error for f in self._surrogates.functions[k:]])
        return np.asarray(np.minimum(roots**2 * errors, MOST_OF_SIZE * self._units))

    @cached_property
    def _trust(self) -> float:
        return trust_in_neighbours(self.successes, self.failures)

    def _caution(self) -> float:
        """Exponent of the estimated success: each failure raises it, each success lowers it."""
        caution = LEAST_CAUTION
        for success in self.succeeded[self.optimizer.n_initial :]:
            caution *= BOLDER if success else WARIER
            caution = min(max(caution, LEAST_CAUTION), MOST_CAUTION)
        return caution

    def _reference(self) -> Array:
        """The given reference point, or one beyond all evaluations.

        The worst of the front alone would hide the rest of a front of which only a part is found.
        """
        if self.optimizer.reference is not None:
            return self.optimizer.reference
        objectives = self.values[:, : self.optimizer.n_objectives]
        spread = np.ptp(objectives, axis=0)
        return np.asarray(objectives.max(axis=0) + 0.2 * np.where(spread > 0, spread, 1.0))
