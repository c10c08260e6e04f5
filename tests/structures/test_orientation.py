"""Slabs of others: cut by the cell boundary, left-handed, skewed, with vacuum along any vector."""

import functools

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import fcc111
from ase.build import surface as ase_surface
from ase.constraints import FixAtoms
from ase.neighborlist import neighbor_list
from pymatgen.core.surface import SlabGenerator
from pymatgen.io.ase import AseAtomsAdaptor

from culi_mlip.errors import StructureError
from culi_mlip.structures import (
    adatoms,
    adsorption_sites,
    bulk,
    first_match,
    join,
    lattice_matches,
    li_on_cu,
    registry_shifts,
    slab,
    supercell,
    surface_vacancies,
    upright,
)


def ours(miller):
    """A slab with 7 Å of vacuum on each side whose two lowest layers are fixed."""
    atoms = slab("Cu", miller, thickness=4, vacuum=7, free_layers=None)
    atoms.set_constraint(FixAtoms(np.argsort(atoms.positions[:, 2])[:2]))
    return atoms


def straddling(atoms, pbc=True):
    """Move the middle of the slab to the boundary of c, as in VASP's files, and wrap it."""
    atoms.positions[:, 2] -= atoms.positions[:, 2].mean() - 0.3
    atoms.pbc = True
    atoms.wrap()
    assert np.ptp(atoms.positions[:, 2]) > 10
    atoms.pbc = pbc
    return atoms


def below(atoms):
    atoms.positions[:, 2] -= atoms.positions[:, 2].mean()
    atoms.pbc = True
    return atoms


def with_cell(atoms, matrix):
    """Choose other vectors of the same lattice, or none of it along the vacuum."""
    atoms.pbc = True
    atoms.set_cell(np.array(matrix) @ atoms.cell.array)
    return atoms


def turned(atoms, axes):
    """Rename x, y, z and the cell vectors cyclically: vacuum along the first or the second."""
    atoms.pbc = True
    atoms.set_cell(atoms.cell.array[np.ix_(axes, axes)])
    atoms.positions = atoms.positions[:, axes]
    return atoms


def rotated(atoms):
    atoms.pbc = True
    atoms.rotate(40, (1, 2, 3), rotate_cell=True)
    return atoms


def no_cell(atoms):
    atoms.cell[2] = 0
    return atoms


def one_period(atoms):
    atoms.pbc = (False, True, True)
    atoms.set_cell(atoms.cell.array[[2, 0, 1]])
    return atoms


OTHERS = {
    "straddling": straddling,
    "straddling, not periodic along c": lambda a: straddling(a, (True, True, False)),
    "about zero": below,
    "periodic": lambda a: with_cell(a, np.eye(3)),
    "left-handed": lambda a: with_cell(a, [[0, 1, 0], [1, 0, 0], [0, 0, 1]]),
    "left-handed straddling": lambda a: straddling(with_cell(a, np.diag([1, -1, 1]))),
    "c downwards": lambda a: straddling(with_cell(a, np.diag([1, 1, -1]))),
    "skewed c": lambda a: straddling(with_cell(a, [[1, 0, 0], [0, 1, 0], [1, 2, 1]])),
    "skewed plane": lambda a: with_cell(a, [[1, 0, 0], [4, 1, 0], [0, 0, 1]]),
    "unwrapped in the plane": lambda a: with_cell(unwrapped(a), np.eye(3)),
    "vacuum along a": lambda a: turned(a, [2, 0, 1]),
    "vacuum along b, straddling": lambda a: turned(straddling(a), [1, 2, 0]),
    "vacuum along a alone is not periodic": one_period,
    "rotated": rotated,
    "rotated straddling": lambda a: rotated(straddling(a)),
    "no cell along c": no_cell,
}


def unwrapped(atoms):
    atoms.positions += np.outer(np.arange(len(atoms)) - 2, atoms.cell.array[0])
    return atoms


def environments(structures, pick=-1):
    """Distances of one atom to all others, and how far it is from the fixed ones."""
    found = []
    for atoms in structures:
        atom = pick % len(atoms)
        i, j, d = neighbor_list("ijd", atoms, 6.0)
        fixed = np.isin(j, atoms.constraints[0].index)
        mine = i == atom
        found.append((len(atoms), int(fixed[mine].sum()), *np.sort(d[mine]).round(4)))
    return sorted(found)


