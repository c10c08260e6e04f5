"""Labelling killed at random: nothing is lost, nothing stands twice."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from multiprocessing import get_context

import psutil
import pytest
import yaml

from culi_mlip.datasets import Store
from culi_mlip.labelling import label_pending
from culi_mlip.labelling.campaign import DEATHS
from culi_mlip.reference import get_engine
from culi_mlip.structures import Entry, bulk, rattled
from tests.slurm import need_slurm, slurm

COMMAND = [sys.executable, "-c", "from culi_mlip.cli import main; main()", "build-dataset"]

RECIPE = """\
engine: { name: emt }
structures:
  - kind: bulk
    symbol: Cu
    repeat: [3, 3, 3]
    strains: [-0.04, -0.03, -0.02, -0.01, 0.0, 0.01, 0.02, 0.03, 0.04, 0.05]
    disorder: { copies: 49 }
"""


def start(recipe, out, *options):
    with (out.parent / "log").open("w") as log:
        return subprocess.Popen(
            [*COMMAND, recipe, "--out", out, *options],
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip


def await_label(process, out):
    """Wait until one more structure is labelled."""
    done = labelled(out)
    while labelled(out) == done:
        assert process.poll() is None, f"it ended: {(out.parent / 'log').read_text()[-500:]}"
        time.sleep(0.05)


def check_finished(process, out):
    assert process.wait(600) == 0
    store = Store(out / "store.db")
    assert store.count("done") == len(store) == 500
    assert not store.check()
    assert yaml.safe_load((out / "run.yaml").read_text())["status"] == "done"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_twenty_kills_of_workers_coordinator_and_machine_lose_nothing(tmp_path):
    recipe, out = tmp_path / "recipe.yaml", tmp_path / "data"
    recipe.write_text(RECIPE)
    options = ("--executor", "processes", "--workers", "2")
    instants = random.Random(3)
    stages = []
    process = start(recipe, out, *options)
    for n in range(20):
        await_label(process, out)
        time.sleep(instants.uniform(0, 0.5))
        assert process.poll() is None, "all kills come while it works"
        what = ("worker", "coordinator", "machine")[n % 3]
        if what == "worker":
            workers = [p for p in psutil.Process(process.pid).children() if is_worker(p)]
            if workers:
                instants.choice(workers).kill()
            continue
        if what == "coordinator":
            os.kill(process.pid, signal.SIGKILL)
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for _ in range(100):
            if not (left := [p for p in psutil.process_iter() if is_of(p, out)]):
                break
            time.sleep(0.1)
        assert not left, "workers end with it"
        stages.append(labelled(out))
        process = start(recipe, out, *options)
    assert stages == sorted(stages), "no label is lost"
    check_finished(process, out)


@pytest.fixture
def crashing_nodes(tmp_path):
    """A cluster that misses a crashed node's jobs within a minute; by default ten are too few."""
    need_slurm()
    soon = "MessageTimeout=5\nBatchStartTimeout=5\nSlurmdTimeout=10"
    with slurm(tmp_path / "slurm", more=soon) as nodes:
        yield nodes


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_twenty_kills_of_jobs_coordinator_and_nodes_of_slurm_lose_nothing(crashing_nodes, tmp_path):
    recipe, out = tmp_path / "recipe.yaml", tmp_path / "data"
    recipe.write_text(RECIPE)
    options = ("--executor", "slurm", "--workers", "8", "--per-job", "10")
    instants = random.Random(3)
    stages = []
    process = start(recipe, out, *options)
    try:
        for n in range(20):
            await_label(process, out)
            time.sleep(instants.uniform(0, 3))
            assert process.poll() is None, "all kills come while it works"
            what = ("job", "coordinator", "node")[n % 3]
            if what == "job":
                kill_a_job(crashing_nodes, instants)
            elif what == "node":
                crashing_nodes.crash(instants.choice(crashing_nodes.names))
            else:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                stages.append(labelled(out))
                process = start(recipe, out, *options)
        assert stages == sorted(stages), "no label is lost"
        check_finished(process, out)
    finally:
        process.kill()


def kill_a_job(nodes, instants):
    """Kill some process of a job; between two jobs, of the next one."""
    while True:
        with contextlib.suppress(IndexError, psutil.NoSuchProcess):
            instants.choice(nodes.processes()).kill()
            return
        time.sleep(0.1)


def labelled(out):
    path = out / "store.db"
    return Store(path).count("done") if path.exists() else 0


def is_worker(process):
    return "spawn_main" in " ".join(process.cmdline())


def is_of(process, folder):
    try:
        return str(folder) in " ".join(process.cmdline()) or (
            is_worker(process) and process.ppid() == 1
        )
    except psutil.Error:
        return False


def test_structure_that_kills_its_workers_fails_and_the_others_are_labelled(tmp_path, monkeypatch):
    store = Store(tmp_path / "store.db")
    store.add(Entry(rattled(bulk("Cu"), 0.05, seed=i), "bulk") for i in range(5))
    store.add([Entry(rattled(bulk("Cu", repeat=(2, 1, 1)), 0.05, seed=0), "bulk")])
    monkeypatch.setattr("culi_mlip.labelling.campaign.attempt", deadly)
    deaths = 0
    while store.count("pending"):
        with ProcessPoolExecutor(2, get_context("spawn")) as executor:
            try:
                label_pending(store, get_engine("emt"), executor=executor)
            except BrokenExecutor:
                deaths += 1
    assert deaths == DEATHS + 1
    assert store.count("done") == 5
    assert list(store.failures().values()) == [
        f"its worker died {DEATHS + 1} times (A process in the process pool was terminated "
        "abruptly while the future was running or pending.)"
    ]


def deadly(engine, settings, jobs):
    from culi_mlip.labelling import campaign as labelling

    if any(len(job.start.atoms) == 2 for job in jobs):
        os._exit(1)
    return labelling.attempt(engine, settings, jobs)
