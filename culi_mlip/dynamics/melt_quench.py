"""Melt-quench: hold a structure hot, cool it at a constant rate, take decorrelated frames."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.geometry import find_mic
from numpy.typing import NDArray

from culi_mlip.dynamics.checks import check_counts, check_numbers, check_structure, prepared
from culi_mlip.dynamics.identity import calculator_digest, structure_digest
from culi_mlip.dynamics.md import MDResult, integrate
from culi_mlip.dynamics.records import read_log, write_steps
from culi_mlip.dynamics.thermostats import NoseHoover
from culi_mlip.dynamics.velocities import with_velocities
from culi_mlip.errors import CuliError
from culi_mlip.progress import Progress, no_progress
from culi_mlip.records import Record
from culi_mlip.runs import is_finished, run_folder

_INSTEAD = (
    "choose another --out, or remove it to start anew; to go on from its end, run md or "
    "melt-quench on its final.extxyz"
)


class MeltQuenchInputs(Record):
    """What a melt-quench is of, as its record has it; fields as in `melt_quench` and `Schedule`."""

    # Digests; see `culi_mlip.dynamics.identity`.
    structure: str
    calculator: str
    model: str
    hold: float
    to: float
    rate: float
    hold_time: float
    timestep: float
    period: float
    stride: int
    seed: int


@dataclass(frozen=True)
class Schedule:
    """Temperatures of a melt-quench.

    Attributes
    ----------
    hold
        Temperature of the melt in K.
    to
        Temperature at the end in K.
    rate
        Of cooling in K/ps.
    hold_time
        Length of the hold in ps.
    timestep
        In fs.
    period
        Of the temperature's oscillation under the thermostat in fs. Windows of that length have
        the temperature that is asked for, however few the atoms are. VASP's own MD has SMASS = 0,
        a period of 40 steps, whatever stands here.
    """

    hold: float = 600.0
    to: float = 10.0
    rate: float = 250.0
    hold_time: float = 1.0
    timestep: float = 2.0
    period: float = 12.0

    def __post_init__(self) -> None:
        names = ("hold", "to", "rate", "timestep", "period")
        check_numbers(**{name: getattr(self, name) for name in names})
        if not 0 <= self.hold_time < np.inf:
            raise CuliError(f"hold_time is {self.hold_time}: give no negative number")
        if self.period < 5 * self.timestep:
            raise CuliError(f"period is {self.period} fs: give at least five time steps")
        if self.to > self.hold:
            raise CuliError(f"the quench from {self.hold} to {self.to} K would heat: swap them")
        if self.to < self.hold and not self._cooling_steps:
            raise CuliError(
                f"rate is {self.rate:g} K/ps: the quench ends within half a time step; lower it"
            )
        if not self.steps:
            raise CuliError("hold_time is shorter than a time step and nothing cools: lengthen it")

    @property
    def hold_steps(self) -> int:
        """Steps at the first temperature."""
        return round(1000 * self.hold_time / self.timestep)

    @property
    def steps(self) -> int:
        """Steps in all."""
        return sum(steps for steps, _, _ in self.stages)

    @property
    def stages(self) -> list[tuple[int, float, float]]:
        """Steps, temperature at the beginning and temperature at the end of hold and ramp."""
        cooling = (self._cooling_steps, self.hold, self.to)
        stages = [(self.hold_steps, self.hold, self.hold), cooling]
        return [stage for stage in stages if stage[0]]

    @property
    def _cooling_steps(self) -> int:
        return round(1000 * (self.hold - self.to) / self.rate / self.timestep)

    def temperature(self, step: int) -> float:
        """Return the temperature in K of the step after so many."""
        cooled = max(0, step - self.hold_steps) * self.timestep * self.rate / 1000
        return max(self.hold - cooled, self.to)


class OwnDynamics(Protocol):
    """MD that an engine runs by itself, such as VASP's."""

    def __call__(
        self,
        atoms: Atoms,
        folder: Path,
        *,
        stages: Sequence[tuple[int, float, float]],
        timestep: float,
        progress: Progress,
    ) -> list[Atoms]:
        """Return a labelled frame for each step (fs), with `kinetic` and `conserved` in its info.

        The structure brings its velocities; stages are steps and the temperatures (K) at their
        ends. A part of the run that the folder holds is continued.
        """


