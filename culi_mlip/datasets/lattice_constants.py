"""The lattice constants of a dataset: the recipe's, or its engine's, found once and kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Any

from ase import Atoms

from culi_mlip.datasets.computations import Job, Label, attempt
from culi_mlip.datasets.executors import LOCAL, WorkerError, Workers, open_executor
from culi_mlip.datasets.recipe import Recipe
from culi_mlip.datasets.store import Store
from culi_mlip.errors import CuliError, EngineError
from culi_mlip.files import read_record, write_json
from culi_mlip.reference import Engine
from culi_mlip.reference.lattice_constants import equilibrium, known_lattice_constant, start
from culi_mlip.structures import Entry, campaign
from culi_mlip.structures.bulk import LATTICE_CONSTANTS

FILE = "lattice_constants.json"
"""In the folder of a dataset: by element the value in Å and its source."""

Constants = dict[str, dict[str, Any]]


def find_lattice_constants(
    recipe: Recipe,
    engine: Engine,
    folder: Path,
    *,
    workers: Workers = LOCAL,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Recipe:
    """Return a recipe with all lattice constants: those that it leaves out are its engine's.

    They are known, or found by an equation of state with the engine's settings, and kept in the
    folder, one after the other; later calls read them there.

    Parameters
    ----------
    recipe
        The recipe.
    engine
        Its engine.
    folder
        Of the dataset.
    workers
        Who computes energies.
    progress
        Called with (done, total) elements.

    Raises
    ------
    EngineError
        If the engine fails on an element.
    StructureError
        If an element is neither fcc nor bcc.
    """
    found = kept_lattice_constants(folder) or _older(recipe, folder)
    wanted = recipe.open_lattices
    for n, symbol in enumerate(wanted):
        if symbol not in found:
            found[symbol] = _known(engine, symbol) or {
                "a": _computed(engine, symbol, folder, workers),
                "source": f"{engine.title}, equation of state",
            }
        write_json(folder / FILE, found)
        progress(n + 1, len(wanted))
    return _filled(recipe, found)


def planned_lattice_constants(
    recipe: Recipe, engine: Engine, folder: Path
) -> tuple[Recipe, Constants]:
    """Return a recipe with all lattice constants without computing any, and those left out.

    What is neither kept in the folder nor known is ASE's (experiment), until the engine's own is
    found.

    Parameters
    ----------
    recipe, engine, folder
        As in `find_lattice_constants`.
    """
    found = kept_lattice_constants(folder) or _older(recipe, folder)
    for symbol in recipe.open_lattices:
        if symbol not in found:
            preliminary = f"experiment, until {engine.name}'s own is computed"
            found[symbol] = _known(engine, symbol) or {"a": start(symbol), "source": preliminary}
    return _filled(recipe, found), {symbol: found[symbol] for symbol in recipe.open_lattices}


def kept_lattice_constants(folder: Path) -> Constants:
    """Return the lattice constants that a dataset was built with and its recipe left out."""
    file = folder / FILE
    found: Constants = read_record(file) if file.exists() else {}
    for symbol, value in found.items():
        if not isinstance(value, dict) or not isinstance(value.get("a"), float | int):
            raise CuliError(
                f"{file} is damaged (it has no lattice constant of {symbol}): remove it, to find "
                "them anew"
            )
    return found


def listed(constants: Constants) -> str:
    """Return lattice constants in words."""
    return "; ".join(f"{s} {c['a']:.3f} Å ({c['source']})" for s, c in constants.items())


def _filled(recipe: Recipe, found: Constants) -> Recipe:
    given = {symbol: found[symbol]["a"] for symbol in recipe.open_lattices}
    return recipe.model_copy(
        update={"lattice_constants": {**given, **(recipe.lattice_constants or {})}}
    )


def _known(engine: Engine, symbol: str) -> dict[str, Any] | None:
    known = known_lattice_constant(engine.name, engine.settings, symbol)
    return {"a": known[0], "source": f"{engine.title}: {known[1]}"} if known else None


def _older(recipe: Recipe, folder: Path) -> Constants:
    """The values of a dataset that was begun when all engines had CHGNet's."""
    if not (folder / "store.db").is_file() or not {*recipe.open_lattices} <= {*LATTICE_CONSTANTS}:
        return {}
    first = next(campaign(recipe.model_copy(update={"lattice_constants": {
        **LATTICE_CONSTANTS, **(recipe.lattice_constants or {})}})))  # fmt: skip
    if first.uid not in Store(folder / "store.db"):
        return {}
    source = "CHGNet's r2SCAN model, as this dataset was begun"
    return {symbol: {"a": a, "source": source} for symbol, a in LATTICE_CONSTANTS.items()}


def _computed(engine: Engine, symbol: str, folder: Path, workers: Workers) -> float:
    settings, runs = engine.settings.model_dump_json(), folder.absolute() / "runs"
    try:
        with open_executor(workers, folder) as executor:

            def energies(cells: Sequence[Atoms]) -> list[float]:
                entries = [Entry(atoms, "bulk") for atoms in cells]
                call = engine.name, settings, [Job(e, folder=str(runs / e.uid)) for e in entries]
                if executor is None:
                    return _energies(attempt(*call))
                return _energies(executor.submit(attempt, *call).result())

            return equilibrium(symbol, energies)
    except (_EngineFailedError, WorkerError, BrokenExecutor) as error:
        raise EngineError(
            f"engine '{engine.name}' did not find the lattice constant of {symbol} ({error}): give "
            f"it in the recipe, such as lattice_constants: {{{symbol}: {start(symbol):.3f}}}"
        ) from error


class _EngineFailedError(Exception):
    pass


def _energies(outcomes: Sequence[Label | Exception]) -> list[float]:
    energies = []
    for outcome in outcomes:
        if not isinstance(outcome, Label):
            raise _EngineFailedError(str(outcome)) from outcome
        energies.append(float(outcome.results["energy"]))
    return energies
