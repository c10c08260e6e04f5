"""The store of structures and labels: an ASE SQLite database, one row a structure."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ase.db
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from culi_mlip.errors import DatasetError, OutputError
from culi_mlip.reference import Engine
from culi_mlip.structures import Entry

LABELS = ("energy", "forces", "stress")
"""Labels that are kept: eV, eV/Å, eV/Å³ (ASE's sign and Voigt order)."""

_INFO = ("uid", "kind", "parent", "trajectory", "engine", "engine_digest")


class Store:
    """Structures with kind, parent, trajectory, engine, engine settings and status.

    Each structure stands once. A row is "pending", "done" or "failed"; each change is one
    transaction, so a killed process loses at most the label that it was computing.

    Parameters
    ----------
    path
        The SQLite file; made where it is missing.

    Raises
    ------
    DatasetError
        If the file is not such a store.
    OutputError
        If it cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        with self._errors():
            # SQLite locks by itself; ASE's lock file would outlive a killed process.
            self._db = ase.db.connect(self.path, type="db", use_lock_file=False)
            self._db.count()

    def __len__(self) -> int:
        """Return the number of structures."""
        return int(self._db.count())

    def add(self, entries: Iterable[Entry], engine: Engine | None = None) -> int:
        """Add structures that are not there yet, all or none of them.

        Parameters
        ----------
        entries
            Structures; those with results are stored as done.
        engine
            Engine that made the results.

        Returns
        -------
        int
            How many were new.
        """
        new = {entry.uid: entry for entry in entries}
        with self._errors(), self._db:
            known = {
                row.uid for row in self._db.select(columns=["key_value_pairs"], include_data=False)
            }
            for uid, entry in new.items():
                if uid in known:
                    continue
                columns = {"uid": uid, "kind": entry.kind, "status": "pending"}
                if entry.parent:
                    columns["parent"] = entry.parent
                if entry.trajectory:
                    columns["trajectory"] = entry.trajectory
                atoms, data = entry.atoms, {"how": dict(entry.how)}
                if entry.results:
                    if engine is None:
                        raise DatasetError(f"results of {uid} come without their engine: name it")
                    atoms = labelled(atoms, entry.results)
                    columns |= {"status": "done"} | _engine_columns(engine)
                    data |= _engine_data(engine)
                else:
                    atoms = _bare(atoms)
                self._db.write(atoms, key_value_pairs=columns, data=data)
        return len(set(new) - known)

    def pending(self) -> list[tuple[int, Atoms]]:
        """Return row id and structure of all that wait for a label."""
        with self._errors():
            return [(row.id, row.toatoms()) for row in self._db.select(status="pending")]

    def label(self, row_id: int, results: Mapping[str, Any], engine: Engine) -> None:
        """Store the labels of one structure, in one transaction."""
        with self._errors():
            atoms = labelled(self._db.get_atoms(row_id), results)
            self._db.update(
                row_id,
                atoms=atoms,
                status="done",
                data=_engine_data(engine),
                **_engine_columns(engine),
            )

    def fail(self, row_id: int, reason: str, engine: Engine) -> None:
        """Mark one structure as failed, with the reason."""
        with self._errors():
            self._db.update(row_id, status="failed", data={"reason": reason} | _engine_data(engine))

    def count(self, **columns: str) -> int:
        """Return how many rows have the given columns, such as ``status="done"``."""
        with self._errors():
            return int(self._db.count(**columns))

    def trajectories(self) -> set[str]:
        """Return the names of all trajectories in the store."""
        with self._errors():
            return {row.trajectory for row in self._db.select("trajectory", include_data=False)}

    def frames(self) -> Iterator[Atoms]:
        """Yield all labelled structures, in the order in which they were added.

        Each has a calculator with the labels, and ``info`` with uid, kind, engine,
        engine_digest and, where it has them, parent and trajectory.
        """
        with self._errors():
            for row in self._db.select(status="done", sort="id"):
                atoms = row.toatoms()
                atoms.info = {key: row[key] for key in _INFO if row.get(key)}
                yield atoms

    def failures(self) -> dict[str, str]:
        """Return the reason of each failed structure by its id."""
        with self._errors():
            return {row.uid: row.data.get("reason", "") for row in self._db.select(status="failed")}

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise OutputError(
                f"cannot write the store {self.path} ({error}): free some space or choose "
                "another folder, then run the same command again"
            ) from error
        except sqlite3.DatabaseError as error:
            raise DatasetError(
                f"{self.path} is not a store of structures ({error}): remove it or choose "
                "another folder"
            ) from error


def labelled(atoms: Atoms, results: Mapping[str, Any]) -> Atoms:
    """Return a bare copy of `atoms` that carries the labels and nothing else."""
    copy = _bare(atoms)
    copy.calc = SinglePointCalculator(copy, **{k: results[k] for k in LABELS if k in results})
    return copy


def _bare(atoms: Atoms) -> Atoms:
    return Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)


def _engine_columns(engine: Engine) -> dict[str, str]:
    return {"engine": engine.name, "engine_digest": engine.digest}


def _engine_data(engine: Engine) -> dict[str, Any]:
    return {"engine_settings": engine.settings.model_dump(mode="json")}
