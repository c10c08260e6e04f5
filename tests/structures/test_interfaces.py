"""Zur-McGill matches and the interfaces built from them."""

import itertools

import numpy as np
import pytest
from ase import Atoms
from ase.build import fcc100
from ase.neighborlist import neighbor_list
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymatgen.analysis.interfaces.zsl import ZSLGenerator

from culi_mlip.errors import StructureError
from culi_mlip.structures import (
    bulk,
    distinct_millers,
    first_match,
    interface,
    join,
    lattice_matches,
    registry_shifts,
    slab,
)
from culi_mlip.structures.interfaces import registry_map
from culi_mlip.structures.lattices import point_group, reduced_plane

PAIRS = [("Li", (1, 0, 0), "Cu", (1, 0, 0)), ("Li", (1, 1, 0), "Cu", (1, 1, 1))]


def plane(atoms):
    return atoms.cell.array[:2, :2]


def metric(basis):
    """Lengths and angle of two vectors."""
    lengths = np.linalg.norm(basis, axis=1)
    return *lengths, np.degrees(np.arccos(basis[0] @ basis[1] / lengths.prod()))


def relative(x, y):
    return abs(x - y) / max(x, y)


def assert_within(match, film, substrate, area, length, angle):
    """Check a match from its integer matrices alone."""
    f, s = np.array(match.film) @ plane(film), np.array(match.substrate) @ plane(substrate)
    areas = [abs(np.linalg.det(basis)) for basis in (f, s)]
    assert match.area == pytest.approx(areas[1])
    assert relative(*areas) <= area + 1e-6
    (u, v, alpha), (p, q, beta) = metric(f), metric(s)
    assert relative(u, p) <= length + 1e-6
    assert relative(v, q) <= length + 1e-6
    assert relative(alpha, beta) <= angle + 1e-6
    told = [relative(*areas), max(relative(u, p), relative(v, q)), relative(alpha, beta)]
    assert match.mismatch == pytest.approx(told, abs=1e-9)
    # Principal strains are the singular values of the map of one cell to the other.
    stretch = np.linalg.svd(np.linalg.solve(f, s), compute_uv=False)
    np.testing.assert_allclose(
        np.sort(np.linalg.eigvalsh(match.strain)), np.sort(stretch - 1), atol=1e-9
    )


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_matches_keep_their_tolerances_checked_from_scratch(pair):
    film, substrate = slab(*pair[:2], thickness=8), slab(*pair[2:])
    matches = lattice_matches(
        film, substrate, max_area=100, length_tolerance=0.06, angle_tolerance=0.05
    )
    assert matches
    for match in matches:
        assert_within(match, film, substrate, 0.09, 0.06, 0.05)
    order = [(round(m.area, 6), round(m.max_strain, 8)) for m in matches]
    assert order == sorted(order)


@st.composite
def planes(draw):
    a = draw(st.floats(2.5, 4.5))
    b = draw(st.floats(2.5, 6.0))
    angle = draw(st.one_of(st.sampled_from([60.0, 90.0, 120.0]), st.floats(55, 125)))
    b = draw(st.sampled_from([a, b]))
    return a, b, angle


