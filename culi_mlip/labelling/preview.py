"""What a recipe would give, before anything is labelled."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.io
import numpy as np

from culi_mlip.errors import CuliError, EngineError
from culi_mlip.files import atomic_path
from culi_mlip.labelling.lattice_constants import LatticeConstants, planned_lattice_constants
from culi_mlip.labelling.recipe import Recipe, Task, tasks_of
from culi_mlip.progress import Progress
from culi_mlip.reference import VaspSettings, get_engine
from culi_mlip.reference.vasp import SINGLE_POINT, md_values, relaxation_values
from culi_mlip.reference.vasp_calculator import write_inputs
from culi_mlip.structures import Entry, campaign
from culi_mlip.structures.titles import title


@dataclass(frozen=True)
class KindCount:
    """One kind of structure of a recipe."""

    kind: str  # its name
    structures: int  # how many there are
    distinct: int  # how many different ones, by content id
    atoms: tuple[int, int]  # fewest and most atoms of one
    published: int | None  # how many the publication has that the recipe names, or None


@dataclass(frozen=True)
class KindWork:
    """What the engine is to do for one kind of structure."""

    kind: str  # of the structures
    task: str  # "label", or a task of the recipe
    structures: int  # how many there are
    # How often energies and forces are computed; of relaxations, how often that is expected.
    steps: int
    frames: int  # how many labelled frames that gives, or at most gives
    published: int | None  # how many the publication has, or None


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
    work: list[KindWork]
    examples: list[Entry]
    structures: Path
    table: Path
    lattice_constants: LatticeConstants


def preview(
    recipe: Recipe,
    out: str | os.PathLike[str],
    *,
    examples: int = 3,
    progress: Progress | None = None,
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
    work = [KindWork(kind, "label", n := len(found), n, n, None) for kind, found in ids.items()]
    for (kind, task), found in tasks.items():
        steps, frames = (len(found) * number for number in task.cost)
        work.append(KindWork(kind, task.name, len(found), steps, frames, task.published))
    examples_shown = [entry for part in shown.values() for entry in part]
    return Preview(counts, work, examples_shown, file, table, constants)


def seconds_by_kind(values: Iterable[str], recipe: Recipe) -> dict[str, float]:
    """Return the seconds of one energy with forces by kind of structure, "" for all others.

    The values are numbers, or KIND=NUMBER with a kind of the recipe.

    Raises
    ------
    CuliError
        If a number is none above 0, a kind is not in the recipe, or kinds are left out.
    """
    kinds = sorted({part.kind for part in recipe.structures})
    found = {}
    for value in values:
        kind, _, number = value.rpartition("=")
        try:
            found[kind] = float(number)
        except ValueError:
            found[kind] = math.nan
        if not 0 < found[kind] < math.inf or kind not in ("", *kinds):
            raise CuliError(
                f"--step-seconds {value}: give seconds, or KIND=SECONDS with a kind of the recipe "
                f"({', '.join(kinds)})"
            )
    left_out = [kind for kind in kinds if kind not in found]
    if found and left_out and "" not in found:
        raise CuliError(f"--step-seconds: give seconds for {', '.join(left_out)} too")
    return found


def core_hours(
    work: Iterable[KindWork], seconds: Mapping[str, float], cores: int = 1
) -> list[float]:
    """Return what each part of the work costs on so many cores.

    The work is as from `preview`, the seconds of one energy with forces as from `seconds_by_kind`.
    """
    return [w.steps * seconds.get(w.kind, seconds.get("", 0.0)) * cores / 3600 for w in work]


def what_is_missing(recipe: Recipe, entries: Iterable[Entry]) -> str:
    """Return why the recipe's engine cannot label structures on this machine, or ""."""
    symbols = {symbol for entry in entries for symbol in entry.atoms.symbols}
    try:
        get_engine(recipe.engine.name, recipe.engine.settings).check(symbols)
    except EngineError as error:
        return str(error)
    return ""


def write_vasp_inputs(
    recipe: Recipe, entries: Sequence[Entry], folder: str | os.PathLike[str]
) -> list[str]:
    """Write what VASP would get for the first structure of each kind, and for its tasks.

    The folder gets a folder for each kind with INCAR, KPOINTS and POSCAR, and one in that for each
    task. The kinds are returned.

    Raises
    ------
    EngineError
        If the recipe has another engine.
    """
    settings = get_engine(recipe.engine.name, recipe.engine.settings).settings
    if not isinstance(settings, VaspSettings):
        raise EngineError(f"inputs can be written for engine vasp, not for {recipe.engine.name}")
    first = {entry.kind: entry for entry in reversed(entries)}
    for kind, entry in first.items():
        place = Path(folder) / kind
        write_inputs(settings, entry.atoms, SINGLE_POINT, place)
        for task in tasks_of(entry, recipe.tasks):
            if task is recipe.relaxation:
                values = relaxation_values(task.steps, task.force)
            elif task is recipe.melt_quench:
                values = md_values(*task.schedule.stages[0], task.schedule.timestep)
            else:
                continue
            write_inputs(settings, entry.atoms, values, place / task.name)
    return sorted(first)


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
