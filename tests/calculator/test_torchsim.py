"""The potential in torch-sim (extra ``torchsim``); cells in which slabs keep their neighbours."""

import numpy as np
import pytest
import torch

from culi_mlip.calculator import HybridAllegro
from culi_mlip.calculator import torchsim as module
from culi_mlip.calculator.torchsim import in_periodic_cell, torchsim_model
from culi_mlip.errors import CuliError
from tests.calculator.test_hybrid_allegro import cluster, crystal, surface


def skewed():
    atoms = surface()
    atoms.cell[2] += [1.0, 2.0, 3.0]
    atoms.rotate(30, (1, 1, 0), rotate_cell=True)
    return atoms


def evaluated(calculator, atoms):
    atoms = atoms.copy()
    atoms.calc = calculator
    return atoms.get_potential_energy(), atoms.get_forces()


@pytest.mark.parametrize("structure", [crystal, surface, cluster, skewed])
def test_energies_and_forces_are_those_in_a_periodic_cell(trained, structure):
    calculator = HybridAllegro(trained["qdi"], device="cpu", compile=False)
    atoms = structure()
    periodic = in_periodic_cell(atoms, 5.0)
    assert periodic.pbc.all()
    for found, expected in zip(
        evaluated(calculator, periodic), evaluated(calculator, atoms), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    lengths = np.linalg.norm(np.diff(periodic.positions, axis=0), axis=1)
    expected = np.linalg.norm(np.diff(atoms.positions, axis=0), axis=1)
    np.testing.assert_allclose(lengths, expected)
    assert (atoms.cell[~atoms.pbc] == structure().cell[~atoms.pbc]).all()


def test_without_torch_sim_it_says_so(trained, monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CuliError, match="pip install 'culi-mlip\\[torchsim\\]'"):
        torchsim_model(trained["qdi"])


def test_torch_sim_gives_the_results_of_the_calculator(trained):
    ts = pytest.importorskip("torch_sim")
    calculator = HybridAllegro(trained["qdi"], device="cpu", compile=False)
    model = torchsim_model(trained["qdi"], device="cpu")
    assert torch.get_default_dtype() == torch.float32
    frames = [in_periodic_cell(atoms, 5.0) for atoms in (crystal(), surface(), cluster())]
    state = ts.initialize_state(frames, torch.device("cpu"), torch.float64)
    found = model(state)
    ends = np.cumsum([len(atoms) for atoms in frames])[:-1]
    for energy, forces, atoms in zip(
        found["energy"], np.split(found["forces"].numpy(), ends), frames, strict=True
    ):
        expected = evaluated(calculator, atoms)
        assert energy.item() == pytest.approx(expected[0], rel=1e-10)
        np.testing.assert_allclose(forces, expected[1], atol=1e-10)
    fire = ts.Optimizer.fire if hasattr(ts, "Optimizer") else ts.optimizers.fire
    relaxed = ts.optimize(frames[:2], model, optimizer=fire, max_steps=3)
    assert relaxed.energy.shape == (2,)
