"""``culi-mlip optimize``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from culi_mlip.cli import options

if TYPE_CHECKING:
    from culi_mlip.datasets.frames import LabelKeys


class _RunByDefault(click.Group):
    """``optimize report …`` is a command; ``optimize …`` anything else is the tuning itself."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or args[0] not in self.commands:
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group("optimize", cls=_RunByDefault)
def command() -> None:
    """Tune a potential's hyperparameters for error and inference time at once."""


@command.command("run")
@options.data
@click.option(
    "--variant",
    type=click.Choice(["allegro", "mlp", "qdi"]),
    default="qdi",
    show_default=True,
    help="Whose recipe, with the paper's hyperparameters.",
)
@options.path("--recipe", "YAML file with settings and search space of your own.")
@options.count("--trials", "Trainings in all, of all who share the storage.", 100)
@options.count("--workers", "Trainings at once here.", 1)
@options.count("--epochs", "Epochs a training.  [default: recipe's]")
@click.option(
    "--storage", help="Optuna's, such as postgresql://user@host/db.  [default: study.db in --out]"
)
@click.option("--study", "name", help="Name in the storage.  [default: the variant's]")
@options.out("Folder of the trials and the report.", "hpo")
@options.seed("the search")
@options.device
@click.option(
    "--compile/--no-compile",
    "compile_",
    default=False,
    show_default=True,
    help="Time models compiled by nequip-compile.",
)
@options.count("--threads", "Threads of a training and its timing.", 1)
@click.option("--time-limit", type=float, help="Longest trial in minutes; longer ones fail.")
@click.option("--memory-limit", type=float, help="Most memory of a trial in GB.")
@click.option("--max-parameters", type=float, help="Constraint: weights of the model.")
@click.option("--max-memory", type=float, help="Constraint: memory of the evaluation in MB.")
@click.option("--max-drift", type=float, help="Constraint: NVE drift in meV/atom/ps.")
@click.option("--pruner", type=click.Choice(["none", "median", "hyperband"]), default="none",
              show_default=True, help="Stop unpromising trainings early.")  # fmt: skip
@options.label_keys
def run(
    data: Path,
    variant: str,
    recipe: Path | None,
    trials: int,
    workers: int,
    epochs: int | None,
    storage: str | None,
    name: str | None,
    out: Path,
    seed: int,
    keys: LabelKeys,
    **measurement: Any,
) -> None:
    """Tune a potential on DATA for validation error and inference time (SAMO-COBRA).

    DATA holds train.extxyz, val.extxyz and test.extxyz, as from build-dataset. Every trial is a
    training whose folder is kept; the untuned settings are the first. Killed at any moment, the
    same command continues. The same command with the same --storage on other machines shares
    the work. At the end the models of the Pareto front are timed again in one sitting, and the
    report is written; `culi-mlip optimize report` writes it at any time.

    \b
    Example:
      culi-mlip optimize data/ --variant qdi --trials 1200 --workers 12 --out hpo/
      culi-mlip optimize data/ --storage postgresql://me@host/hpo --out hpo/
      culi-mlip optimize report hpo/
    """
    from culi_mlip.cli import console
    from culi_mlip.configuration import parse
    from culi_mlip.tuning.recipe import Measurement, load_recipe
    from culi_mlip.tuning.tune import tune
    from culi_mlip.workflows import workflow

    measurement["compile"] = measurement.pop("compile_")
    settings, space = load_recipe(recipe or workflow(f"tune-{variant}.yaml"))
    if epochs is not None:
        settings = settings.model_copy(update={"epochs": epochs})
    with console.steps() as step:
        tune(
            data,
            out,
            settings,
            space,
            trials=trials,
            workers=workers,
            storage=storage,
            name=name,
            seed=seed,
            measurement=parse(Measurement, measurement, "options"),
            keys=keys,
            progress=step("Trials"),
        )
    _report([out], out)


@command.command("report")
@click.argument("folders", type=options.PATH, nargs=-1)
@options.out("Folder of the report.  [default: the first of FOLDERS]")
def report(folders: tuple[Path, ...], out: Path | None) -> None:
    """Write the report of one tuning, or of several side by side; FOLDERS defaults to hpo/.

    pareto.png, report.html, trials.csv, and the settings of the most accurate, the fastest and
    the best balanced model for `culi-mlip train --settings`.

    \b
    Example:
      culi-mlip optimize report hpo/
      culi-mlip optimize report hpo-mlp/ hpo-qdi/ --out both/
    """
    chosen = list(folders) or [Path("hpo")]
    _report(chosen, out or chosen[0])


def _report(folders: list[Path], out: Path) -> None:
    from culi_mlip.cli import console
    from culi_mlip.report.tuning import front_table, write_report
    from culi_mlip.tuning.tune import load_tuning, retime

    tunings = [load_tuning(folder) for folder in folders]
    timings = []
    with console.steps() as step:
        for tuning in tunings:
            timings.append(retime(tuning, progress=step("Timing the front")))
    page = write_report(tunings, timings, out)
    for tuning, timing in zip(tunings, timings, strict=True):
        failed = sum(1 for t in tuning.trials if t.values is None)
        console.out.print(
            f"{tuning.study.study_name}: {len(tuning.trials)} trials, {failed} failed, "
            f"{len(tuning.front)} on the front"
        )
        console.table(*front_table(tuning, timing))
    console.out.print(f"Report: {page}")
