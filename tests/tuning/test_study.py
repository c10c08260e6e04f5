"""Slots in a storage: each is evaluated once, whatever happens to the workers."""

import os
import random
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest

from culi_mlip.errors import CuliError
from culi_mlip.models.settings import TrainSettings
from culi_mlip.optimize import Real, SamoCobraSampler, Space, optuna_private
from culi_mlip.tuning import study as slots
from culi_mlip.tuning.recipe import Measurement
from culi_mlip.tuning.records import StudyInputs

SPACE = Space(x=Real(-2, 2), y=Real(-2, 2))
FIRST = {"x": 0.5, "y": 0.5}
N = 24


def of(data):
    return StudyInputs(
        data=data, settings=TrainSettings(), space={}, seed=0, measurement=Measurement()
    )


def open_study(url, n=N, inputs=None):
    sampler = SamoCobraSampler(SPACE, seed=1)
    storage = slots.open_storage(url)
    inputs = inputs or of("x")
    return slots.open_study(storage, "s", sampler, n, ("a", "b"), inputs, FIRST)


def work(url, n=N, pause=0.02):
    """What a worker of a tuning does, with a function that takes no time."""
    study = open_study(url, n)
    while len(slots.results(study, n)) < n:
        slots.release_dead(study)
        slots.fill(study, n)
        trial = slots.claim(study, n)
        if trial is None:
            time.sleep(0.05)
            continue
        x, y = (trial._suggest(k, d) for k, d in study.sampler.distributions.items())
        time.sleep(pause)
        if x < -1.5:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            study.tell(trial, [x**2 + y**2, (x - 1) ** 2 + y**2])
    return study


@pytest.fixture
def sqlite(tmp_path):
    return f"sqlite:///{tmp_path}/study.db"


@pytest.fixture
def postgresql(tmp_path_factory):
    """The address of a database of its own, in a PostgreSQL server of its own."""
    places = [*Path("/usr/lib/postgresql").glob("*/bin"), Path("/usr/bin"), Path("/usr/local/bin")]
    programs = next((p for p in places if (p / "initdb").exists()), None)
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    folder = tmp_path_factory.mktemp("postgresql")
    user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    if user:  # the server refuses to run as root
        for place in (folder, *folder.parents):
            if place == Path(os.environ.get("TMPDIR", "/tmp")):  # noqa: S108
                break
            place.chmod(0o755)
        shutil.chown(folder, "postgres")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    cluster = folder / "cluster"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/"}
    subprocess.run(
        [*user, programs / "initdb", "-D", cluster, "-A", "trust", "-U", "hpo"], check=True, **quiet
    )
    control = [*user, programs / "pg_ctl", "-D", cluster, "-w"]
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1"
    subprocess.run([*control, "-o", options, "-l", folder / "log", "start"], check=True, **quiet)
    yield f"postgresql://hpo@127.0.0.1:{port}/postgres"
    subprocess.run([*control, "-m", "immediate", "stop"], check=True, **quiet)


def start_worker(url):
    script = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        f"from test_study import work\nwork({url!r}, pause=1.0)"
    )
    return subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE)


