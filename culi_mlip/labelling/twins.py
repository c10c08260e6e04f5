"""Structures of a store that are the same as others, in another order or another cell's image."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from culi_mlip.datasets.store import Store
from culi_mlip.reference.cells import right_handed
from culi_mlip.structures import Entry

TWIN_TOLERANCE = 1e-3
"""Å by which positions may differ for two structures to be the same: outputs have few digits."""

_PLANES = np.array([1.0, 2.0, 3.0])
"""Lattice planes whose structure factor tells most structures apart."""


class Twin(NamedTuple):
    """A structure of a store that is the same as another."""

    row_id: int  # its row
    engine: str  # digest of the engine of its label, "" if it has none
    entry: Entry  # the structure
    order: NDArray[np.int64]  # ``other[order]`` are its atoms


class Twins:
    """Finds structures of a store again; it is read once for each composition.

    Nobody else may change the store meanwhile.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._known: dict[str, _Known] = {}

    def find(self, atoms: Atoms) -> Twin | None:
        """Return the structure that is the same, if there is one; of several one that waits.

        Codes sort atoms by species and print positions of few digits, in a cell that is periodic
        in all directions.
        """
        known = self._like(atoms)
        near = np.abs(np.array(known.factors) - _factor(atoms)) <= _uncertainty(atoms)
        found = None
        for i in np.flatnonzero(near):
            order = same_order(known.entries[i].atoms, atoms)
            if order is not None:
                row_id = known.row_ids[i]
                found = Twin(row_id, known.engines[i], known.entries[i], order)
                if not found.engine:
                    break
        return found

    def add(self, entry: Entry, engine: str) -> None:
        """Take note of a structure that was added to the store with its label."""
        self._like(entry.atoms).append(-1, engine, entry)

    def label(self, twin: Twin, engine: str) -> None:
        """Take note of a structure that got its label."""
        known = self._like(twin.entry.atoms)
        known.engines[known.row_ids.index(twin.row_id)] = engine

    def _like(self, atoms: Atoms) -> _Known:
        formula = str(atoms.get_chemical_formula(mode="hill"))
        if formula not in self._known:
            known = self._known[formula] = _Known()
            for found in self.store.like(atoms):
                known.append(*found)
        return self._known[formula]


@dataclass
class _Known:
    """Structures of one composition."""

    row_ids: list[int] = field(default_factory=list)
    engines: list[str] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    factors: list[float] = field(default_factory=list)

    def append(self, row_id: int, engine: str, entry: Entry) -> None:
        self.row_ids.append(row_id)
        self.engines.append(engine)
        self.entries.append(entry)
        self.factors.append(_factor(entry.atoms))


def same_order(one: Atoms, other: Atoms) -> NDArray[np.int64] | None:
    """Return the order in which the atoms of `other` are those of `one`, None if they are not.

    Positions may differ by `TWIN_TOLERANCE` and by lattice vectors, cells by `TWIN_TOLERANCE`;
    periodicity does not count, nor does it that codes turn left-handed cells (`right_handed`).
    """
    one, other = right_handed(one), right_handed(other)
    if len(one) != len(other) or np.abs(one.cell.array - other.cell.array).max() > TWIN_TOLERANCE:
        return None
    difference = _scaled(one)[:, None] - _scaled(other)
    difference -= np.rint(difference) * one.cell.mask()
    distances = np.linalg.norm(difference @ one.cell.complete().array, axis=2)
    distances[one.numbers[:, None] != other.numbers] = np.inf
    order: NDArray[np.int64] = distances.argmin(axis=1)
    is_near = distances.min(axis=1).max() < TWIN_TOLERANCE
    return order if is_near and len(set(order.tolist())) == len(order) else None


def _scaled(atoms: Atoms) -> NDArray[np.float64]:
    return atoms.cell.scaled_positions(atoms.positions)


def _factor(atoms: Atoms) -> float:
    """Structure factor of one set of planes: the same in each order and image of the atoms."""
    return float(atoms.numbers @ np.cos(2 * np.pi * _scaled(atoms) @ _PLANES))


def _uncertainty(atoms: Atoms) -> float:
    """How much the structure factor may differ between structures that are the same."""
    wave = 2 * np.pi * np.linalg.norm(atoms.cell.complete().reciprocal().T @ _PLANES)
    return float(atoms.numbers.sum() * wave * TWIN_TOLERANCE) + 1e-9
