"""``culi-mlip dataset``: what it writes, and what it refuses."""

import csv
import fcntl
import json
import shutil
import sqlite3

import ase.io
import pytest
import yaml

from culi_mlip.cli import main
from culi_mlip.datasets import Store
from culi_mlip.reference import get_engine
from culi_mlip.structures import Entry, bulk
from tests.cli.test_wrong_input import assert_one_line
from tests.conftest import TINY_RECIPE


@pytest.fixture
def data(tiny_data, tmp_path):
    return shutil.copytree(tiny_data, tmp_path / "data")


def test_status_counts_and_checks(culi, data):
    done = culi("dataset", "status", data, "--check")
    assert done.returncode == 0, done.stderr
    assert ["bulk", "0", "0", "9", "0"] in [line.split() for line in done.stdout.splitlines()]
    assert "9 labels of emt" in done.stdout
    assert "Nothing is wrong" in done.stdout


def test_export_split_and_card(culi, data):
    assert culi("dataset", "export", data).returncode == 0
    assert len(ase.io.read(data / "all.extxyz", index=":")) == 9
    unfit = Entry(bulk("Cu", a=3.7), "bulk", results={"energy": 1.0, "forces": [[99.0, 0, 0]]})
    Store(data / "store.db").add([unfit], get_engine("emt"))
    done = culi("dataset", "split", data, "--by", "parent", "--val", "0.3", "--test", "0.3")
    assert done.returncode == 0, done.stderr
    assert ["frame", "(random)", "9"] in [line.split()[:3] for line in done.stdout.splitlines()]
    assert "energy error (meV/atom)" in done.stdout
    assert "trajectory" in done.stdout
    card = culi("dataset", "card", data).stdout
    assert "an ideal structure and all that was made from it are in one part" in card
    groups = {}
    for part in ("train", "val", "test"):
        for atoms in ase.io.read(data / f"{part}.extxyz", index=":"):
            root = atoms.info.get("parent", atoms.info["uid"])
            groups.setdefault(root, set()).add(part)
    assert len(groups) == 3
    assert all(len(parts) == 1 for parts in groups.values())


def test_audit_of_a_dataset_and_of_a_file(culi, data, tmp_path):
    for source in (data, data / "train.extxyz"):
        done = culi("dataset", "audit", source, "--out", "report")
        assert done.returncode == 0, done.stderr
        rows = list(csv.DictReader((tmp_path / "report" / "audit.csv").open()))
        assert rows[0]["formula"] == "Cu4"
        assert "base64" in (tmp_path / "report" / "audit.html").read_text()


def test_an_audit_takes_the_thresholds_of_the_dataset_or_of_a_file(culi, data, tmp_path):
    record = json.loads((data / "split.json").read_text())
    record["audit"] = {"max_force": 1e-6}
    (data / "split.json").write_text(json.dumps(record))
    done = culi("dataset", "audit", data)  # ideal crystals have no forces
    assert ["fit", "3"] in [line.split() for line in done.stdout.splitlines()], done.stderr
    (tmp_path / "s.yaml").write_text("max_force: 40")
    done = culi("dataset", "audit", data, "--settings", "s.yaml")
    assert ["fit", "9"] in [line.split() for line in done.stdout.splitlines()], done.stderr
    (tmp_path / "s.yaml").write_text("max_forces: 40")
    done = culi("dataset", "audit", data, "--settings", "s.yaml")
    assert_one_line(done, "settings s.yaml", "the nearest valid key is 'max_force'")


@pytest.mark.parametrize("action", ["status", "split", "export"])
def test_folder_without_a_store(culi, tmp_path, action):
    (tmp_path / "empty").mkdir()
    assert_one_line(culi("dataset", action, "empty"), "empty holds no store.db")


def test_wrong_inputs(culi, data, tmp_path):
    assert_one_line(culi("dataset", "card", tmp_path), "holds no dataset card")
    assert_one_line(culi("dataset", "audit", "missing.xyz"), "missing.xyz does not exist")
    assert_one_line(culi("dataset", "split", data, "--val", "1.5"), "split, val")
    assert_one_line(culi("dataset", "split", data, "--val", "0.5", "--test", "0.5"), "leave some")
    assert_one_line(culi("dataset", "export", data, "--engine-digest", "e0"), "no label is of")


def test_labels_of_two_engines_are_not_mixed_unless_asked(culi, data):
    store = Store(data / "store.db")
    store.add([Entry(bulk("Li"), "bulk")])
    (row_id,) = store.pending()
    store.label(row_id, {"energy": -1.9, "forces": [[0, 0, 0]]}, get_engine("chgnet"))
    assert_one_line(culi("dataset", "export", data), "of 2 engines or settings")
    assert culi("dataset", "export", data, "--mixed").returncode == 0
    assert len(ase.io.read(data / "all.extxyz", index=":")) == 10


def test_store_of_a_newer_version(culi, data):
    with sqlite3.connect(data / "store.db") as connection:
        connection.execute(
            "UPDATE information SET value = replace(value, '\"culi_mlip_store\": 2', "
            "'\"culi_mlip_store\": 99') WHERE name = 'metadata'"
        )
    assert_one_line(culi("dataset", "status", data), "store 99", "update culi_mlip")


def test_two_campaigns_on_one_store(culi, data, tmp_path):
    with (data / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert_one_line(culi("dataset", "split", data), "another process is working in")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "frames.xyz is empty"),
        ("1\n\nCu nan 0 0\n", "frame 0: the position of atom 0 is NaN"),
        ("1\n\nQq 0 0 0\n", "frames.xyz cannot be read"),
        ("1\n\nX 0 0 0\n", "frame 0: X is no element"),
        ("1\nenergy=many\nCu 0 0 0\n", "'many', not numbers"),
    ],
)
def test_files_that_cannot_be_audited(tmp_path, monkeypatch, capsys, content, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "frames.xyz").write_text(content)
    with pytest.raises(SystemExit) as end:
        main(["dataset", "audit", "frames.xyz"])
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "audit").exists()


def test_a_split_is_kept_by_the_next_build(culi, tmp_path):
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(TINY_RECIPE))
    assert culi("build-dataset", "recipe.yaml").returncode == 0
    split = ("--by", "frame", "--val", "0.34", "--test", "0.34", "--seed", "3")
    done = culi("dataset", "split", "data", *split)
    assert "3 train, 3 val, 3 test" in done.stdout, done.stderr
    before = (tmp_path / "data" / "test.extxyz").read_bytes()
    done = culi("build-dataset", "recipe.yaml")
    assert "Split by frame, as chosen by culi-mlip dataset split." in done.stdout, done.stderr
    assert (tmp_path / "data" / "test.extxyz").read_bytes() == before
    record = json.loads((tmp_path / "data" / "split.json").read_text())
    assert (record["by"], record["seed"], record["val"]) == ("frame", 3, 0.34)
