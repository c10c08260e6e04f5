"""Degrees of freedom counted by hand, and velocities that are drawn in them."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import molecule
from ase.constraints import (
    ExternalForce,
    FixAtoms,
    FixBondLengths,
    FixCartesian,
    FixCom,
    FixedLine,
    FixedMode,
    FixedPlane,
    FixInternals,
    FixScaled,
    Hookean,
)

from culi_mlip.dynamics import degrees_of_freedom, run_md
from culi_mlip.dynamics.checks import check_numbers, check_structure
from culi_mlip.dynamics.velocities import draw_velocities, with_velocities
from culi_mlip.errors import CuliError, StructureError
from culi_mlip.structures import bulk

CELL = bulk("Cu", cubic=True)
ALL = [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("constraints", "expected"),
    [
        ([], 12 - 3),
        ([FixAtoms([0])], 12 - 3),
        ([FixAtoms([0, 1]), FixAtoms([1, 2])], 3),
        ([FixCartesian([0], mask=(False, False, True))], 12 - 1 - 2),
        ([FixCartesian(ALL, mask=(False, False, True))], 8 - 2),
        ([FixScaled([0, 1], mask=(True, True, False))], 12 - 4 - 1),
        ([FixedPlane(ALL, (1, 1, 0))], 8 - 2),
        ([FixedPlane([0], (1, 0, 0)), FixedPlane([0], (1, 1, 0))], 12 - 2 - 1),
        ([FixedLine(ALL, (0, 1, 0))], 4 - 1),
        ([FixedPlane([0], (0, 0, 1)), FixAtoms([1, 2, 3])], 2),
        ([FixCom()], 12 - 3),
        ([FixCartesian(ALL, mask=(False, False, True)), FixCom()], 8 - 2),
        ([FixBondLengths([(0, 1), (1, 2)])], 12 - 2 - 3),
        ([FixBondLengths([(0, 1)]), FixAtoms([2, 3])], 6 - 1),
        ([FixedMode(np.eye(12)[0] - np.eye(12)[3])], 12 - 1 - 3),
        ([FixInternals(bonds=[[None, [0, 1]]])], 12 - 1 - 6),
        ([Hookean(0, 1, k=1.0, rt=1.0)], 12 - 3),
        ([Hookean(0, (0.0, 0.0, 0.0), k=1.0, rt=1.0)], 12),
        ([Hookean(0, (0.0, 0.0, 1.0, -3.0), k=1.0)], 12 - 2),
    ],
)  # fmt: skip
def test_constraints_and_centre_of_mass_are_counted(constraints, expected):
    atoms = CELL.copy()
    atoms.set_constraint(constraints)
    assert degrees_of_freedom(atoms) == expected
    draw_velocities(atoms, 500, np.random.default_rng(0))
    assert atoms.get_kinetic_energy() == pytest.approx(expected * units.kB * 500 / 2)


@pytest.mark.parametrize(
    ("atoms", "expected"),
    [(molecule("H2O"), 3), (molecule("CO2"), 4), (molecule("N2"), 1), (molecule("CH4"), 9),
     (Atoms("Cu4", [[0, 0, 0], [1.5, 0, 2], [0, 1.5, 4], [1, 1, 6]], cell=[10, 10, 8],
            pbc=(False, False, True)), 12 - 3 - 1),
     (Atoms("Cu4", [[0, 0, 0], [1.5, 0, 2], [0, 1.5, 4], [1, 1, 6]], cell=[10, 10, 8],
            pbc=(True, True, False)), 12 - 3)],
)  # fmt: skip
def test_clusters_do_not_rotate_and_that_is_counted(atoms, expected):
    draw_velocities(atoms, 400, np.random.default_rng(0))
    assert degrees_of_freedom(atoms) == expected
    assert np.abs(atoms.get_momenta().sum(axis=0)).max() < 1e-12
    if not atoms.pbc.any():
        assert np.abs(atoms.get_angular_momentum()).max() < 1e-12
    assert atoms.get_kinetic_energy() == pytest.approx(expected * units.kB * 200)


def test_rotation_that_the_structure_brings_is_kept_and_counted():
    atoms = molecule("CH4")
    arms = atoms.positions - atoms.get_center_of_mass()
    atoms.set_velocities(np.cross([0, 0, 0.1], arms) + np.array([0.3, 0, 0]))
    spin = atoms.get_angular_momentum()
    with_velocities(atoms, 300, np.random.default_rng(0))
    assert degrees_of_freedom(atoms) == 12
    np.testing.assert_allclose(atoms.get_angular_momentum(), spin, atol=1e-10)
    assert np.abs(atoms.get_momenta().sum(axis=0)).max() < 1e-12


def test_drawn_velocities_are_of_maxwell_and_boltzmann():
    """Each component of a light and a heavy element by itself has variance kT/m."""
    atoms = bulk("Cu", cubic=True, repeat=(8, 8, 8))
    atoms.symbols[:1000] = "Li"
    draw_velocities(atoms, 300, np.random.default_rng(0))
    for symbol in ("Li", "Cu"):
        chosen = atoms.symbols == symbol
        variance = atoms.get_velocities()[chosen].var(axis=0)
        expected = units.kB * 300 / atoms.get_masses()[chosen][0]
        np.testing.assert_allclose(variance, expected, rtol=0.2)


@pytest.mark.parametrize(
    ("constraints", "word"),
    [
        ([FixAtoms(ALL)], "constraints hold every atom"),
        ([FixAtoms([0, 1]), FixedLine([2, 3], (0, 0, 1)), FixedPlane([2, 3], (0, 0, 1))], "hold"),
        ([FixAtoms([0]), FixCom()], "the last undoes"),
        ([ExternalForce(0, 1, 0.1)], "ExternalForce is for relaxations"),
    ],
)
def test_constraints_that_leave_nothing_or_contradict_are_refused(tmp_path, constraints, word):
    atoms = CELL.copy()
    atoms.set_constraint(constraints)
    refused(atoms, tmp_path / "new", word)


@pytest.mark.parametrize("constraints", [None, FixCom(), FixedPlane([0], (0, 0, 1))])
def test_one_atom_has_no_temperature(tmp_path, constraints):
    atoms = bulk("Cu")
    atoms.set_constraint(constraints)
    word = "constraints hold every atom" if isinstance(constraints, FixCom) else "repeat the cell"
    refused(atoms, tmp_path / "new", word)


def changed(**changes):
    atoms = CELL.copy()
    if "momenta" in changes:
        atoms.set_momenta(np.full((4, 3), changes["momenta"]))
    if "position" in changes:
        atoms.positions[2] = changes["position"]
    if "cell" in changes:
        atoms.cell[:] = changes["cell"]
    if "masses" in changes:
        atoms.set_masses(changes["masses"])
    return atoms


@pytest.mark.parametrize(
    ("atoms", "word"),
    [(changed(momenta=np.nan), "velocity of atom 0 is NaN"),
     (changed(momenta=np.inf), "velocity of atom 0"),
     (changed(position=np.nan), "position of atom 2 is NaN"),
     (changed(position=CELL.positions[1] + 0.01), "atoms 1 and 2 are 0.017 Å apart"),
     (changed(position=CELL.cell[0]), "atoms 0 and 2 are 0.000 Å apart"),
     (changed(cell=0), "no volume"), (changed(cell=[[3, 0, 0], [6, 0, 0], [0, 0, 3]]), "no volume"),
     (changed(cell=np.inf), "cell holds NaN"), (changed(masses=[63, 0, 63, 63]), "mass of atom 1"),
     (Atoms(), "no atoms")],
)  # fmt: skip
def test_structures_that_cannot_be_run_are_refused(tmp_path, atoms, word):
    refused(atoms, tmp_path / "new", word)


def test_ten_thousand_kelvin_are_the_most():
    for name in ("temperature", "initial_temperature", "hold"):
        check_numbers(**{name: 10_000})
        with pytest.raises(CuliError, match=f"{name} is 10001 K: .* at most 10000 K"):
            check_numbers(**{name: 10_001})
    check_numbers(rate=20_000)


def test_atoms_overlap_within_three_tenths_of_an_angstrom():
    """And cells are no thinner in a direction that is periodic."""
    for gap, cell, pbc in ((0.29, 0.31, False), (0.31, 0.29, True)):
        pair = Atoms("Cu2", [[0, 0, 0], [0, 0, gap]], cell=[5, 5, cell], pbc=[1, 1, pbc])
        with pytest.raises(StructureError, match="no volume" if pbc else "0.290 Å apart"):
            check_structure(pair)
    check_structure(Atoms("Cu2", [[0, 0, 0], [0, 0, 0.31]], cell=[5, 5, 0.1], pbc=[1, 1, 0]))
    check_structure(Atoms("Cu2", [[0, 0, 0], [0, 2, 0]], cell=[5, 5, 0.31], pbc=True))


def refused(atoms, out, word):
    from ase.calculators.emt import EMT

    with pytest.raises(StructureError, match=word):
        run_md(atoms, EMT(), temperature=300, time=0.01, out=out)
    assert not out.exists()
