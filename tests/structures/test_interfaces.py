"""Zur-McGill matches and the interfaces built from them."""

import numpy as np
import pytest
from ase.neighborlist import neighbor_list

from culi_mlip.errors import StructureError
from culi_mlip.structures import interface, lattice_matches, slab

PAIRS = [("Li", (1, 0, 0), "Cu", (1, 0, 0)), ("Li", (1, 1, 0), "Cu", (1, 1, 1))]


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_matches_keep_their_tolerances_checked_from_scratch(pair):
    film, film_miller, substrate, substrate_miller = pair
    above, below = slab(film, film_miller, thickness=8), slab(substrate, substrate_miller)
    matches = lattice_matches(above, below, max_area=100, area_tolerance=0.09, max_strain=0.06)
    assert matches
    for match in matches:
        f = np.array(match.film) @ above.cell.array[:2, :2]
        s = np.array(match.substrate) @ below.cell.array[:2, :2]
        areas = abs(np.linalg.det(f)), abs(np.linalg.det(s))
        assert max(areas) / min(areas) <= 1.09 + 1e-9
        assert areas[1] <= 100 + 1e-9
        # Principal strains are the singular values of the map of one cell to the other.
        stretch = np.linalg.svd(np.linalg.solve(f, s), compute_uv=False)
        assert np.abs(stretch - 1).max() <= 0.06 + 1e-9
        np.testing.assert_allclose(
            np.sort(np.linalg.eigvalsh(match.strain)), np.sort(stretch - 1), atol=1e-9
        )
    areas = [round(m.area, 6) for m in matches]
    assert areas == sorted(areas)


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_interface_keeps_the_substrate_the_gap_and_the_atoms(pair):
    gap = 2.5
    atoms = interface(*pair, gap=gap, film_thickness=6, substrate_thickness=6)
    lithium, copper = (atoms[atoms.symbols == s] for s in ("Li", "Cu"))
    assert lithium.positions[:, 2].min() - copper.positions[:, 2].max() == pytest.approx(gap)
    bonds = neighbor_list("d", copper, 3.0)
    assert bonds.min() == pytest.approx(3.578 / np.sqrt(2), abs=1e-8)
    assert bonds.max() == pytest.approx(3.578 / np.sqrt(2), abs=1e-8)
    assert neighbor_list("d", lithium, 4.0).min() > 2.7
    density = len(lithium) / len(copper)
    assert 0.3 < density < 0.8
    assert atoms.pbc.tolist() == [True, True, False]


def test_film_on_itself_matches_in_one_cell_without_strain():
    cu = slab("Cu", (1, 1, 1), thickness=8)
    best = lattice_matches(cu, cu, max_area=30)[0]
    assert best.max_strain == pytest.approx(0, abs=1e-9)
    assert best.area == pytest.approx(cu.cell.volume / cu.cell[2, 2])


def test_no_match_says_which_limit_to_raise():
    with pytest.raises(StructureError, match="max_area or max_strain"):
        interface("Li", (1, 0, 0), "Cu", (1, 1, 1), max_area=10, max_strain=0.001)
