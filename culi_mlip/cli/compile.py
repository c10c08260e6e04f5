"""``culi-mlip compile``."""

from __future__ import annotations

from pathlib import Path

import click

from culi_mlip.cli import options

TARGETS = {"ase": "ase", "batch": "batch", "lammps": "pair_allegro"}
"""By the words of ``--target``, nequip's."""


@click.command("compile")
@options.trained_model
@click.option(
    "--target",
    type=click.Choice(list(TARGETS)),
    default="ase",
    show_default=True,
    help="Who evaluates it: ASE, torch-sim (batch) or LAMMPS (pair_allegro).",
)
@click.option("--tf32", is_flag=True, help="On a GPU, round products of float32 to TF32.")
@click.option(
    "--kernel",
    type=click.Choice(["written-out", "triton", "cuequivariance"]),
    default="written-out",
    show_default=True,
    help="Of the tensor products; the last two are nequip-allegro's, for GPUs.",
)
@options.out("A file ending in .nequip.pt2, instead of the cache.")
@options.device
def command(
    model: Path, target: str, tf32: bool, kernel: str, out: Path | None, device: str | None
) -> None:
    """Compile MODEL (a run folder, checkpoint or packaged model) by AOTInductor.

    What is compiled lies in the cache, where `md`, `relax` and HybridAllegro find it; it holds for
    this machine's kind of processor, number of threads and PyTorch. With --tf32 or --kernel give
    them the file that is printed.

    \b
    Example:
      culi-mlip compile run/
      culi-mlip compile run/ --device cuda --tf32 --target lammps --out cu-li.nequip.pt2
    """
    from culi_mlip.calculator.compiled import compile_model
    from culi_mlip.calculator.uncertainty import recorded_uncertainty
    from culi_mlip.cli import console
    from culi_mlip.devices import check_device
    from culi_mlip.errors import ModelError
    from culi_mlip.models.files import model_file

    if out and not out.name.endswith(".nequip.pt2"):
        raise ModelError(f"--out {out}: a compiled model's name ends in .nequip.pt2")
    file = model_file(model)
    if file.name.endswith(".nequip.pt2"):
        raise ModelError(f"{file} is a compiled model: give the run folder or checkpoint it is of")
    is_ours = out is None and target != "lammps" and recorded_uncertainty(model) is not None
    place = compile_model(
        file,
        check_device(device).partition(":")[0],
        TARGETS[target],  # type: ignore[arg-type]  # click has checked it
        tf32=tf32,
        features=is_ours,
        kernel=kernel,  # type: ignore[arg-type]  # click has checked it
        out=out,
    )
    console.out.print(f"Compiled: {place}")