@pytest.mark.parametrize(("storage", "n_workers"), [("sqlite", 2), ("postgresql", 3)])
def test_killed_workers_lose_nothing(storage, n_workers, request):
    url = request.getfixturevalue(storage)
    rng = random.Random(0)
    workers = [start_worker(url) for _ in range(n_workers)]
    kills = 0
    deadline = time.monotonic() + 300
    while any(worker.poll() is None for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(rng.uniform(1.0, 2.5))
        victim = rng.randrange(n_workers)
        if kills < 6 and workers[victim].poll() is None:
            workers[victim].kill()
            workers[victim].wait()
            workers[victim] = start_worker(url)
            kills += 1
    assert [w.wait() for w in workers] == [0] * n_workers, workers[0].stderr.read()
    assert kills >= 3
    study = open_study(url)
    found = slots.results(study, N)
    assert [t.user_attrs["slot"] for t in found] == list(range(N))
    assert found[0].params == FIRST
    everything = [t for t in study.get_trials() if slots.is_result(t)]
    assert len(everything) == N  # none counted twice
    assert len({tuple(t.params.values()) for t in everything}) == N


def test_study_is_opened_by_others_before_its_maker_has_written_its_inputs(sqlite):
    storage = slots.open_storage(sqlite)
    made = optuna.create_study(study_name="s", storage=storage, directions=["minimize"] * 2)
    late = threading.Timer(0.5, made.set_user_attr, (slots._INPUTS, of("y").plain()))
    late.start()
    with pytest.raises(CuliError, match="is of other data"):
        open_study(sqlite)
    late.join()


def test_study_whose_maker_died_before_its_inputs_is_taken_over(sqlite, monkeypatch):
    monkeypatch.setattr(slots, "NAMELESS", 0.1)
    storage = slots.open_storage(sqlite)
    optuna.create_study(study_name="s", storage=storage, directions=["minimize"] * 2)
    study = work(sqlite, 3)
    assert slots.inputs_of(study) == of("x")
    assert study.metric_names == ["a", "b"]


def test_study_of_another_program_is_no_tuning(sqlite, monkeypatch):
    monkeypatch.setattr(slots, "NAMELESS", 0.1)
    storage = slots.open_storage(sqlite)
    other = optuna.create_study(study_name="s", storage=storage, directions=["minimize"] * 2)
    other.ask()
    with pytest.raises(CuliError, match="the study 's' was not made by culi-mlip"):
        open_study(sqlite)


def test_more_slots_are_added_to_those_that_are_done(sqlite):
    assert len(slots.results(work(sqlite, 5))) == 5
    assert len(slots.results(work(sqlite, 8))) == 8


def test_interrupted_point_is_evaluated_again(sqlite):
    study = open_study(sqlite, 3)
    trial = slots.claim(study, 3)
    point = {k: trial._suggest(k, d) for k, d in study.sampler.distributions.items()}
    slots.interrupt(study, trial)
    assert slots.results(study) == []
    done = work(sqlite, 3)
    assert slots.results(done)[0].params == point


def suggest(study, trial):
    return {k: trial._suggest(k, d) for k, d in study.sampler.distributions.items()}


def test_point_of_an_interrupted_trial_is_not_planned_again(sqlite):
    """Whoever plans before it is queued again knows that it will be evaluated."""
    study = open_study(sqlite, 3)
    suggest(study, slots.claim(study, 3))
    second = slots.claim(study, 3)
    point = suggest(study, second)
    slots.interrupt(study, second)
    assert suggest(study, slots.claim(study, 3)) != point
    slots.fill(study, 3)
    assert suggest(study, slots.claim(study, 3)) == point


def test_planned_point_of_a_trial_that_died_at_once_is_evaluated(sqlite):
    """It was announced, though the trial had not taken a single parameter of it."""
    study = open_study(sqlite, 3)
    claimed = [slots.claim(study, 3) for _ in range(2)]
    trial = study._storage.get_trial(claimed[1]._trial_id)
    point = study.sampler.sample_relative(study, trial, {})
    slots.interrupt(study, claimed[1])
    third = suggest(study, slots.claim(study, 3))
    slots.fill(study, 3)
    assert suggest(study, slots.claim(study, 3)) == point != third


def test_trial_of_a_living_worker_is_left_alone(sqlite):
    study = open_study(sqlite, 2)
    trial = slots.claim(study, 2)
    slots.release_dead(study)
    assert study.trials[trial.number].state == optuna.trial.TrialState.RUNNING


def test_slots_beyond_those_that_are_asked_for_are_left_to_others(sqlite):
    """Who wants two of three slots takes and counts two."""
    study = open_study(sqlite, 3)
    slots.interrupt(study, slots.claim(study, 2))
    slots.fill(study, 3)
    claimed = [slots.claim(study, 2) for _ in range(2)]
    assert [trial.user_attrs["slot"] for trial in claimed] == [1, 0], "0 is queued again"
    assert slots.claim(study, 2) is None
    third = slots.claim(study, 3)
    for trial, value in ((third, 3.0), *zip(claimed, (2.0, 1.0), strict=True)):
        study.tell(trial, [value, value])
    assert [t.values[0] for t in slots.results(study)] == [1, 2, 3]
    assert [t.values[0] for t in slots.results(study, 2)] == [1, 2]


def test_workers_are_dead_when_they_are_gone_from_this_host():
    """Of another host's nobody knows; a process of the same number that began later is another."""
    here = slots._this_process()
    assert here["pid"] == os.getpid()
    ended = subprocess.Popen(["true"])
    ended.wait()

    def is_gone(age=0.0, **owner):
        attributes = {"owner": here | owner} if owner else {}
        started = datetime.now() - timedelta(seconds=age)
        return slots._is_gone(SimpleNamespace(user_attrs=attributes, datetime_start=started))

    assert not is_gone(host=here["host"])
    assert is_gone(started=here["started"] - 60)
    assert is_gone(pid=ended.pid)
    assert not is_gone(pid=ended.pid, host="elsewhere")
    assert not is_gone(age=4.0)  # it has not said yet who it is
    assert is_gone(age=6.0)


@pytest.mark.parametrize("worker", ["it", "another host's"])
def test_workers_are_dead_when_they_are_silent_for_three_minutes(tmp_path, worker):
    """Wherever they ran; each sign of life counts from anew."""
    study = open_study(f"sqlite:///{tmp_path}/study.db", 1)
    trial = slots.claim(study, 1)
    if worker != "it":
        study._storage.set_trial_user_attr(
            trial._trial_id, "owner", slots._this_process() | {"host": "elsewhere"}
        )

    def state_after(silence):
        with sqlite3.connect(tmp_path / "study.db") as database:
            count = database.execute(
                "UPDATE trial_heartbeats SET heartbeat = datetime('now', ?)",
                [f"-{silence} seconds"],
            ).rowcount
        assert count == 1
        slots.release_dead(study)
        return study.get_trials()[0].state.name

    assert state_after(170) == "RUNNING"
    optuna_private.record_heartbeat(study, trial)
    slots.release_dead(study)
    assert study.get_trials()[0].state.name == "RUNNING"
    assert state_after(190) == "FAIL"
    assert slots.results(study) == []
    slots.fill(study, 1)
    assert slots.claim(study, 1).user_attrs["slot"] == 0


def test_a_study_minimises_what_it_names(sqlite):
    study = open_study(sqlite, 1, inputs=of("z"))
    assert study.metric_names == ["a", "b"]
    assert [d.name for d in study.directions] == ["MINIMIZE"] * 2
    assert study.user_attrs["inputs"] == of("z").plain()


def test_same_slot_queued_twice_is_evaluated_once(sqlite):
    study = open_study(sqlite, 1)
    twin = optuna.trial.create_trial(state=optuna.trial.TrialState.WAITING, user_attrs={"slot": 0})
    study.add_trial(twin)
    assert slots.claim(study, 1).number == 0
    assert slots.claim(study, 1) is None
    assert not slots.is_result(study.trials[1])


def test_study_of_other_inputs(sqlite):
    open_study(sqlite)
    with pytest.raises(CuliError, match="study 's' .* is of other data: choose another"):
        open_study(sqlite, inputs=of("y"))


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////no/such/folder/study.db",
        "postgresql://nobody@127.0.0.1:1/none",
        "nonsense",
        "oracle://here/there",
    ],
)
def test_storage_that_cannot_be_reached(url):
    with pytest.raises(CuliError, match="cannot be reached") as error:
        slots.open_storage(url)
    assert "\n" not in str(error.value)


