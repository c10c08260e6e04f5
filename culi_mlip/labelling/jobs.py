"""Jobs of workers, and the record of what is finished of each, which outlives the worker."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ase.io import jsonio

from culi_mlip.errors import CuliError
from culi_mlip.files import output_errors, write_text
from culi_mlip.labelling.recipe import Task
from culi_mlip.records import Record
from culi_mlip.structures import Entry

LABEL_FOLDER = "label"
"""Where the engine works on a structure's own label, below the folder of its job."""


class Job(NamedTuple):
    """What is to be computed for one structure."""

    start: Entry  # the structure
    tasks: Sequence[Task] = ()  # what is to be computed besides its label
    # For the engine's files and for what is finished, which is continued from there; without one,
    # a temporary folder.
    folder: str = ""
    seed: int = 0  # of velocities and thermostats

    @property
    def identity(self) -> dict[str, Any]:
        """What the outcome depends on besides the engine, by name: a job is found again by it."""
        constraints = [constraint.todict() for constraint in self.start.atoms.constraints]
        return {
            "structure": self.start.uid,
            "constraints": jsonio.encode(constraints),
            "tasks": {task.name: task.identity() for task in self.tasks},
            "seed": self.seed,
        }


class Label(NamedTuple):
    """What an engine found for one structure."""

    results: dict[str, Any]  # its labels
    host: str  # the machine that computed them
    frames: list[Entry]  # more structures with their labels, which tasks found
    notes: list[str]  # what the tasks have to say


Outcome = Label | Exception


class TaskOutcome(Record):
    """What a task gave: labelled frames, by the fields of `Entry`, and what it has to say."""

    frames: list[dict[str, Any]]
    note: str = ""


def _with_job(old: dict[str, Any]) -> dict[str, Any]:
    """Version 0 called the job's hash identity."""
    job = old.pop("identity")
    return {**old, "job": job}


class Finished(Record):
    """What is finished of a job, as its folder's ``outcome.json`` has it."""

    UPDATES = (_with_job,)

    job: str  # hash of the engine's digest and the job's identity
    # The label, and the machine that computed it.
    results: dict[str, Any] | None = None
    host: str = ""
    tasks: dict[str, TaskOutcome] = {}  # by name, those that are finished
    end: str | None = None  # why the job failed; "" if all is finished, None as long as it runs


class JobFolder:
    """What is finished of a job: its label, its tasks, its end.

    The worker writes it as it goes. Whoever gave the job reads what a worker left that died; the
    next worker goes on from there. What another engine left, by its digest, is dropped.
    """

    def __init__(self, job: Job, engine: str) -> None:
        text = json.dumps({"engine": engine, **job.identity}, sort_keys=True)
        name = hashlib.sha256(text.encode()).hexdigest()
        self.file = Path(job.folder, "outcome.json")
        self._mark = Path(job.folder, "begun")
        self.finished = Finished(job=name)
        with suppress(OSError, ValueError, KeyError, TypeError, CuliError):
            content = jsonio.decode(self.file.read_text(encoding="utf-8"))
            found = Finished.of(content, str(self.file))
            if found.job == name:
                self.finished = found

    @property
    def is_begun(self) -> bool:
        """Whether a worker began, since `await_worker`."""
        return self._mark.exists()

    @property
    def outcome(self) -> Outcome | None:
        """What became of the job, if it ended."""
        finished = self.finished
        if finished.end is None:
            return None
        if finished.end:
            return CuliError(finished.end)
        tasks = finished.tasks.values()
        frames = [Entry(**frame) for task in tasks for frame in task.frames]
        notes = [task.note for task in tasks if task.note]
        return Label(finished.results or {}, finished.host, frames, notes)

    def await_worker(self) -> None:
        """Note that no worker has begun."""
        self._mark.unlink(missing_ok=True)

    def begin(self) -> None:
        """Note that a worker begins, or goes on."""
        with output_errors(self._mark):
            self._mark.parent.mkdir(parents=True, exist_ok=True)
            self._mark.touch()
        if self.finished.end is not None:
            self._keep(end=None)

    def keep_label(self, results: Mapping[str, Any], host: str) -> None:
        """Keep the label, and the machine that computed it."""
        self._keep(results=dict(results), host=host)

    def keep_task(self, name: str, frames: Sequence[Entry], note: str) -> None:
        """Keep the labelled frames of a task, and what it has to say."""
        done = TaskOutcome(frames=[vars(frame) for frame in frames], note=note)
        self._keep(tasks={**self.finished.tasks, name: done})

    def end(self, reason: str = "") -> None:
        """Keep that all is finished, or why it is not."""
        self._keep(end=reason)

    def settle(self) -> None:
        """Remove what the store has now; of a failure, what is finished is kept."""
        self._mark.unlink(missing_ok=True)
        if not self.finished.end:
            self.file.unlink(missing_ok=True)
        for folder in (self.file.parent / LABEL_FOLDER, self.file.parent):
            with suppress(OSError):  # not empty, or never made
                folder.rmdir()

    def _keep(self, **values: Any) -> None:
        self.finished = self.finished.model_copy(update=values)
        write_text(self.file, jsonio.encode(self.finished.plain(mode="python")))  # with arrays
