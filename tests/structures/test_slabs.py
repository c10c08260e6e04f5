"""Slabs: layers, thickness, vacuum, constraint, and the symmetry that makes the faces equal."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
import spglib
from ase.build import fcc100, fcc111
from ase.neighborlist import neighbor_list
from pymatgen.core.surface import get_symmetrically_distinct_miller_indices
from pymatgen.io.ase import AseAtomsAdaptor

from culi_mlip.errors import StructureError
from culi_mlip.structures import bulk, distinct_millers, slab, supercell

MILLERS = distinct_millers(3)
DEFAULT_THICKNESS = {"Cu": 30.0, "Li": 20.0}


@pytest.mark.parametrize("symbol", ["Cu", "Li"])
@pytest.mark.parametrize("miller", MILLERS, ids=str)
def test_every_slab_is_as_thick_as_asked_with_two_equivalent_faces(symbol, miller):
    atoms = slab(symbol, miller)
    z = np.sort(atoms.positions[:, 2])
    layers, spacing = np.unique(z.round(6)), np.diff(z).max()
    assert len(layers) == len(atoms), "one atom a layer: the surface cell is primitive"
    assert DEFAULT_THICKNESS[symbol] <= np.ptp(z) < DEFAULT_THICKNESS[symbol] + spacing
    assert z[0] == pytest.approx(15)
    assert atoms.cell[2, 2] - z[-1] == pytest.approx(15)
    assert atoms.pbc.tolist() == [True, True, False]
    np.testing.assert_allclose(atoms.cell.array[2, :2], 0)
    fixed = atoms.constraints[0].index
    assert len(fixed) == len(layers) - 4
    assert set(np.argsort(atoms.positions[:, 2])[2:-2]) == set(fixed)
    symmetry = spglib.get_symmetry(
        (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers), symprec=1e-4
    )
    assert any((r == -np.eye(3)).all() for r in symmetry["rotations"]), "inversion"


def test_table_of_the_docs_is_that_of_the_slabs():
    page = (Path(__file__).parents[2] / "docs/structures.md").read_text()
    rows = re.findall(r"^\| \((\d)(\d)(\d)\) \| (.*) \|$", page, re.MULTILINE)
    assert [tuple(map(int, row[:3])) for row in rows] == MILLERS
    for (*miller, values), family in zip(rows, MILLERS, strict=True):
        expected = []
        for symbol in ("Cu", "Li"):
            atoms = slab(symbol, family)
            thickness = f"{np.ptp(atoms.positions[:, 2]):.2f}"
            expected += [str(len(atoms)), thickness, str(len(atoms.constraints[0].index))]
        assert values.split(" | ") == expected, miller


@pytest.mark.parametrize("symbol", ["Cu", "Li"])
@pytest.mark.parametrize("miller", MILLERS, ids=str)
def test_inner_atoms_have_the_bulk_coordination(symbol, miller):
    atoms = slab(symbol, miller)
    cutoff = 5.0
    middle = len(atoms) // 2
    i, distances = neighbor_list("id", atoms, cutoff)
    crystal = neighbor_list("d", bulk(symbol), cutoff)
    inner = np.argsort(atoms.positions[:, 2])[middle]
    np.testing.assert_allclose(np.sort(distances[i == inner]), np.sort(crystal), atol=1e-8)


@pytest.mark.parametrize(("miller", "build"), [((1, 0, 0), fcc100), ((1, 1, 1), fcc111)])
def test_low_index_slabs_equal_ase(miller, build):
    ours = slab("Cu", miller, thickness=10, free_layers=None)
    theirs = build("Cu", (1, 1, len(ours)), a=3.578, vacuum=15)
    for atoms in (ours, theirs):
        atoms.pbc = (True, True, False)
    distances = [np.sort(neighbor_list("d", atoms, 8.0)) for atoms in (ours, theirs)]
    np.testing.assert_allclose(*distances, atol=1e-8)


def test_thirteen_families_as_in_pymatgen():
    assert len(MILLERS) == 13
    for symbol in ("Cu", "Li"):
        structure = AseAtomsAdaptor.get_structure(bulk(symbol, cubic=True))
        theirs = get_symmetrically_distinct_miller_indices(structure, 3)
        assert {tuple(sorted(map(abs, m))) for m in theirs} == {tuple(sorted(m)) for m in MILLERS}


@pytest.mark.parametrize("repeat", [(2, 3, 1), 4, 7, [[1, 1], [-1, 2]]], ids=str)
def test_supercells_hold_the_same_crystal_and_keep_the_constraint(repeat):
    base = slab("Cu", (2, 1, 1))
    large = supercell(base, repeat)
    n = round(large.get_volume() / base.get_volume())
    assert len(large) == n * len(base)
    assert len(large.constraints[0].index) == n * len(base.constraints[0].index)
    distances = [np.sort(neighbor_list("d", atoms, 6.0)) for atoms in (base, large)]
    np.testing.assert_allclose(np.repeat(distances[0], n), distances[1], atol=1e-8)


@pytest.mark.parametrize("miller", MILLERS, ids=str)
@pytest.mark.parametrize("symbol", ["Cu", "Li"])
def test_cells_are_right_handed(symbol, miller):
    base = slab(symbol, miller)
    for atoms in (base, *(supercell(base, n) for n in range(2, 8))):
        assert np.linalg.det(atoms.cell.array) > 0


@pytest.mark.parametrize(
    "repeat", [0, 2.5, (2, 2), (2, 2, 2), (0, 1, 1), [[1, 1], [1, 1]], [[1.5, 0], [0, 1]]], ids=str
)
def test_impossible_repeats_are_refused(repeat):
    with pytest.raises(StructureError, match="repeat .*2×2 integer matrix"):
        supercell(slab("Cu", (1, 0, 0)), repeat)


def test_multiples_of_a_miller_index_are_the_same_plane():
    np.testing.assert_allclose(
        slab("Cu", (2, 2, 2)).positions, slab("Cu", (1, 1, 1)).positions, atol=1e-10
    )


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: slab("Cu", (0, 0, 0)), "Miller"),
        (lambda: slab("Cu", (1.5, 0, 0)), "Miller"),
        (lambda: slab("Xx", (1, 0, 0)), "Xx"),
        (lambda: slab("Zn", (1, 0, 0)), "Zn"),
        (lambda: slab("Ag", (1, 0, 0)), "Ag"),
        (lambda: slab("Cu", (1, 0, 0), thickness=3), "thickness"),
        (lambda: slab("Cu", 111), "Miller index 111"),
        (lambda: slab("Cu", (1, 0, 0), free_layers=-1), "free_layers"),
        (lambda: slab("Cu", (1, 0, 0), vacuum=-1), "vacuum"),
        (lambda: slab("Cu", (1, 0, 0), a=0), "a=0"),
    ],
)
def test_impossible_slabs_are_refused_by_name(call, names):
    with pytest.raises(StructureError, match=names):
        call()


def test_other_elements_are_20_angstrom_thick_and_free_layers_are_counted_from_each_face():
    silver = slab("Ag", (1, 0, 0), a=4.1, vacuum=9.0)
    assert 20 <= np.ptp(silver.positions[:, 2]) < 20 + 4.1 / 2
    assert silver.cell[2, 2] - np.ptp(silver.positions[:, 2]) == pytest.approx(18)
    assert silver.arrays["layer"].tolist() == list(range(len(silver)))
    assert (np.diff(silver.positions[:, 2]) > 0).all(), "from the bottom"
    n = len(silver)
    for free in (0, 1, 3):
        fixed = slab("Ag", (1, 0, 0), a=4.1, free_layers=free).constraints[0].index
        assert fixed.tolist() == list(range(free, n - free))
    assert not slab("Ag", (1, 0, 0), a=4.1, free_layers=None).constraints


@pytest.mark.parametrize("miller", [(1, 0, 0), (1, 1, 1), (2, 1, 1), (3, 3, 2)], ids=str)
@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_a_number_of_cells_has_the_longest_shortest_vector_of_all(miller, n):
    """Against all integer matrices of that determinant with small entries."""
    base = slab("Cu", miller, thickness=5, free_layers=None)
    plane = base.cell.array[:2, :2]

    def shortest(basis):
        steps = [(i, j) for i in range(-5, 6) for j in range(-5, 6) if i or j]
        return np.linalg.norm(np.array(steps) @ basis, axis=1).min()

    entries = np.array(list(itertools.product(range(-n, n + 1), repeat=4))).reshape(-1, 2, 2)
    upper = [m for m in entries if m[1, 0] == 0 and m[0, 0] * m[1, 1] == n and m[0, 0] > 0]
    best = max(shortest(matrix @ plane) for matrix in upper)
    cell = supercell(base, n).cell.array[:2, :2]
    assert abs(np.linalg.det(cell)) == pytest.approx(n * abs(np.linalg.det(plane)))
    assert np.linalg.norm(cell, axis=1).min() == pytest.approx(best)
    assert shortest(cell) == pytest.approx(best)
