"""Programs that take any ASE calculator take this one: matcalc, phonopy, pymatgen."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from ase.phonons import Phonons
from matscipy.elasticity import fit_elastic_constants
from pymatgen.io.ase import AseAtomsAdaptor

from culi_mlip.calculator import HybridAllegro


@pytest.fixture(scope="module")
def calculator(trained):
    return HybridAllegro(trained["qdi"], device="cpu", compile=False)


@pytest.fixture(scope="module")
def copper(calculator):
    """The crystal at rest."""
    atoms = bulk("Cu", a=3.6, cubic=True)
    atoms.calc = calculator
    BFGS(FrechetCellFilter(atoms, hydrostatic_strain=True), logfile=None).run(fmax=1e-6, steps=50)
    return atoms


def test_elastic_constants_of_matcalc_are_matscipys(calculator, copper):
    matcalc = pytest.importorskip("matcalc")
    strains = (-2e-3, -1e-3, 1e-3, 2e-3)
    computation = matcalc.ElasticityCalc(
        calculator,
        norm_strains=strains,
        shear_strains=strains,
        relax_structure=False,
        relax_deformed_structures=False,
    )
    found = computation.calc(AseAtomsAdaptor.get_structure(copper))["elastic_tensor"].voigt
    expected, _ = fit_elastic_constants(
        copper, symmetry="triclinic", N_steps=5, delta=1e-3, optimizer=None, verbose=False
    )
    largest = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, atol=1e-3 * largest)
    assert largest > 0.1 * units.GPa


def test_phonons_of_phonopy_are_ases(calculator, copper, tmp_path):
    phonopy = pytest.importorskip("phonopy")
    a = copper.cell.lengths()[0]
    primitive = bulk("Cu", a=a)
    ours = phonopy.Phonopy(
        phonopy.structure.atoms.PhonopyAtoms(
            symbols=["Cu"], cell=primitive.cell.array, scaled_positions=[[0, 0, 0]]
        ),
        supercell_matrix=np.diag([3, 3, 3]),
    )
    ours.generate_displacements(distance=0.01)
    forces = []
    for cell in ours.supercells_with_displacements:
        moved = Atoms(
            cell.symbols, cell=cell.cell, scaled_positions=cell.scaled_positions, pbc=True
        )
        moved.calc = calculator
        forces.append(moved.get_forces())
    ours.forces = forces
    ours.produce_force_constants()
    point = [1 / 3, 1 / 3, 0]  # of the supercell
    ours.run_qpoints([[0, 0, 0], point])
    at_rest, found = ours.get_qpoints_dict()["frequencies"]  # THz
    theirs = Phonons(primitive, calculator, supercell=(3, 3, 3), delta=0.01, name=tmp_path / "p")
    theirs.run()
    theirs.read(acoustic=True)
    (expected,) = theirs.band_structure([point])  # eV
    planck = 4.135667696e-3  # eV/THz, CODATA
    assert np.abs(at_rest).max() < 1e-3
    np.testing.assert_allclose(np.abs(found), np.abs(expected) / planck, rtol=2e-3)
