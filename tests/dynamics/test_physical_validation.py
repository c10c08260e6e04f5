"""Kinetic energies are canonical by physical_validation's test, which counts for itself.

Merz and Shirts, PLoS ONE 13, e0202764 (2018): mean and width against those of a gamma
distribution, in standard errors, of samples that are made uncorrelated.
"""

import numpy as np
import physical_validation as pv
import pytest
from ase import units
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms

from culi_mlip.dynamics import Schedule, melt_quench, run_md, thermostats
from culi_mlip.structures import bulk, slab

TEMPERATURE = 300.0


def free_cell(n):
    return bulk("Cu", cubic=True, repeat={4: (1, 1, 1), 8: (2, 1, 1), 32: (2, 2, 2)}[n])


def half_fixed_slab():
    atoms = slab("Cu", (1, 0, 0), thickness=6, free_layers=None)
    order = np.argsort(atoms.positions[:, 2])
    atoms.set_constraint(FixAtoms(order[: len(atoms) // 2]))
    return atoms * (2, 2, 1)


def kinetic_energies(method, atoms, out, time, timestep):
    """Of a run without its first tenth."""
    if method == "nvt":
        result = run_md(atoms, EMT(), temperature=TEMPERATURE, time=time, out=out,
                        timestep=timestep, stride=3)  # fmt: skip
    else:
        schedule = Schedule(TEMPERATURE, TEMPERATURE, hold_time=time, timestep=timestep,
                            period=6 * timestep)  # fmt: skip
        result = melt_quench(atoms, EMT(), schedule, out=out, stride=3)
    kinetic = result.log["kinetic_eV"]
    return kinetic[len(kinetic) // 10 :]


def deviations(kinetic, *, n_moving, at_rest):
    """Of the mean and of the width from 300 K, in standard errors."""
    data = pv.data.SimulationData(
        units=pv.data.UnitData(
            kb=units.kB, energy_str="eV", energy_conversion=96.485, length_str="Å",
            length_conversion=0.1, volume_str="Å^3", volume_conversion=1e-3,
            temperature_str="K", temperature_conversion=1, pressure_str="bar",
            pressure_conversion=1, time_str="ps", time_conversion=1),
        ensemble=pv.data.EnsembleData("NVT", natoms=n_moving, volume=1, temperature=TEMPERATURE),
        system=pv.data.SystemData(natoms=n_moving, nconstraints=0, ndof_reduction_tra=at_rest,
                                  ndof_reduction_rot=0),
        observables=pv.data.ObservableData(kinetic_energy=kinetic),
    )  # fmt: skip
    return pv.kinetic_energy.distribution(data, verbosity=0, bootstrap_seed=1)


@pytest.mark.parametrize(("method", "time"), [("nvt", 4.0), ("hold", 2.4)])
def test_four_free_atoms_have_the_temperature_that_is_asked_for(tmp_path, method, time):
    """The mean; the width takes longer, as the modes of so few atoms hardly mix."""
    kinetic = kinetic_energies(method, free_cell(4), tmp_path, time, timestep=4.0)
    assert deviations(kinetic, n_moving=4, at_rest=3)[0] < 3


@pytest.mark.parametrize(
    ("method", "time"), [("hold", 2.4), pytest.param("nvt", 10.0, marks=pytest.mark.slow)]
)
def test_with_the_centre_of_mass_counted_four_atoms_are_hot(tmp_path, monkeypatch, method, time):
    """At 12/9 of 300 K, as they were before."""
    monkeypatch.setattr(thermostats, "degrees_of_freedom", lambda atoms: 3 * len(atoms))
    kinetic = kinetic_energies(method, free_cell(4), tmp_path, time, timestep=4.0)
    assert deviations(kinetic, n_moving=4, at_rest=3)[0] > 3
    assert 2 * kinetic.mean() / (9 * units.kB) == pytest.approx(400, rel=0.12)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("method", ["nvt", "hold"])
@pytest.mark.parametrize("system", [4, 8, 32, "half-fixed"])
def test_kinetic_energies_are_canonical(tmp_path, method, system):
    atoms = half_fixed_slab() if system == "half-fixed" else free_cell(system)
    fixed = sum(len(c.index) for c in atoms.constraints)
    kinetic = kinetic_energies(method, atoms, tmp_path, 40.0, timestep=2.0)
    moving = len(atoms) - fixed
    assert max(deviations(kinetic, n_moving=moving, at_rest=0 if fixed else 3)) < 3
