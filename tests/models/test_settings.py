"""Settings that cannot work are refused at once, in one sentence."""

import re

import pytest
import torch
import yaml

from culi_mlip.cli import main
from culi_mlip.cli.train import command
from culi_mlip.errors import CuliError, ModelError, RecipeError
from culi_mlip.models.readout import mlp
from culi_mlip.models.settings import TrainSettings, load_settings

IMPOSSIBLE = [
    ("circuit.n_qubits", 99), ("circuit.n_qubits", 0), ("circuit.n_qubits", -4),
    ("circuit.n_qubits", 2.5), ("circuit.depth", 0), ("circuit.depth", 9),
    ("circuit.n_features", 0), ("circuit.n_features", 1025),
    ("circuit.encoding", "Q"), ("circuit.variational", "z"), ("circuit.measurement", "XY"),
    ("circuit.measurement", 3), ("circuit.entangler", "star"), ("circuit.entangling_gate", "SWAP"),
    ("circuit", 4), ("circuit", None), ("circuit.depht", 3), ("qdi_depth", 9),
    ("further_mlp_widths", [0]), ("further_mlp_widths", [16, -1]), ("further_mlp_widths", 16),
    ("readout_width", 0), ("output_mlp_width", 0), ("readout_features", 0),
    ("num_scalar_features", 0), ("num_tensor_features", -1), ("num_layers", 0),
    ("num_layers", 1000), ("l_max", 0), ("l_max", 40),
    ("epochs", 0), ("epochs", -5), ("epochs", float("nan")), ("epochs", 1.5),
    ("batch_size", 0), ("devices", 0), ("schedule", "cosine"),
    ("learning_rate", 0), ("learning_rate", -0.1), ("learning_rate", 1e30),
    ("learning_rate", float("nan")), ("learning_rate", float("inf")),
    ("r_max", 0), ("r_max", -5), ("r_max", 0.1), ("r_max", 500), ("r_max", float("nan")),
    ("pair_cutoffs", {"Cu-Cu": 5.5}), ("pair_cutoffs", {"Cu": 4}), ("pair_cutoffs", {"Cu-Li": 0}),
    ("polynomial_cutoff_p", 1.5), ("polynomial_cutoff_p", 1e9),
    ("seed", -1), ("seed", 2**40), ("model_dtype", "float16"), ("variant", "gnn"),
    ("loss", {"energy": 0, "forces": 0, "stress": 0}), ("loss", {"forces": -1}),
    ("loss", {"energy": float("nan")}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), IMPOSSIBLE)
@pytest.mark.parametrize("variant", ["qdi", "mlp"])
def test_impossible_settings_are_refused_by_name(tmp_path, name, value, variant):
    file = tmp_path / "s.yaml"
    setting, _, field = name.partition(".")
    content = {setting: {field: value} if field else value}
    file.write_text(yaml.safe_dump({"variant": variant} | content))
    with pytest.raises(RecipeError) as raised:
        load_settings(file, {})
    message = str(raised.value)
    words = {"qdi_depth": "circuit: depth", "readout_features": "_features"}
    assert words.get(name, name.replace(".", ": ").replace("depht", "unknown key")) in message
    assert "\n" not in message
    assert len(message) < 250 + len(str(file))


def test_flags_of_train_are_refused_before_data_is_read(capsys):
    for flags in (["--epochs", "-1"], ["--learning-rate", "nan"], ["--batch-size", "0"],
                  ["--r-max", "1e9"], ["--devices", "0"], ["--seed", "-1"]):  # fmt: skip
        with pytest.raises(SystemExit) as ended:
            main(["train", "missing", *flags])
        assert ended.value.code == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert flags[0].removeprefix("--").replace("-", "_") in line


def test_defaults_are_the_documented_ones():
    loss = {"energy": 10, "forces": 1, "stress": 10}
    circuit = {
        "n_qubits": 4, "n_features": 4, "depth": 3, "encoding": "Z", "variational": "X",
        "entangler": "ring", "entangling_gate": "CNOT", "measurement": "Y",
    }  # fmt: skip
    assert TrainSettings().model_dump() == {
        "variant": "qdi", "epochs": 100, "batch_size": 4, "learning_rate": 0.01,
        "schedule": "one-cycle", "devices": 1, "r_max": 5, "pair_cutoffs": {},
        "polynomial_cutoff_p": 6, "l_max": 1, "num_layers": 2, "num_scalar_features": 32,
        "num_tensor_features": 8, "readout_width": 32, "readout_features": 16,
        "further_mlp_widths": (16, 16), "circuit": circuit,
        "output_mlp_width": 16, "loss": loss, "seed": 0, "model_dtype": "float32", "compile": False,
    }  # fmt: skip
    told = {}
    for option in command.params:
        if found := re.search(r"\[default: (.*)\]", getattr(option, "help", None) or ""):
            told[option.name.rstrip("_")] = found[1]
    named = told.keys() & TrainSettings.model_fields.keys()
    assert named > {"variant", "epochs", "r_max", "learning_rate", "compile"}
    for name in named:
        value = getattr(TrainSettings(), name)
        words = f"{value:g}" if isinstance(value, float) else str(value)
        assert told[name] == ("no" if value is False else words), name


@pytest.mark.parametrize("widths", [[4, 0, 1], [4, -2, 1], [0, 1]])
def test_networks_without_width_are_refused(widths):
    with pytest.raises(ModelError, match="give at least 1 for each"):
        mlp(widths)
    assert mlp([4, 3, 1])(torch.ones(2, 4)).shape == (2, 1)


def test_networks_keep_the_variance():
    """Inputs of unit variance give outputs of about unit variance, however deep."""
    torch.manual_seed(0)
    outputs = mlp([64, 256, 256, 256])(torch.randn(500, 64))
    assert 0.45 < outputs.std() < 1.4


def test_more_devices_than_there_are(tiny_data, tmp_path, monkeypatch):
    from culi_mlip.models.training import train

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(CuliError, match="a training on 3 devices: .* 0 may be used; give fewer"):
        train(tiny_data, tmp_path / "run", TrainSettings(devices=3))
    assert not (tmp_path / "run").exists()
