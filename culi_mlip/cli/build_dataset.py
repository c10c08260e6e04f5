"""``culi-mlip build-dataset``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

if TYPE_CHECKING:
    from culi_mlip.datasets import Recipe


@click.command("build-dataset")
@click.argument("recipe", type=click.Path(path_type=Path), required=False)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("data"),
    show_default=True,
    help="Folder of the dataset.",
)
@click.option("--engine", metavar="NAME", help="Engine, instead of the recipe's.")
@click.option(
    "--executor",
    type=click.Choice(["local", "processes", "slurm"]),
    default="local",
    show_default=True,
    help="Where to label: here, on all processors, or as SLURM jobs.",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    help="Processes, or jobs at a time.  [default: one a processor, or 100]",
)
@click.option(
    "--per-job",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Structures that a SLURM job labels.",
)
@click.option(
    "--job-script",
    type=click.Path(path_type=Path),
    help="File with the first lines of SLURM jobs: #SBATCH lines, modules.",
)
@click.option("--retry-failed", is_flag=True, help="Try failed structures once more.")
@click.option("--dry-run", is_flag=True,
              help="Count, draw and write the structures; label nothing.")  # fmt: skip
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
) -> None:
    """Build structures, label them, audit and split them.

    RECIPE is a YAML file; without one, the quickstart's recipe is used. Killed at any moment,
    the same command continues; SLURM jobs go on meanwhile. The folder gets store.db (an ASE
    database), train.extxyz, val.extxyz, test.extxyz and a dataset card.

    \b
    Example:
      culi-mlip build-dataset workflows/quickstart.yaml --out data/
      culi-mlip build-dataset recipe.yaml --engine vasp --executor slurm --job-script vasp.sh
      culi-mlip build-dataset workflows/cu_li_paper.yaml --dry-run
    """
    from culi_mlip.cli import console
    from culi_mlip.datasets import Workers, build_dataset, load_recipe
    from culi_mlip.datasets.executors import JOB_SCRIPT
    from culi_mlip.datasets.recipe import EngineChoice
    from culi_mlip.files import read_text
    from culi_mlip.workflows import workflow

    whole = load_recipe(recipe or workflow("quickstart.yaml"))
    if engine and engine != whole.engine.name:
        whole = whole.model_copy(update={"engine": EngineChoice(name=engine)})
    if dry_run:
        _dry_run(whole, out)
        return
    who = Workers(executor, workers, per_job, read_text(job_script) if job_script else JOB_SCRIPT)
    with console.steps() as step:
        built = build_dataset(whole, out, workers=who, retry_failed=retry_failed, step=step)
    card = built.card
    console.table(
        ["kind", "train", "val", "test"],
        [
            [kind, *(str(n) for n in counts.values())]
            for kind, counts in [*card["frames_by_kind"].items(), ("all", card["frames"])]
        ],
    )
    if card["caution"]:
        console.out.print(f"Caution: {card['caution']}.")
    for reason, number in card["failed_labels"].items():
        console.out.print(f"Failed: {number} structures: {reason}")
    console.out.print(f"Dataset card: {built.folder / 'card.md'}")


def _dry_run(recipe: Recipe, out: Path) -> None:
    from culi_mlip.cli import console
    from culi_mlip.datasets.preview import preview, title
    from culi_mlip.files import write_bytes
    from culi_mlip.report.figures import contact_sheet, png

    with console.steps() as step:
        found = preview(recipe, out, progress=step("Building structures"))
    published = bool(recipe.published)
    console.table(
        ["kind", "structures", "distinct", "atoms", *(["published"] if published else [])],
        [
            [
                row.kind,
                str(row.structures),
                str(row.distinct),
                f"{row.atoms[0]} to {row.atoms[1]}",
                *([str(row.published or "–")] if published else []),
            ]
            for row in found.counts
        ],
    )
    if recipe.sampling:
        console.out.print("Short molecular dynamics adds its frames to these.")
    sheet = out / "contact_sheet.png"
    write_bytes(sheet, png(contact_sheet([(title(e), e.atoms) for e in found.examples])))
    console.out.print(f"Structures: {found.structures}")
    console.out.print(f"Table: {found.table}")
    console.out.print(f"Contact sheet: {sheet}")
