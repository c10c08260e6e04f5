"""The tuning of potentials for accuracy and inference time at once."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import numpy as np
import optuna
from ase import Atoms
from optuna.trial import FrozenTrial, TrialState

from culi_mlip.calculator import HybridAllegro
from culi_mlip.datasets.frames import LabelKeys, labels_of, plain_copy, training_frames
from culi_mlip.datasets.split import PARTS
from culi_mlip.devices import check_device, hardware
from culi_mlip.errors import CuliError, DatasetError
from culi_mlip.files import file_digest, read_json, write_json
from culi_mlip.models.settings import TrainSettings
from culi_mlip.optimize.hypervolume import nondominated
from culi_mlip.optimize.sampler import SamoCobraSampler
from culi_mlip.optimize.space import Space
from culi_mlip.progress import Progress
from culi_mlip.tuning import study as slots
from culi_mlip.tuning.recipe import Measurement, point_of, ranges_of
from culi_mlip.tuning.records import FrontTime, StudyInputs, StudyRecord, TrialJob
from culi_mlip.tuning.timing import inference_times, on_cores
from culi_mlip.tuning.trial import compiled
from culi_mlip.tuning.worker import Work, places_of, trial_folder

OWN_STORAGE = "study.db"
"""File in the folder of a tuning that was given no storage."""


@dataclass(frozen=True)
class Tuning:
    """A tuning as far as it has come.

    Attributes
    ----------
    folder
        Where its trials are.
    study
        The Optuna study.
    n_trials
        Evaluations in all.
    trials
        Evaluations that ended, in the order of slots.
    """

    folder: Path
    study: optuna.Study
    n_trials: int
    trials: list[FrozenTrial]

    @property
    def error(self) -> str:
        """What is tuned beside the inference time, with its unit: "force MAE (eV/Å)"."""
        return (self.study.metric_names or ["error"])[0]

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
    keys: LabelKeys | None = None,
    progress: Progress | None = None,
) -> Tuning:
    """Tune a potential's settings for validation error and inference time, or go on with it.

    A trial is a training in a process of its own; its folder is kept. Objectives are the force
    MAE on ``val.extxyz`` in eV/Å (the energy MAE in eV/atom if no frame has forces) and the time
    of energies and forces of all of ``test.extxyz`` in s. The untuned settings are the first
    trial. Any number of processes and machines may call this with the same storage; each returns
    when all trials have ended. Workers have cores of their own, so that none disturbs the timing
    of another.

    Parameters
    ----------
    data
        Folder with ``train.extxyz``, ``val.extxyz`` and ``test.extxyz``.
    out
        Folder for the trials.
    settings
        Untuned settings.
    space
        What is searched: names of settings, see `culi_mlip.tuning.recipe`.
    trials
        Evaluations in all, of all who share the storage.
    workers
        Trials at once in this process.
    storage
        Of Optuna; by default that of the study in `out`, or ``study.db`` there.
    name
        Of the study; by default the variant's.
    seed
        Of the search.
    measurement
        How trials are run and measured.
    keys
        Names of the frames' labels.
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
    check_device(measurement.device)
    if trials < 1 or trials > space.n_points:
        raise CuliError(
            f"{trials} trials of a search space of {space.n_points} points: give 1 or more, and no "
            "more than there are points"
        )
    if settings.devices > 1:
        raise CuliError(
            f"a tuning with devices: {settings.devices}: a trial has one device; leave it out"
        )
    source, folder = Path(data), Path(out)
    frames: dict[str, list[Atoms]] = {}
    for part in PARTS:
        if not (source / f"{part}.extxyz").exists() and source.is_dir():
            raise DatasetError(
                f"{source} has no {part}.extxyz: a tuning needs training, validation and test "
                "frames; make a dataset of more structures with culi-mlip build-dataset"
            )
        frames[part] = training_frames(source / f"{part}.extxyz", keys)
    error = "force MAE (eV/Å)" if "forces" in labels_of(frames["val"]) else "energy MAE (eV/atom)"
    with places_of(workers, measurement) as places, ThreadPoolExecutor(workers) as pool:
        folder.mkdir(parents=True, exist_ok=True)
        source = plain_copy(source, frames, folder / "frames", keys)
        inputs = StudyInputs(
            data=_digest(source),
            settings=settings,
            space=ranges_of(space),
            seed=seed,
            measurement=measurement,
        )
        used = slots.storage_of(storage) if storage else _recorded_storage(folder)
        opened = slots.open_storage(used)
        name = name or settings.variant
        space = slots.as_named_in(opened, name, space, settings.variant)
        study = slots.open_study(
            opened,
            name,
            SamoCobraSampler(space, seed=seed),
            trials,
            (error, "inference time (s)"),
            inputs,
            point_of(settings, space),
        )
        is_own = used == folder / OWN_STORAGE  # it moves with the folder
        kept = None if is_own else str(used)
        record = StudyRecord(storage=kept, name=study.study_name, trials=trials)
        record.write(folder / "study.json")
        work = Work(
            source.absolute(), folder, settings, study, trials, measurement, Event(), progress
        )
        try:
            for future in [pool.submit(work.until_done, place) for place in places]:
                future.result()
        finally:
            work.stop.set()
    return Tuning(folder, study, trials, slots.results(study, trials))


