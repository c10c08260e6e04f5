"""What a worker computes for a structure: its label, a relaxation, short MD, a melt-quench."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import socket
import subprocess
import traceback
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ase import Atoms
from ase.calculators.calculator import CalculationFailed, Calculator, CalculatorSetupError

from culi_mlip.dynamics import choose_frames, degrees_of_freedom, melt_quench, run_md
from culi_mlip.errors import CuliError, OutputError, SetupError
from culi_mlip.files import check_finite, read_frames
from culi_mlip.labelling.jobs import LABEL_FOLDER, Job, JobFolder, Outcome
from culi_mlip.labelling.recipe import MeltQuench, Relaxation, Sampling, Task
from culi_mlip.reference import Engine, get_engine
from culi_mlip.reference.engines import work_in
from culi_mlip.reference.relaxation import computed_labels
from culi_mlip.structures import Entry

Found = tuple[list[Entry], str]
"""Labelled frames of a task, and what it has to say."""


def attempt(engine: str, settings: str, jobs: Sequence[Job]) -> list[Outcome]:
    """Label structures, with an engine's settings in JSON; give what went wrong with each.

    What is finished of a structure is in the folder of its job (`JobFolder`) before the next thing
    begins, and is not computed again.

    Raises
    ------
    CuliError
        If the engine cannot be used here, or the disk not be written: no structure is to blame.
    """
    found, calculator = _engine(engine, settings)
    return [_outcome(job, found, calculator) for job in jobs]


def _outcome(job: Job, engine: Engine, calculator: Calculator) -> Outcome:
    """What becomes of one structure."""
    if not job.folder:
        with TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
            return _outcome(job._replace(folder=scratch), engine, calculator)
    record = JobFolder(job, engine.digest)
    record.begin()
    work_in(calculator, Path(job.folder, LABEL_FOLDER))
    try:
        if record.finished.results is None:
            atoms = job.start.atoms.copy()
            atoms.calc = calculator
            record.keep_label(computed_labels(atoms), _host())
        for task in job.tasks:
            if task.name not in record.finished.tasks:
                frames, note = _TASKS[type(task)](task, job, engine, calculator)
                for frame in frames:
                    check_finite(frame.atoms, f"a frame of {task.name}")
                record.keep_task(task.name, frames, note)
    except (SetupError, OutputError):
        raise
    except ImportError as error:
        raise SetupError(
            f"engine '{engine.name}' lacks a package ({error}): install it, then run the same "
            "command again"
        ) from error
    except Exception as error:  # an engine may fail in any way; the others go on
        if _lacks_a_program(error):
            raise SetupError(
                f"engine '{engine.name}' finds no program to run ({error}): install it or set its "
                "command, then run the same command again"
            ) from error
        if isinstance(error, OSError) and error.errno in _DISK:
            raise OutputError(
                f"cannot write {job.folder} ({error.strerror}): free some space or choose another "
                "folder, then run the same command again"
            ) from error
        reason = str(error) if isinstance(error, CuliError) else f"{type(error).__name__}: {error}"
        record.end(reason)
    else:
        record.end()
    outcome = record.outcome
    assert outcome is not None  # noqa: S101 (it just ended)
    return outcome


def _lacks_a_program(error: Exception) -> bool:
    """Whether a calculator of ASE has no command, or one that is not there."""
    if isinstance(error, CalculatorSetupError):
        return "command" in str(error)
    if isinstance(error, FileNotFoundError):
        return traceback.extract_tb(error.__traceback__)[-1].filename == subprocess.__file__
    return isinstance(error, CalculationFailed) and "error code 127" in str(error)


_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


def _host() -> str:
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


@lru_cache(maxsize=1)
def _engine(name: str, settings: str) -> tuple[Engine, Calculator]:
    """One calculator a process: loading a model takes seconds."""
    engine = get_engine(name, json.loads(settings))
    try:
        return engine, engine.calculator()
    except CuliError:
        raise
    except Exception as error:  # a package may fail in any way
        raise SetupError(
            f"engine '{name}' cannot be started here ({type(error).__name__}: {error}): mend it, "
            "then run the same command again"
        ) from error


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


_NO_MD = "one atom stays at rest: for MD, give cells of two or more"


def _melt_quench(task: MeltQuench, job: Job, engine: Engine, calculator: Calculator) -> Found:
    if len(job.start.atoms) < 2:
        return [], _NO_MD
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
    """Short MD at each temperature; a killed one goes on."""
    frames = []
    start = job.start.atoms.copy()
    start.set_constraint()
    if degrees_of_freedom(start) == 0:
        return [], _NO_MD
    for temperature in task.temperatures:
        name = f"md-{job.start.uid}-{temperature:g}K"
        result = run_md(
            start,
            calculator,
            temperature=temperature,
            time=task.steps * task.timestep_fs / 1000,
            out=Path(job.folder, task.name, f"{temperature:g}K"),
            timestep=task.timestep_fs,
            thermostat_time=SAMPLING_THERMOSTAT_TIME,
            stride=task.stride,
            seed=_seed(job, name),
            model=f"{engine.name} {engine.digest}",
        )
        steps = result.log["step"]
        for frame, step in zip(read_frames(result.trajectory), steps, strict=True):
            if step and step % task.stride == 0:
                how = {"temperature_K": temperature, "step": int(step)}
                frames.append(_frame(job, frame, task, how, name))
    return frames, ""


SAMPLING_THERMOSTAT_TIME = 50.0
"""Relaxation time of the thermostat in fs: short, as these runs are."""


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
