"""What noise costs a trained model: laws that theory knows, and nothing left behind."""

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.constraints import FixAtoms
from e3nn.o3 import Irreps
from nequip.data import AtomicDataDict

from culi_mlip.calculator import HybridAllegro
from culi_mlip.errors import DatasetError, ModelError
from culi_mlip.models import noise
from culi_mlip.models.evaluation import Errors, Evaluation
from culi_mlip.models.noise import NoiseErrors, circuit_of, noise_errors, noise_study, power_law
from culi_mlip.models.readout import QDIReadout
from culi_mlip.quantum import Circuit
from culi_mlip.quantum.noise import NoisyLayer


@pytest.fixture(scope="module")
def frames(tiny_data):
    return ase.io.read(tiny_data / "train.extxyz", index=":2")


def test_errors_fall_as_the_root_of_shots_and_rise_with_gate_noise(trained, frames):
    calculator = HybridAllegro(trained["qdi"])
    before = [calculator.get_property("forces", atoms) for atoms in frames]
    rows = noise_errors(
        frames, calculator, shots=(100, 10000), depolarising=(1e-5, 1e-4), repeats=2
    )
    assert [(row.shots, row.depolarising) for row in rows] == [
        (100, 0), (10000, 0), (None, 1e-5), (None, 1e-4)
    ]  # fmt: skip
    few, many, clean, noisy = (row.force_mae for row in rows)
    assert power_law([100, 10000], [few, many]).exponent == pytest.approx(-0.5, abs=0.1)
    assert noisy / clean == pytest.approx(10, rel=0.05)
    calculator.reset()
    for atoms, forces in zip(frames, before, strict=True):
        np.testing.assert_array_equal(calculator.get_property("forces", atoms), forces)


def test_errors_of_the_energy_are_per_atom(trained, frames):
    """Gate noise is no chance: twice the cell has twice the energy and the same error per atom."""
    calculator = HybridAllegro(trained["qdi"], device="cpu")
    one, two = (
        noise_errors([atoms], calculator, shots=(), depolarising=(1e-3,))[0]
        for atoms in (frames[0], frames[0].repeat((1, 1, 2)))
    )
    assert one.energy_mae > 1e-9
    assert two.energy_mae == pytest.approx(one.energy_mae, rel=1e-6)
    assert two.force_mae == pytest.approx(one.force_mae, rel=1e-6)


class Toy(Calculator):
    """The circuit's change from zero at the coordinates of each atom, summed, is the energy."""

    implemented_properties = ("energy", "forces")

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        irreps = {AtomicDataDict.EDGE_FEATURES_KEY: "4x0e", AtomicDataDict.EDGE_CUTOFF_KEY: "0e"}
        readout = QDIReadout(
            Circuit(2, 3, 1), "circuit", 4, 4, {k: Irreps(v) for k, v in irreps.items()}
        )
        self.model = torch.nn.ModuleList([readout.double()])

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        angles = torch.tensor(atoms.positions, requires_grad=True)
        energy = self.model[0].quantum.change_from_zero(angles).sum()
        (slope,) = torch.autograd.grad(energy, angles)
        self.results = {"energy": energy.item(), "forces": -slope.numpy()}


def test_noise_is_the_mean_over_frames_and_repeats_of_differences_per_atom():
    """Frames of one and three atoms; each number of shots is measured anew from the seed."""
    three = Atoms("Cu3", np.arange(9.0).reshape(3, 3) / 7, constraint=FixAtoms([0, 1]))
    frames = [Atoms("Cu", [[0.3, -0.2, 0.5]]), three]
    toy, done = Toy(), []
    layer = toy.model[0].quantum
    assert circuit_of(toy) == Circuit(2, 3, 1)
    rows = noise_errors(
        frames, toy, shots=(50, 7), depolarising=(0.02,), repeats=3, seed=6,
        progress=lambda *counts: done.append(counts),
    )  # fmt: skip
    assert done == [(n, 14) for n in range(1, 15)]
    assert toy.model[0].quantum is layer

    def results(atoms):
        toy.calculate(atoms)
        return toy.results["energy"], toy.results["forces"]

    exact = [results(atoms) for atoms in frames]
    for row, (shots, depolarising, repeats) in zip(
        rows, ((50, 0.0, 3), (7, 0.0, 3), (None, 0.02, 1)), strict=True
    ):
        toy.model[0].quantum = NoisyLayer(layer, shots, depolarising, 6)
        energies, forces = [], []
        for _ in range(repeats):
            for atoms, (energy, force) in zip(frames, exact, strict=True):
                found = results(atoms)
                energies.append(abs(found[0] - energy) / len(atoms))
                forces.append(np.abs(found[1] - force).mean())
        assert (row.shots, row.depolarising) == (shots, depolarising)
        assert row.energy_mae == pytest.approx(np.mean(energies), rel=1e-9)
        assert row.force_mae == pytest.approx(np.mean(forces), rel=1e-9)


