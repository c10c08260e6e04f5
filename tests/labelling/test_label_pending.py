"""What becomes of structures when workers die, engines are missing, or labels are not finite."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from multiprocessing import get_context

import numpy as np
import pytest
from ase import units
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms

from culi_mlip.configuration import parse, read_yaml
from culi_mlip.datasets import Store
from culi_mlip.errors import DatasetError, EngineError, SetupError
from culi_mlip.labelling import Recipe, Workers, build_dataset, label_pending, open_executor
from culi_mlip.labelling.computations import attempt
from culi_mlip.labelling.executors import WorkerError
from culi_mlip.labelling.jobs import Job, JobFolder
from culi_mlip.labelling.recipe import MeltQuench, Relaxation, Sampling
from culi_mlip.reference import get_engine
from culi_mlip.structures import Entry, bulk, rattled, slab, strained


def different(n):
    """Structures of different energies, in an order that is not that of their ids."""
    return [Entry(strained(bulk("Cu"), 0.01 * i), "bulk") for i in range(n)]


def stored(tmp_path, n=10):
    store = Store(tmp_path / "store.db")
    store.add(different(n))
    return store


def check_labels(store):
    for frame in store.frames():
        again = frame.copy()
        again.calc = EMT()
        assert frame.get_potential_energy() == pytest.approx(again.get_potential_energy(), abs=1e-9)
        np.testing.assert_allclose(frame.get_stress(), again.get_stress(), atol=1e-9)


def test_labels_of_a_call_with_several_structures_reach_their_own_rows(tmp_path):
    """Whose energies all differ."""
    store = stored(tmp_path)
    with ProcessPoolExecutor(1, get_context("spawn")) as executor:
        label_pending(store, get_engine("emt"), executor=executor, per_call=4)
    assert store.count("done") == 10
    energies = [frame.get_potential_energy() for frame in store.frames()]
    assert len({round(energy, 6) for energy in energies}) == 10
    check_labels(store)


class Dying(Executor):
    """Runs a call until its sixth energy, once; then the worker is dead."""

    def __init__(self, error, monkeypatch):
        self.error, self.energies = error, 0
        whole = EMT.calculate

        def calculate(calculator, *arguments):
            self.energies += 1
            if self.energies == 6:
                raise KeyboardInterrupt
            whole(calculator, *arguments)

        monkeypatch.setattr(EMT, "calculate", calculate)

    def submit(self, fn, /, *arguments):
        future = Future()
        try:
            future.set_result(fn(*arguments))
        except KeyboardInterrupt:
            future.set_exception(self.error)
        return future


def deaths(store):
    return sorted(store.pending().values())


@pytest.mark.parametrize("error", [WorkerError("its time is up"), BrokenExecutor("it is gone")])
def test_what_a_dead_worker_had_finished_is_stored_and_counts_no_death(
    tmp_path, monkeypatch, error
):
    """Of a call of ten the worker died over the sixth: four had not been begun."""
    store = stored(tmp_path)
    seen = []
    dying = Dying(error, monkeypatch)
    release = Store.release

    def released(self, row_ids=None, *, died=False):
        seen.extend([died] * len(row_ids or []))
        return release(self, row_ids, died=died)

    monkeypatch.setattr(Store, "release", released)
    arguments = {"executor": dying, "per_call": 10, "in_flight": 1}
    if isinstance(error, BrokenExecutor):
        with pytest.raises(BrokenExecutor):
            label_pending(store, get_engine("emt"), **arguments)
        assert store.count("done") == 5
        assert deaths(store) == [0, 0, 0, 0, 1]
    label_pending(store, get_engine("emt"), **arguments)
    assert seen == [True, False, False, False, False]
    assert store.count("done") == 10
    assert dying.energies == 11, "nothing is computed twice, but the sixth"
    check_labels(store)
    assert not list((tmp_path / "runs").glob("*")), "records end with what they were of"


KILLED = """
import os, sys
from ase.calculators.emt import EMT
whole, energies = EMT.calculate, []
def calculate(self, *arguments):
    energies.append(1)
    if len(energies) == {at}:
        os.kill(os.getpid(), 9)
    whole(self, *arguments)
