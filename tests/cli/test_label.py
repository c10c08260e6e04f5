"""``culi-mlip label``: what it adds, what it says, and what it refuses."""

import gzip

import pytest
import yaml

from culi_mlip.datasets import Store
from culi_mlip.reference import VaspSettings, get_engine
from tests.cli.test_wrong_input import assert_one_line
from tests.vasp_files import lithium, outcar, vasprun


@pytest.fixture
def runs(tmp_path):
    """Four outputs of VASP: one run twice, one with a van der Waals correction, a damaged one."""
    frames = lithium(3)
    for name in ("a", "b[1]", "c"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    (tmp_path / "runs" / "a" / "OUTCAR").write_text(outcar(frames, iterations=[12, 200, 12]))
    (tmp_path / "runs" / "b[1]" / "vasprun.xml").write_text(vasprun(frames))
    text = vasprun(lithium(2, seed=1), {"IVDW": "12"})
    (tmp_path / "runs" / "c" / "vasprun.xml").write_text(text)
    packed = gzip.compress(text.encode())
    (tmp_path / "runs" / "c" / "damaged.xml.gz").write_bytes(packed[: len(packed) // 2])
    (tmp_path / "settings.yaml").write_text("kpoint_length: 6\n")
    return ["label", "add", "data", "--settings", "settings.yaml"]


def test_labels_of_vasp_are_added_and_each_refusal_is_named(culi, runs, tmp_path):
    done = culi(*runs, "--vasprun", "runs/*/*", "--kind", "mine")
    assert done.returncode == 0, done.stderr
    said = done.stdout
    assert "Refused: runs/c/vasprun.xml has IVDW 12, not 0" in said
    assert "Refused: runs/c/damaged.xml.gz is cut off or damaged" in said
    assert "runs/a/OUTCAR: 1 steps are left out" in said
    assert "runs/b[1]/vasprun.xml: 2 frames are in the store with a label already" in said
    assert "2 of 4 files accepted, 5 frames: 0 label structures that waited, 3 are new, 2 " in said
    store = Store(tmp_path / "data" / "store.db")
    assert store.counts()["mine"]["done"] == 3
    own = get_engine("vasp", VaspSettings(kpoint_length=6))
    assert store.digests() == {own.digest: 3}
    assert own.digest in said
    status = culi("dataset", "status", "data", "--check")
    assert status.returncode == 0
    assert "3 labels of vasp" in status.stdout


def test_labels_of_other_settings_are_not_mixed(culi, runs, tmp_path):
    done = culi(*runs, "--vasprun", "runs/*/vasprun.xml", "--as-computed")
    assert done.returncode == 0, done.stderr
    assert "2 of 2 files accepted, 5 frames" in done.stdout
    assert len(Store(tmp_path / "data" / "store.db").digests()) == 2
    assert_one_line(culi("dataset", "export", "data"), "of 2 engines or settings")
    assert "2 labels of VASP (imported)" in culi("dataset", "status", "data").stdout


def test_a_name_with_brackets_is_a_name_first(culi, runs):
    done = culi(*runs, "--vasprun", "runs/b[1]/vasprun.xml")
    assert "1 of 1 files accepted, 3 frames" in done.stdout


def test_wrong_input(culi, runs, tmp_path):
    assert_one_line(culi("label", "add", "new", "--vasprun", "no/*"), "no file is named no/*")
    both = culi(*runs, "--vasprun", "runs/a/OUTCAR", "--vasprun", "typo")
    assert_one_line(both, "no file is named typo")
    (tmp_path / "OUTCAR").write_text("nothing of VASP")
    refused = culi("label", "add", "new", "--vasprun", "OUTCAR")
    assert_one_line(refused, "none of 1 files has a label that can be accepted")
    assert "is neither a vasprun.xml nor an OUTCAR" in refused.stdout
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump({"cutof": 400}))
    wrong = culi("label", "add", "new", "--vasprun", "OUTCAR", "--settings", "wrong.yaml")
    assert_one_line(wrong, "nearest valid key is 'cutoff'")
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "data").exists()
