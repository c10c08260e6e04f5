"""Which file of a run folder is the model, and what is known about it."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from culi_mlip.errors import ModelError
from culi_mlip.files import read_record

SUFFIXES = (".ckpt", ".nequip.zip", ".nequip.pt2")
"""Checkpoint, packaged model, compiled model."""


def model_file(path: str | os.PathLike[str]) -> Path:
    """Return the model file that a path means.

    Parameters
    ----------
    path
        A run folder (its best checkpoint), a checkpoint, a packaged or a compiled model.

    Raises
    ------
    ModelError
        If there is none, or the file is not a model.
    """
    given = Path(path)
    file = given / "checkpoints" / "best.ckpt" if given.is_dir() else given
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
    """Return ``model.json`` of the run folder that a model lies in; empty if there is none."""
    file = model_file(path)
    for folder in (file.parent, file.parent.parent):
        if (folder / "model.json").exists():
            return read_record(folder / "model.json")
    return {}


def model_digest(path: str | os.PathLike[str]) -> str:
    """Return a hash of the model file, the same wherever it lies."""
    return hashlib.sha256(model_file(path).read_bytes()).hexdigest()[:16]