def load_tuning(out: str | os.PathLike[str]) -> Tuning:
    """Open the tuning of a folder.

    Raises
    ------
    CuliError
        If the folder holds none, or its storage cannot be reached.
    """
    record = StudyRecord.read(Path(out) / "study.json")
    storage = slots.open_storage(_recorded_storage(Path(out)), must_exist=True)
    try:
        study = optuna.load_study(study_name=record.name, storage=storage)
    except KeyError as error:
        raise CuliError(
            f"the storage of {out} has no study '{record.name}': run culi-mlip optimize first"
        ) from error
    return Tuning(Path(out), study, record.trials, slots.results(study, record.trials))


def _recorded_storage(folder: Path) -> str | Path:
    """The storage that a folder's study is in, by default a file in the folder."""
    place = folder / "study.json"
    kept = StudyRecord.read(place).storage if place.exists() else None
    if kept is None:
        return folder / OWN_STORAGE
    return kept if "://" in kept else Path(kept)


_FRONT = "front.json"


def front_times(tuning: Tuning) -> dict[int, FrontTime]:
    """Return what `retime` has measured, by slot."""
    file = tuning.folder / _FRONT
    kept = read_json(file) if file.exists() else {}
    return {int(slot): FrontTime.of(t, str(file)) for slot, t in kept.items()}


def retime(
    tuning: Tuning, *, repeats: int = 11, progress: Progress | None = None
) -> dict[int, FrontTime]:
    """Time all models of the front, and the untuned one, in one sitting.

    The result is kept in ``front.json`` and not measured again for the same models. Models that
    another machine trained, and whose folder is not here, are left out. While trials are still
    to come nothing is measured: they would disturb each other.

    Returns
    -------
    dict
        By slot.

    Raises
    ------
    CuliError
        If tunings in other folders use all cores.
    """
    measurement, known = slots.inputs_of(tuning.study).measurement, front_times(tuning)
    wanted = [*tuning.front, *(t for t in tuning.trials[:1] if t.values)]
    places = {t.user_attrs["slot"]: trial_folder(tuning.folder, t) for t in wanted}
    runs = {slot: place / "run" for slot, place in sorted(places.items())}
    runs = {slot: run for slot, run in runs.items() if run.exists()}
    is_running = len(tuning.trials) < tuning.n_trials
    if is_running or not runs or known.keys() == runs.keys():
        return {slot: known[slot] for slot in runs if slot in known}
    job = TrialJob.read(next(iter(runs.values())).parent / "job.json")
    test = training_frames(Path(job.data) / "test.extxyz")
    with places_of(1, measurement) as (place,), on_cores(place.cores, measurement.threads):
        models = [
            HybridAllegro(
                compiled(run, place.device) if measurement.compile else run,
                place.device,
                compile=False,
            )
            for run in runs.values()
        ]
        times = inference_times(models, test, repeats=repeats, progress=progress)
    measured = {
        slot: FrontTime(
            inference_seconds=t.median,
            inference_quartiles=t.quartiles,
            hardware=hardware(place.device),
        )
        for slot, t in zip(runs, times, strict=True)
    }
    write_json(tuning.folder / _FRONT, {slot: t.plain() for slot, t in measured.items()})
    return measured


def _digest(data: Path) -> str:
    """Hash of a dataset's three files."""
    digest = hashlib.sha256()
    for part in PARTS:
        digest.update(bytes.fromhex(file_digest(data / f"{part}.extxyz")))
    return digest.hexdigest()
