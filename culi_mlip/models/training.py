"""Training by nequip's own command, in a run folder that can be killed and continued."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ase import Atoms
from ase.neighborlist import neighbor_list

from culi_mlip.datasets import fit_reference_energies
from culi_mlip.datasets.card import Card
from culi_mlip.datasets.frames import LabelKeys, labels_of, plain_copy, training_frames
from culi_mlip.datasets.references import composition, composition_energies
from culi_mlip.devices import check_device, environment_of, gpu_indices
from culi_mlip.errors import CuliError, DatasetError, ModelError, OutputError
from culi_mlip.files import file_digest, write_text
from culi_mlip.models.config import nequip_config
from culi_mlip.models.files import BEST, ModelRecord, Validation, checkpoint_digest, has_changed
from culi_mlip.models.settings import TrainSettings
from culi_mlip.process import KEEP_FREED_MEMORY, die_with_parent, end_family
from culi_mlip.progress import Progress
from culi_mlip.records import Record
from culi_mlip.runs import is_finished, run_folder

_INTERPOLATED = "${"
"""What Hydra's configurations take for a reference, in paths too."""


@dataclass(frozen=True)
class TrainedModel:
    """A finished training.

    Attributes
    ----------
    folder
        The run folder.
    metadata
        What is known of the model: content of ``model.json``.
    """

    folder: Path
    metadata: ModelRecord


def _with_epochs(old: dict[str, Any]) -> dict[str, Any]:
    """Version 0 had the epochs beside the settings."""
    epochs = old.pop("epochs")
    return {**old, "settings": {**old["settings"], "epochs": epochs}}


class TrainInputs(Record):
    """What a training is of, as its run folder's record has it."""

    UPDATES = (_with_epochs,)
    MACHINE = frozenset({"data"})

    data: str  # folder of the frames, from the run folder
    # SHA-256 of ``train.extxyz`` and ``val.extxyz``.
    data_digest: str
    val_digest: str
    settings: TrainSettings  # of the training
    keys: LabelKeys = LabelKeys()  # names of the frames' labels

    @property
    def epochs(self) -> int:
        """Passes over the training frames, which may grow."""
        return self.settings.epochs

    def identity(self, without: Collection[str] = ()) -> dict[str, Any]:
        """Return what tells trainings apart, the epochs by themselves."""
        settings = self.settings.identity(without={"epochs"})
        others = super().identity(without={"settings", *without})
        return {**others, "settings": settings, "epochs": self.epochs}


def train(
    data: str | os.PathLike[str],
    out: str | os.PathLike[str],
    settings: TrainSettings | None = None,
    *,
    keys: LabelKeys | None = None,
    device: str | None = None,
    progress: Progress | None = None,
) -> TrainedModel:
    """Train a potential, continue a training that was killed, or extend one that finished.

    A training with a constant learning rate is extended by more epochs: the result is that of a
    training of so many epochs at once. A one-cycle schedule is made for its number of epochs.

    ``nequip-train`` runs on a plain configuration, ``config.yaml`` in the run folder; whoever
    has nequip and this package repeats it by ``cd run && nequip-train``, in ``run/repeated``.

    Parameters
    ----------
    data
        Folder with ``train.extxyz`` and ``val.extxyz``, as from ``build-dataset``.
    out
        The run folder.
    settings
        Settings of the training.
    keys
        Names of the frames' labels.
    device
        "cpu", "cuda" or "cuda:N"; by default the GPU if there is one.
    progress
        Called with (epochs done, epochs in all).

    Returns
    -------
    TrainedModel

    Raises
    ------
    DatasetError
        If frames are missing or lack labels.
    CuliError
        If the folder holds another training, one that cannot be extended, or one whose checkpoint
        was changed since; or there are no such devices.
    ModelError
        If nequip failed.
    OutputError
        If the folder cannot be written.
    """
    settings = settings or TrainSettings()
    device = _checked_device(device, settings.devices)
    source, folder = Path(data), Path(out)
    parts = {part: training_frames(source / f"{part}.extxyz", keys) for part in ("train", "val")}
    inputs = TrainInputs(
        data=_relative(source, folder),
        data_digest=file_digest(source / "train.extxyz"),
        val_digest=file_digest(source / "val.extxyz"),
        settings=settings,
        keys=keys or LabelKeys(),
    )
    grows = "epochs" if settings.schedule == "constant" else ""
    if is_finished(folder, inputs, grows=grows, instead=_INSTEAD):
        record = ModelRecord.read(folder / "model.json")
        if has_changed(folder, record):
            raise CuliError(
                f"{folder / BEST} is not the model of this training, as its record has another "
                "digest: keep it elsewhere, and remove the folder to train anew"
            )
        return TrainedModel(folder, record)
    config = _config(settings, parts, source, folder)
    with run_folder(folder, "train", inputs):
        read = plain_copy(source, parts, folder / "frames", keys)
        place = _plain_place(read, folder)
        for part in parts:
            config["data"][f"{part}_file_path"] = f"{place}/{part}.extxyz"
        write_text(folder / "config.yaml", yaml.safe_dump(config, sort_keys=False))
        _run_nequip(folder, settings.epochs, environment_of(device), progress)
        record = _record(settings, parts, source, folder, config)
        record.write(folder / "model.json")
    return TrainedModel(folder, record)