@functools.cache
def of_ours(miller):
    base = ours(miller)
    return environments(adatoms(base, "Li", repeat=(2, 1, 1))), bonds(surface_vacancies(base))


def bonds(structures):
    return [(len(atoms), len(neighbor_list("i", atoms, 3.0))) for atoms in structures]


STEPPED = ["straddling", "rotated straddling", "skewed plane", "unwrapped in the plane"]


@pytest.mark.parametrize(
    ("form", "miller"), [(f, (1, 1, 1)) for f in OTHERS] + [(f, (2, 1, 1)) for f in STEPPED]
)
def test_adatoms_and_vacancies_of_any_form_of_a_slab_are_the_same(form, miller):
    other = OTHERS[form](ours(miller))
    before = other.copy()
    made = adatoms(other, "Li", repeat=(2, 1, 1))
    assert environments(made) == of_ours(miller)[0]
    for atoms in made:
        z = atoms.positions[:, 2]
        assert atoms.pbc.tolist() == [True, True, False]
        assert np.linalg.det(atoms.cell.array) > 0
        assert z.min() > -1e-6
        assert z.max() < atoms.cell[2, 2] + 1e-6
        if form != "no cell along c":
            assert atoms.cell[2, 2] - np.ptp(z) == pytest.approx(14)
    assert bonds(surface_vacancies(other)) == of_ours(miller)[1]
    assert before == other, "the input is not changed"


@pytest.mark.parametrize("form", OTHERS)
def test_adlayers_and_interfaces_of_any_form_are_the_same(form):
    base, other = ours((1, 1, 1)), OTHERS[form](ours((1, 1, 1)))
    film = slab("Li", (1, 1, 0), thickness=5, free_layers=None)
    layers = [li_on_cu(a, 2.0, repeat=(2, 2, 1)) for a in (base, other)]
    for cutoff in (4.0, 6.0):
        counts = [len(neighbor_list("i", a, cutoff)) for a in layers]
        assert counts[0] == counts[1]
    found = [lattice_matches(film, a, max_area=20) for a in (base, other)]
    assert [m.area for m in found[0]] == pytest.approx([m.area for m in found[1]])
    for name in ("substrate", "film"):
        joined = []
        for atoms in (base, other):
            pair = (film, atoms) if name == "substrate" else (atoms, film)
            match = first_match(*pair)
            both = join(*pair, match, gap=2.5)
            assert len(registry_shifts(*pair, match)) > 1
            sides = both.positions[both.symbols == "Li", 2], both.positions[both.symbols == "Cu", 2]
            lower, upper = sides[::-1] if name == "substrate" else sides
            assert upper.min() - lower.max() == pytest.approx(2.5)
            joined.append(np.sort(neighbor_list("d", both, 2.4)))
        np.testing.assert_allclose(*joined, atol=1e-4)


def test_sites_of_a_straddling_slab_are_on_its_atoms():
    base = straddling(ours((1, 1, 1)))
    whole = upright(base)
    top = whole.positions[whole.positions[:, 2].argmax()]
    sites = adsorption_sites(base)
    assert [s.kind for s in sites] == ["top", "bridge", "hollow", "hollow"]
    assert {round(s.position[2] - top[2], 6) for s in sites} == {0.0}
    moved = base + Atoms("H", positions=[np.add(sites[0].position, [0, 0, 1.5])])
    i, d = neighbor_list("id", moved, 2.0)
    assert d[i == len(base)] == pytest.approx([1.5])


def test_repeats_follow_the_users_vectors():
    base = straddling(ours((2, 1, 1)))
    left = with_cell(base.copy(), np.diag([1, -1, 1]))
    for atoms in (base, left):
        made = supercell(atoms, (3, 1, 1))
        lengths = atoms.cell.lengths()
        assert made.cell.lengths()[:2] == pytest.approx([3 * lengths[0], lengths[1]])


