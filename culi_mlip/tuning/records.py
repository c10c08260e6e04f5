"""What a tuning writes down: its study, its trials' jobs and results, the times of its front."""

from __future__ import annotations

import ast
from typing import Any

from culi_mlip.models.settings import TrainSettings, present_name
from culi_mlip.records import Record
from culi_mlip.tuning.recipe import Measurement, Range


class StudyRecord(Record):
    """Content of ``study.json``: where the study of a folder is."""

    REMEDY = "run culi-mlip optimize again"

    storage: str | None  # Optuna's, or None for the folder's own
    name: str  # of the study
    trials: int  # evaluations in all


def _with_ranges(old: dict[str, Any]) -> dict[str, Any]:
    """Version 0 had ranges as Python prints them, and the circuit's fields by former names."""
    variant = old["settings"].get("variant", "qdi")
    space = {present_name(name, variant): _range(text) for name, text in old["space"].items()}
    return {**old, "space": space}


def _range(text: str) -> dict[str, Any]:
    """The values of a range such as "Integer(low=1, high=3, log=False)"."""
    call = ast.parse(text, mode="eval").body
    assert isinstance(call, ast.Call)  # noqa: S101
    assert isinstance(call.func, ast.Name)  # noqa: S101
    values = {word.arg: ast.literal_eval(word.value) for word in call.keywords if word.arg}
    return {"type": call.func.id.lower(), **values}


class StudyInputs(Record):
    """What a study is of, as it stands in its storage."""

    UPDATES = (_with_ranges,)

    data: str  # digest of the three parts
    settings: TrainSettings  # the untuned settings
    space: dict[str, Range]  # range of each searched setting
    seed: int  # of the search
    measurement: Measurement  # how trials are run and measured


class TrialJob(Record):
    """Content of a trial's ``job.json``."""

    MACHINE = frozenset({"data", "cores"})
    REMEDY = "run culi-mlip optimize again"

    data: str  # folder of the frames
    settings: TrainSettings  # of the training
    # As in `Measurement`.
    compile: bool
    repeats: int
    threads: int
    max_drift: float | None
    device: str  # "cpu" or "cuda": the trial's process sees one GPU
    cores: list[int]  # numbers of the cores to run on


class TrialResult(Record):
    """Content of a trial's ``result.json``: a failure, or what was measured."""

    failure: str | None = None  # why there is no result
    error: float | None = None  # the objective: `force_mae`, or without forces `energy_mae`
    # On validation frames, eV/Å and eV/atom.
    force_mae: float | None = None
    energy_mae: float | None = None
    parameters: int | None = None  # weights of the model
    # Of the training.
    epochs: int | None = None
    training_seconds: float | None = None
    # What evaluated.
    hardware: str | None = None
    threads: int | None = None
    drift_meV_per_atom_ps: float | None = None  # of the conserved energy, where it is constrained
    # Time of the test frames in s.
    inference_seconds: float | None = None
    inference_quartiles: tuple[float, float] | None = None
    memory_MB: float | None = None  # most memory of the evaluation

    @property
    def measured(self) -> dict[str, Any]:
        """All values that there are, by name."""
        return self.model_dump(mode="json", exclude_none=True)


class FrontTime(Record):
    """Time of one model of the front, measured in one sitting with the others."""

    # As in `TrialResult`.
    inference_seconds: float
    inference_quartiles: tuple[float, float]
    hardware: str  # what evaluated
