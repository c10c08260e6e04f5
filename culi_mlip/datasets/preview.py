"""What a recipe would give, before anything is labelled."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.io
import numpy as np

from culi_mlip.datasets.lattice_constants import Constants, planned_lattice_constants
from culi_mlip.datasets.recipe import Recipe, Task, tasks_of
from culi_mlip.files import atomic_path
from culi_mlip.reference import get_engine
from culi_mlip.structures import Entry, campaign
from culi_mlip.structures.campaign import face


@dataclass(frozen=True)
class KindCount:
    """One kind of structure of a recipe.

    Attributes
    ----------
    kind
        Its name.
    structures
        How many there are.
    distinct
        How many different ones, by content id.
    atoms
        Fewest and most atoms of one.
    published
        How many the publication has that the recipe names, or None.
    """

    kind: str
    structures: int
    distinct: int
    atoms: tuple[int, int]
    published: int | None


@dataclass(frozen=True)
class Work:
    """What the engine is to do for one kind of structure.

    Attributes
    ----------
    kind
        Of the structures.
    task
        "label", or a task of the recipe.
    structures
        How many there are.
    steps
        How often energies and forces are computed; of relaxations, how often that is expected.
    frames
        How many labelled frames that gives, or at most gives.
    published
        How many the publication has, or None.
    """

    kind: str
    task: str
    structures: int
    steps: int
    frames: int
    published: int | None


@dataclass(frozen=True)
class Preview:
    """Counts of a recipe's structures, and some of them.

    Attributes
    ----------
    counts
        By kind, in the order of the recipe.
    work
        By kind and task.
    examples
        The first few ideal structures of each kind and element.
    structures
        File with all of them, extended XYZ.
    table
        File with one row for each, CSV.
    lattice_constants
        Those that the recipe leaves out, by element: the value in Å and its source.
    """

    counts: list[KindCount]
    work: list[Work]
    examples: list[Entry]
    structures: Path
    table: Path
    lattice_constants: Constants


def preview(
    recipe: Recipe,
    out: str | os.PathLike[str],
    *,
    examples: int = 3,
    progress: Callable[[int, int], None] | None = None,
) -> Preview:
    """Build every static structure of a recipe and write them, without labels, to a folder.

    Nothing is computed: lattice constants are those that the folder or the recipe has or that are
    known of the engine, or else ASE's (experiment).

    Parameters
    ----------
    recipe
        What to build.
    out
        The folder; it gets ``structures.extxyz`` and ``structures.csv``: id, kind, title, parent,
        atoms, fixed atoms, area of the cell in the plane (Å²), thickness and empty height of
        slabs (Å), and how each was made (JSON).
    examples
        How many structures of each kind and element to return.
    progress
        Called with (parts done, parts in all) after each part of the recipe.

    Raises
    ------
    StructureError
        If a structure cannot be built.
    EngineError
        If the recipe's engine is unknown.
    OutputError
        If the folder cannot be written.
    """
    engine = get_engine(recipe.engine.name, recipe.engine.settings)
    recipe, constants = planned_lattice_constants(recipe, engine, Path(out))
    file, table = (Path(out) / f"structures.{suffix}" for suffix in ("extxyz", "csv"))
    sizes: dict[str, list[int]] = {}
    ids: dict[str, set[str]] = {}
    tasks: dict[tuple[str, Task], set[str]] = {}
    shown: dict[tuple[Any, ...], list[Entry]] = {}
    with (
        atomic_path(file) as new_file,
        atomic_path(table) as new_table,
        new_file.open("w", encoding="utf-8") as stream,
        new_table.open("w", encoding="utf-8", newline="") as rows,
    ):
        writer = csv.DictWriter(rows, _COLUMNS)
        writer.writeheader()
        for entry in campaign(recipe, progress=progress):
            sizes.setdefault(entry.kind, []).append(len(entry.atoms))
            ids.setdefault(entry.kind, set()).add(entry.uid)
            for task in tasks_of(entry, recipe.tasks):
                tasks.setdefault((entry.kind, task), set()).add(entry.uid)
            if "disorder" not in entry.how:
                like = entry.kind, entry.how.get("symbols"), entry.how.get("adatom")
                part = shown.setdefault(like, [])
                if len(part) < examples:
                    part.append(entry)
            writer.writerow(_row(entry))
            frame = entry.atoms.copy()
            frame.info = {"uid": entry.uid, "kind": entry.kind, "title": title(entry)}
            if entry.parent:
                frame.info["parent"] = entry.parent
            frame.info["how"] = dict(entry.how)
            ase.io.write(stream, frame, format="extxyz")
    counts = [
        KindCount(
            kind,
            len(numbers),
            len(ids[kind]),
            (min(numbers), max(numbers)),
            recipe.published.get(kind),
        )
        for kind, numbers in sizes.items()
    ]
    work = [Work(kind, "label", n := len(found), n, n, None) for kind, found in ids.items()]
    for (kind, task), found in tasks.items():
        steps, frames = (len(found) * number for number in task.cost)
        work.append(Work(kind, task.name, len(found), steps, frames, task.published))
    examples_shown = [entry for part in shown.values() for entry in part]
    return Preview(counts, work, examples_shown, file, table, constants)


_COLUMNS = (
    "uid",
    "kind",
    "title",
    "parent",
    "atoms",
    "fixed",
    "area_A2",
    "thickness_A",
    "vacuum_A",
    "how",
)


def _row(entry: Entry) -> dict[str, Any]:
    atoms = entry.atoms
    row = {
        "uid": entry.uid,
        "kind": entry.kind,
        "title": title(entry),
        "parent": entry.parent,
        "atoms": len(atoms),
        "fixed": sum(len(constraint.index) for constraint in atoms.constraints),
        "how": json.dumps(dict(entry.how)),
    }
    if not atoms.pbc.all():
        thickness = float(np.ptp(atoms.positions[:, 2]))
        row["area_A2"] = round(float(np.linalg.norm(np.cross(*atoms.cell.array[:2]))), 4)
        row["thickness_A"] = round(thickness, 4)
        row["vacuum_A"] = round(float(atoms.cell[2, 2]) - thickness, 4)
    return row


def title(entry: Entry, parent: Entry | None = None) -> str:
    """Return a short name that tells structures of a recipe apart.

    Such as "Li on Cu(111), adatom hollow 1 2×2".

    Parameters
    ----------
    entry
        The structure.
    parent
        The one that names what an entry was made from, where its own ``how`` does not.
    """
    how = {**(parent.how if parent else {}), **entry.how}
    if "millers" in how:
        faces = map(face, how["symbols"], how["millers"])
        name = " on ".join([*([how["adatom"]] if "adatom" in how else []), *faces])
    else:
        name = entry.atoms.get_chemical_formula()
    details = [entry.kind, *(said(how[key]) for key, said in _DETAILS.items() if key in how)]
    disorder = how.get("disorder", {})
    if "rattled" in disorder:
        copy = f", copy {disorder['copy']}" if "copy" in disorder else ""
        details.append(f"rattled {disorder['rattled']} Å{copy}")
    if "thermal_K" in disorder:
        details.append(f"at {disorder['thermal_K']:g} K")
    return f"{name}, {' '.join(detail for detail in details if detail)}"


def _cells(repeat: Any) -> str:
    if isinstance(repeat, int):
        return f"{repeat} cells" if repeat > 1 else ""
    first, second, *_ = repeat
    return f"{first}×{second}" if (first, second) != (1, 1) else ""


def _strain(strain: Any) -> str:
    if isinstance(strain, float | int):
        return f"{100 * strain:+g} %" if strain else ""
    xx, yy, zz, yz, xz, xy = (100 * strain[i][j] for i, j in _VOIGT)
    return f"sheared ({xx:+.1f} {yy:+.1f} {zz:+.1f} {yz:+.1f} {xz:+.1f} {xy:+.1f}) %"


_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))

_DETAILS: dict[str, Callable[[Any], str]] = {
    "site": str,
    "site_number": str,
    "coordination": "CN {}".format,
    "coverage": "{} ML".format,
    "arrangement": lambda arrangement: arrangement if arrangement != "random" else "",
    "strain": _strain,
    "shift": lambda shift: "shift {:.2f}, {:.2f}".format(*shift),
    "gap": "gap {:g} Å".format,
    "strained": lambda side: f"{side} strained",
    "repeat": _cells,
    "temperature_K": "{:g} K".format,
    "step": "step {}".format,
}
"""What of the making of a structure its title says, and how."""
