"""From recipe to dataset: the same bytes on each run, labels that equal the engine's."""

from concurrent.futures import BrokenExecutor, ProcessPoolExecutor

import ase.io
import numpy as np
import pytest
import yaml
from ase.calculators.emt import EMT

from culi_mlip.configuration import parse
from culi_mlip.datasets import Store
from culi_mlip.errors import CuliError, EngineError, RecipeError
from culi_mlip.labelling import Recipe, Workers, build_dataset, label_pending, load_recipe
from culi_mlip.reference import get_engine
from culi_mlip.structures import campaign
from culi_mlip.workflows import workflow
from tests.conftest import TINY_RECIPE

PARTS = ("train", "val", "test")


def test_labels_are_the_engines_and_the_parts_share_nothing(tiny_data):
    uids = {}
    for part in PARTS:
        frames = ase.io.read(tiny_data / f"{part}.extxyz", index=":")
        uids[part] = {a.info["uid"] for a in frames}
        for frame in frames:
            atoms = frame.copy()
            atoms.calc = EMT()
            assert frame.get_potential_energy() == pytest.approx(atoms.get_potential_energy())
            np.testing.assert_allclose(frame.get_forces(), atoms.get_forces(), atol=1e-6)
            np.testing.assert_allclose(frame.get_stress(), atoms.get_stress(), atol=1e-7)
    assert all(uids.values())
    assert not uids["train"] & uids["val"] | uids["train"] & uids["test"]


def test_trajectories_are_whole_and_a_second_run_gives_the_same_bytes(tmp_path):
    content = {
        "structures": [
            {"kind": "bulk", "symbol": "Cu", "repeat": [2, 1, 1], "strains": [-0.02, 0, 0.02]},
        ],
        "sampling": {"kinds": ["bulk"], "temperatures": [300], "steps": 6, "stride": 2},
        "engine": {"name": "emt"},
        "split": {"val": 0.3, "test": 0.3},
    }
    recipe = parse(Recipe, content, "test")
    first, second = (build_dataset(recipe, tmp_path / n).folder for n in ("a", "b"))
    build_dataset(recipe, first)  # a finished dataset is left as it is
    where = {}
    for part in PARTS:
        assert (first / f"{part}.extxyz").read_bytes() == (second / f"{part}.extxyz").read_bytes()
        for frame in ase.io.read(first / f"{part}.extxyz", index=":"):
            if "trajectory" in frame.info:
                where.setdefault(frame.info["trajectory"], []).append(part)
    assert len(where) == 3
    assert all(len(parts) == 3 and len(set(parts)) == 1 for parts in where.values())
    card = (first / "card.md").read_text()
    assert "stand-in for DFT" in card


def test_workers_that_always_die_end_the_job(tmp_path, monkeypatch):
    def dies(*_, **__):
        raise BrokenExecutor("terminated abruptly")

    monkeypatch.setattr("culi_mlip.labelling.build.label_pending", dies)
    with pytest.raises(EngineError, match="died 6 times in a row"):
        build_dataset(parse(Recipe, TINY_RECIPE, "test"), tmp_path / "d")
    assert Store(tmp_path / "d" / "store.db").count("pending") == 9


def test_labelling_gets_the_recipes_tasks_and_seed_and_the_workers_numbers(tmp_path, monkeypatch):
    """And tells how far it is, under the name of each long step."""
    asked, told = [], {}

    def label(store, engine, **options):
        asked.append(options)
        label_pending(store, engine, progress=options["progress"])

    def step(name):
        told[name] = []
        return lambda *numbers: told[name].append(numbers)

    monkeypatch.setattr("culi_mlip.labelling.build.label_pending", label)
    content = TINY_RECIPE | {"relaxation": {"kinds": ["bulk"], "force": 0.1}, "seed": 3}
    content["lattice_constants"] = {"Cu": 3.6}
    recipe = parse(Recipe, content, "test")
    workers = Workers("processes", number=3, per_job=4)
    build_dataset(recipe, tmp_path / "d", workers=workers, step=step)
    (options,) = asked
    assert isinstance(options.pop("executor"), ProcessPoolExecutor)
    del options["progress"]
    assert options == {"tasks": recipe.tasks, "seed": 3, "in_flight": 6, "per_call": 4}
    assert [task.force for task in recipe.tasks] == [0.1]
    assert told == {
        "Finding lattice constants": [],  # the recipe has them
        "Labelling structures": [(n, 9) for n in range(1, 10)],
    }


