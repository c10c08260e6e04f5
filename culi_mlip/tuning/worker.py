"""Workers of a tuning: each claims trials, runs their processes within limits, reports them."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

import numpy as np
import optuna
import psutil
from optuna.trial import FrozenTrial, Trial, TrialState

from culi_mlip.devices import check_device, environment_of, gpu_identity, gpu_indices
from culi_mlip.errors import CuliError
from culi_mlip.models.settings import TrainSettings
from culi_mlip.models.training import learning_curve
from culi_mlip.optimize.optuna_private import record_heartbeat, storage_of_study, suggest
from culi_mlip.optimize.sampler import SamoCobraSampler
from culi_mlip.process import KEEP_FREED_MEMORY, die_with_parent, end_family
from culi_mlip.progress import Progress
from culi_mlip.tuning import study as slots
from culi_mlip.tuning.recipe import Measurement, Pruner, settings_at
from culi_mlip.tuning.records import TrialJob, TrialResult

MOST_FIRST_FAILURES = 5
"""Trials that may all fail at the start before the tuning gives up."""

REFERENCE_FACTOR = 2.0
"""The reference point, in units of the untuned model's error and time: what is worse is idle."""


Name = TypeVar("Name", int, str)


class _StoppedError(Exception):
    """Another worker of this process gave up, or the user did."""


@dataclass(frozen=True)
class Place:
    """What a worker has for itself."""

    cores: list[int]  # numbers of its cores
    device: str  # "cpu", or its GPU as this process calls it: "cuda:N"
    environment: Mapping[str, str]  # lets a process of the worker see this device alone


