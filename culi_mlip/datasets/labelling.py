"""Labelling runs: every pending structure of a store is computed, by whatever executor."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from pathlib import Path
from typing import Any

from culi_mlip.datasets.computations import Job, Label, Outcome, attempt
from culi_mlip.datasets.executors import WorkerError
from culi_mlip.datasets.recipe import Task, tasks_of
from culi_mlip.datasets.store import Store
from culi_mlip.reference import Engine

DEATHS = 3
"""How many workers may die over a structure before it is tried alone."""

Progress = Callable[[int, int], None]
"""Called with (done, total) as a long job advances."""


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
    killed process left running wait again. A failure is stored with its reason and stops nothing;
    what `DEATHS` workers died over, without having written more, is a failure too.

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
    concurrent.futures.BrokenExecutor
        If a worker died and took the executor with it. Its structures wait again: call with a
        new one.
    """
    store.release()
    settings = engine.settings.model_dump_json()
    n_finished, n_all = 0, store.count("pending")
    runs = store.path.parent.absolute() / "runs"
    sizes: dict[int, tuple[Path, int]] = {}  # of the files of what is under way, at its start

    def has_advanced(row_id: int) -> bool:
        folder, size = sizes[row_id]
        return _size(folder) > size

    def submit(row_ids: Sequence[int]) -> Future[list[Outcome]]:
        store.start(row_ids)
        starts = [store.entry(row_id) for row_id in row_ids]
        for row_id, start in zip(row_ids, starts, strict=True):
            sizes[row_id] = runs / start.uid, _size(runs / start.uid)
        jobs = [Job(s, tasks_of(s, tasks), str(runs / s.uid), seed) for s in starts]
        return (executor or _Here()).submit(attempt, engine.name, settings, jobs)

    while deaths := store.pending():
        # Whose worker died too often is tried alone: others may have been the cause.
        chosen = [row_id for row_id in deaths if deaths[row_id] < DEATHS]
        room = in_flight or 2 * (os.cpu_count() or 1)
        is_alone = not chosen
        if is_alone:
            chosen = list(deaths)[:1]
        try:
            for row_id, outcome in _outcomes(submit, chosen, room if executor else 1, per_call):
                if isinstance(outcome, Label):
                    with store.transaction():
                        store.label(
                            row_id,
                            outcome.results,
                            engine,
                            host=outcome.host,
                            note="; ".join(outcome.notes),
                        )
                        store.add(outcome.frames, engine)
                elif isinstance(outcome, WorkerError) and not is_alone:
                    store.release([row_id], died=not has_advanced(row_id))
                    continue
                else:
                    store.fail(row_id, str(outcome) or type(outcome).__name__)
                n_finished += 1
                if progress:
                    progress(n_finished, n_all)
        except BrokenExecutor as error:
            if is_alone:
                store.fail(chosen[0], f"its worker died {DEATHS + 1} times ({error})")
            store.release([row_id for row_id in store.running() if has_advanced(row_id)])
            store.release(died=True)
            raise


def _size(folder: Path) -> int:
    """Bytes of the files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _outcomes(
    submit: Callable[[Sequence[int]], Future[list[Outcome]]],
    row_ids: Sequence[int],
    room: int,
    per_call: int,
) -> Iterator[tuple[int, Outcome]]:
    """Yield each structure with what became of it, as calls end; `room` of them are under way."""
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
                outcomes = future.result()
            except WorkerError as error:
                outcomes = [error] * len(chosen)
            yield from zip(chosen, outcomes, strict=True)


class _Here(Executor):
    """Computes in this process, when called."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future
