"""``culi-mlip evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from culi_mlip.cli import options

if TYPE_CHECKING:
    from culi_mlip.datasets.frames import LabelKeys


@click.command("evaluate")
@options.trained_model
@options.test_frames
@options.out("JSON file for the errors.")
@options.path("--page", "HTML page with the errors in pictures.")
@options.device
@options.label_keys
def command(
    model: Path,
    frames: Path,
    out: Path | None,
    page: Path | None,
    device: str | None,
    keys: LabelKeys,
) -> None:
    """Print the errors of MODEL on labelled FRAMES, by kind of structure.

    \b
    Example:
      culi-mlip evaluate run/ data/test.extxyz --page errors.html
      culi-mlip evaluate run/ others.xyz --energy-key REF_energy --forces-key REF_forces
    """
    from ase import units

    from culi_mlip.calculator import HybridAllegro
    from culi_mlip.cli import console
    from culi_mlip.datasets.frames import training_frames
    from culi_mlip.files import write_text
    from culi_mlip.models.evaluation import ErrorsRecord, evaluate
    from culi_mlip.report.page import evaluation_page

    labelled = training_frames(frames, keys)
    calculator = HybridAllegro(model, device=device)
    with console.steps() as step:
        result = evaluate(labelled, calculator, progress=step("Evaluating"))
    console.table(
        ["kind", "frames", "force MAE (meV/Å)", "energy MAE (meV/atom)", "stress MAE (GPa)"],
        [
            [
                row.kind,
                str(row.frames),
                "–" if row.force_mae is None else f"{1000 * row.force_mae:.1f}",
                f"{1000 * row.energy_mae:.2f}",
                "–" if row.stress_mae is None else f"{row.stress_mae / units.GPa:.3f}",
            ]
            for row in result.errors
        ],
    )
    if (correlation := result.rank_correlation) is not None:
        console.out.print(
            f"Expected and true force errors: Spearman's correlation {correlation:.2f}"
        )
    if result.outside:
        console.out.print(
            f"{sum(result.outside)} of {len(result.outside)} frames hold atoms unlike those of the "
            "training"
        )
    if page:
        write_text(page, evaluation_page(result, str(model), str(frames)))
        console.out.print(f"Page: {page}")
    if out:
        ErrorsRecord(errors=result.errors).write(out)
