"""``culi-mlip structures``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ase import Atoms

    from culi_mlip.datasets import Store


@click.group("structures")
def command() -> None:
    """Look at structures.

    \b
    Example:
      culi-mlip structures show data/structures.extxyz
    """


@command.command("show")
@click.argument("source", type=click.Path(path_type=Path), default=Path("data"))
@click.option(
    "--out", type=click.Path(path_type=Path), help="PNG file.  [default: SOURCE_structures.png]"
)
@click.option(
    "--most",
    type=click.IntRange(1),
    default=48,
    show_default=True,
    help="Draw at most this many, evenly chosen.",
)
@click.option("--viewer", is_flag=True,
              help="Write an HTML page in three dimensions too (extra `viewer`).")  # fmt: skip
def show(source: Path, out: Path | None, most: int, viewer: bool) -> None:
    """Draw the structures of SOURCE, a file that ASE reads or a folder of them.

    \b
    Example:
      culi-mlip structures show data/
      culi-mlip structures show data/structures.extxyz --viewer
    """
    from culi_mlip.cli import console
    from culi_mlip.errors import OutputError
    from culi_mlip.files import read_structures, write_bytes
    from culi_mlip.report.figures import contact_sheet, png

    if out and out.suffix != ".png":
        raise OutputError(f"--out {out}: give a file that ends in .png")
    read = read_structures(source)
    first: dict[str, Atoms] = {}
    for atoms in read:
        first.setdefault(_content(atoms), atoms)
    frames = list(first.values())
    n = min(most, len(frames))
    shown = [frames[round(i * (len(frames) - 1) / max(1, n - 1))] for i in range(n)]
    stem = source.resolve().with_suffix("")
    sheet = out or stem.with_name(f"{stem.name}_structures.png")
    write_bytes(sheet, png(contact_sheet(list(zip(_titles(shown, source), shown, strict=True)))))
    again = len(read) - len(frames)
    repeats = f" ({again} that stand twice left out)" if again else ""
    console.out.print(f"Drawn: {n} of {len(frames)} structures{repeats} in {sheet}", markup=False)
    if viewer:
        from culi_mlip.report.viewer import write_viewer

        names, sizes = _titles(frames, source), [len(atoms) for atoms in frames]
        page = write_viewer(sheet.with_suffix(".html"), frames, {"name": names, "atoms": sizes})
        console.out.print(f"Viewer: open {page} in a browser", markup=False)


def _content(atoms: Atoms) -> str:
    """What makes a structure: its content id, written down or computed."""
    from culi_mlip.structures import Entry

    return str(atoms.info.get("uid") or Entry(atoms, "").uid)


def _titles(frames: list[Atoms], source: Path) -> list[str]:
    """Titles of structures; those that would be the same get a part of the content id."""
    from culi_mlip.datasets import Store

    database = (source if source.is_dir() else source.parent) / "store.db"
    store = Store(database) if database.is_file() else None
    titles = [_title(atoms, store) for atoms in frames]
    return [
        f"{title}, {_content(atoms)[:7]}" if titles.count(title) > 1 else title
        for title, atoms in zip(titles, frames, strict=True)
    ]


def _title(atoms: Atoms, store: Store | None) -> str:
    from culi_mlip.datasets.preview import title

    if "title" in atoms.info:
        return str(atoms.info["title"])
    entry = store.find(str(atoms.info.get("uid"))) if store else None
    if entry and store:
        return title(entry, store.find(entry.parent))
    kind = atoms.info.get("kind")
    return atoms.get_chemical_formula() + (f", {kind}" if kind else "")
