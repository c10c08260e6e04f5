"""What a tuning writes down: its study, its trials' jobs and results, the times of its front."""

from __future__ import annotations

import ast
from typing import Any

from culi_mlip.models.settings import TrainSettings, present_name
from culi_mlip.records import Record
from culi_mlip.tuning.recipe import Measurement, Range


class StudyRecord(Record):
    """Content of ``study.json``: where the study of a folder is.

    Attributes
    ----------
    storage
        Optuna's, or None for the folder's own.
    name
        Of the study.
    trials
        Evaluations in all.
    """

    REMEDY = "run culi-mlip optimize again"

    storage: str | None
    name: str
    trials: int


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
    """What a study is of, as it stands in its storage.

    Attributes
    ----------
    data
        Digest of the three parts.
    settings
        The untuned settings.
    space
        Range of each searched setting.
    seed
        Of the search.
    measurement
        How trials are run and measured.
    """

    UPDATES = (_with_ranges,)

    data: str
    settings: TrainSettings
    space: dict[str, Range]
    seed: int
    measurement: Measurement


class TrialJob(Record):
    """Content of a trial's ``job.json``.

    Attributes
    ----------
    data
        Folder of the frames.
    settings
        Of the training.
    compile, repeats, threads, max_drift
        As in `Measurement`.
    device
        "cpu" or "cuda": the trial's process sees one GPU.
    cores
        Numbers of the cores to run on.
    """

    MACHINE = frozenset({"data", "cores"})
    REMEDY = "run culi-mlip optimize again"

    data: str
    settings: TrainSettings
    compile: bool
    repeats: int
    threads: int
    max_drift: float | None
    device: str
    cores: list[int]


class TrialResult(Record):
    """Content of a trial's ``result.json``: a failure, or what was measured.

    Attributes
    ----------
    failure
        Why there is no result.
    error
        The objective: `force_mae`, or without forces `energy_mae`.
    force_mae, energy_mae
        On validation frames, eV/Å and eV/atom.
    inference_seconds, inference_quartiles
        Time of the test frames in s.
    parameters
        Weights of the model.
    epochs, training_seconds
        Of the training.
    memory_MB
        Most memory of the evaluation.
    drift_meV_per_atom_ps
        Of the conserved energy, where it is constrained.
    hardware, threads
        What evaluated.
    """

    failure: str | None = None
    error: float | None = None
    force_mae: float | None = None
    energy_mae: float | None = None
    parameters: int | None = None
    epochs: int | None = None
    training_seconds: float | None = None
    hardware: str | None = None
    threads: int | None = None
    drift_meV_per_atom_ps: float | None = None
    inference_seconds: float | None = None
    inference_quartiles: tuple[float, float] | None = None
    memory_MB: float | None = None

    @property
    def measured(self) -> dict[str, Any]:
        """All values that there are, by name."""
        return self.model_dump(mode="json", exclude_none=True)


class FrontTime(Record):
    """Time of one model of the front, measured in one sitting with the others.

    Attributes
    ----------
    inference_seconds, inference_quartiles
        As in `TrialResult`.
    hardware
        What evaluated.
    """

    inference_seconds: float
    inference_quartiles: tuple[float, float]
    hardware: str
