"""Uncertainties by the last layer's features: the formula, its scales, what is outside."""

import json
import shutil

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.neighborlist import neighbor_list

from culi_mlip.calculator import HybridAllegro
from culi_mlip.calculator.members import Members
from culi_mlip.calculator.uncertainty import calibrate
from culi_mlip.errors import DatasetError, ModelError
from culi_mlip.models.files import model_file
from culi_mlip.models.last_layer import FEATURES_KEY
from tests.calculator.test_hybrid_allegro import cluster, crystal, surface


@pytest.fixture(scope="module")
def run(trained, tmp_path_factory):
    """A run folder of its own."""
    return shutil.copytree(trained["qdi"], tmp_path_factory.mktemp("calibrated") / "run")


def labelled(seed):
    """A strained and rattled crystal of copper, labelled by EMT."""
    rng = np.random.default_rng(seed)
    atoms = bulk("Cu", a=3.6 * rng.uniform(0.95, 1.05), cubic=True)
    atoms.rattle(rng.uniform(0.02, 0.2), seed=seed)
    atoms.calc = EMT()
    labels = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
    atoms.calc = SinglePointCalculator(atoms, **labels)
    return atoms


@pytest.fixture(scope="module")
def parts():
    frames = [labelled(seed) for seed in range(80)]
    return {"train": frames[:40], "val": frames[40:]}


@pytest.fixture(scope="module")
def record(run, parts):
    told = []
    found = calibrate(
        run, parts["train"], parts["val"], progress=lambda *done: told.append(done), device="cpu"
    )
    n = len(parts["train"]) + len(parts["val"])
    assert told[-1] == (n, n)
    assert json.loads((run / "uncertainty.json").read_text()) == found.plain()
    return found


def features_of(run):
    """A function that gives the features of a structure's atoms, and its energies."""
    options = {"compile": False, "of_features": lambda found, graph: {FEATURES_KEY: found}}
    members = Members([model_file(run)], "cpu", **options)
    calculator = HybridAllegro(run, device="cpu", compile=False)

    def found(atoms):
        (results,) = members(calculator.graph(atoms))
        return results[FEATURES_KEY], results["atomic_energy"][:, 0]

    return found


@pytest.mark.parametrize("variant", ["allegro", "mlp", "qdi", "qdi-identity"])
def test_energies_are_linear_in_the_features(trained, variant):
    features, energies = features_of(trained[variant])(crystal())
    plain = HybridAllegro(trained[variant], device="cpu", compile=False)
    atoms = crystal()
    atoms.calc = plain
    np.testing.assert_allclose(energies, atoms.get_potential_energies(), rtol=1e-12)
    assert features.shape == (len(atoms), {"allegro": 8}.get(variant, 16))
    model = Members([model_file(trained[variant])], "cpu", compile=False, of_features=dict).first
    modules = {name.split(".")[-1]: module for name, module in model.model.named_modules()}
    last, shift = modules["last"], modules["per_type_energy_scale_shift"].shifts
    linear = features @ (last.weight * last.alpha).detach().numpy()[:, 0]
    slope, constant = np.polyfit(linear, energies, 1)
    np.testing.assert_allclose(slope * linear + constant, energies, rtol=1e-12)
    assert constant == pytest.approx(shift.item(), rel=1e-9)


@pytest.mark.parametrize("structure", [crystal, surface, cluster])
def test_uncertainties_are_those_of_the_formula(run, record, parts, structure):
    of = features_of(run)
    means = np.array([of(atoms)[0].mean(0) for atoms in parts["train"]])
    check_formula(run, record, means.T @ means, structure())


def test_of_few_frames_the_atoms_are_counted(trained, parts, tmp_path):
    run = shutil.copytree(trained["mlp"], tmp_path / "run")
    few = calibrate(run, parts["train"][:31], parts["val"], device="cpu")
    features = np.vstack([features_of(run)(atoms)[0] for atoms in parts["train"][:31]])
    check_formula(run, few, features.T @ features, crystal())


def check_formula(run, record, summed, atoms):
    """Compare with the formula as it is written in the paper, by its own linear algebra."""
    features = features_of(run)(atoms)[0]

    def rigidity(f):
        return f @ np.linalg.solve(summed + ridge * np.eye(len(summed)), f)

    metric = np.array(record.metric)
    ridge = 1 / np.linalg.eigvalsh(metric @ metric.T)[-1] - max(np.linalg.eigvalsh(summed)[0], 0)
    each = np.array([rigidity(f) for f in features])
    i, j = neighbor_list("ij", atoms, 5.0)
    around = [np.mean([each[n], *each[j[i == n]]]) for n in range(len(each))]
    atoms.calc = calculator = HybridAllegro(run, device="cpu", compile=False)
    atoms.get_forces()
    found = calculator.results
    expected = record.force_scale * np.sqrt(around)
    np.testing.assert_allclose(found["uncertainty"], expected, rtol=1e-3)
    distances = np.sqrt(around) / record.domain_limit
    np.testing.assert_allclose(found["domain_distance"], distances, rtol=1e-3)
    energy = record.energy_scale * np.sqrt(rigidity(features.sum(0)))
    assert found["energy_uncertainty"] == pytest.approx(energy, rel=1e-3)


