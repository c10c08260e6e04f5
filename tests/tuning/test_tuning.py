"""Tuning of potentials, with trainings of two epochs."""

import csv
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from unittest.mock import Mock, call

import ase.io
import numpy as np
import optuna
import psutil
import pytest
import torch
import yaml
from optuna.trial import TrialState

from culi_mlip.calculator import HybridAllegro
from culi_mlip.errors import CuliError
from culi_mlip.files import read_json, write_json
from culi_mlip.labelling import build_dataset
from culi_mlip.models.settings import TrainSettings, load_settings
from culi_mlip.optimize import Integer, Real, SamoCobraSampler, Space
from culi_mlip.report.tuning import best_trials, front_table, write_report
from culi_mlip.tuning import study as slots
from culi_mlip.tuning import timing
from culi_mlip.tuning import trial as trial_module
from culi_mlip.tuning import tune as tuning_module
from culi_mlip.tuning import worker as worker_module
from culi_mlip.tuning.recipe import Measurement, ranges_of
from culi_mlip.tuning.records import FrontTime, StudyInputs, TrialJob, TrialResult
from culi_mlip.tuning.timing import inference_times
from culi_mlip.tuning.tune import Tuning, load_tuning, retime, tune
from culi_mlip.tuning.worker import Place, Work, places_of

SETTINGS = {
    "variant": "allegro",
    "epochs": 2,
    "num_scalar_features": 8,
    "num_tensor_features": 2,
    "num_layers": 1,
    "r_max": 4.0,
}
SPACE = {
    "learning_rate": {"type": "real", "low": 1e-3, "high": 2e-2, "log": True},
    "readout_width": {"type": "integer", "low": 4, "high": 32},
}
UNTUNED = TrainSettings(**SETTINGS)
RANGES = Space(learning_rate=Real(1e-3, 2e-2, log=True), readout_width=Integer(4, 32))


