"""``culi-mlip label``."""

from __future__ import annotations

import glob
from pathlib import Path

import click


@click.group("label")
def command() -> None:
    """Labels that you already have.

    \b
    Example:
      culi-mlip label add data/ --vasprun 'runs/*/vasprun.xml'
    """


@command.command("add")
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--vasprun",
    "patterns",
    metavar="GLOB",
    multiple=True,
    required=True,
    help="VASP's vasprun.xml or OUTCAR files, also gzipped; may be given again.",
)
@click.option(
    "--settings",
    type=click.Path(path_type=Path),
    help="YAML of the settings that labels must be of.  [default: the paper's]",
)
@click.option("--kind", default="imported", show_default=True,
              help="Kind of the structures that are added.")  # fmt: skip
def add(data: Path, patterns: tuple[str, ...], settings: Path | None, kind: str) -> None:
    """Add the labels of VASP's outputs to the store of DATA, which is made where it is missing.

    Functional, cutoff, potentials and convergence are checked; what differs is refused and named.
    Structures of the store that wait are labelled, others are added.

    \b
    Example:
      culi-mlip label add data/ --vasprun 'runs/*/vasprun.xml'
      culi-mlip dataset split data/
    """
    from culi_mlip.cli import console
    from culi_mlip.configuration import parse, read_yaml
    from culi_mlip.datasets import import_vasp
    from culi_mlip.errors import LabelError
    from culi_mlip.reference import VaspSettings

    wanted = VaspSettings()
    if settings:
        wanted = parse(VaspSettings, read_yaml(settings), f"settings {settings}")
    files = sorted({path for pattern in patterns for path in glob.glob(pattern, recursive=True)})
    if not files:
        raise LabelError(f"no file is named {' or '.join(patterns)}: quote the pattern")
    with console.steps() as step:
        outcomes = import_vasp(data, files, wanted, kind=kind, progress=step("Reading outputs"))
    for outcome in outcomes:
        if outcome.reason:
            console.out.print(f"Refused: {outcome.reason}", markup=False)
    accepted = [outcome for outcome in outcomes if not outcome.reason]
    if not accepted:
        raise LabelError(f"none of {len(files)} files has a label that can be accepted")
    console.out.print(
        f"{len(accepted)} of {len(files)} files accepted, {sum(o.frames for o in accepted)} "
        "frames: "
        f"{sum(o.labelled for o in accepted)} label structures that waited, "
        f"{sum(o.added for o in accepted)} are new."
    )
