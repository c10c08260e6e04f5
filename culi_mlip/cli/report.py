"""``culi-mlip report``."""

from __future__ import annotations

from pathlib import Path

import click

from culi_mlip.cli import options


@click.command("report")
@click.argument("folders", type=options.PATH, nargs=-1)
@options.out("HTML file.  [default: report.html in the first of FOLDERS]")
@click.option(
    "--3d/--no-3d",
    "in_3d",
    default=None,
    help="Structures that turn.  [default: if chemiscope is installed]",
)
def command(folders: tuple[Path, ...], out: Path | None, in_3d: bool | None) -> None:
    """Write one page about finished FOLDERS: datasets, trainings, tunings, runs, scorecards.

    FOLDERS are those of any command, by default run. The page needs no other file and no network.

    \b
    Example:
      culi-mlip report data/ run/ md/ --out all.html
    """
    from importlib.util import find_spec

    from culi_mlip.cli import console
    from culi_mlip.report.overview import write_overview

    chosen = folders or (Path("run"),)
    wanted = find_spec("chemiscope") is not None if in_3d is None else in_3d
    place = out or chosen[0] / "report.html"
    with console.steps() as step:
        page = write_overview(chosen, place, in_3d=wanted, progress=step("Folders"))
    console.out.print(f"Page: {page}")
