"""Parts and card of a dataset: families whole, kinds everywhere, one engine, references."""

import hashlib
import json
from contextlib import suppress

import ase.io
import numpy as np
import pytest
import yaml
from ase import Atoms

from culi_mlip.configuration import parse
from culi_mlip.datasets import AuditSettings, Store, export_frames, export_parts
from culi_mlip.datasets.export import audit_settings_of, chosen_split, split_is
from culi_mlip.errors import CuliError, DatasetError
from culi_mlip.labelling import Recipe, build_dataset
from culi_mlip.labelling.recipe import Split
from culi_mlip.reference import get_engine
from culi_mlip.structures import Entry

PARTS = ("train", "val", "test")


def crystal(a, symbol="Cu", n=1):
    return Atoms(f"{symbol}{n}", [[0, 0, a * i / n] for i in range(n)], cell=[a] * 3, pbc=True)


def labelled(atoms, energy, **how):
    """An entry with an energy of its own, forces and a stress."""
    results = {"energy": energy, "forces": np.zeros((len(atoms), 3)), "stress": np.zeros(6)}
    return Entry(atoms, how.pop("kind", "bulk"), results=results, **how)


def parts(folder):
    """Where each frame is, by content id, and the frames of each part."""
    frames = {part: ase.io.read(folder / f"{part}.extxyz", ":") for part in PARTS}
    return {a.info["uid"]: part for part in PARTS for a in frames[part]}, frames


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store.db")


def test_three_generations_are_in_one_part(store, tmp_path):
    """A structure, what was made from it, and MD from that, although the middle has no label."""
    families = []
    for n in range(6):
        first = labelled(crystal(3.0 + 0.1 * n), -1.0, kind="slab")
        second = Entry(crystal(3.01 + 0.1 * n), "adatom", parent=first.uid)
        third = [
            labelled(
                crystal(3.02 + 0.1 * n + 0.01 * i),
                -1.0,
                kind="adatom-md",
                parent=second.uid,
                trajectory=f"md-{n}-{i}",
            )
            for i in range(3)
        ]
        store.add([first, second, *third], get_engine("emt"))
        families.append([first.uid, *(entry.uid for entry in third)])
    export_parts(tmp_path, split=Split(val=0.2, test=0.2), seed=0)
    where, _ = parts(tmp_path)
    homes = [{where[uid] for uid in family} for family in families]
    assert all(len(home) == 1 for home in homes)
    assert set.union(*homes) == set(PARTS)


@pytest.mark.parametrize(
    ("by", "advice"), [("parent", "split by trajectory"), ("trajectory", "split by frame")]
)
def test_too_few_groups_name_a_finer_split(store, tmp_path, by, advice):
    for i in range(6):
        store.add(
            [labelled(crystal(3 + 0.1 * i), -1.0, trajectory=f"run{i % 2}")], get_engine("emt")
        )
    with pytest.raises(DatasetError, match=f"too few to split by {by}.*or {advice}"):
        export_parts(tmp_path, split=Split(by=by), seed=0)


@pytest.mark.parametrize("by", ["parent", "trajectory"])
def test_a_trajectory_without_a_parent_is_whole_too(store, tmp_path, by):
    for run in range(5):
        frames = [
            labelled(crystal(3 + 0.1 * run + 0.01 * i), -1.0, trajectory=f"run{run}")
            for i in range(4)
        ]
        store.add(frames, get_engine("emt"))
    export_parts(tmp_path, split=Split(val=0.2, test=0.2, by=by), seed=0)
    frames = parts(tmp_path)[1]
    runs = {part: {a.info["trajectory"] for a in frames[part]} for part in PARTS}
    assert [len(runs[part]) for part in PARTS] == [3, 1, 1]
    assert not runs["train"] & (runs["val"] | runs["test"])


def test_card_says_what_is_missed_and_what_the_split_means(store, tmp_path):
    store.add([labelled(crystal(3 + 0.01 * i), -1.0) for i in range(60)], get_engine("emt"))
    root = labelled(crystal(5.0, "Li"), -1.0, kind="slab")
    copies = [
        labelled(crystal(5.01 + 0.01 * i, "Li"), -1.0, kind="slab", parent=root.uid)
        for i in range(30)
    ]
    store.add([root, *copies], get_engine("emt"))
    built = export_parts(tmp_path, split=Split(val=0.1, test=0.2), seed=0)
    (line,) = (text for text in built.card["split_missed"] if "slab" in text)
    assert "No slab of Li in val and test: there is 1 group of it" in line
    text = (tmp_path / "card.md").read_text()
    assert line in text
    assert "Split by parent" in text


