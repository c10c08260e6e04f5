"""The paper's campaign: counts, ids, parents, the same on every machine."""

import hashlib
import re
from collections import Counter
from inspect import signature
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase.constraints import FixAtoms
from ase.neighborlist import neighbor_list

from culi_mlip.configuration import parse
from culi_mlip.errors import RecipeError, StructureError
from culi_mlip.labelling.recipe import Recipe
from culi_mlip.structures import (
    Campaign,
    Entry,
    adatoms,
    bulk,
    campaign,
    first_match,
    interface,
    join,
    lattice_matches,
    li_on_cu,
    rattled,
    registry_shifts,
    slab,
    strained,
    supercell,
    surface_vacancies,
    thermal,
)
from culi_mlip.structures.campaign import LABELLING_KEYS
from culi_mlip.structures.parts import (
    AdatomPart,
    AdlayerPart,
    BulkPart,
    InterfacePart,
    SlabPart,
    VacancyPart,
)

# Of the ids and positions (1e-7 Å) of all structures, in their order. A change of this number
# means that every dataset of the paper's campaign changes.
PAPER_DIGEST = "c70d73b3431b11d7"


@pytest.fixture(scope="module")
def paper():
    return list(campaign("paper"))


def test_counts_of_the_paper(paper):
    assert Counter(e.kind for e in paper) == {
        "slab": 26,
        "vacancy": 102,
        "adatom": 616,
        "interface": 13,
    }


def test_same_structures_on_every_machine(paper):
    content = hashlib.sha256()
    for entry in paper:
        content.update(entry.uid.encode())
        content.update(np.ascontiguousarray(entry.atoms.positions.round(7) + 0.0).tobytes())
    assert content.hexdigest()[:16] == PAPER_DIGEST


def test_ids_are_unique_and_parents_are_there(paper):
    ids = {e.uid for e in paper}
    assert len(ids) == len(paper)
    slabs = {e.uid for e in paper if e.kind == "slab"}
    for entry in paper:
        assert (entry.parent in slabs) == (entry.kind != "slab")
        if entry.kind == "interface":
            assert entry.how["film"] in slabs


def test_an_adatom_stands_on_its_parent(paper):
    slabs = {e.uid: e.atoms for e in paper if e.kind == "slab"}
    for entry in paper:
        if entry.kind == "adatom":
            base = slabs[entry.parent] * (2, 2, 1)
            np.testing.assert_allclose(entry.atoms.positions[:-1], base.positions, atol=1e-8)


def test_disorder_follows_its_ideal_and_repeats():
    content = {
        "structures": [
            {
                "kind": "adlayer",
                "symbol": "Cu",
                "millers": [[1, 1, 1]],
                "thickness": 5,
                "coverages": [0.3, 2.0],
                "disorder": {"copies": 2, "rattle": [0.1], "temperatures": [300]},
            }
        ]
    }
    recipe = parse(Campaign, content, "test")
    entries = list(campaign(recipe))
    assert [("disorder" in e.how) for e in entries] == [False, True, True, True] * 2
    for ideal, *copies in (entries[:4], entries[4:]):
        assert {e.parent for e in copies} == {ideal.uid}
        assert len({e.uid for e in copies}) == 3
    assert [e.uid for e in campaign(recipe)] == [e.uid for e in entries]


def test_more_copies_leave_the_ideal_structures_as_they_are():
    part = {"kind": "adlayer", "symbol": "Cu", "millers": [[1, 0, 0]], "thickness": 5}
    part |= {"coverages": [0.3, 0.5, 0.7]}

    def ideal(copies):
        disorder = {"copies": copies, "rattle": [0.1]}
        recipe = parse(Campaign, {"structures": [part | {"disorder": disorder}]}, "test")
        return [e.uid for e in campaign(recipe) if "disorder" not in e.how]

    assert ideal(0) == ideal(1) == ideal(3)


