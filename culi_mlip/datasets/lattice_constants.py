"""The lattice constants that a dataset was built with and its recipe left out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from culi_mlip.errors import CuliError
from culi_mlip.files import read_json, write_json
from culi_mlip.records import Record

FILE = "lattice_constants.json"
"""In the folder of a dataset."""


class LatticeConstant(Record):
    """The cubic lattice constant of an element."""

    a: float  # in Å
    source: str = ""  # where it is from


def kept_lattice_constants(folder: Path) -> dict[str, LatticeConstant]:
    """Return the lattice constants that are kept in the folder of a dataset, by element."""
    file = folder / FILE
    found = read_json(file) if file.exists() else {}
    if not isinstance(found, dict):
        raise CuliError(f"{file} is damaged (it has no elements): remove it, to find them anew")
    return {symbol: LatticeConstant.of(a, f"{file}, {symbol}") for symbol, a in found.items()}


def keep_lattice_constants(folder: Path, found: Mapping[str, LatticeConstant]) -> None:
    """Keep lattice constants in the folder of a dataset."""
    write_json(folder / FILE, {symbol: a.plain() for symbol, a in found.items()})


def listed(constants: Mapping[str, LatticeConstant]) -> str:
    """Return lattice constants in words."""
    return "; ".join(f"{s} {c.a:.3f} Å ({c.source})" for s, c in constants.items())
