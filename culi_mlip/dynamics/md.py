"""NVT and NVE runs that can be killed at any step and continued."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import ase.io
import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.md.bussi import Bussi
from ase.md.md import MolecularDynamics
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary
from ase.md.verlet import VelocityVerlet

from culi_mlip.dynamics.thermostats import conserved_energy, set_state, state
from culi_mlip.errors import CuliError
from culi_mlip.files import atomic_path, output_errors, write_frames, write_text
from culi_mlip.runs import is_finished, run_folder

Ensemble = Literal["nvt", "nve"]

THERMOSTAT_TIME = 100.0
"""Relaxation time of the stochastic velocity rescaling in fs."""

LOG_COLUMNS = (
    "step",
    "time_ps",
    "temperature_K",
    "potential_eV",
    "kinetic_eV",
    "total_eV",
    "conserved_eV",
)


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
    timestep: float = 2.0,
    stride: int = 10,
    seed: int = 0,
    model: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> MDResult:
    """Run molecular dynamics, or continue a run that was killed.

    NVT is the stochastic velocity rescaling of Bussi, Donadio and Parrinello (J. Chem. Phys.
    126, 014101, 2007); NVE is velocity Verlet. Velocities that the structure brings are kept;
    otherwise they are drawn at `temperature`. Constraints are obeyed.

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
    timestep
        Time step in fs.
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
    CuliError
        If an argument is out of range, the folder holds another run, or the energy diverges.
    """
    for name, value in (("time", time), ("timestep", timestep), ("temperature", temperature)):
        if not value > 0:
            raise CuliError(f"{name} is {value}: give a positive number")
    if stride < 1:
        raise CuliError(f"stride is {stride}: give at least 1")
    n_steps = round(time * 1000 / timestep)
    if n_steps < 1:
        raise CuliError(f"time {time} ps is shorter than the time step of {timestep} fs")
    inputs = {
        "structure": structure_digest(atoms),
        "model": model,
        "temperature_K": temperature,
        "time_ps": time,
        "ensemble": ensemble,
        "timestep_fs": timestep,
        "stride": stride,
        "seed": seed,
    }
    folder = Path(out)
    if not is_finished(folder, inputs):
        trial = atoms.copy()
        trial.calc = calculator
        trial.get_potential_energy()  # what the potential refuses leaves no folder behind
        with run_folder(folder, "md", inputs):
            rng = np.random.default_rng(seed)
            moving = with_velocities(trial, temperature, rng)
            if ensemble == "nve":
                dynamics: MolecularDynamics = VelocityVerlet(moving, timestep * units.fs)
            else:
                dynamics = Bussi(
                    moving,
                    timestep=timestep * units.fs,
                    temperature_K=temperature,
                    taut=THERMOSTAT_TIME * units.fs,
                    rng=rng,
                )
            integrate(
                dynamics,
                folder,
                n_steps,
                stride=stride,
                rng=rng,
                hottest=10 * temperature + 3000,
                progress=progress,
            )
    return MDResult(folder, read_log(folder / "log.csv"))


def read_log(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Return the columns of an MD log by name."""
    with Path(path).open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    return {name: np.array([float(row[name]) for row in rows]) for name in LOG_COLUMNS}


def with_velocities(atoms: Atoms, temperature: float, rng: np.random.Generator) -> Atoms:
    """Draw velocities at a temperature in K where a structure has none; return it."""
    if not atoms.get_momenta().any():
        MaxwellBoltzmannDistribution(atoms, temperature_K=temperature, rng=rng, force_temp=True)
        if not atoms.constraints:
            Stationary(atoms)
    return atoms


