"""Surface energies and adhesion, against scripts straight on ASE, identities and publications."""

import numpy as np
import pytest
from ase import units
from ase.build import bulk, fcc100, fcc110, fcc111
from ase.calculators.emt import EMT
from ase.constraints import FixCartesian
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS

from culi_mlip.dynamics import relax
from culi_mlip.errors import CuliError, StructureError
from culi_mlip.properties import (
    equation_of_state,
    gamma_surface,
    surface_energies,
    surface_energy,
    work_of_adhesion,
    wulff_shape,
)
from culi_mlip.structures import slab

BUILDERS = {(1, 1, 1): fcc111, (1, 0, 0): fcc100, (1, 1, 0): fcc110}


def by_ase(build, layers, a, calculator):
    """Unrelaxed and relaxed surface energy in J/m² of slabs of so many layers."""
    energies = np.zeros((2, len(layers)))
    for i, n in enumerate(layers):
        atoms = build("Cu", (1, 1, n), a=a, vacuum=10)
        atoms.pbc = (True, True, False)
        atoms.calc = calculator
        energies[0, i] = atoms.get_potential_energy()
        BFGS(atoms, logfile=None).run(fmax=1e-4)
        energies[1, i] = atoms.get_potential_energy()
    area = np.linalg.norm(np.cross(*atoms.cell[:2]))
    return [np.polyfit(layers, e, 1)[1] / (2 * area) * units.m**2 / units.J for e in energies]


def test_surface_energies_are_those_of_a_script(copper):
    a = equation_of_state("Cu", copper).lattice_constant
    found = surface_energies("Cu", list(BUILDERS), copper, a=a)
    for (miller, build), energy in zip(BUILDERS.items(), found, strict=True):
        unrelaxed, relaxed = by_ase(build, [row[0] for row in energy.convergence], a, copper)
        assert energy.miller == miller
        assert energy.unrelaxed == pytest.approx(unrelaxed, rel=1e-4)
        assert energy.relaxed == pytest.approx(relaxed, rel=1e-4)
        assert energy.relaxed <= energy.unrelaxed
        for _, *each in energy.convergence:
            np.testing.assert_allclose(each, [unrelaxed, relaxed], rtol=1e-3)


def test_surface_energies_by_embedded_atoms_are_as_published(mishin):
    """Table III of Mishin et al., Phys. Rev. B 63, 224106 (2001): 1.239, 1.345, 1.475 J/m²."""
    found = surface_energies("Cu", list(BUILDERS), mishin)
    assert [f.relaxed for f in found] == pytest.approx([1.239, 1.345, 1.475], abs=0.003)


def test_what_does_not_relax_is_withheld():
    found = surface_energy("Cu", (1, 1, 0), EMT(), steps=1)
    assert found.relaxed is None
    assert found.unrelaxed == pytest.approx(surface_energy("Cu", (1, 1, 0), EMT()).unrelaxed)
    assert "slab of 14 layers: not below 0.002 eV/Å after 1 steps" in found.withheld
    assert all(row[2] is None for row in found.convergence)
    apart = work_of_adhesion("Cu", (1, 1, 0), "Cu", (1, 1, 0), EMT(), steps=1)
    assert apart.value is apart.wets is apart.contact_angle is None
    assert "after 1 steps" in apart.withheld
    shifted = gamma_surface("Cu", (1, 0, 0), "Cu", (1, 0, 0), EMT(), grid=2, steps=1)
    assert shifted.corrugation is None
    assert "registry 0: not below 0.01 eV/Å after 1 steps" in shifted.withheld


def test_thick_slabs_begin_as_the_thin_one_ended():
    """Which saves most of their steps; the values are those of slabs relaxed from the crystal."""
    counted = Counted()
    found = surface_energy("Cu", (2, 1, 0), counted, a=3.59)
    apart = Counted()
    slabs = [make(layers, (2, 1, 0)) for layers in map(len, found.slabs)]
    alone = relax(slabs, apart, fmax=0.002, optimizer="lbfgs")
    assert counted.calls < 0.6 * apart.calls
    for together, one in zip(found.slabs, alone, strict=True):
        energy = one.atoms.get_potential_energy()
        assert together.get_potential_energy() == pytest.approx(energy, abs=2e-4)


class Counted(EMT):
    """Counts evaluations."""

    calls = 0

    def calculate(self, *arguments, **options):
        self.calls += 1
        super().calculate(*arguments, **options)


def make(layers, miller):
    """A slab of so many layers."""
    unit = slab("Cu", miller, a=3.59, thickness=1.0, free_layers=None)
    step = unit.get_distance(0, 1, mic=True, vector=True)[2]
    return slab("Cu", miller, a=3.59, thickness=(layers - 1) * step, vacuum=12, free_layers=None)


def test_slabs_are_of_different_numbers_of_layers():
    found = surface_energy("Cu", (1, 1, 1), EMT(), thicknesses=(12.0, 12.1))
    assert [row[0] for row in found.convergence] == [7, 8]
    with pytest.raises(StructureError, match="slabs of two thicknesses"):
        surface_energy("Cu", (1, 1, 1), EMT(), thicknesses=(12.0,))


