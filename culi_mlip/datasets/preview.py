"""What a recipe would give, before anything is labelled."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.io

from culi_mlip.files import atomic_path
from culi_mlip.structures import Campaign, Entry, campaign


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
class Preview:
    """Counts of a recipe's structures, and some of them.

    Attributes
    ----------
    counts
        By kind, in the order of the recipe.
    examples
        The first few ideal structures of each kind and element.
    structures
        File with all of them, extended XYZ.
    """

    counts: list[KindCount]
    examples: list[Entry]
    structures: Path


def preview(
    recipe: Campaign,
    out: str | os.PathLike[str],
    *,
    examples: int = 3,
    progress: Callable[[int, int], None] | None = None,
) -> Preview:
    """Build every static structure of a recipe and write them, without labels, to a folder.

    Parameters
    ----------
    recipe
        What to build.
    out
        The folder; it gets ``structures.extxyz``.
    examples
        How many structures of each kind and element to return.
    progress
        Called with (parts done, parts in all) after each part of the recipe.

    Raises
    ------
    StructureError
        If a structure cannot be built.
    OutputError
        If the folder cannot be written.
    """
    file = Path(out) / "structures.extxyz"
    sizes: dict[str, list[int]] = {}
    ids: dict[str, set[str]] = {}
    shown: dict[tuple[Any, ...], list[Entry]] = {}
    with atomic_path(file) as temporary, temporary.open("w", encoding="utf-8") as stream:
        for entry in campaign(recipe, progress=progress):
            sizes.setdefault(entry.kind, []).append(len(entry.atoms))
            ids.setdefault(entry.kind, set()).add(entry.uid)
            if "disorder" not in entry.how:
                like = entry.kind, entry.how.get("symbols"), entry.how.get("adatom")
                part = shown.setdefault(like, [])
                if len(part) < examples:
                    part.append(entry)
            frame = entry.atoms.copy()
            frame.set_constraint()
            frame.info = {"uid": entry.uid, "kind": entry.kind, "title": title(entry)}
            if entry.parent:
                frame.info["parent"] = entry.parent
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
    return Preview(counts, [entry for part in shown.values() for entry in part], file)


def title(entry: Entry) -> str:
    """Return a short name of a structure, such as "Li on Cu(111), adatom hollow"."""
    how = entry.how
    if "millers" in how:
        faces = map(_face, how["symbols"], how["millers"])
        name = " on ".join([*([how["adatom"]] if "adatom" in how else []), *faces])
    else:
        name = entry.atoms.get_chemical_formula()
    details = [entry.kind]
    for key, form in (("site", "{}"), ("coordination", "CN {}"), ("coverage", "{} ML")):
        if key in how:
            details.append(form.format(how[key]))
    return f"{name}, {' '.join(details)}"


def _face(symbol: str, miller: tuple[int, int, int]) -> str:
    return f"{symbol}({''.join(str(i) for i in miller)})"
