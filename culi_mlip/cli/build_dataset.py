"""``culi-mlip build-dataset``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from culi_mlip.cli import options

if TYPE_CHECKING:
    from culi_mlip.datasets.export import BuiltDataset


@click.command("build-dataset")
@click.argument("recipe", type=options.PATH, required=False)
@options.out("Folder of the dataset.", "data")
@options.engine("Engine, instead of the recipe's.")
@click.option(
    "--executor",
    type=click.Choice(["local", "processes", "slurm"]),
    default="local",
    show_default=True,
    help="Where to label: here, on all processors, or as SLURM jobs.",
)
@options.count("--workers", "Processes, or jobs at a time.  [default: one a processor, or 100]")
@options.count("--per-job", "Structures that a SLURM job labels.", 1)
@options.path("--job-script", "File with the first lines of SLURM jobs: #SBATCH lines, modules.")
@click.option("--retry-failed", is_flag=True, help="Try failed structures once more.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Count, draw and write the structures, and count what is to be computed; compute nothing.",
)
@options.path(
    "--write-inputs",
    "With --dry-run: folder for VASP's INCAR, KPOINTS and POSCAR of a structure of each kind.",
    "DIR",
)
@click.option(
    "--step-seconds",
    multiple=True,
    metavar="[KIND=]SECONDS",
    help="Of one energy with forces, for the cost that --dry-run prints. May be repeated.",
)
@options.count("--step-cores", "On how many cores.", 1)
def command(
    recipe: Path | None,
    out: Path,
    engine: str | None,
    executor: Literal["local", "processes", "slurm"],
    workers: int | None,
    per_job: int,
    job_script: Path | None,
    retry_failed: bool,
    dry_run: bool,
    write_inputs: Path | None,
    step_seconds: tuple[str, ...],
    step_cores: int,
) -> None:
    """Build structures, label them, audit and split them.

    RECIPE is a YAML file; without one, the quickstart's recipe is used. Killed at any moment,
    the same command continues; SLURM jobs go on meanwhile. The folder gets store.db (an ASE
    database), train.extxyz, val.extxyz, test.extxyz and a dataset card.

    \b
    Example:
      culi-mlip build-dataset workflows/quickstart.yaml --out data/
      culi-mlip build-dataset recipe.yaml --engine vasp --executor slurm --job-script vasp.sh
      culi-mlip build-dataset workflows/cu_li_paper.yaml --dry-run --step-seconds 60 \\
        --step-seconds interface=300 --step-cores 32
    """
    from culi_mlip.cli import console
    from culi_mlip.cli.dry_run import show_plan
    from culi_mlip.errors import CuliError
    from culi_mlip.files import read_text
    from culi_mlip.labelling import Workers, build_dataset, load_recipe
    from culi_mlip.labelling.executors import JOB_SCRIPT
    from culi_mlip.labelling.preview import seconds_by_kind, what_is_missing, write_vasp_inputs
    from culi_mlip.labelling.recipe import EngineChoice
    from culi_mlip.workflows import workflow

    whole = load_recipe(recipe or workflow("quickstart.yaml"))
    if engine and engine != whole.engine.name:
        whole = whole.model_copy(update={"engine": EngineChoice(name=engine)})
    seconds = seconds_by_kind(step_seconds, whole)
    for flag, value in (("--step-seconds", seconds), ("--write-inputs", write_inputs)):
        if value and not dry_run:
            raise CuliError(f"{flag} is for --dry-run: give both, or neither")
    if write_inputs and whole.engine.name != "vasp":
        raise CuliError(f"--write-inputs is for engine vasp, not {whole.engine.name}")
    if dry_run:
        found = show_plan(whole, out, seconds, step_cores)
        if write_inputs:
            kinds = write_vasp_inputs(whole, found.examples, write_inputs)
            console.out.print(f"VASP's input of {', '.join(kinds)}: {write_inputs}")
        # A job's environment is that of its script.
        if executor != "slurm" and (reason := what_is_missing(whole, found.examples)):
            console.out.print(f"Not ready to label here: {reason}.", markup=False)
        return
    who = Workers(executor, workers, per_job, read_text(job_script) if job_script else JOB_SCRIPT)
    with console.steps() as step:
        built = build_dataset(whole, out, workers=who, retry_failed=retry_failed, step=step)
    _print(built)


def _print(built: BuiltDataset) -> None:
    from culi_mlip.cli import console
    from culi_mlip.datasets.lattice_constants import listed

    card = built.card
    if card.lattice_constants:
        console.out.print(f"Lattice constants: {listed(card.lattice_constants)}.", markup=False)
    console.table(
        ["kind", "train", "val", "test"],
        [
            [kind, *(str(n) for n in counts.values())]
            for kind, counts in [*card.frames_by_kind.items(), ("all", card.frames)]
        ],
    )
    if card.split_chosen:
        console.out.print(f"Split by {card.split_by}, as chosen by culi-mlip dataset split.")
    for sentence in card.split_missed:
        console.out.print(sentence, markup=False)
    if card.caution:
        console.out.print(f"Caution: {card.caution}.")
    for reason, number in card.failed_labels.items():
        console.out.print(f"Failed: {number} structures: {reason}")
    console.out.print(f"Dataset card: {built.folder / 'card.md'}")