@pytest.fixture(scope="module", autouse=True)
def own_locks(tmp_path_factory):
    """Cores are locked in a folder of this process, so that tests at once don't meet."""
    folder = str(tmp_path_factory.mktemp("locks"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", folder)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory, tiny_recipe):
    """Nine frames of copper in three parts, in a folder of any name."""
    folder = tmp_path_factory.mktemp("tuning") / "da ${ta}?%25#[b]"
    build_dataset(tiny_recipe, folder)
    frames = [f for p in ("train", "val", "test") for f in ase.io.read(folder / f"{p}.extxyz", ":")]
    for frame, kind in zip(frames, "aabbabaab", strict=True):  # two kinds in each part
        frame.info["kind"] = kind
    for part, chosen in (("train", frames[:5]), ("val", frames[5:7]), ("test", frames[7:])):
        ase.io.write(folder / f"{part}.extxyz", chosen, format="extxyz")
    return folder


@pytest.fixture(scope="module")
def tuned(data, tmp_path_factory):
    """Three trials behind a link, their storage named from where the tuning was begun."""
    place = tmp_path_factory.mktemp("tuned")
    (place / "the disk").mkdir()
    (place / "link").symlink_to("the disk")
    limits = Measurement(max_parameters=1e6, max_memory=1e5, max_drift=1e5, device="cpu")
    storage = f"sqlite:///{os.path.relpath(place / 'own.db')}"
    out = place / "link" / "hpo"

    def tuned_for(trials):
        return tune(data, out, UNTUNED, RANGES, trials=trials, storage=storage, measurement=limits)

    first, more = tuned_for(2), tuned_for(3)
    done = [(t.number, t.params, t.values, t.datetime_complete) for t in first.trials]
    again = [(t.number, t.params, t.values, t.datetime_complete) for t in more.trials[:2]]
    assert again == done, "with more trials a tuning goes on"
    return more


def test_first_trial_is_the_untuned_model(tuned):
    first = tuned.trials[0]
    assert first.params == {"learning_rate": 0.01, "readout_width": 32}
    assert [t.state for t in tuned.trials] == [TrialState.COMPLETE] * 3


def test_tuning_is_found_from_another_folder(tuned, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(load_tuning(tuned.folder).trials) == 3
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", ["", "garbage", "{}", "[]", '{"storage": null}'])
def test_damaged_record_of_a_tuning(tmp_path, content):
    (tmp_path / "study.json").write_text(content)
    with pytest.raises(CuliError, match=r"study\.json"):
        load_tuning(tmp_path)


def test_objectives_are_the_models(tuned, data):
    trial = tuned.trials[1]
    run = tuned.folder / "trials" / "0001" / "run"
    atoms = ase.io.read(data / "val.extxyz", ":")
    assert {frame.info["kind"] for frame in atoms} == {"a", "b"}, "the error is that of all kinds"
    calculator = HybridAllegro(run, device="cpu")
    errors = []
    for frame in atoms:
        bare = frame.copy()
        bare.calc = calculator
        errors.append(np.abs(bare.get_forces() - frame.get_forces()).mean())
    assert trial.values[0] == pytest.approx(np.mean(errors), rel=1e-4)
    low, high = trial.user_attrs["inference_quartiles"]
    assert low <= trial.values[1] <= high
    weights = sum(p.numel() for p in calculator.model.parameters())
    assert trial.user_attrs["parameters"] == weights
    inputs = yaml.safe_load((run / "run.yaml").read_text())["inputs"]
    settings = inputs["settings"]
    assert settings["learning_rate"] == trial.params["learning_rate"]
    assert settings["epochs"] == 2


def test_validation_frames_are_the_error_and_test_frames_the_time(tuned, monkeypatch):
    """The trial's measurement once more; its training is finished."""
    folder = tuned.folder / "trials" / "0001"
    job = TrialJob.read(folder / "job.json")
    timed = []

    def recorded(calculators, frames, **options):
        timed.extend(frames)
        return inference_times(calculators, frames, repeats=1)

    monkeypatch.setattr(trial_module, "inference_times", recorded)
    monkeypatch.setattr(trial_module, "keep_freed_memory", lambda: None)  # it is this process
    result = trial_module._run(folder, job.model_copy(update={"max_drift": None}))
    test = ase.io.read(f"{job.data}/test.extxyz", ":")
    assert [f.get_potential_energy() for f in timed] == [f.get_potential_energy() for f in test]
    assert result.error == pytest.approx(tuned.trials[1].values[0], rel=1e-9)


def test_energies_alone_are_tuned(data, tmp_path):
    (tmp_path / "data").mkdir()
    for part in ("train", "val", "test"):
        frames = ase.io.read(data / f"{part}.extxyz", ":")
        for frame in frames:
            frame.calc.results = {"energy": frame.get_potential_energy()}
        ase.io.write(tmp_path / "data" / f"{part}.extxyz", frames, format="extxyz")
    out = tmp_path / "hpo"
    limits = Measurement(device="cpu")
    tuning = tune(tmp_path / "data", out, UNTUNED, RANGES, trials=1, measurement=limits)
    assert tuning.error == "energy MAE (eV/atom)"
    (trial,) = tuning.trials
    assert trial.values[0] == trial.user_attrs["energy_mae"] > 0
    assert front_table(tuning, {})[0][1] == "energy MAE (meV/atom)"


def test_tunings_of_different_errors_are_reported_apart(tuned, tmp_path):
    other = SimpleNamespace(error="energy MAE (eV/atom)")
    with pytest.raises(CuliError, match="report them apart"):
        write_report([tuned, other], [{}, {}], tmp_path)


def test_constraints_are_relative_to_their_limits(tuned):
    trial = tuned.trials[0]
    assert trial.constraints["parameters"] == trial.user_attrs["parameters"] / 1e6 - 1
    assert set(trial.constraints) == {"parameters", "memory_MB", "drift_meV_per_atom_ps"}


def test_going_on_adds_what_is_missing(tuned, data):
    before = [t.params for t in tuned.trials]
    limits = slots.inputs_of(tuned.study).measurement
    again = tune(data, tuned.folder, UNTUNED, RANGES, trials=3, measurement=limits)
    assert [t.params for t in again.trials] == before
    assert [t.params for t in load_tuning(tuned.folder).trials] == before
    assert not (tuned.folder / "study.db").exists()  # in the storage that it was begun in


def test_front_is_timed_in_one_sitting(tuned):
    times = retime(tuned, repeats=3)
    assert set(times) == {t.user_attrs["slot"] for t in tuned.front} | {0}
    assert all(0 < t.inference_seconds < 10 for t in times.values())
    assert retime(tuned) == times  # from front.json


def test_nothing_is_timed_while_trials_are_to_come(tuned):
    unfinished = replace(tuned, n_trials=10, folder=tuned.folder / "elsewhere")
    assert retime(unfinished) == {}


def test_folder_of_a_tuning_can_be_moved(tuned, tmp_path, monkeypatch):
    shutil.copytree(tuned.folder, tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    assert [t.params for t in load_tuning("moved").trials] == [t.params for t in tuned.trials]


def test_report(tuned, culi):
    done = culi("optimize", "report", tuned.folder)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tuned.folder / "trials.csv").open()))
    assert [float(r["force_mae"]) for r in rows] == [t.values[0] for t in tuned.trials]
    page = (tuned.folder / "report.html").read_text()
    assert "untuned" in page
    assert "Plotly.newPlot" in page
    assert (tuned.folder / "pareto.png").read_bytes().startswith(b"\x89PNG")
    best = best_trials(tuned)["most accurate"]
    settings = load_settings(tuned.folder / "best" / "allegro-most-accurate.yaml", {})
    assert settings.learning_rate == best.params["learning_rate"]


def test_other_inputs_are_refused(tuned, data):
    with pytest.raises(CuliError, match="study 'allegro' in this storage is of other settings"):
        tune(data, tuned.folder, UNTUNED.model_copy(update={"epochs": 3}), RANGES, trials=3)


def test_time_and_memory_limits_fail_a_trial(data, tmp_path):
    for limit in ({"time_limit": 0.01}, {"memory_limit": 0.05}):
        (kind,) = limit
        with pytest.raises(CuliError, match="all of the first 1 trials of allegro failed, 1 of"):
            tune(data, tmp_path / kind, UNTUNED, RANGES, trials=1, measurement=Measurement(**limit))
        failure = read_json(tmp_path / kind / "trials/0000/result.json")["failure"]
        assert failure.startswith("it took ")


def test_tuning_that_can_only_fail_stops_early(data, tmp_path, monkeypatch):
    monkeypatch.setattr("culi_mlip.tuning.worker.MOST_FIRST_FAILURES", 2)
    hopeless = Measurement(time_limit=1e-3, device="cpu")
    with pytest.raises(CuliError, match=r"all of the first 2 trials of allegro failed, 2 of them"):
        tune(data, tmp_path, UNTUNED, RANGES, trials=50, measurement=hopeless)


def test_unpromising_trainings_stop_early(data, tmp_path, monkeypatch):
    monkeypatch.setattr(
        optuna.pruners, "MedianPruner", lambda: optuna.pruners.ThresholdPruner(upper=1e-9)
    )
    long = UNTUNED.model_copy(update={"epochs": 3000})
    pruned = tune(data, tmp_path, long, RANGES, trials=1, measurement=Measurement(pruner="median"))
    (trial,) = pruned.trials
    assert trial.state == TrialState.COMPLETE
    assert 1 <= trial.user_attrs["epochs"] < 3000
    assert np.isfinite(trial.values).all()


def test_workers_on_one_machine_share_no_core(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3, 4}, raising=False)
    one, two = Measurement(device="cpu"), Measurement(threads=2, device="cpu")
    with places_of(2, two) as pair:
        cores = {core for place in pair for core in place.cores}
        assert len(cores) == 4
        with pytest.raises(CuliError, match="leave 1 of the 2 cores"), places_of(2, one):
            pass
        with places_of(1, one) as (single,):
            assert not {*single.cores} & cores
            assert single.environment == {"CUDA_VISIBLE_DEVICES": ""}, "trainings keep off GPUs"
    with places_of(2, two) as again:
        assert len(again) == 2


