"""Relaxation of many structures: each by an optimiser of ASE's, all evaluated together."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Literal

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.singlepoint import SinglePointCalculator
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS, FIRE, LBFGS
from ase.optimize.optimize import Optimizer
from numpy.typing import NDArray

from culi_mlip.dynamics.checks import check_numbers
from culi_mlip.dynamics.constraints import with_written_constraints
from culi_mlip.dynamics.identity import calculator_digest, structure_digest
from culi_mlip.errors import CuliError, EngineError, StructureError
from culi_mlip.files import check_finite, read_frames, write_frames, write_text
from culi_mlip.progress import Progress, no_progress
from culi_mlip.records import Record
from culi_mlip.runs import is_finished, run_folder

OptimizerName = Literal["fire", "lbfgs", "bfgs"]

OPTIMIZERS: dict[OptimizerName, type[Optimizer]] = {"fire": FIRE, "lbfgs": LBFGS, "bfgs": BFGS}
"""ASE's, by name."""

SAVE_EVERY = 10.0
"""Seconds of work that a killed run may lose."""

Evaluate = Callable[[Mapping[int, Atoms]], dict[int, dict[str, Any]]]
"""Gives the results of structures, by ASE's names."""


@dataclass(frozen=True)
class Relaxed:
    """A relaxed structure.

    Attributes
    ----------
    atoms
        The structure with its energy, forces and, if it has one, stress.
    steps
        Steps of the optimiser.
    converged
        Whether no force is above the limit.
    failure
        Why the relaxation ended before its last step, such as two atoms at one place.
    """

    atoms: Atoms
    steps: int
    converged: bool
    failure: str | None = None


def relax(
    frames: Sequence[Atoms],
    calculator: Calculator,
    *,
    fmax: float = 0.05,
    steps: int = 500,
    cell: bool = False,
    optimizer: OptimizerName = "fire",
    progress: Progress = no_progress,
) -> list[Relaxed]:
    """Relax structures to the next minimum of their energies; see `relaxations`.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> (found,) = relax([bulk("Cu", a=3.8, cubic=True)], EMT(), fmax=0.001, cell=True)
    >>> round(found.atoms.cell.lengths()[0], 2)
    np.float64(3.59)
    """
    options: dict[str, Any] = {"steps": steps, "cell": cell, "optimizer": optimizer}
    found = dict(relaxations(frames, calculator, fmax=fmax, progress=progress, **options))
    return [found[i] for i in range(len(frames))]


def relaxations(
    frames: Sequence[Atoms],
    calculator: Calculator,
    *,
    fmax: float = 0.05,
    steps: int = 500,
    cell: bool = False,
    optimizer: OptimizerName = "fire",
    progress: Progress = no_progress,
) -> Iterator[tuple[int, Relaxed]]:
    """Relax structures, and give each with its place in `frames` as soon as it is done.

    A structure takes the very steps that ASE's optimiser takes with it alone.

    Parameters
    ----------
    frames
        Structures, which are left as they are; constraints are obeyed.
    calculator
        One with a method `batches`, such as `HybridAllegro`, evaluates many structures in a
        call; any other of ASE's one after the other.
    fmax
        Largest force at the end, eV/Å; with `cell` that of the strain, too, as ASE defines it.
    steps
        The most steps.
    cell
        Relax the cell, too, in the directions in which it is periodic: stress becomes zero.
    optimizer
        "fire", "lbfgs" or "bfgs".
    progress
        Called with (percent done, 100) by the logarithm of forces; see `Descent`.

    Raises
    ------
    StructureError
        If the calculator cannot evaluate a structure, or its cell cannot be relaxed: there is no
        period, or the vectors of the periods are not along Cartesian axes or in a plane of two.
    """
    evaluate = evaluator(calculator, stress=cell or steps == 0)
    whole = evaluator(calculator) if "stress" in calculator.implemented_properties else None
    for i, atoms in enumerate(frames):
        check_finite(atoms, f"structure {i}")
        if cell:
            _free_strains(atoms)
    at_once = getattr(evaluate, "atoms_at_once", 1)
    waiting = list(reversed(list(enumerate(frames))))
    under_way: dict[int, _Relaxation] = {}
    descent = Descent(len(frames), fmax, progress)
    while waiting or under_way:
        while waiting and sum(len(r.atoms) for r in under_way.values()) < at_once:
            i, atoms = waiting.pop()
            under_way[i] = _Relaxation(atoms, evaluate, OPTIMIZERS[optimizer], cell)
        failures = _evaluated(under_way, evaluate)
        for i, relaxation in list(under_way.items()):
            if i in failures and relaxation.steps == 0:
                raise StructureError(f"structure {i}: {failures[i]}")
            force = 0.0 if i in failures else relaxation.largest_force()
            converged = i not in failures and force < fmax
            descent.reached(i, 0.0 if relaxation.steps == steps else force)
            if converged or i in failures or relaxation.steps == steps:
                del under_way[i]
                yield i, relaxation.end(converged, failures.get(i), whole)
            else:
                relaxation.advance()
        descent.tell()


