"""Labels of real VASP outputs enter a store, or are refused for a reason."""

import numpy as np
import pytest

from culi_mlip.datasets import Store, import_vasp
from culi_mlip.datasets.imports import waiting_twin
from culi_mlip.reference import VaspSettings, get_engine
from culi_mlip.reference.vasp_outputs import read_vasp
from culi_mlip.structures import Entry, rattled, slab

LITHIUM = VaspSettings(functional="pbe")


@pytest.fixture
def lithium(real_data):
    return next((real_data / "vasp" / "pymatgen_Li_PBE_relax").glob("vasprun.xml*"))


def test_accepted_frames_are_added_once_with_their_engine(lithium, tmp_path):
    (first,) = import_vasp(tmp_path, [lithium], LITHIUM)
    (again,) = import_vasp(tmp_path, [lithium], LITHIUM)
    assert (first.frames, first.labelled, first.added) == (3, 0, 3)
    assert again.added == 0
    store = Store(tmp_path / "store.db")
    assert store.digests() == {get_engine("vasp", LITHIUM).digest: 3}
    run = read_vasp(lithium)
    energies = {a.get_potential_energy() for a in store.frames()}
    assert energies == {a.get_potential_energy() for a in run.frames}
    assert len({a.info["trajectory"] for a in store.frames()}) == 1
    assert not store.check()


def test_refused_file_makes_no_store_and_says_why(lithium, tmp_path):
    (outcome,) = import_vasp(tmp_path / "new", [lithium], VaspSettings())
    assert "is pbe, not r2scan" in outcome.reason
    assert not (tmp_path / "new").exists()


def test_structure_that_waits_gets_its_label(lithium, tmp_path):
    frame = read_vasp(lithium).frames[0]
    store = Store(tmp_path / "store.db")
    store.add([Entry(rattled(frame, 1e-5, seed=0), "bulk")])
    (outcome,) = import_vasp(tmp_path, [lithium], LITHIUM)
    assert (outcome.labelled, outcome.added) == (1, 2)
    (labelled,) = (a for a in Store(tmp_path / "store.db").frames() if a.info["kind"] == "bulk")
    assert labelled.get_potential_energy() == frame.get_potential_energy()


def test_twin_is_found_whatever_the_order_of_species_and_the_periodicity(tmp_path):
    structure = rattled(slab("Cu", (1, 0, 0), thickness=4), 0.05, seed=1)
    structure.symbols[0] = "Li"
    store = Store(tmp_path / "store.db")
    store.add([Entry(structure, "slab"), Entry(rattled(structure, 0.05, seed=2), "slab")])
    sorted_by_code = structure[np.argsort(-structure.numbers, kind="stable")]
    sorted_by_code.pbc = True
    sorted_by_code.positions += sorted_by_code.cell[0]
    row_id, order = waiting_twin(store, sorted_by_code)
    same = store.entry(row_id).atoms
    np.testing.assert_array_equal(sorted_by_code.numbers[order], same.numbers)
    difference = sorted_by_code.positions[order] - same.positions - same.cell[0]
    np.testing.assert_allclose(difference, 0, atol=1e-6)
    moved = sorted_by_code.copy()
    moved.positions[0, 0] += 0.01
    assert waiting_twin(store, moved) is None
