"""A tuning in an Optuna storage: a fixed number of slots, each evaluated exactly once.

All slots are queued as trials when the study is made. A worker claims one at a time; a trial whose
worker died is marked as interrupted and its slot is queued again, with the same point. So
workers come and go, and the number of results is always the number of slots.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna
import psutil
from optuna.exceptions import DuplicatedStudyError, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial
from sqlalchemy import QueuePool, make_url
from sqlalchemy.exc import SQLAlchemyError

from culi_mlip.errors import CuliError
from culi_mlip.models.settings import present_name
from culi_mlip.optimize import optuna_private
from culi_mlip.optimize.sampler import INTERRUPTED, POINT, SamoCobraSampler
from culi_mlip.optimize.space import Space
from culi_mlip.tuning.records import StudyInputs

HEARTBEAT, GRACE = 30, 180
"""Seconds between signs of life of a worker, and after which one without them is dead."""

_STORAGE_ERRORS = (
    SQLAlchemyError, ValueError, ImportError, RuntimeError, StorageInternalError
)  # fmt: skip

NAMELESS = 5.0
"""Seconds after which a trial without a named worker, or a study without inputs, is abandoned."""

_SLOT, _OWNER, _INPUTS = "slot", "owner", "inputs"


def storage_of(address: str) -> str | Path:
    """Return the file of an SQLite address, absolute; other addresses as they are."""
    with suppress(SQLAlchemyError, ValueError):
        url = make_url(address)
        named = url.database not in (None, "", ":memory:")
        if url.get_backend_name() == "sqlite" and named and not url.query:
            return Path(str(url.database)).absolute()
    return address


def open_storage(storage: str | Path, *, must_exist: bool = False) -> RDBStorage:
    """Connect to a storage.

    That is an address such as ``sqlite:///hpo.db`` or ``postgresql://user@host/database``, or the
    path of an SQLite file, which is made where it is missing unless it must exist.

    Raises
    ------
    CuliError
        If it cannot be reached.
    """
    storage = storage_of(storage) if isinstance(storage, str) else storage.absolute()
    options: dict[str, Any] = {}
    if isinstance(storage, Path):
        if must_exist and not storage.is_file():
            raise CuliError(f"the storage {storage} does not exist: run culi-mlip optimize first")
        with suppress(OSError):  # SQLite says below what is wrong
            storage.touch()  # with the mode that the umask leaves: SQLite's is its own
        # The path as it is: in an address, signs such as ? and % have a meaning. Others may write.
        url, options["poolclass"] = "sqlite:///", QueuePool
        options["creator"] = partial(sqlite3.connect, storage, timeout=120, check_same_thread=False)
    else:
        url = storage
    if url.startswith("postgresql://") and find_spec("psycopg"):
        url = url.replace("://", "+psycopg://", 1)  # SQLAlchemy 2.0 would take psycopg2
    if url.startswith("postgresql"):
        options["connect_args"] = {"connect_timeout": 20}
    for attempt in range(5):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return RDBStorage(
                    url, engine_kwargs=options, heartbeat_interval=HEARTBEAT, grace_period=GRACE
                )
        except _STORAGE_ERRORS as error:
            cause = error.__cause__ or error
            reason = " ".join(str(getattr(cause, "orig", None) or cause).split())
            if attempt < 4 and any(word in reason.lower() for word in ("unique", "already exists")):
                time.sleep(0.5)  # another process makes the tables at this moment
                continue
            name = _without_password(str(storage))
            raise CuliError(
                f"the storage {name} cannot be reached ({reason[:200]}): check the address, and "
                "that the database runs"
            ) from error
    raise AssertionError  # the last attempt returned or raised


def open_study(
    storage: BaseStorage,
    name: str,
    sampler: SamoCobraSampler,
    slots: int,
    objectives: Sequence[str],
    inputs: StudyInputs,
    first: Mapping[str, Any] | None,
) -> optuna.Study:
    """Make a study with its slots, or open it and add slots that are missing.

    Parameters
    ----------
    storage, name
        Where, and which.
    sampler
        Plans the points.
    slots
        Evaluations in all.
    objectives
        What is minimised, with units.
    inputs
        What is tuned; a study is of the same inputs for all who work on it.
    first
        Point of the first slot; None leaves it to the sampler.

    Raises
    ------
    CuliError
        If the study is of other inputs, or of another program.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    options: dict[str, Any] = {"study_name": name, "storage": storage, "sampler": sampler}
    try:
        study = optuna.create_study(directions=["minimize"] * len(objectives), **options)
    except DuplicatedStudyError:
        study = optuna.load_study(**options)
        deadline = time.monotonic() + NAMELESS
        while _INPUTS not in study.user_attrs and time.monotonic() < deadline:
            time.sleep(0.1)  # its maker is about to write them, or died before it did
    if _INPUTS not in study.user_attrs and not study.get_trials(deepcopy=False):
        with warnings.catch_warnings():  # names are an experimental feature of Optuna
            warnings.simplefilter("ignore")
            study.set_metric_names(list(objectives))
        study.set_user_attr(_INPUTS, inputs.plain())
    known, wanted = inputs_of(study).identity(), inputs.identity()
    if known != wanted:
        changed = [k for k in (known | wanted) if known.get(k) != wanted.get(k)]
        raise CuliError(
            f"the study '{name}' in this storage is of other {', '.join(changed)}: choose "
            "another --study, or the same inputs"
        )
    fill(study, slots, first)
    return study