def test_export_of_one_engine_has_its_frames_alone(store, tmp_path):
    emt, chgnet = get_engine("emt"), get_engine("chgnet")
    store.add([labelled(crystal(3 + 0.01 * i), -1.0 - i) for i in range(9)], emt)
    store.add([labelled(crystal(4 + 0.01 * i), -20.0 - i) for i in range(5)], chgnet)
    assert export_frames(tmp_path, tmp_path / "all.extxyz", engine_digest=chgnet.digest) == 5
    frames = ase.io.read(tmp_path / "all.extxyz", ":")
    assert sorted(a.get_potential_energy() for a in frames) == [-24, -23, -22, -21, -20]
    built = export_parts(tmp_path, split=Split(), seed=0, engine_digest=emt.digest)
    energies = [a.get_potential_energy() for part in parts(tmp_path)[1].values() for a in part]
    assert sorted(energies) == [-9.0, -8, -7, -6, -5, -4, -3, -2, -1]
    assert built.card["engine"] == "emt"
    assert sum(built.card["frames"].values()) == 9


def test_references_of_the_card_are_those_of_the_training_frames(store, tmp_path):
    """One element: the mean of the energies per atom, of train.extxyz alone."""
    rng = np.random.default_rng(0)
    frames = [
        labelled(crystal(5 + 0.01 * i, n=1 + i % 3), float((1 + i % 3) * rng.uniform(-4, -3)))
        for i in range(30)
    ]
    frames[0].results.pop("stress")
    store.add(frames, get_engine("emt"))
    built = export_parts(tmp_path, split=Split(val=0.2, test=0.2), seed=0)
    assert "Only 29 of 30 frames have a stress." in built.card["notes"]
    files = parts(tmp_path)[1]
    means = {
        part: np.mean([a.get_potential_energy() / len(a) for a in files[part]]) for part in PARTS
    }
    assert built.card["reference_energies"] == {"Cu": pytest.approx(means["train"], abs=1e-6)}
    assert abs(means["train"] - means["test"]) > 1e-3


def test_card_says_what_the_set_is(store, tmp_path):
    """Of two engines, one of which is no DFT; shares, kinds and sizes as the files have them."""
    emt, qe = get_engine("emt"), get_engine("imported", {"code": "QE", "is_dft": True})
    store.add(
        [labelled(crystal(5 + i / 100, n=2 + i % 2), -3.0 * (2 + i % 2)) for i in range(9)], emt
    )
    bad = labelled(crystal(6.0), -3.0)
    bad.results["forces"] = np.full((1, 3), 99.0)
    store.add([bad], emt)
    store.add([labelled(crystal(5 + i / 100, "Li"), -2.0, kind="slab") for i in range(6)], qe)
    waiting = Entry(crystal(7.0, "Li", 4), "bulk"), Entry(crystal(7.1), "bulk")
    store.add(waiting)
    first, second = store.pending()
    store.label(first, {"energy": -8.0, "forces": np.zeros((4, 3))}, qe, note="by hand")
    store.fail(second, "no luck")
    split = Split(val=0.25, test=0.375, by="frame")
    card = export_parts(tmp_path, split=split, seed=7, mixed=True).card.model_dump(mode="json")
    frames = parts(tmp_path)[1]
    assert card == json.loads((tmp_path / "card.json").read_text())
    assert card["frames"] == {part: len(frames[part]) for part in PARTS}
    assert card["frames"] == {"train": 6, "val": 4, "test": 6}
    for kind, n in (("bulk", 10), ("slab", 6)):
        told = {part: sum(a.info["kind"] == kind for a in frames[part]) for part in PARTS}
        assert card["frames_by_kind"][kind] == told
        assert sum(told.values()) == n
    assert (
        card["train_sha256"] == hashlib.sha256((tmp_path / "train.extxyz").read_bytes()).hexdigest()
    )
    assert card["engine"] == "emt + imported"
    assert card["engine_title"] == "ASE's effective medium theory + QE"
    assert sorted(card["engine_digest"].split(" + ")) == sorted([emt.digest, qe.digest])
    described = dict(zip(card["engine_digest"].split(" + "), card["engine_settings"], strict=True))
    assert described == {emt.digest: {}, qe.digest: {"code": "QE", "is_dft": True, "settings": {}}}
    assert not card["is_dft"]
    assert card["caution"] == "labels are from ASE's effective medium theory, a stand-in for DFT"
    assert card["species"] == ["Cu", "Li"]
    assert card["atoms_per_frame"] == [1, 4]
    assert card["dropped_by_audit"] == {"force too large": 1}
    assert card["failed_labels"] == {"no luck": 1}
    assert {"1 labels: by hand", "Only 15 of 16 frames have a stress."} <= set(card["notes"])
    assert (card["seed"], card["split_by"], card["split_chosen"]) == (7, "frame", False)
    assert card["units"]["stress"] == "eV/Å³ (ASE sign and order)"
    own = export_parts(tmp_path, split=split, seed=7, engine_digest=qe.digest).card
    assert (own["is_dft"], own["caution"], own["engine"]) == (True, None, "imported")
    assert own["engine_settings"] == {"code": "QE", "is_dft": True, "settings": {}}


