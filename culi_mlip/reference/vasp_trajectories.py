"""VASP's own relaxations and MD, continued where a killed run stopped."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed
from ase.calculators.singlepoint import SinglePointCalculator
from ase.geometry import find_mic
from ase.io.vasp import read_vasp as read_poscar

from culi_mlip.errors import EngineError, LabelError
from culi_mlip.progress import Progress
from culi_mlip.reference.vasp import VaspSettings, md_values, relaxation_values
from culi_mlip.reference.vasp_calculator import StructureVasp, end_left
from culi_mlip.reference.vasp_outputs import VaspRun, accepted_frames, read_vasp

_POLL = 10.0
"""Seconds between looks at how far VASP is."""


def relax(
    settings: VaspSettings,
    atoms: Atoms,
    folder: Path,
    *,
    force: float,
    steps: int,
    progress: Progress,
) -> list[Atoms]:
    """Relax a structure in its cell.

    Parameters
    ----------
    settings
        Of the engine.
    atoms
        The structure; its constraints are obeyed and its cell kept.
    folder
        For VASP's files; one that holds a part of this very relaxation is continued.
    force
        Largest force on an atom at the end, eV/Å.
    steps
        The most ionic steps.
    progress
        Called with (steps done, steps at most).

    Returns
    -------
    list of Atoms
        The ionic steps with their labels, the first of which is the structure.

    Raises
    ------
    EngineError
        If VASP fails, the forces are not small after so many steps, or a step is not fit for a
        label.
    """
    legs = _Legs(settings, atoms, folder)
    while not (legs.frames and _largest_force(legs.frames[-1]) < force):
        done = len(legs.frames)
        if done >= steps:
            raise EngineError(
                f"the relaxation did not reach {force} eV/Å in {steps} steps: see {folder}"
            )
        with _watched(legs.next_folder, done, steps, progress):
            legs.run(relaxation_values(steps - done, force))
    return legs.frames


def molecular_dynamics(
    settings: VaspSettings,
    atoms: Atoms,
    folder: Path,
    *,
    stages: Sequence[tuple[int, float, float]],
    timestep: float,
    progress: Progress,
) -> list[Atoms]:
    """Run MD under a Nosé-Hoover thermostat through stages of constant or falling temperature.

    A killed run is continued from its last step with the velocities of that step, at the
    temperature that its stage has there: a ramp never starts again. The thermostat's own variable
    begins anew.

    Parameters
    ----------
    settings
        Of the engine.
    atoms
        The structure with its velocities, of which VASP draws some if there are none.
    folder
        For VASP's files; one that holds a part of this very run is continued.
    stages
        (steps, temperature at the beginning, temperature at the end in K) of each.
    timestep
        In fs.
    progress
        Called with (steps done, steps in all).

    Returns
    -------
    list of Atoms
        One frame a step with its labels, and ``kinetic`` and ``conserved`` energy in eV in its
        info.

    Raises
    ------
    EngineError
        If VASP fails, or a step is not fit for a label.
    """
    legs = _Legs(settings, atoms, folder)
    total = sum(steps for steps, _, _ in stages)
    while (done := len(legs.frames)) < total:
        steps, start, end = remaining_stage(stages, done)
        with _watched(legs.next_folder, done, total, progress):
            legs.run(md_values(steps, start, end, timestep))
    return legs.frames


def remaining_stage(
    stages: Sequence[tuple[int, float, float]], done: int
) -> tuple[int, float, float]:
    """Return what is left of the stage that the step after so many belongs to."""
    for steps, start, end in stages:
        if done < steps:
            return steps - done, start + (end - start) * done / steps, end
        done -= steps
    raise ValueError("all stages are over")


class _Legs:
    """The folders 00, 01, … of one trajectory, each of which begins where the one before ended."""

    def __init__(self, settings: VaspSettings, atoms: Atoms, folder: Path) -> None:
        self.settings, self.atoms, self.folder = settings, atoms.copy(), folder
        self.frames: list[Atoms] = []
        self._n = self._failures = 0
        end_left(folder)
        while self._read(self.next_folder):
            pass

    @property
    def next_folder(self) -> Path:
        """Of the next leg; of one that a killed run left without a step, if there is one."""
        return self.folder / f"{self._n:02d}"

    def run(self, task: Mapping[str, Any]) -> None:
        """Run a leg from the last structure; where VASP fails after some steps, the next goes on.

        Raises
        ------
        EngineError
            If VASP makes no step or fails too often, or ASE's configuration lacks something.
        """
        leg = self.next_folder
        problem = f"VASP made no step in {leg.absolute()}"
        try:
            self._calculator(leg, task).run(self.atoms)
        except CalculationFailed as error:
            self._failures += 1
            problem = str(error)
        if not self._read(leg) or self._failures > self.settings.corrections:
            raise EngineError(problem)

    def _read(self, leg: Path) -> bool:
        """Take the steps of a leg and its last structure; say whether there were any."""
        try:
            run = read_vasp(leg / "OUTCAR")
            last = read_poscar(leg / "CONTCAR")
        except (LabelError, OSError, ValueError, IndexError, RuntimeError, AssertionError):
            return False  # killed before it was written, or as it was
        is_md = bool(run.kinetic)
        if not run.frames or (is_md and not last.has("momenta")):
            return False
        if len(accepted_frames(run, self.settings)) < len(run.frames):
            raise EngineError(
                f"VASP's electrons did not converge in a step of {leg.absolute()}: remove that "
                "folder, to go on before it"
            )
        calculator = self._calculator(leg, {})
        calculator.initialize(self.atoms)
        back = calculator.resort
        for n in range(len(run.frames)):
            self.frames.append(self._labelled(run, n, back))
        self.atoms.positions = _beside(last.positions[back], self.frames[-1])
        if is_md:
            self.atoms.set_momenta(last.get_momenta()[back])
            self.frames[-1].set_momenta(self.atoms.get_momenta())
        self._n += 1
        return True

    def _labelled(self, run: VaspRun, n: int, back: Sequence[int]) -> Atoms:
        """A step in the order and with the constraints of the structure."""
        frame = self.atoms.copy()
        frame.arrays.pop("momenta", None)  # of the leg's beginning; VASP prints none of its steps
        before = self.frames[-1] if self.frames else self.atoms
        frame.positions = _beside(run.frames[n].positions[back], before)
        results = run.frames[n].calc.results
        labels = {key: results[key] for key in ("energy", "forces", "stress") if key in results}
        labels["forces"] = labels["forces"][back]
        frame.calc = SinglePointCalculator(frame, **labels)
        if run.kinetic:
            frame.info = {"kinetic": run.kinetic[n], "conserved": run.conserved[n]}
        return frame

    def _calculator(self, leg: Path, task: Mapping[str, Any]) -> StructureVasp:
        return StructureVasp(self.settings, task, directory=str(leg))


def _largest_force(atoms: Atoms) -> float:
    """On an atom that moves, eV/Å."""
    return float(np.linalg.norm(atoms.get_forces(), axis=1).max())


def _beside(positions: Any, reference: Atoms) -> Any:
    """Positions, which VASP wraps into the cell, on the reference's side of its boundaries."""
    return reference.positions + find_mic(positions - reference.positions, reference.cell)[0]


@contextmanager
def _watched(leg: Path, done: int, total: int, progress: Progress) -> Iterator[None]:
    """Report the ionic steps of a running leg."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(_POLL):
            try:
                steps = (leg / "OSZICAR").read_text(errors="replace").count("F=")
            except OSError:
                continue
            progress(min(done + steps, total), total)

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
