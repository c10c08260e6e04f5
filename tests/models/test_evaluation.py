"""Errors of a potential, by hand."""

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms

from culi_mlip.errors import DatasetError
from culi_mlip.models.evaluation import evaluate


class Constant(Calculator):
    """1 eV, 0.5 eV/Å along z and 0.02 eV/Å³, whatever the structure."""

    implemented_properties = ("energy", "forces", "stress")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        forces = np.zeros((len(atoms), 3))
        forces[:, 2] = 0.5
        self.results = {"energy": 1.0, "forces": forces, "stress": np.full(6, 0.02)}


def frame(n, kind, energy, force=None, stress=None):
    atoms = Atoms(f"Cu{n}", positions=3 * np.arange(3 * n).reshape(n, 3), cell=[40] * 3, pbc=True)
    atoms.info["kind"] = kind
    labels = {"energy": energy}
    if force is not None:
        labels["forces"] = np.full((n, 3), force)
    if stress is not None:
        labels["stress"] = np.full(6, stress)
    atoms.calc = SinglePointCalculator(atoms, **labels)
    return atoms


def test_errors_by_hand():
    """Energies per atom, forces per component, each kind by itself and all together."""
    frames = [
        frame(1, "b", energy=1.3, force=0.5, stress=0.05),  # off by 0.3 eV/atom
        frame(2, "a", energy=-1.0, force=0.5),  # by 1 eV/atom
        frame(4, "a", energy=3.0, force=0.5),  # by 0.5 eV/atom
    ]
    frames[0].set_constraint(FixAtoms([0]))  # its forces count all the same
    of_a, of_b, of_all = evaluate(frames, Constant()).errors
    assert [(e.kind, e.frames) for e in (of_a, of_b, of_all)] == [("a", 2), ("b", 1), ("all", 3)]
    assert of_a.energy_mae == pytest.approx((1 + 0.5) / 2)
    assert of_a.energy_rmse == pytest.approx(np.sqrt((1 + 0.25) / 2))
    assert of_b.energy_mae == pytest.approx(0.3)
    assert of_all.energy_mae == pytest.approx((0.3 + 1 + 0.5) / 3)
    for errors in (of_a, of_b, of_all):  # 0.5 along x and y, nothing along z
        assert errors.force_mae == pytest.approx(1 / 3)
        assert errors.force_rmse == pytest.approx(0.5 * np.sqrt(2 / 3))
    assert of_a.stress_mae is None
    assert of_b.stress_mae == of_all.stress_mae == pytest.approx(0.03)


def test_labels_stand_before_predictions():
    result = evaluate([frame(2, "a", energy=4.0)], Constant())
    assert result.energies.tolist() == [[2.0, 0.5]]
    assert result.forces.shape == result.stresses.shape == (0, 2)
    assert result.errors[0].kind == "all"


def test_kinds_of_other_programs_and_progress():
    frames = [frame(1, "", energy=2.0), frame(1, "x", energy=4.0), frame(1, "", energy=8.0)]
    for atoms, kind in zip(frames, ("slab", "bulk", "slab"), strict=True):
        del atoms.info["kind"]
        atoms.info["config_type"] = kind
    done = []
    errors = evaluate(frames, Constant(), progress=lambda *counts: done.append(counts)).errors
    assert [(e.kind, e.energy_mae) for e in errors] == [("bulk", 3), ("slab", 4), ("all", 11 / 3)]
    assert done == [(1, 3), (2, 3), (3, 3)]


def test_components_are_in_the_order_of_atoms_and_axes():
    labelled = frame(2, "a", energy=4.0, force=0.0, stress=0.0)
    labelled.calc.results["forces"] = np.arange(6.0).reshape(2, 3)
    labelled.calc.results["stress"] = np.arange(6.0) / 100
    found = evaluate([labelled], Constant())
    assert found.forces.tolist() == [[0, 0], [1, 0], [2, 0.5], [3, 0], [4, 0], [5, 0.5]]
    assert found.stresses.tolist() == [[i / 100, 0.02] for i in range(6)]


class Doubtful(Constant):
    """Expects errors as large as atoms are high; what is above 10 Å is outside."""

    def __init__(self, name):
        super().__init__()
        self.kind = name

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results[self.kind] = atoms.positions[:, 2]
        if self.kind == "uncertainty":
            self.results["domain_distance"] = atoms.positions[:, 2] / 10


@pytest.mark.parametrize("name", ["uncertainty", "forces_std"])
def test_expected_force_errors_stand_before_true_ones(name):
    frames = [frame(2, "a", energy=1.0, force=0.0), frame(1, "a", energy=1.0)]
    frames[0].calc.results["forces"] = np.array([[0.3, 0.4, 0.5], [3.0, 4.0, 12.5]])
    frames[1].positions[0, 2] = 3.9
    frames[1].calc = SinglePointCalculator(frames[1], energy=1.0)
    found = evaluate(frames, Doubtful(name))
    assert found.force_errors.tolist() == [[6, pytest.approx(0.5)], [15, 13]]
    assert found.outside == ([True, False] if name == "uncertainty" else [])
    assert found.rank_correlation == pytest.approx(1)
    plain = evaluate(frames, Constant())
    assert plain.force_errors.shape == (0, 2)
    assert plain.rank_correlation is None


def test_no_frames_are_refused():
    with pytest.raises(DatasetError, match="no frames"):
        evaluate([], Constant())
