"""Labelled frames from files: where their labels are, and whether they can be trained on."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress
from numpy.typing import NDArray

from culi_mlip.errors import DatasetError
from culi_mlip.files import read_frames, write_frames, xyz_text

LABELS = ("energy", "forces", "stress")
"""Labels that are used: eV, eV/Å, eV/Å³ (ASE's sign and Voigt order)."""

NONE = "none"
"""Name of a label that is not wanted."""

_LIKE = {"energy": "energ|toten|^e(tot)?$", "forces": "force|frc|^f$", "stress": "stress|virial"}
_UNLIKE = "sigma|weight|mask|std|error"


@dataclass(frozen=True)
class LabelKeys:
    """Names under which a file has its labels.

    None is the name that ASE knows (energy, forces, stress), "none" leaves the label out.

    Attributes
    ----------
    energy
        Of a number in eV, or of a column of energies per atom, which are summed.
    forces
        Of a column of three components in eV/Å.
    stress
        Of six or nine components. With "virial" in its name they are virials in eV,
        −volume × stress; else stresses in eV/Å³, positive under tension.
    """

    energy: str | None = None
    forces: str | None = None
    stress: str | None = None


def training_frames(path: str | os.PathLike[str], keys: LabelKeys | None = None) -> list[Atoms]:
    """Read frames to train or test on: all with energy and forces, or all with energies alone.

    Parameters
    ----------
    path
        As in `culi_mlip.files.read_frames`.
    keys
        Names of the labels.

    Raises
    ------
    DatasetError
        If the file is missing or empty, a frame lacks energy or forces or holds NaN, or labels
        stand under names that `keys` does not tell.
    """
    if not Path(path).is_file():
        raise DatasetError(f"{path} does not exist: make the dataset with culi-mlip build-dataset")
    if Path(path).stat().st_size == 0:
        raise DatasetError(f"{path} is empty: there is nothing to train or test on")
    frames = labelled_frames(path, keys)
    hint = unread_labels(frames, keys)
    has_forces = any("forces" in atoms.calc.results for atoms in frames)
    for i, atoms in enumerate(frames):
        missing = [label for label in missing_labels(atoms) if label == "energy" or has_forces]
        if missing:
            raise DatasetError(
                f"{path}, frame {i}: no label for {' and '.join(missing)}; "
                + (hint or "label every frame")
            )
        for label in LABELS:
            if not np.isfinite(atoms.calc.results.get(label, 0.0)).all():
                raise DatasetError(f"{path}, frame {i}: the {label} holds NaN or infinity")
    if hint:
        raise DatasetError(f"{path}: {hint}")
    return frames


def labelled_frames(path: str | os.PathLike[str], keys: LabelKeys | None = None) -> list[Atoms]:
    """Read frames with the labels that they have, each in a calculator of its own.

    Parameters
    ----------
    path, keys
        As in `training_frames`.

    Raises
    ------
    StructureError
        As `read_frames`.
    DatasetError
        If no frame has what `keys` names, or a label is not of the right shape.
    """
    keys = keys or LabelKeys()
    frames = read_frames(path)
    for label, key in vars(keys).items():
        if key not in (None, NONE) and not any(key in _values(atoms) for atoms in frames):
            names = sorted({name for atoms in frames for name in _values(atoms)} - _STRUCTURE)
            raise DatasetError(
                f"{path}: no frame has '{key}' for the {label}; there is {', '.join(names) or '-'}"
            )
    return [with_labels(atoms, keys, f"{path}, frame {i}") for i, atoms in enumerate(frames)]


def with_labels(atoms: Atoms, keys: LabelKeys, name: str = "frame") -> Atoms:
    """Return a frame whose labels are where ASE looks, taken from where a file has them.

    Parameters
    ----------
    atoms
        A frame as read.
    keys
        Names of the labels.
    name
        For errors.

    Raises
    ------
    DatasetError
        If a label is not of the right shape.
    """
    values = _values(atoms)
    results = dict(atoms.calc.results) if atoms.calc is not None else {}
    for label, key in vars(keys).items():
        value = results.pop(label, None) if key is None else values.get(key)
        results.pop(label, None)
        if value is not None:
            results[label] = _label(atoms, label, key or label, value, name)
    copy = atoms.copy()
    copy.calc = SinglePointCalculator(copy, **results)
    return copy


def missing_labels(atoms: Atoms) -> list[str]:
    """Return which of energy and forces a frame lacks."""
    results = atoms.calc.results if atoms.calc is not None else {}
    return [key for key in ("energy", "forces") if key not in results]


def labels_of(frames: Sequence[Atoms]) -> set[str]:
    """Return which of "energy", "forces" and "stress" every frame has."""
    results = [atoms.calc.results if atoms.calc is not None else {} for atoms in frames]
    return {key for key in LABELS if all(key in r for r in results)}


def unread_labels(frames: Iterable[Atoms], keys: LabelKeys | None = None) -> str:
    """Say which labels no frame has, while there are values that may be those, or ""."""
    keys, frames = keys or LabelKeys(), list(frames)
    options: dict[str, list[str]] = {}
    for label in LABELS:
        is_there = any(label in atoms.calc.results for atoms in frames if atoms.calc is not None)
        if getattr(keys, label) is None and not is_there:
            like = sorted({name for atoms in frames for name in _label_like(atoms, label)})
            options |= {f"--{label}-key {like[0]}": like} if like else {}
    if not options:
        return ""
    found = ", ".join(name for like in options.values() for name in like)
    return (
        f"no {' and no '.join(option.split('-')[2] for option in options)} under the names that "
        f"ASE knows, but there is {found}: give {' '.join(options)}, or '{NONE}' for the name to "
        "do without"
    )


def plain_copy(
    source: str | os.PathLike[str],
    parts: Mapping[str, Sequence[Atoms]],
    folder: str | os.PathLike[str],
    keys: LabelKeys | None = None,
) -> Path:
    """Return a folder from which nequip reads the labels of frames as `training_frames` does.

    Frames are as read from ``train.extxyz`` and so on in the folder `source`, by "train" and so on.
    Where nequip would read these files in another way, they are written anew to the other folder.
    """
    if keys in (None, LabelKeys()) and all(_is_plain(Path(source, f"{p}.extxyz")) for p in parts):
        return Path(source)
    for part, frames in parts.items():
        write_frames(Path(folder, f"{part}.extxyz"), list(frames))
    return Path(folder)


def _is_plain(path: Path) -> bool:
    """Whether ASE's own reader gives all frames, and no integers, which nequip refuses."""
    raw = path.read_text(encoding="utf-8", errors="surrogateescape")
    is_whole = re.sub(r"\s+\Z", "\n", raw) == re.sub(r"\s+\Z", "\n", xyz_text(path))
    integers = r"""\bforces:I:3|\benergy=["']?[-+]?\d+["']?(\s|$)"""
    return is_whole and not re.search(integers, raw)


_STRUCTURE = {"numbers", "positions"}


def _values(atoms: Atoms) -> dict[str, Any]:
    """All that a frame carries, by name."""
    results = atoms.calc.results if atoms.calc is not None else {}
    return {**atoms.info, **atoms.arrays, **results}


def _label(atoms: Atoms, label: str, key: str, value: Any, name: str) -> Any:
    """A label in ASE's units, sign and shape."""
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise DatasetError(f"{name}: the {label} '{key}' is {value!r}, not numbers: mend the file")
    array = array.astype(float)
    if label == "energy" and (array.size == 1 or array.shape == (len(atoms),)):
        return float(array.sum())
    if label == "forces" and array.shape == (len(atoms), 3):
        return array
    if label == "stress" and array.size in (6, 9):
        return _stress(atoms, array, key, name)
    wanted = {
        "energy": "one number",
        "forces": "three numbers an atom",
        "stress": "six or nine numbers",
    }[label]
    raise DatasetError(f"{name}: the {label} '{key}' has shape {array.shape}, not {wanted}")


def _stress(atoms: Atoms, array: NDArray[np.float64], key: str, name: str) -> NDArray[np.float64]:
    voigt: NDArray[np.float64] = array.ravel()
    if array.size == 9:
        voigt = full_3x3_to_voigt_6_stress(array.reshape(3, 3))
    if "virial" not in key.lower():
        return voigt
    if atoms.cell.rank < 3:
        raise DatasetError(f"{name}: the virial '{key}' gives no stress without a cell's volume")
    return -voigt / atoms.get_volume()


def _label_like(atoms: Atoms, label: str) -> list[str]:
    """Names of values that may be a label under another name."""
    n = len(atoms)
    shapes: dict[str, list[tuple[int, ...]]] = {
        "energy": [(), (1,), (n,)],
        "forces": [(n, 3)],
        "stress": [(6,), (9,), (3, 3)],
    }
    return [
        key
        for key, value in _values(atoms).items()
        if re.search(_LIKE[label], key.lower())
        and not re.search(_UNLIKE, key.lower())
        and np.asarray(value).dtype.kind in "fiu"
        and np.shape(value) in shapes[label]
    ]
