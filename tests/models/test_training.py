"""Training: the plain configuration, continuation after a kill, refusals."""

import csv
import shutil

import ase.io
import numpy as np
import pytest
import torch
import yaml
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from culi_mlip.calculator import HybridAllegro
from culi_mlip.errors import CuliError, DatasetError
from culi_mlip.files import read_frames, write_frames
from culi_mlip.models.evaluation import evaluate
from culi_mlip.models.settings import TrainSettings
from culi_mlip.models.training import _config, learning_curve, train, training_frames

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
