"""What a recipe computes for structures besides their labels: relaxations, MD, melt-quench."""

from concurrent.futures import Executor, Future
from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.optimize import FIRE

from culi_mlip.configuration import parse, read_yaml
from culi_mlip.datasets import Store
from culi_mlip.errors import EngineError
from culi_mlip.files import read_frames
from culi_mlip.labelling import Recipe, build_dataset, label_pending
from culi_mlip.labelling.campaign import DEATHS
from culi_mlip.labelling.computations import attempt
from culi_mlip.labelling.executors import WorkerError
from culi_mlip.labelling.jobs import Job
from culi_mlip.labelling.recipe import MeltQuench, Relaxation, Sampling
from culi_mlip.reference import get_engine
from culi_mlip.runs import read_run
from culi_mlip.structures import Entry, bulk, campaign, slab

SLAB = {"kind": "slab", "symbol": "Cu", "millers": [[1, 0, 0], [1, 1, 1]], "thickness": 8}
BASE = {
    "structures": [
        {**SLAB, "vacuum": 8},
        {"kind": "bulk", "symbol": "Cu", "repeat": [2, 2, 2], "disorder": {"copies": 2}},
    ],
    "engine": {"name": "emt"},
    "lattice_constants": {"Cu": 3.578},  # strained, so that slabs relax
    "split": {"val": 0.2, "test": 0.2},
}


def test_relaxed_structures_enter_with_the_first(tmp_path):
    recipe = parse(Recipe, BASE | {"relaxation": {"kinds": ["slab"], "force": 0.01}}, "test")
    build_dataset(recipe, tmp_path)
    frames = list(Store(tmp_path / "store.db").frames())
    starts = {a.info["uid"]: a for a in frames if a.info["kind"] == "slab"}
    held = {e.uid: e.atoms.constraints[0].index for e in campaign(recipe) if e.kind == "slab"}
    relaxed = [a for a in frames if a.info["kind"] == "slab-relaxation"]
    assert len(starts) == len(relaxed) == 2
    for frame in relaxed:
        start = starts[frame.info["parent"]]
        fixed = held[start.info["uid"]]
        np.testing.assert_allclose(frame.positions[fixed], start.positions[fixed])
        assert np.abs(np.delete(frame.get_forces(), fixed, axis=0)).max() < 0.01
        twin = start.copy()
        twin.set_constraint(FixAtoms(fixed))
        twin.calc = EMT()
        FIRE(twin, logfile=None).run(fmax=0.005)
        assert frame.get_potential_energy() == pytest.approx(twin.get_potential_energy(), abs=1e-3)
        assert frame.get_potential_energy() < start.get_potential_energy() - 1e-4


def test_all_steps_of_a_relaxation_on_demand():
    start = Entry(slab("Cu", (1, 1, 0), thickness=8, vacuum=8), "slab")
    (all_steps,), (last,) = (
        attempt("emt", "{}", [Job(start, [Relaxation(force=0.01, keep=keep)])])
        for keep in ("all", "last")
    )
    assert len(last.frames) == 1 < len(all_steps.frames)
    np.testing.assert_allclose(
        last.frames[0].atoms.positions, all_steps.frames[-1].atoms.positions, atol=1e-12
    )
    energies = [last.results["energy"], *(f.results["energy"] for f in all_steps.frames)]
    assert energies[-1] < energies[0]


def test_steps_of_a_relaxation_are_numbered_and_each_start_has_a_trajectory():
    starts = [Entry(slab("Cu", (1, 1, 0), a=a, thickness=8, vacuum=8), "slab") for a in (3.58, 3.6)]
    tasks = {keep: Relaxation(force=0.01, keep=keep) for keep in ("all", "last")}
    (first, second), (last, _) = (
        attempt("emt", "{}", [Job(start, [task]) for start in starts]) for task in tasks.values()
    )
    assert [f.how["step"] for f in first.frames] == list(range(1, 1 + len(first.frames)))
    assert last.frames[0].how == {"step": len(first.frames)}
    for label, start in ((first, starts[0]), (second, starts[1])):
        assert {f.trajectory for f in label.frames} == {f"relaxation-{start.uid}"}
        assert {f.parent for f in label.frames} == {start.uid}
        assert {f.kind for f in label.frames} == {"slab-relaxation"}


