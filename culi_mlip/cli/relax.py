"""``culi-mlip relax``."""

from __future__ import annotations

from pathlib import Path

import click

from culi_mlip.cli import options


@click.command("relax")
@click.argument("files", type=options.PATH, nargs=-1)
@options.model
@click.option(
    "--fmax", type=float, default=0.05, show_default=True, help="Largest force at the end in eV/Å."
)
@options.count("--steps", "The most steps of each structure.", 500)
@click.option("--cell", is_flag=True, help="Relax the cell, too, where it is periodic.")
@click.option(
    "--optimizer",
    type=click.Choice(["fire", "lbfgs", "bfgs"]),
    default="fire",
    show_default=True,
    help="Of ASE's.",
)
@options.out("The run folder.", "relaxed")
@options.device
@options.compilation
def command(
    files: tuple[Path, ...],
    model: Path,
    fmax: float,
    steps: int,
    cell: bool,
    optimizer: str,
    out: Path,
    device: str | None,
    compilation: bool | None,
) -> None:
    """Relax all structures in FILES (any that ASE reads), many at once.

    Without FILES, half a monolayer of Li on Cu(100) is built. Constraints are obeyed. Killed at any
    moment, the same command continues. The folder gets relaxed.extxyz (ASE GUI, OVITO), in the
    order of the files, and relaxed.csv.

    \b
    Example:
      culi-mlip relax adatoms.extxyz --model run/ --out relaxed/
      culi-mlip relax *.cif --cell --fmax 0.01
    """
    from culi_mlip.calculator import HybridAllegro
    from culi_mlip.cli import console
    from culi_mlip.dynamics import run_relaxations
    from culi_mlip.files import read_frames
    from culi_mlip.quickstart import half_monolayer

    frames = [atoms for file in files for atoms in read_frames(file)] or [half_monolayer()]
    with console.steps() as step:
        calculator = HybridAllegro(
            model,
            device=device,
            compile="auto" if compilation is None else compilation,
            step=step,
        )
        found = run_relaxations(
            frames,
            calculator,
            out=out,
            fmax=fmax,
            steps=steps,
            cell=cell,
            optimizer=optimizer,  # type: ignore[arg-type]  # click has checked it
            progress=step(f"Relaxing {len(frames)} structures"),
        )
    left = [i for i, relaxed in enumerate(found) if not relaxed.converged]
    console.out.print(f"{len(found) - len(left)} of {len(found)} converged: {out}/relaxed.extxyz")
    for i in left[:10]:
        why = found[i].failure or f"not below {fmax:g} eV/Å after {found[i].steps} steps"
        console.out.print(f"  structure {i}, {found[i].atoms.get_chemical_formula()}: {why}")
