"""Melt-quench: temperatures, conservation, continuation to the last bit, choice of frames."""

import numpy as np
import pytest
from ase import units
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.md.nose_hoover_chain import NoseHooverChainNVT

from culi_mlip.dynamics import Schedule, choose_frames, energy_drift, melt_quench
from culi_mlip.dynamics.melt_quench import correlation_length
from culi_mlip.dynamics.records import read_log, write_steps
from culi_mlip.dynamics.thermostats import NoseHoover
from culi_mlip.dynamics.velocities import with_velocities
from culi_mlip.errors import CuliError
from culi_mlip.files import read_frames
from culi_mlip.reference import get_engine
from culi_mlip.structures import bulk, interface, rattled, slab

COPPER = bulk("Cu", cubic=True, repeat=(3, 3, 3))


def test_schedule_is_the_papers():
    schedule = Schedule(hold_time=0.5)
    assert schedule.hold_steps == 250
    assert schedule.steps - schedule.hold_steps == 1180
    assert [schedule.temperature(n) for n in (0, 250, 251, 1430)] == [600, 600, 599.5, 10]
    assert schedule.temperature(2000) == 10


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