@pytest.fixture
def two_gpus(monkeypatch, tmp_path):
    """Let PyTorch see two GPUs of four, by the names in CUDA_VISIBLE_DEVICES."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)

    def see(visible):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        properties = [SimpleNamespace(uuid=f"u{name.strip()}") for name in visible.split(",")]
        monkeypatch.setattr(torch.cuda, "get_device_properties", properties.__getitem__)

    return see


@pytest.mark.parametrize("names", [("2", "3"), ("GPU-77ab", "GPU-01cd"), ("MIG-1", "MIG-2")])
def test_workers_choose_among_the_gpus_that_are_visible(two_gpus, names):
    first, second = names
    two_gpus(f"{first}, {second}")
    with places_of(2, Measurement()) as pair:
        assert [place.environment for place in pair] == [
            {"CUDA_VISIBLE_DEVICES": first},
            {"CUDA_VISIBLE_DEVICES": second},
        ]
        assert [place.device for place in pair] == ["cuda:0", "cuda:1"]
    with places_of(1, Measurement(device="cuda:1")) as (place,):
        assert place.environment == {"CUDA_VISIBLE_DEVICES": second}
        two_gpus(f"{second},{first}")  # another tuning, which counts them the other way round
        with places_of(1, Measurement(device="cuda")) as (other,):
            assert other.environment == {"CUDA_VISIBLE_DEVICES": first}
        with (
            pytest.raises(CuliError, match="leave 0 of the 1 GPUs"),
            places_of(1, Measurement(device="cuda:0")),
        ):
            pass
    with (
        pytest.raises(CuliError, match="--workers 3: .* 2 may be used"),
        places_of(3, Measurement()),
    ):
        pass
    with places_of(1, Measurement(device="cpu")) as (place,):
        assert (place.device, place.environment) == ("cpu", {"CUDA_VISIBLE_DEVICES": ""})


def inputs_of(data, **measurement):
    return StudyInputs(
        data=data, settings=UNTUNED, space={}, seed=0, measurement=Measurement(**measurement)
    )


def job_of(**values):
    given = {
        "data": "there", "settings": UNTUNED, "compile": False, "repeats": 5, "threads": 1,
        "max_drift": None, "device": "cpu", "cores": [],
    }  # fmt: skip
    return TrialJob(**given | values)


def claimed_work(folder, place, **limits):
    """The work of a tuning whose first trial this process has claimed."""
    sampler = SamoCobraSampler(RANGES)
    study = slots.open_study(
        optuna.storages.InMemoryStorage(), "s", sampler, 1, ("a", "b"), inputs_of("x"), None
    )
    work = Work(folder, folder, UNTUNED, study, 1, Measurement(**limits), Event(), None)
    trial = slots.claim(study, 1)
    return work, trial, work._job(trial, place)


def test_a_trial_sees_one_gpu_and_calls_it_cuda(tmp_path):
    _, trial, job = claimed_work(tmp_path, Place([3], "cuda:5", {}), repeats=2, compile=True)
    assert (job.device, job.cores, job.repeats, job.compile) == ("cuda", [3], 2, True)
    assert job.settings == UNTUNED.model_copy(update=trial.params)
    assert claimed_work(tmp_path, Place([], "cpu", {}))[2].device == "cpu"


def test_what_exceeds_a_limit_violates_a_constraint(tmp_path):
    limits = {"max_parameters": 200, "max_memory": 50, "max_drift": 4}
    work, trial, _ = claimed_work(tmp_path, Place([], "cpu", {}), **limits)
    measured = {"parameters": 100, "memory_MB": 75, "drift_meV_per_atom_ps": 4.0}
    work._tell(trial, TrialResult(error=0.1, inference_seconds=2.0, **measured))
    (told,) = work.study.trials
    assert told.values == [0.1, 2.0]
    assert told.constraints == {
        "parameters": -0.5, "memory_MB": 0.5, "drift_meV_per_atom_ps": 0.0
    }  # fmt: skip


def test_an_error_that_is_no_number_is_a_failure(tmp_path):
    work, trial, _ = claimed_work(tmp_path, Place([], "cpu", {}))
    work._tell(trial, TrialResult(error=np.nan, inference_seconds=2.0))
    (told,) = work.study.trials
    assert told.state == TrialState.FAIL
    assert told.user_attrs["failure"] == "its error is nan"


def test_the_search_reaches_some_way_beyond_the_untuned_model(tmp_path):
    work, trial, _ = claimed_work(tmp_path, Place([], "cpu", {}))
    assert work._reference() is None
    work._tell(trial, TrialResult(error=0.1, inference_seconds=3.0))
    np.testing.assert_allclose(work._reference(), [0.2, 6.0])


def test_limits_are_minutes_and_gigabytes(tmp_path):
    used = psutil.Process().memory_info().rss / 1e9
    work, *_ = claimed_work(
        tmp_path, Place([], "cpu", {}), time_limit=2.0, memory_limit=used + 100.0
    )
    assert work._beyond_limits(os.getpid(), 1.9) is None
    assert work._beyond_limits(os.getpid(), 2.1) == "it took longer than 2 min"
    work, *_ = claimed_work(tmp_path, Place([], "cpu", {}), memory_limit=used / 2)
    assert "it took more memory than" in work._beyond_limits(os.getpid(), 1.9)


def test_peak_memory_is_in_megabytes():
    used = psutil.Process().memory_info().rss / 1e6
    assert 0.9 * used < trial_module._peak_memory("cpu") < 20 * used


@pytest.mark.parametrize("slope", [3.0, -3.0])
def test_the_drift_of_a_trial_is_a_size(monkeypatch, tmp_path, slope):
    """Energy that is lost counts as energy that is gained, in meV/atom/ps."""
    time_ps = np.linspace(0, 1, 11)
    log = {"time_ps": time_ps, "conserved_eV": 7 + slope * 1e-3 * 4 * time_ps}
    run_md = Recorded(SimpleNamespace(log=log))
    monkeypatch.setattr(trial_module, "run_md", run_md)
    assert trial_module._drift(tmp_path, [None] * 4, None) == pytest.approx(3.0)
    ((_, options),) = run_md.calls
    assert options == {"temperature": 300, "time": 1, "ensemble": "nve", "out": tmp_path}


def tuning_of(tmp_path, *trials):
    """A tuning whose trials gave these values and constraints; their folders are there."""
    study = optuna.create_study(directions=["minimize"] * 2)
    for slot, (values, constraints) in enumerate(trials):
        trial = study.ask()
        trial.set_user_attr("slot", slot)
        for name, value in constraints.items():
            trial.set_constraint(name, value)
        study.tell(trial, values, state=TrialState.COMPLETE if values else TrialState.FAIL)
        (tmp_path / "trials" / f"{slot:04d}").mkdir(parents=True)
        (tmp_path / "trials" / f"{slot:04d}" / "job.json").touch()
    return Tuning(tmp_path, study, len(trials), study.trials)


def test_a_front_holds_no_infeasible_trial(tmp_path):
    tuning = tuning_of(
        tmp_path,
        ([3.0, 3.0], {"a": -1.0, "b": 0.0}),  # on its limit
        ([1.0, 1.0], {"a": -1.0, "b": 0.01}),
        ([2.0, 4.0], {"a": -1.0, "b": -1.0}),
        ([4.0, 4.0], {}),
        (None, {"a": -1.0}),
    )
    assert [t.values for t in tuning.front] == [[2.0, 4.0], [3.0, 3.0]]


@pytest.mark.parametrize(
    ("powers", "balanced"),
    [
        ([(0, 2), (0.2, 1.4), (0.7, 0.8), (1.3, 0.5), (2, 0)], 2),
        ([(0, 2), (1.44, 1.1), (2, 0)], 1),  # the front bulges outwards
        ([(0, 3), (0.3, 1.8), (1.6, 0.9), (3, 0)], 1),  # the third without the logarithm
    ],
)
def test_balanced_is_the_nearest_to_the_ideal_point(tmp_path, powers, balanced):
    """Distances from (least error, least time), both logarithms from 0 to 1 over the front."""
    tuning = tuning_of(tmp_path, *(([10.0**a, 10.0**b], {}) for a, b in powers))
    best = best_trials(tuning)
    assert best["balanced"].number == balanced
    assert best["most accurate"].number == 0
    assert best["fastest"].number == len(powers) - 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"trials": 0}, "0 trials"),
        ({"trials": 50, "space": Space(readout_width=Integer(4, 32))}, "50 trials .* 29 points"),
        ({"settings": UNTUNED.model_copy(update={"devices": 2})}, "devices: 2"),
        ({"measurement": Measurement(device="gpu")}, "a GPU is called cuda"),
    ],
)
def test_tunings_that_cannot_work_are_refused_at_once(tmp_path, options, words):
    options = {"settings": UNTUNED, "space": RANGES} | options
    with pytest.raises(CuliError, match=words):
        tune(tmp_path / "missing", tmp_path / "hpo", **options)
    assert not (tmp_path / "hpo").exists()


def test_nothing_to_time_is_refused():
    with pytest.raises(CuliError, match="5 repeats over 0 frames"):
        inference_times([], [])
    with pytest.raises(CuliError, match="0 repeats over 1 frames"):
        inference_times([], [None], repeats=0)


def test_calculators_are_timed_in_turns():
    class Slow:
        def __init__(self, seconds):
            self.seconds, self.calls = seconds, 0

        def calculate(self, atoms, properties):
            self.calls += 1
            time.sleep(self.seconds * (100 if self.calls == 1 else 1))  # the first one warms up

    slow = [Slow(0.002), Slow(0.004)]
    one, two = inference_times(slow, [None] * 3, repeats=5)
    assert [s.calls for s in slow] == [18, 18]
    assert 0.006 <= one.median < two.median < 0.05
    assert len(one.seconds) == 5


def test_times_are_those_of_whole_passes_but_for_the_first(monkeypatch):
    """By a clock of our own, which each evaluation moves on."""
    now, asked, done = [0.0], [], []
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    class Taking:
        def __init__(self, *seconds):
            self.seconds = iter(seconds)

        def calculate(self, atoms, properties):
            asked.append((atoms, properties))
            now[0] += next(self.seconds)

    calculators = [Taking(90, 90, 1, 2, 4, 5, 0, 1, 2, 3), Taking(*[8] * 10)]
    one, two = inference_times(
        calculators, ["a", "b"], repeats=4, progress=lambda *counts: done.append(counts)
    )
    assert one.seconds == (3, 9, 1, 5)
    assert (one.median, one.quartiles) == (4, (2.5, 6))
    assert (two.median, two.quartiles) == (16, (16, 16))
    assert asked == [(frame, ["energy", "forces"]) for frame in "ab"] * 10
    assert done == [(n, 10) for n in range(1, 11)]


def test_a_process_keeps_to_its_cores_and_threads_meanwhile():
    before, threads = os.sched_getaffinity(0), torch.get_num_threads()
    core = max(before)
    with timing.on_cores([core], threads + 1):
        assert (os.sched_getaffinity(0), torch.get_num_threads()) == ({core}, threads + 1)
    assert (os.sched_getaffinity(0), torch.get_num_threads()) == (before, threads)
    with timing.on_cores([], threads + 2):
        assert (os.sched_getaffinity(0), torch.get_num_threads()) == (before, threads + 2)
    assert torch.get_num_threads() == threads


class Recorded:
    """Stands for what a trial calls: notes the arguments, gives what it was made with."""

    def __init__(self, value):
        self.value, self.calls = value, []

    def __call__(self, *arguments, **options):
        self.calls.append((arguments, options))
        return self.value


@pytest.mark.parametrize("compiles", [False, True])
def test_a_trial_measures_what_its_job_asks_for(tmp_path, monkeypatch, compiles):
    errors = [
        SimpleNamespace(force_mae=9, energy_mae=9),
        SimpleNamespace(force_mae=3, energy_mae=2),
    ]
    weights = [torch.zeros(2, 3), torch.zeros(4)]
    model = SimpleNamespace(model=SimpleNamespace(parameters=lambda: weights))
    calls = {
        "train": Recorded(None), "HybridAllegro": Mock(side_effect=[model, "timed"]),
        "evaluate": Recorded(SimpleNamespace(errors=errors)), "learning_curve": Recorded([1] * 7),
        "training_frames": Recorded(["frame"]), "compiled": Recorded("file"), "_drift": Recorded(5),
        "inference_times": Recorded([SimpleNamespace(median=0.5, quartiles=(0.4, 0.7))]),
        "_peak_memory": Recorded(80), "keep_freed_memory": Recorded(None),
        "hardware": Recorded("chip"),
    }  # fmt: skip
    for name, recorded in calls.items():
        monkeypatch.setattr(trial_module, name, recorded)
    settings = TrainSettings(epochs=7)
    job = job_of(settings=settings, threads=3, repeats=8, compile=compiles,
                 max_drift=1.0 if compiles else None)  # fmt: skip
    result = trial_module._run(tmp_path, job).measured
    assert result.pop("training_seconds") >= 0
    assert result == {
        "error": 3, "force_mae": 3, "energy_mae": 2, "parameters": 10, "epochs": 7,
        "hardware": "chip", "threads": 3, "inference_seconds": 0.5, "memory_MB": 80,
        "inference_quartiles": [0.4, 0.7], **({"drift_meV_per_atom_ps": 5} if compiles else {}),
    }  # fmt: skip
    run = tmp_path / "run"
    ((trained, options),) = calls["train"].calls
    assert trained == (Path("there"), run, TrainSettings(epochs=7))
    read = [path.name for ((path,), _) in calls["training_frames"].calls]
    assert read == ["val.extxyz", "test.extxyz"]
    models = [call(run, device="cpu", compile=False), call("file", "cpu")][: 1 + compiles]
    assert calls["HybridAllegro"].call_args_list == models
    timed = ["timed"] if compiles else [model]
    assert calls["inference_times"].calls == [((timed, ["frame"]), {"repeats": 8})]
    assert calls["_drift"].calls == [((tmp_path / "nve", "frame", model), {})] * compiles
    assert calls["compiled"].calls == [((run, "cpu"), {})] * compiles
    options["progress"](1, 7)
    (tmp_path / "stop").touch()
    with pytest.raises(trial_module._StoppedEarlyError):
        options["progress"](2, 7)


def test_a_trial_leaves_a_result_whatever_happens(tmp_path, monkeypatch):
    job_of(threads=torch.get_num_threads()).write(tmp_path / "job.json")
    for error, words in ((CuliError("no frames"), "no frames"), (KeyError("x"), "KeyError: 'x'")):
        monkeypatch.setattr(trial_module, "_run", Mock(side_effect=error))
        trial_module.main(tmp_path)
        assert TrialResult.read(tmp_path / "result.json").measured == {"failure": words}
        trial_module.main(tmp_path)  # it is kept
        assert trial_module._run.call_count == 1
        (tmp_path / "result.json").unlink()


def test_a_model_is_compiled_once_for_its_device(monkeypatch, tmp_path):
    made = []

    def compile_model(file, device, out):
        made.append((file, device))
        out.write_text(device)

    monkeypatch.setattr(trial_module, "compile_model", compile_model)
    monkeypatch.setattr(trial_module, "model_file", lambda run: run / "best.ckpt")
    for device in ("cpu", "cuda:1", "cuda:0"):
        kind = device.partition(":")[0]
        file = trial_module.compiled(tmp_path, device)
        assert file == tmp_path / f"compiled-{kind}.nequip.pt2"
        assert file.read_text() == kind
    assert made == [(tmp_path / "best.ckpt", "cpu"), (tmp_path / "best.ckpt", "cuda")]


@pytest.mark.parametrize("compiles", [False, True])
def test_each_model_of_the_front_has_its_own_time(tmp_path, monkeypatch, compiles):
    """Slots 0, 2 and 3: the untuned model and the front, of which slot 1 is no part."""
    values = ([3.0, 3.0], [2.0, 2.5], [2.0, 1.0], [1.0, 2.0])
    tuning = tuning_of(tmp_path, *((value, {}) for value in values))
    inputs = inputs_of("x", device="cpu", threads=1, compile=compiles)
    tuning.study.set_user_attr("inputs", inputs.plain())
    for slot in range(4):
        (tmp_path / "trials" / f"{slot:04d}" / "run").mkdir()
        job_of(data=str(tmp_path)).write(tmp_path / "trials" / f"{slot:04d}" / "job.json")
    read = Recorded(["test frames"])
    monkeypatch.setattr(tuning_module, "training_frames", read)
    monkeypatch.setattr(tuning_module, "compiled", lambda run, device: run / f"of-{device}")
    monkeypatch.setattr(tuning_module, "HybridAllegro", lambda *model, **_: model)
    monkeypatch.setattr(tuning_module, "hardware", lambda device: f"the {device}")
    seen = []

    def timed(models, frames, *, repeats, progress):
        seen.append((models, frames, repeats, progress))
        return [SimpleNamespace(median=n, quartiles=(n - 1, n + 1)) for n in (10, 20, 30)][
            : len(models)
        ]

    monkeypatch.setattr(tuning_module, "inference_times", timed)
    times = retime(tuning, repeats=4, progress=print)
    assert times == {
        slot: FrontTime(inference_seconds=n, inference_quartiles=(n - 1, n + 1), hardware="the cpu")
        for slot, n in ((0, 10), (2, 20), (3, 30))
    }
    runs = [tmp_path / "trials" / f"000{slot}" / "run" for slot in (0, 2, 3)]
    models = [(run / "of-cpu" if compiles else run, "cpu") for run in runs]
    assert seen == [(models, ["test frames"], 4, print)]
    assert read.calls == [((tmp_path / "test.extxyz",), {})]
    assert retime(tuning) == times
    assert len(seen) == 1, "from front.json"
    runs[2].rmdir()  # another machine's
    assert retime(tuning).keys() == {0, 2}


def test_what_is_tuned_is_in_the_study(data, tmp_path, monkeypatch):
    monkeypatch.setattr(Work, "until_done", lambda work, place: None)
    out, limits = tmp_path / "hpo", Measurement(device="cpu", repeats=3, max_drift=2.0)
    tuning = tune(data, out, UNTUNED, RANGES, trials=4, seed=7, measurement=limits)
    study = tuning.study
    assert (study.study_name, tuning.n_trials, len(study.trials)) == ("allegro", 4, 4)
    assert [d.name for d in study.directions] == ["MINIMIZE"] * 2
    assert study.metric_names == ["force MAE (eV/Å)", "inference time (s)"]
    assert (study.sampler.seed, study.sampler.space) == (7, RANGES)
    queued = [trial.system_attrs["fixed_params"] for trial in study.trials]
    assert queued == [{"learning_rate": 0.01, "readout_width": 32}, {}, {}, {}]
    inputs = slots.inputs_of(study)
    parts = [hashlib.sha256((data / f"{p}.extxyz").read_bytes()) for p in ("train", "val", "test")]
    assert inputs.data == hashlib.sha256(b"".join(p.digest() for p in parts)).hexdigest()
    assert (inputs.settings, inputs.measurement, inputs.seed) == (UNTUNED, limits, 7)
    assert inputs.space == ranges_of(RANGES)
    assert read_json(out / "study.json") == {"storage": None, "name": "allegro", "trials": 4}
    named = tune(data, out, UNTUNED, RANGES, trials=2, name="other", measurement=limits)
    assert (named.study.study_name, named.study.sampler.seed) == ("other", 0)


def curve_of(monkeypatch, pruner, rows):
    """A trial's curve of so many epochs, and the study of all curves."""
    study = optuna.create_study(study_name="allegro", directions=["minimize"] * 2)
    curve = worker_module.Curve(study, pruner)
    monkeypatch.setattr(worker_module, "learning_curve", lambda run: rows)
    curves = [s for s in optuna.get_all_study_names(study._storage) if s != "allegro"]
    return curve, curves, study