def integrate(
    dynamics: MolecularDynamics,
    folder: Path,
    n_steps: int,
    *,
    stride: int,
    rng: np.random.Generator,
    hottest: float,
    progress: Callable[[int, int], None] | None,
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
    hottest
        Temperature in K beyond which it has diverged.
    progress
        Called with (steps done, steps in all) after each frame.

    Raises
    ------
    CuliError
        If the energy diverges.
    """
    moving = dynamics.atoms
    recorder = _Recorder(folder, dynamics, rng)
    recorder.restore()
    if dynamics.nsteps == 0:
        recorder.record()
    while dynamics.nsteps < n_steps:
        dynamics.run(min(stride, n_steps - dynamics.nsteps))
        if not moving.get_temperature() < hottest:
            raise CuliError(
                f"the run diverged before step {dynamics.nsteps} "
                f"({moving.get_temperature():.0f} K): shorten the time step or train the "
                "potential on such structures"
            )
        recorder.record()
        if progress:
            progress(dynamics.nsteps, n_steps)
    final = moving.copy()
    final.info = {"time_ps": n_steps * dynamics.dt / (1000 * units.fs)}
    write_frames(folder / "final.extxyz", [final])


class _Recorder:
    """Writes frames and log lines, and after each the state from which to continue.

    The state holds how long the two files were; what a killed run wrote beyond that is cut
    off. So the trajectory of a continued run is that of an unbroken one.
    """

    def __init__(self, folder: Path, dynamics: MolecularDynamics, rng: np.random.Generator) -> None:
        self.folder, self.atoms, self.dynamics, self.rng = folder, dynamics.atoms, dynamics, rng
        self.files = [folder / "trajectory.extxyz", folder / "log.csv"]

    def restore(self) -> None:
        """Continue from the last state, or begin."""
        state_file = self.folder / "state.npz"
        if not state_file.exists():
            for file, start in zip(self.files, ("", ",".join(LOG_COLUMNS) + "\n"), strict=True):
                with output_errors(file):
                    file.write_text(start)
            return
        with np.load(state_file) as saved:
            set_state(self.dynamics, self.rng, saved)
            for file, length in zip(self.files, saved["lengths"], strict=True):
                with output_errors(file):
                    os.truncate(file, int(length))

    def record(self) -> None:
        """Write the present frame, its log line, and the state."""
        results = self.atoms.calc.results
        potential = float(self.atoms.get_potential_energy())
        potential = float(results.get("free_energy", potential))  # the forces' own
        kinetic = float(self.atoms.get_kinetic_energy())
        time_ps = self.dynamics.get_time() / (1000 * units.fs)
        conserved = conserved_energy(self.dynamics, potential + kinetic)
        line = _line(self.dynamics.nsteps, time_ps, self.atoms, potential, kinetic, conserved)
        text = _text(self.atoms, results, time_ps)
        for file, content in zip(self.files, (text, line), strict=True):
            with output_errors(file), file.open("a") as stream:
                stream.write(content)
        with atomic_path(self.folder / "state.npz") as temporary:
            lengths = [file.stat().st_size for file in self.files]
            np.savez(temporary, **state(self.dynamics, self.rng), lengths=lengths)


def write_steps(folder: Path, frames: Sequence[Atoms], *, timestep: float, stride: int) -> None:
    """Write trajectory, log and last frame of a run that an engine made by itself.

    Parameters
    ----------
    folder
        An open run folder.
    frames
        A labelled frame for each step, with `kinetic` and `conserved` energy (eV) in its info.
    timestep
        In fs.
    stride
        Steps between the frames that are written.
    """
    text, lines = [], [",".join(LOG_COLUMNS) + "\n"]
    for step in range(0, len(frames), stride):
        frame, time_ps = frames[step], step * timestep / 1000
        results = frame.calc.results
        kinetic, conserved = (frame.info[key] for key in ("kinetic", "conserved"))
        lines.append(_line(step, time_ps, frame, results["energy"], kinetic, conserved))
        text.append(_text(frame, results, time_ps))
    write_text(folder / "log.csv", "".join(lines))
    write_text(folder / "trajectory.extxyz", "".join(text))
    last = frames[-1]
    text_of_last = _text(last, last.calc.results, (len(frames) - 1) * timestep / 1000)
    write_text(folder / "final.extxyz", text_of_last)


def _line(
    step: int, time_ps: float, atoms: Atoms, potential: float, kinetic: float, conserved: float
) -> str:
    temperature = 2 * kinetic / (units.kB * atoms.get_number_of_degrees_of_freedom())
    total = potential + kinetic
    values = (step, time_ps, temperature, potential, kinetic, total, conserved)
    return ",".join(f"{v:.10g}" for v in values) + "\n"


def _text(atoms: Atoms, results: Mapping[str, Any], time_ps: float) -> str:
    """One frame with its labels, extended XYZ; the energy is the forces' own."""
    frame = atoms.copy()
    frame.info = {"time_ps": round(time_ps, 6)}
    labels = {key: results[key] for key in ("energy", "forces", "stress") if key in results}
    labels["energy"] = results.get("free_energy", results["energy"])
    frame.calc = SinglePointCalculator(frame, **labels)
    text = StringIO()
    ase.io.write(text, frame, format="extxyz")
    return text.getvalue()


def structure_digest(atoms: Atoms) -> str:
    """Return a short name of a structure with its velocities, for the record."""
    content = hashlib.sha256()
    for array in (atoms.numbers, atoms.positions, atoms.cell.array, atoms.get_momenta()):
        content.update(np.ascontiguousarray(array).tobytes())
    return f"{atoms.get_chemical_formula()} {content.hexdigest()[:12]}"
