"""What makes a run another one: its structure with velocities and constraints, its potential."""

from __future__ import annotations

import hashlib
import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from numpy.typing import NDArray

from culi_mlip.dynamics.constraints import constraint_values, merged_constraints

_MACHINE = ("command", "device", "directory", "label", "logfile", "parallel", "profile", "txt")
"""Arguments that say where and how a calculator runs, not what it computes."""


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
    content.update(json.dumps(_rounded(constraints), sort_keys=True).encode())
    return f"{atoms.get_chemical_formula()} {content.hexdigest()[:12]}"


def calculator_digest(calculator: Any) -> str:
    """Return class and hash of what a calculator computes, for the record of a run.

    The hash is of its parameters, of the arguments of its class that are attributes, and of the
    weights of its models; or of the attribute ``digest`` where it has one. Nested calculators
    count, paths and devices do not. An engine's own MD is "": its record is the engine's digest.
    """
    if not isinstance(calculator, BaseCalculator) and not hasattr(calculator, "get_forces"):
        return ""
    content = json.dumps(_calculator(calculator), sort_keys=True, default=_plain)
    return f"{_name(type(calculator))} {hashlib.sha256(content.encode()).hexdigest()[:12]}"


def _calculator(calculator: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"class": _name(type(calculator))}
    if isinstance(digest := getattr(calculator, "digest", None), str):
        return found | {"digest": digest}
    values = dict(getattr(calculator, "parameters", None) or {})
    attributes = vars(calculator)
    arguments = inspect.signature(type(calculator).__init__).parameters
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


def _plain(value: Any) -> Any:
    """What identifies a value that JSON does not know."""
    if isinstance(value, BaseCalculator):
        return _calculator(value)
    if hasattr(value, "state_dict"):
        weights = {k: v for k, v in value.state_dict().items() if hasattr(v, "detach")}
        return {k: _hash(v.detach().cpu().numpy()) for k, v in weights.items()}
    if hasattr(value, "calcs"):
        return vars(value)
    for plain in ("tolist", "todict"):
        if hasattr(value, plain):
            return getattr(value, plain)()
    return "" if isinstance(value, Path) else _name(value if callable(value) else type(value))


def _hash(array: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def _rounded(value: Any) -> Any:
    """Numbers to 9 digits: merged constraints are the same on every machine."""
    if isinstance(value, float):
        return round(value, 9) + 0.0
    if isinstance(value, list):
        return [_rounded(v) for v in value]
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    return value


def _name(thing: Any) -> str:
    return f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', thing)}"
