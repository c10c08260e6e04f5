"""MD: conservation, temperature, continuation to the last bit, refusals."""

import io
import shutil
from types import SimpleNamespace

import ase.io
import numpy as np
import pytest
from ase import Atoms, units
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.constraints import FixAtoms, Hookean
from ase.md.bussi import Bussi
from ase.md.verlet import VelocityVerlet

from culi_mlip.dynamics import (
    Schedule,
    energy_drift,
    height_profile,
    lost_atoms,
    melt_quench,
    run_md,
)
from culi_mlip.dynamics.limits import Limits
from culi_mlip.dynamics.velocities import draw_velocities, with_velocities
from culi_mlip.errors import CuliError, EngineError, StructureError
from culi_mlip.files import read_frames
from culi_mlip.structures import bulk, slab

CELL = bulk("Cu", cubic=True)
COPPER = bulk("Cu", cubic=True, repeat=(3, 3, 3))


def test_nve_conserves_the_energy(tmp_path):
    result = run_md(
        COPPER, EMT(), temperature=300, time=0.5, out=tmp_path, ensemble="nve", timestep=2, stride=5
    )
    drift = energy_drift(result.log["time_ps"], result.log["total_eV"], len(COPPER))
    assert abs(drift) < 1e-3
    assert result.log["kinetic_eV"].std() > 0.1, "it moved"


