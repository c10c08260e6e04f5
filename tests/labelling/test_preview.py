"""What a recipe would give: rows, counts and titles by hand."""

import csv
import json

import ase.io
import pytest
from ase.constraints import FixAtoms

from culi_mlip.configuration import parse
from culi_mlip.errors import CuliError, EngineError
from culi_mlip.labelling import Recipe, preview
from culi_mlip.labelling.preview import (
    KindWork,
    core_hours,
    seconds_by_kind,
    title,
    what_is_missing,
    write_vasp_inputs,
)
from culi_mlip.structures import Entry, bulk

RECIPE = {
    "lattice_constants": {"Cu": 3.6},
    "structures": [
        {"kind": "slab", "symbol": "Cu", "millers": [[1, 1, 1]], "thickness": 8, "vacuum": 11,
         "free_layers": 1},
        {"kind": "bulk", "symbol": "Cu", "repeat": [1, 1, 1], "strains": [0.0, 0.02],
         "disorder": {"copies": 3}},
    ],
    "published": {"bulk": 5},
    "sampling": {"kinds": ["bulk"], "temperatures": [300, 500], "steps": 9, "stride": 3,
                 "published": 7},
    "relaxation": {"kinds": ["slab", "bulk"], "expected_steps": 4, "keep": "all"},
    "engine": {"name": "emt"},
}  # fmt: skip


def test_rows_and_counts_are_those_of_the_structures(tmp_path):
    told = []
    found = preview(
        parse(Recipe, RECIPE, "test"), tmp_path, examples=1, progress=lambda *n: told.append(n)
    )
    with found.table.open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["kind"] for row in rows] == ["slab"] + ["bulk"] * 8
    slab = rows[0]
    layers = int(slab["atoms"])
    assert float(slab["area_A2"]) == pytest.approx(3.6**2 * 3**0.5 / 4, abs=1e-4)
    assert float(slab["thickness_A"]) == pytest.approx((layers - 1) * 3.6 / 3**0.5, abs=1e-4)
    assert float(slab["vacuum_A"]) == pytest.approx(22, abs=1e-4)  # on each side
    assert int(slab["fixed"]) == layers - 2
    assert {row["area_A2"] for row in rows[1:]} == {""}, "of slabs alone"
    copies = [row for row in rows if row["parent"]]
    assert len(copies) == 6
    assert {row["parent"] for row in copies} == {rows[1]["uid"], rows[5]["uid"]}
    assert all("disorder" in json.loads(row["how"]) for row in copies)
    assert told[-1] == (2, 2)
    assert [tuple(vars(count).values()) for count in found.counts] == [
        ("slab", 1, 1, (layers, layers), None),
        ("bulk", 8, 8, (1, 1), 5),
    ]
    assert sorted(tuple(vars(work).values()) for work in found.work if work.task != "label") == [
        ("bulk", "md", 2, 2 * 2 * 10, 2 * 2 * 3, 7),
        ("bulk", "relaxation", 2, 8, 6, None),
        ("slab", "relaxation", 1, 4, 3, None),
    ]
    labels = [tuple(vars(work).values()) for work in found.work if work.task == "label"]
    assert labels == [("slab", "label", 1, 1, 1, None), ("bulk", "label", 8, 8, 8, None)]
    assert [entry.kind for entry in found.examples] == ["slab", "bulk"]


def test_titles_say_strain_temperature_and_step():
    """A sheared cell in Voigt's order; what a frame is of is its parent's to say."""
    atoms = bulk("Cu", repeat=(2, 1, 1))
    atoms.set_constraint(FixAtoms([0]))
    strain = [[0.01, 0.06, 0.05], [0.06, -0.02, 0.04], [0.05, 0.04, 0.03]]
    sheared = Entry(atoms, "bulk", how={"strain": strain})
    assert title(sheared) == "Cu2, bulk sheared (+1.0 -2.0 +3.0 +4.0 +5.0 +6.0) %"
    frame = Entry(atoms, "bulk-md", how={"temperature_K": 300.0, "step": 40})
    assert title(frame) == "Cu2, bulk-md 300 K step 40"
    assert title(frame, Entry(atoms, "bulk", how={"strain": -0.025})) == (
        "Cu2, bulk-md -2.5 % 300 K step 40"
    )
    thermal = Entry(atoms, "bulk", how={"disorder": {"thermal_K": 450.0}})
    assert title(thermal) == "Cu2, bulk at 450 K"


def test_costs_are_steps_times_seconds_of_their_kind_on_all_cores():
    work = [
        KindWork(kind, "label", 1, steps, 1, None) for kind, steps in (("slab", 3), ("bulk", 7))
    ]
    assert core_hours(work, {"slab": 1800.0, "": 600.0}, 4) == pytest.approx([6, 14 / 3])
    assert core_hours(work, {"slab": 1800.0}) == pytest.approx([1.5, 0])


def test_seconds_are_of_kinds_that_the_recipe_has():
    recipe = parse(Recipe, RECIPE, "test")
    assert seconds_by_kind(["9", "bulk=0.5"], recipe) == {"": 9, "bulk": 0.5}
    assert seconds_by_kind([], recipe) == {}
    for values, words in (
        (["0"], "--step-seconds 0: give"), (["nan"], "give seconds"), (["glass=1"], "bulk, slab"),
        (["bulk=1"], "give seconds for slab too"),
    ):  # fmt: skip
        with pytest.raises(CuliError, match=words):
            seconds_by_kind(values, recipe)


def test_inputs_are_vasps_of_each_kind_and_task(tmp_path):
    recipe = parse(Recipe, RECIPE, "test")
    entries = [Entry(bulk("Cu", a=a), "bulk") for a in (3.6, 3.7)]
    with pytest.raises(EngineError, match="for engine vasp, not for emt"):
        write_vasp_inputs(recipe, entries, tmp_path / "inputs")
    assert not (tmp_path / "inputs").exists()
    vasp = parse(Recipe, RECIPE | {"engine": {"name": "vasp"}}, "test")
    assert write_vasp_inputs(vasp, entries, tmp_path / "inputs") == ["bulk"]
    found = sorted(str(p.relative_to(tmp_path / "inputs")) for p in tmp_path.rglob("INCAR"))
    assert found == ["bulk/INCAR", "bulk/relaxation/INCAR"]
    assert "NSW = 0" in (tmp_path / "inputs/bulk/INCAR").read_text()
    assert "IBRION = 2" in (tmp_path / "inputs/bulk/relaxation/INCAR").read_text()
    poscar = ase.io.read(tmp_path / "inputs/bulk/POSCAR")
    assert poscar.get_volume() == pytest.approx(3.6**3 / 4), "the first of its kind"


def test_what_an_engine_lacks_here_is_said(monkeypatch):
    monkeypatch.delenv("ASE_VASP_COMMAND", raising=False)
    entries = [Entry(bulk("Cu"), "bulk")]
    assert what_is_missing(parse(Recipe, RECIPE, "test"), entries) == ""
    vasp = parse(Recipe, RECIPE | {"engine": {"name": "vasp"}}, "test")
    assert "ASE_VASP_COMMAND" in what_is_missing(vasp, entries)
