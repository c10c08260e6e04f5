"""The lattice constants of a dataset: the recipe's, or its engine's, found once and kept."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import BrokenExecutor
from pathlib import Path

from ase import Atoms

from culi_mlip.datasets.lattice_constants import (
    LatticeConstant,
    keep_lattice_constants,
    kept_lattice_constants,
)
from culi_mlip.errors import EngineError
from culi_mlip.labelling.computations import attempt
from culi_mlip.labelling.executors import LOCAL, WorkerError, Workers, open_executor
from culi_mlip.labelling.jobs import Job, Label
from culi_mlip.labelling.recipe import Recipe
from culi_mlip.progress import Progress, no_progress
from culi_mlip.properties.eos import start
from culi_mlip.reference import Engine
from culi_mlip.reference.lattice_constants import equilibrium, known_lattice_constant
from culi_mlip.structures import Entry

LatticeConstants = dict[str, LatticeConstant]
"""By element."""


def find_lattice_constants(
    recipe: Recipe,
    engine: Engine,
    folder: Path,
    *,
    workers: Workers = LOCAL,
    progress: Progress = no_progress,
) -> Recipe:
    """Return a recipe with all lattice constants: those that it leaves out are its engine's.

    They are known, or found by an equation of state with the engine's settings, and kept in the
    folder of the dataset, one after the other; later calls read them there. Progress counts
    elements.

    Raises
    ------
    EngineError
        If the engine fails on an element.
    StructureError
        If an element is neither fcc nor bcc.
    """
    found = kept_lattice_constants(folder)
    wanted = recipe.open_lattices
    for n, symbol in enumerate(wanted):
        if symbol not in found:
            found[symbol] = _known(engine, symbol) or LatticeConstant(
                a=_computed(engine, symbol, folder, workers),
                source=f"{engine.title}, equation of state",
            )
        keep_lattice_constants(folder, found)
        progress(n + 1, len(wanted))
    return _filled(recipe, found)


def planned_lattice_constants(
    recipe: Recipe, engine: Engine, folder: Path
) -> tuple[Recipe, LatticeConstants]:
    """Return a recipe with all lattice constants without computing any, and those left out.

    What is neither kept in the folder nor known is ASE's (experiment), until the engine's own is
    found.
    """
    found = kept_lattice_constants(folder)
    for symbol in recipe.open_lattices:
        if symbol not in found:
            preliminary = LatticeConstant(
                a=start(symbol), source=f"experiment, until {engine.name}'s own is computed"
            )
            found[symbol] = _known(engine, symbol) or preliminary
    return _filled(recipe, found), {symbol: found[symbol] for symbol in recipe.open_lattices}


def _filled(recipe: Recipe, found: LatticeConstants) -> Recipe:
    given = {symbol: found[symbol].a for symbol in recipe.open_lattices}
    return recipe.model_copy(
        update={"lattice_constants": {**given, **(recipe.lattice_constants or {})}}
    )


def _known(engine: Engine, symbol: str) -> LatticeConstant | None:
    known = known_lattice_constant(engine.name, engine.settings, symbol)
    return LatticeConstant(a=known[0], source=f"{engine.title}: {known[1]}") if known else None


def _computed(engine: Engine, symbol: str, folder: Path, workers: Workers) -> float:
    runs = folder.absolute() / "runs"
    try:
        with open_executor(workers, folder) as executor:

            def energies(cells: Sequence[Atoms]) -> list[float]:
                entries = [Entry(atoms, "bulk") for atoms in cells]
                jobs = [Job(entry, folder=str(runs / entry.uid)) for entry in entries]
                if executor is None:
                    outcomes = attempt(engine.name, engine.given, jobs)
                else:
                    outcomes = executor.submit(attempt, engine.name, engine.given, jobs).result()
                return [_energy(outcome) for outcome in outcomes]

            return equilibrium(symbol, energies)
    except (_EngineFailedError, WorkerError, BrokenExecutor) as error:
        raise EngineError(
            f"engine '{engine.name}' did not find the lattice constant of {symbol} ({error}): give "
            f"it in the recipe, such as lattice_constants: {{{symbol}: {start(symbol):.3f}}}"
        ) from error


class _EngineFailedError(Exception):
    pass


def _energy(outcome: Label | Exception) -> float:
    if not isinstance(outcome, Label):
        raise _EngineFailedError(str(outcome)) from outcome
    return float(outcome.results["energy"])
