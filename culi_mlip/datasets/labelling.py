"""Labelling runs: single points of pending structures, and short MD that samples new ones."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, as_completed
from functools import lru_cache
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.md.bussi import Bussi
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary

from culi_mlip.datasets.recipe import Sampling
from culi_mlip.datasets.store import LABELS, Store
from culi_mlip.errors import CuliError
from culi_mlip.reference import Engine, get_engine
from culi_mlip.structures import Entry

Progress = Callable[[int, int], None]
"""Called with (done, total) as a long job advances."""


def label_pending(
    store: Store,
    engine: Engine,
    *,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> tuple[int, int]:
    """Label every pending structure of a store by a single-point calculation.

    Parameters
    ----------
    store
        The store; this process alone writes to it.
    engine
        The reference engine.
    executor
        Where to compute; ``None`` computes here, one after the other.
    progress
        Called after each structure.

    Returns
    -------
    tuple of int
        How many were labelled, and how many failed. A failure is stored with its reason and
        stops nothing.
    """
    pending = store.pending()
    labelled = failed = 0

    def record(row_id: int, outcome: Mapping[str, Any] | CuliError | Exception) -> None:
        nonlocal labelled, failed
        if isinstance(outcome, Exception):
            store.fail(row_id, str(outcome) or type(outcome).__name__, engine)
            failed += 1
        else:
            store.label(row_id, outcome, engine)
            labelled += 1
        if progress:
            progress(labelled + failed, len(pending))

    settings = engine.settings.model_dump(mode="json")
    if executor is None:
        for row_id, atoms in pending:
            record(row_id, _attempt(engine.name, settings, atoms))
    else:
        futures = {
            executor.submit(_attempt, engine.name, settings, atoms): row_id
            for row_id, atoms in pending
        }
        for future in as_completed(futures):
            record(futures[future], future.result())
    return labelled, failed


def sample_trajectories(
    store: Store,
    starts: Sequence[Entry],
    sampling: Sampling,
    engine: Engine,
    *,
    seed: int,
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
    progress
        Called after each trajectory.

    Returns
    -------
    int
        Number of new frames.
    """
    known = store.trajectories()
    runs = [(start, temperature) for start in starts for temperature in sampling.temperatures]
    new = 0
    for i, (start, temperature) in enumerate(runs):
        name = f"md-{start.uid}-{temperature:g}K"
        if name not in known:
            frames = _trajectory(start, temperature, sampling, engine, name, seed)
            new += store.add(frames, engine)
        if progress:
            progress(i + 1, len(runs))
    return new


def _trajectory(
    start: Entry, temperature: float, sampling: Sampling, engine: Engine, name: str, seed: int
) -> list[Entry]:
    rng = np.random.default_rng(int(hashlib.sha256(f"{seed} {name}".encode()).hexdigest()[:12], 16))
    atoms = start.atoms.copy()
    atoms.set_constraint()
    atoms.calc = _calculator(engine.name, tuple(sorted(engine.settings.model_dump().items())))
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


def _attempt(engine: str, settings: Mapping[str, Any], atoms: Atoms) -> dict[str, Any] | Exception:
    """Label one structure; return what went wrong instead of raising it."""
    atoms = atoms.copy()
    try:
        atoms.calc = _calculator(engine, tuple(sorted(settings.items())))
        return _results(atoms)
    except Exception as error:  # an engine may fail in any way; the others go on
        return CuliError(f"{type(error).__name__}: {error}")


@lru_cache(maxsize=1)
def _calculator(engine: str, settings: tuple[tuple[str, Any], ...]) -> Calculator:
    """One calculator a process: loading a model takes seconds."""
    return get_engine(engine, dict(settings)).calculator()


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
