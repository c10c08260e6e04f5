"""Hops of adatoms and missing rows, by EMT: as scripts straight on ASE have them."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import add_adsorbate, fcc100, fcc111
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.mep import NEB
from ase.optimize import BFGS

from culi_mlip.errors import StructureError
from culi_mlip.properties import (
    barrier,
    coverage_series,
    equation_of_state,
    hop,
    missing_row,
    step_hop,
)


@pytest.fixture(scope="module")
def a():
    return equation_of_state("Cu", EMT()).lattice_constant


@pytest.fixture(scope="module")
def on_terrace():
    return hop("Cu", "Cu", (1, 0, 0), EMT(), images=5)


def by_ase(initial, final, images=5):
    """Energies of ASE's own band, its climbing image on from the start."""
    for end in (initial, final):
        end.calc = EMT()
        BFGS(end, logfile=None).run(fmax=0.005)
    band = [initial, *(initial.copy() for _ in range(images)), final]
    for image in band[1:-1]:
        image.calc = EMT()
    neb = NEB(band, climb=True, method="improvedtangent")
    neb.interpolate()
    BFGS(neb, logfile=None).run(fmax=0.01, steps=300)
    energies = np.array([image.get_potential_energy() for image in band])
    return energies - energies[0]


def test_hop_on_a_face_is_ases_and_symmetric(a, on_terrace):
    surface = fcc100("Cu", (3, 3, 7), a=a, vacuum=12)
    surface.set_constraint(FixAtoms(mask=surface.get_tags() > 4))
    ends = [surface.copy(), surface.copy()]
    for end, offset in zip(ends, [(0, 0), (1, 0)], strict=True):
        add_adsorbate(end, "Cu", a / 2, "hollow", offset=offset)
    expected = by_ase(*ends)
    assert on_terrace.forward == pytest.approx(expected.max(), abs=2e-3)
    assert on_terrace.forward == pytest.approx(on_terrace.reverse, abs=1e-6)
    np.testing.assert_allclose(on_terrace.energies, on_terrace.energies[::-1], atol=2e-3)
    assert on_terrace.distances[-1] == pytest.approx(a / 2**0.5, rel=0.2)


class Well(Calculator):
    """One atom in a line: energy cos(2πx) + 0.2 cos(4πx), with minima beside x = 1/2."""

    implemented_properties = ["energy", "forces"]

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        super().calculate(atoms, properties, system_changes)
        x, y, z = 2 * np.pi * atoms.positions[0, 0], *atoms.positions[0, 1:]
        energy = 0.1 * (np.cos(x) + 0.5 * np.cos(2 * x)) + y**2 + z**2
        slope = -0.1 * 2 * np.pi * (np.sin(x) + np.sin(2 * x))
        self.results = {"energy": energy, "forces": np.array([[-slope, -2 * y, -2 * z]])}


def test_a_minimum_between_the_ends_is_told():
    """From the maximum beside which a path falls, the climb is from that minimum to the top."""
    x = np.linspace(0, 1, 2001)
    energy = 0.1 * (np.cos(2 * np.pi * x) + 0.5 * np.cos(4 * np.pi * x))
    ends = [Atoms("H", positions=[[at, 0, 0]], cell=[9] * 3) for at in (0.5, 1.5)]
    found = barrier(*ends, Well(), images=15, fmax=0.002)
    assert found.passes_a_minimum
    assert found.forward == pytest.approx(energy.max() - energy.min(), abs=2e-3)
    assert found.forward == pytest.approx(found.reverse, abs=1e-6)
    between = [Atoms("H", positions=[[at, 0, 0]], cell=[9] * 3) for at in (0.67, 1.33)]
    direct = barrier(*between, Well(), images=7, fmax=0.002)
    assert not direct.passes_a_minimum
    assert direct.forward == pytest.approx(found.forward, abs=2e-3)


def test_hop_is_along_the_shorter_vector():
    """In the trough of (110), where the places are a/√2 apart; across they are a."""
    found = hop("Cu", "Cu", (1, 1, 0), EMT(), images=3, thickness=6)
    first, last = found.path[0].positions[-1], found.path[-1].positions[-1]
    assert np.linalg.norm(last - first) == pytest.approx(2.54, abs=0.01)
    assert found.forward < 0.35


def test_hop_down_a_step_is_ases(a):
    """A stripe of three rows on Cu(111), with the adatom at its edge and at its foot."""
    found = step_hop("Cu", "Cu", (1, 1, 1), EMT(), repeat=(2, 6), thickness=5, images=5)
    first, last = found.path[0], found.path[-1]
    surface = fcc111("Cu", (2, 6, 4), a=a, vacuum=12)
    assert len(first) == len(surface) - 6 + 1
    # One layer below, at the step: more neighbours, and so bound more strongly.
    spacing = a / 3**0.5
    assert first.positions[-1, 2] - last.positions[-1, 2] == pytest.approx(spacing, abs=0.2)
    near = [
        np.sum(e.get_distances(-1, range(len(e) - 1), mic=True) < 0.85 * a) for e in (first, last)
    ]
    assert near == [3, 5]
    assert found.reverse > found.forward > hop("Cu", "Cu", (1, 1, 1), EMT(), images=3).forward
    expected = by_ase(*(end.copy() for end in (first, last)))
    assert found.forward == pytest.approx(expected.max(), abs=5e-3)
    assert found.reverse == pytest.approx(expected.max() - expected[-1], abs=5e-3)


def test_a_step_needs_room():
    with pytest.raises(StructureError, match="at least four"):
        step_hop("Cu", "Cu", (1, 0, 0), EMT(), repeat=(3, 3))


def test_missing_row_is_that_of_a_script(a):
    found = missing_row("Cu", EMT(), adatom="Cu", thickness=8.5)
    bulk_energy = equation_of_state("Cu", EMT()).energy
    surface = fcc100("Cu", (2, 1, 6), a=a, vacuum=12)
    surface.set_constraint(FixAtoms(mask=surface.get_tags() > 3))
    row = surface.copy()
    del row[-1]
    energies = []
    for atoms in (surface, row):
        atoms.calc = EMT()
        BFGS(atoms, logfile=None).run(fmax=0.002)
        energies.append(atoms.get_potential_energy())
    assert found.clean == pytest.approx(energies[1] + bulk_energy - energies[0], abs=1e-3)
    # Copper in copper's missing row is the ideal face; a c(2×2) of it is half a monolayer.
    series = coverage_series("Cu", "Cu", (1, 0, 0), EMT(), coverages=[0.5], thickness=8.5,
                             repeat=[[1, 1], [-1, 1]])  # fmt: skip
    assert found.covered == pytest.approx(-series.of_each[0].to_bulk, abs=5e-3)
    ideal, missing, checkered, filled = found.structures
    assert [len(x) for x in found.structures] == [12, 11, 13, 12]
    areas = [np.linalg.det(x.cell.array[:2, :2]) for x in (ideal, checkered)]
    np.testing.assert_allclose(areas, 2 * a**2 / 2, rtol=1e-6)
    np.testing.assert_allclose(
        filled.get_potential_energy(), ideal.get_potential_energy(), atol=1e-4
    )
    assert missing.get_potential_energy() == pytest.approx(energies[1], abs=1e-3)


def test_missing_rows_are_of_fcc():
    with pytest.raises(StructureError, match="Li is not fcc"):
        missing_row("Li", EMT())


def test_missing_rows_that_do_not_relax_are_withheld():
    found = missing_row("Cu", EMT(), adatom="Cu", thickness=6, steps=2)
    assert found.clean is None
    assert found.covered is None
    assert "not below" in found.withheld
