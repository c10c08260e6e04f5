"""Labels that are written down as they come, so that what a kill broke off goes on."""

from __future__ import annotations

import json
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from culi_mlip.files import output_errors
from culi_mlip.reference.relaxation import computed_labels

RECORD_TOLERANCE = 1e-6
"""Å within which a structure is that of the record: processors differ in the last digits."""


class Recorded(Calculator):
    """A calculator with a record of its labels, from which a repeated run takes them.

    A relaxation or MD that was killed is made again from its beginning: as long as it comes to the
    structures of the record, nothing is computed. Where it leaves them, the rest of the record is
    dropped.

    The record is a file of JSON lines: what it is of (its identity; a record of another is
    dropped), then a structure and its labels each.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]

    def __init__(self, calculator: Calculator, file: Path, identity: str) -> None:
        super().__init__()
        self.inner, self.file, self.identity = calculator, file, identity
        self._known: deque[dict[str, Any]] | None = None
        self._length = 0  # of the record, up to where the run is

    def calculate(
        self, atoms: Atoms | None = None, properties: Any = None, system_changes: Any = all_changes
    ) -> None:
        """Take the labels of a structure from the record, or compute and add them.

        Raises
        ------
        EngineError
            If the engine gives NaN or infinity.
        OutputError
            If the record cannot be written.
        """
        super().calculate(atoms, properties, system_changes)
        if self._known is None:
            self._known = self._read()
        labels = self._next()
        if labels is None:
            structure = self.atoms.copy()
            structure.calc = self.inner
            labels = computed_labels(structure)
            self._write({"positions": self.atoms.positions, **labels})
        self.results = {**labels, "free_energy": labels["energy"]}

    def _next(self) -> dict[str, Any] | None:
        """The labels of the present structure, if the record has them next."""
        if not self._known:
            return None
        step = self._known.popleft()
        positions = np.array(step.pop("positions"))
        if positions.shape != self.atoms.positions.shape or not np.allclose(
            positions, self.atoms.positions, rtol=0, atol=RECORD_TOLERANCE
        ):
            self._known.clear()
            return None
        self._length += step.pop("length")
        return {key: np.array(x) if key != "energy" else x for key, x in step.items()}

    def _head(self) -> str:
        described = {
            "identity": self.identity,
            "numbers": self.atoms.numbers,
            "cell": self.atoms.cell.array,
            "pbc": self.atoms.pbc,
        }
        return json.dumps(described, default=_plain) + "\n"

    def _read(self) -> deque[dict[str, Any]]:
        """The whole lines of the record, if it is one of this run; it is begun otherwise."""
        head, known = self._head(), deque[dict[str, Any]]()
        lines = self.file.read_bytes().splitlines(keepends=True) if self.file.exists() else []
        if not lines or lines[0] != head.encode():
            with output_errors(self.file):
                self.file.parent.mkdir(parents=True, exist_ok=True)
                self.file.write_text(head)
            lines = []
        self._length = len(head.encode())
        for line in lines[1:]:
            try:
                known.append({**json.loads(line), "length": len(line)})
            except ValueError:  # a kill cut it off
                break
        return known

    def _write(self, step: dict[str, Any]) -> None:
        line = (json.dumps(step, default=_plain) + "\n").encode()
        with output_errors(self.file), self.file.open("r+b") as record:
            record.truncate(self._length)
            record.seek(self._length)
            record.write(line)
        self._length += len(line)


def _plain(array: Any) -> Any:
    return array.tolist()