def test_thermostat_holds_temperature_and_conserved_energy(tmp_path):
    result = run_md(COPPER, EMT(), temperature=300, time=4, out=tmp_path, timestep=4, seed=1)
    late = result.log["temperature_K"][len(result.log["time_ps"]) // 4 :]
    assert late.mean() == pytest.approx(300, rel=0.05)
    # Canonical fluctuations of the temperature: T sqrt(2 / 3N).
    assert late.std() == pytest.approx(300 * np.sqrt(2 / (3 * len(COPPER))), rel=0.4)
    drift = energy_drift(result.log["time_ps"], result.log["conserved_eV"], len(COPPER))
    assert abs(drift) < 1e-3


@pytest.mark.parametrize("ensemble", ["nvt", "nve"])
def test_killed_run_continues_to_the_last_bit(tmp_path, ensemble):
    options = {"temperature": 400, "time": 0.1, "ensemble": ensemble, "stride": 7}
    whole = run_md(COPPER, EMT(), out=tmp_path / "whole", **options)

    class Killed(BaseException):
        pass

    def die(done, total):
        if done >= 28:
            raise Killed

    broken = tmp_path / "broken"
    with pytest.raises(Killed):
        run_md(COPPER, EMT(), out=broken, progress=die, **options)
    with (broken / "trajectory.extxyz").open("a") as stream:
        stream.write("108\nLattice=half a frame")
    again = run_md(COPPER, EMT(), out=broken, **options)
    assert again.trajectory.read_bytes() == whole.trajectory.read_bytes()
    assert (broken / "log.csv").read_bytes() == (whole.folder / "log.csv").read_bytes()
    np.testing.assert_array_equal(
        read_frames(again.final)[0].get_momenta(), read_frames(whole.final)[0].get_momenta()
    )


def test_constraints_are_obeyed_and_velocities_in_the_structure_kept(tmp_path):
    atoms = slab("Cu", (1, 0, 0), thickness=8, free_layers=1) * (2, 2, 1)
    fixed = atoms.constraints[0].index
    assert len(fixed) > 0
    result = run_md(atoms, EMT(), temperature=300, time=0.05, out=tmp_path / "a")
    last = read_frames(result.final)[0]
    np.testing.assert_allclose(last.positions[fixed], atoms.positions[fixed], atol=1e-8)
    assert np.abs(last.positions - atoms.positions).max() > 0.01
    assert isinstance(last.constraints[0], FixAtoms)
    more = run_md(last, EMT(), temperature=300, time=0.02, out=tmp_path / "b", ensemble="nve")
    assert more.log["kinetic_eV"][0] == pytest.approx(last.get_kinetic_energy(), rel=1e-6)


def test_trajectory_opens_in_ase(tmp_path):
    result = run_md(COPPER, EMT(), temperature=300, time=0.04, out=tmp_path, stride=10)
    frames = ase.io.read(result.trajectory, index=":")
    assert len(frames) == 3
    assert [f.info["time_ps"] for f in frames] == [0, 0.02, 0.04]


def test_wrong_arguments_and_other_runs_are_refused(tmp_path):
    for wrong, word in [
        ({"time": 0}, "time"),
        ({"temperature": -1}, "temperature"),
        ({"timestep": 0}, "timestep"),
        ({"stride": 0}, "stride"),
        ({"seed": -1}, "seed"),
        ({"time": np.inf}, "time"),
        ({"temperature": 300_000}, "temperature is 300000 K"),
        ({"initial_temperature": 20_000}, "initial_temperature is 20000 K"),
    ]:
        options = {"temperature": 300, "time": 0.01} | wrong
        with pytest.raises(CuliError, match=word):
            run_md(COPPER, EMT(), out=tmp_path / "x", **options)
    assert not (tmp_path / "x").exists()
    run_md(COPPER, EMT(), temperature=300, time=0.02, out=tmp_path / "y")
    with pytest.raises(CuliError, match="another job .*temperature_K"):
        run_md(COPPER, EMT(), temperature=310, time=0.02, out=tmp_path / "y")


def test_velocities_that_are_too_hot_are_refused(tmp_path):
    """Such as those of a file in Å/ps."""
    hot = bulk("Cu", cubic=True)
    draw_velocities(hot, 30_000.0, np.random.default_rng(0))
    for run in (
        lambda: run_md(hot, EMT(), temperature=300, time=0.1, out=tmp_path / "new"),
        lambda: melt_quench(hot, EMT(), Schedule(), out=tmp_path / "new"),
    ):
        with pytest.raises(StructureError, match="its velocities are of 30000 K"):
            run()
    assert not (tmp_path / "new").exists()


def test_diverging_run_names_step_and_atom_and_keeps_the_last_good_frame(tmp_path):
    hot = bulk("Cu", cubic=True, a=2.4, repeat=(2, 2, 2))
    hot.positions[5] += 0.3
    with pytest.raises(
        CuliError, match=r"diverged at step \d+, where atom \d+ \(Cu\) .* of step 0"
    ):
        run_md(hot, EMT(), temperature=300, time=1, out=tmp_path, timestep=20)
    (kept,) = read_frames(tmp_path / "trajectory.extxyz")
    np.testing.assert_allclose(kept.positions, hot.positions, atol=1e-7)


class Leaking(EMT):
    """Forces that are not the derivative of the energy: they push along the velocities."""

    def calculate(self, atoms, *arguments):
        super().calculate(atoms, *arguments)
        self.results["forces"] += 2 * atoms.get_momenta() / atoms.get_masses()[:, None]


def test_energy_that_is_not_conserved_ends_the_run(tmp_path):
    with pytest.raises(CuliError, match="conserved energy has changed .* up to step"):
        run_md(CELL, Leaking(), temperature=300, time=1, out=tmp_path, ensemble="nve")
    assert len(read_frames(tmp_path / "trajectory.extxyz")) >= 1


@pytest.mark.parametrize(("time", "is_slow"), [(1.0, False), (4.0, True)])
def test_a_slow_drift_does_not_end_a_long_run(time, is_slow):
    """0.04 eV/atom, more than all heat at 30 K: in 1 ps too much, in 4 ps a fair drift."""
    dynamics = SimpleNamespace(atoms=CELL, nsteps=1, get_time=lambda: 1000 * time * units.fs)
    limits = Limits(
        SimpleNamespace(
            dynamics=dynamics, n_degrees=9, temperature=30.0, stride=1, files=["trajectory"],
            energies=lambda: (0.0, 0.0, 7.0 + 0.04 * len(CELL)),
        ),
        30.0,
    )  # fmt: skip
    limits._first = 7.0
    if is_slow:
        limits.check_conservation()
    else:
        with pytest.raises(CuliError, match=r"conserved energy has changed by \+0.16 eV"):
            limits.check_conservation()


class Jumping(LennardJones):
    """Fails as potentials do where atoms have flown away."""

    def calculate(self, atoms, *arguments):
        super().calculate(atoms, *arguments)
        if np.abs(atoms.positions - CELL.positions).max() > 1e-2:
            raise RuntimeError("no neighbours")


def test_potential_that_fails_is_named_with_the_step(tmp_path):
    with pytest.raises(EngineError, match=r"step \d+ failed \(RuntimeError: no neighbours\)"):
        run_md(CELL, Jumping(rc=3.0, epsilon=0.1), temperature=300, time=1, out=tmp_path)


class Metal(EMT):
    """The forces belong to the free energy, which is not the energy."""

    def calculate(self, atoms, *arguments):
        super().calculate(atoms, *arguments)
        self.results["free_energy"] = self.results["energy"] - 0.5


def test_potential_energy_is_the_free_one_with_that_of_springs(tmp_path):
    atoms = CELL.copy()
    atoms.set_constraint(Hookean(0, (1.0, 0.0, 0.0), k=2.0, rt=0.5))
    log = run_md(atoms, Metal(), temperature=300, time=0.002, out=tmp_path).log
    atoms.set_constraint()
    atoms.calc = EMT()
    spring = 0.5 * 2.0 * (1.0 - 0.5) ** 2
    expected = atoms.get_potential_energy() - 0.5 + spring
    assert log["potential_eV"][0] == pytest.approx(expected)
    (label, *_) = read_frames(tmp_path / "trajectory.extxyz")
    assert label.calc.results["energy"] == pytest.approx(expected - spring)


@pytest.mark.parametrize("ensemble", ["nvt", "nve"])
def test_longer_run_is_the_unbroken_one_to_the_last_byte(tmp_path, ensemble):
    """Also where the first end was between two strides."""
    options = {"temperature": 300, "ensemble": ensemble, "stride": 7}
    whole = run_md(CELL, EMT(), time=0.1, out=tmp_path / "whole", **options)
    for time in (0.03, 0.03, 0.06, 0.1):
        part = run_md(CELL, EMT(), time=time, out=tmp_path / "parts", **options)
        assert part.log["step"][-1] == round(time * 500)
    for name in ("trajectory.extxyz", "log.csv", "final.extxyz"):
        assert (part.folder / name).read_bytes() == (whole.folder / name).read_bytes()
    with pytest.raises(CuliError, match="another job .*time_ps"):
        run_md(CELL, EMT(), time=0.06, out=tmp_path / "parts", **options)
    with pytest.raises(CuliError, match=r"another job .*temperature_K"):
        run_md(CELL, EMT(), time=0.2, out=tmp_path / "parts", **options | {"temperature": 310})


def test_killed_between_the_last_frame_and_the_end_keeps_that_frame(tmp_path):
    options = {"temperature": 300, "time": 0.03, "stride": 7}
    whole = run_md(CELL, EMT(), out=tmp_path / "whole", **options)

    def die(done, total):
        if done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_md(CELL, EMT(), out=tmp_path / "broken", progress=die, **options)
    again = run_md(CELL, EMT(), out=tmp_path / "broken", **options)
    assert again.trajectory.read_bytes() == whole.trajectory.read_bytes()
    assert list(again.log["step"]) == [0, 7, 14, 15]


def test_drift_of_the_centre_of_mass_is_removed_and_the_rest_kept(tmp_path):
    atoms = CELL.copy()
    velocities = np.random.default_rng(0).normal(0, 0.01, (4, 3))
    velocities -= velocities.mean(axis=0)
    atoms.set_velocities(velocities + np.array([0.02, 0, 0]))
    log = run_md(atoms, EMT(), temperature=300, time=0.004, out=tmp_path, ensemble="nve").log
    expected = 0.5 * (atoms.get_masses()[:, None] * velocities**2).sum()
    assert log["kinetic_eV"][0] == pytest.approx(expected, rel=1e-9)
    assert log["temperature_K"][0] == pytest.approx(2 * expected / (9 * units.kB), rel=1e-9)


def test_initial_temperature_and_what_equipartition_leaves_of_it(tmp_path):
    options = {"temperature": 300, "time": 0.3, "ensemble": "nve", "stride": 5, "timestep": 4}
    copper = bulk("Cu", cubic=True, repeat=(2, 2, 2))
    once = run_md(copper, EMT(), out=tmp_path / "a", **options).log["temperature_K"]
    assert once[0] == pytest.approx(300)
    assert once[len(once) // 2 :].mean() == pytest.approx(150, rel=0.2)
    twice = run_md(CELL, EMT(), out=tmp_path / "b", initial_temperature=600, **options)
    assert twice.log["temperature_K"][0] == pytest.approx(600)
    with pytest.raises(CuliError, match="initial_temperature_K"):
        run_md(CELL, EMT(), out=tmp_path / "b", **options)


def test_moved_folder_continues(tmp_path):
    options = {"temperature": 300, "time": 0.04}
    run_md(COPPER, EMT(), out=tmp_path / "here", **options)
    shutil.move(tmp_path / "here", tmp_path / "there")
    result = run_md(COPPER, EMT(), out=tmp_path / "there", **options)
    assert result.log["step"].tolist() == [0, 10, 20]


def test_drift_is_the_slope_of_a_line_per_atom():
    time = np.array([0.0, 0.5, 2.0, 3.0])
    assert energy_drift(time, -7.0 + 0.6 * time, 4) == pytest.approx(0.15, rel=1e-12)
    assert energy_drift(time, -7.0 - 0.6 * time, 12) == pytest.approx(-0.05, rel=1e-12)


def test_lost_atoms_and_heights():
    atoms = slab("Cu", (1, 0, 0), thickness=6, vacuum=20) * (3, 3, 1)
    assert lost_atoms(atoms) == []
    away = atoms + Atoms("Li2", [[0, 0, 45], [2.5, 0, 45]])
    assert lost_atoms(away) == [len(atoms), len(atoms) + 1]
    height, density = height_profile([atoms, atoms], "Cu", bin_width=0.1)
    assert density.sum() * 0.1 == pytest.approx(len(atoms))
    layers = np.unique(atoms.positions[:, 2].round(3))
    assert (density > 0).sum() == len(layers)
    assert np.abs(height[density > 0] - layers).max() <= 0.1


def test_heights_are_of_one_element_and_an_average_over_frames():
    """Lithium at 7 Å in one frame of two, in bins of 0.5 Å; copper far below."""
    first = Atoms("CuLi2", [[0, 0, 1], [0, 0, 7], [3, 0, 9]])
    second = Atoms("CuLi2", [[0, 0, 1], [0, 0, 9], [3, 0, 9]])
    height, density = height_profile([first, second], "Li", bin_width=0.5)
    np.testing.assert_allclose(height, np.arange(6.25, 10, 0.5))  # from 1 Å below to 1 Å above
    expected = dict.fromkeys(height, 0.0) | {7.25: 1 / (2 * 0.5), 9.25: 3 / (2 * 0.5)}
    assert dict(zip(height, density, strict=True)) == pytest.approx(expected)


def test_atoms_within_five_angstrom_are_together():
    for gap, lost in ((4.9, []), (5.1, [2])):
        atoms = Atoms("Cu3", [[0, 0, 0], [2.5, 0, 0], [2.5, 0, gap]])
        assert lost_atoms(atoms) == lost
    assert lost_atoms(atoms, cutoff=5.2) == []


def moving_cell():
    """Two elements, with velocities; the centre of mass is at rest."""
    atoms = bulk("Cu", cubic=True)
    atoms.symbols[1] = "Au"
    momenta = np.random.default_rng(8).normal(0, 2, (4, 3))
    atoms.set_momenta(momenta - momenta.mean(axis=0))
    return atoms


@pytest.mark.parametrize("ensemble", ["nvt", "nve"])
def test_a_run_is_ases_with_the_same_options(tmp_path, ensemble):
    """Nine steps of 1.5 fs and one frame in four; the thermostat's time is 100 fs."""
    theirs = moving_cell()
    theirs.calc = EMT()
    if ensemble == "nve":
        dynamics = VelocityVerlet(theirs, 1.5 * units.fs)
    else:
        rng = np.random.default_rng(5)
        dynamics = Bussi(theirs, 1.5 * units.fs, 700, 100 * units.fs, rng)
        dynamics.ndof = 9  # the centre of mass carries no heat
        dynamics.target_kinetic_energy = 4.5 * units.kB * 700
    expected = []
    for step in (0, 4, 8, 9):
        dynamics.run(step - dynamics.nsteps)
        potential, kinetic = theirs.get_potential_energy(), theirs.get_kinetic_energy()
        put_in = getattr(dynamics, "transferred_energy", 0.0)
        expected.append([step, 0.0015 * step, 2 * kinetic / (9 * units.kB), potential, kinetic,
                         potential + kinetic, potential + kinetic - put_in])  # fmt: skip
    result = run_md(
        moving_cell(), EMT(), temperature=700, time=0.0135, out=tmp_path, ensemble=ensemble,
        initial_temperature=50, timestep=1.5, stride=4, seed=5,
    )  # fmt: skip
    columns = ["step", "time_ps", "temperature_K", "potential_eV", "kinetic_eV", "total_eV",
               "conserved_eV"]  # fmt: skip
    found = np.transpose([result.log[name] for name in columns])
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)
    (final,) = read_frames(result.final)
    assert final.info["time_ps"] == pytest.approx(0.0135)
    frames = read_frames(result.trajectory)
    assert [f.info["time_ps"] for f in frames] == pytest.approx([0, 0.006, 0.012, 0.0135])
    for last in (final, frames[-1]):
        np.testing.assert_allclose(last.positions, theirs.positions, atol=2e-8)
        np.testing.assert_allclose(last.get_momenta(), theirs.get_momenta(), atol=2e-8)
    labels = frames[-1].calc.results
    np.testing.assert_allclose(labels["forces"], theirs.get_forces(), atol=2e-8)
    np.testing.assert_allclose(labels["stress"], theirs.get_stress(), atol=2e-8)


def test_a_structure_that_only_drifts_gets_velocities():
    atoms = CELL.copy()
    atoms.set_velocities(np.full((4, 3), 0.05))
    with_velocities(atoms, 250, np.random.default_rng(0))
    assert atoms.get_kinetic_energy() == pytest.approx(9 * units.kB * 250 / 2)
    assert np.abs(atoms.get_momenta().sum(axis=0)).max() < 1e-12


class Fixed(Calculator):
    """Gives the same numbers whatever the structure."""

    implemented_properties = ("energy", "forces")

    def __init__(self, energy, force):
        super().__init__()
        self.energy, self.force = energy, force

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": self.energy, "forces": np.full((len(atoms), 3), self.force)}


@pytest.mark.parametrize("numbers", [(np.nan, 0.0), (0.0, np.inf)])
@pytest.mark.parametrize(("model", "name"), [("mine", "mine"), ("", "the potential")])
def test_a_potential_that_gives_no_number_is_refused_at_once(tmp_path, numbers, model, name):
    options = {"temperature": 300, "time": 0.01, "out": tmp_path / "new", "model": model}
    with pytest.raises(EngineError, match=f"^{name} gives energy or forces of NaN .* for Cu4: "):
        run_md(CELL, Fixed(*numbers), **options)
    unknown = CELL.copy()
    unknown.symbols[0] = "Fe"
    with pytest.raises(EngineError, match=rf"^{name} cannot compute Cu3Fe \(NotImpl.*: No EMT-pot"):
        run_md(unknown, EMT(), **options)
    assert not (tmp_path / "new").exists()


def limits(n_degrees=20, now=300.0, asked=400.0, stride=4):
    """Of a run of four atoms, at one temperature, for which another was asked."""
    dynamics = SimpleNamespace(atoms=CELL.copy(), nsteps=10, get_time=lambda: 1000 * units.fs)
    dynamics.atoms.calc = Fixed(0.0, 0.0)
    recorder = SimpleNamespace(
        dynamics=dynamics, n_degrees=n_degrees, temperature=now, stride=stride,
        files=["here.extxyz"], energies=lambda: (0.0, 0.0, recorder.conserved),
    )  # fmt: skip
    return Limits(recorder, asked), recorder


def jump(length, atom=2):
    """One step, in which an atom jumps along the diagonal."""
    run, recorder = limits()

    def move(_steps):
        recorder.dynamics.nsteps += 1
        recorder.dynamics.atoms.positions[atom] += length / np.sqrt(3)

    recorder.dynamics.run = move
    run.step()


def test_atoms_move_half_an_angstrom_a_step_at_most():
    jump(0.499)
    with pytest.raises(CuliError, match=r"at step 11, where atom 2 \(Cu\) moved by 0.5 Å and the "
                       r"temperature was 300 K: .* of step 8, is in here.extxyz"):  # fmt: skip
        jump(0.501)


@pytest.mark.parametrize(("now", "asked"), [(300.0, 400.0), (400.0, 300.0)])
def test_the_hottest_of_few_atoms_is_hotter_than_that_of_many(now, asked):
    """(10 T + 3000 K)(1 + 10 / degrees of freedom), T the higher of start and thermostat."""
    for degrees, hottest in ((20, 7000 * 1.5), (1000, 7000 * 1.01)):
        run, recorder = limits(degrees, now, asked)
        before = recorder.dynamics.atoms.positions.copy()
        recorder.temperature = hottest - 1
        run._check(12, before)
        recorder.temperature = hottest + 1
        with pytest.raises(CuliError, match=r"diverged at step 12, .* of step 8, is in"):
            run._check(12, before)


def test_energy_may_change_by_all_heat():
    """By kT for each degree of freedom, whatever the drift: here 20 k · 400 K = 0.689 eV."""
    run, recorder = limits()
    run._first = -5.0
    heat = 20 * 8.617333e-5 * 400
    for sign in (1, -1):
        recorder.conserved = -5.0 + sign * 0.999 * heat
        run.check_conservation()
        recorder.conserved = -5.0 + sign * 1.001 * heat
        words = rf"changed by \{'+' if sign > 0 else '-'}0.69 eV up to step 10, .* of step 8, is in"
        with pytest.raises(CuliError, match=words):
            run.check_conservation()


def test_damaged_files_of_a_run_are_named(tmp_path):
    options = {"temperature": 300, "time": 0.02, "stride": 5, "out": tmp_path / "md"}

    class Killed(BaseException):
        pass

    def die(done, total):
        raise Killed

    with pytest.raises(Killed):
        run_md(COPPER, EMT(), progress=die, **options)
    state = tmp_path / "md" / "state.npz"
    whole = state.read_bytes()
    other = io.BytesIO()
    np.savez(other, positions=COPPER.positions)
    for content in (b"", b"garbage", whole[:-30], other.getvalue()):
        state.write_bytes(content)
        with pytest.raises(CuliError, match=r"state.npz is damaged .*: remove it"):
            run_md(COPPER, EMT(), **options)
    state.write_bytes(whole)
    run_md(COPPER, EMT(), **options)
    (tmp_path / "md" / "log.csv").write_text("step,time_ps\n0,zero\n")
    with pytest.raises(CuliError, match=r"log.csv is missing or damaged"):
        run_md(COPPER, EMT(), **options)


@pytest.fixture
def killed_at(monkeypatch):
    """Break a run off at its n-th energy; gives a list whose length is the energies since then."""

    def kill(n):
        since, left, whole = [], iter(range(n, 0, -1)), EMT.calculate

        def calculate(self, *arguments, **options):
            number = next(left, None)
            if number == 1:
                raise KeyboardInterrupt
            if number is None:
                since.append(1)
            whole(self, *arguments, **options)

        monkeypatch.setattr(EMT, "calculate", calculate)
        return since

    return kill


@pytest.mark.parametrize("at", [2, 3, 4, 6, 7, 9])
def test_no_frame_stands_twice_wherever_a_run_was_killed(tmp_path, killed_at, at):
    """Before the second frame, too."""
    options = {"temperature": 300, "time": 0.02, "stride": 5}
    whole = run_md(CELL, EMT(), out=tmp_path / "whole", **options)
    killed_at(at)
    with pytest.raises(KeyboardInterrupt):
        run_md(CELL, EMT(), out=tmp_path / "killed", **options)
    run_md(CELL, EMT(), out=tmp_path / "killed", **options)
    for name in ("trajectory.extxyz", "log.csv"):
        assert (tmp_path / "killed" / name).read_text() == (tmp_path / "whole" / name).read_text()
    assert whole.log["step"].tolist() == [0, 5, 10]


@pytest.mark.parametrize(("seconds", "most"), [(0.0, 10 - 6 + 2), (1e9, 10 + 2)])
def test_a_slow_potential_goes_on_from_its_last_step(
    tmp_path, monkeypatch, killed_at, seconds, most
):
    """The steps that are left, and two energies to begin with; a fast one begins at a frame."""
    monkeypatch.setattr("culi_mlip.dynamics.records.SAVE_AFTER", seconds)
    options = {"temperature": 300, "time": 0.02, "stride": 10}
    run_md(CELL, EMT(), out=tmp_path / "whole", **options)
    since = killed_at(8)
    with pytest.raises(KeyboardInterrupt):
        run_md(CELL, EMT(), out=tmp_path / "killed", **options)
    run_md(CELL, EMT(), out=tmp_path / "killed", **options)
    assert most - 2 <= len(since) <= most
    log = (tmp_path / "killed" / "log.csv").read_text()
    assert log == (tmp_path / "whole" / "log.csv").read_text()