def atoms_of(lengths_and_angle):
    a, b, angle = lengths_and_angle
    return Atoms("H", cell=[a, b, 20, 90, 90, angle], pbc=(True, True, False))


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(film=planes(), substrate=planes())
def test_every_match_of_pymatgen_is_ours_up_to_equivalence(film, substrate):
    """Same lengths and angles of both superlattices, whichever way they lie: one match."""
    area, length, angle, max_area = 0.09, 0.04, 0.03, 45.0
    film, substrate = atoms_of(film), atoms_of(substrate)
    ours = lattice_matches(
        film,
        substrate,
        max_area=max_area,
        area_tolerance=area,
        length_tolerance=length,
        angle_tolerance=angle,
    )
    for match in ours:
        assert_within(match, film, substrate, area, length, angle)
    expected = []
    zsl = ZSLGenerator(
        max_area_ratio_tol=area, max_area=max_area, max_length_tol=length, max_angle_tol=angle
    )
    vectors = [atoms.cell.array[:2] for atoms in (film, substrate)]
    for theirs in zsl(*vectors, lowest=False):
        bases = np.array([theirs.film_sl_vectors, theirs.substrate_sl_vectors])
        areas = [np.linalg.norm(np.cross(*basis)) for basis in bases]
        if relative(*areas) > area or areas[1] > max_area:
            continue  # their area tolerance is one of area ratios
        expected.append(
            [
                np.rint(basis[:, :2] @ np.linalg.inv(v[:, :2]))
                for basis, v in zip(bases, vectors, strict=True)
            ]
        )
    assert_all_found(expected, ours, film, substrate)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    film=planes(),
    substrate=planes(),
    long=st.integers(1, 15),
    limits=st.sampled_from([(0.09, 0.09, 0.09), (0.05, 0.2, 0.1), (0.1, 0.05, 0.3)]),
)
def test_every_match_that_brute_force_finds_is_ours(film, substrate, long, limits):
    """Try all integer matrices of a film for one substrate cell, a long one too."""
    film, substrate = atoms_of(film), atoms_of(substrate)
    basis = np.array([[1, 0], [0, long]])
    target = basis @ plane(substrate)
    if not np.allclose(reduced_plane(target), target):
        return  # matches are judged by the substrate's reduced vectors
    area, length, angle = limits
    reach = int(np.linalg.norm(target[1]) / (1 - length) / np.linalg.norm(plane(film)[0])) * 2 + 2
    rows = np.array(list(itertools.product(range(-reach, reach + 1), repeat=2)))
    lengths = np.linalg.norm(rows @ plane(film), axis=1)
    first, second = (
        rows[(lengths > 0) & (np.abs(lengths - t) <= length * np.maximum(lengths, t))]
        for t in np.linalg.norm(target, axis=1)
    )
    expected = [
        np.array([u, v])
        for u in first
        for v in second
        if (det := round(u[0] * v[1] - u[1] * v[0]))
        and relative(abs(det * np.linalg.det(plane(film))), np.linalg.det(target)) <= area
        and relative(metric([u, v] @ plane(film))[2], metric(target)[2]) <= angle
    ]
    ours = lattice_matches(
        film,
        substrate,
        max_area=np.linalg.det(target) + 1e-6,
        area_tolerance=area,
        length_tolerance=length,
        angle_tolerance=angle,
    )
    assert_all_found([(u, basis) for u in expected], ours, film, substrate)


def assert_all_found(expected, ours, film, substrate):
    """Say that each pair of bases is one of the matches, up to symmetry of the two lattices."""
    groups = point_group(plane(film)), point_group(plane(substrate))
    found = np.array([_map(m.film, m.substrate) for m in ours]).reshape(-1, 2, 2)
    for bases in expected:
        images = groups[0][:, None] @ _map(*bases) @ groups[1]
        off = np.abs(images[:, :, None] - found).max(axis=(-1, -2))
        assert off.min(initial=1.0) < 1e-6, bases


def _map(film, substrate):
    """From film to substrate coordinates: a change of basis leaves it alone."""
    return np.linalg.solve(np.array(film, float), np.array(substrate, float))


@pytest.mark.parametrize(
    ("lattice", "order"),
    [((3, 3, 120), 12), ((3, 3, 90), 8), ((3, 4, 90), 4), ((3, 3, 80), 4), ((3, 4, 80), 2)],
)
def test_point_groups_of_the_five_lattices_in_the_plane(lattice, order):
    basis = plane(atoms_of(lattice))
    assert len(point_group(basis)) == order
    skewed = np.array([[2, 1], [1, 1]]) @ basis
    assert len(point_group(skewed)) == order


def test_no_two_matches_are_equivalent():
    """Apply every pair of symmetries to each match: no other match of the list comes out."""
    film, substrate = slab("Li", (1, 0, 0), thickness=8), slab("Cu", (1, 0, 0), thickness=8)
    matches = lattice_matches(film, substrate, max_area=60)
    groups = point_group(plane(film)), point_group(plane(substrate))
    maps = np.array([_map(m.film, m.substrate) for m in matches])
    images = groups[0][:, None] @ maps[:, None, None] @ groups[1]
    same = np.abs(images[:, None] - maps[None, :, None, None]).max(axis=(-1, -2)) < 1e-6
    np.testing.assert_array_equal(same.any(axis=(-1, -2)), np.eye(len(matches), dtype=bool))


