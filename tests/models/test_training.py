"""Training: the plain configuration, continuation after a kill, refusals."""

import csv
import hashlib
import json
import os
import shutil
from types import SimpleNamespace

import ase.io
import numpy as np
import pytest
import torch
import yaml
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from culi_mlip.calculator import HybridAllegro
from culi_mlip.errors import CuliError, DatasetError, ModelError, OutputError
from culi_mlip.files import read_frames, write_frames
from culi_mlip.models import training
from culi_mlip.models.evaluation import evaluate
from culi_mlip.models.files import ModelRecord, Validation
from culi_mlip.models.settings import TrainSettings
from culi_mlip.models.training import (
    _config,
    _record,
    learning_curve,
    train,
    training_frames,
)

RATE = 0.3


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours catches it."""


@pytest.fixture(scope="module")
def restless(tiny_settings):
    """Four epochs at a rate that is too high: neither the first nor the last is the best."""
    update = {
        "variant": "mlp",
        "schedule": "constant",
        "learning_rate": RATE,
        "batch_size": 2,
        "num_layers": 1,
        "epochs": 4,
    }
    return tiny_settings.model_copy(update=update)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, tiny_data, restless):
    return train(tiny_data, tmp_path_factory.mktemp("unbroken") / "run", restless, device="cpu")


@pytest.fixture(scope="module")
def extended(tmp_path_factory, tiny_data, restless):
    """Three epochs, killed on the way and continued; moved; then four."""
    root = tmp_path_factory.mktemp("extended")
    short = restless.model_copy(update={"epochs": 3})

    def die(done, total):
        assert total == 3
        if (root / "first/checkpoints/last.ckpt").exists():
            raise Killed

    with pytest.raises(Killed):
        train(tiny_data, root / "first", short, device="cpu", progress=die)
    train(tiny_data, root / "first", short, device="cpu")
    shutil.move(root / "first", root / "run")
    return train(tiny_data, root / "run", restless, device="cpu")


def monitored(folder):
    """Mean of the two errors that the monitor weighs alike, of each epoch, from nequip's table."""
    found = {}
    for file in sorted(folder.glob("logs/version_*/metrics.csv")):
        for row in csv.DictReader(file.open()):
            if row["val0_epoch/forces_mae"]:
                errors = row["val0_epoch/forces_mae"], row["val0_epoch/per_atom_energy_mae"]
                found[int(row["epoch"])] = sum(map(float, errors)) / 2
    return [found[epoch] for epoch in sorted(found)]


def test_killed_and_extended_training_is_an_unbroken_one(unbroken, extended, tiny_data, restless):
    curve = learning_curve(extended.folder)
    assert [row["epoch"] for row in curve] == list(range(4))
    assert monitored(extended.folder) == pytest.approx(monitored(unbroken.folder), rel=1e-9)
    assert extended.metadata["settings"]["epochs"] == 4
    versions = len(list(extended.folder.glob("logs/version_*")))
    again = train(tiny_data, extended.folder, restless, device="cpu")
    assert again.metadata == extended.metadata
    assert len(list(extended.folder.glob("logs/version_*"))) == versions, "it was finished"


@pytest.mark.parametrize("which", ["unbroken", "extended"])
def test_the_model_is_that_of_the_least_monitored_error(request, which, tiny_data):
    run = request.getfixturevalue(which)
    errors = monitored(run.folder)
    best = int(np.argmin(errors))
    assert best in (1, 2), "neither the first, nor the last, nor one after the folder was moved"
    checkpoint = torch.load(run.folder / "checkpoints" / "best.ckpt", weights_only=False)
    assert checkpoint["epoch"] == best
    assert run.metadata["best_epoch"] == best
    calculator = HybridAllegro(run.folder, device="cpu")
    found = evaluate(training_frames(tiny_data / "val.extxyz"), calculator).errors[-1]
    assert (found.force_mae + found.energy_mae) / 2 == pytest.approx(errors[best], rel=1e-6)
    assert run.metadata["validation"]["force_mae"] == pytest.approx(found.force_mae, rel=1e-6)


