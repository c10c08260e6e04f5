"""``culi-mlip export``."""

from __future__ import annotations

from pathlib import Path

import click

from culi_mlip.cli import options


@click.group("export")
def command() -> None:
    """Write a potential for other programs."""


@command.command("lammps")
@options.trained_model
@options.structure
@click.option(
    "--form",
    type=click.Choice(["pair_allegro", "mliap"]),
    default="pair_allegro",
    show_default=True,
    help="The pair style: nequip's own, or LAMMPS's ML-IAP with Kokkos.",
)
@options.out("Folder of model, structure and input script.", "lammps")
@options.device
def lammps(model: Path, structure: Path | None, form: str, out: Path, device: str | None) -> None:
    """Write MODEL (a run folder or checkpoint) and STRUCTURE for LAMMPS.

    Without STRUCTURE, half a monolayer of Li on Cu(100) is built.

    \b
    Example:
      culi-mlip export lammps run/ slab.xyz --device cuda --out lammps/
      cd lammps && lmp -in in.lammps
    """
    from culi_mlip.calculator.lammps import export_lammps
    from culi_mlip.cli import console
    from culi_mlip.devices import check_device
    from culi_mlip.files import read_frames
    from culi_mlip.quickstart import half_monolayer

    atoms = read_frames(structure)[-1] if structure else half_monolayer()
    folder = export_lammps(
        model,
        out,
        atoms,
        check_device(device).partition(":")[0],
        form,  # type: ignore[arg-type]  # click has checked it
    )
    console.out.print(f"Written: in.lammps, structure.data and the model, in {folder}")
