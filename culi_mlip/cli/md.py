"""``culi-mlip md``."""

from __future__ import annotations

from pathlib import Path

import click

from culi_mlip.cli import options


@click.command("md")
@options.structure
@options.model
@click.option("--temperature", type=float, default=300.0, show_default=True, help="In K.")
@click.option(
    "--initial-temperature",
    type=float,
    help="Of velocities that are drawn, in K.  [default: --temperature]",
)
@click.option(
    "--time",
    type=float,
    default=2.0,
    show_default=True,
    help="Length in ps; a finished run goes on to a longer one.",
)
@click.option("--ensemble", type=click.Choice(["nvt", "nve"]), default="nvt", show_default=True)
@options.timestep
@click.option(
    "--stride",
    type=int,
    default=10,
    show_default=True,
    help="Steps between frames, log lines and points to continue from.",
)
@options.seed("velocities and thermostat")
@options.out("The run folder.", "md")
@options.device
@options.compilation
def command(
    structure: Path | None,
    model: Path,
    temperature: float,
    initial_temperature: float | None,
    time: float,
    ensemble: str,
    timestep: float,
    stride: int,
    seed: int,
    out: Path,
    device: str | None,
    compilation: bool | None,
) -> None:
    """Run molecular dynamics of STRUCTURE (the last frame of any file that ASE reads).

    Without STRUCTURE, half a monolayer of Li on Cu(100) is built. Velocities in the file are
    kept, less the drift of the centre of mass, and constraints obeyed. Killed at any moment, the
    same command continues; with a longer --time, so does a finished run. The folder gets
    trajectory.extxyz (OVITO, ASE GUI), log.csv and final.extxyz.

    Velocities that are drawn at a minimum of the energy lose half of their temperature to it. A
    thermostat replaces that; start NVE from an NVT run's final.extxyz, or at twice the temperature.

    A compiled model rounds in another way: give --compile or --no-compile where a run that goes on
    is to be the unbroken one to the last bit.

    \b
    Example:
      culi-mlip md slab.xyz --model run/ --temperature 300 --time 2 --ensemble nvt --out md/
    """
    from culi_mlip.calculator import HybridAllegro
    from culi_mlip.cli import console
    from culi_mlip.dynamics import energy_drift, run_md
    from culi_mlip.files import read_frames
    from culi_mlip.models.files import model_digest
    from culi_mlip.quickstart import half_monolayer

    atoms = read_frames(structure)[-1] if structure else half_monolayer()
    with console.steps() as step:
        result = run_md(
            atoms,
            HybridAllegro(
                model,
                device=device,
                compile="auto" if compilation is None else compilation,
                step=step,
            ),
            temperature=temperature,
            initial_temperature=initial_temperature,
            time=time,
            out=out,
            ensemble=ensemble,  # type: ignore[arg-type]  # click has checked it
            timestep=timestep,
            stride=stride,
            seed=seed,
            model=model_digest(model),
            progress=step(f"MD of {len(atoms)} atoms"),
        )
    log = result.log
    half = len(log["time_ps"]) // 2
    drift = energy_drift(log["time_ps"], log["conserved_eV"], len(atoms))
    mean, first = log["temperature_K"][half:].mean(), log["temperature_K"][0]
    console.out.print(
        f"Mean temperature of the second half {mean:.0f} K; drift of "
        f"the conserved energy {1000 * drift:+.3f} meV/atom/ps"
    )
    if ensemble == "nve" and mean < 0.75 * first:
        console.out.print(
            f"Of {first:.0f} K at the start the potential energy took a part: start from the "
            "final.extxyz of an NVT run, or give --initial-temperature"
        )
    console.out.print(f"Trajectory: {result.trajectory}")
