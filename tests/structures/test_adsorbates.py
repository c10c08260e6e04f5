"""Adsorption sites and partial monolayers."""

import numpy as np
import pytest
from ase.neighborlist import neighbor_list

from culi_mlip.errors import StructureError
from culi_mlip.structures import adatoms, li_on_cu, slab

SITES = {  # textbook sites; fcc and hcp hollows are two
    ("Cu", (1, 0, 0)): ["top", "bridge", "hollow"],
    ("Cu", (1, 1, 1)): ["top", "bridge", "hollow", "hollow"],
    ("Cu", (1, 1, 0)): ["top", "bridge", "bridge", "hollow"],
    ("Li", (1, 0, 0)): ["top", "bridge", "hollow"],
}


@pytest.mark.parametrize(("surface", "kinds"), SITES.items(), ids=str)
def test_low_index_faces_have_the_textbook_sites(surface, kinds):
    base = slab(*surface, thickness=8)
    structures = adatoms(base, "Li")
    assert [s.info["site"] for s in structures] == kinds
    for structure in structures:
        assert len(structure) == 4 * len(base) + 1
        assert structure[-1].symbol == "Li"
        height = structure.positions[-1, 2] - structure.positions[:-1, 2].max()
        assert height == pytest.approx(2.0)


def test_nearest_neighbours_of_each_site_on_cu100():
    nearest = {}
    for structure in adatoms(slab("Cu", (1, 0, 0), thickness=8), "Li", repeat=(3, 3, 1)):
        i, d = neighbor_list("id", structure, 4.0)
        mine = d[i == len(structure) - 1]
        nearest[structure.info["site"]] = int((mine < mine.min() + 1e-3).sum())
    assert nearest == {"top": 1, "bridge": 2, "hollow": 4}


def test_sites_do_not_depend_on_the_vacuum():
    few, many = (adatoms(slab("Cu", (1, 1, 1), thickness=8, vacuum=v), "Li") for v in (10.0, 20.0))
    for a, b in zip(few, many, strict=True):
        np.testing.assert_allclose(a.positions[:, :2], b.positions[:, :2], atol=1e-8)


def test_constraint_of_the_slab_is_kept_and_the_adatom_is_free():
    structure = adatoms(slab("Cu", (1, 0, 0), thickness=10), "Li")[0]
    assert len(structure) - 1 not in structure.constraints[0].index
    assert len(structure.constraints[0].index) > 0


@pytest.mark.parametrize("coverage", [0.25, 0.5, 1.0])
def test_adlayer_has_the_coverage_asked_for_in_distinct_hollows(coverage):
    structure = li_on_cu(slab("Cu", (1, 0, 0), thickness=6), coverage, seed=1, repeat=(4, 4, 1))
    lithium = structure[structure.symbols == "Li"]
    assert len(lithium) == round(16 * coverage)
    assert len(neighbor_list("i", lithium, 2.4)) == 0
    again = li_on_cu(slab("Cu", (1, 0, 0), thickness=6), coverage, seed=1, repeat=(4, 4, 1))
    np.testing.assert_array_equal(structure.positions, again.positions)


@pytest.mark.parametrize("coverage", [0, 1.5, 0.01])
def test_impossible_coverage_is_refused(coverage):
    with pytest.raises(StructureError, match="coverage"):
        li_on_cu(slab("Cu", (1, 0, 0), thickness=6), coverage, seed=0)
