"""``culi-mlip label``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from culi_mlip.cli import options

if TYPE_CHECKING:
    from culi_mlip.datasets.frames import LabelKeys
    from culi_mlip.labelling import Imported
    from culi_mlip.reference import Engine


@click.group("label")
def command() -> None:
    """Labels that you already have.

    \b
    Example:
      culi-mlip label add data/ --vasprun 'runs/*/vasprun.xml'
    """


@command.command("add")
@click.argument("data", type=options.PATH)
@click.option(
    "--vasprun",
    "outputs",
    metavar="GLOB",
    multiple=True,
    help="VASP's vasprun.xml or OUTCAR files, also packed (gz, bz2, xz); may be given again.",
)
@click.option(
    "--as-computed",
    is_flag=True,
    help="Add VASP's labels of other settings, too, under a digest of their own settings.",
)
@click.option(
    "--frames",
    "files",
    metavar="GLOB",
    multiple=True,
    help="Labelled frames instead: extended XYZ, ASE database; may be given again.",
)
@options.engine("Who labelled the frames: an engine, or any other code.")
@click.option("--dft/--no-dft", "is_dft", default=None,
              help="Whether another code's labels may be called DFT.")  # fmt: skip
@click.option(
    "--trajectory",
    "is_trajectory",
    is_flag=True,
    help="The frames of each file are one trajectory, which splits keep whole.",
)
@options.label_keys
@options.settings("the settings that labels are of.  [default for VASP's outputs: the paper's]")
@click.option("--kind", default="imported", show_default=True,
              help="Kind of the structures that are added.")  # fmt: skip
def add(
    data: Path,
    outputs: tuple[str, ...],
    as_computed: bool,
    files: tuple[str, ...],
    engine: str | None,
    is_dft: bool | None,
    is_trajectory: bool,
    keys: LabelKeys,
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
      culi-mlip label add data/ --frames mine.extxyz --engine FHI-aims --dft --settings pbe.yaml
      culi-mlip dataset split data/
    """
    from culi_mlip.cli import console
    from culi_mlip.configuration import parse, read_yaml
    from culi_mlip.errors import LabelError
    from culi_mlip.labelling import import_frames, import_vasp
    from culi_mlip.reference import VaspSettings

    if bool(outputs) == bool(files):
        raise LabelError("give either --vasprun or --frames, with the files that have labels")
    values = read_yaml(settings) if settings else {}
    paths = _named(outputs or files)
    with console.steps() as step:
        progress = step("Reading labels") if len(paths) > 1 else None
        if outputs:
            wanted = parse(VaspSettings, values, f"settings {settings}")
            outcomes = import_vasp(
                data, paths, wanted, as_computed=as_computed, kind=kind, progress=progress
            )
        else:
            outcomes = import_frames(
                data,
                paths,
                _engine(engine, is_dft, values),
                keys=keys,
                is_trajectory=is_trajectory,
                kind=kind,
                progress=progress,
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


def _engine(name: str | None, is_dft: bool | None, settings: dict[str, object]) -> Engine:
    """The engine of frames, one of ours or another code."""
    from culi_mlip.errors import LabelError
    from culi_mlip.reference import ENGINES, get_engine

    if name is None:
        raise LabelError("frames do not say who labelled them: give --engine with its name")
    if name in ENGINES and name != "imported":
        return get_engine(name, settings)
    if is_dft is None:
        raise LabelError(
            f"'{name}' is none of our engines: say whether it is DFT, --dft or --no-dft"
        )
    return get_engine("imported", {"code": name, "is_dft": is_dft, "settings": settings})


def _print(outcomes: list[Imported]) -> None:
    from culi_mlip.cli import console
    from culi_mlip.errors import LabelError

    accepted = [outcome for outcome in outcomes if not outcome.reason]
    if len(outcomes) == 1 and not accepted:
        raise LabelError(outcomes[0].reason)
    for outcome in outcomes:
        if outcome.reason:
            console.out.print(f"Refused: {outcome.reason}")
        elif notes := "; ".join(_notes(outcome)):
            console.out.print(f"{outcome.path}: {notes}")
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
    if digests:
        console.out.print(f"Engine and settings: {', '.join(digests)}")


def _notes(outcome: Imported) -> list[str]:
    notes = []
    if outcome.known:
        others = f", also of other engines or settings: {', '.join(outcome.others)}"
        notes.append(
            f"{outcome.known} frames are in the store with a label already"
            + others * bool(outcome.others)
        )
    if outcome.left_out:
        notes.append(
            f"{outcome.left_out} steps are left out, as their electrons did not converge or their "
            "cell has another mesh of k-points"
        )
    return notes + [outcome.note] * bool(outcome.note)