def test_film_on_itself_matches_in_one_cell_without_strain_and_gives_one_crystal():
    cu = slab("Cu", (1, 1, 1), thickness=8, free_layers=None)
    best = lattice_matches(cu, cu, max_area=30)[0]
    assert best.max_strain == pytest.approx(0, abs=1e-9)
    assert best.area == pytest.approx(cu.cell.volume / cu.cell[2, 2])
    spacing = 3.578 / np.sqrt(3)
    # From layer to layer the crystal moves by a third of both vectors, up to symmetry.
    step = np.linalg.solve(plane(cu).T, (cu.positions[1] - cu.positions[0])[:2])
    both = join(cu, cu, best, gap=spacing, shift=step)
    whole = slab("Cu", (1, 1, 1), thickness=spacing * (2 * len(cu) - 1) - 1e-6, free_layers=None)
    assert len(both) == len(whole)
    np.testing.assert_allclose(
        np.sort(neighbor_list("d", both, 6.0)), np.sort(neighbor_list("d", whole, 6.0)), atol=1e-8
    )


@pytest.mark.parametrize("strain", ["film", "substrate", "shared"])
@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_reported_strain_is_the_measured_one_and_the_other_side_is_exact(pair, strain):
    film, substrate = (slab(*p, thickness=8, free_layers=None) for p in (pair[:2], pair[2:]))
    match = first_match(film, substrate)
    both = join(film, substrate, match, strain=strain)
    cell = plane(both)
    for name, original, matrix in (
        ("film", film, match.film),
        ("substrate", substrate, match.substrate),
    ):
        start = np.array(matrix) @ plane(original)
        if np.linalg.det(matrix) < 0:
            start = start * [1, -1]
        deformation = np.linalg.solve(start, cell)
        # Green-Lagrange: what is left of the map when the rotation is taken out.
        right = deformation.T @ deformation
        xx, yy, xy = both.info[f"{name}_strain"]
        stretch = np.array([[1 + xx, xy], [xy, 1 + yy]])
        np.testing.assert_allclose(stretch @ stretch, right, atol=1e-8)
        if strain not in (name, "shared"):
            np.testing.assert_allclose([xx, yy, xy], 0, atol=1e-12)
    sizes = {s: np.abs(both.info[f"{s}_strain"]).max() for s in ("film", "substrate")}
    if strain == "shared":
        assert sizes["film"] > 3 * sizes["substrate"] > 0, "soft lithium takes most of it"


@pytest.mark.parametrize("miller", distinct_millers(3), ids=str)
def test_every_same_index_pair_matches_and_is_as_asked(miller):
    gap = 3.0
    atoms = interface("Li", miller, "Cu", miller, gap=gap)
    lithium, copper = (atoms[atoms.symbols == s] for s in ("Li", "Cu"))
    assert lithium.positions[:, 2].min() - copper.positions[:, 2].max() == pytest.approx(gap)
    assert np.ptp(lithium.positions[:, 2]) >= 20
    assert np.ptp(copper.positions[:, 2]) >= 30
    assert atoms.positions[:, 2].min() == pytest.approx(15)
    assert atoms.cell[2, 2] - atoms.positions[:, 2].max() == pytest.approx(15)
    assert atoms.pbc.tolist() == [True, True, False]
    # Copper keeps its lattice.
    nearest = neighbor_list("d", copper, 3.0)
    np.testing.assert_allclose(nearest, 3.578 / np.sqrt(2), atol=1e-8)
    assert neighbor_list("d", atoms, 4.0).min() > 0.7 * (1.28 + 1.28)
    # Layers are in order, each a whole layer of one element.
    layer = atoms.arrays["layer"]
    order = np.argsort(layer, kind="stable")
    assert (np.diff(atoms.positions[order, 2]) > -1e-8).all()
    counts = {s: set(np.bincount(layer[atoms.symbols == s])) - {0} for s in ("Li", "Cu")}
    assert all(len(c) == 1 for c in counts.values())


