"""What a worker computes for a structure: its label, a relaxation, short MD, a melt-quench."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.md.bussi import Bussi
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary

from culi_mlip.datasets.recipe import MeltQuench, Relaxation, Sampling, Task
from culi_mlip.dynamics import choose_frames, melt_quench
from culi_mlip.errors import CuliError
from culi_mlip.files import read_frames
from culi_mlip.reference import Engine, get_engine
from culi_mlip.reference.relaxation import computed_labels
from culi_mlip.structures import Entry


class Job(NamedTuple):
    """What is to be computed for one structure.

    Attributes
    ----------
    start
        The structure.
    tasks
        What is to be computed besides its label.
    folder
        For the files of tasks that take long, which are continued from there.
    seed
        Of velocities and thermostats.
    """

    start: Entry
    tasks: Sequence[Task] = ()
    folder: str = "."
    seed: int = 0


class Label(NamedTuple):
    """What an engine found for one structure.

    Attributes
    ----------
    results
        Its labels.
    host
        The machine that computed them.
    frames
        More structures with their labels, which tasks found.
    notes
        What the tasks have to say.
    """

    results: dict[str, Any]
    host: str
    frames: list[Entry]
    notes: list[str]


Outcome = Label | Exception
Found = tuple[list[Entry], str]
"""Labelled frames of a task, and what it has to say."""


def attempt(engine: str, settings: str, jobs: Sequence[Job]) -> list[Outcome]:
    """Label structures, with an engine's settings in JSON; give what went wrong, raise nothing."""
    host = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
    outcomes: list[Outcome] = []
    for job in jobs:
        try:
            found, calculator = _engine(engine, settings)
            atoms = job.start.atoms.copy()
            atoms.calc = calculator
            label = Label(computed_labels(atoms), host, [], [])
            for task in job.tasks:
                frames, note = _TASKS[type(task)](task, job, found, calculator)
                label.frames.extend(frames)
                label.notes.extend([note] if note else [])
            outcomes.append(label)
        except Exception as error:  # an engine may fail in any way; the others go on
            outcomes.append(CuliError(f"{type(error).__name__}: {error}"))
    return outcomes


@lru_cache(maxsize=1)
def _engine(name: str, settings: str) -> tuple[Engine, Calculator]:
    """One calculator a process: loading a model takes seconds."""
    engine = get_engine(name, json.loads(settings))
    return engine, engine.calculator()


def _relaxation(task: Relaxation, job: Job, engine: Engine, calculator: Calculator) -> Found:
    frames = engine.relax(
        job.start.atoms,
        Path(job.folder, task.name),
        force=task.force,
        steps=task.steps,
        calculator=calculator,
    )
    kept = range(1, len(frames))
    if task.keep == "last":
        kept = kept[-1:]  # none, if the structure was relaxed already
    return [_frame(job, frames[step], task, {"step": step}) for step in kept], ""


def _melt_quench(task: MeltQuench, job: Job, engine: Engine, calculator: Calculator) -> Found:
    result = melt_quench(
        job.start.atoms,
        engine.own_dynamics or calculator,
        task.schedule,
        out=Path(job.folder, task.name),
        stride=task.stride,
        seed=_seed(job, f"{task.name}-{job.start.uid}"),
        model=f"{engine.name} {engine.digest}",
    )
    trajectory = read_frames(result.trajectory)[1:]  # the first is the structure itself
    energies, steps = (result.log[column][1:] for column in ("potential_eV", "step"))
    chosen = choose_frames(trajectory, energies, task.frames, distance=task.distance)
    frames = [_frame(job, trajectory[n], task, {"step": int(steps[n])}) for n in chosen.frames]
    return frames, chosen.explanation


def _sampling(task: Sampling, job: Job, engine: Engine, calculator: Calculator) -> Found:
    """Short MD at each temperature under stochastic velocity rescaling.

    Bussi, Donadio, Parrinello, J. Chem. Phys. 126, 014101 (2007).
    """
    frames = []
    for temperature in task.temperatures:
        name = f"md-{job.start.uid}-{temperature:g}K"
        rng = np.random.default_rng(_seed(job, name))
        atoms = job.start.atoms.copy()
        atoms.set_constraint()
        atoms.calc = calculator
        MaxwellBoltzmannDistribution(atoms, temperature_K=temperature, rng=rng, force_temp=True)
        Stationary(atoms)
        dynamics = Bussi(
            atoms,
            timestep=task.timestep_fs * units.fs,
            temperature_K=temperature,
            taut=50 * units.fs,
            rng=rng,
        )
        for _ in range(task.steps // task.stride):
            dynamics.run(task.stride)
            how = {"temperature_K": temperature, "step": dynamics.nsteps}
            frame = atoms.copy()
            frame.calc = SinglePointCalculator(frame, **computed_labels(atoms))
            frames.append(_frame(job, frame, task, how, name))
    return frames, ""


_TASKS: dict[type[Task], Any] = {
    Relaxation: _relaxation,
    Sampling: _sampling,
    MeltQuench: _melt_quench,
}


def _frame(job: Job, frame: Atoms, task: Task, how: dict[str, Any], trajectory: str = "") -> Entry:
    """A labelled frame of a task."""
    return Entry(
        frame.copy(),
        kind=f"{job.start.kind}-{task.name}",
        parent=job.start.uid,
        trajectory=trajectory or f"{task.name}-{job.start.uid}",
        how=how,
        results=frame.calc.results,
    )


def _seed(job: Job, name: str) -> int:
    return int(hashlib.sha256(f"{job.seed} {name}".encode()).hexdigest()[:12], 16)