def test_fewer_epochs_than_there_are_do_not_fit(extended, tiny_data, restless):
    with pytest.raises(CuliError, match="another job .train with other epochs"):
        train(tiny_data, extended.folder, restless.model_copy(update={"epochs": 3}))


def test_a_schedule_that_has_ended_is_not_extended(trained, tiny_data, tiny_settings):
    folder = trained["mlp"]
    longer = tiny_settings.model_copy(update={"variant": "mlp", "epochs": 5})
    with pytest.raises(CuliError, match="other epochs.: .* need --schedule constant: a one-"):
        train(tiny_data, folder, longer)
    other = longer.model_copy(update={"seed": 1})
    with pytest.raises(CuliError, match="another job .*settings"):
        train(tiny_data, folder, other)


def test_the_learning_curve_is_that_of_the_latest_start(tmp_path):
    """Version 10 comes after version 2; a killed start leaves half a line."""
    header = "epoch,step,val0_epoch/weighted_sum\n"
    for version, rows in ((2, "0,3,0.5\n1,6,0.4\n"), (10, "1,6,0.3\n2,9,0.2\n3,1")):
        folder = tmp_path / "logs" / f"version_{version}"
        folder.mkdir(parents=True)
        (folder / "metrics.csv").write_text(header + rows)
    curve = learning_curve(tmp_path)
    assert [row["val0_epoch/weighted_sum"] for row in curve] == [0.5, 0.3, 0.2]
    assert [row["epoch"] for row in curve] == [0, 1, 2]


@pytest.mark.slow
def test_two_devices_make_the_steps_that_the_schedule_counts(tmp_path, tiny_data, tiny_settings):
    """Two processes on the CPU; a schedule of fewer steps ends in PyTorch's error."""
    settings = tiny_settings.model_copy(update={"devices": 2, "batch_size": 1, "variant": "mlp"})
    run = train(tiny_data, tmp_path / "run", settings, device="cpu").folder
    config = yaml.safe_load((run / "config.yaml").read_text())
    scheduler = config["training_module"]["lr_scheduler"]["scheduler"]
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=False)
    assert checkpoint["global_step"] == scheduler["total_steps"]
    assert len(learning_curve(run)) == 2


def test_configuration_is_plain_and_names_the_fitted_references(trained):
    config = yaml.safe_load((trained["qdi"] / "config.yaml").read_text())
    model = config["training_module"]["model"]
    assert model["_target_"] == "culi_mlip.models.builders.AllegroQDIModel"
    assert set(model["per_type_energy_shifts"]) == {"Cu"}
    assert config["data"]["train_file_path"].startswith("..")
    assert config["trainer"]["max_epochs"] == 2


def test_other_settings_do_not_touch_a_training(trained, tiny_data):
    with pytest.raises(CuliError, match="another job .*settings"):
        train(tiny_data, trained["qdi"], TrainSettings(epochs=3))


def test_a_cutoff_without_neighbours_is_refused_at_once(tiny_data, tmp_path, tiny_settings):
    settings = tiny_settings.model_copy(update={"r_max": 1.5})
    with pytest.raises(DatasetError, match=r"no two atoms are within r_max=1.5 Å"):
        train(tiny_data, tmp_path / "run", settings)
    assert not (tmp_path / "run").exists()


def strained_copper(n):
    """Copper from 6 % compressed to 6 % expanded, with EMT's energies alone."""
    for strain in np.linspace(-0.06, 0.06, n):
        atoms = bulk("Cu", a=3.6 * (1 + strain), cubic=True)
        atoms.calc = EMT()
        atoms.calc = SinglePointCalculator(atoms, energy=atoms.get_potential_energy())
        yield atoms


