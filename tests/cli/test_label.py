"""``culi-mlip label``: what it adds, what it says, and what it refuses."""

import gzip
import subprocess

import ase.io
import pytest
import yaml

from culi_mlip.cli import main
from culi_mlip.datasets import Store
from culi_mlip.reference import VaspSettings, get_engine
from tests.cli.test_wrong_input import assert_one_line
from tests.vasp_files import lithium, outcar, vasprun


@pytest.fixture
def culi(tmp_path, monkeypatch, capsys):
    """Run the command line in this process; returns its code and what it prints."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        with pytest.raises(SystemExit) as end:
            main(list(arguments))
        printed = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, end.value.code, printed.out, printed.err)

    return run


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
    assert_one_line(refused, "OUTCAR is neither a vasprun.xml nor an OUTCAR")
    several = culi("label", "add", "new", "--vasprun", "OUTCAR", "--vasprun", "runs/c/*")
    assert several.returncode == 2
    assert several.stdout.count("Refused: ") == 3
    assert "Error: none of 3 files has a label that can be accepted" in several.stderr
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump({"cutof": 400}))
    wrong = culi("label", "add", "new", "--vasprun", "OUTCAR", "--settings", "wrong.yaml")
    assert_one_line(wrong, "nearest valid key is 'cutoff'")
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "data").exists()


def test_own_frames_are_added_under_the_engine_that_is_named(culi, tmp_path):
    frames = lithium(2)
    for atoms in frames:
        atoms.info["REF_energy"] = atoms.calc.results.pop("energy")
    ase.io.write(tmp_path / "mine.extxyz", frames)
    (tmp_path / "pbe.yaml").write_text("xc: pbe\n")
    add = ["label", "add", "data", "--frames", "mine.extxyz", "--energy-key", "REF_energy"]
    assert_one_line(culi(*add), "give --engine with its name")
    assert_one_line(culi(*add, "--engine", "FHI-aims"), "--dft or --no-dft")
    options = ["--settings", "pbe.yaml", "--kind", "mine", "--trajectory"]
    done = culi(*add, "--engine", "FHI-aims", "--dft", *options)
    assert done.returncode == 0, done.stderr
    assert (
        "1 of 1 files accepted, 2 frames: 0 label structures that waited, 2 are new" in done.stdout
    )
    settings = {"code": "FHI-aims", "is_dft": True, "settings": {"xc": "pbe"}}
    store = Store(tmp_path / "data" / "store.db")
    assert store.digests() == {get_engine("imported", settings).digest: 2}
    assert sorted(atoms.get_potential_energy() for atoms in store.frames()) == [-4.71, -4.7]
    assert {atoms.info["kind"] for atoms in store.frames()} == {"mine"}
    assert len({atoms.info["trajectory"] for atoms in store.frames()}) == 1
    ours = culi(*add[:2], "ours", *add[3:], "--engine", "emt")
    assert get_engine("emt").digest in ours.stdout


def test_wrong_frames(culi, tmp_path):
    (tmp_path / "empty.extxyz").write_text("")
    add = ["label", "add", "new", "--engine", "emt"]
    assert_one_line(culi(*add), "give either --vasprun or --frames")
    assert_one_line(culi(*add, "--frames", "missing.xyz"), "no file is named missing.xyz")
    done = culi(*add, "--frames", "empty.extxyz")
    assert_one_line(done, "empty.extxyz is empty")
    assert not (tmp_path / "new").exists()