BULK = {"kind": "bulk", "symbol": "Cu", "strains": [0.0, 0.01], "shears": [0.02]}
ADLAYER = {
    "kind": "adlayer",
    "symbol": "Cu",
    "millers": [[1, 0, 0], [1, 1, 1]],
    "thickness": 5,
    "coverages": [0.3, 0.6],
}


@pytest.mark.parametrize(
    "more",
    [
        [BULK | {"strains": [0.0, 0.01, 0.02]}, ADLAYER],
        [BULK | {"shears": [0.02, 0.03]}, ADLAYER],
        [BULK, ADLAYER | {"coverages": [0.3, 0.6, 0.9]}],
        [BULK, ADLAYER | {"millers": [[1, 0, 0], [1, 1, 1], [1, 1, 0]]}],
        [BULK, ADLAYER, BULK | {"symbol": "Li"}],
        [BULK | {"disorder": {"copies": 2, "temperatures": [300]}}, ADLAYER],
        [BULK | {"disorder": {"copies": 1, "temperatures": [300, 600]}}, ADLAYER],
    ],
)
def test_longer_recipes_have_the_structures_of_shorter_ones(more):
    """Disorder too: what a dataset has is not labelled again in another version."""
    disorder = {"copies": 1, "temperatures": [300]}

    def ids(parts):
        parts = [{"disorder": disorder} | part for part in parts]
        return {e.uid for e in campaign(parse(Campaign, {"structures": parts}, "test"))}

    assert ids([BULK, ADLAYER]) < ids(more)


def test_a_dataset_recipe_is_a_campaign_too_and_a_misspelt_key_is_not(tmp_path):
    assert {*Recipe.model_fields} - {*Campaign.model_fields} == {*LABELLING_KEYS}
    recipe = tmp_path / "r.yaml"
    recipe.write_text("structures: [{kind: slab, symbol: Cu, millers: [[1, 1, 1]]}]\nsede: 1")
    with pytest.raises(RecipeError, match="nearest valid key is 'seed'"):
        list(campaign(recipe))
    recipe.write_text(recipe.read_text().replace("sede: 1", "engine: {name: chgnet}"))
    assert len(list(campaign(recipe))) == 1


@pytest.mark.parametrize("arrangement", ["random", "island"])
def test_adlayers_of_a_recipe_are_arranged_as_it_says(arrangement):
    """In the recipe's own seed, a third of a layer by hand."""
    part = ADLAYER | {"millers": [[1, 1, 1]], "coverages": [0.3], "arrangement": arrangement}
    part |= {"repeat": [4, 4, 1], "a": 3.6}
    (entry,) = campaign(parse(Campaign, {"structures": [part]}, "test"))
    base = slab("Cu", (1, 1, 1), a=3.6, thickness=5)
    options = {"repeat": (4, 4, 1), "seed": entry.how["seed"], "arrangement": arrangement}
    by_hand = li_on_cu(base, 0.3, **options)
    np.testing.assert_allclose(entry.atoms.positions, by_hand.positions, atol=1e-8)


@pytest.mark.parametrize(
    "limits",
    [
        {"max_area": 30},
        {"area_tolerance": 0.02},
        {"length_tolerance": 0.02},
        {"angle_tolerance": 0.001},
    ],
    ids=str,
)
def test_interfaces_of_a_recipe_are_within_its_limits(limits):
    """Those that `interface` gives, or none where it gives none."""
    part = {"kind": "interface", "film": "Li", "substrate": "Cu", "film_thickness": 5,
            "substrate_thickness": 5, "pairs": [[[1, 1, 0], [1, 1, 1]]]}  # fmt: skip
    options = {"film_thickness": 5, "substrate_thickness": 5}
    loose = interface("Li", (1, 1, 0), "Cu", (1, 1, 1), **options)
    try:
        by_hand = interface("Li", (1, 1, 0), "Cu", (1, 1, 1), **options, **limits)
    except StructureError:
        with pytest.raises(StructureError, match="no match"):
            list(campaign(parse(Campaign, {"structures": [part | limits]}, "test")))
        return
    assert len(by_hand) != len(loose), "the limit matters"
    (entry,) = campaign(parse(Campaign, {"structures": [part | limits]}, "test"))
    assert len(entry.atoms) == len(by_hand)
    np.testing.assert_allclose(entry.atoms.positions, by_hand.positions, atol=1e-8)