def test_sampling_follows_its_options(tmp_path):
    """Two temperatures, a time step and a stride of its own; what was held is free."""
    atoms = bulk("Cu", repeat=(2, 2, 1))
    atoms.set_constraint(FixAtoms([0]))
    start = Entry(atoms, "bulk")
    task = Sampling(temperatures=(900, 100), timestep_fs=1.5, steps=160, stride=1)
    (label,) = attempt("emt", "{}", [Job(start, [task])])
    runs = {T: [f for f in label.frames if f.how["temperature_K"] == T] for T in (900, 100)}
    for temperature, frames in runs.items():
        assert [f.how["step"] for f in frames] == list(range(1, 161))
        assert {f.trajectory for f in frames} == {f"md-{start.uid}-{temperature}K"}
        mean = np.mean([f.atoms.get_kinetic_energy() for f in frames[40:]])
        assert 2 * mean / (9 * units.kB) == pytest.approx(temperature, rel=0.5)
        one, other = frames[100].atoms, frames[101].atoms
        moved = other.positions - one.positions
        velocities = (one.get_velocities() + other.get_velocities()) / 2
        time = (moved * velocities).sum() / (velocities**2).sum()
        assert time / units.fs == pytest.approx(1.5, rel=0.1)
        assert np.abs(frames[-1].atoms.positions[0] - atoms.positions[0]).max() > 1e-3
    task = Sampling(temperatures=(300, 400), steps=10, stride=4)
    (label,) = attempt("emt", "{}", [Job(start, [task], str(tmp_path))])
    assert [tuple(f.how.values()) for f in label.frames] == [(300, 4), (300, 8), (400, 4), (400, 8)]
    for temperature in (300, 400):
        inputs = read_run(tmp_path / "md" / f"{temperature}K").inputs
        chosen = (inputs["temperature_K"], inputs["thermostat_time_fs"], inputs["stride"])
        assert chosen == (temperature, 50.0, 4)
        assert inputs["model"] == f"emt {get_engine('emt').digest}"


def test_melt_quench_follows_its_options(tmp_path):
    """As the record of the run says; alike within a distance of 9 Å are all frames."""
    quench = MeltQuench(
        kinds=("bulk",),
        frames=2,
        hold=700,
        to=300,
        rate=20000,
        hold_time=0.012,
        timestep=1.5,
        period=17,
        stride=4,
        distance=9.0,
    )
    starts = [Entry(bulk("Cu", a=a, repeat=(2, 1, 1)), "bulk") for a in (3.6, 3.65)]
    folders = [tmp_path / "a", tmp_path / "b", tmp_path / "c"]
    jobs = [
        Job(starts[0], [quench], str(folders[0]), 1),
        Job(starts[1], [quench.model_copy(update={"distance": 0.0})], str(folders[1]), 1),
        Job(starts[0], [quench], str(folders[2]), 2),
    ]
    alike, different, _ = attempt("emt", "{}", jobs)
    records = [read_yaml(folder / "melt-quench" / "run.yaml")["inputs"] for folder in folders]
    seeds = [record.pop("seed") for record in records]
    assert len(set(seeds)) == 3
    for record in records:
        assert record.pop("structure").startswith("Cu2 ")
        assert record.pop("calculator").startswith("ase.calculators.emt.EMT")
        assert record == {
            "model": f"emt {get_engine('emt').digest}",
            "hold": 700,
            "to": 300,
            "rate": 20000,
            "hold_time": 0.012,
            "timestep": 1.5,
            "period": 17,
            "stride": 4,
        }
    assert len(alike.frames) == 1
    assert "2 frames were asked for" in alike.notes[0]
    assert len(different.frames) == 2
    assert {f.trajectory for f in different.frames} == {f"melt-quench-{starts[1].uid}"}
    steps = [0, 4, 8, 12, 16, 20, 21]  # 12 fs of hold and 20 of ramp, every fourth and the end
    trajectory = read_frames(folders[1] / "melt-quench" / "trajectory.extxyz")
    told = dict(zip(steps, trajectory, strict=True))
    for frame in different.frames:
        same = told[frame.how["step"]]
        np.testing.assert_allclose(frame.atoms.positions, same.positions, atol=1e-7)


def test_costs_of_tasks_are_those_of_their_options():
    md = Sampling(temperatures=(100, 200, 300), steps=50, stride=7)
    assert md.cost == (3 * 51, 3 * 7)
    assert Relaxation(expected_steps=13).cost == (13, 1)
    assert Relaxation(expected_steps=13, keep="all").cost == (13, 12)
    schedule = {
        "hold": 500,
        "to": 100,
        "rate": 1000,
        "hold_time": 0.6,
        "timestep": 2.5,
        "period": 20,
    }
    for frames, most in ((9, 9), (999, 57)):  # 240 steps of hold, 160 of ramp, every seventh
        assert MeltQuench(**schedule, frames=frames, stride=7).cost == (401, most)


def test_relaxation_that_does_not_end_fails_with_the_reason():
    start = Entry(slab("Cu", (1, 1, 0), thickness=8, vacuum=8), "slab")
    (outcome,) = attempt("emt", "{}", [Job(start, [Relaxation(force=1e-6, steps=3)])])
    assert "the relaxation did not reach 1e-06 eV/Å in 3 steps" in str(outcome)


