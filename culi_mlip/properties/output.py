"""Results as files: numbers as JSON, structures as extended XYZ."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from culi_mlip.files import write_frames, write_json


def write_result(folder: str | os.PathLike[str], name: str, result: Any, **more: Any) -> list[Path]:
    """Write a result of this room as ``NAME.json``, and its structures as ``NAME.extxyz``.

    Parameters
    ----------
    folder, name
        Where.
    result
        A result, or a list of some.
    more
        What the file of numbers says besides, such as the calculator.

    Returns
    -------
    list of Path
        The files.
    """
    structures: list[Atoms] = []
    values = plain(result, structures)
    files = [Path(folder) / f"{name}.json"]
    write_json(files[0], {**more, **(values if isinstance(values, dict) else {"results": values})})
    if structures:
        files.append(Path(folder) / f"{name}.extxyz")
        write_frames(files[1], structures)
    return files


def plain(value: Any, structures: list[Atoms]) -> Any:
    """Return a value as JSON has it; structures are added to a list, and leave their place in it.

    Faces, as keys, become text such as "1 1 0".
    """
    if isinstance(value, Atoms):
        structures.append(value)
        return {"structure": len(structures) - 1}
    if is_dataclass(value):
        return {f.name: plain(getattr(value, f.name), structures) for f in fields(value)}
    if isinstance(value, Mapping):
        return {_key(k): plain(v, structures) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v, structures) for v in value]
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value


def _key(key: Any) -> str:
    return " ".join(map(str, key)) if isinstance(key, tuple) else str(key)
