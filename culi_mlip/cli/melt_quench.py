"""``culi-mlip melt-quench``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from culi_mlip.cli import options

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator

    from culi_mlip.dynamics.melt_quench import OwnDynamics
    from culi_mlip.progress import Step


@click.command("melt-quench")
@options.structure
@options.engine("A reference engine by name, or the folder or file of a model.", "chgnet")
@options.settings("the engine's settings.  [default: the paper's, where it has some]")
@click.option("--hold", type=float, default=600.0, show_default=True, help="Of the melt, in K.")
@click.option("--hold-time", type=float, default=1.0, show_default=True, help="In ps.")
@click.option("--to", type=float, default=10.0, show_default=True, help="At the end, in K.")
@click.option("--rate", type=float, default=250.0, show_default=True, help="In K/ps.")
@options.timestep
@options.count("--frames", "Decorrelated frames to choose.", 50)
@options.seed("the velocities")
@options.out("The run folder.", "melt-quench")
def command(
    structure: Path | None,
    engine: str,
    settings: Path | None,
    hold: float,
    hold_time: float,
    to: float,
    rate: float,
    timestep: float,
    frames: int,
    seed: int,
    out: Path,
) -> None:
    """Melt and quench STRUCTURE (the last frame of any file that ASE reads).

    Without STRUCTURE, the smallest coherent interface of Li(100) on Cu(100) is built. A Nosé-Hoover
    chain holds the temperature and then cools. Killed at any moment, the same command continues;
    the ramp never starts again. VASP runs its own MD, in steps/ below. The folder gets
    trajectory.extxyz, log.csv, final.extxyz and chosen.extxyz, decorrelated frames without
    near-duplicates.

    \b
    Example:
      culi-mlip melt-quench interface.xyz --engine chgnet --hold 600 --to 10 --rate 250
    """
    from culi_mlip.cli import console
    from culi_mlip.dynamics import Schedule, choose_frames, energy_drift, melt_quench
    from culi_mlip.files import read_frames, write_frames
    from culi_mlip.structures import interface

    schedule = Schedule(hold, to, rate, hold_time, timestep)
    if structure is None:
        film_a, substrate_a = _lattice_constants(engine, settings)
        atoms = interface(
            "Li",
            (1, 0, 0),
            "Cu",
            (1, 0, 0),
            film_a=film_a,
            substrate_a=substrate_a,
            film_thickness=5.0,
            substrate_thickness=5.0,
        )
    else:
        atoms = read_frames(structure)[-1]
    with console.steps() as step:
        calculator, model = _calculator(engine, settings, out, step)
        result = melt_quench(
            atoms,
            calculator,
            schedule,
            out=out,
            seed=seed,
            model=model,
            progress=step(f"Melt-quench of {len(atoms)} atoms"),
        )
    log = result.log
    held = log["step"] <= schedule.hold_steps
    if held.sum() > 2:
        drift = energy_drift(log["time_ps"][held], log["conserved_eV"][held], len(atoms))
        console.out.print(
            f"Mean temperature of the hold {log['temperature_K'][held].mean():.0f} K; drift of the "
            f"conserved energy {1000 * drift:+.3f} meV/atom/ps"
        )
    trajectory = read_frames(result.trajectory)
    chosen = choose_frames(trajectory, log["potential_eV"], frames)
    write_frames(out / "chosen.extxyz", [trajectory[i] for i in chosen.frames])
    if chosen.explanation:
        console.out.print(chosen.explanation[0].upper() + chosen.explanation[1:] + ".")
    console.out.print(f"{len(chosen.frames)} frames: {out / 'chosen.extxyz'}")


def _lattice_constants(engine: str, settings: Path | None) -> tuple[float | None, float | None]:
    """Those of lithium and copper by an engine; for a model, the defaults."""
    from culi_mlip.configuration import read_yaml
    from culi_mlip.reference import ENGINES, get_engine

    if engine not in ENGINES:
        return None, None
    found = get_engine(engine, read_yaml(settings) if settings else None)
    return found.lattice_constant("Li"), found.lattice_constant("Cu")


def _calculator(
    engine: str, settings: Path | None, out: Path, step: Step
) -> tuple[Calculator | OwnDynamics, str]:
    """What drives the MD, of a reference engine or of a model, and what identifies it."""
    from culi_mlip.configuration import read_yaml
    from culi_mlip.errors import EngineError
    from culi_mlip.reference import ENGINES, get_engine

    if engine in ENGINES:
        found = get_engine(engine, read_yaml(settings) if settings else None)
        calculator = found.calculator(out / "engine")  # says what is missing
        return found.own_dynamics or calculator, f"{engine} {found.digest}"
    if not Path(engine).exists():
        raise EngineError(
            f"'{engine}' is no path of a model, and no engine: choose one of "
            f"{', '.join(sorted(ENGINES))}"
        )
    if settings:
        raise EngineError("--settings is for engines: a model has its own")
    from culi_mlip.calculator import HybridAllegro
    from culi_mlip.models.files import model_digest

    return HybridAllegro(engine, step=step), model_digest(engine)
