"""Crystals and their disorder."""

import numpy as np
import pytest
from ase import units
from ase.data import atomic_masses, atomic_numbers
from ase.neighborlist import neighbor_list

from culi_mlip.errors import StructureError
from culi_mlip.structures import bulk, rattled, strained, thermal
from culi_mlip.structures.bulk import atomic_volume, bulk_modulus, nearest_distance


@pytest.mark.parametrize(
    ("symbol", "a", "atoms_per_cubic_cell"), [("Cu", 3.578, 4), ("Li", 3.414, 2)]
)
def test_density_is_that_of_the_crystal(symbol, a, atoms_per_cubic_cell):
    atoms = bulk(symbol, repeat=(2, 2, 2))
    assert len(atoms) == 8
    assert atoms.get_volume() / len(atoms) == pytest.approx(a**3 / atoms_per_cubic_cell)


def test_strain_deforms_cell_and_atoms_alike():
    atoms = bulk("Cu", cubic=True)
    tensor = np.array([[0.01, 0.02, 0], [0.02, -0.03, 0], [0, 0, 0.04]])
    result = strained(atoms, tensor)
    np.testing.assert_allclose(result.positions, atoms.positions @ (np.eye(3) + tensor), atol=1e-12)
    assert strained(atoms, 0.05).get_volume() == pytest.approx(1.05**3 * atoms.get_volume())


def test_strain_acts_along_the_axes_of_space_in_a_sheared_cell():
    """Of the 12 neighbours of an fcc atom 8 have a part along x, half a cube long."""
    a, e = 3.6, 0.06
    primitive = bulk("Cu", a=a)
    sheared = primitive.copy()
    sheared.set_cell([[1, 0, 0], [1, 1, 0], [-1, 2, 1]] @ primitive.cell.array)
    expected = [a / 2**0.5] * 4 + [a / 2 * np.hypot(1 + e, 1)] * 8
    for atoms in (primitive, sheared, sheared * (1, 2, 3)):
        found = neighbor_list("d", strained(atoms, (e, 0, 0)), 1.15 * a / 2**0.5)
        assert np.sort(found)[:: len(atoms)] == pytest.approx(expected)
    # A simple shear of xy: vectors along x stay, those along y lean towards x.
    tensor = np.zeros((3, 3))
    tensor[1, 0] = 0.1
    cube = strained(bulk("Cu", a=a, cubic=True), tensor)
    assert cube.cell.array == pytest.approx(np.array([[a, 0, 0], [0.1 * a, a, 0], [0, 0, a]]))


def test_rattle_is_seeded_normal_and_leaves_the_input_alone():
    atoms = bulk("Cu", repeat=(6, 6, 6))
    before = atoms.positions.copy()
    result = rattled(atoms, 0.1, seed=3)
    np.testing.assert_array_equal(atoms.positions, before)
    np.testing.assert_array_equal(result.positions, rattled(atoms, 0.1, seed=3).positions)
    assert (result.positions - before).std() == pytest.approx(0.1, rel=0.1)
    assert neighbor_list("d", result, 3).min() > 1.8


@pytest.mark.parametrize(("symbol", "debye"), [("Cu", 343.0), ("Li", 344.0)])
@pytest.mark.parametrize("temperature", [0.0, 50.0, 300.0, 1000.0])
def test_thermal_displacements_are_those_of_debye_oscillators(symbol, debye, temperature):
    """Sum over the oscillators of Debye's spectrum, each with its quantum mean square."""
    omega = (np.arange(20000) + 0.5) / 20000 * units._k * debye / units._hbar
    weight = omega**2 / (omega**2).sum()
    mass = atomic_masses[atomic_numbers[symbol]] * units._amu
    with np.errstate(divide="ignore"):
        coth = 1 / np.tanh(units._hbar * omega / (2 * units._k * temperature or 1e-300))
    square = (weight * units._hbar / (2 * mass * omega) * coth).sum() * 1e20
    atoms = bulk(symbol, repeat=(12, 12, 12))
    moved = thermal(atoms, temperature, seed=0, min_distance=0.5)
    spread = (moved.positions - atoms.positions).std()
    assert spread == pytest.approx(np.sqrt(square), rel=0.03)


def test_impossible_disorder_is_refused():
    with pytest.raises(StructureError, match="min_distance"):
        rattled(bulk("Cu"), 0.1, seed=0, min_distance=3.0)
    with pytest.raises(StructureError, match="temperature=-5"):
        thermal(bulk("Cu"), -5, seed=0)
    with pytest.raises(StructureError, match="Debye temperature of Ag"):
        thermal(bulk("Ag", a=4.09), 300, seed=0)
    with pytest.raises(StructureError, match="strain"):
        strained(bulk("Cu"), [0.1, 0.2])
    with pytest.raises(StructureError, match="turns the cell over"):
        strained(bulk("Cu"), -2)


@pytest.mark.parametrize(("symbol", "a"), [("Cu", None), ("Li", None), ("Ag", 4.1), ("Na", 4.3)])
def test_volume_and_nearest_distance_are_those_of_the_crystal(symbol, a):
    atoms = bulk(symbol, a=a)
    assert atomic_volume(symbol, a) == pytest.approx(atoms.get_volume() / len(atoms))
    assert nearest_distance(symbol, a) == pytest.approx(neighbor_list("d", atoms, 5.0).min())


def test_bulk_moduli_are_those_of_experiment():
    assert bulk_modulus("Cu") == pytest.approx(140, rel=0.05)
    assert bulk_modulus("Li") == pytest.approx(11.6, rel=0.1)
    with pytest.raises(StructureError, match="no bulk modulus of Ar"):
        bulk_modulus("Ar")


def test_repeats_are_along_the_vectors_of_the_cell_that_was_chosen():
    conventional = bulk("Cu", a=3.6, cubic=True, repeat=(1, 2, 3))
    assert conventional.cell.array == pytest.approx(np.diag([3.6, 7.2, 10.8]))
    assert len(conventional) == 4 * 6
    assert bulk("Cu", a=3.6, repeat=(1, 2, 3)).cell.lengths() == pytest.approx(
        np.array([1, 2, 3]) * 3.6 / 2**0.5
    )


def test_each_atom_moves_as_its_element_does():
    """At 300 K lithium, nine times lighter and as stiff by θ, moves 3.0 times as far as copper."""
    atoms = bulk("Cu", repeat=(10, 10, 10))
    light = np.arange(len(atoms)) % 3 == 0
    atoms.symbols[light] = "Li"
    moved = thermal(atoms, 300, seed=0, min_distance=0.3).positions - atoms.positions
    assert moved[light].std() / moved[~light].std() == pytest.approx(3.02, rel=0.05)


def test_a_least_distance_and_a_number_of_draws_are_kept():
    atoms = bulk("Cu", repeat=(3, 3, 3))
    with pytest.raises(StructureError, match=r"closer than 2.4 Å in each of 7 draws"):
        rattled(atoms, 0.3, seed=0, min_distance=2.4, attempts=7)
    with pytest.raises(StructureError, match=r"closer than 2.5 Å in each of 100 draws"):
        thermal(atoms, 900, seed=0, min_distance=2.5)
    near = neighbor_list("d", rattled(atoms, 0.3, seed=0, min_distance=0.1), 2.3).min()
    again = rattled(atoms, 0.3, seed=0, min_distance=near + 0.01)
    assert neighbor_list("d", again, 2.5).min() > near
