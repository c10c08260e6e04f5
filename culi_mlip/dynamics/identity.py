"""What makes a run another one: its structure with velocities and constraints, its potential."""

from __future__ import annotations

import hashlib
import inspect
import json
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from numpy.typing import NDArray

from culi_mlip.dynamics.constraints import constraint_values, merged_constraints
from culi_mlip.files import file_digest

_MACHINE = ("command", "device", "directory", "label", "logfile", "parallel", "profile", "txt",
            "log_file", "outfile", "tmp_dir")  # fmt: skip
"""Arguments that say where and how a calculator runs, not what it computes."""

_OF_ASE = ("self", "restart", "ignore_bad_restart_file", "atoms")
"""Arguments of ASE's own calculators that compute nothing."""


def structure_digest(atoms: Atoms) -> str:
    """Return a short name of a structure for the record of a run.

    It holds species, positions, cell, periodicity, masses, velocities, initial charges and
    magnetic moments, and constraints. (The content id of a dataset's store holds no constraints:
    a label does not depend on them.)
    """
    content = hashlib.sha256()
    arrays = (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, atoms.get_masses())
    moments = (atoms.get_initial_charges(), atoms.get_initial_magnetic_moments())
    for array in (*arrays, atoms.get_momenta(), *moments):
        content.update(np.ascontiguousarray(array).tobytes())
    constraints = [constraint_values(c) for c in merged_constraints(atoms)]
    # To 9 digits, so that merged constraints are the same on every machine.
    rounded = json.loads(json.dumps(constraints), parse_float=lambda x: round(float(x), 9) + 0.0)
    content.update(json.dumps(rounded, sort_keys=True).encode())
    return f"{atoms.get_chemical_formula()} {content.hexdigest()[:12]}"


def calculator_digest(calculator: Any) -> str:
    """Return class and hash of what a calculator computes, for the record of a run.

    The hash is of its parameters, of the arguments of its class that are attributes (where some
    are not, of all numbers, text and arrays among its public attributes), and of the weights of
    its models; or of the attribute ``digest`` where it has one. Nested calculators count, and of
    files their content, devices do not. An engine's own MD is "": its record is the engine's
    digest.
    """
    if not isinstance(calculator, BaseCalculator) and not hasattr(calculator, "get_forces"):
        return ""
    content = json.dumps(_texts(_calculator(calculator)), sort_keys=True)
    return f"{_name(type(calculator))} {hashlib.sha256(content.encode()).hexdigest()[:12]}"


def _calculator(calculator: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"class": _name(type(calculator))}
    if isinstance(digest := getattr(calculator, "digest", None), str):
        return found | {"digest": digest}
    values = dict(getattr(calculator, "parameters", None) or {})
    attributes = vars(calculator)
    arguments = inspect.signature(type(calculator).__init__).parameters
    kept = {*attributes, *values, *_OF_ASE, *_MACHINE}
    if any(a.name not in kept and a.kind is a.POSITIONAL_OR_KEYWORD for a in arguments.values()):
        values |= _public(calculator)
    values |= {name: value for name, value in attributes.items() if name in arguments}
    values |= {name: value for name, value in attributes.items() if _is_part(value)}
    return found | {"parameters": {k: v for k, v in values.items() if k not in _MACHINE}}


def _is_part(value: Any) -> bool:
    """Whether an attribute is a calculator, a model with weights, or a group of them."""
    if isinstance(value, list | tuple):
        return any(map(_is_part, value))
    return (
        isinstance(value, BaseCalculator) or hasattr(value, "state_dict") or hasattr(value, "calcs")
    )


def _texts(value: Any) -> Any:
    """A value as JSON has it; keys may be anything, such as triples of elements."""
    if isinstance(value, dict):
        return {str(k): _texts(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_texts(v) for v in value]
    if isinstance(value, str | Path):
        return _content(value) or ("" if isinstance(value, Path) else value)
    return value if isinstance(value, float | int | None) else _texts(_plain(value))


def _plain(value: Any) -> Any:
    """What identifies a value that JSON does not know."""
    if isinstance(value, BaseCalculator):
        return _calculator(value)
    if hasattr(value, "state_dict"):
        weights = {k: v for k, v in value.state_dict().items() if hasattr(v, "detach")}
        return {k: _hash(v.detach().cpu().numpy()) for k, v in weights.items()}
    if hasattr(value, "calcs"):
        return {k: v for k, v in vars(value).items() if k != "implemented_properties"}
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    for plain in ("tolist", "todict"):
        if hasattr(value, plain):
            return getattr(value, plain)()
    return _name(value) if callable(value) else {"class": _name(type(value)), **_public(value)}


def _public(thing: Any) -> dict[str, Any]:
    """Numbers, text and arrays among the public attributes of an object."""
    values = getattr(thing, "__dict__", {})
    plain = (bool, int, float, str, np.ndarray)
    return {k: v for k, v in values.items() if isinstance(v, plain) and not k.startswith("_")}


def _content(path: str | Path) -> str | None:
    """Hash of the file that is named, if there is one; a word names none."""
    try:
        if not Path(path).suffix and Path(path).name == str(path):
            return None
        return file_digest(path)
    except (OSError, ValueError):
        return None


def _hash(array: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def _name(thing: Any) -> str:
    return f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', thing)}"