def test_pruners_see_the_validation_errors_of_the_forces(monkeypatch):
    rows = [{"epoch": n, "val0_epoch/forces_mae": 0.5 - n / 10,
             "val0_epoch/per_atom_energy_mae": 7.0} for n in range(2)]  # fmt: skip
    curve, names, _ = curve_of(monkeypatch, "median", rows)
    assert names == ["allegro, learning curves"]
    assert isinstance(curve.study.pruner, optuna.pruners.MedianPruner)
    assert not curve.says_stop(None)
    rows.append({"epoch": 2, "val0_epoch/per_atom_energy_mae": 0.2})
    assert not curve.says_stop(None)
    (trial,) = curve.study.trials
    assert trial.intermediate_values == {1: 0.5, 2: 0.4, 3: 0.2}
    curve.close()
    (trial,) = curve.study.trials
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 0.2)
    curve, *_ = curve_of(monkeypatch, "hyperband", [])
    assert isinstance(curve.study.pruner, optuna.pruners.HyperbandPruner)
    curve.close()
    assert curve.study.trials[0].state == TrialState.FAIL
    curve, names, _ = curve_of(monkeypatch, "none", rows)
    assert (curve.says_stop(None), names) == (False, [])


def test_a_trial_has_its_own_threads_and_device_and_goes_on_where_it_was(tmp_path, monkeypatch):
    """An interrupted one on other cores is the same, one of another point is not."""
    environments, alive = [], []

    class Process:
        pid, returncode = 0, 0

        def __init__(self, command, env, **_):
            environments.append(env)
            assert command[1:3] == ["-m", "culi_mlip.tuning.trial"]
            folder = Path(command[3])
            alive.append((folder / "run").exists())
            measured = {"parameters": 1, "memory_MB": 2.0, "drift_meV_per_atom_ps": 3.0}
            write_json(folder / "result.json", {"error": 1, "inference_seconds": 2} | measured)

        def poll(self):
            return 0

    monkeypatch.setattr(worker_module.subprocess, "Popen", Process)
    monkeypatch.setattr(worker_module, "end_family", lambda process: None)
    monkeypatch.setenv("OMP_NUM_THREADS", "17")
    monkeypatch.setenv("MALLOC_TOP_PAD_", "7")
    place = Place([1], "cuda:5", {"CUDA_VISIBLE_DEVICES": "GPU-5"})
    for earlier, is_kept in (({"cores": [4]}, True), ({"repeats": 99}, False)):
        work, trial, job = claimed_work(tmp_path / str(is_kept), place, threads=2, max_drift=4.0)
        assert (job.threads, job.max_drift, job.data) == (2, 4.0, str(work.data))
        folder = tmp_path / str(is_kept) / "trials" / "0000"
        (folder / "run").mkdir(parents=True)
        job.model_copy(update=earlier).write(folder / "job.json")
        work._run(trial, place)
        assert alive.pop() is is_kept
        assert TrialJob.read(folder / "job.json") == job
        (told,) = work.study.trials
        assert (told.values, told.constraints) == ([1, 2], {"drift_meV_per_atom_ps": -0.25})
        assert told.user_attrs["memory_MB"] == 2.0
    environment = environments[0]
    assert (environment["OMP_NUM_THREADS"], environment["MALLOC_TOP_PAD_"]) == ("2", "7")
    assert environment["CUDA_VISIBLE_DEVICES"] == "GPU-5"
    assert environment["MALLOC_MMAP_THRESHOLD_"] == str(4 * 1024**3)