def test_other_metals_need_their_lattice_constant():
    part = {"kind": "interface", "film": "Na", "substrate": "Ni", "pairs": [[[1, 1, 0], [1, 1, 1]]]}
    with pytest.raises(StructureError, match="no lattice constant is known here for Na"):
        list(campaign(parse(Campaign, {"structures": [part]}, "test")))
    part |= {"film_a": 4.29, "substrate_a": 3.52, "shifts": "high-symmetry"}
    entries = list(campaign(parse(Campaign, {"structures": [part]}, "test")))
    assert len(entries) > 1
    assert {str(e.atoms.symbols[0]) for e in entries} == {"Ni"}


def test_input_is_not_mutated():
    film, base = slab("Li", (2, 1, 1)), slab("Cu", (2, 1, 1))
    base.set_tags(7)
    match = first_match(film, base)

    def content():
        return [
            (atoms.todict(), atoms.arrays["layer"].tolist(), atoms.constraints[0].index.tolist())
            for atoms in (film, base)
        ]

    before = repr(content())
    adatoms(base, "Li")
    li_on_cu(base, 0.5)
    surface_vacancies(base)
    join(film, base, match)
    registry_shifts(film, base, match)
    strained(base, 0.01)
    rattled(base, 0.1, seed=0)
    thermal(base, 300, seed=0)
    supercell(base, 3)
    assert repr(content()) == before


def test_docs_name_every_key_and_their_recipe_runs():
    page = (Path(__file__).parents[2] / "docs/structures.md").read_text()
    for part in (BulkPart, SlabPart, VacancyPart, AdatomPart, AdlayerPart, InterfacePart):
        kind = part.model_fields["kind"].annotation.__args__[0]
        (row,) = re.findall(rf"^\| `{kind}` \| (.*) \|$", page, re.MULTILINE)
        keys = {*part.model_fields} - {"kind", "disorder"}
        if "those of a slab" in row:
            keys -= {*SlabPart.model_fields} - {"repeat"}
        assert {*re.findall(r"`(\w+)`", row)} == keys
    recipe = page.split("Lithium on nickel:\n\n")[1].split("\n\n(")[0]
    entries = list(campaign(parse(Campaign, yaml.safe_load(recipe), "docs")))
    assert Counter(e.kind for e in entries)["slab"] == 2
    assert any("rattled" in e.how.get("disorder", {}) for e in entries)


def test_unknown_recipe_and_key_are_named(tmp_path):
    with pytest.raises(RecipeError, match="does not exist"):
        list(campaign(tmp_path / "none.yaml"))
    recipe = tmp_path / "r.yaml"
    recipe.write_text("structures: [{kind: vacancy, symbol: Cu, milers: [[1, 1, 1]]}]")
    with pytest.raises(RecipeError, match="nearest valid key is 'millers'"):
        list(campaign(recipe))


def made(part, **rest):
    """The entries of a recipe with one part."""
    return list(campaign(parse(Campaign, {"structures": [part], **rest}, "test")))


def thickness(atoms):
    return np.ptp(atoms.positions[:, 2])


def vacuum(atoms):
    return atoms.cell[2, 2] - thickness(atoms)


SLAB = {"symbol": "Cu", "a": 3.7, "thickness": 4.0, "vacuum": 6.5, "free_layers": 1}


def assert_slab_as_asked(atoms, cells):
    """Four layers of Cu(100) with a = 3.7 Å, the middle ones fixed, as SLAB says."""
    copper = atoms[atoms.symbols == "Cu"]
    assert len(atoms.constraints[0].index) == 2 * cells
    assert thickness(copper) == pytest.approx(3 * 3.7 / 2)
    assert neighbor_list("d", copper, 3.0).min() == pytest.approx(3.7 / 2**0.5)
    assert vacuum(atoms) == pytest.approx(13)
    area = np.linalg.norm(np.cross(*atoms.cell.array[:2]))
    assert area == pytest.approx(cells * 3.7**2 / 2)


