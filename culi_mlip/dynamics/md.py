"""NVT and NVE runs that can be killed at any step and continued."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.md.md import MolecularDynamics
from ase.md.verlet import VelocityVerlet

from culi_mlip.dynamics.checks import check_counts, check_numbers, check_structure, prepared
from culi_mlip.dynamics.constraints import with_written_constraints
from culi_mlip.dynamics.identity import calculator_digest, structure_digest
from culi_mlip.dynamics.limits import Limits
from culi_mlip.dynamics.records import Recorder, read_log
from culi_mlip.dynamics.thermostats import VelocityRescaling
from culi_mlip.dynamics.velocities import with_velocities
from culi_mlip.errors import CuliError
from culi_mlip.files import write_frames
from culi_mlip.progress import Progress
from culi_mlip.records import Record
from culi_mlip.runs import is_finished, run_folder

Ensemble = Literal["nvt", "nve"]

THERMOSTAT_TIME = 100.0
"""Relaxation time of the stochastic velocity rescaling in fs."""


class MDInputs(Record):
    """What an MD is of, as its run folder's record has it; fields as in `run_md`."""

    # Digests; see `culi_mlip.dynamics.identity`.
    structure: str
    calculator: str
    model: str
    temperature_K: float
    initial_temperature_K: float
    time_ps: float
    ensemble: Ensemble
    timestep_fs: float
    stride: int
    seed: int
    thermostat_time_fs: float = THERMOSTAT_TIME


@dataclass(frozen=True)
class MDResult:
    """A finished run.

    Attributes
    ----------
    folder
        Holds ``trajectory.extxyz``, ``log.csv``, ``final.extxyz`` and ``run.yaml``.
    log
        Columns of the log by name; energies in eV, times in ps, temperatures in K. The
        conserved energy is the total less what the thermostat put in.
    """

    folder: Path
    log: Mapping[str, np.ndarray]

    @property
    def trajectory(self) -> Path:
        """The trajectory, extended XYZ."""
        return self.folder / "trajectory.extxyz"

    @property
    def final(self) -> Path:
        """The last frame with its velocities, extended XYZ."""
        return self.folder / "final.extxyz"


def run_md(
    atoms: Atoms,
    calculator: Calculator,
    *,
    temperature: float,
    time: float,
    out: str | os.PathLike[str],
    ensemble: Ensemble = "nvt",
    initial_temperature: float | None = None,
    timestep: float = 2.0,
    thermostat_time: float = THERMOSTAT_TIME,
    stride: int = 10,
    seed: int = 0,
    model: str = "",
    progress: Progress | None = None,
) -> MDResult:
    """Run molecular dynamics, or continue a run that was killed or that is to last longer.

    NVT is the stochastic velocity rescaling of Bussi, Donadio and Parrinello (J. Chem. Phys.
    126, 014101, 2007); NVE is velocity Verlet. Velocities that the structure brings are kept, less
    the drift of the centre of mass; otherwise they are drawn. Constraints are obeyed, and written
    with each frame. Temperatures are those of the degrees of freedom that carry heat; see
    `culi_mlip.dynamics.velocities.degrees_of_freedom`.

    A finished run is continued by the same call with a longer `time`, and is then the one that an
    unbroken run would have been.

    Parameters
    ----------
    atoms
        The structure.
    calculator
        The potential.
    temperature
        Temperature in K: of the thermostat, and of velocities that are drawn.
    time
        Length of the run in ps.
    out
        The run folder.
    ensemble
        "nvt" or "nve".
    initial_temperature
        Of velocities that are drawn in K, if it is another. A structure at rest in a minimum gives
        half of it to the potential energy: a thermostat replaces that within its relaxation
        time, and NVE starts from the last frame of an NVT run, or at twice the temperature.
    timestep
        Time step in fs.
    thermostat_time
        Relaxation time of the thermostat in fs.
    stride
        Steps between frames of the trajectory, lines of the log, and points to continue from.
    seed
        Seed of velocities and thermostat.
    model
        Name of the potential, for the record.
    progress
        Called with (steps done, steps in all) after each frame.

    Returns
    -------
    MDResult

    Raises
    ------
    StructureError
        If the structure cannot be run: nothing can move, atoms overlap, numbers are not finite.
    EngineError
        If the potential cannot compute it.
    CuliError
        If an argument is out of range, the folder holds another run, or the run diverges.
    """
    start = temperature if initial_temperature is None else initial_temperature
    check_numbers(time=time, timestep=timestep, temperature=temperature, initial_temperature=start)
    check_numbers(thermostat_time=thermostat_time)
    check_counts(stride=stride, seed=seed)
    n_steps = round(time * 1000 / timestep)
    if n_steps < 1:
        raise CuliError(f"time {time} ps is shorter than the time step of {timestep} fs")
    check_structure(atoms)
    inputs = MDInputs(
        structure=structure_digest(atoms),
        calculator=calculator_digest(calculator),
        model=model,
        temperature_K=temperature,
        initial_temperature_K=start,
        time_ps=time,
        ensemble=ensemble,
        timestep_fs=timestep,
        stride=stride,
        seed=seed,
        thermostat_time_fs=thermostat_time,
    )
    folder = Path(out)
    if not is_finished(folder, inputs, grows="time_ps"):
        trial = prepared(atoms, calculator, model)
        with run_folder(folder, "md", inputs):
            rng = np.random.default_rng(seed)
            moving = with_velocities(trial, start, rng)
            if ensemble == "nve":
                dynamics: MolecularDynamics = VelocityVerlet(moving, timestep * units.fs)
            else:
                dynamics = VelocityRescaling(
                    moving,
                    timestep=timestep * units.fs,
                    temperature_K=temperature,
                    taut=thermostat_time * units.fs,
                    rng=rng,
                )
            integrate(
                dynamics,
                folder,
                n_steps,
                stride=stride,
                rng=rng,
                temperature=max(temperature, start),
                steady=n_steps,
                progress=progress,
            )
    return MDResult(folder, read_log(folder / "log.csv"))


def integrate(
    dynamics: MolecularDynamics,
    folder: Path,
    n_steps: int,
    *,
    stride: int,
    rng: np.random.Generator,
    temperature: float,
    steady: int,
    progress: Progress | None,
) -> None:
    """Run to a number of steps from the last state in a folder; write trajectory, log and state.

    Parameters
    ----------
    dynamics
        The run, at its beginning.
    folder
        An open run folder.
    n_steps
        Steps in all.
    stride
        Steps between frames, lines and states.
    rng
        What the run draws from.
    temperature
        The highest that was asked for, in K.
    steady
        Steps through which energy is conserved, less what the thermostat put in.
    progress
        Called with (steps done, steps in all) after each frame.

    Raises
    ------
    CuliError
        If the run diverges. The last frame that was good is the last of the trajectory.
    """
    recorder = Recorder(folder, dynamics, rng, stride)
    limits = Limits(recorder, temperature)
    is_continued = recorder.restore()
    if not is_continued or (dynamics.nsteps == n_steps and n_steps % stride):
        recorder.record()
    while dynamics.nsteps < n_steps:
        for _ in range(min(stride - dynamics.nsteps % stride, n_steps - dynamics.nsteps)):
            limits.step()
            recorder.save_if_due()
        if dynamics.nsteps <= steady:
            limits.check_conservation()
        recorder.record()
        if progress:
            progress(dynamics.nsteps, n_steps)
    final = with_written_constraints(dynamics.atoms)
    final.info["time_ps"] = n_steps * dynamics.dt / (1000 * units.fs)
    write_frames(folder / "final.extxyz", [final])