def test_a_split_of_one_engine_is_made_again_as_it_was_chosen(store, tmp_path):
    emt, chgnet = get_engine("emt"), get_engine("chgnet")
    for engine, a in ((emt, 3), (chgnet, 4)):
        store.add([labelled(crystal(a + 0.01 * i), -1.0) for i in range(9)], engine)
    assert chosen_split(tmp_path) is None
    split = Split(val=0.2, test=0.3, by="trajectory")
    export_parts(tmp_path, split=split, seed=5, engine_digest=emt.digest)
    assert chosen_split(tmp_path) is None
    assert split_is(tmp_path, split, 5)
    assert not split_is(tmp_path, split, 6)
    assert not split_is(tmp_path, Split(val=0.3, test=0.2, by="trajectory"), 5)
    asked = {"split": split, "seed": 5, "engine_digest": emt.digest, "mixed": True, "chosen": True}
    export_parts(tmp_path, **asked)
    assert chosen_split(tmp_path) == asked


def recipe(**changes):
    content = {
        "structures": [
            {"kind": "bulk", "symbol": "Cu", "strains": [0.01 * i for i in range(-4, 5)]},
        ],
        "engine": {"name": "emt"},
        "split": {"val": 0.2, "test": 0.2},
    }
    return parse(Recipe, content | changes, "test")


def test_a_split_of_the_users_outlives_the_recipe(tmp_path):
    data = build_dataset(recipe(), tmp_path / "d").folder
    export_parts(data, split=Split(val=0.3, test=0.3, by="frame"), seed=5, chosen=True)
    before = parts(data)[0]
    card = build_dataset(recipe(), data).card
    assert parts(data)[0] == before
    assert (card["split_by"], card["seed"], card["split_chosen"]) == ("frame", 5, True)


def test_thresholds_are_the_recipes_and_a_split_of_the_users_keeps_them(tmp_path):
    """One that drops a crystal under strain; nothing is labelled again."""
    data = build_dataset(recipe(), tmp_path / "d").folder
    record = yaml.safe_load((data / "run.yaml").read_text())["inputs"]
    assert record["audit"] == AuditSettings().model_dump()
    assert audit_settings_of(data) == AuditSettings()
    labels = {a.info["uid"]: a.get_potential_energy() for a in Store(data / "store.db").frames()}
    strict = {"min_bond": 0.93}  # the crystal under -4 % has 0.923
    card = build_dataset(recipe(audit=strict), data).card
    frames = Store(data / "store.db").frames()
    assert {a.info["uid"]: a.get_potential_energy() for a in frames} == labels
    assert card["dropped_by_audit"] == {"atoms too close": 1}
    assert "Thresholds of the audit: max_force=30.0 min_bond=0.93 " in card["notes"][-1]
    dropped = card["dropped_by_audit"]
    again = export_parts(data, split=Split(val=0.3, test=0.3), seed=5, chosen=True).card
    assert again["dropped_by_audit"] == dropped
    assert audit_settings_of(data) == AuditSettings(**strict)
    record = yaml.safe_load((data / "run.yaml").read_text())["inputs"]
    assert record["audit"]["min_bond"] == 0.93
    again = build_dataset(recipe(audit=strict), data).card
    assert (again["split_chosen"], again["dropped_by_audit"]) == (True, dropped)
    loose = build_dataset(recipe(), data).card
    assert (loose["split_chosen"], loose["dropped_by_audit"]) == (True, {})
    given = AuditSettings(**strict)
    again = export_parts(data, split=Split(val=0.3, test=0.3), seed=5, audit_settings=given).card
    assert again["dropped_by_audit"] == dropped


