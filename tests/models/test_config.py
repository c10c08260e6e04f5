"""What nequip is told: schedule, loss, seeds, devices."""

import math

import pytest
import torch
from hydra.utils import get_method, instantiate
from torch.utils.data import DataLoader, DistributedSampler

from culi_mlip.errors import RecipeError
from culi_mlip.models.config import nequip_config
from culi_mlip.models.settings import LossWeights, TrainSettings
from culi_mlip.quantum import Circuit


def configuration(settings=None, n_train=100, labels=("energy", "forces", "stress"), **options):
    return nequip_config(
        settings or TrainSettings(**options),
        train_file="t.extxyz",
        val_file="v.extxyz",
        n_train=n_train,
        species=["Cu", "Li"],
        reference_energies={"Cu": -4.0, "Li": -2.0},
        labels=set(labels),
        energy_scale=1.0,
    )


@pytest.mark.parametrize("devices", [1, 2, 4])
@pytest.mark.parametrize("n_train", [10, 37, 100])
@pytest.mark.parametrize("batch_size", [1, 4, 5])
def test_the_schedule_counts_the_steps_that_are_made(devices, n_train, batch_size):
    """As many as PyTorch's loader gives each of several processes."""
    sampler = DistributedSampler(range(n_train), num_replicas=devices, rank=0)
    per_epoch = len(DataLoader(range(n_train), batch_size=batch_size, sampler=sampler))
    config = configuration(epochs=7, batch_size=batch_size, devices=devices, n_train=n_train)
    schedule = config["training_module"]["lr_scheduler"]
    assert schedule["interval"] == "step"
    assert schedule["scheduler"]["total_steps"] == 7 * per_epoch


def test_one_device_is_taken_unless_more_are_asked_for():
    trainer = configuration()["trainer"]
    assert trainer["devices"] == 1
    assert "strategy" not in trainer
    trainer = configuration(devices=2)["trainer"]
    assert trainer["devices"] == 2
    assert trainer["strategy"] == {"_target_": "nequip.train.SimpleDDPStrategy"}


def test_a_constant_rate_has_no_schedule():
    module = configuration(schedule="constant", learning_rate=0.003)["training_module"]
    assert module["lr_scheduler"] is None
    assert module["optimizer"]["lr"] == 0.003
    assert configuration()["training_module"]["lr_scheduler"]["scheduler"]["max_lr"] == 0.01


def loss_of(config, with_stress):
    """nequip's loss of two atoms: 0.4 eV, 0.3 eV/Å and 0.1 eV/Å³ are wrong."""
    loss = instantiate(config["training_module"]["loss"], type_names=["Cu", "Li"])
    target = {
        "total_energy": torch.zeros(1, 1),
        "forces": torch.zeros(2, 3),
        "stress": torch.zeros(1, 3, 3),
        "num_atoms": torch.tensor([2]),
        "atom_types": torch.tensor([0, 1]),
        "batch": torch.tensor([0, 0]),
    }
    wrong = {"total_energy": 0.4, "forces": 0.3, "stress": 0.1 if with_stress else 0.0}
    output = {key: value + wrong.get(key, 0) for key, value in target.items()}
    return float(loss(output, target)["weighted_sum"])


def test_weights_of_the_loss_reach_nequip():
    """Mean squares: energy per atom 0.04, forces 0.09, stress 0.01; nequip divides by the sum."""
    weights = LossWeights(energy=7, forces=2, stress=5)
    both = configuration(loss=weights)
    expected = (7 * 0.04 + 2 * 0.09 + 5 * 0.01) / 14
    assert loss_of(both, True) == pytest.approx(expected, rel=1e-6)
    assert loss_of(configuration(loss=weights, labels=("energy", "forces")), True) == (
        pytest.approx((7 * 0.04 + 2 * 0.09) / 9, rel=1e-6)
    )
    without = configuration(loss=LossWeights(energy=7, forces=2, stress=0))
    assert loss_of(without, True) == pytest.approx((7 * 0.04 + 2 * 0.09) / 9, rel=1e-6)


def test_a_loss_of_nothing_that_the_frames_have_is_refused():
    only_stress = LossWeights(energy=0, forces=0, stress=1)
    configuration(loss=only_stress)
    with pytest.raises(RecipeError, match=r"\(energy, forces\) are all 0"):
        configuration(loss=only_stress, labels=("energy", "forces"))
    with pytest.raises(RecipeError, match=r"\(energy\) are all 0"):
        configuration(loss=LossWeights(energy=0, forces=1, stress=0), labels=("energy",))


