"""Two users of one machine."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
import yaml

from culi_mlip.tuning.recipe import Measurement
from culi_mlip.tuning.worker import places_of
from tests.accounts import second_account

CLAIM = """
import os, sys
from culi_mlip.errors import CuliError
from culi_mlip.tuning.recipe import Measurement
from culi_mlip.tuning.worker import places_of
os.sched_getaffinity = lambda _: {0, 1, 2}
for n in (3, 1):
    try:
        with places_of(n, Measurement(device="cpu")) as places:
            print([place.cores for place in places])
    except CuliError as error:
        print(error)
"""


@pytest.fixture(scope="module")
def other():
    with second_account() as account:
        yield account


def test_cores_are_shared_out_among_users(other, monkeypatch, tmp_path):
    """Claims end with their tuning, whoever had them and whatever the umask."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    command = ("python", "-c", CLAIM)
    alone = other.run(*command, umask=0o077, TMPDIR=str(tmp_path))
    assert alone.stdout.splitlines() == ["[[0], [1], [2]]", "[[0]]"], alone.stderr
    with places_of(2, Measurement(device="cpu")) as mine:
        assert [place.cores for place in mine] == [[0], [1]]
        beside = other.run(*command, TMPDIR=str(tmp_path)).stdout.splitlines()
    assert beside[0].startswith("other tunings on this machine leave 1 of the 3 cores")
    assert beside[1] == "[[2]]"


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("umask", [0o077, 0o002])
def test_another_user_gets_a_potential_and_tunes_it(other, umask):
    """With a home that cannot be written, in a folder with a blank in its name behind a link."""
    disk = Path(tempfile.mkdtemp(prefix="culi mlip disk "))
    shutil.chown(disk, other.home.owner(), other.home.owner())
    other.home.chmod(0o555)
    recipe = {
        "settings": {"variant": "allegro", "epochs": 1, "num_scalar_features": 8, "num_layers": 1},
        "space": {"readout_width": {"type": "integer", "low": 4, "high": 32}},
    }
    try:
        (disk / "the disk").mkdir()
        shutil.chown(disk / "the disk", other.home.owner())
        (disk / "my work").symlink_to("the disk")
        (disk / "r.yaml").write_text(yaml.safe_dump(recipe))
        for command in (
            ["quickstart", "--quick", "--out", "my work/quick start"],
            ["optimize", "my work/quick start/data", "--recipe", "r.yaml", "--trials", "2",
             "--device", "cpu", "--out", "my work/hpo"],
        ):  # fmt: skip
            done = other.run("culi-mlip", *command, umask=umask, cwd=disk)
            assert done.returncode == 0, done.stderr
        results = [*disk.rglob("*.html"), *disk.rglob("*.json"), *disk.rglob("run.yaml")]
        assert [file.name for file in results].count("report.html") == 2
        assert {file.stat().st_mode & 0o777 for file in results} == {0o666 & ~umask}
        assert {file.owner() for file in results} == {other.home.owner()}
    finally:
        shutil.rmtree(disk)