def inputs_of(study: optuna.Study) -> StudyInputs:
    """Return what a study is of.

    Raises
    ------
    CuliError
        If it is none of culi-mlip's, or damaged.
    """
    name = f"the study '{study.study_name}'"
    if _INPUTS not in study.user_attrs:
        raise CuliError(f"{name} was not made by culi-mlip: choose another --study")
    return StudyInputs.of(study.user_attrs[_INPUTS], name)


def as_named_in(storage: BaseStorage, name: str, space: Space, variant: str) -> Space:
    """Return a space by the names that a study has for its parameters: former ones, if it is old.

    The study need not exist; the space has the names of today.
    """
    try:
        recorded = optuna.load_study(study_name=name, storage=storage).user_attrs[_INPUTS]["space"]
    except KeyError:
        return space
    former = {present_name(old, variant): old for old in recorded}
    return Space(**{former.get(n, n): p for n, p in space.parameters.items()})


def fill(study: optuna.Study, slots: int, first: Mapping[str, Any] | None = None) -> None:
    """Queue every slot that is neither queued, running nor finished.

    The point that an interrupted trial was evaluating is evaluated again.
    """
    trials = study.get_trials(deepcopy=False)
    states: dict[int, list[FrozenTrial]] = {}
    for trial in trials:
        if _SLOT in trial.user_attrs:
            states.setdefault(trial.user_attrs[_SLOT], []).append(trial)
    for slot in range(slots):
        attempts = states.get(slot, [])
        if any(not t.state.is_finished() or is_result(t) for t in attempts):
            continue
        fixed = dict(first) if first and slot == 0 else {}
        for attempt in attempts:
            fixed |= attempt.system_attrs.get(POINT, {}) | attempt.params
        study.add_trial(
            create_trial(
                state=TrialState.WAITING,
                user_attrs={_SLOT: slot},
                system_attrs={optuna_private.FIXED: fixed},
            )
        )


def claim(study: optuna.Study, slots: int) -> Trial | None:
    """Take a queued slot for this process; None if there is none."""
    for queued in study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        if queued.user_attrs.get(_SLOT, slots) >= slots:
            continue
        trial = optuna_private.claim_trial(study, queued)
        if trial is None:
            continue
        optuna_private.record_heartbeat(study, trial)
        trial.set_user_attr(_OWNER, _this_process())
        if _is_superfluous(study, queued):
            interrupt(study, trial)
            continue
        return trial
    return None


def release_dead(study: optuna.Study) -> None:
    """Mark trials as interrupted whose worker is dead: gone from this host, or silent."""
    silent = optuna_private.silent_trials(study)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if trial.number in silent or _is_gone(trial):
            interrupt(study, trial)


def interrupt(study: optuna.Study, trial: FrozenTrial | Trial) -> None:
    """End a trial that says nothing about its point."""
    with suppress(UpdateFinishedTrialError):  # it was finished or interrupted meanwhile
        optuna_private.set_system_attribute(study, trial, INTERRUPTED, True)
        optuna_private.fail_trial(study, trial)


def is_result(trial: FrozenTrial) -> bool:
    """Say whether a trial is an evaluation that ended by itself, well or not."""
    return trial.state.is_finished() and INTERRUPTED not in trial.system_attrs


def results(study: optuna.Study, slots: int | None = None) -> list[FrozenTrial]:
    """Return all evaluations that ended, one a slot, in the order of slots."""
    found: dict[int, FrozenTrial] = {}
    for trial in study.get_trials(deepcopy=False):
        slot = trial.user_attrs.get(_SLOT)
        if slot is not None and is_result(trial) and (slots is None or slot < slots):
            found.setdefault(slot, trial)
    return [found[slot] for slot in sorted(found)]


def _without_password(url: str) -> str:
    try:
        return make_url(url).render_as_string(hide_password=True)
    except SQLAlchemyError:
        return url


def _is_superfluous(study: optuna.Study, claimed: FrozenTrial) -> bool:
    """Whether another trial does the same slot: two processes may have queued it again."""
    return any(
        trial.user_attrs.get(_SLOT) == claimed.user_attrs[_SLOT]
        and (is_result(trial) or trial.state == TrialState.RUNNING)
        and trial.number < claimed.number
        for trial in study.get_trials(deepcopy=False)
    )


def _this_process() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": psutil.Process().create_time(),
    }


def _is_gone(trial: FrozenTrial) -> bool:
    """Whether a trial's worker ran on this host and does not, or died before it said who it is."""
    owner = trial.user_attrs.get(_OWNER)
    if owner is None:
        started = trial.datetime_start
        return started is not None and abs(time.time() - started.timestamp()) > NAMELESS
    if owner["host"] != socket.gethostname():
        return False
    try:
        return bool(abs(psutil.Process(owner["pid"]).create_time() - owner["started"]) > 1.0)
    except psutil.NoSuchProcess:
        return True
