"""Which file of a run folder is the model, and what is known about it."""

from __future__ import annotations

import os
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from culi_mlip.errors import ModelError
from culi_mlip.files import file_digest
from culi_mlip.models.settings import TrainSettings
from culi_mlip.records import Record

BEST = Path("checkpoints", "best.ckpt")
"""A run folder's model."""

SUFFIXES = (".ckpt", ".nequip.zip", ".nequip.pt2")
"""Checkpoint, packaged model, compiled model."""


class Validation(Record):
    """Mean absolute errors on the validation frames: eV/Å, eV/atom, eV/Å³; None without labels."""

    force_mae: float | None
    energy_mae_per_atom: float
    stress_mae: float | None


class ModelRecord(Record):
    """Content of a run folder's ``model.json``."""

    variant: str  # as in `TrainSettings`
    species: list[str]  # chemical symbols in the order of the model's types
    r_max: float  # cutoff in Å
    # Of what the model gives.
    units: dict[str, str] = {
        "energy": "eV",
        "length": "Å",
        "stress": "eV/Å³ (ASE sign and order)",
    }
    reference_energies: dict[str, float]  # fitted before training, eV/atom by element
    # Who made the labels, as in the dataset's card; None without a card.
    engine: str | None = None
    engine_title: str | None = None
    engine_settings: dict[str, Any] | list[dict[str, Any]] | None = None
    is_dft: bool | None = None
    caution: str | None = None
    notes: list[str]  # what is to be known of the labels, a sentence each
    # How many training frames there were, and the digest of their file.
    train_frames: int
    train_sha256: str
    # Epoch of the best checkpoint, from 0, and its errors.
    best_epoch: int
    validation: Validation
    settings: TrainSettings  # of the training
    # Of the best checkpoint; None in records of before there were digests.
    checkpoint_sha256: str | None = None


def model_file(path: str | os.PathLike[str]) -> Path:
    """Return the model file that a path means.

    That is the best checkpoint of a run folder; a checkpoint, a packaged or a compiled model is
    itself.

    Raises
    ------
    ModelError
        If there is none, or the file is not a model.
    """
    given = Path(path)
    file = given / BEST if given.is_dir() else given
    if not file.exists():
        hint = "it holds no checkpoints/best.ckpt" if given.is_dir() else "it does not exist"
        raise ModelError(f"no model at {path}: {hint}; train one with culi-mlip train")
    if not file.name.endswith(SUFFIXES):
        raise ModelError(
            f"{path} is not a model: give a run folder, or a file ending in {', '.join(SUFFIXES)}"
        )
    if not zipfile.is_zipfile(file):  # all three formats are zip archives
        raise ModelError(f"{path} is not a model file, or it is damaged: train or copy it again")
    return file


def model_metadata(path: str | os.PathLike[str]) -> Mapping[str, Any]:
    """Return what the run folder that a model lies in records of it; empty if there is nothing.

    A checkpoint that is not the recorded one is another model: nothing is known of it.

    Warns
    -----
    UserWarning
        If the run folder's best checkpoint is not the recorded one.
    """
    file = model_file(path)
    for folder in (file.parent, file.parent.parent):
        if (folder / "model.json").exists():
            record = ModelRecord.read(folder / "model.json")
            return record.model_dump(mode="json") if _is_of(record, file, folder) else {}
    return {}


def _is_of(record: ModelRecord, file: Path, folder: Path) -> bool:
    """Whether a run folder's record is that of a model file in it."""
    best = folder / BEST
    if file.suffix == ".ckpt" and not (best.exists() and file.samefile(best)):
        return file_digest(file) == record.checkpoint_sha256
    if has_changed(folder, record):  # packaged and compiled models are made of the best one
        warnings.warn(
            f"{best} was changed after the training: what {folder} records, such as its errors, "
            "is that of another model and left out",
            stacklevel=3,
        )
        return False
    return True


def has_changed(folder: Path, record: ModelRecord) -> bool:
    """Whether a run folder's best checkpoint is not the one that its record is of."""
    if record.checkpoint_sha256 is None or not (folder / BEST).exists():
        return False
    return checkpoint_digest(folder) != record.checkpoint_sha256


def checkpoint_digest(folder: Path) -> str:
    """Return the SHA-256 of a run folder's best checkpoint."""
    return file_digest(folder / BEST)


def model_digest(path: str | os.PathLike[str]) -> str:
    """Return a hash of the model file, the same wherever it lies."""
    return file_digest(model_file(path))[:16]