class Descent:
    """How far forces have come, from their first values to a limit on a logarithmic scale.

    Parameters
    ----------
    n
        How many structures relax.
    limit
        Of the forces in eV/Å.
    progress
        Called with (percent done, 100).
    """

    def __init__(self, n: int, limit: float, progress: Progress) -> None:
        self._limit, self._progress = limit, progress
        self._first: dict[int, float] = {}
        self._shares = np.zeros(n)

    def reached(self, i: int, force: float) -> None:
        """Note the largest force in eV/Å of a structure, 0 once it is done with."""
        first = self._first.setdefault(i, max(force, self._limit))
        if force <= self._limit:
            self._shares[i] = 1
        elif force < first:
            share = np.log(first / force) / np.log(first / self._limit)
            self._shares[i] = max(self._shares[i], share)

    def tell(self) -> None:
        """Call `progress`."""
        self._progress(int(100 * self._shares.mean()), 100)


def evaluator(calculator: Calculator, *, stress: bool = True) -> Evaluate:
    """Return what evaluates many structures, together if the calculator can; see `relaxations`.

    Some calculators take much less time for energy and forces alone.
    """
    if hasattr(calculator, "batches"):
        batches: Evaluate = calculator.batches()
        return batches
    return lambda found: {key: _results(calculator, atoms, stress) for key, atoms in found.items()}


class RelaxationInputs(Record):
    """What relaxations are of, as their run folder's record has it; as in `run_relaxations`."""

    structures: list[str]  # digests; see `culi_mlip.dynamics.identity`
    calculator: str
    fmax: float
    steps: int
    cell: bool
    optimizer: OptimizerName


