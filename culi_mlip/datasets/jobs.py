"""Jobs of workers, and the record of what is finished of each, which outlives the worker."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ase.io import jsonio

from culi_mlip.datasets.recipe import Task
from culi_mlip.errors import CuliError
from culi_mlip.files import output_errors, write_text
from culi_mlip.structures import Entry

LABEL_FOLDER = "label"
"""Where the engine works on a structure's own label, below the folder of its job."""


class Job(NamedTuple):
    """What is to be computed for one structure.

    Attributes
    ----------
    start
        The structure.
    tasks
        What is to be computed besides its label.
    folder
        For the engine's files and for what is finished, which is continued from there; without
        one, a temporary folder.
    seed
        Of velocities and thermostats.
    """

    start: Entry
    tasks: Sequence[Task] = ()
    folder: str = ""
    seed: int = 0

    @property
    def identity(self) -> dict[str, Any]:
        """What the outcome depends on besides the engine, by name: a job is found again by it."""
        constraints = [constraint.todict() for constraint in self.start.atoms.constraints]
        counted = {"kinds", "published", "expected_steps"}
        return {
            "structure": self.start.uid,
            "constraints": jsonio.encode(constraints),
            "tasks": {t.name: t.model_dump(mode="json", exclude=counted) for t in self.tasks},
            "seed": self.seed,
        }


class Label(NamedTuple):
    """What an engine found for one structure.

    Attributes
    ----------
    results
        Its labels.
    host
        The machine that computed them.
    frames
        More structures with their labels, which tasks found.
    notes
        What the tasks have to say.
    """

    results: dict[str, Any]
    host: str
    frames: list[Entry]
    notes: list[str]


Outcome = Label | Exception


class Record:
    """What is finished of a job: its label, its tasks, its end.

    The worker writes it as it goes. Whoever gave the job reads what a worker left that died; the
    next worker goes on from there.

    Parameters
    ----------
    job
        The job, with its folder.
    engine
        Digest of the engine: what another one left is dropped.
    """

    def __init__(self, job: Job, engine: str) -> None:
        identity = json.dumps({"engine": engine, **job.identity}, sort_keys=True)
        self.identity = hashlib.sha256(identity.encode()).hexdigest()
        self.file = Path(job.folder, "outcome.json")
        self._mark = Path(job.folder, "begun")
        self._content: dict[str, Any] = {"results": None, "host": "", "tasks": {}, "end": None}
        with suppress(OSError, ValueError, KeyError, TypeError):
            found = jsonio.decode(self.file.read_text(encoding="utf-8"))
            if found["identity"] == self.identity:
                self._content = found

    @property
    def has_label(self) -> bool:
        """Whether the label is finished."""
        return self._content["results"] is not None

    @property
    def tasks(self) -> set[str]:
        """Names of the tasks that are finished."""
        return set(self._content["tasks"])

    @property
    def is_begun(self) -> bool:
        """Whether a worker began, since `await_worker`."""
        return self._mark.exists()

    @property
    def outcome(self) -> Outcome | None:
        """What became of the job, if it ended."""
        content = self._content
        if content["end"] is None:
            return None
        if content["end"]:
            return CuliError(content["end"])
        tasks = content["tasks"].values()
        frames = [Entry(**frame) for task in tasks for frame in task["frames"]]
        notes = [task["note"] for task in tasks if task["note"]]
        return Label(content["results"], content["host"], frames, notes)

    def await_worker(self) -> None:
        """Note that no worker has begun."""
        self._mark.unlink(missing_ok=True)

    def begin(self) -> None:
        """Note that a worker begins, or goes on."""
        with output_errors(self._mark):
            self._mark.parent.mkdir(parents=True, exist_ok=True)
            self._mark.touch()
        if self._content["end"] is not None:
            self._content["end"] = None
            self._write()

    def keep_label(self, results: Mapping[str, Any], host: str) -> None:
        """Keep the label, and the machine that computed it."""
        self._content |= {"results": dict(results), "host": host}
        self._write()

    def keep_task(self, name: str, frames: Sequence[Entry], note: str) -> None:
        """Keep the labelled frames of a task, and what it has to say."""
        kept = [vars(frame) for frame in frames]
        self._content["tasks"][name] = {"frames": kept, "note": note}
        self._write()

    def end(self, reason: str = "") -> None:
        """Keep that all is finished, or why it is not."""
        self._content["end"] = reason
        self._write()

    def settle(self) -> None:
        """Remove what the store has now; of a failure, what is finished is kept."""
        self._mark.unlink(missing_ok=True)
        if not self._content["end"]:
            self.file.unlink(missing_ok=True)
        for folder in (self.file.parent / LABEL_FOLDER, self.file.parent):
            with suppress(OSError):  # not empty, or never made
                folder.rmdir()

    def _write(self) -> None:
        write_text(self.file, jsonio.encode({"identity": self.identity, **self._content}))