def test_every_option_of_a_slab_reaches_all_that_is_made_of_it():
    part = SLAB | {"millers": [[1, 0, 0]]}
    (entry,) = made(part | {"kind": "slab", "repeat": [1, 3, 1]})
    assert_slab_as_asked(entry.atoms, 3)
    assert entry.atoms.cell.lengths()[:2] == pytest.approx([3.7 / 2**0.5, 3 * 3.7 / 2**0.5])
    assert {k: entry.how[k] for k in ("a", "vacuum", "free_layers", "repeat", "millers")} == {
        "a": 3.7, "vacuum": 6.5, "free_layers": 1, "repeat": (1, 3, 1), "millers": ((1, 0, 0),)
    }  # fmt: skip
    (entry,) = made(part | {"kind": "vacancy", "repeat": 5})
    assert len(entry.atoms) == 4 * 5 - 1
    assert entry.how["coordination"] == 8
    assert_slab_as_asked(entry.atoms, 5)
    adatom = {"kind": "adatom", "adatom": "Na", "height": 2.6, "repeat": [1, 2, 1]}
    entries = made(part | adatom)
    assert [(e.how["site"], e.how["site_number"]) for e in entries] == [
        ("top", 1), ("bridge", 1), ("hollow", 1)
    ]  # fmt: skip
    for entry in entries:
        assert str(entry.atoms.symbols) == "Cu8Na"
        assert entry.atoms.positions[-1, 2] - entry.atoms.positions[:-1, 2].max() == (
            pytest.approx(2.6)
        )
        assert (entry.how["adatom"], entry.how["height"]) == ("Na", 2.6)
        assert_slab_as_asked(entry.atoms, 2)


def test_every_option_of_an_adlayer_reaches_it():
    part = SLAB | {"kind": "adlayer", "millers": [[1, 0, 0]], "repeat": [2, 3, 1]}
    part |= {"adatom": "Ag", "adatom_a": 4.2, "height": 2.4, "coverages": [0.5, 1.5]}
    half, more = made(part)
    for entry, n in ((half, 3), (more, 9)):
        assert (entry.atoms.symbols == "Ag").sum() == n
        assert (entry.how["adatom"], entry.how["coverage"]) == ("Ag", n / 6)
        assert entry.how["height"] == 2.4
        copper, silver = (entry.atoms.positions[entry.atoms.symbols == s, 2] for s in ("Cu", "Ag"))
        assert silver.min() - copper.max() == pytest.approx(2.4)
        assert_slab_as_asked(entry.atoms, 6)
    assert np.ptp(silver) == pytest.approx((4.2**3 / 4) / (3.7**2 / 2), abs=1e-6)
    assert more.how["adatom_a"] == 4.2
    assert "adatom_a" not in half.how, "one layer has the slab's lattice"
    assert half.how["seed"] != more.how["seed"]


