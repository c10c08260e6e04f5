"""Adsorption sites against pymatgen, adatoms, adlayers of lithium."""

import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list
from pymatgen.analysis.adsorption import AdsorbateSiteFinder
from pymatgen.core.surface import Slab
from pymatgen.io.ase import AseAtomsAdaptor

from culi_mlip.errors import StructureError
from culi_mlip.structures import (
    adatoms,
    adsorption_sites,
    distinct_millers,
    li_on_cu,
    slab,
    supercell,
)
from culi_mlip.structures.surfaces import in_plane_operations

LOW = [(s, m) for s in ("Cu", "Li") for m in ((1, 0, 0), (1, 1, 0), (1, 1, 1))]
SITES = {  # textbook sites; fcc and hcp hollows are two
    ("Cu", (1, 0, 0)): ["top", "bridge", "hollow"],
    ("Cu", (1, 1, 1)): ["top", "bridge", "hollow", "hollow"],
    ("Cu", (1, 1, 0)): ["top", "bridge", "bridge", "hollow"],
    ("Li", (1, 0, 0)): ["top", "bridge", "hollow"],
    ("Li", (1, 1, 0)): ["top", "bridge", "bridge", "hollow"],
    ("Li", (1, 1, 1)): ["top", "bridge", "hollow", "hollow"],
}


@pytest.mark.parametrize("surface", LOW, ids=str)
def test_low_index_faces_have_the_textbook_sites(surface):
    base = slab(*surface)
    structures = adatoms(base, "Li")
    assert [s.info["site"] for s in structures] == SITES[surface]
    for structure in structures:
        assert len(structure) == 4 * len(base) + 1
        assert structure[-1].symbol == "Li"
        height = structure.positions[-1, 2] - structure.positions[:-1, 2].max()
        assert height == pytest.approx(2.0)


def related(base, a, b):
    """Say whether a symmetry operation of the slab takes one in-plane point to another."""
    plane = base.cell.array[:2, :2]
    rotations, translations = in_plane_operations(base)
    off = rotations @ (a @ np.linalg.inv(plane)) + translations - b @ np.linalg.inv(plane)
    return bool((np.linalg.norm((off - np.rint(off)) @ plane, axis=1) < 0.02).any())


@pytest.mark.parametrize("surface", LOW, ids=str)
def test_sites_of_low_index_faces_are_those_of_pymatgen(surface):
    base = slab(*surface, free_layers=None)
    structure = AseAtomsAdaptor.get_structure(base)
    theirs = AdsorbateSiteFinder(
        Slab(
            structure.lattice,
            structure.species,
            structure.frac_coords,
            surface[1],
            structure,
            0,
            np.eye(3),
        )
    ).find_adsorption_sites(distance=0.0, symm_reduce=0.01)
    names = {"top": "ontop", "bridge": "bridge", "hollow": "hollow"}
    ours = adsorption_sites(base)
    for kind, name in names.items():
        mine = [s.position[:2] for s in ours if s.kind == kind]
        for point in theirs[name]:
            if kind == "bridge" and any(
                related(base, point[:2], s.position[:2]) for s in ours if s.atoms == 4
            ):
                continue  # the middle of a rectangle's diagonal: a four-fold hollow
            assert any(related(base, point[:2], m) for m in mine), (kind, point)
        for point in mine:
            assert any(related(base, p[:2], point) for p in theirs["all"]), (kind, point)


def environments(base):
    """Each site by its distances to the atoms around it."""
    found = []
    for site in adsorption_sites(base):
        probe = base + Atoms("H", positions=[np.add(site.position, [0, 0, 2.0])])
        i, j, d = neighbor_list("ijd", probe, 6.0)
        distances = np.sort(d[(i == len(base)) & (j != len(base))])
        found.append((site.kind, site.atoms, *distances.round(5)))
    return found


@pytest.mark.parametrize("miller", distinct_millers(3), ids=str)
@pytest.mark.parametrize("symbol", ["Cu", "Li"])
def test_sites_do_not_depend_on_vacuum_thickness_or_cell(symbol, miller):
    base = slab(symbol, miller)
    reference = environments(base)
    assert {kind for kind, *_ in reference} == {"top", "bridge", "hollow"}
    assert environments(slab(symbol, miller, vacuum=8.0)) == reference
    thicker = slab(symbol, miller, thickness=np.ptp(base.positions[:, 2]) + 5.0)
    assert environments(thicker) == reference
    skewed = supercell(base, [[1, 1], [0, 1]])
    assert environments(skewed) == reference
    turned = base.copy()
    turned.rotate(33, "z", rotate_cell=True)
    assert environments(turned) == reference
    assert environments(supercell(base, (2, 1, 1))) == reference
    shuffled = base[np.random.default_rng(0).permutation(len(base))]
    assert environments(shuffled) == reference


