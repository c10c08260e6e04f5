"""SAMO-COBRA as a sampler of Optuna."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from culi_mlip.errors import SpaceError
from culi_mlip.optimize.optuna_private import FIXED, RETRIED, set_system_attribute
from culi_mlip.optimize.samo_cobra import SamoCobra, check_seed
from culi_mlip.optimize.space import Categorical, Integer, Parameter, Space

POINT = "samo_cobra:point"
"""System attribute of trials whose point is planned."""

INTERRUPTED = "samo_cobra:interrupted"
"""System attribute of failed trials that say nothing about their point; others will evaluate it."""

PLANNING_TIMEOUT = 10.0
"""Seconds that a trial waits for those started before it to plan their points."""


class SamoCobraSampler(BaseSampler):
    """Sample the parameters of an Optuna study by SAMO-COBRA.

    Any number of objectives, minimised or maximised; constraints by ``trial.set_constraint``, each
    holds where its value is at most 0; failed trials teach where not to go. Every trial is
    planned from the storage alone: a study is continued by any process, and several processes
    work on one, each with a sampler of the same space and seed. Points that others are evaluating
    are taken into account.

    Parameters
    ----------
    space
        What is searched; trials suggest these parameters, with these bounds.
    seed, n_initial, reference, noisy
        As in `SamoCobra`. The reference point is in the study's own signs.

    References
    ----------
    de Winter, van Stein, Bäck, EMO 2021, LNCS 12654, 270 (2021).

    Examples
    --------
    >>> import optuna
    >>> from culi_mlip.optimize import Real, SamoCobraSampler, Space
    >>> sampler = SamoCobraSampler(Space(x=Real(-2, 2)), seed=0)
    >>> study = optuna.create_study(directions=["minimize", "maximize"], sampler=sampler)
    >>> def objective(trial):
    ...     x = trial.suggest_float("x", -2, 2)
    ...     return x**2, -((x - 1) ** 2)
    >>> study.optimize(objective, n_trials=10)
    >>> len(study.trials)
    10
    """

    def __init__(
        self,
        space: Space,
        *,
        seed: int = 0,
        n_initial: int | None = None,
        reference: ArrayLike | None = None,
        noisy: bool = False,
    ) -> None:
        self.space = space
        self.distributions = {n: distribution(p) for n, p in space.parameters.items()}
        self.seed, self.n_initial, self.noisy = check_seed(seed), n_initial, noisy
        self.reference = None if reference is None else np.asarray(reference, float)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the sampler's own space; called by Optuna."""
        return dict(self.distributions)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Plan the trial's point and announce it to other processes; called by Optuna."""
        if trial.params.keys() >= self.space.parameters.keys():
            return {}
        others = self._others(study, trial)
        optimizer = self._optimizer(study, others)
        optimizer.pending = self._pending(others, optimizer.history)
        points = optimizer.ask()
        if not points:
            raise SpaceError("every point of the search space has been asked: nothing is left")
        set_system_attribute(study, trial, POINT, points[0])
        return points[0]

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Refuse a parameter that the space does not have; called by Optuna.

        Raises
        ------
        SpaceError
            Always.
        """
        raise SpaceError(
            f"the trial suggests '{param_name}', which the sampler's space lacks: it has "
            f"{', '.join(self.space.parameters)}"
        )

    def _others(self, study: Study, trial: FrozenTrial) -> list[FrozenTrial]:
        """All other trials, once those that started before have planned their points."""
        while True:
            trials = study.get_trials(deepcopy=False)
            now = time.time()
            unplanned = [
                t
                for t in trials
                if t.number < trial.number
                and t.state == TrialState.RUNNING
                and self._planned_point(t) is None
                and t.datetime_start is not None
                and abs(now - t.datetime_start.timestamp()) < PLANNING_TIMEOUT
            ]
            if not unplanned:
                return [t for t in trials if t.number != trial.number]
            time.sleep(0.05)

    def _pending(
        self, trials: Sequence[FrozenTrial], history: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """The points that trials wait for or run, or that were interrupted and will be retried."""
        pending: list[dict[str, Any]] = []
        for trial in trials:
            if trial.state.is_finished() and INTERRUPTED not in trial.system_attrs:
                continue
            point = self._planned_point(trial)
            if point is not None and point not in pending and point not in history:
                pending.append(point)
        return pending

    def _planned_point(self, trial: FrozenTrial) -> dict[str, Any] | None:
        """The point of a trial, if it is known."""
        known = trial.system_attrs.get(POINT, {})
        return self._point(known | trial.system_attrs.get(FIXED, {}) | trial.params)

    def _point(self, params: Mapping[str, Any]) -> dict[str, Any] | None:
        """Parameters as a point of the space; None if they are of another."""
        point = {name: params[name] for name in self.space.parameters if name in params}
        try:
            self.space.encode(point)
        except SpaceError:
            return None
        return point

    def _optimizer(self, study: Study, trials: Sequence[FrozenTrial]) -> SamoCobra:
        signs = np.array([-1 if d == StudyDirection.MAXIMIZE else 1 for d in study.directions])
        names = sorted({name for t in trials for name in t.constraints})
        reference = None if self.reference is None else signs * self.reference
        optimizer = SamoCobra(
            self.space,
            len(signs),
            len(names),
            seed=self.seed,
            n_initial=self.n_initial,
            reference=reference,
            noisy=self.noisy,
        )
        retried = {n for t in trials for n in t.system_attrs.get(RETRIED, ())}
        for trial in trials:
            point = self._point(trial.params)
            if point is None or not trial.state.is_finished():
                continue
            if trial.number in retried or INTERRUPTED in trial.system_attrs:
                continue
            optimizer.tell([point], [_outcome(trial, signs, names)])
        return optimizer


def distribution(parameter: Parameter) -> BaseDistribution:
    """Return a parameter as Optuna's distribution."""
    if isinstance(parameter, Categorical):
        return CategoricalDistribution(parameter.choices)
    if isinstance(parameter, Integer):
        return IntDistribution(parameter.low, parameter.high, log=parameter.log)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log)


def _outcome(
    trial: FrozenTrial, signs: ArrayLike, names: Sequence[str]
) -> tuple[ArrayLike, list[float]] | None:
    """Objectives to minimise and constraints of a finished trial; None for a failure.

    A pruned trial counts with its last intermediate value, as for Optuna's own samplers.
    """
    values = trial.values
    if trial.state == TrialState.PRUNED and trial.intermediate_values:
        values = [trial.intermediate_values[max(trial.intermediate_values)]]
    if values is None or len(values) != len(np.ravel(signs)):
        return None
    constraints = trial.constraints
    return signs * np.array(values), [constraints.get(name, np.nan) for name in names]
