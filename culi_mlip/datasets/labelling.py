"""Labelling runs: single points of pending structures, and short MD that samples new ones."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    as_completed,
    wait,
)
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.md.bussi import Bussi
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary

from culi_mlip.datasets.executors import WorkerError
from culi_mlip.datasets.recipe import Sampling
from culi_mlip.datasets.store import LABELS, Store
from culi_mlip.errors import CuliError
from culi_mlip.reference import Engine, get_engine
from culi_mlip.structures import Entry

DEATHS = 3
"""How many workers may die over a structure before it is tried alone."""

Progress = Callable[[int, int], None]
"""Called with (done, total) as a long job advances."""


class Label(NamedTuple):
    """What an engine found for one structure, and on which machine."""

    results: dict[str, Any]
    host: str


Outcome = Label | Exception


def label_pending(
    store: Store,
    engine: Engine,
    *,
    executor: Executor | None = None,
    in_flight: int | None = None,
    per_call: int = 1,
    progress: Progress | None = None,
) -> None:
    """Label every pending structure of a store by a single-point calculation.

    Structures that a killed process left running wait again. A failure is stored with its reason
    and stops nothing; what `DEATHS` workers died over is a failure too.

    Parameters
    ----------
    store
        The store; this process alone writes to it.
    engine
        The reference engine.
    executor
        Where to compute, any `concurrent.futures.Executor`; ``None`` computes here, one after
        the other.
    in_flight
        How many calls the executor has at a time; by default two a processor.
    per_call
        How many structures a call labels.
    progress
        Called with (labelled or failed, all) after each structure.

    Raises
    ------
    concurrent.futures.BrokenExecutor
        If a worker died and took the executor with it. Its structures wait again: call with a
        new one.
    """
    store.release()
    settings = engine.settings.model_dump_json()
    n_finished, n_all = 0, store.count("pending")

    def submit(row_ids: Sequence[int]) -> Future[list[Outcome]]:
        store.start(row_ids)
        structures = [store.atoms(row_id) for row_id in row_ids]
        return (executor or _Here()).submit(attempt, engine.name, settings, structures)

    while deaths := store.pending():
        # Whose worker died too often is tried alone: others may have been the cause.
        chosen = [row_id for row_id in deaths if deaths[row_id] < DEATHS]
        room = in_flight or 2 * (os.cpu_count() or 1)
        is_alone = not chosen
        if is_alone:
            chosen = list(deaths)[:1]
        try:
            for row_id, outcome in _outcomes(submit, chosen, room if executor else 1, per_call):
                if isinstance(outcome, Label):
                    store.label(row_id, outcome.results, engine, outcome.host)
                elif isinstance(outcome, WorkerError) and not is_alone:
                    store.release([row_id], died=True)
                    continue
                else:
                    store.fail(row_id, str(outcome) or type(outcome).__name__)
                n_finished += 1
                if progress:
                    progress(n_finished, n_all)
        except BrokenExecutor as error:
            if is_alone:
                store.fail(chosen[0], f"its worker died {DEATHS + 1} times ({error})")
            store.release(died=True)
            raise


def _outcomes(
    submit: Callable[[Sequence[int]], Future[list[Outcome]]],
    row_ids: Sequence[int],
    room: int,
    per_call: int,
) -> Iterator[tuple[int, Outcome]]:
    """Yield each structure with what became of it, as calls end; `room` of them are under way."""
    waiting = deque(row_ids)
    running: dict[Future[list[Outcome]], list[int]] = {}
    while waiting or running:
        while waiting and len(running) < room:
            chosen = [waiting.popleft() for _ in range(min(per_call, len(waiting)))]
            running[submit(chosen)] = chosen
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            chosen = running.pop(future)
            try:
                outcomes = future.result()
            except WorkerError as error:
                outcomes = [error] * len(chosen)
            yield from zip(chosen, outcomes, strict=True)


def sample_trajectories(
    store: Store,
    starts: Sequence[Entry],
    sampling: Sampling,
    engine: Engine,
    *,
    seed: int,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> int:
    """Run short MD from each start at each temperature and keep decorrelated frames.

    The stochastic velocity rescaling of Bussi, Donadio and Parrinello (J. Chem. Phys. 126,
    014101, 2007) thermostats the run. A trajectory enters the store whole or not at all; one
    that is there already is not run again.

    Parameters
    ----------
    store
        The store.
    starts
        Structures to start from.
    sampling
        Temperatures, length and stride.
    engine
        The reference engine, which drives the MD and so labels the frames.
    seed
        Seed of velocities and thermostat, combined with start and temperature.
    executor
        Where to run them, as in `label_pending`.
    progress
        Called after each trajectory.

    Returns
    -------
    int
        Number of new frames.
    """
    known = store.trajectories()
    settings = engine.settings.model_dump_json()
    calls = [
        (start, temperature, sampling, engine.name, settings, name, seed)
        for start in starts
        for temperature in sampling.temperatures
        if (name := f"md-{start.uid}-{temperature:g}K") not in known
    ]
    new = 0
    for n, frames in enumerate(_ended(executor, _trajectory, calls), 1):
        new += store.add(frames, engine)
        if progress:
            progress(n, len(calls))
    return new


def _ended(
    executor: Executor | None, function: Callable[..., Any], calls: Iterable[Sequence[Any]]
) -> Iterator[Any]:
    """Yield what calls return, as they end."""
    if executor is None:
        for arguments in calls:
            yield function(*arguments)
    else:
        for future in as_completed([executor.submit(function, *c) for c in calls]):
            yield future.result()


def _trajectory(
    start: Entry,
    temperature: float,
    sampling: Sampling,
    engine: str,
    settings: str,
    name: str,
    seed: int,
) -> list[Entry]:
    rng = np.random.default_rng(int(hashlib.sha256(f"{seed} {name}".encode()).hexdigest()[:12], 16))
    atoms = start.atoms.copy()
    atoms.set_constraint()
    atoms.calc = _calculator(engine, settings)
    MaxwellBoltzmannDistribution(atoms, temperature_K=temperature, rng=rng, force_temp=True)
    Stationary(atoms)
    dynamics = Bussi(
        atoms,
        timestep=sampling.timestep_fs * units.fs,
        temperature_K=temperature,
        taut=50 * units.fs,
        rng=rng,
    )
    frames = []
    for _ in range(sampling.steps // sampling.stride):
        dynamics.run(sampling.stride)
        frames.append(
            Entry(
                atoms.copy(),
                kind=f"{start.kind}-md",
                parent=start.uid,
                trajectory=name,
                how={"temperature_K": temperature, "step": dynamics.nsteps},
                results=_results(atoms),
            )
        )
    return frames


def attempt(engine: str, settings: str, structures: Sequence[Atoms]) -> list[Outcome]:
    """Label structures, with an engine's settings in JSON; give what went wrong, raise nothing."""
    host = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
    outcomes: list[Outcome] = []
    for structure in structures:
        atoms = structure.copy()
        try:
            atoms.calc = _calculator(engine, settings)
            outcomes.append(Label(_results(atoms), host))
        except Exception as error:  # an engine may fail in any way; the others go on
            outcomes.append(CuliError(f"{type(error).__name__}: {error}"))
    return outcomes


class _Here(Executor):
    """Computes in this process, when called."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


@lru_cache(maxsize=1)
def _calculator(engine: str, settings: str) -> Calculator:
    """One calculator a process, of settings in JSON: loading a model takes seconds."""
    return get_engine(engine, json.loads(settings)).calculator()


def _results(atoms: Atoms) -> dict[str, Any]:
    """Energy, forces without constraints, and stress where the cell has a volume.

    With smeared electrons the energy is the free energy, whose derivatives the forces are.
    """
    energy = atoms.get_potential_energy()
    results: dict[str, Any] = {
        "energy": float(atoms.calc.results.get("free_energy", energy)),
        "forces": np.asarray(atoms.get_forces(apply_constraint=False), dtype=float),
    }
    if atoms.cell.rank == 3:
        results["stress"] = np.asarray(atoms.get_stress(apply_constraint=False), dtype=float)
    for key in LABELS:
        if key in results and not np.isfinite(results[key]).all():
            raise CuliError(f"the engine gave a {key} of NaN or infinity")
    return results
