"""Melting by coexistence: what is crystal, what is withheld, and LAMMPS's own melting point."""

import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from culi_mlip.errors import EngineError
from culi_mlip.properties import melting, melting_point
from culi_mlip.properties.melting import crystalline_share
from culi_mlip.structures import bulk


@pytest.mark.parametrize(("symbol", "crystal", "a"), [("Cu", "fcc", 3.7), ("Li", "bcc", 3.5)])
@pytest.mark.parametrize("molten", [0, 4, 9, 12])
def test_slices_of_a_crystal_are_told_from_those_of_a_liquid(symbol, crystal, a, molten):
    atoms = bulk(symbol, a=a, cubic=True, repeat=(5, 5, 12))
    rng = np.random.default_rng(0)
    atoms.positions += rng.normal(scale=0.08 * a, size=(len(atoms), 3))  # beyond Lindemann's 0.1 d
    above = atoms.positions[:, 2] > (12 - molten) * a
    atoms.positions[above] += rng.uniform(-a, a, size=(above.sum(), 3)) * [1, 1, 0]
    atoms.cell[2, 2] *= 1.01
    atoms.wrap()
    assert crystalline_share(atoms, a, crystal) == pytest.approx(1 - molten / 12, abs=0.09)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(melting, "SETTLING", 0.15)


def run(**options):
    return melting_point("Cu", EMT(), repeat=(2, 2, 5), timestep=3.0, **options)


def test_a_cell_that_melts_is_withheld_and_the_next_run_is_colder(quick):
    calls = []
    found = run(temperature=4000.0, time=0.3, runs=2, progress=lambda *of: calls.append(of))
    assert found.temperature is found.error is None
    assert found.withheld.startswith("the cell melted at")
    starts = [start for start, _ in found.trials]
    assert starts == [4000.0, 3600.0]
    done, total = zip(*calls, strict=True)
    assert list(done) == sorted(done)
    assert done[-1] == total[-1]
    assert len(found.times) == len(found.temperatures) == len(found.crystalline) == 11
    np.testing.assert_allclose(found.times, 0.03 * np.arange(11))
    # Hot copper has expanded; the mean is of the second half.
    assert found.lattice_constant > 3.64
    assert found.trials[-1][1] == pytest.approx(found.temperatures[5:].mean())


def test_a_cell_that_freezes_is_withheld(quick, monkeypatch):
    monkeypatch.setattr(melting, "MELTS", 1.0)  # so that it never melts
    found = run(temperature=300.0, time=0.6, runs=1)
    assert found.withheld.startswith("the cell froze at")
    assert found.crystalline.min() == 1.0
    # Without thermostat, at equilibrium from the thermostatted beginning on.
    assert found.trials[0][1] == pytest.approx(300, abs=60)
    assert found.final.cell[0, 0] == pytest.approx(2 * found.lattice_constant)
    assert found.final.cell[2, 2] != pytest.approx(5 * found.lattice_constant, abs=1e-6)
    assert 3.59 < found.lattice_constant < 3.64
    assert abs(found.pressure_across) < 2


def test_a_calculator_without_stress_is_refused():
    calculator = LennardJones()
    calculator.implemented_properties = ["energy", "forces"]
    with pytest.raises(EngineError, match="has no stress"):
        melting_point("Cu", calculator)


LAMMPS = """
units metal
lattice fcc {a}
region box block 0 6 0 6 0 24
create_box 1 box
create_atoms 1 box
pair_style eam/alloy
pair_coeff * * {file} Cu
region up block INF INF INF INF 12 INF
group up region up
group low subtract all up
timestep 0.003
velocity all create {twice} 1
fix 1 up nvt temp {hot} {hot} 0.1
run 1000
unfix 1
fix 1 up nvt temp {hot} {temperature} 0.1
run 1000
unfix 1
velocity low create {twice} 2
velocity all zero linear
fix 1 all npt temp {temperature} {temperature} 0.1 z 0 0 0.3
run 1000
unfix 1
fix 1 all nph z 0 0 0.3
"""


@pytest.mark.slow
def test_melting_point_is_that_of_lammps_own_coexistence(lammps, mishins_file):
    """Some 900 atoms by us, 3,456 by LAMMPS, which does all that is not the potential itself."""
    from ase.calculators.lammpslib import LAMMPSlib

    commands = ["pair_style eam/alloy", f"pair_coeff * * {mishins_file} Cu"]
    calculator = LAMMPSlib(lmpcmds=commands, atom_types={"Cu": 1}, keep_alive=True)
    found = melting_point("Cu", calculator, temperature=1250.0, timestep=3.0)
    assert found.withheld is None
    running = lammps(cmdargs=["-log", "none", "-screen", "none"])
    start = {"temperature": 1330, "twice": 2660, "hot": 3325}
    running.commands_string(LAMMPS.format(a=3.7105, file=mishins_file, **start))
    temperatures = []
    for _ in range(100):
        running.command("run 100 post no")
        temperatures.append(running.get_thermo("temp"))
    assert found.temperature == pytest.approx(np.mean(temperatures[50:]), abs=40)
    assert found.error < 40
    assert 0.1 < found.crystalline[-1] < 0.9


def test_slices_that_are_half_in_disorder_are_not_crystal():
    """Above what atoms at random have, but below half of the most ordered slice."""
    atoms = bulk("Cu", a=3.7, cubic=True, repeat=(10, 10, 6))
    rng = np.random.default_rng(0)
    above = atoms.positions[:, 2] > 2.9 * 3.7
    scale = np.where(above, 0.15 * 3.7, 0.08 * 3.7)[:, None]
    atoms.positions += rng.normal(size=(len(atoms), 3)) * scale * [1, 1, 0]
    assert crystalline_share(atoms, 3.7, "fcc") == pytest.approx(0.5)
