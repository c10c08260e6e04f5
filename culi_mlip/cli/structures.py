"""``culi-mlip structures``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ase import Atoms


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
    frames = read_structures(source)
    chosen = [
        round(i * (len(frames) - 1) / max(1, most - 1)) for i in range(min(most, len(frames)))
    ]
    shown = [frames[i] for i in chosen]
    titles = [_title(atoms) for atoms in shown]
    stem = source.resolve().with_suffix("")
    sheet = out or stem.with_name(f"{stem.name}_structures.png")
    write_bytes(sheet, png(contact_sheet(list(zip(titles, shown, strict=True)))))
    console.out.print(f"Drawn: {len(shown)} of {len(frames)} structures in {sheet}")
    if viewer:
        from culi_mlip.report.viewer import write_viewer

        names, sizes = [_title(atoms) for atoms in frames], [len(atoms) for atoms in frames]
        page = write_viewer(sheet.with_suffix(".html"), frames, {"name": names, "atoms": sizes})
        console.out.print(f"Viewer: open {page} in a browser")


def _title(atoms: Atoms) -> str:
    return str(atoms.info.get("title", atoms.get_chemical_formula()))
