"""``culi-mlip circuit noise``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from culi_mlip.cli import options

if TYPE_CHECKING:
    from culi_mlip.datasets.frames import LabelKeys
    from culi_mlip.models.noise import NoiseStudy


@click.command("noise")
@options.trained_model
@options.test_frames
@click.option(
    "--shots",
    type=click.IntRange(1),
    multiple=True,
    metavar="N",
    default=(100, 1000, 10000, 100000),
    show_default=True,
    help="Measurements of each circuit; repeat the option for several.",
)
@click.option(
    "--depolarising",
    type=click.FloatRange(0, 1, min_open=True),
    multiple=True,
    metavar="P",
    default=(1e-4, 1e-3, 1e-2),
    show_default=True,
    help="Probability that a qubit is depolarised after each gate on it.",
)
@options.count("--max-frames", "Frames to evaluate, evenly spaced in the file.", 5)
@options.count("--repeats", "Measurements of each frame with shots.", 3)
@options.seed("the measurements")
@options.figures_out
@options.label_keys
def noise(
    model: Path,
    frames: Path,
    shots: tuple[int, ...],
    depolarising: tuple[float, ...],
    max_frames: int,
    repeats: int,
    seed: int,
    out: Path,
    keys: LabelKeys,
) -> None:
    """What a quantum computer's noise would cost MODEL on FRAMES.

    The circuit is measured through PennyLane instead of evaluated exactly: with a number of shots
    (forces by parameter shift, each circuit with as many), and with depolarising gates. Errors are
    the mean absolute differences from the exact circuit.

    \b
    Example:
      culi-mlip circuit noise run/ data/test.extxyz --shots 1000 --shots 10000
    """
    from culi_mlip.calculator import HybridAllegro
    from culi_mlip.cli import console
    from culi_mlip.datasets.frames import training_frames
    from culi_mlip.models.noise import noise_study
    from culi_mlip.report.circuits import noise_figure

    labelled = training_frames(frames, keys)
    with console.steps() as step:
        study = noise_study(
            labelled,
            HybridAllegro(model, device="cpu"),
            most=max_frames,
            shots=shots,
            depolarising=depolarising,
            repeats=repeats,
            seed=seed,
            progress=step("Measuring"),
        )
    figure = noise_figure(study.rows, study.laws, study.own)
    values = {"model": str(model), **study.values}
    console.write_results(out, "noise", study.circuit, figure, values)
    _print(study)


def _print(study: NoiseStudy) -> None:
    from culi_mlip.cli import console

    own = study.own
    assert own.force_mae is not None  # noqa: S101 (noise_study looked)
    errors = [
        (
            f"{row.shots:,} shots" if row.shots else f"depolarising, p = {row.depolarising:g}",
            row.force_mae,
            row.energy_mae,
        )
        for row in study.rows
    ]
    name = f"the model's own error, {study.n_frames} frames"
    errors.append((name, own.force_mae, own.energy_mae))
    console.table(
        ["noise", "force (meV/Å)", "energy (meV/atom)"],
        [[name, f"{1000 * force:.2f}", f"{1000 * energy:.3f}"] for name, force, energy in errors],
    )
    for name, unit in (("shots", "shots"), ("depolarising", "p")):
        if law := study.laws[f"force_by_{name}"]:
            console.out.print(
                f"Force error = {1000 * law.prefactor:.3g} meV/Å · {unit}^{law.exponent:.2f}; "
                f"as large as the model's own at {unit} = {law.where(own.force_mae):.2g}"
            )