_INSTEAD = (
    "choose another --out, or remove it to start anew (more epochs alone need --schedule constant: "
    "a one-cycle schedule has ended)"
)


def _checked_device(device: str | None, n: int) -> str:
    found = check_device(device)
    if n > 1 and device != "cpu" and n > len(gpu_indices(found)):
        raise CuliError(
            f"a training on {n} devices: of the GPUs that this process sees, "
            f"{len(gpu_indices(found))} may be used; give fewer --devices"
        )
    return found


def learning_curve(folder: str | os.PathLike[str]) -> list[dict[str, float]]:
    """Return nequip's epoch metrics, merged over all starts of a training.

    Returns
    -------
    list of dict
        One an epoch that has been validated, in order, with "epoch" and nequip's metric names.
    """
    epochs: dict[int, dict[str, float]] = {}
    files = sorted(Path(folder).glob("logs/version_*/metrics.csv"), key=_version)
    for file in files:
        with file.open(newline="", errors="replace") as lines:
            for row in csv.DictReader(lines):
                try:
                    values = {k: float(v) for k, v in row.items() if k and v}
                except ValueError:  # the last line of a running or killed training
                    continue
                if "epoch" in values:
                    epochs.setdefault(int(values["epoch"]), {}).update(values)
    return [epochs[epoch] for epoch in sorted(epochs) if "val0_epoch/weighted_sum" in epochs[epoch]]


def _config(
    settings: TrainSettings, parts: Mapping[str, Sequence[Atoms]], source: Path, folder: Path
) -> dict[str, Any]:
    train_frames = parts["train"]
    species = sorted({s for atoms in train_frames for s in atoms.symbols})
    unseen = {s for atoms in parts["val"] for s in atoms.symbols} - set(species)
    if unseen:
        raise DatasetError(
            f"{source / 'val.extxyz'} holds {', '.join(sorted(unseen))}, which no training frame "
            "does: split the dataset anew"
        )
    if not any(len(neighbor_list("i", atoms, settings.r_max)) for atoms in train_frames):
        raise DatasetError(
            f"{source / 'train.extxyz'}: no two atoms are within r_max={settings.r_max:g} Å of "
            "each other: give a larger cutoff"
        )
    labels = labels_of(train_frames)
    if ("forces" in labels) != ("forces" in labels_of(parts["val"])):
        raise DatasetError(
            f"{source}: of train.extxyz and val.extxyz only one has forces; label both alike"
        )
    references = fit_reference_energies(train_frames)
    energies = np.array([atoms.get_potential_energy() for atoms in train_frames])
    beyond = energies - composition_energies(map(composition, train_frames), references)
    sizes = np.array([len(atoms) for atoms in train_frames])
    config = nequip_config(
        settings,
        train_file="train.extxyz",
        val_file="val.extxyz",
        n_train=len(train_frames),
        species=species,
        reference_energies=references,
        labels=labels & labels_of(parts["val"]),
        energy_scale=float(np.std(beyond / sizes)) or 1.0,
    )
    if _INTERPOLATED in os.path.realpath(folder):
        config["hydra"]["run"]["dir"] = "/proc/self/cwd"  # noted by Hydra, instead of its path
    return config