def test_the_first_hollow_of_a_111_face_continues_the_crystal():
    base = slab("Cu", (1, 1, 1))
    first, second = (s for s in adsorption_sites(base) if s.kind == "hollow")
    beneath = [
        {
            int(layer)
            for layer, off in zip(base.arrays["layer"], base.positions - site.position, strict=True)
            if np.linalg.norm(off_cell(off[:2], base)) < 1e-3
        }
        for site in (first, second)
    ]
    top = len(base) - 1
    assert top - 2 in beneath[0], "fcc: above the third layer"
    assert top - 1 in beneath[1], "hcp: above the second layer"


def off_cell(off, base):
    plane = base.cell.array[:2, :2]
    fraction = off @ np.linalg.inv(plane)
    return (fraction - np.rint(fraction)) @ plane


def test_nearest_neighbours_of_each_site_on_cu100():
    nearest = {}
    for structure in adatoms(slab("Cu", (1, 0, 0), thickness=8), "Li", repeat=(3, 3, 1)):
        i, d = neighbor_list("id", structure, 4.0)
        mine = d[i == len(structure) - 1]
        nearest[structure.info["site"]] = int((mine < mine.min() + 1e-3).sum())
    assert nearest == {"top": 1, "bridge": 2, "hollow": 4}


@pytest.mark.parametrize("miller", distinct_millers(3), ids=str)
def test_adatoms_at_steps_are_no_nearer_than_the_height(miller):
    for structure in adatoms(slab("Cu", miller), "Li", height=2.1):
        i, d = neighbor_list("id", structure, 4.0)
        assert d[i == len(structure) - 1].min() >= 2.1 - 1e-9


def test_constraint_of_the_slab_is_kept_and_the_adatom_is_free():
    structure = adatoms(slab("Cu", (1, 0, 0), thickness=10), "Li", repeat=3)[0]
    fixed = structure.constraints[0].index
    assert len(structure) - 1 not in fixed
    z = structure.positions[:-1, 2]
    inner = (z > np.unique(z.round(6))[1] + 0.1) & (z < np.unique(z.round(6))[-2] - 0.1)
    assert set(np.flatnonzero(inner)) == set(fixed)


@pytest.mark.parametrize("arrangement", ["random", "island"])
@pytest.mark.parametrize("coverage", [0.25, 0.5, 1.0, 2.5, 6.0])
def test_adlayer_has_the_coverage_asked_for_in_distinct_hollows(coverage, arrangement):
    base = slab("Cu", (1, 0, 0), thickness=6)
    options = {"seed": 1, "arrangement": arrangement, "repeat": (4, 4, 1)}
    structure = li_on_cu(base, coverage, **options)
    lithium = structure[structure.symbols == "Li"]
    assert len(lithium) == round(16 * coverage)
    assert len(neighbor_list("i", lithium, 2.4)) == 0
    assert structure.cell[2, 2] - structure.positions[:, 2].max() == pytest.approx(15)
    np.testing.assert_array_equal(
        structure.positions, li_on_cu(base, coverage, **options).positions
    )


def test_thick_lithium_has_the_density_of_bulk_lithium():
    structure = li_on_cu(slab("Cu", (1, 1, 1), thickness=6), 8, repeat=(2, 2, 1))
    z = np.unique(structure.positions[structure.symbols == "Li", 2].round(6))
    area = np.linalg.norm(np.cross(*structure.cell.array[:2])) / 4
    np.testing.assert_allclose(np.diff(z) * area, 3.414**3 / 2, atol=1e-4)


def test_layers_of_lithium_on_cu111_continue_the_stacking_of_copper():
    """In the plane each layer is where copper's next would be; bulk lithium's volume apart."""
    base = slab("Cu", (1, 1, 1), thickness=6, free_layers=None)
    n = len(base)
    crystal = slab("Cu", (1, 1, 1), thickness=(n + 3.5) * 3.578 / 3**0.5, free_layers=None)
    covered = li_on_cu(base, 3, repeat=(1, 1, 1))
    lithium = covered.positions[covered.symbols == "Li"]
    lithium = lithium[lithium[:, 2].argsort()]
    shift = crystal.positions[n - 1] - base.positions[n - 1]
    for layer, position in enumerate(lithium):
        off = position + shift - crystal.positions[n + layer]
        assert np.linalg.norm(off_cell(off[:2], base)) < 1e-6, f"layer {layer + 1}"
    apart = (3.414**3 / 2) / (3.578**2 * 3**0.5 / 4)
    assert np.diff(lithium[:, 2]) == pytest.approx([apart] * 2)
    assert lithium[0, 2] - base.positions[:, 2].max() == pytest.approx(2.0)
    # Three neighbours in the layer below, at the height of a triangle's top.
    wide = li_on_cu(base, 2, repeat=(3, 3, 1))
    i, d = neighbor_list("id", wide[wide.symbols == "Li"], np.hypot(apart, 3.578 / 6**0.5) + 0.05)
    near = d[i == 17]
    assert (np.abs(near - np.hypot(apart, 3.578 / 6**0.5)) < 1e-6).sum() == 3


def test_an_island_is_compact():
    base = slab("Cu", (1, 1, 1), thickness=6)
    bonds = {}
    for arrangement in ("island", "random"):
        atoms = li_on_cu(base, 0.2, arrangement=arrangement, repeat=(6, 6, 1))
        lithium = atoms[atoms.symbols == "Li"]
        bonds[arrangement] = len(neighbor_list("i", lithium, 2.6))
    assert bonds["island"] == 24, "a hexagon of seven has twelve bonds"
    assert bonds["random"] < 24