ODD = "a ${y}?%25#&[1],b='c'\" ä"
"""A folder's name that shells, addresses, templates and configurations take for something else."""


def test_energies_alone_are_learnt_in_folders_of_any_name_behind_a_link(tmp_path, tiny_settings):
    data, disk = tmp_path / ODD, tmp_path / "far" / "away" / ODD
    data.mkdir()
    disk.mkdir(parents=True)
    (tmp_path / "link").symlink_to(disk)
    for part, n in (("train", 24), ("val", 7)):
        ase.io.write(data / f"{part}.extxyz", list(strained_copper(n)), format="extxyz")
    update = {"epochs": 20, "batch_size": 1, "variant": "allegro"}
    settings = tiny_settings.model_copy(update=update)
    trained = train(data, tmp_path / "link" / "run", settings)
    curve = [row["val0_epoch/per_atom_energy_mae"] for row in learning_curve(trained.folder)]
    assert min(curve) < 0.2 * curve[0]
    assert trained.metadata["validation"]["force_mae"] is None
    assert trained.metadata["notes"] == ["No frame has forces: energies alone were trained on."]
    calculator = HybridAllegro(trained.folder, device="cpu")
    errors = evaluate(training_frames(data / "val.extxyz"), calculator).errors[-1]
    assert errors.force_mae is None
    assert errors.energy_mae == pytest.approx(min(curve), rel=1e-4)


def test_the_energies_scale_is_their_spread_per_atom(tmp_path, tiny_settings):
    """Of one element, whose reference shifts all energies per atom alike."""
    frames = list(strained_copper(7))
    frames[2] = frames[2].repeat((2, 1, 1))
    frames[2].calc = SinglePointCalculator(frames[2], energy=-3.0)
    config = _config(tiny_settings, {"train": frames, "val": frames[:2]}, tmp_path, tmp_path)
    per_atom = [frame.get_potential_energy() / len(frame) for frame in frames]
    model = config["training_module"]["model"]
    assert model["per_type_energy_scales"] == pytest.approx(np.std(per_atom))


def alloys(*energies, stressed=(0, 1, 2)):
    """Frames of copper and lithium with forces, some with stresses."""
    for i, (symbols, energy) in enumerate(zip(("Cu3Li", "CuLi", "Li"), energies, strict=True)):
        atoms = Atoms(symbols, cell=[9, 9, 9], pbc=True)
        atoms.positions[:, 0] = 2 * np.arange(len(atoms))
        labels = {"energy": energy, "forces": np.zeros((len(atoms), 3))}
        labels |= {"stress": np.zeros(6)} if i in stressed else {}
        atoms.calc = SinglePointCalculator(atoms, **labels)
        yield atoms


def test_the_configuration_of_two_elements_is_by_hand(tmp_path):
    """Energies per atom of -4 and -2 eV, but for what lies beyond them."""
    exact = list(alloys(-14.0, -6.0, -2.0))
    settings = TrainSettings(batch_size=1, epochs=7, schedule="one-cycle")
    config = _config(settings, {"train": exact, "val": exact[:1]}, tmp_path, tmp_path)
    module = config["training_module"]
    assert module["model"]["type_names"] == ["Cu", "Li"]
    assert module["model"]["per_type_energy_shifts"] == pytest.approx({"Cu": -4, "Li": -2})
    assert module["lr_scheduler"]["scheduler"]["total_steps"] == 7 * 3
    assert "stress" not in config["data"]["exclude_keys"]
    assert (config["hydra"]["run"]["dir"], config["place"]) == ("${place}", "repeated")
    for train_stress, val_stress in (((0, 1), (0,)), ((0, 1, 2), ())):
        parts = {
            "train": list(alloys(-14.0, -6.0, -2.0, stressed=train_stress)),
            "val": list(alloys(-14.0, -6.0, -2.0, stressed=val_stress))[:1],
        }
        assert "stress" in _config(settings, parts, tmp_path, tmp_path)["data"]["exclude_keys"]
    parts = {"train": exact[2:], "val": exact}
    with pytest.raises(DatasetError, match=r"val.extxyz holds Cu, which no training frame does"):
        _config(settings.model_copy(update={"r_max": 10}), parts, tmp_path, tmp_path)


