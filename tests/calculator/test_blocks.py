"""Large structures in parts: the results at once, and only of models whose energies are local."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from nequip.data import AtomicDataDict

from culi_mlip.calculator import HybridAllegro, potential
from tests.calculator.test_hybrid_allegro import cluster, crystal, surface


def results(calculator, atoms):
    atoms = atoms.copy()
    atoms.calc = calculator
    atoms.get_forces()
    return calculator.results


def gas():
    """Atoms without neighbours before, between and behind others."""
    atoms = bulk("Cu", a=3.6, cubic=True) * (2, 2, 1)
    atoms.rattle(0.1, seed=3)
    lonely = Atoms("Cu", [[30, 30, 30]])
    return lonely + atoms[:7] + Atoms("Cu", [[50, 30, 30]]) + atoms[7:] + Atoms("Cu", [[70, 0, 0]])


@pytest.mark.parametrize("structure", [crystal, surface, cluster, gas])
@pytest.mark.parametrize("variant", ["allegro", "qdi"])
def test_results_are_those_at_once(trained, monkeypatch, variant, structure):
    calculator = HybridAllegro(trained[variant], device="cpu", compile=False)
    at_once = results(calculator, structure())
    calls = []
    evaluated = potential.Potential._at_once
    monkeypatch.setattr(
        potential.Potential, "_at_once", lambda *of: calls.append(of) or evaluated(*of)
    )
    for n_pairs in (30, 60):
        monkeypatch.setattr(potential, "BLOCK_PAIRS", n_pairs)
        calls.clear()
        calculator.reset()
        found = results(calculator, structure())
        whole = calculator.graph(structure())[AtomicDataDict.EDGE_INDEX_KEY].shape[1]
        assert len(calls) >= whole / n_pairs
        assert found.keys() == at_once.keys()
        for name, values in at_once.items():
            np.testing.assert_allclose(found[name], values, rtol=1e-11, atol=1e-11, err_msg=name)


def test_models_that_pass_messages_are_not_split(trained, monkeypatch):
    calculator = HybridAllegro(trained["allegro"], device="cpu", compile=False)
    first = calculator._members.first
    model = first.model

    def passing(graph):
        """Add to each atom's energy its neighbours' numbers of neighbours."""
        out = model(graph)
        centers, neighbors = graph[AtomicDataDict.EDGE_INDEX_KEY]
        numbers = torch.bincount(centers, minlength=len(graph["pos"])).double()
        out[AtomicDataDict.PER_ATOM_ENERGY_KEY] = torch.zeros(len(numbers), 1).double()
        out[AtomicDataDict.PER_ATOM_ENERGY_KEY].index_add_(0, centers, numbers[neighbors, None])
        return out

    first.model = passing
    monkeypatch.setattr(potential, "BLOCK_PAIRS", 50)
    structure = crystal() * (3, 3, 3)
    results(calculator, structure[np.random.default_rng(0).permutation(len(structure))])
    assert first._is_local is False
    first.model, first._is_local = model, None
    calculator.reset()
    results(calculator, crystal())
    assert first._is_local is True