def run_relaxations(
    frames: Sequence[Atoms],
    calculator: Calculator,
    *,
    out: str | os.PathLike[str],
    fmax: float = 0.05,
    steps: int = 500,
    cell: bool = False,
    optimizer: OptimizerName = "fire",
    progress: Progress = no_progress,
) -> list[Relaxed]:
    """Relax structures as `relaxations` does, in a run folder; killed, the same call continues.

    Parameters
    ----------
    frames, calculator, fmax, steps, cell, optimizer
        As in `relaxations`.
    out
        The run folder, which gets ``relaxed.extxyz`` and ``relaxed.csv``.
    progress
        Called with (structures done, structures in all).

    Returns
    -------
    list of Relaxed
        In the order of `frames`.

    Raises
    ------
    CuliError
        If an argument is out of range, or the folder holds another job.
    """
    if not frames:
        raise StructureError("no structures to relax: give at least one")
    check_numbers(fmax=fmax)
    if steps < 1:
        raise CuliError(f"steps is {steps}: give at least 1")
    inputs = RelaxationInputs(
        structures=[structure_digest(atoms) for atoms in frames],
        calculator=calculator_digest(calculator),
        fmax=fmax,
        steps=steps,
        cell=cell,
        optimizer=optimizer,
    )
    folder, file = Path(out), Path(out) / "relaxed.extxyz"
    finished = is_finished(folder, inputs)
    done = dict(_read(file)) if file.exists() else {}
    if finished:
        return [done[i] for i in range(len(frames))]
    _check(frames, calculator)
    options: dict[str, Any] = {"steps": steps, "cell": cell, "optimizer": optimizer}
    places = [i for i in range(len(frames)) if i not in done]
    waiting = relaxations([frames[i] for i in places], calculator, fmax=fmax, **options)
    saved = monotonic()
    with run_folder(folder, "relax", inputs):
        try:
            for place, found in waiting:
                done[places[place]] = found
                progress(len(done), len(frames))
                if monotonic() - saved > SAVE_EVERY:
                    _write(file, done)
                    saved = monotonic()
        finally:
            if done:
                _write(file, done)
        write_text(folder / "relaxed.csv", _table(done))
    return [done[i] for i in range(len(frames))]


class _Relaxation:
    """A structure on its way."""

    def __init__(self, atoms: Atoms, evaluate: Evaluate, optimizer: Any, cell: bool) -> None:
        self.atoms = atoms.copy()
        self.atoms.calc = self.held = Held(evaluate)
        self._target: Any = (
            FrechetCellFilter(self.atoms, mask=_free_strains(atoms)) if cell else self.atoms
        )
        self._optimizer = optimizer(self._target, logfile=None)
        self.steps = 0

    def largest_force(self) -> float:
        """Largest force on an atom, and with the filter on the strain, eV/Å."""
        return float(np.linalg.norm(self._target.get_forces(), axis=1).max())

    def advance(self) -> None:
        self._optimizer.step()
        self.steps += 1

    def end(self, converged: bool, failure: str | None, whole: Evaluate | None) -> Relaxed:
        """Give the structure with all its results; `whole` finds the stress if it is missing."""
        atoms = self.atoms.copy()
        results = {} if failure else self.held.results
        if whole and results and "stress" not in results and atoms.cell.rank == 3:
            results = whole({0: atoms})[0] | results
        kept = {name: results[name] for name in ("energy", "forces", "stress") if name in results}
        atoms.calc = SinglePointCalculator(atoms, **kept)
        return Relaxed(atoms, self.steps, converged, failure)