def test_energies_beyond_the_references_set_the_scale(tmp_path, tiny_settings):
    """Residuals per atom of the fit of energies per atom to the shares of two elements."""
    frames = list(alloys(-14.3, -5.8, -2.1))
    for frame in frames:
        frame.calc.results.pop("forces")
    config = _config(tiny_settings, {"train": frames, "val": frames}, tmp_path, tmp_path)
    shares = np.array([[3 / 4, 1 / 4], [1 / 2, 1 / 2], [0, 1]])
    per_atom = np.array([-14.3 / 4, -5.8 / 2, -2.1])
    fitted = np.linalg.solve(shares.T @ shares, shares.T @ per_atom)
    model = config["training_module"]["model"]
    assert list(model["per_type_energy_shifts"].values()) == pytest.approx(list(fitted))
    assert model["per_type_energy_scales"] == pytest.approx(np.std(per_atom - shares @ fitted))


CARD = {"engine": "emt", "engine_title": "EMT", "engine_settings": {"a": 1}, "is_dft": False,
        "caution": "rough"}  # fmt: skip


REST_OF_CARD = {
    "engine_digest": "e1", "notes": [], "seed": 0, "split_by": "parent", "split_chosen": False,
    "split_missed": [], "species": ["Cu"], "frames": {}, "frames_by_kind": {},
    "atoms_per_frame": [1, 2], "force_rms": 0.1, "reference_energies": {}, "dropped_by_audit": {},
    "failed_labels": {}, "train_sha256": "",
}  # fmt: skip


def recorded(tmp_path, columns, stressed=(0, 1, 2), card=CARD):
    """The record of a training whose second epoch of three was the best."""
    (tmp_path / "train.extxyz").write_text("frames")
    if card:
        (tmp_path / "card.json").write_text(json.dumps(REST_OF_CARD | card))
    logs = tmp_path / "run" / "logs" / "version_0"
    logs.mkdir(parents=True)
    rows = [["epoch", "val0_epoch/weighted_sum", *columns]]
    rows += [[n, sum_, *(k + n / 10 for k in range(len(columns)))]
             for n, sum_ in enumerate((0.5, 0.3, 0.4))]  # fmt: skip
    (logs / "metrics.csv").write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    settings = TrainSettings(variant="mlp", r_max=4.5)
    frames = list(alloys(-14.0, -6.0, -2.0, stressed=stressed))
    parts = {"train": frames, "val": frames[:1]}
    config = _config(settings, parts, tmp_path, tmp_path / "run")
    (tmp_path / "run" / "checkpoints").mkdir()
    (tmp_path / "run" / "checkpoints" / "best.ckpt").write_bytes(b"weights")
    record = _record(settings, parts, tmp_path, tmp_path / "run", config)
    return settings, record.model_dump(mode="json")


def test_the_record_of_a_model_holds_what_its_training_was(tmp_path):
    names = ("forces_mae", "per_atom_energy_mae", "stress_mae")
    settings, record = recorded(tmp_path, [f"val0_epoch/{name}" for name in names])
    assert record == CARD | {
        "variant": "mlp", "species": ["Cu", "Li"], "r_max": 4.5, "train_frames": 3,
        "reference_energies": pytest.approx({"Cu": -4, "Li": -2}), "notes": [], "best_epoch": 1,
        "units": {"energy": "eV", "length": "Å", "stress": "eV/Å³ (ASE sign and order)"},
        "validation": {"force_mae": 0.1, "energy_mae_per_atom": 1.1, "stress_mae": 2.1},
        "train_sha256": hashlib.sha256(b"frames").hexdigest(),
        "settings": settings.model_dump(mode="json"),
        "checkpoint_sha256": hashlib.sha256(b"weights").hexdigest(),
    }  # fmt: skip