def test_a_film_that_is_turned_over_stays_the_same_crystal():
    film, substrate = slab("Li", (3, 2, 1), thickness=8), slab("Cu", (3, 2, 1), thickness=8)
    turned = [
        m for m in lattice_matches(film, substrate, max_area=120) if np.linalg.det(m.film) < 0
    ]
    assert turned, "an oblique lattice has mirror images among its matches"
    both = join(film, substrate, turned[0], strain="substrate")
    lithium = both[both.symbols == "Li"]
    n = len(lithium) // len(film)
    distances = [np.sort(neighbor_list("d", atoms, 6.0)) for atoms in (film, lithium)]
    np.testing.assert_allclose(np.repeat(distances[0], n), distances[1], atol=1e-8)


def test_slabs_of_others_can_be_joined_and_nothing_stays_fixed():
    film, substrate = slab("Li", (1, 0, 0), thickness=8), fcc100("Cu", (1, 1, 6), a=3.6, vacuum=5)
    both = join(film, substrate, first_match(film, substrate))
    assert not both.constraints
    assert len(set(both.arrays["layer"])) == len(film) + 6


def test_shift_moves_the_film_in_units_of_the_substrate():
    film, substrate = slab("Li", (1, 0, 0), thickness=8), slab("Cu", (1, 0, 0), thickness=8)
    match = first_match(film, substrate)
    a, b = (join(film, substrate, match, shift=s) for s in ((0, 0), (0.5, 0.25)))
    moved = (b.positions - a.positions)[a.symbols == "Li", :2]
    still = (b.positions - a.positions)[a.symbols == "Cu", :2]
    np.testing.assert_allclose(still, 0, atol=1e-9)
    lengths = [np.linalg.norm(v) for v in [0.5, 0.25] * np.linalg.norm(plane(substrate), axis=1)]
    off = np.linalg.solve(plane(a).T, moved.T).T
    off = (off - off[0] - np.rint(off - off[0])) @ plane(a)
    np.testing.assert_allclose(off, 0, atol=1e-8)
    rotated = np.linalg.norm(moved[0] - np.rint(np.linalg.solve(plane(a).T, moved[0])) @ plane(a))
    assert rotated == pytest.approx(np.hypot(*lengths), abs=1e-8)


def test_high_symmetry_registries_are_top_bridge_and_hollow():
    cu = slab("Cu", (1, 1, 1), thickness=8)
    match = lattice_matches(cu, cu, max_area=6)[0]
    shifts = registry_shifts(cu, cu, match)
    np.testing.assert_allclose(shifts[0], 0, atol=1e-9)
    assert len(shifts) == 4, "top, bridge, two hollows"
    grid = registry_shifts(cu, cu, match, grid=6)
    assert len(grid) < 36, "symmetry leaves fewer"
    # Every point of the grid has the energy of one of those that are left (Lennard-Jones).
    chosen = {_lj(join(cu, cu, match, gap=2.2, shift=s, min_bond=0)) for s in grid}
    for i, j in itertools.product(range(6), repeat=2):
        energy = _lj(join(cu, cu, match, gap=2.2, shift=(i / 6, j / 6), min_bond=0))
        assert min(abs(energy - e) for e in chosen) < 1e-6
    assert len({round(e, 5) for e in chosen}) == len(grid)


def _lj(atoms):
    distances = neighbor_list("d", atoms, 7.0)
    return float((np.exp(-2 * (distances - 2.5)) - 2 * np.exp(-(distances - 2.5))).sum())


def test_no_match_tells_the_nearest_miss_and_the_limit():
    with pytest.raises(StructureError, match=r"nearest miss, at .* Å².*raise that tolerance"):
        interface("Li", (1, 0, 0), "Cu", (1, 0, 0), max_area=20, length_tolerance=0.04)
    with pytest.raises(StructureError, match="raise max_area"):
        interface("Li", (1, 0, 0), "Cu", (1, 1, 1), max_area=5, area_tolerance=0.01)


