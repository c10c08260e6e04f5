"""Adsorption, against scripts straight on ASE, and between ways that must agree."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import add_adsorbate, fcc100
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.optimize import BFGS

from culi_mlip.errors import StructureError
from culi_mlip.properties import adsorption, coverage_series, equation_of_state

SITES = {"top": "ontop", "bridge": "bridge", "hollow": "hollow"}


def by_ase(state, site=None):
    """Energy of five layers of Cu(100), 2 × 2, with an adatom, by ASE; three layers fixed."""
    atoms = fcc100("Cu", (2, 2, 5), a=state.lattice_constant, vacuum=12)
    if site:
        add_adsorbate(atoms, "Cu", 2.0, site)
    atoms.pbc = (True, True, False)
    atoms.set_constraint(FixAtoms(mask=[atom.tag == 3 for atom in atoms]))
    atoms.calc = EMT()
    BFGS(atoms, logfile=None).run(fmax=0.002)
    return atoms.get_potential_energy()


def test_energies_of_sites_are_those_of_a_script():
    state = equation_of_state("Cu", EMT())
    found = adsorption("Cu", "Cu", (1, 0, 0), EMT(), repeat=(2, 2, 1), thickness=7)
    assert [site.name for site in found.of_each] == list(SITES)
    bare = by_ase(state)
    free = Atoms("Cu")
    free.calc = EMT()
    for site in found.of_each:
        energy = by_ase(state, SITES[site.name]) - bare
        assert site.to_bulk == pytest.approx(energy - state.energy, abs=1e-3)
        assert site.to_atom == pytest.approx(energy - free.get_potential_energy(), abs=1e-3)
        assert site.coverage == 1 / 4
        assert site.moved < 0.05
    hollow = found.of_each[2]
    assert hollow.to_atom < 0 < hollow.to_bulk  # bound to the face, better in the crystal


def test_full_layers_by_coverage_are_the_crystal_going_on():
    """Copper on copper: further layers cost nothing, islands and single atoms do."""
    found = coverage_series(
        "Cu", "Cu", (1, 0, 0), EMT(), coverages=(0.25, 1.0, 2.0), repeat=(2, 2, 1)
    )
    quarter, full, two = found.of_each
    assert [x.name for x in found.of_each] == ["0.25 ML", "1 ML", "2 ML"]
    assert [x.coverage for x in found.of_each] == [0.25, 1, 2]
    assert abs(full.to_bulk) < 5e-3 > abs(two.to_bulk)
    alone = adsorption("Cu", "Cu", (1, 0, 0), EMT(), repeat=(2, 2, 1)).of_each[2]
    assert quarter.to_bulk == pytest.approx(alone.to_bulk, abs=1e-3)


def test_what_does_not_relax_is_withheld():
    found = adsorption("Cu", "Cu", (1, 1, 0), EMT(), repeat=(1, 2, 1), thickness=6, steps=1)
    for site in found.of_each:
        assert site.to_bulk is site.to_atom is None
        assert "after 1 steps" in site.withheld
    with pytest.raises(StructureError):
        adsorption("Cu", "Cu", (1, 1, 0), EMT(), repeat=(0, 1, 1))


def test_an_adatom_that_leaves_its_site_is_told():
    found = adsorption("Cu", "Cu", (1, 1, 0), EMT(), repeat=(2, 2, 1), thickness=6)
    moved = np.array([site.moved for site in found.of_each])
    energies = np.array([site.to_bulk for site in found.of_each])
    assert energies.argmin() == [site.name for site in found.of_each].index("hollow")
    assert (moved >= 0).all()