def test_what_a_training_had_not_is_none_and_lacking_stresses_are_a_note(tmp_path):
    _, record = recorded(tmp_path, ["val0_epoch/per_atom_energy_mae"], stressed=(1,), card=None)
    expected = {"force_mae": None, "energy_mae_per_atom": 0.1, "stress_mae": None}
    assert record["validation"] == expected
    assert record["notes"] == [
        "Only 1 of 4 training and validation frames have a stress: stresses were not trained on."
    ]
    assert [record[key] for key in CARD] == [None] * len(CARD)


class Process:
    """A finished process; its arguments are kept."""

    pid, code = 0, 0

    def __init__(self, command, **options):
        Process.command, Process.options = command, options
        self.polls, self.returncode = 0, Process.code
        options["stdout"].write("before\nValueError: no such thing\n\n")

    def poll(self):
        self.polls += 1
        return None if self.polls < 2 else self.returncode


def test_nequip_is_started_where_it_is_to_run_and_told_where_to_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(training.subprocess, "Popen", Process)
    monkeypatch.setattr(training, "end_family", lambda process: None)
    monkeypatch.setattr(training, "time", SimpleNamespace(sleep=lambda seconds: None))
    monkeypatch.setenv("MALLOC_TOP_PAD_", "7")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4")
    logs, done = tmp_path / "logs" / "version_0", []
    logs.mkdir(parents=True)
    (logs / "metrics.csv").write_text("epoch,val0_epoch/weighted_sum\n0,0.2\n1,0.1\n")
    device = {"CUDA_VISIBLE_DEVICES": "4"}
    training._run_nequip(tmp_path, 5, device, lambda *counts: done.append(counts))
    assert Process.command[1:] == ["-m", "nequip.scripts.train", "place=."]
    assert done == [(2, 5)]
    environment = Process.options["env"]
    assert Process.options["cwd"] == tmp_path
    assert environment["CUDA_VISIBLE_DEVICES"] == "4"
    assert (environment["MALLOC_TOP_PAD_"], environment["PATH"]) == ("7", os.environ["PATH"])
    assert environment["MALLOC_MMAP_THRESHOLD_"] == str(4 * 1024**3)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    training._run_nequip(tmp_path, 5, {}, None)
    assert Process.command[3:] == ["place=.", "++ckpt_path=checkpoints/last.ckpt"]
    assert Process.options["env"]["CUDA_VISIBLE_DEVICES"] == "3,4"
    monkeypatch.setattr(Process, "code", 3)
    with pytest.raises(
        ModelError, match=r"ended with code 3 \(ValueError: no such thing\): see .*log"
    ):
        training._run_nequip(tmp_path, 5, {}, None)
    with (tmp_path / "train.log").open("a") as log:
        log.write("OSError: [Errno 28] No space left on device\nnothing more\n")
    with pytest.raises(OutputError, match="no space left on device; free some"):
        training._run_nequip(tmp_path, 5, {}, None)


