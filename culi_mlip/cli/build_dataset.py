"""``culi-mlip build-dataset``."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

if TYPE_CHECKING:
    from culi_mlip.datasets import Recipe
    from culi_mlip.datasets.preview import Preview, Work


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
@click.option(
    "--dry-run",
    is_flag=True,
    help="Count, draw and write the structures, and count what is to be computed; compute nothing.",
)
@click.option(
    "--write-inputs",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="With --dry-run: folder for VASP's INCAR, KPOINTS and POSCAR of a structure of each kind.",
)
@click.option(
    "--step-seconds",
    multiple=True,
    metavar="[KIND=]SECONDS",
    help="Of one energy with forces, for the cost that --dry-run prints. May be repeated.",
)
@click.option(
    "--step-cores",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="On how many cores.",
)
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
    from culi_mlip.datasets import Workers, build_dataset, load_recipe
    from culi_mlip.datasets.executors import JOB_SCRIPT
    from culi_mlip.datasets.lattice_constants import listed
    from culi_mlip.datasets.recipe import EngineChoice
    from culi_mlip.errors import CuliError
    from culi_mlip.files import read_text
    from culi_mlip.workflows import workflow

    whole = load_recipe(recipe or workflow("quickstart.yaml"))
    if engine and engine != whole.engine.name:
        whole = whole.model_copy(update={"engine": EngineChoice(name=engine)})
    seconds = _seconds(step_seconds, whole)
    if seconds and not dry_run:
        raise CuliError("--step-seconds is for --dry-run: give both, or neither")
    if write_inputs and not dry_run:
        raise CuliError("--write-inputs is for --dry-run: give both, or neither")
    if write_inputs and whole.engine.name != "vasp":
        raise CuliError(f"--write-inputs is for engine vasp, not {whole.engine.name}")
    if dry_run:
        found = _dry_run(whole, out, seconds, step_cores)
        if write_inputs:
            _write_inputs(whole, found, write_inputs)
        if executor != "slurm":  # a job's environment is that of its script
            _say_what_is_missing(whole, found)
        return
    who = Workers(executor, workers, per_job, read_text(job_script) if job_script else JOB_SCRIPT)
    with console.steps() as step:
        built = build_dataset(whole, out, workers=who, retry_failed=retry_failed, step=step)
    card = built.card
    if card["lattice_constants"]:
        console.out.print(f"Lattice constants: {listed(card['lattice_constants'])}.", markup=False)
    console.table(
        ["kind", "train", "val", "test"],
        [
            [kind, *(str(n) for n in counts.values())]
            for kind, counts in [*card["frames_by_kind"].items(), ("all", card["frames"])]
        ],
    )
    if card["split_chosen"]:
        console.out.print(f"Split by {card['split_by']}, as chosen by culi-mlip dataset split.")
    for sentence in card["split_missed"]:
        console.out.print(sentence, markup=False)
    if card["caution"]:
        console.out.print(f"Caution: {card['caution']}.")
    for reason, number in card["failed_labels"].items():
        console.out.print(f"Failed: {number} structures: {reason}")
    console.out.print(f"Dataset card: {built.folder / 'card.md'}")


def _seconds(values: tuple[str, ...], recipe: Recipe) -> dict[str, float]:
    """Seconds of one step by kind of structure, "" for all others."""
    from culi_mlip.errors import CuliError

    kinds = sorted({part.kind for part in recipe.structures})
    found = {}
    for value in values:
        kind, _, number = value.rpartition("=")
        try:
            found[kind] = float(number)
        except ValueError:
            found[kind] = nan
        if not 0 < found[kind] < inf or kind not in ("", *kinds):
            raise CuliError(
                f"--step-seconds {value}: give seconds, or KIND=SECONDS with a kind of the recipe "
                f"({', '.join(kinds)})"
            )
    left_out = [kind for kind in kinds if kind not in found]
    if found and left_out and "" not in found:
        raise CuliError(f"--step-seconds: give seconds for {', '.join(left_out)} too")
    return found


def _dry_run(recipe: Recipe, out: Path, seconds: dict[str, float], cores: int) -> Preview:
    from culi_mlip.cli import console
    from culi_mlip.datasets.lattice_constants import listed
    from culi_mlip.datasets.preview import preview, title
    from culi_mlip.files import write_bytes
    from culi_mlip.report.figures import contact_sheet, png

    with console.steps() as step:
        found = preview(recipe, out, progress=step("Building structures"))
    if found.lattice_constants:
        console.out.print(f"Lattice constants: {listed(found.lattice_constants)}.", markup=False)
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
    _print_work(found.work, recipe, seconds, cores)
    sheet = out / "contact_sheet.png"
    write_bytes(sheet, png(contact_sheet([(title(e), e.atoms) for e in found.examples])))
    console.out.print(f"Structures: {found.structures}")
    console.out.print(f"Table: {found.table}")
    console.out.print(f"Contact sheet: {sheet}")
    return found


def _write_inputs(recipe: Recipe, found: Preview, folder: Path) -> None:
    """Write what VASP would get for the first structure of each kind, and for its tasks."""
    from culi_mlip.cli import console
    from culi_mlip.datasets.recipe import tasks_of
    from culi_mlip.reference import VaspSettings, get_engine
    from culi_mlip.reference.vasp import SINGLE_POINT, md_values, relaxation_values
    from culi_mlip.reference.vasp_calculator import write_inputs

    settings = get_engine("vasp", recipe.engine.settings).settings
    assert isinstance(settings, VaspSettings)  # noqa: S101 (that engine's)
    first = {entry.kind: entry for entry in reversed(found.examples)}
    for kind, entry in first.items():
        inputs: dict[Path, Mapping[str, Any]] = {folder / kind: SINGLE_POINT}
        for task in tasks_of(entry, recipe.tasks):
            if task is recipe.relaxation:
                inputs[folder / kind / task.name] = relaxation_values(task.steps, task.force)
            elif task is recipe.melt_quench:
                schedule = task.schedule
                inputs[folder / kind / task.name] = md_values(
                    *schedule.stages[0], schedule.timestep
                )
        for place, values in inputs.items():
            write_inputs(settings, entry.atoms, values, place)
    console.out.print(f"VASP's input of {', '.join(sorted(first))}: {folder}")


def _say_what_is_missing(recipe: Recipe, found: Preview) -> None:
    """Say why the engine cannot label these structures here, if it cannot."""
    from culi_mlip.cli import console
    from culi_mlip.errors import EngineError
    from culi_mlip.reference import get_engine

    symbols = {symbol for entry in found.examples for symbol in entry.atoms.symbols}
    try:
        get_engine(recipe.engine.name, recipe.engine.settings).check(symbols)
    except EngineError as error:
        console.out.print(f"Not ready to label here: {error}.", markup=False)


def _print_work(work: list[Work], recipe: Recipe, seconds: dict[str, float], cores: int) -> None:
    from culi_mlip.cli import console

    columns = ["task", "of", "structures", "steps", "frames", "published"]
    rows = [
        [w.task, w.kind, *map(str, (w.structures, w.steps, w.frames, w.published or "–"))]
        for w in work
    ]
    costs = [w.steps * seconds.get(w.kind, seconds.get("", 0.0)) * cores / 3600 for w in work]
    if seconds:
        columns.append("core-hours")
        rows = [[*row, f"{cost:,.0f}"] for row, cost in zip(rows, costs, strict=True)]
    console.table(columns, rows)
    total = f"{sum(w.steps for w in work):,} steps (energy with forces) of {recipe.engine.name}"
    more = f"{sum(costs):,.0f} core-hours" if seconds else "--step-seconds tells their cost"
    console.out.print(f"{total}: {more}.")
    if recipe.relaxation:
        n = recipe.relaxation.expected_steps
        console.out.print(f"Relaxations are expected to need {n} steps each.")
