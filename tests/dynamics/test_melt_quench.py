"""Melt-quench: temperatures, conservation, continuation to the last bit, choice of frames."""

import importlib

import numpy as np
import pytest
from ase import units
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.md.nose_hoover_chain import NoseHooverChainNVT, NoseHooverChainThermostat

from culi_mlip.dynamics import Schedule, choose_frames, energy_drift, melt_quench
from culi_mlip.dynamics.melt_quench import correlation_length
from culi_mlip.dynamics.records import LOG_COLUMNS, read_log, write_steps
from culi_mlip.dynamics.thermostats import NoseHoover
from culi_mlip.dynamics.velocities import with_velocities
from culi_mlip.errors import CuliError
from culi_mlip.files import read_frames
from culi_mlip.reference import get_engine
from culi_mlip.structures import bulk, interface, rattled, slab

CELL = bulk("Cu", cubic=True)
COPPER = bulk("Cu", cubic=True, repeat=(3, 3, 3))


def test_schedule_is_the_papers():
    schedule = Schedule(hold_time=0.5)
    assert schedule.hold_steps == 250
    assert schedule.steps - schedule.hold_steps == 1180
    assert [schedule.temperature(n) for n in (0, 250, 251, 1430)] == [600, 600, 599.5, 10]
    assert schedule.temperature(2000) == 10


def test_stages_are_the_times_and_rates_that_are_asked_for():
    """0.3 ps at 900 K, then 600 K at 400 K/ps, in steps of 1.5 fs."""
    options = {"hold": 900, "to": 300, "rate": 400, "timestep": 1.5}
    schedule = Schedule(hold_time=0.3, **options)
    assert schedule.stages == [(200, 900, 900), (1000, 900, 300)]
    assert (schedule.hold_steps, schedule.steps) == (200, 1200)
    assert [schedule.temperature(n) for n in (0, 200, 700, 1200)] == [900, 900, 600, 300]
    assert Schedule(hold_time=0, **options).stages == [(1000, 900, 300)]
    assert Schedule(hold_time=0.3, **options | {"to": 900}).stages == [(200, 900, 900)]
    Schedule(timestep=2.4, period=12)
    with pytest.raises(CuliError, match="period is 12 fs: give at least five time steps"):
        Schedule(timestep=2.5, period=12)


def test_a_chain_that_is_heated_has_the_masses_of_the_new_temperature():
    atoms = with_velocities(_copper(), 300, np.random.default_rng(0))
    dynamics = NoseHoover(atoms, 2 * units.fs, lambda n: 300 + 150 * n, 50 * units.fs)
    dynamics.run(3)
    damping = 50 * units.fs / (np.sqrt(2) * np.pi)
    chain = NoseHooverChainThermostat(107, dynamics.masses, 600, damping)
    np.testing.assert_allclose(dynamics.chain._Q, chain._Q, rtol=1e-12)
    assert dynamics.chain._kT == pytest.approx(600 * units.kB)


def test_options_of_a_quench_reach_its_dynamics(tmp_path, monkeypatch):
    """Energy is conserved through the hold alone."""
    taken = {}

    def integrated(dynamics, folder, n_steps, **options):
        taken.update(options, dynamics=dynamics, n_steps=n_steps)
        (folder / "log.csv").write_text(",".join(LOG_COLUMNS) + "\n")

    module = importlib.import_module("culi_mlip.dynamics.melt_quench")
    monkeypatch.setattr(module, "integrate", integrated)
    schedule = Schedule(hold=700, to=500, rate=1000, hold_time=0.03, timestep=1.5, period=30)
    melt_quench(COPPER, EMT(), schedule, out=tmp_path, stride=7, seed=4)
    dynamics = taken["dynamics"]
    assert (taken["n_steps"], taken["stride"]) == (20 + 133, 7)
    assert (taken["temperature"], taken["steady"]) == (700, 20)
    assert dynamics.dt == pytest.approx(1.5 * units.fs)
    assert [dynamics.temperature(n) for n in (0, 20, 120)] == [700, 700, 550]
    ndof, omega = 3 * 108 - 3, 2 * np.pi / (30 * units.fs)
    assert dynamics.chain._Q[0] == pytest.approx(2 * ndof * units.kB * 700 / omega**2)
    expected = with_velocities(COPPER.copy(), 700, np.random.default_rng(4))
    np.testing.assert_allclose(dynamics.atoms.get_momenta(), expected.get_momenta(), atol=1e-12)


