"""The store of structures and labels: an ASE SQLite database, one row a structure."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ase.db
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import chemical_symbols

from culi_mlip.datasets.database import INDICES, Database
from culi_mlip.datasets.frames import LABELS
from culi_mlip.datasets.sources import Engine, LabelSource
from culi_mlip.errors import DatasetError, OutputError
from culi_mlip.files import output_errors
from culi_mlip.structures import Entry

STATES = ("pending", "running", "done", "failed")
"""What a structure can be."""

VERSION = 2
"""Of the store's layout."""

_INFO = ("uid", "kind", "parent", "trajectory", "engine", "engine_digest")


class Store:
    """Structures with kind, parent, trajectory, state, and the engine of their labels.

    Each structure stands once, and each change is one transaction: a killed process loses at
    most the label that it was computing. One process writes at a time; see
    `culi_mlip.runs.locked`.

    Parameters
    ----------
    path
        The SQLite file; made where it is missing.

    Raises
    ------
    DatasetError
        If the file is not such a store, or one of a newer version.
    OutputError
        If it cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        with self._reading(), output_errors(self.path):
            if not self.path.exists():
                self.path.touch()  # with the mode that the umask leaves: SQLite's is its own
            # SQLite locks by itself; ASE's lock file would outlive a killed process.
            self._db = Database(str(self.path.absolute()), use_lock_file=False)
            version = self._db.metadata.get("culi_mlip_store", 0 if len(self) else None)
            if version is not None and version > VERSION:
                raise DatasetError(
                    f"{self.path} is of a newer version of culi_mlip (store {version}, this one "
                    f"knows {VERSION}): update culi_mlip"
                )
            if version == 0:
                raise DatasetError(
                    f"{self.path} is a database, but not a store of culi_mlip: give its frames to "
                    "culi-mlip label add --frames"
                )
            with self._db:
                for index in INDICES:
                    self._db.connection.execute(index)  # type: ignore[attr-defined]
            if version is None:
                self._keep({})

    def __len__(self) -> int:
        """Return the number of structures."""
        with self._errors():
            return int(self._db.count())

    def __contains__(self, uid: str) -> bool:
        """Say whether there is a structure with an id."""
        with self._errors():
            return self._id(uid) is not None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make all changes in the block one, all or none of them."""
        with self._errors():
            if self._db.connection is not None:  # within another one
                yield
            else:
                with self._db:
                    yield

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
        new = 0
        with self.transaction():
            for entry in entries:
                if self._id(entry.uid) is not None:
                    continue
                columns: dict[str, Any] = {"uid": entry.uid, "kind": entry.kind}
                if entry.parent:
                    columns["parent"] = entry.parent
                if entry.trajectory:
                    columns["trajectory"] = entry.trajectory
                if entry.results:
                    if engine is None:
                        raise DatasetError(
                            f"results of {entry.uid} come without their engine: name it"
                        )
                    atoms = labelled(entry.atoms, entry.results)
                    columns |= {"status": "done"} | self._engine(engine)
                else:
                    atoms, columns["status"] = _bare(entry.atoms), "pending"
                self._db.write(atoms, key_value_pairs=columns, data={"how": dict(entry.how)})
                new += 1
        return new

    def pending(self) -> dict[int, int]:
        """Return how many workers died over each structure that waits for a label, by row id.

        Those come first that were tried least, then those that were added first.
        """
        query = (
            "SELECT states.id, COALESCE(deaths.value, 0) FROM text_key_values AS states "
            "LEFT JOIN number_key_values AS tries INDEXED BY culi_number_key_values "
            "ON tries.id = states.id AND tries.key = 'tries' "
            "LEFT JOIN number_key_values AS deaths INDEXED BY culi_number_key_values "
            "ON deaths.id = states.id AND deaths.key = 'deaths' "
            "WHERE states.key = 'status' AND states.value = 'pending' "
            "ORDER BY COALESCE(tries.value, 0), states.id"
        )
        with self._errors():
            return {row_id: int(deaths) for row_id, deaths in self._sql(query)}

    def waiting_symbols(self) -> set[str]:
        """Return the elements of structures that are pending or were left running."""
        query = (
            "SELECT DISTINCT species.Z FROM species JOIN text_key_values AS states "
            "INDEXED BY culi_text ON states.id = species.id AND states.key = 'status' "
            "WHERE states.value IN ('pending', 'running')"
        )
        with self._errors():
            return {chemical_symbols[number] for (number,) in self._sql(query)}

    def entry(self, row_id: int) -> Entry:
        """Return one structure, without labels."""
        with self._errors():
            return _entry(self._db.get(row_id))

    def find(self, uid: str) -> Entry | None:
        """Return the structure with an id, without labels, if there is one."""
        with self._errors():
            row_id = self._id(uid)
        return None if row_id is None else self.entry(row_id)

    def like(self, atoms: Atoms) -> Iterator[tuple[int, str, Entry]]:
        """Yield row id, digest of the label's engine ("" if there is no label) and structure.

        They are all of the same composition.
        """
        like: list[tuple[str, str, Any]] = [
            (symbol, "=", number) for symbol, number in atoms.symbols.formula.count().items()
        ]
        with self._errors():
            rows = list(self._db.select([*like, ("natoms", "=", len(atoms))]))
        for row in rows:
            yield row.id, row.engine_digest if row.status == "done" else "", _entry(row)

    def running(self) -> list[int]:
        """Return the row ids of structures that are running."""
        with self._errors():
            return self._ids("running")

    def start(self, row_ids: Iterable[int]) -> None:
        """Mark structures as running: their labels are begun once more."""
        with self.transaction():
            for row_id in row_ids:
                self._update(row_id, "running", "tries")

    def label(
        self,
        row_id: int,
        results: Mapping[str, Any],
        engine: Engine,
        *,
        host: str = "",
        note: str = "",
    ) -> None:
        """Store the labels of one structure.

        Parameters
        ----------
        row_id
            The structure.
        results
            The labels, by the names of `LABELS`.
        engine
            Who made them.
        host
            The machine that did.
        note
            What is to be said of the label.
        """
        with self.transaction():
            said = {"host": host, "note": note}
            columns = self._engine(engine) | {key: value for key, value in said.items() if value}
            atoms = labelled(self._db.get_atoms(row_id), results)
            self._db.update(row_id, atoms=atoms, status="done", **columns)

    def fail(self, row_id: int, reason: str) -> None:
        """Mark one structure as failed, with the reason."""
        with self._errors():
            self._db.update(row_id, status="failed", data={"reason": reason})

    def release(self, row_ids: Iterable[int] | None = None, *, died: bool = False) -> int:
        """Let structures wait again, by default all that are running; return how many.

        Only who has the lock of the store may do so: nobody else labels then, and what still is
        running was begun by a process that ended.

        Parameters
        ----------
        row_ids
            The structures.
        died
            Whether a worker died over each.
        """
        with self.transaction():
            chosen = self._ids("running") if row_ids is None else list(row_ids)
            for row_id in chosen:
                self._update(row_id, "pending", *(["deaths"] if died else []))
        return len(chosen)

    def retry(self) -> int:
        """Let all failed structures wait again, as if they had not been tried."""
        with self.transaction():
            chosen = self._ids("failed")
            for row_id in chosen:
                self._db.update(row_id, status="pending", tries=0, deaths=0)
        return len(chosen)

    def counts(self) -> dict[str, dict[str, int]]:
        """Return how many structures there are, by kind and state."""
        with self._errors():
            rows = self._sql(
                "SELECT kinds.value, states.value, COUNT(*) FROM text_key_values AS kinds "
                "JOIN text_key_values AS states INDEXED BY culi_text "
                "ON states.id = kinds.id AND states.key = 'status' "
                "WHERE kinds.key = 'kind' GROUP BY kinds.value, states.value"
            )
        table: dict[str, dict[str, int]] = {}
        for kind, state, number in rows:
            table.setdefault(kind, dict.fromkeys(STATES, 0))[state] = number
        return table

    def count(self, state: str) -> int:
        """Return how many structures are in a state."""
        with self._errors():
            return int(self._sql(_OF_STATE.replace("id", "COUNT(*)", 1), state)[0][0])

    def digests(self) -> dict[str, int]:
        """Return how many labels there are of each engine and settings, by digest."""
        return self._values("engine_digest")

    def hosts(self) -> dict[str, int]:
        """Return how many labels each machine made."""
        return self._values("host")

    @property
    def engines(self) -> dict[str, LabelSource]:
        """The engines that labels are from, by digest."""
        engines = self._db.metadata.get("engines", {})
        return {digest: LabelSource.of(e, str(self.path)) for digest, e in engines.items()}

    def parents(self) -> dict[str, str]:
        """Return the content id of the structure that each was made from, where it has one."""
        query = (
            "SELECT uids.value, parents.value FROM text_key_values AS parents "
            "JOIN text_key_values AS uids INDEXED BY culi_text "
            "ON uids.id = parents.id AND uids.key = 'uid' WHERE parents.key = 'parent'"
        )
        with self._errors():
            return dict(self._sql(query))

    def frames(self, engine_digest: str | None = None) -> Iterator[Atoms]:
        """Yield labelled structures one at a time, in the order of their content ids.

        Each has no constraints, a calculator with the labels, and ``info`` with uid, kind, engine,
        engine_digest and, where it has them, parent and trajectory.

        Parameters
        ----------
        engine_digest
            Engine and settings of the labels; by default of any.
        """
        with self._reading():
            for row in self._rows("done"):
                if engine_digest not in (None, row.engine_digest):
                    continue
                atoms = row.toatoms()
                atoms.set_constraint()
                atoms.info = {key: row[key] for key in _INFO if row.get(key)}
                yield atoms

    def failures(self) -> dict[str, str]:
        """Return the reason of each failed structure by its content id."""
        with self._reading():
            return {row.uid: row.data.get("reason", "") for row in self._rows("failed")}

    def notes(self) -> dict[str, int]:
        """Return what is to be said of labels, each with the number of structures."""
        return self._values("note")

    def check(self) -> list[str]:
        """Return what is wrong in the store: nothing, or a sentence each."""
        with self._errors():
            (integrity,) = self._sql("PRAGMA integrity_check")[0]
            twice = self._sql(
                "SELECT value, COUNT(*) FROM text_key_values WHERE key = 'uid' "
                "GROUP BY value HAVING COUNT(*) > 1"
            )
        n_known = sum(map(self.count, STATES))
        wrong = [] if integrity == "ok" else [f"SQLite: {integrity}"]
        wrong += [f"{uid} stands {number} times" for uid, number in twice]
        if n_known != len(self):
            wrong.append(f"{len(self) - n_known} structures are in no state")
        with self._reading():
            for row in self._rows(*STATES):
                uid = row.get("uid")
                if Entry(row.toatoms(), row.kind).uid != uid:
                    wrong.append(f"{uid} is not the id of its structure")
                elif row.status == "done":
                    wrong += _wrong_labels(row)
        return wrong

    def _values(self, key: str) -> dict[str, int]:
        """How many rows have each value of a key."""
        query = "SELECT value, COUNT(*) FROM text_key_values WHERE key = ? GROUP BY 1"
        with self._errors():
            return dict(self._sql(query, key))

    def _update(self, row_id: int, state: str, *counted: str) -> None:
        """Change a row's state, and count up."""
        row = self._db.get(row_id)
        numbers = {name: int(row.get(name, 0)) + 1 for name in counted}
        self._db.update(row_id, status=state, **numbers)

    def _rows(self, *states: str) -> Iterator[Any]:
        """Rows in the order of their content ids, one at a time, by a connection of its own."""
        marks = ", ".join("?" * len(states))
        query = (
            "SELECT uids.id FROM text_key_values AS uids "  # noqa: S608 (marks only)
            "JOIN text_key_values AS states INDEXED BY culi_text "
            "ON states.id = uids.id AND states.key = 'status' "
            f"WHERE uids.key = 'uid' AND states.value IN ({marks}) ORDER BY uids.value"
        )
        with self._errors(), ase.db.connect(self.path, type="db", use_lock_file=False) as reader:
            for (row_id,) in self._sql(query, *states):
                yield reader.get(row_id)

    def _ids(self, state: str) -> list[int]:
        return [row_id for (row_id,) in self._sql(_OF_STATE, state)]

    def _id(self, uid: str) -> int | None:
        query = "SELECT id FROM text_key_values WHERE key = 'uid' AND value = ?"
        found = self._sql(query, uid)
        return int(found[0][0]) if found else None

    def _sql(self, query: str, *values: Any) -> Sequence[Any]:
        with self._db.managed_connection() as connection:
            return list(connection.execute(query, values))

    def _engine(self, engine: Engine) -> dict[str, str]:
        """The columns of a label; what the digest stands for is written down once."""
        engines = self._db.metadata.get("engines", {})
        if engine.digest not in engines:
            self._keep({**engines, engine.digest: LabelSource.of_engine(engine).plain()})
        return {"engine": engine.name, "engine_digest": engine.digest}

    def _keep(self, engines: Mapping[str, Any]) -> None:
        self._db.metadata = {"culi_mlip_store": VERSION, "engines": dict(engines)}

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

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Also turn what ASE raises for damaged rows into a `DatasetError`."""
        with self._errors():
            try:
                yield
            except _DAMAGE as error:
                raise DatasetError(
                    f"{self.path} is damaged ({type(error).__name__}: {error}): take a copy of it, "
                    "or remove it"
                ) from error


_DAMAGE = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)
"""What ASE raises for rows whose bytes are not what they were."""

_OF_STATE = "SELECT id FROM text_key_values WHERE key = 'status' AND value = ?"


def labelled(atoms: Atoms, results: Mapping[str, Any]) -> Atoms:
    """Return a bare copy of `atoms` that carries the labels.

    Raises
    ------
    DatasetError
        If a label, or what it is of, is NaN or infinite.
    """
    copy = _bare(atoms)
    numbers = {"positions": atoms.positions, "cell": atoms.cell.array, **results}
    for name in ("positions", "cell", *LABELS):
        if name in numbers and not np.isfinite(numbers[name]).all():
            raise DatasetError(f"the {name} of {atoms.get_chemical_formula()} has NaN or infinity")
    copy.calc = SinglePointCalculator(copy, **{k: results[k] for k in LABELS if k in results})
    return copy


def _bare(atoms: Atoms) -> Atoms:
    """A copy with its constraints and nothing else."""
    return Atoms(
        atoms.numbers,
        positions=atoms.positions,
        cell=atoms.cell,
        pbc=atoms.pbc,
        constraint=atoms.constraints,
    )


def _entry(row: Any) -> Entry:
    return Entry(
        _bare(row.toatoms()),
        row.kind,
        parent=row.get("parent", ""),
        trajectory=row.get("trajectory", ""),
        how=row.data.get("how", {}),
    )


def _wrong_labels(row: Any) -> list[str]:
    if "engine_digest" not in row:
        return [f"{row.uid} has a label of nobody knows which engine"]
    missing = [key for key in ("energy", "forces") if row.get(key) is None]
    if missing:
        return [f"{row.uid} is done but has no {' and no '.join(missing)}"]
    if not (np.isfinite(row.energy) and np.isfinite(row.forces).all()):
        return [f"{row.uid} has a label of NaN or infinity"]
    return []
