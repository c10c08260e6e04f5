"""A store of 100,000 rows stays quick and small in memory."""

import resource
import time

import numpy as np
import pytest

from culi_mlip.datasets import Store, export_frames
from culi_mlip.reference import get_engine
from culi_mlip.structures import Entry, bulk


def entries(n, labelled, seed):
    """Cells of 32 atoms; distinct by their positions."""
    crystal = bulk("Cu", cubic=True, repeat=(2, 2, 2))
    rng = np.random.default_rng(seed)
    for i in range(n):
        atoms = crystal.copy()
        atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
        results = {}
        if labelled:
            forces = rng.normal(size=atoms.positions.shape)
            results = {"energy": rng.normal(), "forces": forces, "stress": np.zeros(6)}
        yield Entry(atoms, ("bulk", "slab")[i % 2], results=results)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_hundred_thousand_rows(tmp_path):
    engine = get_engine("emt")
    store = Store(tmp_path / "store.db")
    store.add(entries(99_000, labelled=True, seed=0), engine)
    store.add(entries(1_000, labelled=False, seed=1))

    start = time.perf_counter()
    counts = Store(tmp_path / "store.db").counts()
    status_seconds = time.perf_counter() - start
    assert sum(sum(states.values()) for states in counts.values()) == 100_000

    results = {"energy": 1.0, "forces": np.zeros((32, 3)), "stress": np.zeros(6)}
    waiting = list(store.pending())
    start = time.perf_counter()
    with store.transaction():
        for row_id in waiting:
            store.label(row_id, results, engine)
    label_seconds = time.perf_counter() - start

    more = list(entries(1_000, labelled=True, seed=2))
    start = time.perf_counter()
    store.add(more, engine)
    add_seconds = time.perf_counter() - start

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    assert export_frames(tmp_path, tmp_path / "all.extxyz") == 101_000
    export_seconds = time.perf_counter() - start
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(  # noqa: T201 (the measurement)
        f"status {status_seconds:.2f} s; 1,000 labels {label_seconds:.2f} s, added "
        f"{add_seconds:.2f} s; export {export_seconds:.0f} s, {grown:.0f} MiB more"
    )
    assert status_seconds < 1
    assert label_seconds < 5
    assert add_seconds < 5
    assert grown < 50, "MiB; all frames would be 500"
