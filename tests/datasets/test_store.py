"""The store: one row a structure, labels that survive, refusals."""

import sqlite3

import ase.db
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


def test_those_tried_least_wait_first_and_deaths_are_counted(tmp_path):
    store = Store(tmp_path / "store.db")
    store.add(entries(4))
    first, second, third, fourth = store.pending()
    for row_id in (second, first, second):
        store.start([row_id])
        store.release([row_id], died=row_id == second)
    store.start([third])
    assert store.running() == [third]
    assert list(store.pending().items()) == [(fourth, 0), (first, 0), (second, 2)]
    store.fail(second, "no luck")
    assert store.retry() == 1
    assert list(store.pending().items()) == [(second, 0), (fourth, 0), (first, 0)]
    assert store.release() == 1
    assert list(store.pending()) == [second, fourth, first, third]


def test_structures_are_found_by_id_parent_and_composition(tmp_path):
    store = Store(tmp_path / "store.db")
    copper = Entry(bulk("Cu", repeat=(2, 1, 1)), "bulk", how={"seed": 5})
    child = Entry(rattled(copper.atoms, 0.1, seed=1), "copy", parent=copper.uid)
    mixed = copper.atoms.copy()
    mixed.symbols[1] = "Li"
    longer = Entry(bulk("Cu", repeat=(3, 1, 1)), "bulk")
    store.add([copper, child, Entry(mixed, "alloy"), longer])
    store.add([Entry(bulk("Li"), "bulk", results={"energy": -1.0})], get_engine("emt"))
    assert store.parents() == {child.uid: copper.uid}
    alike = [(engine, e.uid) for _, engine, e in store.like(copper.atoms)]
    assert alike == [("", copper.uid), ("", child.uid)]
    (lithium,) = store.like(bulk("Li"))
    assert lithium[:2] == (5, get_engine("emt").digest)
    found = store.find(child.uid)
    assert (found.kind, found.parent, found.atoms) == ("copy", copper.uid, child.atoms)
    assert store.find(copper.uid).how == {"seed": 5}
    assert store.find("s0") is None
    assert (copper.uid in store, "s0" in store) == (True, False)


def test_check_names_what_is_wrong(tmp_path):
    """Made by hand in ASE's tables."""
    store = Store(tmp_path / "store.db")
    store.add(entries(6))
    uids = [store.entry(row_id).uid for row_id in range(1, 7)]
    for row_id in (2, 3, 4):
        store.label(row_id, results(store.entry(row_id).atoms), get_engine("emt"))
    assert not store.check()
    with sqlite3.connect(store.path) as base:
        change = "UPDATE text_key_values SET value = ? WHERE id = ? AND key = ?"
        base.execute(change, ("s0", 1, "uid"))
        base.execute("DELETE FROM text_key_values WHERE id = 2 AND key = 'engine_digest'")
        base.execute("UPDATE systems SET key_value_pairs = replace(key_value_pairs, "
                     "'engine_digest', 'engine_nothing') WHERE id = 2")  # fmt: skip
        base.execute("UPDATE systems SET energy = NULL WHERE id = 3")
        base.execute("UPDATE systems SET energy = 9e999 WHERE id = 4")
        base.execute(change, ("lost", 5, "status"))
        base.execute("UPDATE systems SET key_value_pairs = replace(key_value_pairs, ?, 's0') "
                     "WHERE id = 1", (uids[0],))  # fmt: skip
        base.execute(change, ("s0", 6, "uid"))
        base.execute("UPDATE systems SET key_value_pairs = replace(key_value_pairs, ?, 's0') "
                     "WHERE id = 6", (uids[5],))  # fmt: skip
    assert sorted(Store(store.path).check()) == sorted(
        [
            "s0 stands 2 times",
            "s0 is not the id of its structure",
            "s0 is not the id of its structure",
            "1 structures are in no state",
            f"{uids[1]} has a label of nobody knows which engine",
            f"{uids[2]} is done but has no energy",
            f"{uids[3]} has a label of NaN or infinity",
        ]
    )


def test_engines_of_a_store_of_before_get_their_titles(tmp_path):
    """Which had their names and settings alone."""
    settings = {"code": "QE", "is_dft": False, "settings": {"ecut": 40}}
    engines = {
        "e1": {"name": "imported", "settings": settings},
        "e2": {"name": "vasp", "settings": {"functional": "r2scan"}},
        "e3": {"name": "ase", "settings": {"calculator": "ase.calculators.emt.EMT"}},
    }
    Store(tmp_path / "store.db").add(entries(1))
    with ase.db.connect(tmp_path / "store.db") as base:
        base.metadata = {"culi_mlip_store": 2, "engines": engines}
    found = Store(tmp_path / "store.db").engines
    assert {digest: source.settings for digest, source in found.items()} == {
        digest: engine["settings"] for digest, engine in engines.items()
    }
    titles = [(source.title, source.is_dft, bool(source.caution)) for source in found.values()]
    assert titles == [
        ("QE", False, True),
        ("VASP", True, False),
        ("the ASE calculator ase.calculators.emt.EMT", False, True),
    ]


def test_a_database_that_is_no_store_is_refused(tmp_path):
    with ase.db.connect(tmp_path / "store.db") as base:
        base.write(next(iter(entries(1))).atoms, my_key=3)
    before = (tmp_path / "store.db").read_bytes()
    with pytest.raises(DatasetError, match="not a store of culi_mlip: give its frames to"):
        Store(tmp_path / "store.db")
    assert (tmp_path / "store.db").read_bytes() == before