def test_an_engines_own_steps_are_written_one_in_three(tmp_path):
    """Eight steps of 1.5 fs: 0, 3 and 6 in the trajectory, the seventh is the last frame."""
    taken, steps = {}, []

    def own_dynamics(atoms, folder, **options):
        taken.update(options, atoms=atoms, folder=folder)
        for n in range(8):
            frame = COPPER.copy()
            frame.positions[0, 0] = 0.01 * n
            frame.info = {"kinetic": 3.0 + n, "conserved": 70.0 + 2 * n}
            results = {"energy": -20.0 - n, "forces": np.full((108, 3), 0.1 * n)}
            frame.calc = SinglePointCalculator(frame, **results)
            steps.append(frame)
        return steps

    schedule = Schedule(hold=700, to=500, rate=100_000, hold_time=0.009, timestep=1.5, period=30)
    result = melt_quench(COPPER, own_dynamics, schedule, out=tmp_path, stride=3, seed=4)
    assert taken["stages"] == [(6, 700, 700), (1, 700, 500)]
    assert (taken["timestep"], taken["folder"]) == (1.5, tmp_path / "steps")
    drawn = with_velocities(COPPER.copy(), 700, np.random.default_rng(4))
    np.testing.assert_allclose(taken["atoms"].get_momenta(), drawn.get_momenta(), atol=1e-12)
    log = result.log
    assert log["step"].tolist() == [0, 3, 6]
    assert log["time_ps"] == pytest.approx([0, 0.0045, 0.009])
    assert log["potential_eV"].tolist() == [-20, -23, -26]
    assert log["kinetic_eV"].tolist() == [3, 6, 9]
    assert log["total_eV"].tolist() == [-17, -17, -17]
    assert log["conserved_eV"].tolist() == [70, 76, 82]
    expected = 2 * log["kinetic_eV"] / ((3 * 108 - 3) * 8.617333e-5)
    np.testing.assert_allclose(log["temperature_K"], expected, rtol=1e-6)
    frames = [*read_frames(result.trajectory), *read_frames(result.final)]
    assert [f.info["time_ps"] for f in frames] == pytest.approx([0, 0.0045, 0.009, 0.0105])
    assert [f.positions[0, 0] for f in frames] == pytest.approx([0, 0.03, 0.06, 0.07])
    assert [f.get_potential_energy() for f in frames] == pytest.approx([-20, -23, -26, -27])
    assert [f.get_forces()[5, 1] for f in frames] == pytest.approx([0, 0.3, 0.6, 0.7])


def test_chain_is_ases_at_constant_temperature():
    """Same positions as ASE's own chain of the same time constant."""
    ours, theirs = (with_velocities(_copper(), 300, np.random.default_rng(0)) for _ in range(2))
    period = 80 * units.fs
    NoseHoover(ours, 2 * units.fs, lambda n: 300, period).run(20)
    damping = period / (np.sqrt(2) * np.pi)
    chain = NoseHooverChainNVT(theirs, 2 * units.fs, 300, damping, tloop=4)
    chain._thermostat._num_atoms_global -= 1  # the centre of mass carries no heat
    chain._thermostat._Q[0] *= 107 / 108
    chain.run(20)
    np.testing.assert_allclose(ours.positions, theirs.positions, atol=1e-12)


def test_friction_stays_where_the_temperature_jumps():
    """Masses and momenta of the chain follow the temperature: heat goes on as it went."""
    atoms = with_velocities(_copper(), 300, np.random.default_rng(0))
    dynamics = NoseHoover(atoms, 2 * units.fs, lambda n: 300 if n < 20 else 100, 40 * units.fs)
    dynamics.run(20)
    mass, friction = dynamics.chain._Q.copy(), dynamics.chain._p_eta / dynamics.chain._Q
    assert np.abs(friction).min() > 0
    dynamics._exchange = lambda: None
    dynamics.run(1)
    np.testing.assert_allclose(dynamics.chain._Q, mass / 3)
    np.testing.assert_allclose(dynamics.chain._p_eta / dynamics.chain._Q, friction)


def test_an_engine_repeats_a_cluster_and_stops_no_rotation(tmp_path):
    """As VASP counts: 3N − 3 degrees of freedom, whatever the structure's own periodicity."""
    cluster = molecule("CH4", vacuum=5.0)
    cluster.calc = SinglePointCalculator(cluster, energy=-1.0, forces=np.zeros((5, 3)))
    cluster.info = {"kinetic": 0.2, "conserved": -0.8}
    write_steps(tmp_path, [cluster] * 3, timestep=2.0, stride=2)
    log = read_log(tmp_path / "log.csv")
    assert log["temperature_K"] == pytest.approx([2 * 0.2 / (12 * units.kB)] * 2)
    assert log["time_ps"].tolist() == [0, 0.004]


def _copper():
    atoms = COPPER.copy()
    atoms.calc = EMT()
    return atoms