@pytest.mark.parametrize("orthogonal", [True, False])
@pytest.mark.parametrize("center", [True, False])
def test_slabs_of_pymatgen(center, orthogonal, tmp_path):
    structure = AseAtomsAdaptor.get_structure(bulk("Cu", cubic=True))
    made = SlabGenerator(
        structure, (1, 1, 1), 8, 12, center_slab=center, primitive=True, lll_reduce=False
    ).get_slab(shift=0.1)
    made = made.get_orthogonal_c_slab() if orthogonal else made
    made.to(filename=str(tmp_path / "POSCAR"), fmt="poscar")
    atoms = ase.io.read(tmp_path / "POSCAR")
    found = adatoms(atoms, "Li", repeat=(2, 2, 1))
    assert [a.info["site"] for a in found] == ["top", "bridge", "hollow", "hollow"]
    for structure in found:
        z = structure.positions[:, 2]
        assert z[-1] - z[:-1].max() == pytest.approx(2.0)
        assert len(neighbor_list("i", structure[:-1], 2.6)) == 4 * len(
            neighbor_list("i", atoms, 2.6)
        )


def test_slabs_of_ase():
    for atoms in (
        fcc111("Cu", (1, 1, 4), a=3.6),
        fcc111("Cu", (1, 1, 4), a=3.6, vacuum=0.0),
        fcc111("Cu", (1, 1, 4), a=3.6, vacuum=6.0, periodic=True),
        ase_surface(bulk("Cu", cubic=True), (1, 1, 1), 4, vacuum=6.0, periodic=True),
    ):
        found = adatoms(atoms, "Li")
        assert [a.info["site"] for a in found] == ["top", "bridge", "hollow", "hollow"]


def test_a_monolayer_is_one_atom_a_primitive_cell_of_any_slab():
    base = supercell(ours((1, 1, 1)), (2, 1, 1))
    covered = li_on_cu(base, 1.0, repeat=(2, 2, 1))
    assert (covered.symbols == "Li").sum() == 8
    assert neighbor_list("d", covered[covered.symbols == "Li"], 4.0).min() > 2.5
    shuffled = base[np.random.default_rng(1).permutation(len(base))]
    assert len(adsorption_sites(shuffled)) == 4


def test_our_slabs_stay_as_they_are():
    for miller in ((1, 1, 1), (3, 2, 1)):
        base = slab("Cu", miller)
        made = upright(base)
        np.testing.assert_array_equal(made.positions, base.positions)
        np.testing.assert_array_equal(made.cell.array, base.cell.array)
        assert made == base


@pytest.mark.parametrize(
    ("atoms", "names"),
    [
        (bulk("Cu", cubic=True), "Cu4 is no slab: give one with at least 5 Å of vacuum"),
        (Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 2]]), "Cu2 is no slab.*two directions"),
        (Atoms("Cu", pbc=(True, True, False)), "Cu is no slab: its cell spans no plane"),
        (Atoms("Cu", cell=[3, 20, 20], pbc=(True, False, False)), "two directions"),
    ],
)
def test_what_is_no_slab_is_refused(atoms, names):
    for call in (upright, lambda a: adatoms(a, "Li"), lambda a: supercell(a, 2)):
        with pytest.raises(StructureError, match=names):
            call(atoms)


def test_a_gap_of_five_angstrom_is_vacuum_and_a_slab_without_a_cell_gets_fifteen_on_each_side():
    crystal = bulk("Cu", cubic=True)
    for gap, is_slab in ((4.9, False), (5.1, True)):
        atoms = crystal.copy()
        atoms.cell[2, 2] = np.ptp(atoms.positions[:, 2]) + gap
        if is_slab:
            assert upright(atoms).cell[2, 2] == pytest.approx(atoms.cell[2, 2])
        else:
            with pytest.raises(StructureError, match="at least 5 Å of vacuum"):
                upright(atoms)
    free = no_cell(ours((1, 1, 1)))
    free.pbc = (True, True, False)
    made = upright(free)
    assert made.cell[2, 2] == pytest.approx(np.ptp(free.positions[:, 2]) + 30)
    (adatom, *_) = adatoms(free, "Li")
    z = adatom.positions[:, 2]
    assert z.min() > 0
    assert z.max() < adatom.cell[2, 2]