def test_a_study_fits_each_law_to_its_part_of_the_evenly_chosen_frames(monkeypatch):
    """Errors of 3/√shots and 10/√shots, and of p/2 and 4·p, on three of five frames."""
    rows = [NoiseErrors(n, 0.0, 3 / n**0.5, 10 / n**0.5) for n in (400, 2500)]
    rows += [NoiseErrors(None, p, 0.5 * p, 4 * p) for p in (0.001, 0.004)]
    own = Errors("all", 3, 0.02, 0.1, 0.05, 0.1, None)
    seen = []

    def measured(frames, calculator, **options):
        seen.append((frames, options))
        return rows

    monkeypatch.setattr(noise, "noise_errors", measured)
    monkeypatch.setattr(noise, "evaluate", lambda *_: Evaluation([own], *[np.empty((0, 2))] * 3))
    options = {"shots": (9,), "depolarising": (0.5,), "repeats": 8, "seed": 7, "progress": print}
    study = noise_study([*range(5)], Toy(), most=3, **options)
    assert seen == [([0, 2, 4], options)]
    assert (study.circuit, study.n_frames, study.rows) == (Circuit(2, 3, 1), 3, rows)
    laws = {name: (law.prefactor, law.exponent) for name, law in study.laws.items()}
    assert laws == {
        "energy_by_shots": pytest.approx((3, -0.5)), "force_by_shots": pytest.approx((10, -0.5)),
        "energy_by_depolarising": pytest.approx((0.5, 1)),
        "force_by_depolarising": pytest.approx((4, 1)),
    }  # fmt: skip
    assert study.values["model_force_mae"] == 0.05
    assert study.values["model_energy_mae"] == 0.02
    assert study.values["laws"]["force_by_shots"]["exponent"] == pytest.approx(-0.5)


def test_a_study_needs_forces(monkeypatch):
    energies = Errors("all", 1, 0.02, 0.1, None, None, None)
    found = Evaluation([energies], *[np.empty((0, 2))] * 3)
    monkeypatch.setattr(noise, "evaluate", lambda *_: found)
    with pytest.raises(DatasetError, match="the frames have no forces"):
        noise_study([Atoms("Cu")], Toy())


def test_power_law_finds_what_was_put_in():
    law = power_law([1, 10, 100], [3, 0.3, 0.03])
    assert law.at(20) == pytest.approx(0.15)
    assert law.prefactor == pytest.approx(3)
    assert law.exponent == pytest.approx(-1)
    assert law.where(0.03) == pytest.approx(100)
    assert law.where(0) == np.inf
    assert power_law([1], [3]) is None
    assert power_law([100, 100], [3, 4]) is None


def test_measurements_that_cannot_be_made_are_refused(trained, frames):
    for options, words in (({"repeats": 0}, "0 repeats"), ({"seed": -1}, "seed -1")):
        with pytest.raises(ModelError, match=words):
            noise_errors(frames, None, **options)


def test_noise_of_no_frames_is_refused(trained):
    with pytest.raises(DatasetError, match="no frames"):
        noise_errors([], HybridAllegro(trained["qdi"]))


def test_a_model_without_a_circuit_is_refused(trained, frames):
    with pytest.raises(ModelError, match="no quantum circuit"):
        noise_errors(frames, HybridAllegro(trained["mlp"]))