@dataclass(frozen=True)
class Work:
    """What the workers of one process share."""

    data: Path
    folder: Path
    settings: TrainSettings
    study: optuna.Study
    trials: int
    measurement: Measurement
    stop: Event
    progress: Progress | None

    def until_done(self, place: Place) -> None:
        """Claim and run trials until all have ended, wherever they run."""
        if place.cores:  # of this thread alone: planning must not disturb the timing of others
            os.sched_setaffinity(0, place.cores)
        while not self.stop.is_set():
            slots.release_dead(self.study)
            slots.fill(self.study, self.trials)
            trial = slots.claim(self.study, self.trials)
            if trial is not None:
                try:
                    self._run(trial, place)
                except _StoppedError:
                    return
            ended = slots.results(self.study, self.trials)
            if self.progress:
                self.progress(len(ended), self.trials)
            self._give_up_if_hopeless(ended)
            if len(ended) == self.trials:
                return
            if trial is None:
                self.stop.wait(2.0)

    def _run(self, trial: Trial, place: Place) -> None:
        folder = trial_folder(self.folder, trial)
        try:
            job = self._job(trial, place)
            written = folder / "job.json"
            if written.exists() and TrialJob.read(written).identity() != job.identity():
                shutil.rmtree(folder)  # another point was interrupted here
            if not (folder / "result.json").exists():
                job.write(written)
                self._evaluate(trial, folder, place)
            result = TrialResult.read(folder / "result.json")
        except BaseException:
            slots.interrupt(self.study, trial)
            raise
        self._tell(trial, result)

    def _job(self, trial: Trial, place: Place) -> TrialJob:
        sampler = self.study.sampler
        assert isinstance(sampler, SamoCobraSampler)  # noqa: S101 (made by `tune`)
        sampler.reference = self._reference()
        point = {n: suggest(trial, n, d) for n, d in sampler.distributions.items()}
        settings = settings_at(self.settings, point, f"trial {trial.number}")
        return TrialJob(
            data=str(self.data),
            settings=settings,
            compile=self.measurement.compile,
            repeats=self.measurement.repeats,
            threads=self.measurement.threads,
            max_drift=self.measurement.max_drift,
            device=place.device.partition(":")[0],  # of the trial's process, which sees no other
            cores=place.cores,
        )

    def _reference(self) -> Any:
        """Reference point of the search: some way beyond the untuned model, once it is known."""
        first = slots.results(self.study, 1)
        if not first or first[0].values is None:
            return None
        return REFERENCE_FACTOR * np.array(first[0].values)

    def _evaluate(self, trial: Trial, folder: Path, place: Place) -> None:
        """Run the trial's process, within its limits, until it leaves a result."""
        curve = Curve(self.study, self.measurement.pruner)
        environment = (
            KEEP_FREED_MEMORY
            | dict(os.environ)
            | {"OMP_NUM_THREADS": str(self.measurement.threads), **place.environment}
        )
        with (folder / "trial.log").open("a") as log:
            process = subprocess.Popen(  # noqa: S603 (our own interpreter, fixed arguments)
                [sys.executable, "-m", "culi_mlip.tuning.trial", str(folder)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=die_with_parent,  # noqa: PLW1509
            )
        started = last_sign = time.monotonic()
        failure = None
        try:
            while process.poll() is None and failure is None:
                if self.stop.wait(0.5):
                    raise _StoppedError
                now = time.monotonic()
                if now - last_sign > slots.HEARTBEAT:
                    record_heartbeat(self.study, trial)
                    last_sign = now
                if curve.says_stop(folder / "run"):
                    (folder / "stop").touch()
                failure = self._beyond_limits(process.pid, (now - started) / 60)
        finally:
            end_family(process)
            curve.close()
        if failure is None and not (folder / "result.json").exists():
            failure = f"its process ended with code {process.returncode}: see {log.name}"
        if failure is not None:
            TrialResult(failure=failure).write(folder / "result.json")

    def _beyond_limits(self, pid: int, minutes: float) -> str | None:
        limits = self.measurement
        if limits.time_limit is not None and minutes > limits.time_limit:
            return f"it took longer than {limits.time_limit:g} min"
        if limits.memory_limit is not None and _memory(pid) > 1e9 * limits.memory_limit:
            return f"it took more memory than {limits.memory_limit:g} GB"
        return None

    def _tell(self, trial: Trial, result: TrialResult) -> None:
        measured, failure = result.measured, result.failure
        objectives = [measured.get(name, np.nan) for name in ("error", "inference_seconds")]
        if failure is None and not np.isfinite(objectives).all():
            failure = f"its error is {objectives[0]}"
        with suppress(optuna.exceptions.UpdateFinishedTrialError):  # interrupted by others
            if failure is not None:
                trial.set_user_attr("failure", failure)
                self.study.tell(trial, state=TrialState.FAIL)
                return
            for key, value in measured.items():
                trial.set_user_attr(key, value)
            for key, limit in (
                ("parameters", self.measurement.max_parameters),
                ("memory_MB", self.measurement.max_memory),
                ("drift_meV_per_atom_ps", self.measurement.max_drift),
            ):
                if limit is not None:
                    trial.set_constraint(key, measured[key] / limit - 1)
            self.study.tell(trial, objectives)

    def _give_up_if_hopeless(self, ended: list[FrozenTrial]) -> None:
        if len(ended) >= min(MOST_FIRST_FAILURES, self.trials) and not any(t.values for t in ended):
            failures = [t.user_attrs.get("failure", "unknown") for t in ended]
            (reason, count), *_ = Counter(f.split(": see ")[0] for f in failures).most_common(1)
            self.stop.set()
            raise CuliError(
                f"all of the first {len(ended)} trials of {self.settings.variant} failed, {count} "
                f"of them because {reason}: see {self.folder / 'trials'}; mend that, then run it "
                "again with another --out"
            )


class Curve:
    """A trial's learning curve before Optuna's pruners, which take one objective.

    The curves are a study of their own beside the tuning's.
    """

    def __init__(self, study: optuna.Study, pruner: Pruner) -> None:
        self.trial: Trial | None = None
        self.reported = 0
        self.last: float | None = None
        if pruner == "none":
            return
        hyperband = pruner == "hyperband"
        self.study = optuna.create_study(
            study_name=f"{study.study_name}, learning curves",
            storage=storage_of_study(study),
            pruner=optuna.pruners.HyperbandPruner() if hyperband else optuna.pruners.MedianPruner(),
            load_if_exists=True,
        )
        with warnings.catch_warnings():  # about heartbeats, which curves do without
            warnings.simplefilter("ignore")
            self.trial = self.study.ask()

    def says_stop(self, run: Path) -> bool:
        """Report new epochs of a training, and say whether it is to stop."""
        if self.trial is None:
            return False
        for row in learning_curve(run)[self.reported :]:
            self.last = row.get("val0_epoch/forces_mae", row["val0_epoch/per_atom_energy_mae"])
            self.trial.report(self.last, int(row["epoch"]) + 1)
            self.reported += 1
            if self.trial.should_prune():
                self.study.tell(self.trial, state=TrialState.PRUNED)
                self.trial = None
                return True
        return False

    def close(self) -> None:
        """End the curve of a training that was not stopped."""
        if self.trial is not None:
            state = TrialState.FAIL if self.last is None else TrialState.COMPLETE
            self.study.tell(self.trial, self.last, state=state)
            self.trial = None


@contextmanager
def places_of(workers: int, measurement: Measurement) -> Iterator[list[Place]]:
    """Keep a place for each worker, which no other worker on this machine has meanwhile.

    Raises
    ------
    CuliError
        If there are too few cores or GPUs, or others use them.
    """
    device = check_device(measurement.device)
    if workers < 1:
        raise CuliError(f"--workers {workers}: give at least 1")
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    needed = workers * measurement.threads
    if cores and needed > len(cores):
        raise CuliError(
            f"--workers {workers} of {measurement.threads} threads: this machine has {len(cores)} "
            "cores, and timings need cores of their own for each"
        )
    if not cores and workers > 1:
        raise CuliError("--workers above 1 needs Linux, where workers get cores of their own")
    with ExitStack() as locks:
        held = _claimed("core", cores, needed if cores else 0, locks)
        devices = ["cpu"] * workers
        if device != "cpu":
            gpus = {gpu_identity(i): i for i in gpu_indices(device)}
            if workers > len(gpus):
                raise CuliError(
                    f"--workers {workers}: of the GPUs that this process sees, {len(gpus)} may be "
                    "used, and timings need one for each worker"
                )
            devices = [f"cuda:{gpus[name]}" for name in _claimed("GPU", gpus, workers, locks)]
        n = measurement.threads
        yield [
            Place(held[i * n : (i + 1) * n], device, environment_of(device))
            for i, device in enumerate(devices)
        ]


def _claimed(kind: str, names: Iterable[Name], n: int, locks: ExitStack) -> list[Name]:
    """Claim n of a machine's cores or GPUs; a process that dies releases its own.

    A claim is an abstract socket of Linux: no file, which would belong to the user who made it.
    Tunings with temporary folders of their own, such as those of tests, do not meet.
    """
    place = hashlib.sha256(os.environ.get("TMPDIR", "/tmp").encode()).hexdigest()[:8]  # noqa: S108
    claimed: list[Name] = []
    for name in names:
        if len(claimed) == n:
            break
        with suppress(OSError):  # another tuning has it
            claim = locks.enter_context(socket.socket(socket.AF_UNIX))
            claim.bind(f"\0culi_mlip-{place}-{kind}-{name}")
            claimed.append(name)
    if len(claimed) < n:
        raise CuliError(
            f"other tunings on this machine leave {len(claimed)} of the {n} {kind}s that are "
            "needed: ask for fewer --workers, or wait"
        )
    return claimed


def _memory(pid: int) -> float:
    """Resident memory of a process and all its children, in bytes."""
    total = 0.0
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        for member in [parent, *parent.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                total += member.memory_info().rss
    return total


def trial_folder(folder: Path, trial: FrozenTrial | Trial) -> Path:
    """Return where a trial of a tuning works."""
    return folder / "trials" / f"{trial.user_attrs['slot']:04d}"
