"""Labelling by jobs of a real SLURM with two nodes on this machine."""

import json
import os
import random
import re
import subprocess
import time
from collections import Counter
from concurrent.futures import BrokenExecutor
from typing import NamedTuple

import pytest
from ase.calculators.emt import EMT

from culi_mlip.datasets import Store
from culi_mlip.errors import EngineError
from culi_mlip.labelling import Workers, label_pending, open_executor
from culi_mlip.labelling import slurm as slurm_jobs
from culi_mlip.reference import get_engine
from culi_mlip.structures import Entry, bulk, strained

pytestmark = pytest.mark.timeout(600)


def entries(n):
    """Of different energies: labels that went to others' rows would be seen."""
    return [Entry(strained(bulk("Cu"), 0.001 * i), "bulk") for i in range(n)]


def test_sixty_structures_are_labelled_on_both_nodes(two_nodes, tmp_path):
    store = Store(tmp_path / "store.db")
    store.add(entries(60))
    workers = Workers("slurm", number=6, per_job=10)
    with open_executor(workers, tmp_path) as executor:
        label_pending(
            store, get_engine("emt"), executor=executor,
            in_flight=workers.in_flight, per_call=workers.per_job,
        )  # fmt: skip
    assert store.count("done") == 60
    assert not store.check()
    hosts = Counter(store.hosts())
    assert set(hosts) == {"n1", "n2"}, "each label is from a node"
    for frame in store.frames():
        atoms = frame.copy()
        atoms.calc = EMT()
        assert frame.get_potential_energy() == pytest.approx(atoms.get_potential_energy())
    assert not list((tmp_path / "jobs").glob("*.h5")), "finished jobs leave nothing"


def test_call_runs_in_a_job_and_refuses_the_submit_node(two_nodes, tmp_path):
    script = "#!/bin/bash\n#SBATCH --cpus-per-task=1\nexport MY_NAME=lithium\n"
    folder = tmp_path / "a b 'c' ${d} #e &f %j%%"
    folder.mkdir()
    with slurm_jobs.SlurmExecutor(folder, script) as executor:
        keys = ("SLURM_JOB_ID", "SLURMD_NODENAME", "MY_NAME")
        calls = [executor.submit(os.getenv, key) for key in keys]
        number, node, mine = (call.result(timeout=120) for call in calls)
    assert number.isdigit()
    assert mine == "lithium"
    assert node in ("n1", "n2")
    with pytest.raises(EngineError, match="should have been a SLURM job"):
        slurm_jobs._in_job(os.getenv, None, "HOME")


def test_folders_that_jobs_cannot_work_in_are_refused(two_nodes, tmp_path):
    for sign in ("|", "{{"):
        with pytest.raises(EngineError, match=f"avoid '{re.escape(sign)}'"):
            slurm_jobs.SlurmExecutor(tmp_path / f"a{sign}b")


def test_job_that_is_cancelled_raises(two_nodes, tmp_path, monkeypatch):
    monkeypatch.setattr(slurm_jobs, "PATROL", 1.0)
    with slurm_jobs.SlurmExecutor(tmp_path) as executor:
        future = executor.submit(time.sleep, 300)
        for _ in range(120):
            time.sleep(0.5)
            if slurm_jobs._queued_jobs():
                break
        subprocess.run(["scancel", *map(str, slurm_jobs._queued_jobs())], check=True)
        with pytest.raises(slurm_jobs.WorkerError, match=r"SLURM job \d+ ended without a result"):
            future.result(timeout=120)


def test_same_call_finds_the_job_that_another_process_left(two_nodes, tmp_path):
    first = slurm_jobs.SlurmExecutor(tmp_path)
    first.submit(random.random)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "jobs").glob("*_i.h5")) and time.monotonic() < deadline:
        time.sleep(0.2)
    first.shutdown(wait=False)
    before = slurm_jobs._queued_jobs()
    assert len(before) == 1
    second = slurm_jobs.SlurmExecutor(tmp_path)
    future = second.submit(random.random)
    time.sleep(1)
    assert slurm_jobs._queued_jobs() <= before, "no second job"
    assert 0 <= future.result(timeout=120) < 1
    second.shutdown()


def test_job_script_that_slurm_refuses_is_said(two_nodes, tmp_path):
    with pytest.raises(EngineError, match=r"does not take the job.*[Ii]nvalid partition"):
        slurm_jobs.SlurmExecutor(tmp_path, "#!/bin/bash\n#SBATCH --partition=none\n")


def test_job_that_slurm_refuses_breaks_the_executor(two_nodes, tmp_path, monkeypatch):
    monkeypatch.setattr(slurm_jobs, "PATROL", 0.5)
    executor = slurm_jobs.SlurmExecutor(tmp_path)
    executor._script = executor._script.replace("#SBATCH", "#SBATCH --partition=none\n#SBATCH", 1)
    with pytest.raises(BrokenExecutor, match="SLURM did not take a job"):
        executor.submit(os.getenv, "HOME").result(timeout=60)
    start = time.monotonic()
    executor.shutdown()
    del executor
    assert time.monotonic() - start < 30


def test_calls_are_named_by_content_and_not_by_bytes():
    """As another version of a package would pickle them."""

    class Before(NamedTuple):
        structure: str
        identity: dict

    class After(NamedTuple):
        identity: dict
        structure: str
        more: int = 0

    same = [["emt", "{}", [c(structure="s1", identity={"seed": 1, "uid": "s1"})]]
            for c in (Before, After)]  # fmt: skip
    other = ["emt", "{}", [Before("s1", {"seed": 2, "uid": "s1"})]]
    named = [json.dumps(slurm_jobs._named([len, call, {}]), sort_keys=True) for call in same]
    assert named[0] == named[1] != json.dumps(slurm_jobs._named([len, other, {}]), sort_keys=True)
    assert slurm_jobs._named(label_pending) == "label_pending"


def test_call_that_raised_is_made_again(two_nodes, tmp_path):
    """What it lacked may be there now."""
    for _ in range(2):
        with slurm_jobs.SlurmExecutor(tmp_path) as executor:
            future = executor.submit(os.listdir, str(tmp_path / "later"))
            error = future.exception(timeout=120)
        if error is None:
            break
        assert isinstance(error, FileNotFoundError)
        name = executor._jobs or next((tmp_path / "jobs").glob("label-*"), None)
        assert name is not None
        (tmp_path / "later").mkdir()
    assert future.result() == []


def test_no_slurm_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match="no sbatch here"):
        slurm_jobs.SlurmExecutor(tmp_path)


def test_no_more_jobs_are_queued_than_were_asked_for():
    """A process has one call running and one waiting; a job runs one."""
    assert Workers("slurm", number=7).in_flight == 7
    assert Workers("slurm").in_flight == 100
    assert Workers("processes", number=7).in_flight == 14
