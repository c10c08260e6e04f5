"""``culi-mlip circuit noise``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from culi_mlip.cli.options import label_keys

if TYPE_CHECKING:
    from culi_mlip.datasets.frames import LabelKeys


@click.command("noise")
@click.argument("model", type=click.Path(path_type=Path), default=Path("run"))
@click.argument("frames", type=click.Path(path_type=Path), default=Path("data/test.extxyz"))
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
@click.option(
    "--max-frames",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Frames to evaluate, evenly spaced in the file.",
)
@click.option(
    "--repeats",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="Measurements of each frame with shots.",
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the measurements."
)
@click.option("--out", type=click.Path(path_type=Path), default=Path("circuit"),
              show_default=True, help="Folder of the figure and the JSON file.")  # fmt: skip
@label_keys
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
    from dataclasses import asdict

    from culi_mlip.calculator import HybridAllegro
    from culi_mlip.cli import console
    from culi_mlip.datasets.frames import training_frames
    from culi_mlip.errors import DatasetError
    from culi_mlip.models.evaluation import evaluate
    from culi_mlip.models.noise import circuit_of, noise_errors, power_law
    from culi_mlip.report.circuits import noise_figure

    labelled = training_frames(frames, keys)
    chosen = labelled[:: -(-len(labelled) // max_frames)]
    calculator = HybridAllegro(model, device="cpu")
    own = evaluate(chosen, calculator).errors[-1]
    if own.force_mae is None:
        raise DatasetError(f"{frames} has no forces, beside which noise is judged: label them")
    with console.steps() as step:
        rows = noise_errors(
            chosen,
            calculator,
            shots=shots,
            depolarising=depolarising,
            repeats=repeats,
            seed=seed,
            progress=step("Measuring"),
        )
    by_shots = [row for row in rows if row.shots]
    by_noise = [row for row in rows if not row.shots]
    laws = {
        f"{kind}_by_{name}": power_law(
            [getattr(row, name) for row in part], [getattr(row, f"{kind}_mae") for row in part]
        )
        for name, part in (("shots", by_shots), ("depolarising", by_noise))
        for kind in ("energy", "force")
    }
    values = {
        "model": str(model),
        "frames": len(chosen),
        "rows": [asdict(row) for row in rows],
        "laws": {name: asdict(law) for name, law in laws.items() if law},
        "model_energy_mae": own.energy_mae,
        "model_force_mae": own.force_mae,
    }
    console.write_results(
        out, "noise", circuit_of(calculator), noise_figure(rows, laws, own), values
    )
    console.table(
        ["noise", "force (meV/Å)", "energy (meV/atom)"],
        [
            [
                f"{row.shots:,} shots" if row.shots else f"depolarising, p = {row.depolarising:g}",
                f"{1000 * row.force_mae:.2f}",
                f"{1000 * row.energy_mae:.3f}",
            ]
            for row in rows
        ]
        + [
            [
                f"the model's own error, {len(chosen)} frames",
                f"{1000 * own.force_mae:.2f}",
                f"{1000 * own.energy_mae:.3f}",
            ]
        ],
    )
    for name, unit in (("shots", "shots"), ("depolarising", "p")):
        law = laws[f"force_by_{name}"]
        if law:
            console.out.print(
                f"Force error = {1000 * law.prefactor:.3g} meV/Å · {unit}^{law.exponent:.2f}; "
                f"as large as the model's own at {unit} = {law.where(own.force_mae):.2g}"
            )
