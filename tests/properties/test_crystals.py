"""Crystals, against scripts straight on ASE, matscipy and phonopy, and against publications."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, make_supercell
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.eos import EquationOfState
from ase.filters import FrechetCellFilter
from ase.mep import NEB
from ase.optimize import BFGS, FIRE
from ase.phonons import Phonons
from matscipy.elasticity import fit_elastic_constants

from culi_mlip.errors import CuliError, EngineError, StructureError
from culi_mlip.properties import (
    cohesive_energy,
    elastic_constants,
    equation_of_state,
    phonons,
    vacancy,
)


@pytest.fixture(scope="module")
def crystal(copper):
    """Copper, its cell relaxed by ASE."""
    atoms = bulk("Cu", a=3.6)
    atoms.calc = copper
    BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=1e-6)
    return atoms


def test_equation_of_state_is_ases(copper, crystal):
    found = equation_of_state("Cu", copper)
    a = (4 * crystal.get_volume()) ** (1 / 3)
    assert found.lattice_constant == pytest.approx(a, rel=1e-4)
    assert found.energy == pytest.approx(crystal.get_potential_energy(), abs=1e-5)
    cells = [bulk("Cu", a=x) for x in a * np.linspace(0.99, 1.01, 9)]
    for cell in cells:
        cell.calc = copper
    volumes = [cell.get_volume() for cell in cells]
    energies = [cell.get_potential_energy() for cell in cells]
    modulus = EquationOfState(volumes, energies, eos="birchmurnaghan").fit()[2] / units.GPa
    assert found.bulk_modulus == pytest.approx(modulus, rel=1e-4)


def test_elastic_constants_are_matscipys(copper, crystal):
    found = elastic_constants("Cu", copper)
    a = (4 * crystal.get_volume()) ** (1 / 3)
    cube = bulk("Cu", a=a, cubic=True)
    cube.calc = copper
    expected, _ = fit_elastic_constants(
        cube, "cubic", N_steps=5, delta=0.0025, verbose=False, graphics=False
    )
    expected = expected / units.GPa
    np.testing.assert_allclose(found.tensor, expected, rtol=1e-4, atol=1e-3)
    assert found.is_stable
    assert found.bulk_modulus == pytest.approx((expected[0, 0] + 2 * expected[0, 1]) / 3, rel=1e-4)
    assert found.bulk_modulus == pytest.approx(
        equation_of_state("Cu", copper).bulk_modulus, rel=0.01
    )
    assert found.zener_ratio == pytest.approx(
        2 * expected[3, 3] / (expected[0, 0] - expected[0, 1]), rel=1e-3
    )


def test_copper_by_embedded_atoms_is_as_published(mishin):
    """Table III of Mishin et al., Phys. Rev. B 63, 224106 (2001)."""
    state = equation_of_state("Cu", mishin)
    assert state.lattice_constant == pytest.approx(3.615, abs=5e-4)
    assert state.energy == pytest.approx(-3.54, abs=5e-3)
    assert cohesive_energy("Cu", mishin) == pytest.approx(3.54, abs=5e-3)
    tensor = elastic_constants("Cu", mishin).tensor
    found = tensor[0, 0], tensor[0, 1], tensor[3, 3]
    assert found == pytest.approx((169.9, 122.6, 76.2), abs=0.5)
    hole = vacancy("Cu", mishin)
    assert hole.formation == pytest.approx(1.272, abs=0.005)
    assert hole.migration.forward == pytest.approx(0.689, abs=0.01)
    assert hole.migration.forward == pytest.approx(hole.migration.reverse, abs=1e-3)


def test_vacancy_is_ases(copper, crystal):
    a = (4 * crystal.get_volume()) ** (1 / 3)
    found = vacancy("Cu", copper, migration=False)
    perfect = make_supercell(bulk("Cu", a=a, cubic=True), 3 * np.eye(3, dtype=int))
    perfect.calc = copper
    whole = perfect.get_potential_energy()
    hole = perfect[:50] + perfect[51:]
    hole.calc = copper
    assert found.unrelaxed == pytest.approx(
        hole.get_potential_energy() - whole * 107 / 108, rel=1e-4
    )
    BFGS(hole, logfile=None).run(fmax=1e-3)
    assert found.formation == pytest.approx(
        hole.get_potential_energy() - whole * 107 / 108, rel=1e-4
    )
    assert found.migration is None


def test_vacancy_hops_as_in_ases_band():
    a = equation_of_state("Cu", EMT()).lattice_constant
    found = vacancy("Cu", EMT(), a=a, repeat=2).migration
    perfect = bulk("Cu", a=a, cubic=True) * (2, 2, 2)
    ends = [perfect[1:], perfect[1:]]
    near = np.argsort(perfect.get_distances(0, range(1, 32), mic=True))[0]
    ends[1].positions[near] = perfect.positions[0]
    for end in ends:
        end.calc = EMT()
        BFGS(end, logfile=None).run(fmax=0.005)
    band = [ends[0], *(ends[0].copy() for _ in range(5)), ends[1]]
    for image in band[1:-1]:
        image.calc = EMT()
    neb = NEB(band, climb=True, method="improvedtangent")
    neb.interpolate(mic=True)
    FIRE(neb, logfile=None).run(fmax=0.005)
    energies = np.array([image.get_potential_energy() for image in band])
    assert found.forward == pytest.approx(energies.max() - energies[0], abs=1e-3)
    np.testing.assert_allclose(found.energies, found.energies[::-1], atol=2e-3)
    steps = np.diff(found.distances)
    np.testing.assert_allclose(steps, steps[::-1], rtol=0.02)
    assert 2.4 < found.distances[-1] < 3.2  # a neighbour's distance; the hop crosses the boundary


def test_phonons_are_those_of_ases_own_way(tmp_path, monkeypatch):
    a = equation_of_state("Cu", EMT()).lattice_constant
    found = phonons("Cu", EMT(), a=a, repeat=(4, 4, 4), displacement=0.01, mesh=10)
    assert np.abs(found.frequencies["Γ"]).max() < 1e-3
    crystal = bulk("Cu", a=a)
    monkeypatch.chdir(tmp_path)
    other = Phonons(crystal, EMT(), supercell=(8, 8, 8), delta=0.01)
    other.run()
    other.read(acoustic=True)
    points = crystal.cell.bandpath("XL", npoints=0).special_points
    energies = other.band_structure([points["X"], points["L"]])  # eV
    for name, energy in zip("XL", energies, strict=True):
        expected = energy * units._e / units._hplanck * 1e-12
        np.testing.assert_allclose(found.frequencies[name], np.sort(expected), atol=1e-3)


def test_density_of_states_and_heat_are_of_all_modes():
    found = phonons("Cu", EMT())
    frequencies, density = found.dos
    assert np.trapezoid(density, frequencies) == pytest.approx(3, rel=0.01)
    gas = 8.314462618
    assert found.heat_capacity[-1] == pytest.approx(3 * gas, rel=0.01)  # Dulong and Petit
    assert found.heat_capacity[0] == found.entropy[0] == 0
    step = np.diff(found.temperatures)[0]
    slope = -np.gradient(found.free_energy, step)[1:-1] * 96485.33  # J/(K mol)
    np.testing.assert_allclose(slope[3:], found.entropy[1:-1][3:], rtol=0.01)
    assert found.is_stable
    for ends, line in zip(found.bands.ends, found.bands.frequencies, strict=True):
        np.testing.assert_allclose(line[0], found.frequencies[ends[0]], atol=1e-6)
        np.testing.assert_allclose(line[-1], found.frequencies[ends[1]], atol=1e-6)


def test_acoustic_modes_are_zero_at_the_centre_whatever_the_noise_of_forces():
    class Noisy(EMT):
        def calculate(self, *arguments):
            super().calculate(*arguments)
            rng = np.random.default_rng(0)
            self.results["forces"] = rng.normal(self.results["forces"], 1e-4)

    found = phonons("Cu", Noisy(), a=3.59, mesh=4)
    assert np.abs(found.frequencies["Γ"]).max() < 1e-3
    expected = phonons("Cu", EMT(), a=3.59, mesh=4).frequencies["X"]
    np.testing.assert_allclose(found.frequencies["X"], expected, atol=0.1)


def test_imaginary_modes_are_told():
    compressed = phonons("Cu", EMT(), a=4.4, mesh=6)
    assert compressed.lowest < -0.5
    assert not compressed.is_stable


def test_crystals_that_are_not_held_together_are_refused():
    with pytest.raises(CuliError, match="energies of Li have no minimum near"):
        equation_of_state("Li", LennardJones(sigma=8, epsilon=0.1, rc=20))
    with pytest.raises(StructureError, match="the crystal of Zn is hcp"):
        equation_of_state("Zn", EMT())


def test_calculator_without_stress_has_no_elastic_constants():
    class Forces(EMT):
        implemented_properties = ["energy", "forces"]

    with pytest.raises(EngineError, match="Forces has no stress, which elastic constants need"):
        elastic_constants("Cu", Forces())


def test_phonons_of_a_slab_are_refused():
    with pytest.raises(StructureError, match="three periods"):
        phonons(Atoms("Cu", cell=[3, 3, 3], pbc=(True, True, False)), EMT())
