"""The tuning of potentials for accuracy and inference time at once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from culi_mlip.calculator import HybridAllegro
from culi_mlip.errors import CuliError, DatasetError
from culi_mlip.files import read_json, write_json
from culi_mlip.models.settings import TrainSettings
from culi_mlip.models.training import training_frames
from culi_mlip.optimize import study as slots
from culi_mlip.optimize.hypervolume import nondominated
from culi_mlip.optimize.recipe import Measurement, point_of
from culi_mlip.optimize.sampler import SamoCobraSampler
from culi_mlip.optimize.space import Space
from culi_mlip.optimize.timing import inference_times
from culi_mlip.optimize.trial import compiled, hardware
from culi_mlip.optimize.worker import Work, places_of, trial_folder

PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Tuning:
    """A tuning as far as it has come.

    Attributes
    ----------
    folder
        Where its trials are.
    study
        The Optuna study.
    trials
        Evaluations that ended, in the order of slots.
    """

    folder: Path
    study: optuna.Study
    trials: list[FrozenTrial]

    @property
    def front(self) -> list[FrozenTrial]:
        """Feasible trials that no other dominates, the most accurate first."""
        feasible = [
            t
            for t in self.trials
            if t.state == TrialState.COMPLETE and all(c <= 0 for c in t.constraints.values())
        ]
        objectives = np.array([t.values for t in feasible]).reshape(-1, 2)
        chosen = [feasible[i] for i in np.flatnonzero(nondominated(objectives))]
        return sorted(chosen, key=lambda t: t.values[0])


def tune(
    data: str | os.PathLike[str],
    out: str | os.PathLike[str],
    settings: TrainSettings,
    space: Space,
    *,
    trials: int = 100,
    workers: int = 1,
    storage: str | None = None,
    name: str | None = None,
    seed: int = 0,
    measurement: Measurement | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Tuning:
    """Tune a potential's settings for validation error and inference time, or go on with it.

    A trial is a training in a process of its own; its folder is kept. Objectives are the force
    MAE on ``val.extxyz`` in eV/Å and the time of energies and forces of all of ``test.extxyz``
    in s. The untuned settings are the first trial. Any number of processes and machines may
    call this with the same storage; each returns when all trials have ended. Workers have cores
    of their own, so that none disturbs the timing of another.

    Parameters
    ----------
    data
        Folder with ``train.extxyz``, ``val.extxyz`` and ``test.extxyz``.
    out
        Folder for the trials.
    settings
        Untuned settings.
    space
        What is searched: names of settings, see `culi_mlip.optimize.recipe`.
    trials
        Evaluations in all, of all who share the storage.
    workers
        Trials at once in this process.
    storage
        Of Optuna; by default ``study.db`` in `out`.
    name
        Of the study; by default the variant's.
    seed
        Of the search.
    measurement
        How trials are run and measured.
    progress
        Called with (trials ended, trials in all).

    Raises
    ------
    DatasetError
        If frames are missing or lack labels.
    CuliError
        If the storage cannot be reached, the study is another, there are more workers than cores
        or GPUs, or the first trials all fail.
    """
    measurement = measurement or Measurement()
    source, folder = Path(data), Path(out)
    for part in PARTS:
        if not (source / f"{part}.extxyz").exists() and source.is_dir():
            raise DatasetError(
                f"{source} has no {part}.extxyz: a tuning needs training, validation and test "
                "frames; make a dataset of more structures with culi-mlip build-dataset"
            )
        training_frames(source / f"{part}.extxyz")
    with places_of(workers, measurement) as places, ThreadPoolExecutor(workers) as pool:
        folder.mkdir(parents=True, exist_ok=True)
        inputs = {
            "data": _digest(source),
            "settings": settings.model_dump(mode="json"),
            "space": {n: repr(p) for n, p in space.parameters.items()},
            "seed": seed,
            "measurement": measurement.model_dump(mode="json"),
        }
        url = storage or f"sqlite:///{folder / 'study.db'}"
        study = slots.open_study(
            slots.open_storage(url),
            name or settings.variant,
            SamoCobraSampler(space, seed=seed),
            trials,
            inputs,
            point_of(settings, space),
        )
        write_json(
            folder / "study.json", {"storage": url, "name": study.study_name, "trials": trials}
        )
        work = Work(
            source.absolute(), folder, settings, study, trials, measurement, Event(), progress
        )
        try:
            for future in [pool.submit(work.until_done, place) for place in places]:
                future.result()
        finally:
            work.stop.set()
    return Tuning(folder, study, slots.results(study, trials))


def load_tuning(out: str | os.PathLike[str]) -> Tuning:
    """Open the tuning of a folder.

    Raises
    ------
    CuliError
        If the folder holds none, or its storage cannot be reached.
    """
    record = read_json(Path(out) / "study.json")
    storage = slots.open_storage(record["storage"])
    try:
        study = optuna.load_study(study_name=record["name"], storage=storage)
    except KeyError as error:
        raise CuliError(
            f"the storage {record['storage']} has no study '{record['name']}': run culi-mlip "
            "optimize first"
        ) from error
    return Tuning(Path(out), study, slots.results(study, record["trials"]))


def retime(
    tuning: Tuning, *, repeats: int = 11, progress: Callable[[int, int], None] | None = None
) -> dict[int, dict[str, Any]]:
    """Time all models of the front, and the untuned one, in one sitting.

    The result is kept in ``front.json`` and not measured again for the same models. Models that
    another machine trained, and whose folder is not here, are left out.

    Returns
    -------
    dict
        By slot: "inference_seconds", "inference_quartiles", "hardware".
    """
    inputs = tuning.study.user_attrs["inputs"]
    measurement = Measurement.model_validate(inputs["measurement"])
    wanted = {t.user_attrs["slot"]: trial_folder(tuning.folder, t) for t in tuning.front}
    wanted |= {
        t.user_attrs["slot"]: trial_folder(tuning.folder, t)
        for t in tuning.trials[:1]
        if t.state == TrialState.COMPLETE
    }
    here = {slot: place for slot, place in sorted(wanted.items()) if (place / "run").exists()}
    if not here:
        return {}
    file = tuning.folder / "front.json"
    known = {int(k): v for k, v in read_json(file).items()} if file.exists() else {}
    if known.keys() == here.keys():
        return known
    device, n_threads = measurement.device, measurement.threads
    models = [
        HybridAllegro(
            compiled(place / "run", device) if measurement.compile else place / "run", device
        )
        for place in here.values()
    ]
    test = training_frames(Path(read_json(next(iter(here.values())) / "job.json")["data"])
                           / "test.extxyz")  # fmt: skip
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    times = inference_times(models, test, repeats=repeats, progress=progress)
    torch.set_num_threads(threads)
    measured = {
        slot: {
            "inference_seconds": t.median,
            "inference_quartiles": list(t.quartiles),
            "hardware": hardware(device),
        }
        for slot, t in zip(here, times, strict=True)
    }
    write_json(file, measured)
    return measured


def _digest(data: Path) -> str:
    """Hash of a dataset's three files."""
    digest = hashlib.sha256()
    for part in PARTS:
        digest.update(hashlib.sha256((data / f"{part}.extxyz").read_bytes()).digest())
    return digest.hexdigest()
