"""What Optuna keeps to itself and a study of several workers needs: all of it is here.

Written for Optuna 5; the requirement has that as its upper bound.
"""

from __future__ import annotations

from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.storages._heartbeat import BaseHeartbeat  # RDBStorage, and Optuna's cache before it
from optuna.trial import FrozenTrial, Trial, TrialState

FIXED = "fixed_params"
"""System attribute of queued trials: the parameters that are fixed."""

RETRIED = "retry_history"
"""System attribute of trials that retry others: the numbers of those."""


def storage_of_study(study: Study) -> BaseStorage:
    """Return the storage that a study is in."""
    return study._storage


def set_system_attribute(study: Study, trial: FrozenTrial | Trial, name: str, value: Any) -> None:
    """Write down a system attribute of a trial, which other processes see."""
    study._storage.set_trial_system_attr(trial._trial_id, name, value)


def claim_trial(study: Study, queued: FrozenTrial) -> Trial | None:
    """Make a queued trial one that runs; None if another process did."""
    try:
        if not study._storage.set_trial_state_values(queued._trial_id, state=TrialState.RUNNING):
            return None
    except UpdateFinishedTrialError:
        return None
    return Trial(study, queued._trial_id)


def fail_trial(study: Study, trial: FrozenTrial | Trial) -> None:
    """End a trial as failed.

    Raises
    ------
    optuna.exceptions.UpdateFinishedTrialError
        If it has ended.
    """
    study._storage.set_trial_state_values(trial._trial_id, state=TrialState.FAIL)


def record_heartbeat(study: Study, trial: Trial) -> None:
    """Tell others that this trial's worker is alive."""
    if isinstance(study._storage, BaseHeartbeat):
        study._storage.record_heartbeat(trial._trial_id)


def silent_trials(study: Study) -> set[int]:
    """Return the numbers of running trials whose workers gave no sign of life for long."""
    if not isinstance(study._storage, BaseHeartbeat):
        return set()
    silent = set(study._storage._get_stale_trial_ids(study._study_id))
    return {t.number for t in study.get_trials(deepcopy=False) if t._trial_id in silent}


def suggest(trial: Trial, name: str, distribution: BaseDistribution) -> Any:
    """Return a parameter of a trial, whatever its distribution."""
    return trial._suggest(name, distribution)