def test_a_recipe_goes_on_with_more_structures(tmp_path):
    data = build_dataset(recipe(), tmp_path / "d").folder
    before = parts(data)[0]
    labels = {a.info["uid"]: a.get_potential_energy() for a in Store(data / "store.db").frames()}
    more = recipe().model_dump(mode="json")["structures"]
    more[0]["strains"] += [0.05, 0.06]
    more[0]["disorder"] = {"copies": 1}
    more.append({"kind": "bulk", "symbol": "Ag", "a": 4.1, "strains": [0.0, 0.01, 0.02]})
    card = build_dataset(recipe(structures=more), data).card
    after, frames = parts(data)
    assert len(after) == sum(card["frames"].values()) == 9 + 2 + 11 + 3
    assert before.items() <= after.items(), "no frame changes its part"
    family = {
        uid: a.info.get("parent", uid) for p in PARTS for a in frames[p] if (uid := a.info["uid"])
    }
    assert all(after[uid] == after[parent] for uid, parent in family.items())
    assert all(any("Ag" in a.symbols for a in frames[part]) for part in PARTS)
    again = {a.info["uid"]: a.get_potential_energy() for a in Store(data / "store.db").frames()}
    assert labels.items() <= again.items(), "nothing is computed twice"
    with pytest.raises(CuliError, match="other structures"):
        build_dataset(recipe(), data)  # shorter again


def test_a_recipe_with_other_structures_is_another(tmp_path):
    data = build_dataset(recipe(), tmp_path / "d").folder
    for change in (
        {"strains": [0.0, 0.01, 0.02]},
        {"symbol": "Ag", "a": 4.1},
        {"repeat": [1, 1, 1]},
    ):
        structures = recipe().model_dump(mode="json")["structures"]
        structures[0] |= change
        with pytest.raises(CuliError, match="other structures"):
            build_dataset(recipe(structures=structures), data)
    with pytest.raises(CuliError, match="other seed"):
        build_dataset(recipe(seed=1), data)


def test_fewer_copies_are_another_recipe_and_published_counts_are_not(tmp_path):
    structures = recipe().model_dump(mode="json")["structures"]
    few = structures[0] | {"strains": [0.0, 0.01, 0.02]}
    two, one = ([few | {"disorder": {"copies": n}}] for n in (2, 1))
    data = build_dataset(recipe(structures=two), tmp_path / "d").folder
    with pytest.raises(CuliError, match="other structures"):
        build_dataset(recipe(structures=one), data)
    more = build_dataset(recipe(structures=two, published={"bulk": 99}), data)
    assert sum(more.card["frames"].values()) == 9


def test_another_split_of_the_recipe_is_made_anew(tmp_path):
    data = build_dataset(recipe(), tmp_path / "d").folder
    card = build_dataset(recipe(split={"val": 0.34, "test": 0.34, "by": "frame"}), data).card
    assert card["frames"] == {"train": 3, "val": 3, "test": 3}


def test_force_of_the_card_is_the_root_mean_square_of_all_components(store, tmp_path):
    rng = np.random.default_rng(0)
    frames = [labelled(crystal(5 + 0.01 * i, n=1 + i % 3), -1.0) for i in range(12)]
    for entry in frames:
        entry.results["forces"] = rng.normal(0, 1, (len(entry.atoms), 3))
    store.add(frames, get_engine("emt"))
    card = export_parts(tmp_path, split=Split(val=0.2, test=0.2), seed=0).card
    components = np.concatenate([np.ravel(entry.results["forces"]) for entry in frames])
    assert card["force_rms"] == pytest.approx(np.sqrt(np.mean(components**2)), rel=1e-9)


@pytest.mark.parametrize("name", ["split.json", "lattice_constants.json"])
@pytest.mark.parametrize("content", ["[1, 2]", "null", '{"parts": 3}', '{"chosen": true}', "{"])
def test_damaged_records_are_one_sentence(store, tmp_path, name, content):
    """Or are not needed, and written anew."""
    store.add([labelled(crystal(3 + 0.1 * i), -1.0) for i in range(6)], get_engine("emt"))
    (tmp_path / name).write_text(content)
    with suppress(CuliError):
        export_parts(tmp_path, **(chosen_split(tmp_path) or {"split": Split(), "seed": 0}))
