"""Run folders: record, lock, outcome, refusal of another job."""

import os
import platform
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from importlib import metadata

import pytest
import yaml

from culi_mlip.errors import CuliError, OutputError
from culi_mlip.files import atomic_path, write_json
from culi_mlip.records import Record
from culi_mlip.runs import is_finished, locked, run_folder


class Job(Record):
    seed: int = 0
    names: list[str] = []
    time: float = 0.0


class Letters(Record):
    a: int = 0
    b: int = 0
    c: int = 0
    d: int = 0
    é: int = 0  # noqa: PLC2401


def record(folder):
    return yaml.safe_load((folder / "run.yaml").read_text())


def test_record_is_written_before_the_work_and_closed_with_the_outcome(tmp_path):
    inputs = Job(seed=3, names=["a", "b"])
    with run_folder(tmp_path / "job", "test", inputs) as folder:
        assert record(folder)["status"] == "running"
        assert not is_finished(folder, inputs)
    assert record(folder)["status"] == "done"
    assert record(folder)["inputs"] == {"seed": 3, "names": ["a", "b"], "time": 0.0}
    assert record(folder)["versions"]["culi-mlip"]
    assert is_finished(folder, inputs)
    with pytest.raises(CuliError, match="another job .*seed"):
        is_finished(folder, Job(seed=4, names=["a", "b"]))


def test_failure_is_recorded_with_its_reason(tmp_path):
    with pytest.raises(ValueError, match="no luck"), run_folder(tmp_path, "test", Job()):
        raise ValueError("no luck")
    assert record(tmp_path)["status"] == "failed"
    assert record(tmp_path)["reason"] == "no luck"
    assert not is_finished(tmp_path, Job())


def test_job_that_may_grow_goes_on_and_does_not_shrink(tmp_path):
    with run_folder(tmp_path, "test", Job(time=2, seed=1)):
        pass
    assert is_finished(tmp_path, Job(time=2, seed=1), grows="time")
    assert not is_finished(tmp_path, Job(time=3, seed=1), grows="time")
    for other in (Job(time=1, seed=1), Job(time=3, seed=2)):
        with pytest.raises(CuliError, match="another job .*do that"):
            is_finished(tmp_path, other, grows="time", instead="do that")


@pytest.mark.parametrize(
    "text", ["", "just text", "a: [", "command: md", "inputs: 3\ncommand: a", "\0"]
)
def test_record_that_is_none_is_named(tmp_path, text):
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(CuliError, match=r"run\.yaml is .*choose another --out, or remove"):
        is_finished(tmp_path, Job())


def test_second_process_is_refused_while_the_first_works(tmp_path):
    code = (
        "import sys\nfrom culi_mlip.records import Record\nfrom culi_mlip.runs import run_folder\n"
        "with run_folder(sys.argv[1], 'test', Record()):\n    pass"
    )
    with run_folder(tmp_path, "test", Job()):
        other = subprocess.run(
            [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False
        )
    assert "another process is working" in other.stderr


def test_atomic_write_leaves_the_old_file_when_it_fails(tmp_path):
    path = tmp_path / "result.json"
    write_json(path, {"a": 1})
    before = path.read_bytes()
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    with pytest.raises(ZeroDivisionError), atomic_path(path) as temporary:
        temporary.write_text(f"half {1 / 0}")
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


def test_forbidden_folder_is_named(tmp_path):
    with pytest.raises(OutputError, match="cannot write"), atomic_path("/proc/nowhere/file"):
        pass


def test_a_record_says_what_ran_when_where_and_with_what(tmp_path):
    before = datetime.now(timezone.utc).replace(microsecond=0)
    with run_folder(tmp_path, "a command", Letters(é=1, b=2)):
        begun = record(tmp_path)
        assert "ended" not in begun
    found = record(tmp_path)
    started, ended = (datetime.fromisoformat(found[key]) for key in ("started", "ended"))
    assert begun["started"] == found["started"]
    assert before <= started <= ended <= datetime.now(timezone.utc)
    assert started.utcoffset() == timedelta(0)
    assert found["command"] == "a command"
    assert found["hardware"] == {"machine": platform.machine(), "cpus": os.cpu_count()}
    for package in ("ase", "numpy", "torch", "nequip"):
        assert found["versions"][package] == metadata.version(package)
    assert found["versions"]["python"] == platform.python_version()
    assert "é: 1" in (tmp_path / "run.yaml").read_text(encoding="utf-8")
    assert list(found) == ["command", "status", "started", "inputs", "versions", "hardware",
                           "ended"]  # fmt: skip


def test_a_run_that_is_begun_again_is_running_and_an_error_without_words_has_its_name(tmp_path):
    with pytest.raises(KeyboardInterrupt), run_folder(tmp_path, "test", Job()):
        raise KeyboardInterrupt
    assert record(tmp_path)["reason"] == "KeyboardInterrupt"
    with run_folder(tmp_path, "test", Job()):
        assert record(tmp_path)["status"] == "running"
        assert "reason" not in record(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(CuliError, match="file is a file: give a folder"), locked(tmp_path / "file"):
        pass


def test_another_job_is_named_by_all_that_differs(tmp_path):
    assert not is_finished(tmp_path / "new", Letters(a=1))
    with run_folder(tmp_path, "md", Letters(a=1, b=2, c=3)):
        pass
    words = r"holds another job \(md with other a, d, b\): choose another --out"
    with pytest.raises(CuliError, match=words):
        is_finished(tmp_path, Letters(d=4, a=7, c=3))
