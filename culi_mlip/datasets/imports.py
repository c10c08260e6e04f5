"""Labels that somebody already has, checked before they enter a store."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.geometry import find_mic
from numpy.typing import NDArray

from culi_mlip.datasets.store import Store
from culi_mlip.errors import LabelError
from culi_mlip.reference import VaspSettings, get_engine
from culi_mlip.reference.vasp_outputs import accepted_frames, read_vasp
from culi_mlip.runs import locked
from culi_mlip.structures import Entry

SAME = 1e-3
"""Å by which positions may differ for two structures to be the same: outputs have few digits."""


@dataclass(frozen=True)
class Imported:
    """What became of one output file.

    Attributes
    ----------
    path
        The file.
    frames
        How many labelled frames were accepted.
    labelled
        How many of them are labels of structures that waited in the store.
    added
        How many of them are new structures.
    reason
        Why none was accepted; "" otherwise.
    """

    path: Path
    frames: int = 0
    labelled: int = 0
    added: int = 0
    reason: str = ""


def import_vasp(
    folder: str | os.PathLike[str],
    paths: Iterable[str | os.PathLike[str]],
    settings: VaspSettings,
    *,
    kind: str = "imported",
    progress: Callable[[int, int], None] | None = None,
) -> list[Imported]:
    """Add the labels of VASP's outputs whose functional, cutoff and potentials are those asked for.

    A frame that is a structure of the store, with the same atoms within `SAME`, becomes its label;
    others are added, the ionic steps of one run as one trajectory.

    Parameters
    ----------
    folder
        Of the dataset; its store is made when the first label is accepted.
    paths
        vasprun.xml or OUTCAR files, plain or gzipped.
    settings
        What labels must be of.
    kind
        Kind of the structures that are added.
    progress
        Called with (files done, all).

    Returns
    -------
    list of Imported
        One for each file.
    """
    files = [Path(path) for path in paths]
    outcomes = []
    for n, path in enumerate(files, 1):
        try:
            frames = accepted_frames(read_vasp(path), settings)
        except LabelError as error:
            outcomes.append(Imported(path, reason=str(error)))
        else:
            with locked(folder) as dataset:
                outcomes.append(_import(Store(dataset / "store.db"), path, frames, settings, kind))
        if progress:
            progress(n, len(files))
    return outcomes


def _import(
    store: Store, path: Path, frames: Sequence[Atoms], settings: VaspSettings, kind: str
) -> Imported:
    engine = get_engine("vasp", settings)
    labelled, entries = 0, []
    with store.transaction():
        for step, atoms in enumerate(frames):
            results = dict(atoms.calc.results)
            found = waiting_twin(store, atoms)
            if found:
                row_id, order = found
                results["forces"] = results["forces"][order]
                store.label(row_id, results, engine)
                labelled += 1
            else:
                trajectory = str(path.absolute()) if len(frames) > 1 else ""
                how = {"source": str(path.absolute()), "step": step}
                entries.append(Entry(atoms, kind, trajectory=trajectory, how=how, results=results))
        added = store.add(entries, engine)
    return Imported(path, len(frames), labelled, added)


def waiting_twin(store: Store, atoms: Atoms) -> tuple[int, NDArray[np.int64]] | None:
    """Return the row of the same structure that waits for a label, and the order of its atoms.

    Codes sort atoms by species and print positions of few digits, in a cell that is periodic in all
    directions.

    Parameters
    ----------
    store
        The store.
    atoms
        A structure.

    Returns
    -------
    row_id, order
        ``atoms[order]`` are the atoms of the row; or None if there is none.
    """
    order = np.argsort(atoms.numbers, kind="stable")
    for row_id in store.waiting_like(atoms):
        other = store.entry(row_id).atoms
        if not np.allclose(other.cell, atoms.cell, atol=SAME):
            continue
        other_order = np.argsort(other.numbers, kind="stable")
        difference = other.positions[other_order] - atoms.positions[order]
        _, distances = find_mic(difference, atoms.cell, pbc=True)
        if distances.max() < SAME:
            back = np.empty(len(atoms), int)
            back[other_order] = order
            return row_id, back
    return None
