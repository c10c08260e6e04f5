"""Many structures in a call: the results of each alone."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from culi_mlip.calculator import HybridAllegro, batch, potential
from culi_mlip.errors import ModelError
from tests.calculator.test_hybrid_allegro import cluster, crystal, surface


def results(calculator, atoms):
    atoms = atoms.copy()
    atoms.calc = calculator
    atoms.get_forces()
    return calculator.results


def frames():
    """Structures of every periodicity, one without pairs, one without volume."""
    small = bulk("Cu", a=3.6)
    apart = Atoms("Cu2", [[0, 0, 0], [9, 0, 0]], cell=[30, 30, 30])
    return [crystal(), small, surface(), cluster(), apart, Atoms("Cu"), crystal()]


@pytest.mark.parametrize("pairs", [1, 1000, 1_000_000])
def test_results_are_those_of_each_alone(trained, monkeypatch, pairs):
    monkeypatch.setattr(batch, "PAIRS_PER_CALL", pairs)
    calculator = HybridAllegro(trained["qdi"], device="cpu", compile=False)
    calls = []
    evaluated = calculator._members.first.__class__.__call__
    monkeypatch.setattr(
        calculator._members.first.__class__,
        "__call__",
        lambda self, graph: calls.append(len(graph["cell"])) or evaluated(self, graph),
    )
    found = calculator.evaluate(frames())
    assert (max(calls) > 2) == (pairs > 1)  # what has no pairs costs nothing
    assert sum(calls) == len(frames())
    for atoms, together in zip(frames(), found, strict=True):
        alone = results(calculator, atoms)
        assert together.keys() == alone.keys()
        for name, values in alone.items():
            np.testing.assert_allclose(together[name], values, rtol=1e-11, atol=1e-12, err_msg=name)


def test_committees_and_lists_that_are_kept(trained):
    committee = HybridAllegro([trained["qdi"], trained["allegro"]], device="cpu", compile=False)
    batches = committee.batches()
    moving = dict(enumerate(frames()))
    rng = np.random.default_rng(0)
    for _ in range(4):
        for atoms in moving.values():
            atoms.positions += rng.normal(scale=0.05, size=(len(atoms), 3))
        for i, found in batches(moving).items():
            alone = results(committee, moving[i])
            assert found["energy_std"] == pytest.approx(alone["energy_std"])
            np.testing.assert_allclose(found["forces_std"], alone["forces_std"], atol=1e-10)
            np.testing.assert_allclose(found["forces"], alone["forces"], atol=1e-10)
    assert max(kept.builds for kept in batches._lists.values()) < 4
    batches({2: moving[2]})
    assert list(batches._lists) == [2]


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def threads_of_a_new_thread():
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(torch.get_num_threads).result()


def test_each_thread_evaluates_some(trained, monkeypatch, two_threads):
    calculator = HybridAllegro(trained["qdi"], device="cpu", compile=False)
    seen, evaluated = set(), potential.Potential.__call__

    def watched(self, graph):
        seen.add((threading.get_ident(), torch.get_num_threads()))
        time.sleep(0.05)
        return evaluated(self, graph)

    alone = [results(calculator, atoms) for atoms in frames()]
    before = threads_of_a_new_thread()
    calculator.evaluate(frames())
    monkeypatch.setattr(potential.Potential, "__call__", watched)
    for _ in range(3):
        for found, expected in zip(calculator.evaluate(frames()), alone, strict=True):
            np.testing.assert_allclose(found["forces"], expected["forces"], rtol=1e-11, atol=1e-12)
    assert [n for _, n in seen] == [1, 1]
    assert threading.get_ident() not in {ident for ident, _ in seen}
    assert (torch.get_num_threads(), threads_of_a_new_thread()) == (2, before)
    assert torch.get_default_dtype() == torch.float32


def test_wrong_structures_are_named(trained):
    calculator = HybridAllegro(trained["qdi"], device="cpu", compile=False)
    assert calculator.evaluate([]) == []
    with pytest.raises(ModelError, match="Li holds Li, but the model"):
        calculator.evaluate([crystal(), Atoms("Li")])