def test_limits_that_are_no_fractions_and_lengths_that_are_not_positive_are_refused():
    with pytest.raises(StructureError, match="area tolerance 9: give a fraction"):
        interface("Li", (1, 0, 0), "Cu", (1, 0, 0), area_tolerance=9)
    with pytest.raises(StructureError, match="gap=-1: give a number above 0"):
        interface("Li", (1, 0, 0), "Cu", (1, 0, 0), gap=-1)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"shift": (float("nan"), 0)}, r"shift\[0\]=nan"),
        ({"shift": (0,)}, "shift=.*two numbers"),
        ({"gap": "3"}, "gap='3'"),
        ({"gap": float("inf")}, "gap=inf"),
        ({"min_bond": float("nan")}, "min_bond=nan"),
        ({"max_area": float("nan")}, "max_area=nan"),
        ({"film_a": "x"}, "a='x'"),
        ({"length_tolerance": None}, "length_tolerance=None"),
    ],
)
def test_values_that_are_no_numbers_are_named(options, names):
    with pytest.raises(StructureError, match=names):
        interface("Li", (1, 1, 0), "Cu", (1, 1, 1), **options)


def test_a_match_of_other_slabs_and_crystals_that_are_no_slabs_are_refused():
    li, cu = slab("Li", (1, 1, 0), thickness=8), slab("Cu", (1, 1, 1), thickness=8)
    match = first_match(li, cu)
    for film, substrate in ((cu, li), (slab("Li", (1, 0, 0), thickness=8), cu)):
        with pytest.raises(StructureError, match="match belongs to other slabs"):
            join(film, substrate, match)
    with pytest.raises(StructureError, match="Cu is no slab.*vacuum"):
        lattice_matches(li, bulk("Cu"))


def test_registries_of_a_less_symmetric_film_keep_bridges_apart():
    """Li(110) leaves Cu(111) one mirror: its three bridges are two kinds, its hollows two."""
    li, cu = slab("Li", (1, 1, 0), thickness=8), slab("Cu", (1, 1, 1), thickness=8)
    match = first_match(li, cu)
    shifts = registry_shifts(li, cu, match)
    energies = [_lj(join(li, cu, match, gap=2.2, shift=s, min_bond=0)) for s in shifts]
    assert len({round(e, 5) for e in energies}) == len(shifts)
    for bridge in ((0.5, 0), (0, 0.5), (0.5, 0.5)):
        energy = _lj(join(li, cu, match, gap=2.2, shift=bridge, min_bond=0))
        assert min(abs(energy - e) for e in energies) < 1e-6
    assert (shifts >= 0).all()


def test_overlapping_atoms_and_unknown_strain_are_refused():
    with pytest.raises(StructureError, match=r"atoms overlap: Cu-Li at 0.50 Å.*raise gap"):
        interface("Li", (1, 0, 0), "Cu", (1, 0, 0), gap=0.5)
    with pytest.raises(StructureError, match="film, substrate or shared"):
        interface("Li", (1, 0, 0), "Cu", (1, 0, 0), strain="both")


def square(length, symbol="H"):
    return Atoms(symbol, cell=[length, length, 20], pbc=(True, True, False))


def test_the_nearest_miss_says_by_how_much_and_at_what_area():
    """Squares of 3 Å on 3.3 Å: areas differ by 17.36 %, lengths by 9.09 %, angles not at all."""
    film, substrate = square(3.0, "Li"), square(3.3, "Cu")
    limits = {"max_area": 12, "area_tolerance": 0.15, "length_tolerance": 0.08}
    with pytest.raises(StructureError) as error:
        first_match(film, substrate, **limits)
    assert str(error.value) == (
        "no match of Li on Cu within 12 Å²: the nearest miss, at 11 Å², is off in "
        "area by 17.36% (limit 15.00%) and length by 9.09% (limit 8.00%): "
        "raise that tolerance, or max_area"
    )
    wider = {"max_area": 12, "area_tolerance": 0.18, "length_tolerance": 0.091}
    match = first_match(film, substrate, **wider, angle_tolerance=0.0)
    assert match.mismatch == pytest.approx((1 - 9 / 10.89, 1 - 3 / 3.3, 0))
    assert match.area == pytest.approx(10.89)
    np.testing.assert_allclose(match.strain, 0.1 * np.eye(2), atol=1e-9)
    assert match.max_strain == pytest.approx(0.1)


