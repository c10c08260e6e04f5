"""Committees, and cutoffs of their own for pairs of elements."""

import pickle

import numpy as np
import pytest
from ase.neighborlist import neighbor_list
from nequip.integrations.ase import NequIPCalculator

from culi_mlip.calculator import HybridAllegro
from culi_mlip.calculator.global_state import evaluating, loading
from culi_mlip.errors import ModelError
from culi_mlip.models.training import train
from tests.calculator.test_hybrid_allegro import cluster, crystal, surface


def results(calculator, atoms):
    atoms = atoms.copy()
    atoms.calc = calculator
    atoms.get_forces()
    return calculator.results


@pytest.fixture(scope="module")
def short(tiny_data, tiny_settings, tmp_path_factory):
    """A run folder of an Allegro with a shorter cutoff between copper atoms."""
    settings = tiny_settings.model_copy(
        update={"variant": "allegro", "pair_cutoffs": {"Cu-Cu": 4.2}, "epochs": 1}
    )
    return train(tiny_data, tmp_path_factory.mktemp("short") / "run", settings).folder


@pytest.mark.parametrize("structure", [crystal, surface, cluster])
def test_committee_is_mean_and_sample_deviation_of_its_members(trained, structure):
    runs = [trained[variant] for variant in ("allegro", "mlp", "qdi")]
    members = [results(HybridAllegro(run, device="cpu"), structure()) for run in runs]
    committee = results(HybridAllegro(runs, device="cpu"), structure())
    for name in members[0]:
        np.testing.assert_allclose(
            committee[name], np.mean([m[name] for m in members], axis=0), rtol=1e-12, err_msg=name
        )
    forces = np.array([m["forces"] for m in members])
    squares = ((forces - forces.mean(0)) ** 2).sum((0, 2)) / (len(runs) - 1)
    np.testing.assert_allclose(committee["forces_std"], np.sqrt(squares), rtol=1e-10)
    energies = np.array([m["energy"] for m in members])
    variance = ((energies - energies.mean()) ** 2).sum() / 2
    assert committee["energy_std"] == pytest.approx(np.sqrt(variance))
    assert committee["forces_std"].shape == (len(structure()),)


def test_committee_is_named_by_all_its_members_and_travels(trained):
    runs = [trained["allegro"], trained["qdi"]]
    committee = HybridAllegro(runs, device="cpu")
    single, other = HybridAllegro(runs[0], device="cpu"), HybridAllegro(runs[::-1], device="cpu")
    assert len({committee.digest, single.digest, other.digest}) == 3
    assert committee.todict()["model"] == f"{runs[0]} {runs[1]}"
    assert len(committee.model_card["files"]) == 2
    again = pickle.loads(pickle.dumps(committee))  # noqa: S301
    assert again.digest == committee.digest
    assert results(again, crystal())["energy_std"] == results(committee, crystal())["energy_std"]


def test_members_need_the_same_species_and_cutoffs(trained, short):
    with pytest.raises(ModelError, match="best.ckpt has other species or cutoffs than"):
        HybridAllegro([trained["allegro"], short], device="cpu")
    with pytest.raises(ModelError, match="without members"):
        HybridAllegro([])


@pytest.mark.parametrize("structure", [crystal, surface])
def test_shorter_cutoffs_of_pairs_are_those_of_nequips_calculator(short, structure):
    calculator = HybridAllegro(short, device="cpu")
    found = results(calculator, structure())
    assert calculator.model_card["cutoffs"] == [[4.2]]
    with loading():
        nequips = NequIPCalculator._from_saved_model(
            short / "checkpoints/best.ckpt", chemical_species_to_atom_type_map=True
        )
    with evaluating({}):
        expected = results(nequips, structure())
    for name in ("energy", "forces", "stress"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-10, atol=1e-12)
    n_pairs = {r: len(neighbor_list("i", structure(), r)) for r in (4.2, 5.0)}
    assert calculator.graph(structure())["edge_index"].shape == (2, n_pairs[4.2])
    assert n_pairs[4.2] < n_pairs[5.0]
