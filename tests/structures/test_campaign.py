"""The paper's campaign: counts, ids, parents, the same on every machine."""

import hashlib
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml

from culi_mlip.configuration import parse
from culi_mlip.datasets.recipe import Recipe
from culi_mlip.errors import RecipeError, StructureError
from culi_mlip.structures import (
    Campaign,
    adatoms,
    campaign,
    first_match,
    interface,
    join,
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