def weights_of(**options):
    settings = TrainSettings(
        variant="allegro", num_scalar_features=4, num_tensor_features=2, num_layers=1, **options
    )
    options = dict(configuration(settings)["training_module"]["model"])
    options |= {"avg_num_neighbors": 40.0, "per_type_energy_scales": {"Cu": 1.0, "Li": 1.0}}
    model = get_method(options.pop("_target_"))(**options)
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_the_seed_reaches_the_model_and_the_order_of_frames():
    first, again, other = weights_of(seed=1), weights_of(seed=1), weights_of(seed=2)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    data = configuration(seed=3)["data"]
    assert data["seed"] == 3
    assert data["train_dataloader"]["shuffle"]
    assert "shuffle" not in data["val_dataloader"]


def test_the_monitor_weighs_energies_per_atom_and_forces_alike():
    metrics = instantiate(
        configuration()["training_module"]["val_metrics"], type_names=["Cu", "Li"]
    )
    coefficients = {name: e.coeff for name, e in metrics.entries.items() if e.coeff}
    assert coefficients == {"per_atom_energy_mae": 0.5, "forces_mae": 0.5}
    best, last = configuration()["trainer"]["callbacks"]
    assert (best["monitor"], best["mode"]) == ("val0_epoch/weighted_sum", "min")
    assert "monitor" not in last


def test_reference_energies_reach_the_model_by_element():
    model = configuration()["training_module"]["model"]
    assert model["type_names"] == ["Cu", "Li"]
    assert model["per_type_energy_shifts"] == {"Cu": -4.0, "Li": -2.0}
    assert model["per_type_energy_scales"] == "${training_data_stats:per_type_forces_rms}"
    assert model["avg_num_neighbors"] == "${training_data_stats:num_neighbors_mean}"
    alone = configuration(labels=("energy",))["training_module"]["model"]
    assert alone["per_type_energy_scales"] == 1.0  # where no forces set the scale


def test_the_optimiser_is_the_documented_one():
    config = configuration()
    module = config["training_module"]
    assert module["optimizer"]["_target_"] == "torch.optim.Adam"
    assert module["optimizer"]["betas"][1] == 0.95
    assert module["_target_"] == "nequip.train.EMALightningModule"
    assert config["trainer"]["gradient_clip_val"] == 10.0


def test_short_trainings_have_a_schedule():
    """PyTorch divides by the steps of the rise less one."""
    for n in (1, 2, 5):
        scheduler = dict(
            configuration(epochs=1, batch_size=1, n_train=n)["training_module"]["lr_scheduler"][
                "scheduler"
            ]
        )
        scheduler.pop("_target_")
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
        torch.optim.lr_scheduler.OneCycleLR(optimizer, **scheduler)
        assert math.isfinite(optimizer.param_groups[0]["lr"])


UNUSUAL = {
    "epochs": 11, "batch_size": 3, "learning_rate": 0.004, "r_max": 5.5, "polynomial_cutoff_p": 7.0,
    "l_max": 2, "num_layers": 3, "num_scalar_features": 24, "num_tensor_features": 6,
    "readout_width": 20, "readout_features": 7,
    "circuit": Circuit(3, 5, 2, "Y", "Z", "all", "CZ", "X"),
    "output_mlp_width": 12, "further_mlp_widths": (10, 14), "seed": 9, "model_dtype": "float64",
    "compile": True, "pair_cutoffs": {"Li-Cu": 4.5, "Cu-Cu": 3.5},
}  # fmt: skip
"""Each at another value than the default, and no two alike that could be taken for each other."""


def built(**options):
    """The model that nequip builds, eager, its edge readout, and the shapes of its weights."""
    config = configuration(**UNUSUAL | {"compile": False} | options)
    arguments = dict(config["training_module"]["model"])
    arguments |= {"avg_num_neighbors": 40.0, "per_type_energy_scales": {"Cu": 1.5, "Li": 2.5}}
    model = get_method(arguments.pop("_target_"))(**arguments)
    readout = model.model.func.edge_readout
    return model, readout, {n: tuple(p.shape) for n, p in readout.named_parameters()}


def test_settings_reach_the_hybrids_model():
    model, readout, shapes = built(variant="qdi")
    assert readout.quantum.circuit == UNUSUAL["circuit"]
    n_scalars = 24 * (3 + 1)  # of each layer, and of the embedding
    assert shapes == {
        "readout.0.weight": (n_scalars, 20), "readout.2.weight": (20, 5),
        "quantum.weight": (3, 2, 3), "output.0.weight": (3, 12), "output.2.weight": (12, 12),
        "output.4.weight": (12, 1),
    }  # fmt: skip
    func = model.model.func
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    cutoffs = [3.5, 4.5, 4.5, 5.5]  # Cu-Cu, Cu-Li, Li-Cu, Li-Li
    assert (1 / func.edge_norm._rmax_recip).tolist() == pytest.approx(cutoffs)
    assert model.metadata["per_edge_type_cutoff"] == "3.5 4.5 4.5 5.5"
    assert func.radial_chemical_embed.bessel_encode.bessel_weights.shape[-1] == 8
    assert func.radial_chemical_embed.bessel_encode.cutoff.p == 7.0
    assert func.scalar_embed_mlp.mlp_module.mlp[0].weight.shape == (24, 24)
    assert [len(tp.weights) for tp in func.allegro.tps] == [6, 6, 6]
    assert func.tensor_embed.env_embed_linear.mlp[0].weight.shape[1] == 6 * 3  # of each l to 2
    assert func.allegro.latents[0].mlp[0].weight.shape[1] == 24
    scale_shift = func.per_type_energy_scale_shift
    assert scale_shift.shifts.flatten().tolist() == [-4.0, -2.0]
    assert scale_shift.scales.flatten().tolist() == [1.5, 2.5]
    assert scale_shift.shifts.requires_grad
    assert scale_shift.scales.requires_grad