def test_every_option_of_an_interface_reaches_it():
    part = {
        "kind": "interface", "film": "Ag", "substrate": "Cu", "pairs": [[[1, 0, 0], [1, 1, 0]]],
        "film_a": 4.2, "substrate_a": 3.5, "film_thickness": 5.0, "substrate_thickness": 4.0,
        "gap": 2.6, "vacuum": 7.0, "strain": "substrate", "shifts": [[0.0, 0.0], [0.25, 0.5]],
        "max_area": 90.0,
    }  # fmt: skip
    entries = made(part)
    assert [e.how["shift"] for e in entries] == [(0.0, 0.0), (0.25, 0.5)]
    assert not np.allclose(*(e.atoms.positions for e in entries))
    for entry in entries:
        silver, copper = (entry.atoms[entry.atoms.symbols == s] for s in ("Ag", "Cu"))
        assert silver.positions[:, 2].min() - copper.positions[:, 2].max() == pytest.approx(2.6)
        assert vacuum(entry.atoms) == pytest.approx(14)
        assert thickness(silver) == pytest.approx(3 * 4.2 / 2), "4 layers reach 5 Å"
        assert thickness(copper) == pytest.approx(4 * 3.5 / 8**0.5), "5 layers reach 4 Å"
        nearest = neighbor_list("d", silver, 3.1)
        assert nearest == pytest.approx(4.2 / 2**0.5), "the substrate alone is strained"
        assert entry.how["film_strain"] == pytest.approx([0, 0, 0], abs=1e-9)
        assert max(map(abs, entry.how["substrate_strain"])) > 1e-3
        area = np.linalg.norm(np.cross(*entry.atoms.cell.array[:2]))
        assert entry.how["area"] == pytest.approx(area)
        expected = {"film_a": 4.2, "substrate_a": 3.5, "gap": 2.6, "strained": "substrate",
                    "symbols": ("Ag", "Cu"), "millers": ((1, 0, 0), (1, 1, 0))}  # fmt: skip
        assert {key: entry.how[key] for key in expected} == expected
        n_film, n_copper = (abs(round(np.linalg.det(entry.how[f"{side}_cell"])))
                            for side in ("film", "substrate"))  # fmt: skip
        assert (len(silver), len(copper)) == (4 * n_film, 5 * n_copper)
    for key, value, words in (
        ("max_area", 1.0, "within 1 Å²"),
        ("area_tolerance", 0.0, r"area by .* \(limit 0.00%\)"),
        ("length_tolerance", 0.0, "within 90 Å²: nothing comes near"),
    ):
        with pytest.raises(StructureError, match=words):
            made(part | {key: value})


def test_crystals_are_strained_and_sheared_as_they_say():
    part = {"kind": "bulk", "symbol": "Li", "a": 3.6, "repeat": [1, 2, 3]}
    entries = made(part | {"strains": [0.02], "shears": [0.04, 0.01]})
    primitive = 3.6 / 2 * np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]])
    ideal = primitive * np.array([[1], [2], [3]])
    assert [len(e.atoms) for e in entries] == [6] * 3
    np.testing.assert_allclose(entries[0].atoms.cell.array, 1.02 * ideal, atol=1e-8)
    assert (entries[0].how["strain"], entries[0].how["a"]) == (0.02, 3.6)
    for entry, size in zip(entries[1:], (0.04, 0.01), strict=True):
        strain = np.array(entry.how["strain"])
        np.testing.assert_array_equal(strain, strain.T)
        assert size / 4 < np.abs(strain).max() <= size
        np.testing.assert_allclose(entry.atoms.cell.array, ideal @ (np.eye(3) + strain), atol=1e-7)


def test_rattled_sizes_are_taken_in_turn_and_temperatures_once_each():
    part = {"kind": "bulk", "symbol": "Cu", "repeat": [4, 4, 4]}
    part["disorder"] = {"copies": 3, "rattle": [0.04, 0.16], "temperatures": [900, 100]}
    ideal, *moved = made(part)
    assert [e.how["disorder"].get("rattled") for e in moved] == [0.04, 0.16, 0.04, None, None]
    assert [e.how["disorder"].get("copy") for e in moved] == [1, 2, 3, None, None]
    assert [e.how["disorder"].get("thermal_K") for e in moved] == [None] * 3 + [900, 100]
    assert len({e.how["disorder"]["seed"] for e in moved}) == 5
    spread = [(e.atoms.positions - ideal.atoms.positions).std() for e in moved]
    # √(3ħ²T/(m k θ²)) of copper at 900 K is 0.144 Å.
    assert spread == pytest.approx([0.04, 0.16, 0.04, 0.144, 0.144 / 3], rel=0.1)
    for entry in moved:
        size = [entry.how["disorder"].get(key) for key in ("rattled", "thermal_K")]
        make = rattled if size[0] else thermal
        again = make(ideal.atoms, size[0] or size[1], seed=entry.how["disorder"]["seed"])
        np.testing.assert_allclose(again.positions, entry.atoms.positions, atol=1e-8)


