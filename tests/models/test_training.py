"""Training: the plain configuration, continuation after a kill, refusals."""

import shutil

import ase.io
import numpy as np
import pytest
import yaml
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from culi_mlip.calculator import HybridAllegro
from culi_mlip.errors import CuliError, DatasetError
from culi_mlip.files import read_frames, write_frames
from culi_mlip.models.evaluation import evaluate
from culi_mlip.models.settings import TrainSettings
from culi_mlip.models.training import learning_curve, train, training_frames


def test_killed_training_continues_from_the_last_epoch(tmp_path, tiny_data, tiny_settings):
    settings = tiny_settings.model_copy(update={"epochs": 6})

    class Killed(BaseException):
        pass

    def die(done, total):
        if (tmp_path / "run/checkpoints/last.ckpt").exists():
            raise Killed

    with pytest.raises(Killed):
        train(tiny_data, tmp_path / "run", settings, progress=die)
    shutil.copytree(tmp_path / "run", tmp_path / "before")
    trained = train(tiny_data, tmp_path / "run", settings)
    curve = learning_curve(trained.folder)
    assert [row["epoch"] for row in curve] == list(range(6))
    assert (trained.folder / "logs/version_1").exists()
    again = train(tiny_data, tmp_path / "run", settings)
    assert again.metadata == trained.metadata
    assert not (trained.folder / "logs/version_2").exists(), "a finished training is left alone"


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


def strained_copper(n):
    """Copper from 6 % compressed to 6 % expanded, with EMT's energies alone."""
    for strain in np.linspace(-0.06, 0.06, n):
        atoms = bulk("Cu", a=3.6 * (1 + strain), cubic=True)
        atoms.calc = EMT()
        atoms.calc = SinglePointCalculator(atoms, energy=atoms.get_potential_energy())
        yield atoms


def test_energies_alone_are_learnt(tmp_path, tiny_settings):
    data = tmp_path / "data"
    data.mkdir()
    for part, n in (("train", 24), ("val", 7)):
        ase.io.write(data / f"{part}.extxyz", list(strained_copper(n)), format="extxyz")
    update = {"epochs": 20, "batch_size": 1, "variant": "allegro"}
    settings = tiny_settings.model_copy(update=update)
    trained = train(data, tmp_path / "run", settings)
    curve = [row["val0_epoch/per_atom_energy_mae"] for row in learning_curve(trained.folder)]
    assert min(curve) < 0.2 * curve[0]
    assert trained.metadata["validation"]["force_mae"] is None
    calculator = HybridAllegro(trained.folder, device="cpu")
    errors = evaluate(training_frames(data / "val.extxyz"), calculator).errors[-1]
    assert errors.force_mae is None
    assert errors.energy_mae == pytest.approx(min(curve), rel=1e-4)


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
