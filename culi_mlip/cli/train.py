"""``culi-mlip train``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from culi_mlip.cli import options

if TYPE_CHECKING:
    from culi_mlip.datasets.frames import LabelKeys


@click.command("train")
@options.data
@click.option(
    "--variant",
    type=click.Choice(["allegro", "mlp", "qdi", "qdi-frozen", "qdi-mlp", "qdi-identity"]),
    help="Plain Allegro, a further MLP, the quantum hybrid, or a null control of it.  "
    "[default: qdi]",
)
@options.out("The run folder.", "run")
@click.option("--preset", help="One of the paper's models; see `culi-mlip presets list`.")
@options.count("--epochs", "Passes over the training frames.  [default: 100]")
@click.option("--batch-size", type=int, help="Frames a step.  [default: 4]")
@click.option("--learning-rate", type=float, help="Peak learning rate.  [default: 0.01]")
@click.option(
    "--schedule",
    type=click.Choice(["one-cycle", "constant"]),
    help="Of the learning rate; a constant one can be extended by more --epochs.  "
    "[default: one-cycle]",
)
@click.option("--r-max", type=float, help="Cutoff in Å.  [default: 5]")
@options.seed("weights and order of frames", default=None)
@options.settings("any of the settings; it wins over a preset, flags win over it.")
@options.device
@click.option("--devices", type=int, help="GPUs that train together.  [default: 1]")
@click.option("--compile/--no-compile", "compile_", default=None,
              help="torch.compile: slow start, faster on big frames.  [default: no]")  # fmt: skip
@options.label_keys
def command(
    data: Path,
    out: Path,
    preset: str | None,
    settings: Path | None,
    device: str | None,
    keys: LabelKeys,
    **flags: Any,
) -> None:
    """Train a potential on the frames of DATA (train.extxyz and val.extxyz).

    nequip's own training runs on a plain configuration, run/config.yaml; `cd run &&
    nequip-train` repeats it in run/repeated. Killed at any moment, the same command continues
    from the last epoch; with --schedule constant and more --epochs it extends a training that has
    finished. At the end the model's uncertainties are calibrated on the validation frames.

    \b
    Example:
      culi-mlip train data/ --variant qdi --out run/
      culi-mlip train data/ --preset paper-culi-qdi --epochs 50
    """
    from culi_mlip.calculator.uncertainty import calibrate, recorded_uncertainty
    from culi_mlip.cli import console
    from culi_mlip.datasets.frames import training_frames
    from culi_mlip.models.settings import load_settings
    from culi_mlip.models.training import train

    flags["compile"] = flags.pop("compile_")
    given = {name: value for name, value in flags.items() if value is not None}
    chosen = load_settings(settings, given, preset)
    with console.steps() as step:
        trained = train(data, out, chosen, keys=keys, device=device, progress=step("Training"))
        if recorded_uncertainty(trained.folder) is None:
            parts = [training_frames(data / f"{part}.extxyz", keys) for part in ("train", "val")]
            progress = step("Calibrating uncertainties")
            calibrate(trained.folder, *parts, device=device, progress=progress)
    energies = ", ".join(f"{s} {e:.4f}" for s, e in trained.metadata.reference_energies.items())
    validation = trained.metadata.validation
    console.out.print(f"Reference energies (eV/atom): {energies}")
    forces = validation.force_mae
    console.out.print(
        "Validation: "
        + (f"force MAE {1000 * forces:.1f} meV/Å, " if forces is not None else "")
        + f"energy MAE {1000 * validation.energy_mae_per_atom:.2f} meV/atom "
        f"(epoch {trained.metadata.best_epoch + 1})"
    )
    for note in trained.metadata.notes:
        console.out.print(note, markup=False)
    console.out.print(f"Model: {trained.folder}")