@pytest.mark.parametrize(("device", "visible"), [("cpu", ""), ("cuda:1", "6")])
def test_a_training_hands_on_what_it_was_told(tmp_path, tiny_data, monkeypatch, device, visible):
    """Two GPUs of a machine are seen, 5 and 6."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,6")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    started = []
    validation = Validation(force_mae=0.1, energy_mae_per_atom=0.2, stress_mae=None)
    record = ModelRecord(
        variant="qdi", species=["Cu"], r_max=5.0, reference_energies={"Cu": -1.0}, notes=[],
        train_frames=2, train_sha256="", best_epoch=1, validation=validation,
        settings=TrainSettings(),
    )  # fmt: skip
    monkeypatch.setattr(training, "_run_nequip", lambda *given: started.append(given))
    monkeypatch.setattr(training, "_record", lambda *given: record)
    settings = TrainSettings(epochs=3, batch_size=2, schedule="constant", seed=4)
    options = {"device": device, "progress": print}
    run = tmp_path / "a" / "run"
    assert train(tiny_data, run, settings, **options).metadata == record
    assert started == [(run, 3, {"CUDA_VISIBLE_DEVICES": visible}, print)]
    assert ModelRecord.read(run / "model.json") == record
    config = yaml.safe_load((run / "config.yaml").read_text())
    for part in ("train", "val"):
        given = run / config["data"][f"{part}_file_path"]
        assert given.resolve() == (tiny_data / f"{part}.extxyz").resolve()
    inputs = yaml.safe_load((run / "run.yaml").read_text())["inputs"]
    digests = [hashlib.sha256((tiny_data / f"{part}.extxyz").read_bytes()).hexdigest()
               for part in ("train", "val")]  # fmt: skip
    assert [inputs["data_digest"], inputs["val_digest"]] == digests
    assert (run / inputs["data"]).resolve() == tiny_data.resolve()
    assert inputs["settings"] == settings.model_dump(mode="json")
    train(tiny_data, run, settings, **options)
    assert len(started) == 1, "it was finished"
    train(tiny_data, run, settings.model_copy(update={"epochs": 5}), **options)
    assert started[1][1] == 5


def test_some_forces_are_an_error(tmp_path, tiny_data, tiny_settings):
    one_part = shutil.copytree(tiny_data, tmp_path / "part")
    ase.io.write(one_part / "val.extxyz", list(strained_copper(2)), format="extxyz")
    with pytest.raises(DatasetError, match="only one has forces"):
        train(one_part, tmp_path / "run", tiny_settings)
    frames = ase.io.read(tiny_data / "train.extxyz", ":")
    frames[1].calc.results.pop("forces")
    ase.io.write(tmp_path / "mixed.extxyz", frames, format="extxyz")
    with pytest.raises(DatasetError, match=r"frame 1: no label for forces"):
        training_frames(tmp_path / "mixed.extxyz")


def test_changed_validation_frames_are_another_training(tmp_path, tiny_data, tiny_settings):
    data = shutil.copytree(tiny_data, tmp_path / "data")

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "run", tiny_settings, progress=stop)
    frames = read_frames(data / "val.extxyz")
    write_frames(data / "val.extxyz", frames + frames[:1])
    with pytest.raises(CuliError, match=r"another job \(train with other val_digest\)"):
        train(data, tmp_path / "run", tiny_settings)


def test_a_finished_training_whose_checkpoint_was_overwritten_is_refused(
    tmp_path, trained, tiny_data, tiny_settings
):
    run = shutil.copytree(trained["allegro"], tmp_path / "run")
    settings = tiny_settings.model_copy(update={"variant": "allegro"})
    whole = train(tiny_data, run, settings)
    best = run / "checkpoints" / "best.ckpt"
    assert whole.metadata.checkpoint_sha256 == hashlib.sha256(best.read_bytes()).hexdigest()
    with best.open("ab") as file:
        file.write(b"another")
    with pytest.raises(CuliError, match=r"best\.ckpt is not the model of this training"):
        train(tiny_data, run, settings)


def test_data_that_moved_are_the_same_data(
    tmp_path, trained, tiny_data, tiny_settings, monkeypatch
):
    run = shutil.copytree(trained["allegro"], tmp_path / "run")
    data = shutil.copytree(tiny_data, tmp_path / "elsewhere" / "data")
    monkeypatch.setattr(training, "_run_nequip", None)
    settings = tiny_settings.model_copy(update={"variant": "allegro"})
    assert train(data, run, settings) == train(tiny_data, run, settings)