class Held(Calculator):
    """Gives results that were computed with those of other structures."""

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]

    def __init__(self, evaluate: Evaluate) -> None:
        super().__init__()
        self._evaluate = evaluate
        self._held_at: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None

    def hold(self, atoms: Atoms, results: dict[str, Any]) -> None:
        """Keep the results of a structure as it is now."""
        self._held_at = atoms.positions.copy(), atoms.cell.array.copy()
        self.atoms, self.results = atoms, results

    def check_state(self, atoms: Atoms, tol: float = 0.0) -> list[str]:
        """Return whether the structure has moved since its results were computed."""
        if self._held_at is None:
            return list(all_changes)
        positions, cell = self._held_at
        is_there = np.array_equal(atoms.positions, positions)
        return [] if is_there and np.array_equal(atoms.cell.array, cell) else ["positions", "cell"]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Evaluate by itself what an optimiser asks for within a step; called by ASE."""
        moved = atoms or self.atoms
        self.hold(moved, self._evaluate({0: moved})[0])


def _evaluated(under_way: Mapping[int, _Relaxation], evaluate: Evaluate) -> dict[int, str]:
    """Evaluate structures, and say why which of them cannot be."""
    frames, failures = {i: relaxation.atoms for i, relaxation in under_way.items()}, {}
    try:
        results = evaluate(frames)
    except CuliError:
        results = {}
        for i, atoms in frames.items():
            try:
                results |= evaluate({i: atoms})
            except CuliError as error:
                failures[i] = str(error)
    for i, found in results.items():
        under_way[i].held.hold(frames[i], found)
        if not (np.isfinite(found["energy"]) and np.isfinite(found["forces"]).all()):
            failures[i] = "energy or forces are NaN or infinite"
    return failures


def _check(frames: Sequence[Atoms], calculator: Calculator) -> None:
    """Refuse what cannot be evaluated, before there is a folder.

    Of `HybridAllegro` only the graphs are made; any other calculator evaluates the first structure.
    """
    made = getattr(calculator, "graph", None)
    for i, atoms in enumerate(frames if made else frames[:1]):
        try:
            made(atoms) if made else _results(calculator, atoms)
        except CuliError as error:
            raise StructureError(f"structure {i}: {error}") from error


def _results(calculator: Calculator, atoms: Atoms, stress: bool = True) -> dict[str, Any]:
    """What any calculator of ASE's gives of a structure."""
    wanted = [p for p in ("energy", "forces", "stress") if p in calculator.implemented_properties]
    if not stress or atoms.cell.rank < 3:
        wanted = wanted[:2]
    try:
        calculator.calculate(atoms, wanted, all_changes)
    except Exception as error:  # an engine may refuse in any way
        raise EngineError(
            f"{atoms.get_chemical_formula()} cannot be computed ({type(error).__name__}: {error})"
        ) from error
    given = calculator.results  # which may hold an earlier structure's stress
    return {name: given[name] for name in (*wanted, "free_energy") if name in given}


def _free_strains(atoms: Atoms) -> list[bool]:
    """Which strains (ASE's Voigt order) leave the directions without a period as they are."""
    periodic = atoms.pbc
    if periodic.all():
        return [True] * 6
    cell = atoms.cell.array
    axes = [bool(np.any(np.abs(cell[periodic][:, k]) > 1e-8)) for k in range(3)]
    if not 0 < sum(axes) == periodic.sum():
        raise StructureError(
            f"{atoms.get_chemical_formula()}, periodic along {periodic.sum()} of its cell vectors: "
            "its cell can be relaxed if these lie along Cartesian axes, or in a plane of two"
        )
    return [axes[i] and axes[j] for i, j in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))]


def _write(file: Path, done: Mapping[int, Relaxed]) -> None:
    """Write relaxed structures, with their places among the others and how they ended."""
    frames = []
    for i, found in sorted(done.items()):
        frame = with_written_constraints(found.atoms)
        frame.calc = found.atoms.calc
        frame.info |= found.atoms.info
        frame.info |= {"structure": i, "steps": found.steps, "converged": found.converged}
        frame.info |= {"failure": found.failure} if found.failure else {}
        frames.append(frame)
    write_frames(file, frames)


def _read(file: Path) -> Iterator[tuple[int, Relaxed]]:
    for atoms in read_frames(file):
        i, steps, converged = (atoms.info.pop(n) for n in ("structure", "steps", "converged"))
        yield int(i), Relaxed(atoms, int(steps), bool(converged), atoms.info.pop("failure", None))


def _table(done: Mapping[int, Relaxed]) -> str:
    """The table of ``relaxed.csv``."""
    with io.StringIO(newline="") as text:
        table = csv.writer(text)
        table.writerow(_COLUMNS)
        for i, found in sorted(done.items()):
            atoms, results = found.atoms, found.atoms.calc.results
            force = np.linalg.norm(atoms.get_forces(), axis=1).max() if results else ""
            row = [i, atoms.get_chemical_formula(), len(atoms), results.get("energy", ""), force]
            table.writerow([*row, found.steps, found.converged, found.failure or ""])
        return text.getvalue()


_COLUMNS = (
    "structure", "formula", "atoms", "energy_eV", "largest_force_eV_per_A", "steps", "converged",
    "failure",
)  # fmt: skip