def test_temperature_follows_the_ramp_and_the_hold_conserves(tmp_path):
    schedule = Schedule(hold=600, to=100, rate=500, hold_time=1.0)
    atoms = rattled(COPPER, 0.15, seed=0)
    log = melt_quench(atoms, EMT(), schedule, out=tmp_path, stride=1).log
    target = np.array([schedule.temperature(int(n)) for n in log["step"]])
    late = log["step"] > 200
    windows = np.array_split(np.flatnonzero(late), late.sum() // 25)  # 50 fs
    ratios = [log["temperature_K"][w].mean() / target[w].mean() for w in windows]
    assert np.abs(np.array(ratios) - 1).max() < 0.05
    hold = (log["step"] > 100) & (log["step"] < schedule.hold_steps)
    drift = energy_drift(log["time_ps"][hold], log["conserved_eV"][hold], len(atoms))
    assert abs(drift) < 1e-3


def test_held_atoms_stay_and_the_others_have_the_temperature(tmp_path):
    atoms = slab("Cu", (1, 0, 0), thickness=8, free_layers=None).repeat((3, 3, 1))
    height = atoms.positions[:, 2]
    atoms.set_constraint(FixAtoms(np.flatnonzero(height < height.mean())))
    assert 0 < len(atoms.constraints[0].index) < len(atoms)
    result = melt_quench(atoms, EMT(), Schedule(300, 300, hold_time=1.0), out=tmp_path)
    assert result.log["step"].tolist() == list(range(0, 501, 5))
    late = result.log["temperature_K"][len(result.log["step"]) // 3 :]
    assert late.mean() == pytest.approx(300, rel=0.06)
    last = read_frames(result.final)[0]
    fixed = atoms.constraints[0].index
    np.testing.assert_allclose(last.positions[fixed], atoms.positions[fixed], atol=1e-8)


def test_killed_run_continues_to_the_last_bit_and_the_ramp_goes_on(tmp_path):
    # Cold enough that EMT's neighbour list, whose age tells in the last bit, is never renewed.
    schedule = Schedule(hold=100, to=50, rate=500, hold_time=0.04)
    whole = melt_quench(COPPER, EMT(), schedule, out=tmp_path / "whole", stride=3)

    class Killed(BaseException):
        pass

    for after in (9, 30, 51):  # in the hold, and in the ramp

        def die(done, total, after=after):
            if done >= after:
                raise Killed

        with pytest.raises(Killed):
            melt_quench(COPPER, EMT(), schedule, out=tmp_path / "broken", stride=3, progress=die)
    again = melt_quench(COPPER, EMT(), schedule, out=tmp_path / "broken", stride=3)
    for name in ("trajectory.extxyz", "log.csv", "final.extxyz"):
        assert (again.folder / name).read_bytes() == (whole.folder / name).read_bytes()


def test_frames_are_decorrelated_and_the_shortfall_is_explained():
    frames = [rattled(COPPER, 0.2, seed=i // 2) for i in range(40)]  # each one twice
    energies = np.tile([1.0, -1.0], 20)
    chosen = choose_frames(frames, energies, 50)
    assert chosen.correlation == 1
    assert chosen.frames == list(range(0, 40, 2))
    assert chosen.n_duplicates == 20
    assert "50 frames were asked for, there are 20" in chosen.explanation
    few = choose_frames(frames, energies, 5)
    assert few.frames == [0, 10, 20, 28, 38]
    assert few.explanation == ""


def test_frames_are_as_far_apart_as_energies_remember():
    """Energies of 60 steps forget within several of them, and every frame differs."""
    rng, energies = np.random.default_rng(3), [0.0]
    for _ in range(59):
        energies.append(0.7 * energies[-1] + rng.normal())
    frames = [rattled(CELL, 0.3, seed=i) for i in range(60)]
    every = correlation_length(np.array(energies))
    assert 3 <= every <= 9
    chosen = choose_frames(frames, np.array(energies), 60)
    assert (chosen.frames, chosen.correlation) == (list(range(0, 60, every)), every)
    assert f"of 60 frames {len(chosen.frames)} are decorrelated (every {every}.)" in (
        chosen.explanation
    )


def test_near_duplicates_are_within_a_tenth_of_an_angstrom():
    """Of four atoms one moves by d, less the mean by 3/4 d: the root mean square is √3/4 d."""
    for moved, n in ((0.09, 1), (0.11, 2)):
        second = CELL.copy()
        second.positions[1] += np.array([0.6, 0, 0.8]) * moved * 4 / np.sqrt(3)
        second.positions += 0.7  # of the whole, which does not count
        assert len(choose_frames([CELL, second], np.zeros(2), 2).frames) == n
        assert len(choose_frames([CELL, second], np.zeros(2), 2, distance=0.12).frames) == 1


def test_correlation_length_of_a_known_process():
    """x' = a x + noise forgets with (1 + a) / (1 - a) steps; a quench's trend is not counted."""
    rng = np.random.default_rng(1)
    a, values = 0.8, [0.0]
    for _ in range(20_000):
        values.append(a * values[-1] + rng.normal())
    series = np.array(values)
    assert correlation_length(series) == pytest.approx((1 + a) / (1 - a), rel=0.15)
    trend = 1e-3 * np.arange(len(series))
    assert correlation_length(series + trend) == correlation_length(series)
    assert correlation_length(np.zeros(10)) == 1


@pytest.mark.parametrize(
    ("wrong", "word"),
    [({"hold": 0}, "hold"), ({"hold": 300_000}, "hold is 300000 K"), ({"rate": np.inf}, "rate"),
     ({"hold_time": np.nan}, "hold_time"), ({"rate": -1}, "rate"), ({"to": 700}, "would heat"),
     ({"hold_time": -1}, "hold_time"), ({"timestep": 0}, "timestep"), ({"period": 4}, "period"),
     ({"rate": 1e9}, "rate is 1e[+]09 K/ps: the quench ends within half a time step"),
     ({"hold": 300, "to": 300, "hold_time": 0}, "nothing cools")],
)  # fmt: skip
def test_wrong_schedules_are_refused(wrong, word):
    with pytest.raises(CuliError, match=word):
        Schedule(**wrong)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_lithium_on_copper_with_chgnet_follows_the_ramp_and_conserves(tmp_path):
    """The smallest coherent interface of (100) faces, 49 atoms, as the paper quenches it."""
    pytest.importorskip("chgnet")
    atoms = interface("Li", (1, 0, 0), "Cu", (1, 0, 0))
    atoms.set_constraint()
    schedule = Schedule(hold_time=0.5)
    log = melt_quench(
        atoms, get_engine("chgnet").calculator(), schedule, out=tmp_path, stride=1
    ).log
    target = np.array([schedule.temperature(int(n)) for n in log["step"]])
    late = np.flatnonzero(log["time_ps"] > 0.2)
    windows = np.array_split(late, len(late) // 25)  # 50 fs
    ratios = np.array([log["temperature_K"][w].mean() / target[w].mean() for w in windows])
    assert abs(ratios - 1).max() < 0.05
    hold = (log["time_ps"] > 0.1) & (log["step"] <= schedule.hold_steps)
    drift = energy_drift(log["time_ps"][hold], log["conserved_eV"][hold], len(atoms))
    assert abs(drift) < 1e-3


def test_chgnet_killed_at_any_step_goes_on_to_the_last_bit(tmp_path):
    pytest.importorskip("chgnet")
    atoms = interface("Li", (1, 0, 0), "Cu", (1, 0, 0), film_thickness=5.0, substrate_thickness=5.0)
    calculator = get_engine("chgnet").calculator()
    schedule = Schedule(hold=600, to=560, rate=2000, hold_time=0.012)  # 6 and 10 steps
    whole = melt_quench(atoms, calculator, schedule, out=tmp_path / "whole", stride=1)
    calculate, calls = calculator.calculate, []

    def dies(*arguments, **options):
        calls.append(1)
        if len(calls) % 5 == 0:  # at steps 3, 6, 9, …, within the force
            raise KeyboardInterrupt
        calculate(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calculator, "calculate", dies)
        deaths = 0
        while deaths < 20:
            calculator.reset()
            try:
                melt_quench(atoms, calculator, schedule, out=tmp_path / "broken", stride=1)
                break
            except KeyboardInterrupt:
                deaths += 1
    assert 3 <= deaths < 20
    for name in ("trajectory.extxyz", "log.csv", "final.extxyz"):
        assert (tmp_path / "broken" / name).read_bytes() == (whole.folder / name).read_bytes()


def test_frames_a_lattice_vector_apart_are_near_duplicates():
    """One atom leaves the sheared cell on one side and comes in on the other."""
    first = rattled(bulk("Cu", repeat=(2, 2, 1)), 0.1, seed=0)
    second = first.copy()
    second.positions[1] += first.cell[0] - first.cell[2] + [0.01, 0, 0]
    third = rattled(first, 0.3, seed=1)
    chosen = choose_frames([first, second, third], np.zeros(3), 3, distance=0.1)
    assert (chosen.frames, chosen.n_duplicates) == ([0, 2], 1)
    for atoms in (first, second):
        atoms.pbc = (True, True, False)  # not periodic along c: it has gone away
    assert choose_frames([first, second], np.zeros(2), 2, distance=0.1).frames == [0, 1]
