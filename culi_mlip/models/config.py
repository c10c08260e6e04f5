"""The plain nequip configuration of a training, repeatable with ``nequip-train`` alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ase.calculators.calculator import all_properties

from culi_mlip.errors import RecipeError
from culi_mlip.models.settings import BUILDERS, HYBRID_LAYERS, TrainSettings


def nequip_config(
    settings: TrainSettings,
    *,
    train_file: str,
    val_file: str,
    n_train: int,
    species: Sequence[str],
    reference_energies: Mapping[str, float],
    labels: Collection[str],
    energy_scale: float,
) -> dict[str, Any]:
    """Return the configuration of ``nequip-train``.

    Parameters
    ----------
    settings
        Settings of the training.
    train_file, val_file
        Extended XYZ files, relative to the run folder.
    n_train
        Number of training frames, for the schedule of the learning rate.
    species
        Chemical symbols, in the order of the model's types.
    reference_energies
        Fitted energy of each element in eV/atom.
    labels
        What every frame has, of "forces" and "stress" beside its energy.
    energy_scale
        Spread of the frames' energies beyond the references in eV/atom: the scale of the model's
        energies where there are no forces.
    """
    used: list[str] = []
    if "forces" in labels:
        used = ["forces", "stress"] if "stress" in labels and settings.loss.stress else ["forces"]
    scale = "${training_data_stats:per_type_forces_rms}" if used else energy_scale
    return {
        # The run folder is the working directory: `cd run && nequip-train` repeats the training
        # in a folder of its own, as the record of this one holds the digest of its checkpoint.
        "place": "repeated",
        "hydra": {"run": {"dir": "${place}"}, "output_subdir": None, "job": {"chdir": False}},
        "run": ["train"],
        "data": _data(settings, train_file, val_file, species, used),
        "trainer": _trainer(settings),
        "training_module": {
            "_target_": "nequip.train.EMALightningModule",
            "ema_decay": 0.99,
            "loss": _loss(settings, used),
            "val_metrics": _metrics(used),
            "optimizer": {
                "_target_": "torch.optim.Adam",
                "lr": settings.learning_rate,
                "betas": [0.9, 0.95],
                "eps": 1e-10,
            },
            "lr_scheduler": _schedule(settings, n_train),
            "model": _model(settings, species, reference_energies, scale),
        },
    }


def _data(
    settings: TrainSettings,
    train_file: str,
    val_file: str,
    species: Sequence[str],
    used: Sequence[str],
) -> dict[str, Any]:
    loader = {"_target_": "torch.utils.data.DataLoader", "batch_size": settings.batch_size}
    cutoffs = _pair_cutoffs(settings, species)
    return {
        "_target_": "culi_mlip.models.continuation.FramesDataModule",
        "seed": settings.seed,
        "train_file_path": train_file,
        "val_file_path": val_file,
        # Labels that only some frames have would not fit into a batch.
        "exclude_keys": sorted({*all_properties} - {"energy", *used}),
        "transforms": [
            {
                "_target_": "nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper",
                "model_type_names": list(species),
            },
            {
                "_target_": "nequip.data.transforms.NeighborListTransform",
                "r_max": settings.r_max,
                **({"type_names": list(species), **cutoffs} if cutoffs else {}),
            },
        ],
        "train_dataloader": loader | {"shuffle": True},
        "val_dataloader": dict(loader),
        "stats_manager": {
            "_target_": f"nequip.data.{'Common' if used else 'EnergyOnly'}DataStatisticsManager",
            "type_names": list(species),
            "dataloader_kwargs": {"batch_size": 5},
        },
    }


def _pair_cutoffs(settings: TrainSettings, species: Sequence[str]) -> dict[str, Any]:
    """Cutoffs by centre and neighbour, as nequip names them; nothing where all are `r_max`."""
    if not settings.pair_cutoffs:
        return {}
    cutoffs = {center: dict.fromkeys(species, settings.r_max) for center in species}
    for pair, cutoff in settings.pair_cutoffs.items():
        first, second = pair.split("-")
        if not {first, second} <= cutoffs.keys():
            raise RecipeError(
                f"pair_cutoffs: '{pair}': the training frames hold {', '.join(species)}: name two "
                "of these"
            )
        cutoffs[first][second] = cutoffs[second][first] = cutoff
    return {"per_edge_type_cutoff": cutoffs}


def _schedule(settings: TrainSettings, n_train: int) -> dict[str, Any] | None:
    if settings.schedule == "constant":
        return None
    per_device = -(-n_train // settings.devices)
    steps = max(3, settings.epochs * -(-per_device // settings.batch_size))
    return {
        "scheduler": {
            "_target_": "torch.optim.lr_scheduler.OneCycleLR",
            "max_lr": settings.learning_rate,
            "total_steps": steps,
            "pct_start": max(0.1, 2 / steps),  # two steps or more: PyTorch divides
            "div_factor": 10.0,
            "final_div_factor": 200.0,
            "cycle_momentum": False,
        },
        "interval": "step",
        "frequency": 1,
    }


def _trainer(settings: TrainSettings) -> dict[str, Any]:
    # A monitored checkpoint is written only when it is the best: the one for continuing is
    # a second, unmonitored one, written each epoch.
    checkpoint = {
        "_target_": "culi_mlip.models.continuation.ModelCheckpoint",
        "dirpath": "${place}/checkpoints",
        "enable_version_counter": False,
    }
    together = {"strategy": {"_target_": "nequip.train.SimpleDDPStrategy"}}
    return {
        "_target_": "lightning.Trainer",
        "accelerator": "auto",
        "devices": settings.devices,
        **(together if settings.devices > 1 else {}),
        "max_epochs": settings.epochs,
        "log_every_n_steps": 1000000,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "gradient_clip_val": 10.0,
        "num_sanity_val_steps": 0,
        "logger": {
            "_target_": "lightning.pytorch.loggers.CSVLogger",
            "save_dir": "${place}",
            "name": "logs",
            "flush_logs_every_n_steps": 1,
        },
        "callbacks": [
            checkpoint | {"filename": "best", "monitor": "val0_epoch/weighted_sum", "mode": "min"},
            checkpoint | {"filename": "last", "every_n_epochs": 1},
        ],
    }


_NEQUIP_NAMES = {(): "Only", ("forces",): "Force", ("forces", "stress"): "ForceStress"}


def _loss(settings: TrainSettings, used: Sequence[str]) -> dict[str, Any]:
    loss = {
        "_target_": f"nequip.train.Energy{_NEQUIP_NAMES[tuple(used)]}Loss",
        "per_atom_energy": True,
    }
    weights = {label: getattr(settings.loss, label) for label in used}
    if settings.loss.energy + sum(weights.values()) == 0:
        names = ", ".join(["energy", *used])
        raise RecipeError(
            f"loss: the weights of the labels that the frames have ({names}) are all 0: give at "
            "least one above 0"
        )
    if not used:
        return loss
    return loss | {"coeffs": {"total_energy": settings.loss.energy, **weights}}


def _metrics(used: Sequence[str]) -> dict[str, Any]:
    # The monitor weighs energies per atom and forces alike; total energies of big cells
    # would drown the rest.
    coefficients: dict[str, float | None] = {
        "total_energy_mae": None,
        "total_energy_rmse": None,
        "per_atom_energy_mae": 1.0,
        "per_atom_energy_rmse": None,
    }
    for label in used:
        weight = 1.0 if label == "forces" else None
        coefficients |= {f"{label}_mae": weight, f"{label}_rmse": None}
    return {
        "_target_": f"nequip.train.Energy{_NEQUIP_NAMES[tuple(used)]}Metrics",
        "coeffs": coefficients,
    }


def _model(
    settings: TrainSettings,
    species: Sequence[str],
    reference_energies: Mapping[str, float],
    energy_scales: str | float,
) -> dict[str, Any]:
    width = settings.num_scalar_features
    model: dict[str, Any] = {
        "_target_": BUILDERS[settings.variant],
        "seed": settings.seed,
        "model_dtype": settings.model_dtype,
        "compile_mode": "compile" if settings.compile else "eager",
        "type_names": list(species),
        "r_max": settings.r_max,
        **_pair_cutoffs(settings, species),
        "l_max": settings.l_max,
        "parity": True,
        "radial_chemical_embed": {
            "_target_": "allegro.nn.TwoBodyBesselScalarEmbed",
            "num_bessels": 8,
            "polynomial_cutoff_p": settings.polynomial_cutoff_p,
        },
        "scalar_embed_mlp_hidden_layers_width": width,
        "num_layers": settings.num_layers,
        "num_scalar_features": width,
        "num_tensor_features": settings.num_tensor_features,
        "allegro_mlp_hidden_layers_width": width,
        "readout_mlp_hidden_layers_width": settings.readout_width,
        "avg_num_neighbors": "${training_data_stats:num_neighbors_mean}",
        "per_type_energy_scales": energy_scales,
        "per_type_energy_scales_trainable": True,
        "per_type_energy_shifts": {s: float(reference_energies[s]) for s in species},
        "per_type_energy_shifts_trainable": True,
    }
    if settings.variant == "mlp":
        model |= {
            "readout_features": settings.readout_features,
            "further_mlp_widths": list(settings.further_mlp_widths),
        }
    elif settings.variant in HYBRID_LAYERS:
        model |= {
            "hybrid_layer": HYBRID_LAYERS[settings.variant],
            "circuit": asdict(settings.circuit),
            "output_mlp_width": settings.output_mlp_width,
        }
    return model
