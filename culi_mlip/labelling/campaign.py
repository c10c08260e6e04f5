"""Labelling runs: every pending structure of a store is computed, by whatever executor."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from pathlib import Path
from typing import Any

import numpy as np

from culi_mlip.datasets.store import Store
from culi_mlip.errors import CuliError, EngineError
from culi_mlip.labelling.computations import attempt
from culi_mlip.labelling.executors import WorkerError
from culi_mlip.labelling.jobs import LABEL_FOLDER, Job, JobFolder, Label, Outcome
from culi_mlip.labelling.recipe import Task, tasks_of
from culi_mlip.progress import Progress
from culi_mlip.reference import Engine

DEATHS = 3
"""How many workers may die over a structure before it is tried alone."""


def label_pending(
    store: Store,
    engine: Engine,
    *,
    tasks: Sequence[Task] = (),
    seed: int = 0,
    executor: Executor | None = None,
    in_flight: int | None = None,
    per_call: int = 1,
    progress: Progress | None = None,
) -> None:
    """Label every pending structure of a store, and compute what its kind asks for.

    A structure's label and the frames of its tasks enter the store together. Structures that a
    killed process left running wait again; what was finished of them is not computed again. A
    failure is stored with its reason and stops nothing; what `DEATHS` workers died over, without
    having written more, is a failure too.

    Parameters
    ----------
    store
        The store; this process alone writes to it.
    engine
        The reference engine.
    tasks
        What to compute for ideal structures of some kinds besides their labels.
    seed
        Of the tasks' velocities, combined with the structure.
    executor
        Where to compute, any `concurrent.futures.Executor`; ``None`` computes here, one after
        the other.
    in_flight
        How many calls the executor has at a time; by default two a processor.
    per_call
        How many structures a call labels.
    progress
        Called with (labelled or failed, all) after each structure.

    Raises
    ------
    CuliError
        If the engine cannot be used where it is to compute, or the disk not be written. No
        structure is to blame: those that are not finished wait again.
    concurrent.futures.BrokenExecutor
        If a worker died and took the executor with it. What is finished is stored, the rest waits
        again: call with a new one.
    """
    store.release()
    work = _Work(store, engine, tasks, seed, executor or _Here(), progress)
    while deaths := store.pending():
        # Whose worker died too often is tried alone: others may have been the cause.
        chosen = [row_id for row_id in deaths if deaths[row_id] < DEATHS]
        room = in_flight or 2 * (os.cpu_count() or 1)
        is_alone = not chosen
        if is_alone:
            chosen = list(deaths)[:1]
        try:
            for row_ids, outcomes in _calls(work.submit, chosen, room if executor else 1, per_call):
                if isinstance(outcomes, WorkerError):
                    work.give_up(row_ids, outcomes, is_alone=is_alone)
                    continue
                for row_id, outcome in zip(row_ids, outcomes, strict=True):
                    work.settle(row_id, outcome)
        except (BrokenExecutor, CuliError) as error:
            work.give_up_all(error, is_alone=is_alone)
            raise


class _Work:
    """Calls of one run, and what becomes of their structures in the store."""

    def __init__(
        self,
        store: Store,
        engine: Engine,
        tasks: Sequence[Task],
        seed: int,
        executor: Executor,
        progress: Progress | None,
    ) -> None:
        self.store, self.engine, self.tasks, self.seed = store, engine, tasks, seed
        self.executor, self.progress = executor, progress
        self.folder = store.path.parent.absolute() / "runs"
        self.n_finished, self.n_all = 0, store.count("pending")
        self._jobs: dict[int, Job] = {}
        self._sizes: dict[int, int] = {}  # of what each had written before
        self._calls: dict[int, tuple[int, ...]] = {}

    def submit(self, row_ids: Sequence[int]) -> Future[list[Outcome]]:
        """Have structures labelled by one call."""
        self.store.start(row_ids)
        for row_id in row_ids:
            start = self.store.entry(row_id)
            folder = str(self.folder / start.uid)
            job = Job(start, tasks_of(start, self.tasks), folder, self.seed)
            self._jobs[row_id], self._calls[row_id] = job, tuple(row_ids)
            self._sizes[row_id] = _size(job)
            self._record(row_id).await_worker()
        jobs = [self._jobs[row_id] for row_id in row_ids]
        return self.executor.submit(attempt, self.engine.name, self.engine.given, jobs)

    def settle(self, row_id: int, outcome: Outcome) -> None:
        """Store what became of a structure."""
        if isinstance(outcome, Label) and (wrong := _not_finite(outcome)):
            outcome = EngineError(f"{wrong} is NaN or infinite")
        if isinstance(outcome, Label):
            note = "; ".join(outcome.notes)
            with self.store.transaction():
                self.store.label(row_id, outcome.results, self.engine, host=outcome.host, note=note)
                self.store.add(outcome.frames, self.engine)
        else:
            self.store.fail(row_id, str(outcome) or type(outcome).__name__)
        self._record(row_id).settle()
        self.n_finished += 1
        if self.progress:
            self.progress(self.n_finished, self.n_all)

    def give_up(self, row_ids: Sequence[int], error: BaseException, *, is_alone: bool) -> None:
        """Store what a call had finished that ended early, and let the rest wait again.

        A worker died over the structure that it had begun, unless that had advanced.
        """
        records = {row_id: self._record(row_id) for row_id in row_ids}
        has_begun = {row_id for row_id, record in records.items() if record.is_begun}
        for row_id, record in records.items():
            if row_id in has_begun and record.outcome is not None:
                self.settle(row_id, record.outcome)
                continue
            died = isinstance(error, BrokenExecutor | WorkerError)
            died &= row_id in has_begun or not has_begun
            died &= _size(self._jobs[row_id]) <= self._sizes[row_id]
            if died and is_alone:
                reason = f"its worker died {DEATHS + 1} times ({error})"
                self.settle(row_id, EngineError(reason))
            else:
                self.store.release([row_id], died=died)

    def give_up_all(self, error: BaseException, *, is_alone: bool) -> None:
        """Give all calls up that are under way."""
        running = set(self.store.running())
        for row_ids in {self._calls[row_id] for row_id in running}:
            left = [row_id for row_id in row_ids if row_id in running]
            self.give_up(left, error, is_alone=is_alone)

    def _record(self, row_id: int) -> JobFolder:
        return JobFolder(self._jobs[row_id], self.engine.digest)


def _size(job: Job) -> int:
    """Bytes of what tasks have written so far; an engine begins a label anew."""
    folder = Path(job.folder)
    files = (file for file in folder.rglob("*") if file.is_file())
    label = folder / LABEL_FOLDER
    return sum(file.stat().st_size for file in files if not file.is_relative_to(label))


def _not_finite(label: Label) -> str:
    """Say what is NaN or infinite in a label and its frames, if anything is."""
    arrays = dict(label.results)
    for n, frame in enumerate(label.frames):
        arrays[f"positions of frame {n}"] = frame.atoms.positions
        arrays[f"cell of frame {n}"] = frame.atoms.cell.array
        arrays |= {f"{key} of frame {n}": value for key, value in frame.results.items()}
    wrong = [name for name, array in arrays.items() if not np.isfinite(array).all()]
    return wrong[0] if wrong else ""


def _calls(
    submit: Callable[[Sequence[int]], Future[list[Outcome]]],
    row_ids: Sequence[int],
    room: int,
    per_call: int,
) -> Iterator[tuple[list[int], list[Outcome] | WorkerError]]:
    """Yield the structures of each call with what became of them; `room` calls are under way."""
    waiting = deque(row_ids)
    running: dict[Future[list[Outcome]], list[int]] = {}
    while waiting or running:
        while waiting and len(running) < room:
            chosen = [waiting.popleft() for _ in range(min(per_call, len(waiting)))]
            running[submit(chosen)] = chosen
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            chosen = running.pop(future)
            try:
                yield chosen, future.result()
            except WorkerError as error:
                yield chosen, error


class _Here(Executor):
    """Computes in this process, when called."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future
