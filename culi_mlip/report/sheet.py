"""Sheets of structures: each structure once, under a title that tells it from the others."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ase import Atoms

from culi_mlip.datasets import Store
from culi_mlip.errors import OutputError
from culi_mlip.files import read_structures, write_bytes
from culi_mlip.report import figures, viewer
from culi_mlip.structures import Entry
from culi_mlip.structures.titles import title


@dataclass(frozen=True)
class Shown:
    """What was drawn of a source of structures."""

    sheet: Path  # the PNG file
    page: Path | None  # the HTML page in three dimensions, if it was asked for
    # How many structures are on the sheet, how many different ones the source has, and how many
    # stood there again.
    drawn: int
    distinct: int
    repeats: int


def show_structures(
    source: str | os.PathLike[str],
    sheet: str | os.PathLike[str] | None = None,
    *,
    most: int = 48,
    in_3d: bool = False,
) -> Shown:
    """Draw the structures of a file or a folder, at most `most` of them, evenly chosen.

    The store of a dataset beside them gives titles. The sheet, a PNG file, is by default
    SOURCE_structures.png beside the source. In three dimensions there is a page beside it, too,
    with all structures.

    Raises
    ------
    OutputError
        If `sheet` does not end in .png.
    StructureError
        If the source cannot be read.
    CuliError
        If chemiscope is missing for the page.
    """
    if sheet and Path(sheet).suffix != ".png":
        raise OutputError(f"{sheet}: give a file that ends in .png")
    read = read_structures(source)
    first: dict[str, Atoms] = {}
    for atoms in read:
        first.setdefault(_uid(atoms), atoms)
    frames = list(first.values())
    n = min(most, len(frames))
    chosen = [frames[round(i * (len(frames) - 1) / max(1, n - 1))] for i in range(n)]
    stem = Path(source).resolve().with_suffix("")
    path = Path(sheet) if sheet else stem.with_name(f"{stem.name}_structures.png")
    write_sheet(path, list(zip(titles(chosen, source), chosen, strict=True)))
    page = None
    if in_3d:
        names, sizes = titles(frames, source), [len(atoms) for atoms in frames]
        page = viewer.write_viewer(
            path.with_suffix(".html"), frames, {"name": names, "atoms": sizes}
        )
    return Shown(path, page, n, len(frames), len(read) - len(frames))


def write_sheet(path: str | os.PathLike[str], frames: Sequence[tuple[str, Atoms]]) -> None:
    """Write a contact sheet of structures with their titles as PNG."""
    write_bytes(path, figures.png(figures.contact_sheet(frames)))


def titles(frames: Sequence[Atoms], source: str | os.PathLike[str]) -> list[str]:
    """Return titles of structures; those that would be the same get a part of the content id.

    A ``store.db`` where they are from says how each was made.
    """
    folder = Path(source) if Path(source).is_dir() else Path(source).parent
    database = folder / "store.db"
    store = Store(database) if database.is_file() else None
    found = [_title(atoms, store) for atoms in frames]
    return [
        f"{name}, {_uid(atoms)[:7]}" if found.count(name) > 1 else name
        for name, atoms in zip(found, frames, strict=True)
    ]


def _uid(atoms: Atoms) -> str:
    """The content id, written down or computed."""
    return str(atoms.info.get("uid") or Entry(atoms, "").uid)


def _title(atoms: Atoms, store: Store | None) -> str:
    if "title" in atoms.info:
        return str(atoms.info["title"])
    entry = store.find(str(atoms.info.get("uid"))) if store else None
    if entry and store:
        return title(entry, store.find(entry.parent))
    kind = atoms.info.get("kind")
    return atoms.get_chemical_formula() + (f", {kind}" if kind else "")