def test_an_element_without_a_default_needs_its_lattice_constant_for_many_layers_alone():
    base = slab("Cu", (1, 1, 1), thickness=6)
    assert (li_on_cu(base, 0.5, symbol="Na").symbols == "Na").sum() == 4
    with pytest.raises(StructureError, match="no lattice constant is known here for Na.*adatom_a"):
        li_on_cu(base, 2, symbol="Na")
    layers = li_on_cu(base, 2, symbol="Ag", adatom_a=4.09, height=2.5)
    z = np.unique(layers.positions[layers.symbols == "Ag", 2].round(6))
    area = np.linalg.norm(np.cross(*base.cell.array[:2]))
    assert np.diff(z) * area == pytest.approx(4.09**3 / 4, abs=1e-4)
    with pytest.raises(StructureError, match=r"Na on Cu would have neighbours at 2.53 Å, 3.72 Å"):
        li_on_cu(base, 2, symbol="Na", adatom_a=4.29)


@pytest.mark.parametrize("miller", [(1, 1, 1), (1, 1, 0), (2, 1, 1), (3, 1, 0)], ids=str)
def test_many_layers_are_apart(miller):
    layers = li_on_cu(slab("Cu", miller, thickness=10), 4, repeat=(2, 2, 1))
    assert neighbor_list("d", layers, 4.0).min() > 1.75


def test_many_layers_that_would_overlap_on_a_stepped_face_are_refused():
    with pytest.raises(StructureError, match=r"atoms overlap: Li-Li at 1\.6.*or an interface"):
        li_on_cu(slab("Cu", (3, 2, 1), thickness=10), 4)


@pytest.mark.parametrize("coverage", [0, -1, float("nan"), 0.01])
def test_impossible_coverage_is_refused(coverage):
    with pytest.raises(StructureError, match="coverage"):
        li_on_cu(slab("Cu", (1, 0, 0), thickness=6), coverage)


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda base: adatoms(base, "Qq"), "Qq"),
        (lambda base: adatoms(base, "Li", height=0), "height=0"),
        (lambda base: adatoms(base, "Li", height=0.5), "overlap.*raise height"),
        (lambda base: li_on_cu(base, "0.5"), "coverage='0.5'"),
        (lambda base: li_on_cu(base, 0.5, arrangement="heap"), "arrangement 'heap'"),
        (lambda base: adatoms(li_on_cu(base, 0.5), "Li"), "slab of Cu and Li"),
    ],
)
def test_wrong_adatoms_are_refused_by_name(call, names):
    with pytest.raises(StructureError, match=names):
        call(slab("Cu", (1, 0, 0), thickness=6))


def test_layers_of_adatoms_go_on_where_those_of_the_slab_end():
    base = slab("Cu", (1, 1, 0), thickness=5)
    for covered in (li_on_cu(base, 2.5, repeat=(2, 2, 1)), *adatoms(base, "Li")):
        z, layer = covered.positions[:, 2], covered.arrays["layer"]
        heights = np.unique(z.round(5))
        assert layer.tolist() == np.searchsorted(heights, z.round(5)).tolist()
        assert layer.max() == len(heights) - 1


def test_height_seed_and_element_of_an_adlayer_are_as_asked():
    base = slab("Cu", (1, 0, 0), thickness=5)
    options = {"repeat": (5, 4, 1), "height": 2.3, "symbol": "Na"}
    layers = [li_on_cu(base, 0.3, seed=seed, **options) for seed in (0, 1)]
    for covered in layers:
        sodium = covered.positions[covered.symbols == "Na"]
        assert len(sodium) == 6
        assert sodium[:, 2] - base.positions[:, 2].max() == pytest.approx([2.3] * 6)
        assert covered.cell.lengths()[:2] == pytest.approx(np.array([5, 4]) * 3.578 / 2**0.5)
        assert len(covered.constraints[0].index) == 20 * len(base.constraints[0].index)
    assert not np.allclose(layers[0].positions, layers[1].positions)
    with pytest.raises(StructureError, match=r"overlap: Cu-Li at 1.79 Å, closer than 70%"):
        li_on_cu(base, 0.3, height=0.1)


def test_sites_of_a_stepped_face_go_from_its_upper_edge_downwards():
    """Of each kind the highest first; a site is at the mean height of its atoms."""
    for miller in ((2, 1, 1), (3, 1, 1), (3, 2, 1)):
        for kind in ("top", "bridge", "hollow"):
            z = [s.position[2] for s in adsorption_sites(slab("Cu", miller)) if s.kind == kind]
            assert z == sorted(z, reverse=True)
            assert len(z) == 1 or z[0] > z[-1] + 0.1
    atoms = {"top": {1}, "bridge": {2}, "hollow": {3, 4}}
    for site in adsorption_sites(slab("Cu", (3, 1, 1))):
        assert site.atoms in atoms[site.kind]