def test_lattice_constants_of_the_recipe_fill_what_parts_leave_out():
    constants = {"Cu": 3.9, "Li": 3.2}
    bulk_part = {"kind": "bulk", "symbol": "Cu", "repeat": [1, 1, 1]}
    own = bulk_part | {"a": 3.5}
    pair = {"kind": "interface", "film": "Li", "substrate": "Cu", "substrate_a": 3.6,
                 "pairs": [[[1, 0, 0], [1, 0, 0]]]}  # fmt: skip
    layers = {"kind": "adlayer", "symbol": "Cu", "millers": [[1, 0, 0]], "thickness": 4,
              "coverages": [2]}  # fmt: skip
    recipe = parse(
        Campaign,
        {"structures": [bulk_part, own, pair, layers], "lattice_constants": constants},
        "test",
    )
    done = []
    first, second, third, fourth = campaign(recipe, progress=lambda *at: done.append(at))
    assert first.atoms.get_volume() == pytest.approx(3.9**3 / 4)
    assert second.atoms.get_volume() == pytest.approx(3.5**3 / 4)
    assert (third.how["film_a"], third.how["substrate_a"]) == (3.2, 3.6)
    assert (fourth.how["a"], fourth.how["adatom_a"]) == (3.9, 3.2)
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert recipe.open_lattices == []
    open_ = parse(Campaign, {"structures": [layers, pair, own]}, "test").open_lattices
    assert open_ == ["Cu", "Li"]
    thin = parse(Campaign, {"structures": [layers | {"a": 3.6, "coverages": [1]}]}, "test")
    assert thin.open_lattices == [], "one layer has the slab's lattice"


def test_a_campaign_of_another_engine_names_what_it_leaves_open(tmp_path):
    part = {"kind": "interface", "film": "Li", "substrate": "Cu", "substrate_a": 3.6}
    recipe = tmp_path / "r.yaml"
    for engine, refused in (({"name": "gpaw"}, True), ({"name": "chgnet"}, False), ({}, False)):
        recipe.write_text(yaml.safe_dump({"structures": [part], "engine": engine}))
        if refused:
            words = "leaves the lattice constants of Li to engine 'gpaw'"
            with pytest.raises(StructureError, match=words):
                campaign(recipe)
        else:
            campaign(recipe)


def test_another_seed_is_another_draw():
    part = {"kind": "bulk", "symbol": "Cu", "shears": [0.02], "disorder": {"copies": 1}}
    first, again, other = (
        {e.uid for e in made(part, seed=seed) if e.how["strain"] or "disorder" in e.how}
        for seed in (1, 1, 2)
    )
    assert first == again
    assert not first & other


def test_defaults_of_parts_are_those_of_the_docs():
    """Gaps, heights, vacuum and limits that the page of structures states."""
    pair = InterfacePart(kind="interface", film="Li", substrate="Cu")
    assert (pair.gap, pair.vacuum, pair.strain) == (3.0, 15.0, "film")
    assert (pair.area_tolerance, pair.length_tolerance, pair.angle_tolerance) == (
        0.09, 0.09, 0.09,
    )  # fmt: skip
    assert pair.shifts == ((0.0, 0.0),)
    layer = AdlayerPart(kind="adlayer", symbol="Cu", coverages=(1,))
    assert (layer.height, layer.vacuum, layer.free_layers, layer.adatom) == (2.0, 15.0, 2, "Li")
    assert layer.arrangement == "random"
    assert VacancyPart(kind="vacancy", symbol="Cu").repeat == (2, 2, 1)
    adatom = AdatomPart(kind="adatom", symbol="Cu", adatom="Li")
    assert (adatom.repeat, adatom.height) == ((2, 2, 1), 2.0)
    assert SlabPart(kind="slab", symbol="Cu").repeat == (1, 1, 1)
    assert BulkPart(kind="bulk", symbol="Cu").strains == (0.0,)


