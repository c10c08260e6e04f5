"""``culi-mlip label``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from culi_mlip.datasets import Imported


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
    "outputs",
    metavar="GLOB",
    multiple=True,
    required=True,
    help="VASP's vasprun.xml or OUTCAR files, also packed (gz, bz2, xz); may be given again.",
)
@click.option(
    "--as-computed",
    is_flag=True,
    help="Add VASP's labels of other settings, too, under a digest of their own settings.",
)
@click.option(
    "--settings",
    type=click.Path(path_type=Path),
    help="YAML of the settings that labels are of.  [default for VASP's outputs: the paper's]",
)
@click.option("--kind", default="imported", show_default=True,
              help="Kind of the structures that are added.")  # fmt: skip
def add(
    data: Path,
    outputs: tuple[str, ...],
    as_computed: bool,
    settings: Path | None,
    kind: str,
) -> None:
    """Add labels to the store of DATA, which is made where it is missing.

    What labels of VASP depend on (functional and all that changes it, potentials, k-points,
    cutoff, smearing, …) is read from the output and compared with the settings; what differs is
    refused and named. Structures of the store that wait are labelled, those that have a label stay
    as they are, others are added.

    \b
    Examples:
      culi-mlip label add data/ --vasprun 'runs/*/vasprun.xml'
      culi-mlip dataset split data/
    """
    from culi_mlip.cli import console
    from culi_mlip.configuration import parse, read_yaml
    from culi_mlip.datasets import import_vasp
    from culi_mlip.reference import VaspSettings

    wanted = VaspSettings()
    if settings:
        wanted = parse(VaspSettings, read_yaml(settings), f"settings {settings}")
    paths = _named(outputs)
    with console.steps() as step:
        outcomes = import_vasp(
            data,
            paths,
            wanted,
            as_computed=as_computed,
            kind=kind,
            progress=step("Reading outputs"),
        )
    _print(outcomes)


def _named(patterns: tuple[str, ...]) -> list[Path]:
    """The files of paths and patterns, each once."""
    import glob

    from culi_mlip.errors import LabelError

    found: set[Path] = set()
    for pattern in patterns:
        paths = [pattern] if Path(pattern).exists() else glob.glob(pattern, recursive=True)
        if not paths:
            raise LabelError(f"no file is named {pattern}: mend the path, or quote the pattern")
        found |= {Path(path) for path in paths}
    return sorted(found)


def _print(outcomes: list[Imported]) -> None:
    from culi_mlip.cli import console
    from culi_mlip.errors import LabelError

    for outcome in outcomes:
        notes = [f"{outcome.known} frames are in the store with a label already"] * bool(
            outcome.known
        )
        if outcome.left_out:
            notes.append(
                f"{outcome.left_out} steps are left out, not converged or of other k-points"
            )
        if outcome.reason:
            console.out.print(f"Refused: {outcome.reason}", markup=False)
        elif notes := [*notes, *filter(None, [outcome.note])]:
            console.out.print(f"{outcome.path}: {'; '.join(notes)}", markup=False)
    accepted = [outcome for outcome in outcomes if not outcome.reason]
    if not accepted:
        raise LabelError(f"none of {len(outcomes)} files has a label that can be accepted")
    console.out.print(
        f"{len(accepted)} of {len(outcomes)} files accepted, {sum(o.frames for o in accepted)} "
        "frames: "
        f"{sum(o.labelled for o in accepted)} label structures that waited, "
        f"{sum(o.added for o in accepted)} are new, "
        f"{sum(o.known for o in accepted)} were known."
    )
    digests = sorted({digest for outcome in accepted for digest in outcome.engines})
    console.out.print(f"Engine and settings: {', '.join(digests)}")