def test_each_mismatch_is_that_of_the_cells():
    """A rhombus of 80° on one of 88°, sides 3 and 3.1 Å."""
    film, substrate = atoms_of((3.0, 3.0, 80.0)), atoms_of((3.1, 3.1, 88.0))
    match = first_match(film, substrate, max_area=10, angle_tolerance=0.1, area_tolerance=0.09)
    sines = np.sin(np.radians([80, 88]))
    assert match.mismatch.area == pytest.approx(1 - 9 * sines[0] / (3.1**2 * sines[1]))
    assert match.mismatch.length == pytest.approx(1 - 3 / 3.1)
    assert match.mismatch.angle == pytest.approx(1 - 92 / 100), "obtuse on obtuse"


@pytest.mark.parametrize("thickness", [(8, 8), (30, 6), (6, 30)])
def test_shared_strain_is_in_inverse_proportion_to_stiffness_times_thickness(thickness):
    """Bulk moduli of experiment: Cu 140 GPa, Li 11 GPa; strain energy is least there."""
    film, substrate = (
        slab(symbol, (1, 0, 0), thickness=t, free_layers=None)
        for symbol, t in zip(("Li", "Cu"), thickness, strict=True)
    )
    both = join(film, substrate, first_match(film, substrate), strain="shared")
    stiff = [
        modulus * np.ptp(atoms.positions[:, 2]) for modulus, atoms in ((11, film), (140, substrate))
    ]
    (film_xx, film_yy, _), (xx, yy, _) = both.info["film_strain"], both.info["substrate_strain"]
    for one, other in ((film_xx, xx), (film_yy, yy)):
        assert stiff[0] * np.log(1 + one) == pytest.approx(-stiff[1] * np.log(1 + other))


def test_every_option_of_an_interface_reaches_it():
    options = {
        "film_a": 3.5, "substrate_a": 3.7, "film_thickness": 5.0, "substrate_thickness": 9.0,
        "gap": 2.2, "vacuum": 8.0, "strain": "substrate",
    }  # fmt: skip
    atoms = interface("Li", (1, 0, 0), "Cu", (1, 1, 0), **options)
    lithium, copper = (atoms[atoms.symbols == s] for s in ("Li", "Cu"))
    assert np.ptp(lithium.positions[:, 2]) == pytest.approx(3 * 3.5 / 2)
    assert np.ptp(copper.positions[:, 2]) == pytest.approx(7 * 3.7 / 8**0.5)
    assert lithium.positions[:, 2].min() - copper.positions[:, 2].max() == pytest.approx(2.2)
    assert atoms.cell[2, 2] - np.ptp(atoms.positions[:, 2]) == pytest.approx(16)
    assert neighbor_list("d", lithium, 3.2) == pytest.approx(3.5 * 3**0.5 / 2), "not strained"
    assert atoms.info["area"] == pytest.approx(np.linalg.det(plane(atoms)))
    moved = interface("Li", (1, 0, 0), "Cu", (1, 1, 0), shift=(0.3, 0.1), **options)
    assert not np.allclose(moved.positions, atoms.positions)
    with pytest.raises(StructureError, match="closer than 90% of their bond"):
        interface("Li", (1, 0, 0), "Cu", (1, 1, 0), min_bond=0.9, **options)
    for limits, words in (
        ({"max_area": 2}, "within 2 Å²"),
        ({"area_tolerance": 0}, r"area by [^l]* \(limit 0.00%\)"),
        ({"length_tolerance": 0, "max_area": 41}, "within 41 Å²: nothing comes near"),
        ({"angle_tolerance": 0}, r"off in length by 10.04% \(limit 9.00%\): raise"),
    ):
        with pytest.raises(StructureError, match=words):
            interface("Li", (1, 1, 0), "Cu", (1, 1, 1), **{"max_area": 40, **limits})