def test_an_id_is_of_species_places_cell_and_periodicity_alone():
    """To a millionth of an Å; what is known of a structure beside these changes nothing."""
    atoms = bulk("Cu", cubic=True)
    uid = Entry(atoms, "bulk").uid
    assert re.fullmatch("s[0-9a-f]{15}", uid)
    for change in (
        lambda a: a.set_pbc((True, True, False)),
        lambda a: a.set_cell(a.cell.array * 1.000001),
        lambda a: a.symbols.__setitem__(2, "Ag"),
        lambda a: a.positions.__setitem__((1, 2), a.positions[1, 2] + 2e-6),
        lambda a: a.positions.__setitem__(slice(None), a.positions[[0, 2, 1, 3]]),
    ):
        other = atoms.copy()
        change(other)
        assert Entry(other, "bulk").uid != uid
    same = atoms.copy()
    same.positions += 2e-7
    same.positions[0, 0] = -2e-7
    same.info["kind"] = "other"
    same.set_constraint(FixAtoms([0]))
    same.set_momenta(np.ones((4, 3)))
    assert Entry(same, "slab", parent="p", trajectory="t", how={"a": 1}).uid == uid


def test_a_part_that_cannot_be_built_is_named_by_its_place():
    good = {"kind": "bulk", "symbol": "Cu"}
    pair = {"kind": "interface", "film": "Li", "substrate": "Cu", "gap": 0.1,
            "pairs": [[[1, 0, 0], [1, 1, 0]]]}  # fmt: skip
    for part, words in (
        (pair, r"structures.1 of the recipe, interface Li\(100\) on Cu\(110\): atoms overlap"),
        ({"kind": "slab", "symbol": "Cu", "millers": [[1, 1, 1], [2, 1, 1]], "thickness": 3},
         r"structures.1 of the recipe, slab Cu\(111\): slab of Cu \(1, 1, 1\) has 3 layers, which "
         "cannot hold 2×2 free"),
        ({"kind": "bulk", "symbol": "Ag"}, "structures.1 of the recipe, bulk Ag: no lattice"),
    ):  # fmt: skip
        with pytest.raises(StructureError, match=words):
            list(campaign(parse(Campaign, {"structures": [good, part]}, "test")))


@pytest.mark.parametrize("name", ["published", "lattice_constants"])
def test_kinds_and_elements_of_a_recipe_are_checked(name):
    wrong = {"published": {"slab": 3}, "lattice_constants": {"Qq": 3.6}}[name]
    words = {"published": "no part is of kind 'slab': use bulk", "lattice_constants": "'Qq'"}[name]
    with pytest.raises(RecipeError, match=words):
        parse(Campaign, {"structures": [{"kind": "bulk", "symbol": "Cu"}], name: wrong}, "test")


@pytest.mark.parametrize(
    ("function", "part", "names"),
    [
        (interface, InterfacePart(kind="interface", film="Li", substrate="Cu"),
         {"gap", "vacuum", "strain", "max_area", "film_a", "substrate_thickness",
          "area_tolerance", "length_tolerance", "angle_tolerance"}),
        (join, InterfacePart(kind="interface", film="Li", substrate="Cu"),
         {"gap", "vacuum", "strain"}),
        (first_match, InterfacePart(kind="interface", film="Li", substrate="Cu"),
         {"max_area", "area_tolerance", "length_tolerance", "angle_tolerance"}),
        (lattice_matches, InterfacePart(kind="interface", film="Li", substrate="Cu"),
         {"max_area", "area_tolerance", "length_tolerance", "angle_tolerance"}),
        (slab, SlabPart(kind="slab", symbol="Cu"), {"a", "thickness", "vacuum", "free_layers"}),
        (surface_vacancies, VacancyPart(kind="vacancy", symbol="Cu"), {"repeat"}),
        (adatoms, AdatomPart(kind="adatom", symbol="Cu", adatom="Li"), {"height", "repeat"}),
        (li_on_cu, AdlayerPart(kind="adlayer", symbol="Cu", coverages=(1,)),
         {"height", "repeat", "arrangement", "adatom_a"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)  # fmt: skip
def test_functions_and_recipes_have_the_same_defaults(function, part, names):
    parameters = signature(function).parameters
    assert {n: parameters[n].default for n in names} == {n: getattr(part, n) for n in names}