EMT.calculate = calculate
from tests.labelling.test_label_pending import {job}
from culi_mlip.labelling.computations import attempt
attempt("emt", "{{}}", [{job}(sys.argv[1])])
"""


def sampled(folder):
    start = Entry(rattled(bulk("Cu", repeat=(2, 1, 1)), 0.1, seed=1), "bulk")
    task = Sampling(kinds=("bulk",), temperatures=(300, 600), steps=8, stride=2)
    return Job(start, [task], str(folder))


def relaxed(folder):
    start = Entry(rattled(slab("Cu", (1, 1, 0), thickness=8, vacuum=8), 0.1, seed=1), "slab")
    return Job(start, [Relaxation(kinds=("slab",), force=0.01, keep="all")], str(folder))


@pytest.mark.parametrize(("job", "at", "most"), [(sampled, 14, 3), (relaxed, 4, 0)])
def test_tasks_of_any_calculator_go_on_after_a_kill(tmp_path, monkeypatch, job, at, most):
    """The labels that were written are not computed again, and the result is the unbroken one's.

    MD goes on from its last state: of fast potentials it loses two steps and a first energy.
    """
    (whole,) = attempt("emt", "{}", [job(tmp_path / "whole")])
    code = KILLED.format(at=at, job=job.__name__)
    killed = subprocess.run([sys.executable, "-c", code, tmp_path / "broken"], check=False)
    assert killed.returncode == -signal.SIGKILL
    energies = []

    def calculate(self, *arguments, whole=EMT.calculate):
        energies.append(1)
        whole(self, *arguments)

    monkeypatch.setattr(EMT, "calculate", calculate)
    attempt.__globals__["_engine"].cache_clear()  # it may have computed the last structure
    (continued,) = attempt("emt", "{}", [job(tmp_path / "broken")])
    n_broken = len(energies)
    attempt("emt", "{}", [job(tmp_path / "again")])
    lost = n_broken - (len(energies) - n_broken - (at - 1))
    assert 0 <= lost <= most
    assert len(continued.frames) == len(whole.frames) > 2
    for one, other in zip(continued.frames, whole.frames, strict=True):
        np.testing.assert_allclose(one.atoms.positions, other.atoms.positions, atol=1e-10)
        assert one.results["energy"] == pytest.approx(other.results["energy"], abs=1e-10)
        np.testing.assert_allclose(one.results["forces"], other.results["forces"], atol=1e-9)


def test_record_that_was_cut_off_or_is_of_another_engine_is_not_taken(tmp_path):
    atoms = rattled(bulk("Cu", repeat=(2, 1, 1)), 0.1, seed=1)
    engine = get_engine("emt")
    frames = engine.relax(atoms, tmp_path)
    (record,) = tmp_path.iterdir()
    whole = record.read_bytes()
    record.write_bytes(whole[:-40])
    again = engine.relax(atoms, tmp_path)
    assert record.read_bytes().count(b"\n") == whole.count(b"\n") == 1 + len(frames)
    energies = [[a.get_potential_energy() for a in run] for run in (frames, again)]
    assert energies[0] == pytest.approx(energies[1], abs=1e-10)
    other = get_engine("ase", {"calculator": "ase.calculators.lj.LennardJones"})
    first = other.relax(atoms, tmp_path, force=1e9)[0]
    assert first.get_potential_energy() != pytest.approx(frames[0].get_potential_energy())
    moved = atoms.copy()
    moved.positions[0, 0] += 0.01
    assert engine.relax(moved, tmp_path)[0].get_potential_energy() != pytest.approx(
        frames[0].get_potential_energy()
    )


def test_outcome_of_a_record_is_what_was_kept(tmp_path):
    """Atoms, constraints and numbers to the last bit."""
    job = relaxed(tmp_path)
    (label,) = attempt("emt", "{}", [job])
    again = JobFolder(job, get_engine("emt").digest).outcome
    np.testing.assert_array_equal(again.results["forces"], label.results["forces"])
    for one, other in zip(again.frames, label.frames, strict=True):
        assert one.uid == other.uid
        assert one.atoms.constraints[0].index.tolist() == other.atoms.constraints[0].index.tolist()
        np.testing.assert_array_equal(one.atoms.positions, other.atoms.positions)
    assert JobFolder(job._replace(seed=1), get_engine("emt").digest).outcome is None
    assert JobFolder(job, "another").outcome is None


def test_constrained_structures_have_all_forces(tmp_path):
    """Of a label, a relaxation and a melt-quench, on held atoms too."""
    start = Entry(slab("Cu", (1, 1, 0), thickness=8, vacuum=8, free_layers=1), "slab")
    held = start.atoms.constraints[0].index
    assert 0 < len(held) < len(start.atoms)
    quench = MeltQuench(kinds=("slab",), hold=300, to=200, rate=5000, hold_time=0.01, frames=3,
                        stride=2, distance=0)  # fmt: skip
    tasks = [Relaxation(kinds=("slab",), force=0.01), quench]
    (label,) = attempt("emt", "{}", [Job(start, tasks, str(tmp_path))])
    pairs = [(start.atoms, label.results), *((f.atoms, f.results) for f in label.frames)]
    assert len(pairs) >= 3
    for atoms, results in pairs:
        free = atoms.copy()
        free.set_constraint()
        free.calc = EMT()
        assert np.abs(free.get_forces()[held]).max() > 1e-3
        np.testing.assert_allclose(results["forces"], free.get_forces(), atol=1e-6)
        np.testing.assert_allclose(atoms.positions[held], start.atoms.positions[held], atol=1e-7)


def test_two_seeds_sample_differently():
    start = Entry(bulk("Cu", repeat=(2, 2, 1)), "bulk")
    tasks = [Sampling(kinds=("bulk",), temperatures=(300,), steps=4, stride=2)]
    first, same, other = (
        attempt("emt", "{}", [Job(start, tasks, seed=seed)])[0].frames for seed in (0, 0, 1)
    )
    for one, two, three in zip(first, same, other, strict=True):
        np.testing.assert_array_equal(one.atoms.positions, two.atoms.positions)
        assert np.abs(one.atoms.positions - three.atoms.positions).max() > 1e-3


def test_sampling_has_the_temperature_that_it_is_asked_for():
    """Of the three degrees of freedom that two atoms have beside their centre of mass."""
    start = Entry(bulk("Cu", repeat=(2, 1, 1)), "bulk")
    task = Sampling(kinds=("bulk",), temperatures=(300,), steps=1, stride=1)
    energies = [
        attempt("emt", "{}", [Job(start, [task], seed=n)])[0].frames[0].atoms.get_kinetic_energy()
        for n in range(40)
    ]
    assert 2 * np.mean(energies) / (3 * units.kB) == pytest.approx(300, rel=0.1)


def test_one_atom_has_a_label_and_no_md(tmp_path):
    """MD of one atom at rest would divide by zero."""
    content = {
        "structures": [{"kind": "bulk", "symbol": "Cu", "repeat": [1, 1, 1],
                        "strains": [-0.02, 0.0, 0.02]}],
        "engine": {"name": "emt"},
        "sampling": {"kinds": ["bulk"], "temperatures": [300], "steps": 20},
        "melt_quench": {"kinds": ["bulk"], "hold_time": 0.01, "rate": 50000},
    }  # fmt: skip
    card = build_dataset(parse(Recipe, content, "test"), tmp_path).card
    store = Store(tmp_path / "store.db")
    frames = list(store.frames())
    assert len(frames) == 3
    assert all(np.isfinite(frame.positions).all() for frame in frames)
    assert any("one atom stays at rest" in note for note in store.notes())
    assert not card["failed_labels"]


@pytest.mark.parametrize("what", ["positions", "cell", "energy", "forces", "stress"])
def test_nothing_that_is_not_finite_enters_a_store(tmp_path, what):
    store = stored(tmp_path, 1)
    atoms = bulk("Cu", repeat=(2, 1, 1))
    results = {"energy": 1.0, "forces": np.zeros((2, 3)), "stress": np.zeros(6)}
    if what == "positions":
        atoms.positions[1, 2] = np.nan
    elif what == "cell":
        atoms.cell[0, 0] = np.inf
    else:
        results[what] = np.full_like(results[what], np.nan)
    with pytest.raises(DatasetError, match=f"{what} of Cu2 has NaN or infinity"):
        store.add([Entry(atoms, "bulk", results=results)], get_engine("emt"))
    assert len(store) == 1
    if what in results:
        (row_id,) = store.pending()
        with pytest.raises(DatasetError, match="NaN or infinity"):
            store.label(row_id, results, get_engine("emt"))
        assert store.count("done") == 0


def test_label_that_is_not_finite_is_a_failure_with_its_reason(tmp_path, monkeypatch):
    def calculate(self, *arguments, whole=EMT.calculate):
        whole(self, *arguments)
        if abs(self.atoms.get_volume() - volume) < 1e-9:
            self.results["forces"][0, 1] = np.inf

    volume = different(4)[2].atoms.get_volume()
    monkeypatch.setattr(EMT, "calculate", calculate)
    store = stored(tmp_path, 4)
    label_pending(store, get_engine("emt"))
    assert store.count("done") == 3
    assert list(store.failures().values()) == ["the engine gave a forces of NaN or infinity"]


RECIPE = {
    "structures": [{"kind": "bulk", "symbol": "Cu", "a": 3.6, "strains": [-0.02, 0.0, 0.02]}],
    "engine": {"name": "cp2k"},
}


@pytest.mark.parametrize("engine", ["chgnet", "cp2k", "gpaw", "vasp", "ase"])
def test_engine_that_is_missing_is_no_structures_failure(tmp_path, monkeypatch, engine):
    for package in ("chgnet.model.dynamics", "gpaw.xc.libxc"):
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setenv("ASE_CP2K_COMMAND", "no_such_cp2k")
    monkeypatch.delenv("ASE_VASP_COMMAND", raising=False)
    settings = {"ase": {"calculator": "no_such_package.Calculator"}}.get(engine, {})
    recipe = parse(Recipe, RECIPE | {"engine": {"name": engine, "settings": settings}}, "test")
    with pytest.raises(SetupError) as caught:
        build_dataset(recipe, tmp_path)
    assert "mend the recipe" not in str(caught.value)
    store = Store(tmp_path / "store.db")
    assert (store.count("pending"), store.count("failed"), len(store)) == (3, 0, 3)


def test_same_command_goes_on_when_the_engine_is_there(tmp_path, monkeypatch):
    """As chgnet that is installed after a first try."""
    recipe = parse(Recipe, RECIPE | {"engine": {"name": "ase", "settings": {
        "calculator": "installed_later.Later"}}}, "test")  # fmt: skip
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SetupError, match="cannot import installed_later.Later"):
        build_dataset(recipe, tmp_path / "data")
    (tmp_path / "installed_later.py").write_text(
        "from ase.calculators.emt import EMT\nclass Later(EMT):\n    pass\n"
    )
    assert sum(build_dataset(recipe, tmp_path / "data").card["frames"].values()) == 3


def test_engine_that_workers_lack_stops_and_marks_nothing(tmp_path, monkeypatch):
    """On a cluster only its nodes know."""

    def broken(self, *arguments):
        raise ModuleNotFoundError("No module named 'tomorrow'")

    monkeypatch.setattr(EMT, "calculate", broken)
    store = stored(tmp_path, 3)
    with pytest.raises(SetupError, match="lacks a package .*tomorrow"):
        label_pending(store, get_engine("emt"), executor=Dying(None, monkeypatch), per_call=2)
    assert store.count("pending") == 3
    assert deaths(store) == [0, 0, 0]


@pytest.mark.parametrize("code", ["lammpsrun.LAMMPS", "vasp.Vasp", "mopac.MOPAC"])
def test_program_that_an_ase_calculator_lacks_is_no_structures_failure(tmp_path, monkeypatch, code):
    """Each says so in a way of its own, when it computes."""
    for name in ("ASE_VASP_COMMAND", "VASP_COMMAND", "VASP_SCRIPT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    store = stored(tmp_path, 2)
    engine = get_engine("ase", {"calculator": f"ase.calculators.{code}"})
    with pytest.raises(SetupError, match="finds no program to run"):
        label_pending(store, engine)
    assert store.count("pending") == 2


def test_full_disk_is_no_structures_failure(tmp_path, monkeypatch):
    def full(self, *arguments):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(EMT, "calculate", full)
    store = stored(tmp_path, 2)
    with pytest.raises(Exception, match="No space left on device.*run the same command again"):
        label_pending(store, get_engine("emt"))
    assert store.count("pending") == 2


def test_recipe_that_stored_nan(tmp_path, real_data):
    faults = real_data.parent / "faults" / "frames" / "one-atom-recipe.yaml"
    if not faults.exists():
        pytest.skip("the folder of faults is not there")
    build_dataset(parse(Recipe, read_yaml(faults), "test"), tmp_path)
    assert all(np.isfinite(f.positions).all() for f in Store(tmp_path / "store.db").frames())


@pytest.mark.parametrize(("in_flight", "room"), [(3, 3), (None, 4)])
def test_so_many_calls_are_under_way_each_of_so_many_structures(
    tmp_path, monkeypatch, in_flight, room
):
    """By default two a processor, of which there are two."""
    lock, now, most, sizes = threading.Lock(), [], [], []

    def fail(engine, settings, jobs):
        with lock:
            now.append(1)
            most.append(len(now))
            sizes.append(len(jobs))
        time.sleep(0.1)
        with lock:
            now.pop()
        return [EngineError("no label") for _ in jobs]

    monkeypatch.setattr("culi_mlip.labelling.campaign.attempt", fail)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    store, told = stored(tmp_path, 11), []
    with ThreadPoolExecutor(11) as threads:
        label_pending(
            store,
            get_engine("emt"),
            executor=threads,
            in_flight=in_flight,
            per_call=2,
            progress=lambda *numbers: told.append(numbers),
        )
    assert max(most) == room
    assert sizes == [2] * 5 + [1]
    assert told == [(n, 11) for n in range(1, 12)]
    assert store.count("failed") == 11


def test_labels_tell_the_node_that_made_them(monkeypatch):
    monkeypatch.setenv("SLURMD_NODENAME", "n17")
    (label,) = attempt("emt", "{}", [Job(different(1)[0])])
    assert label.host == "n17"
    monkeypatch.delenv("SLURMD_NODENAME")
    (label,) = attempt("emt", "{}", [Job(different(1)[0])])
    assert label.host == socket.gethostname()


def test_processes_share_the_processors(tmp_path, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 7)
    with open_executor(Workers("processes", number=2), tmp_path) as executor:
        assert executor.submit(os.getenv, "OMP_NUM_THREADS").result(60) == "3"
        assert executor._max_workers == 2


def test_fixed_atoms_are_part_of_a_jobs_identity():
    atoms = bulk("Cu", repeat=(2, 1, 1))
    fixed = atoms.copy()
    fixed.set_constraint(FixAtoms([0]))
    free_job, fixed_job = (Job(Entry(a, "bulk")) for a in (atoms, fixed))
    assert free_job.identity != fixed_job.identity


@pytest.mark.parametrize(
    ("change", "is_another"),
    [
        ({"force": 0.01}, True),
        ({"steps": 50}, True),
        ({"keep": "all"}, True),
        ({"expected_steps": 7, "published": 3, "kinds": ("slab", "bulk")}, False),
    ],
)
def test_what_a_relaxation_is_asked_for_is_part_of_a_jobs_identity(change, is_another):
    """What only says how much work it will be is not."""
    before, after = (
        Job(Entry(bulk("Cu"), "slab"), [Relaxation(**options)]).identity
        for options in ({"kinds": ("slab",)}, {"kinds": ("slab",)} | change)
    )
    assert (before != after) == is_another


def test_record_of_other_settings_is_not_taken(tmp_path):
    atoms = rattled(bulk("Cu", repeat=(2, 1, 1)), 0.1, seed=1)
    energies = []
    for sigma in (2.0, 2.2):
        potential = {"calculator": "ase.calculators.lj.LennardJones", "arguments": {"sigma": sigma}}
        engine = get_engine("ase", potential)
        (first, *_) = engine.relax(atoms, tmp_path, force=1e9)
        atoms.calc = engine.calculator()
        assert first.get_potential_energy() == pytest.approx(atoms.get_potential_energy())
        energies.append(first.get_potential_energy())
    assert abs(energies[0] - energies[1]) > 0.1
