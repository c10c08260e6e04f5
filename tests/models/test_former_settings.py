"""The circuit's fields were settings of their own: what has them so means the same today."""

import json
import subprocess
import sys

import pytest
import torch
import yaml

from culi_mlip.errors import RecipeError
from culi_mlip.models.builders import AllegroQDIModel
from culi_mlip.models.settings import TrainSettings, load_settings
from culi_mlip.quantum import Circuit
from tests.models.test_builders import MINIMAL

DEFAULTS = {
    "variant": "qdi", "epochs": 100, "batch_size": 4, "learning_rate": 0.01,
    "schedule": "one-cycle", "devices": 1, "r_max": 5.0, "polynomial_cutoff_p": 6.0, "l_max": 1,
    "num_layers": 2, "num_scalar_features": 32, "num_tensor_features": 8, "readout_width": 32,
    "readout_features": None, "further_mlp_widths": [16, 16], "n_qubits": 4, "qdi_depth": 3,
    "encoding": "Z", "variational": "X", "entangler": "ring", "entangling_gate": "CNOT",
    "measurement": "Y", "output_mlp_width": 16,
    "loss": {"energy": 10.0, "forces": 1.0, "stress": 10.0}, "seed": 0, "model_dtype": "float32",
    "compile": False,
}  # fmt: skip
"""What TrainSettings().model_dump(mode="json") was."""

CHANGED = {
    "readout_features": 5, "n_qubits": 3, "qdi_depth": 2, "encoding": "Y", "variational": "Z",
    "entangler": "all", "entangling_gate": "CZ", "measurement": "X",
}  # fmt: skip
"""Each field at another value than the default, no two alike that could be exchanged."""

CIRCUIT = Circuit(3, 5, 2, "Y", "Z", "all", "CZ", "X")


@pytest.mark.parametrize(
    ("former", "today"),
    [
        ({}, {}),
        (CHANGED, {"circuit": CIRCUIT}),
        ({"variant": "qdi-mlp"} | CHANGED, {"variant": "qdi-mlp", "circuit": CIRCUIT}),
        ({"variant": "mlp"}, {"variant": "mlp", "readout_features": 16}),
        (
            {"variant": "mlp", "readout_features": 6, "n_qubits": 3},
            {"variant": "mlp", "readout_features": 6, "circuit": Circuit(n_qubits=3)},
        ),
        (
            {"variant": "allegro", "readout_features": 6},
            {"variant": "allegro", "readout_features": 6},
        ),
    ],
)
def test_former_settings_are_the_same_training(former, today):
    read = TrainSettings.model_validate(DEFAULTS | former)
    assert read == TrainSettings(**today)
    assert read.identity() == TrainSettings(**today).identity()
    assert TrainSettings.model_validate(read.model_dump(mode="json")) == read


def test_any_variant_keeps_its_settings_when_they_are_written_and_read(tmp_path):
    """The further MLP's features are no former name of the circuit's, whatever they are."""
    for variant in ("mlp", "qdi"):
        settings = TrainSettings(variant=variant, readout_features=8, circuit=Circuit(n_features=5))
        (tmp_path / "s.yaml").write_text(yaml.safe_dump(settings.model_dump(mode="json")))
        assert load_settings(tmp_path / "s.yaml", {}) == settings


def test_sources_override_each_other_field_by_field_by_either_name(tmp_path):
    file = tmp_path / "s.yaml"
    file.write_text("qdi_depth: 2\nn_qubits: 5\noutput_mlp_width: 7")
    settings = load_settings(file, {"circuit": {"n_qubits": 6}}, "paper-aspirin-qdi")
    assert settings.circuit == Circuit(n_qubits=6, n_features=21, depth=2)
    assert settings.output_mlp_width == 7
    file.write_text("circuit: {depth: 2}")
    settings = load_settings(file, {"readout_features": 9, "encoding": "X"}, "paper-aspirin-qdi")
    assert settings.circuit == Circuit(n_features=9, depth=2, encoding="X")


def test_whose_the_readouts_features_are_follows_from_the_variant_that_is_trained(tmp_path):
    file = tmp_path / "s.yaml"
    file.write_text("readout_features: 6")
    hybrid, mlp = load_settings(file, {}), load_settings(file, {"variant": "mlp"})
    assert (hybrid.circuit.n_features, hybrid.readout_features) == (6, 16)
    assert (mlp.circuit.n_features, mlp.readout_features) == (4, 6)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("qdi_depth: 2\ncircuit: {n_qubits: 3}", "'qdi_depth' beside 'circuit': .* as 'depth'"),
        (
            "readout_features: 6\ncircuit: {depth: 2}",
            "'readout_features' beside .* as 'n_features'",
        ),
    ],
)
def test_the_circuit_in_both_ways_is_refused(tmp_path, content, words):
    (tmp_path / "s.yaml").write_text(content)
    with pytest.raises(RecipeError, match=f"s.yaml, {words}$"):
        load_settings(tmp_path / "s.yaml", {})


def test_former_options_of_the_builder_build_the_same_model():
    options = {"model_dtype": "float64", **MINIMAL}
    today = AllegroQDIModel(**options, circuit=CIRCUIT)
    by_names = AllegroQDIModel(**options, circuit=vars(CIRCUIT))
    former = AllegroQDIModel(**options, **CHANGED)
    for model in (by_names, former):
        assert model.model.func.edge_readout.quantum.circuit == CIRCUIT
        for a, b in zip(model.parameters(), today.parameters(), strict=True):
            assert torch.equal(a, b)
    default = AllegroQDIModel(**options).model.func.edge_readout.quantum.circuit
    assert default == Circuit()


A_NINTH_FIELD = """
import json, sys
from dataclasses import dataclass, field
import culi_mlip.quantum
from culi_mlip.quantum import circuit

@dataclass(frozen=True)
class Coloured(circuit.Circuit):
    colour: str = field(default="red", metadata={"allowed": ("red", "blue"), "help": "Its colour."})

circuit.Circuit = culi_mlip.quantum.Circuit = Coloured
from culi_mlip.cli import main
from culi_mlip.models.builders import AllegroQDIModel
from culi_mlip.models.settings import TrainSettings
from nequip.utils.global_state import set_global_state
from tests.models.test_builders import MINIMAL
from tests.models.test_config import configuration

settings = TrainSettings(circuit={"colour": "blue"})
assert TrainSettings().circuit.colour == "red"
options = configuration(settings)["training_module"]["model"]
set_global_state()
model = AllegroQDIModel(model_dtype="float32", **MINIMAL, circuit=options["circuit"])
assert model.model.func.edge_readout.quantum.circuit.colour == "blue"
main(["circuit", "draw", "--colour", "blue", "--out", sys.argv[1]])
"""


def test_a_ninth_field_is_declared_once(tmp_path):
    """It reaches settings, configuration, model and command line."""
    subprocess.run([sys.executable, "-c", A_NINTH_FIELD, tmp_path], check=True)
    assert json.loads((tmp_path / "draw.json").read_text())["circuit"]["colour"] == "blue"


def test_settings_and_commands_are_there_without_pytorch():
    imported = "import sys, culi_mlip.cli.circuit, culi_mlip.models.settings"
    script = f"{imported}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