def melt_quench(
    atoms: Atoms,
    calculator: Calculator | OwnDynamics,
    schedule: Schedule,
    *,
    out: str | os.PathLike[str],
    stride: int = 5,
    seed: int = 0,
    model: str = "",
    progress: Progress | None = None,
) -> MDResult:
    """Hold and cool a structure under a Nosé-Hoover chain, or continue a run that was killed.

    The paper's: 600 K to 10 K at 250 K/ps, time step 2 fs (Laskaris et al. 2026, section 3.2).
    The step that was reached sets the temperature: a continued ramp never starts again. Degrees of
    freedom are counted as in `run_md`; VASP's own MD counts them itself. A schedule that has ended
    cannot be made longer: its last frame is where another run begins.

    Parameters
    ----------
    atoms
        The structure; its constraints are obeyed and its velocities kept, if it has any, less the
        drift of the centre of mass.
    calculator
        The potential or reference engine, or an engine's own MD, whose thermostat then has a
        period of its own.
    schedule
        Temperatures.
    out, stride, model, progress
        As in `run_md`.
    seed
        Of the velocities.

    Returns
    -------
    MDResult

    Raises
    ------
    CuliError
        As in `run_md`.
    """
    check_counts(stride=stride, seed=seed)
    check_structure(atoms)
    inputs = MeltQuenchInputs(
        structure=structure_digest(atoms),
        calculator=calculator_digest(calculator),
        model=model,
        **asdict(schedule),
        stride=stride,
        seed=seed,
    )
    folder = Path(out)
    if not is_finished(folder, inputs, instead=_INSTEAD):
        rng = np.random.default_rng(seed)
        progress = progress or no_progress
        if callable(calculator):
            moving = with_velocities(atoms.copy(), schedule.hold, rng)
            with run_folder(folder, "melt-quench", inputs):
                frames = calculator(
                    moving,
                    folder / "steps",
                    stages=schedule.stages,
                    timestep=schedule.timestep,
                    progress=progress,
                )
                write_steps(folder, frames, timestep=schedule.timestep, stride=stride)
        else:
            moving = prepared(atoms, calculator, model)
            with run_folder(folder, "melt-quench", inputs):
                dynamics = NoseHoover(
                    with_velocities(moving, schedule.hold, rng),
                    schedule.timestep * units.fs,
                    schedule.temperature,
                    schedule.period * units.fs,
                )
                integrate(
                    dynamics,
                    folder,
                    schedule.steps,
                    stride=stride,
                    rng=rng,
                    temperature=schedule.hold,
                    steady=schedule.hold_steps,
                    progress=progress,
                )
    return MDResult(folder, read_log(folder / "log.csv"))


@dataclass(frozen=True)
class Chosen:
    """Frames of a trajectory for labelling.

    Attributes
    ----------
    frames
        Their indices.
    correlation
        Frames within which energies forget each other.
    n_duplicates
        How many were left out as too like another.
    explanation
        Why there are fewer than were asked for; "" if there are not.
    """

    frames: list[int]
    correlation: int
    n_duplicates: int
    explanation: str


def choose_frames(
    trajectory: Sequence[Atoms],
    energies: NDArray[np.float64],
    count: int,
    *,
    distance: float = 0.1,
) -> Chosen:
    """Choose frames that are decorrelated and not alike, evenly over a trajectory.

    Parameters
    ----------
    trajectory
        Its frames.
    energies
        Potential energy of each frame, shape (frames,).
    count
        How many are asked for.
    distance
        Root mean square displacement in Å within which two frames are near-duplicates.

    Returns
    -------
    Chosen
    """
    correlation = correlation_length(energies)
    apart = range(0, len(trajectory), correlation)
    kept: list[int] = []
    for i in apart:
        if all(_displacement(trajectory[i], trajectory[j]) > distance for j in kept):
            kept.append(i)
    n_duplicates = len(apart) - len(kept)
    chosen = kept
    if len(kept) > count:
        chosen = [kept[round(k)] for k in np.linspace(0, len(kept) - 1, count)]
    explanation = ""
    if len(kept) < count:
        explanation = (
            f"{count} frames were asked for, there are {len(kept)}: of {len(trajectory)} frames "
            f"{len(apart)} are decorrelated (every {correlation}.), {n_duplicates} of those are "
            f"within {distance:g} Å of another; run for longer, or lower the distance"
        )
    return Chosen(chosen, correlation, n_duplicates, explanation)


def correlation_length(values: NDArray[np.float64]) -> int:
    """Return twice the integrated autocorrelation time of a series, in its steps, at least 1.

    A trend, such as a quench's, is taken off first; the sum ends where the autocorrelation first
    falls below zero.
    """
    n = len(values)
    if n < 4:
        return 1
    steps = np.arange(n)
    rest = values - np.polyval(np.polyfit(steps, values, 2), steps)
    if not rest.any():
        return 1
    correlation = np.correlate(rest, rest, "full")[n - 1 :] / (rest @ rest)
    end = int(np.argmax(correlation < 0)) or n
    return max(1, round(1 + 2 * float(correlation[1:end].sum())))


def _displacement(a: Atoms, b: Atoms) -> float:
    """Root mean square displacement between two frames in Å, less that of the whole."""
    difference, _ = find_mic(a.positions - b.positions, a.cell, a.pbc)
    difference -= difference.mean(axis=0)
    return float(np.sqrt((difference**2).sum(axis=1).mean()))
