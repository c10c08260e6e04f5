"""What a run writes as it goes: trajectory, log, and the state from which it continues."""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.md.md import MolecularDynamics

from culi_mlip.dynamics.constraints import with_written_constraints
from culi_mlip.dynamics.thermostats import conserved_energy, set_state, state
from culi_mlip.dynamics.velocities import degrees_of_freedom, kinetic_temperature
from culi_mlip.errors import CuliError
from culi_mlip.files import atomic_path, output_errors, read_arrays, write_text

SAVE_AFTER = 1.0
"""Seconds of computing after which the state is saved between two strides, too."""

LOG_COLUMNS = (
    "step",
    "time_ps",
    "temperature_K",
    "potential_eV",
    "kinetic_eV",
    "total_eV",
    "conserved_eV",
)


def read_log(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Return the columns of an MD log by name.

    Raises
    ------
    CuliError
        If the file is missing or damaged.
    """
    try:
        with Path(path).open(newline="") as lines:
            rows = list(csv.DictReader(lines))
        return {name: np.array([float(row[name]) for row in rows]) for name in LOG_COLUMNS}
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise CuliError(f"{path} is missing or damaged ({error}): choose another --out") from error


class Recorder:
    """Writes frames and log lines, and after each the state from which to continue.

    Of slow potentials the state is saved between two frames, too (`SAVE_AFTER`). It holds how long
    the two files were; what a killed run wrote beyond that is cut off. So the trajectory of a
    continued run is that of an unbroken one. A last frame between two strides is cut off, too: a
    longer run has no such frame.

    `folder` is an open run folder, `dynamics` the run at its beginning, which draws from `rng`.
    """

    def __init__(
        self, folder: Path, dynamics: MolecularDynamics, rng: np.random.Generator, stride: int
    ) -> None:
        self.folder, self.dynamics, self.rng, self.stride = folder, dynamics, rng, stride
        self.atoms = dynamics.atoms
        self.n_degrees = degrees_of_freedom(self.atoms)
        self.files = [folder / "trajectory.extxyz", folder / "log.csv"]
        self._saved = time.monotonic()

    @property
    def temperature(self) -> float:
        """Of the present velocities in K."""
        return kinetic_temperature(self.atoms, self.n_degrees)

    def restore(self) -> bool:
        """Continue from the last state, or begin; say whether there was one."""
        state_file = self.folder / "state.npz"
        if not state_file.exists():
            for file, start in zip(self.files, ("", ",".join(LOG_COLUMNS) + "\n"), strict=True):
                with output_errors(file):
                    file.write_text(start)
            return False
        saved = read_arrays(state_file, "positions", "momenta", "step", "rng", "lengths")
        set_state(self.dynamics, self.rng, saved)
        for file, length in zip(self.files, saved["lengths"], strict=True):
            with output_errors(file):
                os.truncate(file, int(length))
        return True

    def energies(self) -> tuple[float, float, float]:
        """Return potential, kinetic and conserved energy in eV.

        The potential energy is the one whose derivatives the forces are (the free energy of a
        metal's electrons), with that of springs among the constraints.
        """
        with_springs = float(self.atoms.get_potential_energy())
        results = self.atoms.calc.results
        potential = with_springs + results.get("free_energy", results["energy"]) - results["energy"]
        kinetic = float(self.atoms.get_kinetic_energy())
        return potential, kinetic, conserved_energy(self.dynamics, potential + kinetic)

    def record(self) -> None:
        """Write the present frame, its log line, and the state."""
        self.atoms.get_forces()
        energies = self.energies()
        step = self.dynamics.nsteps
        time_ps = self.dynamics.get_time() / (1000 * units.fs)
        text = _text(self.atoms, self.atoms.calc.results, time_ps)
        line = _line(step, time_ps, self.temperature, *energies)
        lengths = [file.stat().st_size for file in self.files]
        for file, content in zip(self.files, (text, line), strict=True):
            with output_errors(file), file.open("a") as stream:
                stream.write(content)
        if step % self.stride == 0:
            lengths = [file.stat().st_size for file in self.files]
        self._save(lengths)

    def save_if_due(self) -> None:
        """Write the state alone, if computing took long since the last one."""
        if time.monotonic() - self._saved > SAVE_AFTER:
            self._save([file.stat().st_size for file in self.files])

    def _save(self, lengths: Sequence[int]) -> None:
        with atomic_path(self.folder / "state.npz") as temporary:
            np.savez(temporary, **state(self.dynamics, self.rng), lengths=lengths)
        self._saved = time.monotonic()


def write_steps(folder: Path, frames: Sequence[Atoms], *, timestep: float, stride: int) -> None:
    """Write trajectory, log and last frame of a run that an engine made by itself.

    There is a labelled frame for each step (fs), with `kinetic` and `conserved` energy (eV) in its
    info. Every `stride`-th is written to the open run folder.
    """
    text, lines = [], [",".join(LOG_COLUMNS) + "\n"]
    periodic = frames[0].copy()
    periodic.pbc = True  # as the engine has it: it stops no rotation
    n_degrees = degrees_of_freedom(periodic)
    for step in range(0, len(frames), stride):
        frame, time_ps = frames[step], step * timestep / 1000
        results = frame.calc.results
        kinetic, conserved = (frame.info[key] for key in ("kinetic", "conserved"))
        temperature = 2 * kinetic / (n_degrees * units.kB)
        lines.append(_line(step, time_ps, temperature, results["energy"], kinetic, conserved))
        text.append(_text(frame, results, time_ps))
    write_text(folder / "log.csv", "".join(lines))
    write_text(folder / "trajectory.extxyz", "".join(text))
    last = frames[-1]
    text_of_last = _text(last, last.calc.results, (len(frames) - 1) * timestep / 1000)
    write_text(folder / "final.extxyz", text_of_last)


def _line(
    step: int,
    time_ps: float,
    temperature: float,
    potential: float,
    kinetic: float,
    conserved: float,
) -> str:
    total = potential + kinetic
    values = (step, time_ps, temperature, potential, kinetic, total, conserved)
    return ",".join(f"{v:.10g}" for v in values) + "\n"


def _text(atoms: Atoms, results: Mapping[str, Any], time_ps: float) -> str:
    """One frame with its labels, extended XYZ; the energy is the forces' own."""
    frame = with_written_constraints(atoms)
    frame.info["time_ps"] = round(time_ps, 6)
    labels = {key: results[key] for key in ("energy", "forces", "stress") if key in results}
    labels["energy"] = results.get("free_energy", results["energy"])
    frame.calc = SinglePointCalculator(frame, **labels)
    text = StringIO()
    ase.io.write(text, frame, format="extxyz")
    return text.getvalue()