def three_slots(tmp_path, progress=None):
    sampler = SamoCobraSampler(RANGES)
    study = slots.open_study(
        optuna.storages.InMemoryStorage(), "s", sampler, 3, ("a", "b"), inputs_of("x"), None
    )
    return Work(tmp_path, tmp_path, UNTUNED, study, 3, Measurement(), Event(), progress)


def test_a_worker_goes_on_until_all_slots_have_results(tmp_path, monkeypatch):
    """A trial that was stopped is queued again; the worker that was told to stop ends."""
    done = []
    work = three_slots(tmp_path, lambda *counts: done.append(counts))

    def stops(work, trial, folder, place):
        raise worker_module._StoppedError

    monkeypatch.setattr(Work, "_evaluate", stops)
    work.until_done(Place([], "cpu", {}))
    assert done == []
    assert [t.state.name for t in work.study.trials] == ["FAIL", "WAITING", "WAITING"]
    assert slots.results(work.study) == []
    work.stop.wait = Mock(side_effect=AssertionError("it waits for others"))
    monkeypatch.setattr(Work, "_run", lambda work, trial, place: work.study.tell(trial, [1, 2]))
    work.until_done(Place([], "cpu", {}))
    assert done == [(1, 3), (2, 3), (3, 3)]
    assert [t.user_attrs["slot"] for t in slots.results(work.study)] == [0, 1, 2]