def test_a_grid_of_registries_has_one_of_each_that_mirrors_make_equal():
    """Three points along each vector of a rectangle: moved by thirds of either."""
    film = Atoms("H", cell=[3, 4, 20], pbc=(True, True, False))
    match = first_match(film, film, max_area=13)
    shifts = registry_shifts(film, film, match, grid=3)
    third = 1 / 3
    expected = [(0, 0), (0, third), (third, 0), (third, third)]
    np.testing.assert_allclose(sorted(map(tuple, shifts)), expected, atol=1e-6)


def test_a_match_of_exactly_the_largest_area_counts_and_a_smaller_substrate_compresses():
    film, substrate = square(3.3, "Li"), square(3.0, "Cu")
    match = first_match(film, substrate, max_area=9.0, area_tolerance=0.18, length_tolerance=0.1)
    assert match.area == pytest.approx(9)
    np.testing.assert_allclose(match.strain, (3 / 3.3 - 1) * np.eye(2), atol=1e-9)
    assert match.max_strain == pytest.approx(1 - 3 / 3.3)
    with pytest.raises(StructureError, match="within 8.99 Å²"):
        first_match(film, substrate, max_area=8.99, area_tolerance=0.18, length_tolerance=0.1)


def test_at_no_shift_an_atom_of_the_film_is_above_one_of_the_substrate_and_layers_are_in_order():
    """Films as they are and turned over; heights grow with the number of the layer."""
    film, substrate = slab("Li", (3, 2, 1), thickness=8), slab("Cu", (3, 2, 1), thickness=8)
    matches = lattice_matches(film, substrate, max_area=120)
    turned = next(m for m in matches if np.linalg.det(m.film) < 0)
    for match in (matches[0], turned):
        both = join(film, substrate, match, strain="shared", gap=2.4)
        layer, z = both.arrays["layer"], both.positions[:, 2]
        heights = np.array([z[layer == n].mean() for n in range(layer.max() + 1)])
        assert z == pytest.approx(heights[layer], abs=1e-6)
        assert (np.diff(heights) > 1e-3).all()
        top = both.positions[layer == len(substrate) - 1]
        low = both.positions[layer == len(substrate)]
        assert low[0, 2] - top[0, 2] == pytest.approx(2.4)
        off = np.linalg.solve(plane(both).T, (low[:, None] - top)[..., :2].reshape(-1, 2).T).T
        assert np.linalg.norm((off - np.rint(off)) @ plane(both), axis=1).min() < 1e-6


def test_the_first_vector_of_an_interface_is_along_x_and_both_are_the_substrates():
    film, substrate = slab("Li", (1, 1, 0), thickness=8), slab("Cu", (1, 1, 1), thickness=8)
    match = next(m for m in lattice_matches(film, substrate) if m.substrate[0][1])
    both = join(film, substrate, match, strain="film")
    assert both.cell.array[0, 1:] == pytest.approx([0, 0], abs=1e-9)
    assert both.cell[0, 0] > 0
    vectors = np.array(match.substrate) @ plane(substrate)
    assert metric(plane(both)) == pytest.approx(metric(vectors))


def test_each_point_of_a_grid_belongs_to_an_equivalent_registry():
    """On a square lattice: mirrors and the diagonal exchange points; classes are numbered once."""
    base = slab("Cu", (1, 0, 0), thickness=6, free_layers=None)
    match = first_match(base, base)
    shifts = registry_shifts(base, base, match, grid=4)
    classes = registry_map(base, base, match, grid=4)
    i, j = np.indices((4, 4))
    x, y = np.minimum(i, 4 - i), np.minimum(j, 4 - j)  # from the nearest top site
    by_hand = np.sort(np.stack([x, y]), axis=0)
    for one in range(16):
        for other in range(16):
            same = (by_hand.reshape(2, 16)[:, one] == by_hand.reshape(2, 16)[:, other]).all()
            assert (classes.flat[one] == classes.flat[other]) == same
    assert classes.max() + 1 == len(shifts) == 6
    for number, shift in enumerate(shifts):
        at = np.rint(4 * shift).astype(int) % 4
        assert classes[tuple(at)] == number