def test_settings_reach_the_models_beside_the_hybrid():
    _, _, shapes = built(variant="mlp")
    assert shapes == {
        "readout.0.weight": (96, 20), "readout.2.weight": (20, 7),
        "further.0.weight": (7, 10), "further.2.weight": (10, 14), "further.4.weight": (14, 1),
    }  # fmt: skip
    _, _, shapes = built(variant="allegro")
    assert sorted(shapes.values()) == [(20, 1), (96, 20)]


@pytest.mark.parametrize(
    ("variant", "inside", "n_trained"),
    [("qdi", {"weight": (3, 2, 3)}, 18), ("qdi-frozen", {"weight": (3, 2, 3)}, 0),
     ("qdi-mlp", {"0.weight": (5, 2), "2.weight": (2, 3)}, 16), ("qdi-identity", {}, 0)],
)  # fmt: skip
def test_variants_have_what_their_names_say_in_the_circuits_place(variant, inside, n_trained):
    """Of the MLP, 18 weights as nearly as widths of 5, w and 3 give them."""
    _, readout, shapes = built(variant=variant)
    found = {n.removeprefix("quantum."): s for n, s in shapes.items() if "quantum" in n}
    assert found == inside
    assert sum(p.numel() for p in readout.quantum.parameters() if p.requires_grad) == n_trained
    assert shapes["output.0.weight"] == (5 if variant == "qdi-identity" else 3, 12)


def test_settings_reach_the_data_and_the_trainer():
    config = configuration(variant="qdi", **UNUSUAL, n_train=50, labels=("energy", "forces"))
    data, trainer = config["data"], config["trainer"]
    assert (data["train_file_path"], data["val_file_path"]) == ("t.extxyz", "v.extxyz")
    assert data["seed"] == 9
    for loader in ("train_dataloader", "val_dataloader"):
        assert data[loader]["batch_size"] == 3
    mapper, neighbours = (instantiate(transform) for transform in data["transforms"])
    assert list(mapper.model_type_names) == ["Cu", "Li"]
    assert neighbours.r_max == 5.5
    row = {"Cu": 4.5, "Li": 5.5}
    assert neighbours.per_edge_type_cutoff == {"Cu": {"Cu": 3.5, "Li": 4.5}, "Li": row}
    assert list(neighbours.type_names) == ["Cu", "Li"]
    assert data["stats_manager"]["type_names"] == ["Cu", "Li"]
    assert data["stats_manager"]["_target_"] == "nequip.data.CommonDataStatisticsManager"
    assert "stress" in data["exclude_keys"]
    assert not {"energy", "forces"} & set(data["exclude_keys"])
    assert trainer["max_epochs"] == 11
    assert config["training_module"]["optimizer"]["lr"] == 0.004
    assert config["training_module"]["model"]["compile_mode"] == "compile"
    assert configuration()["training_module"]["model"]["compile_mode"] == "eager"
    alone = configuration(labels=("energy",))["data"]
    assert alone["stats_manager"]["_target_"] == "nequip.data.EnergyOnlyDataStatisticsManager"
    assert "forces" in alone["exclude_keys"]
    assert "stress" not in configuration()["data"]["exclude_keys"]


def test_a_one_cycle_rate_rises_for_a_tenth_and_falls_to_nearly_nothing():
    """From a tenth of the peak, which it has after 10 of 100 steps, to a 2000th."""
    scheduler = dict(
        configuration(epochs=4, batch_size=4, n_train=100, learning_rate=0.02)["training_module"][
            "lr_scheduler"
        ]["scheduler"]
    )
    scheduler.pop("_target_")
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(1))], lr=1.0, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, **scheduler)
    rates = []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[0] == pytest.approx(0.002)
    assert max(rates) == rates[9] == pytest.approx(0.02)
    assert rates[-1] == pytest.approx(1e-5)
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.95), "the momentum stays"


def test_pair_cutoffs_are_of_elements_in_the_training_frames():
    with pytest.raises(RecipeError, match="'Cu-Ag': the training frames hold Cu, Li"):
        configuration(pair_cutoffs={"Cu-Ag": 4.0})
