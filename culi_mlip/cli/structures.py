"""``culi-mlip structures``."""

from __future__ import annotations

from pathlib import Path

import click

from culi_mlip.cli import options


@click.group("structures")
def command() -> None:
    """Look at structures.

    \b
    Example:
      culi-mlip structures show data/structures.extxyz
    """


@command.command("show")
@options.source
@options.out("PNG file.  [default: SOURCE_structures.png]")
@options.count("--most", "Draw at most this many, evenly chosen.", 48)
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
    from culi_mlip.report.sheet import show_structures

    shown = show_structures(source, out, most=most, in_3d=viewer)
    repeats = f" ({shown.repeats} that stand twice left out)" if shown.repeats else ""
    console.out.print(
        f"Drawn: {shown.drawn} of {shown.distinct} structures{repeats} in {shown.sheet}",
        markup=False,
    )
    if shown.page:
        console.out.print(f"Viewer: open {shown.page} in a browser", markup=False)
