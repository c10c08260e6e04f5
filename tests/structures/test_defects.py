"""Surface vacancies by coordination."""

import numpy as np
import pytest
from ase.neighborlist import neighbor_list
from pymatgen.analysis.local_env import MinimumDistanceNN
from pymatgen.io.ase import AseAtomsAdaptor

from culi_mlip.errors import StructureError
from culi_mlip.structures import coordination, distinct_millers, slab, surface_vacancies

# Coordination of exposed atoms: textbook, such as Somorjai, Surface Chemistry and Catalysis.
CLASSES = {
    ("Cu", (1, 1, 1)): [9],
    ("Cu", (1, 0, 0)): [8],
    ("Cu", (1, 1, 0)): [7],
    ("Cu", (2, 1, 1)): [7, 9, 10],
    ("Cu", (3, 1, 1)): [7, 10],
    ("Cu", (2, 1, 0)): [6, 9],
    ("Li", (1, 0, 0)): [4],
    ("Li", (1, 1, 0)): [6],
    ("Li", (1, 1, 1)): [4],
}


@pytest.mark.parametrize(("surface", "classes"), CLASSES.items(), ids=str)
def test_one_vacancy_a_class(surface, classes):
    base = slab(*surface)
    found = surface_vacancies(base)
    assert [s.info["coordination"] for s in found] == classes
    for structure in found:
        assert len(structure) == 4 * len(base) - 1


@pytest.mark.parametrize("miller", distinct_millers(3), ids=str)
def test_coordination_is_that_of_pymatgen(miller):
    base = slab("Cu", miller, free_layers=None)
    structure = AseAtomsAdaptor.get_structure(base)
    finder = MinimumDistanceNN(tol=0.1)
    theirs = [finder.get_cn(structure, i) for i in range(len(base))]
    np.testing.assert_array_equal(coordination(base), theirs)


@pytest.mark.parametrize("miller", [(1, 1, 1), (2, 1, 1), (3, 3, 2)], ids=str)
def test_the_missing_atom_leaves_its_neighbours_one_bond_short(miller):
    base = slab("Cu", miller, free_layers=None)
    for structure in surface_vacancies(base, repeat=(3, 3, 1)):
        bonds = [len(neighbor_list("i", atoms, 3.0)) for atoms in (base, structure)]
        assert 9 * bonds[0] - bonds[1] == 2 * structure.info["coordination"]


def test_a_number_of_cells_keeps_the_vacancy_farthest_from_its_images():
    base = slab("Cu", (3, 3, 2))
    apart = {}
    for name, repeat in (("paper", (2, 2, 1)), ("roundest", 4)):
        structure = surface_vacancies(base, repeat=repeat)[0]
        assert len(structure) == 4 * len(base) - 1
        cell = structure.cell.array[:2]
        steps = [i * cell[0] + j * cell[1] for i in range(-2, 3) for j in range(-2, 3) if i or j]
        apart[name] = min(np.linalg.norm(step) for step in steps)
    assert apart["roundest"] > 1.5 * apart["paper"]


@pytest.mark.parametrize("miller", distinct_millers(3), ids=str)
@pytest.mark.parametrize("symbol", ["Cu", "Li"])
def test_the_outermost_atom_of_a_class_is_missing(symbol, miller):
    """Of the atoms of the upper half with as few neighbours, the highest."""
    base = slab(symbol, miller, free_layers=None)
    z, neighbours = base.positions[:, 2], coordination(base)
    for structure in surface_vacancies(base, repeat=(2, 2, 1)):
        whole, left = np.bincount(base.arrays["layer"]) * 4, structure.arrays["layer"]
        (layer,) = np.flatnonzero(whole - np.bincount(left, minlength=len(whole)))
        members = (neighbours == structure.info["coordination"]) & (z > z.mean())
        assert z[base.arrays["layer"] == layer].max() == pytest.approx(z[members].max())


def test_constraints_are_kept():
    base = slab("Cu", (1, 1, 1))
    structure = surface_vacancies(base)[0]
    assert len(structure.constraints[0].index) == 4 * len(base.constraints[0].index)


def test_removing_a_whole_layer_is_refused():
    with pytest.raises(StructureError, match="whole layer.*repeat the slab"):
        surface_vacancies(slab("Cu", (1, 1, 1)), repeat=(1, 1, 1))