def test_melt_quench_gives_labelled_frames_and_says_how_many_are_missing(tmp_path):
    quench = {"kinds": ["bulk"], "frames": 30, "hold": 900, "to": 300, "rate": 5000,
              "hold_time": 0.2, "stride": 2}  # fmt: skip
    built = build_dataset(parse(Recipe, BASE | {"melt_quench": quench}, "test"), tmp_path)
    store = Store(tmp_path / "store.db")
    frames = [a for a in store.frames() if a.info["kind"] == "bulk-melt-quench"]
    assert 3 <= len(frames) < 30
    assert len({a.info["trajectory"] for a in frames}) == 1  # of the ideal crystal alone
    for frame in frames:
        again = frame.copy()
        again.calc = EMT()
        assert frame.get_potential_energy() == pytest.approx(again.get_potential_energy(), abs=1e-6)
        np.testing.assert_allclose(frame.get_forces(), again.get_forces(), atol=1e-6)
    (note,) = store.notes()
    assert f"30 frames were asked for, there are {len(frames)}" in note
    assert note in (tmp_path / "card.md").read_text()
    assert built.card["failed_labels"] == {}


def test_melt_quench_that_was_killed_is_continued(tmp_path, monkeypatch):
    """The second attempt goes on from the folder of the first."""
    job = Job(
        Entry(bulk("Cu", repeat=(2, 2, 2)), "bulk"),
        [MeltQuench(hold=300, to=200, rate=2000, hold_time=0.1, stride=1)],
        str(tmp_path / "broken"),
    )
    (whole,) = attempt("emt", "{}", [job._replace(folder=str(tmp_path / "whole"))])
    steps = []

    def calculate(self, *arguments, calculate=EMT.calculate):
        steps.append(1)
        if len(steps) == 60:
            raise KeyboardInterrupt
        calculate(self, *arguments)

    monkeypatch.setattr(EMT, "calculate", calculate)
    with pytest.raises(KeyboardInterrupt):
        attempt("emt", "{}", [job])
    (continued,) = attempt("emt", "{}", [job])
    assert len(steps) < 90, "75 steps and 60 before the kill, had it begun anew"
    assert len(continued.frames) == len(whole.frames)
    for one, other in zip(continued.frames, whole.frames, strict=True):
        np.testing.assert_allclose(one.atoms.positions, other.atoms.positions, atol=1e-7)


def test_worker_that_died_after_it_wrote_more_is_not_counted(tmp_path):
    """As a melt-quench that outlasts the time limit of many jobs."""
    store = Store(tmp_path / "store.db")
    store.add([Entry(bulk("Cu"), "bulk")])
    (uid,) = (store.entry(row_id).uid for row_id in store.pending())
    log = tmp_path / "runs" / uid / "log"
    log.parent.mkdir(parents=True)
    lives = iter(range(2 * DEATHS))

    class Mortal(Executor):
        def submit(self, fn, /, *arguments):
            future = Future()
            if next(lives, None) is None:
                future.set_result(fn(*arguments))
            else:
                log.write_text(log.read_text() + "more" if log.exists() else "")
                future.set_exception(WorkerError("its time is up"))
            return future

    log.write_text("begun")
    label_pending(store, get_engine("emt"), executor=Mortal())
    assert store.count("done") == 1


def test_frames_of_a_melt_quench_say_their_own_step(tmp_path):
    """That of the trajectory that the run leaves."""
    quench = MeltQuench(hold=900, to=300, rate=5000, hold_time=0.1, stride=3, distance=0)
    (label,) = attempt(
        "emt", "{}", [Job(Entry(bulk("Cu", repeat=(2, 2, 2)), "bulk"), [quench], str(tmp_path))]
    )
    trajectory = read_frames(tmp_path / "melt-quench" / "trajectory.extxyz")
    at = {round(1000 * atoms.info["time_ps"] / 2): atoms for atoms in trajectory}  # of 2 fs
    assert len(label.frames) >= 3
    for frame in label.frames:
        np.testing.assert_allclose(
            frame.atoms.positions, at[frame.how["step"]].positions, atol=1e-6
        )


def test_a_relaxation_has_as_many_steps_as_it_may(tmp_path):
    """The first is the structure itself, as VASP counts them."""
    atoms, engine = slab("Cu", (1, 1, 0), thickness=8, vacuum=8), get_engine("emt")
    n = len(engine.relax(atoms, tmp_path / "free", force=0.01))
    assert n > 2
    assert len(engine.relax(atoms, tmp_path / "enough", force=0.01, steps=n)) == n
    with pytest.raises(EngineError, match=f"did not reach 0.01 eV/Å in {n - 1} steps"):
        engine.relax(atoms, tmp_path / "few", force=0.01, steps=n - 1)


def test_worker_that_died_over_a_label_is_counted_whatever_the_engine_wrote(tmp_path):
    """Whose files are no progress: it begins a label anew."""
    store = Store(tmp_path / "store.db")
    store.add([Entry(bulk("Cu"), "bulk")])

    class Mortal(Executor):
        def submit(self, fn, /, engine, settings, jobs):
            output = Path(jobs[0].folder, "label", "output")
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_text(output.read_text() + "more" if output.exists() else "")
            future = Future()
            future.set_exception(WorkerError("its time is up"))
            return future

    label_pending(store, get_engine("emt"), executor=Mortal())
    assert list(store.failures().values()) == [
        f"its worker died {DEATHS + 1} times (its time is up)"
    ]