def test_another_recipe_does_not_touch_a_dataset(tmp_path, tiny_recipe):
    build_dataset(tiny_recipe, tmp_path / "d")
    before = (tmp_path / "d" / "train.extxyz").read_bytes()
    with pytest.raises(CuliError, match="another job .*other seed"):
        build_dataset(tiny_recipe.model_copy(update={"seed": 1}), tmp_path / "d")
    assert (tmp_path / "d" / "train.extxyz").read_bytes() == before


def test_a_record_from_before_thresholds_were_a_choice_is_this_recipes(tmp_path, tiny_recipe):
    folder = build_dataset(tiny_recipe, tmp_path / "d").folder
    record = yaml.safe_load((folder / "run.yaml").read_text())
    del record["inputs"]["audit"]
    (folder / "run.yaml").write_text(yaml.safe_dump(record))
    before = Store(folder / "store.db").digests()
    said = tiny_recipe.model_dump() | {"audit": {"max_force": 30}}
    build_dataset(parse(Recipe, said, "test"), folder)
    assert Store(folder / "store.db").digests() == before


def test_processes_label_as_one_does(tmp_path, tiny_recipe):
    energies = {}
    for name, workers in (("serial", 0), ("processes", 2)):
        store = Store(tmp_path / f"{name}.db")
        store.add(campaign(tiny_recipe))
        if workers:
            with ProcessPoolExecutor(workers) as executor:
                label_pending(store, get_engine("emt"), executor=executor)
        else:
            label_pending(store, get_engine("emt"))
        assert store.count("done") == len(store)
        energies[name] = {a.info["uid"]: a.get_potential_energy() for a in store.frames()}
    assert energies["serial"] == pytest.approx(energies["processes"], abs=1e-10)


def test_structure_that_the_engine_cannot_label_stops_nothing(tmp_path):
    content = {
        "structures": [
            {"kind": "bulk", "symbol": "Li", "a": 3.4, "strains": [0.0]},
            {"kind": "bulk", "symbol": "Cu", "strains": [0.0, 0.01, 0.02]},
        ],
        "engine": {"name": "emt"},
    }
    card = build_dataset(parse(Recipe, content, "test"), tmp_path / "d").card
    assert sum(card["frames"].values()) == 3
    assert list(card["failed_labels"].values()) == [1]


def test_quickstart_recipe_holds_some_200_structures_of_every_kind():
    recipe = load_recipe(workflow("quickstart.yaml"))
    entries = list(campaign(recipe))
    sampled = recipe.sampling.steps // recipe.sampling.stride * len(recipe.sampling.temperatures)
    starts = [e for e in entries if e.kind in recipe.sampling.kinds and "disorder" not in e.how]
    total = len({e.uid for e in entries}) + sampled * len(starts)
    assert 180 <= total <= 260
    assert {e.kind for e in entries} == {"bulk", "slab", "adatom", "adlayer", "interface"}
    assert [e.uid for e in entries] == [e.uid for e in campaign(recipe)]


BULK = {"structures": [{"kind": "bulk", "symbol": "Cu"}]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"structure": []}, "unknown key 'structure': the nearest valid key is 'structures'"),
        (
            {"structures": [{"kind": "slab", "symbol": "Cu", "millers": [[1, 0, 0]], "vacum": 9}]},
            "the nearest valid key is 'vacuum'",
        ),
        ({"structures": [{"kind": "blob"}]}, "blob"),
        ({"structures": []}, "at least 1"),
        ({**BULK, "split": {"val": 2}}, "split.val"),
        ({**BULK, "sampling": {"temperatures": [300, 300_000]}}, "sampling.temperatures.1.*10000"),
        ({**BULK, "sampling": {"steps": 5}}, "sampling.*no frame is kept of 5 steps"),
        ({**BULK, "melt_quench": {"hold": 300_000}}, "melt_quench.*hold is 300000 K"),
        ({**BULK, "melt_quench": {"period": 1}}, "melt_quench.*period is 1"),
        ({**BULK, "relaxation": {"kinds": ["slabs"]}}, "relaxation.kinds.0.*'slab'"),
    ],
)
def test_wrong_recipes_are_refused_by_key(content, message):
    with pytest.raises(RecipeError, match=message):
        parse(Recipe, content, "recipe")


def test_unknown_engine_and_setting_are_named():
    with pytest.raises(EngineError, match="unknown engine 'vsap'"):
        get_engine("vsap")
    with pytest.raises(RecipeError, match="engine 'chgnet'.*nearest valid key is 'model'"):
        get_engine("chgnet", {"modle": "r2scan"})
