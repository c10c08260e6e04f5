"""The store: one row a structure, labels that survive, refusals."""

import sqlite3

import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms

from culi_mlip.datasets import Store
from culi_mlip.errors import DatasetError
from culi_mlip.reference import get_engine
from culi_mlip.structures import Entry, bulk, rattled


def entries(n=3):
    return [
        Entry(rattled(bulk("Cu", repeat=(2, 1, 1)), 0.05, seed=i), "bulk", how={"seed": i})
        for i in range(n)
    ]


def results(atoms):
    atoms = atoms.copy()
    atoms.calc = EMT()
    return {
        "energy": atoms.get_potential_energy(),
        "forces": atoms.get_forces(),
        "stress": atoms.get_stress(),
    }


def test_each_structure_stands_once_whatever_carries_it(tmp_path):
    store = Store(tmp_path / "store.db")
    assert store.add(entries()) == 3
    again = entries(4)
    for entry in again:
        entry.atoms.set_constraint(FixAtoms([0]))
        entry.atoms.calc = EMT()
    assert store.add(again) == 1
    assert len(store) == store.count("pending") == 4


def test_labels_come_back_exactly_and_survive_reopening(tmp_path):
    engine = get_engine("emt")
    store = Store(tmp_path / "store.db")
    store.add(entries())
    expected = {}
    for row_id in store.pending():
        atoms = store.entry(row_id).atoms
        expected[Entry(atoms, "").uid] = results(atoms)
        store.label(row_id, results(atoms), engine)
    frames = list(Store(tmp_path / "store.db").frames())
    assert len(frames) == 3
    assert [frame.info["uid"] for frame in frames] == sorted(expected)
    for frame in frames:
        truth = expected[frame.info["uid"]]
        assert frame.get_potential_energy() == truth["energy"]
        np.testing.assert_array_equal(frame.get_forces(), truth["forces"])
        np.testing.assert_array_equal(frame.get_stress(), truth["stress"])
        assert frame.info["kind"] == "bulk"
        assert frame.info["engine_digest"] == engine.digest
    assert not store.pending()


def test_failure_is_kept_with_its_reason(tmp_path):
    store = Store(tmp_path / "store.db")
    store.add(entries(1))
    (row_id,) = store.pending()
    store.fail(row_id, "did not converge")
    assert list(store.failures().values()) == ["did not converge"]
    assert not store.pending()


def test_adding_is_all_or_nothing(tmp_path, monkeypatch):
    store = Store(tmp_path / "store.db")

    def broken():
        yield entries(1)[0]
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        store.add(broken())
    assert len(Store(tmp_path / "store.db")) == 0


def test_file_that_is_no_store_is_refused(tmp_path):
    path = tmp_path / "store.db"
    path.write_text("this is not a database, it is a text of some length" * 50)
    with pytest.raises(DatasetError, match="is not a store"):
        Store(path)


def test_store_is_an_ase_database(tmp_path):
    Store(tmp_path / "store.db").add(entries())
    tables = sqlite3.connect(tmp_path / "store.db").execute("select name from sqlite_master")
    assert "systems" in {name for (name,) in tables}


@pytest.mark.parametrize("name", ["12", "1e5", "nan", "True", "1_0"])
def test_names_that_look_like_numbers_are_names(tmp_path, name):
    """A node of a cluster may be called 12 or 1e5, and so may a kind."""
    store = Store(tmp_path / "store.db")
    store.add([Entry(e.atoms, name, trajectory=name) for e in entries(2)])
    first, second = store.pending()
    store.start([first, second])
    store.label(first, results(entries()[0].atoms), get_engine("emt"), host=name, note=name)
    store.fail(second, name)
    store = Store(tmp_path / "store.db")
    assert store.hosts() == store.notes() == {name: 1}
    assert store.counts() == {name: {"pending": 0, "running": 0, "done": 1, "failed": 1}}
    assert next(store.frames()).info["trajectory"] == name
    assert not store.check()
    assert store.retry() == 1


def test_elements_that_wait_are_those_of_what_is_pending_or_was_left_running(tmp_path):
    """A run that was killed left some running: its engine must know their elements, too."""
    store = Store(tmp_path / "store.db")
    store.add(Entry(bulk(symbol, a=4.0), "bulk") for symbol in ("Cu", "Ag", "Au", "Al"))
    _, running, failed, done = store.pending()
    store.start([running, failed, done])
    store.fail(failed, "did not converge")
    store.label(done, results(store.entry(done).atoms), get_engine("emt"))
    assert store.waiting_symbols() == {"Cu", "Ag"}