def test_a_tuning_gives_up_for_the_commonest_reason(tmp_path):
    work = three_slots(tmp_path)
    reasons = ("it died: see a.log", "it was slow", "it died: see b.log")
    ended = [SimpleNamespace(values=None, user_attrs={"failure": r}) for r in reasons]
    work._give_up_if_hopeless(ended[:2])
    work._give_up_if_hopeless([*ended[:2], SimpleNamespace(values=[1, 2], user_attrs={})])
    assert not work.stop.is_set()
    with pytest.raises(CuliError, match="first 3 trials of allegro failed, 2 of them because it "
                       r"died: see .*trials; mend"):  # fmt: skip
        work._give_up_if_hopeless(ended)
    assert work.stop.is_set()


def test_memory_of_a_trial_is_that_of_all_its_processes(monkeypatch):
    def process(size, *children):
        return SimpleNamespace(
            memory_info=lambda: SimpleNamespace(rss=size), children=lambda recursive: children
        )

    family = process(3e9, process(4e9), process(5e8))
    monkeypatch.setattr(psutil, "Process", lambda pid: family)
    assert worker_module._memory(1) == 7.5e9


@pytest.mark.slow
def test_killed_tuning_goes_on(data, tmp_path):
    """Coordinator and trainings die by SIGKILL at random instants; every trial counts once."""
    (tmp_path / "r.yaml").write_text(yaml.safe_dump({"settings": SETTINGS, "space": SPACE}))
    command = [
        *(sys.executable, "-c", "from culi_mlip.cli import main; main()", "optimize", str(data)),
        *("--recipe", "r.yaml", "--trials", "8", "--workers", "2", "--out", "hpo"),
    ]
    rng = random.Random(1)
    for _ in range(6):
        coordinator = subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(rng.uniform(5, 20))
        if rng.random() < 0.5:
            for child in psutil.Process(coordinator.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    if "nequip.scripts.train" in child.cmdline():
                        child.kill()
            time.sleep(2)
        os.kill(coordinator.pid, signal.SIGKILL)
        coordinator.wait()
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    found = load_tuning(tmp_path / "hpo")
    assert [t.user_attrs["slot"] for t in found.trials] == list(range(8))
    assert len({tuple(t.params.values()) for t in found.trials}) == 8
    folders = sorted(p.name for p in (tmp_path / "hpo" / "trials").iterdir())
    assert folders == [f"{i:04d}" for i in range(8)]


WRONG = [
    (["missing"], "missing/train.extxyz does not exist"),
    (["data", "--recipe", "none.yaml"], "none.yaml does not exist"),
    (["data", "--trials", "0"], "--trials"),
    (["data", "--workers", "999"], "--workers 999 of 1 threads: this machine has"),
    (["data", "--workers", "0"], "'--workers': 0 is not in the range x>=1"),
    (["data", "--storage", "postgresql://me@127.0.0.1:1/x"], "cannot be reached"),
    (["data", "--variant", "mace"], "--variant"),
    (["report", "nothing"], "nothing/study.json does not exist"),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG)
def test_wrong_input(culi, data, tmp_path, arguments, words):
    (tmp_path / "data").symlink_to(data)
    done = culi("optimize", *arguments, "--out", "new")
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert words in done.stderr
    assert not (tmp_path / "new" / "trials").exists()


def test_dataset_without_test_frames(culi, data, tmp_path):
    (tmp_path / "data").mkdir()
    for part in ("train", "val"):
        (tmp_path / "data" / f"{part}.extxyz").symlink_to(data / f"{part}.extxyz")
    done = culi("optimize", "data", "--out", "new")
    assert done.returncode == 2
    assert "data has no test.extxyz" in done.stderr
    assert "make a dataset of more structures" in done.stderr
    assert not (tmp_path / "new").exists()