def test_scales_are_those_of_the_validation_frames(run, record, parts):
    calculator = HybridAllegro(run, device="cpu", compile=False)
    found = calculator.evaluate(parts["val"])
    ratios, of_energies, farthest = [], [], []
    for atoms, results in zip(parts["val"], found, strict=True):
        errors = np.linalg.norm(results["forces"] - atoms.get_forces(), axis=1)
        ratios.append(errors / results["uncertainty"])
        error = results["energy"] - atoms.get_potential_energy()
        of_energies.append(error / results["energy_uncertainty"])
        farthest.append(results["domain_distance"].max())
    assert np.mean(np.square(np.concatenate(ratios))) == pytest.approx(1)
    assert np.mean(np.square(of_energies)) == pytest.approx(1)
    assert sum(distance > 1 + 1e-9 for distance in farthest) == 1  # of 40, at most 5 %
    assert sorted(farthest)[-2] == pytest.approx(1)
    card = calculator.model_card["uncertainty"]
    assert (card["train_frames"], card["val_frames"]) == (len(parts["train"]), len(parts["val"]))


def test_turned_and_moved_structures_are_as_uncertain_and_batches_too(run, record):
    calculator = HybridAllegro(run, device="cpu", compile=False)
    turned = crystal()
    turned.rotate(50, (1, 2, 3), rotate_cell=True)
    turned.positions += [0.1, 3.0, -8.0]
    frames = [crystal(), surface(), turned]
    together = calculator.evaluate(frames)
    np.testing.assert_allclose(together[0]["uncertainty"], together[2]["uncertainty"], rtol=1e-6)
    for atoms, found in zip(frames, together, strict=True):
        atoms.calc = calculator
        atoms.get_potential_energy()
        for name in ("uncertainty", "domain_distance", "energy_uncertainty"):
            np.testing.assert_allclose(found[name], calculator.results[name], rtol=1e-6)


def test_what_the_training_has_not_seen_is_outside(run, record, parts):
    calculator = HybridAllegro(run, device="cpu", compile=False)
    melted = []
    for seed in range(5):
        atoms = parts["train"][0].copy()
        atoms.rattle(0.6, seed=seed)
        melted.append(atoms)
    assert all(f["domain_distance"].max() > 1 for f in calculator.evaluate(melted))
    seen = [f["domain_distance"].max() for f in calculator.evaluate(parts["train"])]
    assert np.mean(np.array(seen) <= 1) > 0.8


def test_uncertainties_are_of_this_checkpoint_and_of_one_model(run, record, trained, tmp_path):
    other = shutil.copytree(run, tmp_path / "other")
    damaged = (other / "uncertainty.json").read_text().replace(record.checkpoint_sha256, "0" * 64)
    (other / "uncertainty.json").write_text(damaged)
    for path in (other, [run, trained["mlp"]], model_file(run), trained["qdi"]):
        calculator = HybridAllegro(path, device="cpu", compile=False)
        assert "uncertainty" not in calculator.evaluate([crystal()])[0]
        assert calculator.model_card["uncertainty"] is None


def test_without_forces_only_energies_are_uncertain(trained, parts, tmp_path):
    run = shutil.copytree(trained["allegro"], tmp_path / "run")
    without = []
    for frame in parts["val"]:
        atoms = frame.copy()
        atoms.calc = SinglePointCalculator(atoms, energy=frame.get_potential_energy())
        without.append(atoms)
    calibrate(run, without, without, device="cpu")
    (found,) = HybridAllegro(run, device="cpu", compile=False).evaluate([crystal()])
    assert "uncertainty" not in found
    assert found["energy_uncertainty"] > 0


def test_wrong_input(trained, parts):
    with pytest.raises(DatasetError, match="no frames to calibrate on"):
        calibrate(trained["mlp"], parts["train"], [])
    with pytest.raises(ModelError, match="is no run folder"):
        calibrate(model_file(trained["mlp"]), parts["train"], parts["val"])
    silver = Atoms("Ag", calculator=EMT())
    silver.get_forces()
    with pytest.raises(ModelError, match="holds Ag"):
        calibrate(trained["mlp"], [silver], parts["val"])
    assert not (trained["mlp"] / "uncertainty.json").exists()
