"""Training: the plain configuration, continuation after a kill, refusals."""

import shutil

import pytest
import yaml

from culi_mlip.errors import CuliError
from culi_mlip.models.settings import TrainSettings
from culi_mlip.models.training import learning_curve, train


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
