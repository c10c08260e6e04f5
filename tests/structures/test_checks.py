"""What every structure must be: limits, and which of them is said."""

import pytest
from ase import Atoms

from culi_mlip.errors import StructureError
from culi_mlip.structures.checks import check_distances, check_integers, check_numbers, check_symbol


def test_limits_are_exact_and_the_first_value_beyond_is_named():
    check_numbers(least=0, a=0, b=0.0)
    check_numbers(above=0, least=-1, a=1e-9)
    with pytest.raises(StructureError, match=r"^b=0: give a number above 0$"):
        check_numbers(above=0, a=1, b=0, c=-1)
    with pytest.raises(StructureError, match=r"^a=-1: give a number of at least 0$"):
        check_numbers(least=0, a=-1)
    for value in (float("nan"), float("inf"), "1", None):
        with pytest.raises(StructureError, match="^a="):
            check_numbers(a=value)


def test_integers_are_counted_and_have_a_least():
    check_integers("n", (1, 2, 3), 3)
    check_integers("n", 0, 1, least=0)
    for values, n, least, words in (
        ((1, 2), 3, 1, "give 3 integers of at least 1"),
        ((1, 2, 0), 3, 1, "give 3 integers of at least 1"),
        (1.0, 1, 1, "give an integer of at least 1"),
        (4, 1, 5, "give an integer of at least 5"),
    ):
        with pytest.raises(StructureError, match=words):
            check_integers("n", values, n, least=least)


def test_of_atoms_that_overlap_the_nearest_are_named():
    """Covalent radii: Cu 1.32 Å, Li 1.28 Å, H 0.31 Å; a bond is their sum."""
    atoms = Atoms("CuLiLiH", positions=[[0, 0, 0], [2.0, 0, 0], [9, 0, 0], [9, 0, 1.7]])
    check_distances(atoms, 2.0 / 2.6 - 0.01, "…")
    with pytest.raises(StructureError) as error:
        check_distances(atoms, 2.0 / 2.6 + 0.01, "move them")
    assert str(error.value) == (
        "atoms overlap: Cu-Li at 2.00 Å, closer than 78% of their bond: move them"
    )
    with pytest.raises(StructureError, match="H-Li at 1.70 Å"):
        check_distances(atoms, 1.1, "…")


def test_symbols_are_of_elements():
    check_symbol("Li")
    for wrong in ("X", "li", "Qq", ""):
        with pytest.raises(StructureError, match="is not a chemical symbol"):
            check_symbol(wrong)