def _run_nequip(
    folder: Path,
    epochs: int,
    device: Mapping[str, str],
    progress: Progress | None,
) -> None:
    command = [sys.executable, "-m", "nequip.scripts.train", "place=."]
    if (folder / "checkpoints" / "last.ckpt").exists():
        command.append("++ckpt_path=checkpoints/last.ckpt")
    # Where freed memory is kept, a step takes half the time.
    environment = {**KEEP_FREED_MEMORY, **os.environ, **device}
    with (folder / "train.log").open("a") as log:
        process = subprocess.Popen(  # noqa: S603 (our own interpreter, fixed arguments)
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent,  # noqa: PLW1509
        )
        try:
            while process.poll() is None:
                time.sleep(0.5)
                if progress:
                    curve = learning_curve(folder)
                    progress(int(curve[-1]["epoch"]) + 1 if curve else 0, epochs)
        finally:
            end_family(process)  # several devices are as many processes
    if process.returncode != 0:
        _raise_failure(folder, process.returncode)


def _raise_failure(folder: Path, code: int) -> None:
    log = folder / "train.log"
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    if any("No space left on device" in line for line in lines[-30:]):
        raise OutputError(
            f"cannot write {folder}: no space left on device; free some space, then run the "
            "same command again"
        )
    reason = lines[-1].strip() if lines else "it printed nothing"
    raise ModelError(f"nequip-train ended with code {code} ({reason[:200]}): see {log}")


def _record(
    settings: TrainSettings,
    parts: Mapping[str, Sequence[Atoms]],
    source: Path,
    folder: Path,
    config: Mapping[str, Any],
) -> ModelRecord:
    has_card = (source / "card.json").exists()
    labels = Card.read(source / "card.json").labels() if has_card else {}
    model = config["training_module"]["model"]
    best = min(learning_curve(folder), key=lambda row: row["val0_epoch/weighted_sum"])
    return ModelRecord(
        variant=settings.variant,
        species=model["type_names"],
        r_max=settings.r_max,
        reference_energies=model["per_type_energy_shifts"],
        **labels,
        notes=_notes(parts),
        train_frames=len(parts["train"]),
        train_sha256=file_digest(source / "train.extxyz"),
        best_epoch=int(best["epoch"]),
        validation=Validation(
            force_mae=best.get("val0_epoch/forces_mae"),
            energy_mae_per_atom=best["val0_epoch/per_atom_energy_mae"],
            stress_mae=best.get("val0_epoch/stress_mae"),
        ),
        settings=settings,
        checkpoint_sha256=checkpoint_digest(folder),
    )


def _notes(parts: Mapping[str, Sequence[Atoms]]) -> list[str]:
    """What is to be known of the labels, a sentence each."""
    frames = [atoms for part in parts.values() for atoms in part]
    n_stressed = sum("stress" in atoms.calc.results for atoms in frames)
    notes = []
    if not any("forces" in atoms.calc.results for atoms in frames):
        notes.append("No frame has forces: energies alone were trained on.")
    if 0 < n_stressed < len(frames):
        notes.append(
            f"Only {n_stressed} of {len(frames)} training and validation frames have a stress: "
            "stresses were not trained on."
        )
    return notes


def _plain_place(source: Path, folder: Path) -> str:
    """The way from a run folder to its data, by a link where Hydra would misread its name."""
    way = _relative(source, folder)
    if _INTERPOLATED not in way:
        return way
    link = folder / "data"
    link.unlink(missing_ok=True)
    link.symlink_to(way)
    return link.name


def _relative(source: Path, folder: Path) -> str:
    """The way from a run folder to its data: the system's, which follows symbolic links."""
    return os.path.relpath(os.path.realpath(source), os.path.realpath(folder))


def _version(metrics: Path) -> int:
    return int(metrics.parent.name.removeprefix("version_"))
