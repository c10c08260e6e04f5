"""The paper's models as settings."""

import pytest
import torch

from culi_mlip.errors import RecipeError
from culi_mlip.models.config import nequip_config
from culi_mlip.models.presets import PRESETS
from culi_mlip.models.settings import TrainSettings, load_settings


def configuration(settings):
    return nequip_config(
        settings,
        train_file="t.extxyz",
        val_file="v.extxyz",
        n_train=100,
        species=["Cu", "Li"],
        reference_energies={"Cu": -4.0, "Li": -2.0},
        labels={"energy", "forces"},
        energy_scale=1.0,
    )


def test_there_is_a_preset_for_every_row_of_the_three_tables():
    assert len(PRESETS) == 12
    for name, settings in PRESETS.items():
        assert name.endswith(settings["variant"])
        TrainSettings(**settings)


# Laskaris et al., Comput. Mater. Sci. (2026), Tables 1 to 3, as printed.
TABLES = """
allegro aspirin 7.3 5.36e-03 3 6.9 4 32
allegro benzene 12.0 1e-03 1 5.0 3 128
allegro qm9 12.0 1e-03 5 10.0 3 32
allegro culi 12.0 2e-03 2 5.0 2 128
mlp aspirin 7.4 2.93e-03 2 6.7 3 16 1024,1024
mlp benzene 12.0 1e-03 1 5.0 3 128 32,4
mlp qm9 6.2 1e-03 2 5.0 2 64 32,16
mlp culi 5.0 9.35e-04 1 10.3 3 16 4,16
qdi aspirin 9.5 1e-03 1 6.0 4 16 4 4 21
qdi benzene 12.0 1e-03 1 5.0 3 32 16 1 4
qdi qm9 12.0 1e-03 5 10.0 3 32 128 3 4
qdi culi 5.0 4.02e-03 5 12.0 3 4 128 3 4
"""


@pytest.mark.parametrize("row", TABLES.split("\n")[1:-1])
def test_presets_are_the_papers_tables(row):
    variant, data, r_max, rate, batch, p, layers, edge, *rest = row.split()
    settings = load_settings(None, {}, f"paper-{data}-{variant}")
    assert (settings.variant, settings.r_max) == (variant, float(r_max))
    assert (settings.learning_rate, settings.batch_size) == (float(rate), int(batch))
    assert (settings.polynomial_cutoff_p, settings.num_layers) == (float(p), int(layers))
    assert settings.readout_width == int(edge)
    if variant == "mlp":
        assert settings.further_mlp_widths == tuple(map(int, rest[0].split(",")))
    if variant == "qdi":
        circuit = settings.circuit
        found = settings.output_mlp_width, circuit.depth, circuit.n_features
        assert found == tuple(map(int, rest))


def test_the_best_model_of_the_paper():
    """Table 3, last row: r_max 5, lr 4.02e-3, batch 5, P 12, 3 layers, 4, 128, depth 3, 4."""
    settings = load_settings(None, {}, "paper-culi-qdi")
    config = configuration(settings)
    model = config["training_module"]["model"]
    assert model["r_max"] == 5.0
    assert config["training_module"]["optimizer"]["lr"] == 4.02e-3
    assert config["data"]["train_dataloader"]["batch_size"] == 5
    assert model["radial_chemical_embed"]["polynomial_cutoff_p"] == 12
    assert (model["num_layers"], model["readout_mlp_hidden_layers_width"]) == (3, 4)
    circuit = model["circuit"]
    assert (model["output_mlp_width"], circuit["depth"], circuit["n_features"]) == (128, 3, 4)
    assert config["trainer"]["max_epochs"] == 100


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_builds_a_model(name):
    from hydra.utils import get_method

    settings = load_settings(None, {}, name)
    config = configuration(settings)
    options = dict(config["training_module"]["model"])
    build = get_method(options.pop("_target_"))
    options |= {"avg_num_neighbors": 40.0, "per_type_energy_scales": {"Cu": 1.0, "Li": 1.0}}
    model = build(**options)
    shapes = {n: tuple(p.shape) for n, p in model.named_parameters()}
    circuits = [shape for n, shape in shapes.items() if n.endswith("quantum.weight")]
    rows = -(-settings.circuit.n_features // 4)
    expected = (rows + 1, settings.circuit.depth, 4)
    assert circuits == ([expected] if settings.variant == "qdi" else [])
    assert sum(torch.Size(shape).numel() for shape in shapes.values()) > 1000


def test_flags_win_over_a_file_that_wins_over_a_preset(tmp_path):
    file = tmp_path / "s.yaml"
    file.write_text("r_max: 6\nepochs: 7")
    settings = load_settings(file, {"epochs": 3}, "paper-culi-qdi")
    assert (settings.r_max, settings.epochs, settings.batch_size) == (6.0, 3, 5)


def test_unknown_presets_are_named():
    with pytest.raises(RecipeError, match="no preset is named 'x': choose one of paper-aspirin-a"):
        load_settings(None, {}, "x")