def test_password_is_not_printed():
    with pytest.raises(CuliError) as error:
        slots.open_storage("postgresql://me:secret@127.0.0.1:1/none")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("name", ["a b?c=d&e#f%25", "ä${SCHEMA_VERSION}$$[b]'\",;"])
def test_a_storage_is_where_its_path_says_whatever_signs_it_holds(tmp_path, name):
    place = tmp_path / name / "study.db"
    place.parent.mkdir()
    before = os.umask(0o002)
    try:
        study = open_study(place, n=2)
    finally:
        os.umask(before)
    assert place.stat().st_mode & 0o777 == 0o664
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [place]
    again = optuna.load_study(study_name="s", storage=slots.open_storage(place, must_exist=True))
    assert len(again.trials) == len(study.trials) == 2


def test_an_sqlite_address_is_a_file_wherever_it_is_opened_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    storage = slots.storage_of("sqlite:///relative.db")
    open_study("sqlite:///relative.db", n=1)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert optuna.load_study(study_name="s", storage=slots.open_storage(storage)).trials
    with pytest.raises(CuliError, match=r"elsewhere/relative.db does not exist"):
        slots.open_storage("sqlite:///relative.db", must_exist=True)
    assert not list((tmp_path / "elsewhere").iterdir()), "looking makes no database"


@pytest.mark.parametrize("address", ["postgresql://me@host/a", "sqlite://", "nonsense"])
def test_other_addresses_stay_as_they_are(address):
    assert slots.storage_of(address) == address


@pytest.mark.parametrize(
    ("address", "taken"),
    [
        ("postgresql://me@host/a", "postgresql+psycopg://me@host/a"),
        ("postgresql+psycopg2://me@host/a", "postgresql+psycopg2://me@host/a"),
    ],
)
def test_postgresql_is_reached_by_psycopg_whatever_sqlalchemy_takes(monkeypatch, address, taken):
    pytest.importorskip("psycopg")
    monkeypatch.setattr(slots, "RDBStorage", lambda url, **options: url)
    assert slots.open_storage(address) == taken


def test_a_file_that_is_no_database(tmp_path):
    (tmp_path / "study.db").write_bytes(b"garbage" * 1000)
    with pytest.raises(CuliError, match=r"study.db cannot be reached .*not a database"):
        slots.open_storage(tmp_path / "study.db", must_exist=True)