def test_wulff_shape_of_a_cube_and_of_an_octahedron():
    cube = wulff_shape("Cu", {(1, 0, 0): 1.0, (1, 1, 1): 2.0})
    assert cube.area_fractions[1, 0, 0] == pytest.approx(1)
    assert cube.shape_factor == pytest.approx(6)
    assert cube.weighted_energy == pytest.approx(1)
    octahedron = wulff_shape("Cu", {(1, 0, 0): 2.0, (1, 1, 1): 1.0})
    assert octahedron.area_fractions[1, 1, 1] == pytest.approx(1)
    assert octahedron.shape_factor == pytest.approx(2 * 3**0.5 / (2**0.5 / 3) ** (2 / 3))
    with pytest.raises(CuliError, match="give positive ones"):
        wulff_shape("Cu", {(1, 0, 0): -1.0})


@pytest.mark.parametrize("miller", [(1, 0, 0), (1, 1, 1)])
def test_metal_on_itself_is_one_crystal(miller):
    """No energy of the interface, and twice the surface energy to part it."""
    found = work_of_adhesion("Cu", miller, "Cu", miller, EMT())
    surface = surface_energy("Cu", miller, EMT()).relaxed
    assert abs(found.interface_energy) < 1e-3 * units.m**2 / units.J  # 1 meV/Å²
    assert found.value == pytest.approx(2 * surface, rel=5e-3)
    assert found.unstrained == pytest.approx(found.strained, abs=1e-4)
    assert found.unstrained_interface_energy == pytest.approx(found.interface_energy, abs=1e-4)
    assert found.film_surface_energy == pytest.approx(surface, rel=5e-3)
    assert found.contact_angle == pytest.approx(0, abs=6)
    assert min(energy for _, energy in found.registries if energy is not None) == 0
    assert len(found.registries) > 1


def test_references_differ_by_the_elastic_energy_of_the_film():
    """Copper that is 2 % too small on copper: by ASE, bulk strained in the plane."""
    a = equation_of_state("Cu", EMT()).lattice_constant
    calls = {"substrate_a": 1.02 * a, "film_a": a}
    thin, thick = (
        work_of_adhesion("Cu", (1, 0, 0), "Cu", (1, 0, 0), EMT(), thickness=t, **calls)
        for t in (10.0, 19.0)  # 7 and 12 layers each
    )
    strained = bulk("Cu", a=a, cubic=True)
    strained.set_cell(strained.cell * [1.02, 1.02, 1], scale_atoms=True)
    strained.calc = EMT()
    BFGS(FrechetCellFilter(strained, mask=[0, 0, 1, 0, 0, 0]), logfile=None).run(fmax=1e-4)
    per_atom = strained.get_potential_energy() / 4 - equation_of_state("Cu", EMT()).energy
    assert per_atom > 1e-3
    area = (1.02 * a) ** 2 / 2
    layers = [(f.interface.arrays["layer"].max() + 1) // 2 for f in (thin, thick)]
    grows = (layers[1] - layers[0]) * per_atom / area * units.m**2 / units.J
    difference = [f.strained - f.unstrained for f in (thin, thick)]
    assert difference[1] - difference[0] == pytest.approx(grows, rel=0.02)
    assert thick.strained == pytest.approx(thin.strained, rel=0.01)
    excess = [f.unstrained_interface_energy - f.interface_energy for f in (thin, thick)]
    assert excess[1] - excess[0] == pytest.approx(grows, rel=0.02)


def test_gamma_surface_of_copper_on_copper_is_that_of_a_script():
    """On Cu(100) the hollow is lowest and the top highest; energies by ASE, free along z alone."""
    a = equation_of_state("Cu", EMT()).lattice_constant
    found = gamma_surface("Cu", (1, 0, 0), "Cu", (1, 0, 0), EMT(), grid=4, thickness=6)
    energies = dict(zip(map(tuple, found.shifts.round(6).tolist()), found.energies, strict=True))
    assert min(energies, key=energies.get) == (0.5, 0.5)
    assert max(energies, key=energies.get) == (0, 0)
    assert found.corrugation == energies[0, 0]
    assert found.relaxed == pytest.approx(0, abs=1e-4)
    expected = {}
    for shift in ((0, 0), (0, 0.5), (0.5, 0.5)):
        atoms = fcc100("Cu", (1, 1, 10), a=a, vacuum=12)
        atoms.pbc = (True, True, False)
        top = atoms.positions[:, 2] > atoms.positions[:, 2].mean()
        below, above = np.flatnonzero(~top)[-1], np.flatnonzero(top)[0]
        move = atoms.positions[below] + np.array(shift) @ atoms.cell[:2] - atoms.positions[above]
        atoms.positions[top] += [*move[:2], 0.7 if shift == (0, 0) else 0.3]
        atoms.set_constraint(FixCartesian(range(10), mask=(True, True, False)))
        atoms.calc = EMT()
        BFGS(atoms, logfile=None).run(fmax=0.005)
        expected[shift] = atoms.get_potential_energy() / (a**2 / 2) * units.m**2 / units.J
    for shift, energy in expected.items():
        assert energies[shift] == pytest.approx(energy - expected[0.5, 0.5], abs=2e-3)
