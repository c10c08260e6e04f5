"""Wrong inputs: one clear line on stderr, exit code 2, nothing half-written."""

import os
import shutil
import subprocess

import ase.io
import numpy as np
import pytest
import yaml
from ase.calculators.singlepoint import SinglePointCalculator

from culi_mlip.structures import bulk
from tests.conftest import TINY_RECIPE


def assert_one_line(done, *words):
    assert done.returncode == 2, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    for word in ("Error: ", *words):
        assert word in lines[0], lines[0]


@pytest.fixture
def model(trained):
    return trained["qdi"]


@pytest.fixture
def cell(tmp_path):
    ase.io.write(tmp_path / "cell.xyz", bulk("Cu", cubic=True), format="extxyz")
    return tmp_path / "cell.xyz"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["build-dataset", "missing.yaml", "--out", "new"], "missing.yaml does not exist"),
        (["train", "missing", "--out", "new"], "missing/train.extxyz does not exist"),
        (["build-dataset", "--engine", "vsap", "--out", "new"], "unknown engine 'vsap'"),
        (["build-dataset", "--job-script", "no.sh", "--out", "new"], "no.sh does not exist"),
        (["build-dataset", "--step-seconds", "9", "--out", "new"], "is for --dry-run"),
        (["build-dataset", "--step-seconds", "9", "--step-seconds", "x"], "--step-seconds x: give"),
        (["build-dataset", "--step-seconds", "fast", "--out", "new"], "--step-seconds fast: give"),
        (["build-dataset", "--step-seconds", "0", "--out", "new"], "--step-seconds 0: give"),
        (["build-dataset", "--step-seconds", "glass=1", "--out", "new"], "a kind of the recipe"),
        (["build-dataset", "--step-seconds", "bulk=1", "--out", "new"], "give seconds for"),
        (["melt-quench", "missing.xyz", "--out", "new"], "missing.xyz does not exist"),
        (["melt-quench", "--engine", "no", "--out", "new"], "'no' is no path of a model"),
        (["melt-quench", "--to", "700", "--out", "new"], "would heat"),
        (["melt-quench", "--engine", "emt", "--out", "new"], "emt"),
        (["evaluate", "missing", "missing.xyz"], "missing.xyz does not exist"),
        (["relax", "missing.xyz", "--out", "new"], "missing.xyz does not exist"),
        (["md", "missing.xyz", "--model", "missing", "--out", "new"], "missing.xyz does not exist"),
    ],
)
def test_missing_files(culi, tmp_path, arguments, word):
    assert_one_line(culi(*arguments), word)
    assert not (tmp_path / "new").exists()


def test_missing_model(culi, culi_process, tmp_path, cell, tiny_data):
    assert_one_line(culi_process("md", cell, "--model", "no", "--out", "new"), "no model at no")
    assert_one_line(culi("relax", cell, "--model", "no", "--out", "new"), "no model at no")
    assert_one_line(culi("evaluate", "no", tiny_data / "test.extxyz"), "no model at no")
    assert not (tmp_path / "new").exists()


def test_recipe_with_an_unknown_key_names_the_nearest(culi, tmp_path):
    recipe = TINY_RECIPE | {"engin": {"name": "emt"}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    done = culi("build-dataset", "recipe.yaml", "--out", "new")
    assert_one_line(done, "'engin'", "nearest valid key is 'engine'")
    assert not (tmp_path / "new").exists()


def test_recipe_that_is_not_yaml(culi, tmp_path):
    (tmp_path / "recipe.yaml").write_text("structures: [")
    assert_one_line(culi("build-dataset", "recipe.yaml"), "is not YAML")


def test_setting_with_an_unknown_key_or_an_impossible_value(culi, tmp_path, tiny_data):
    (tmp_path / "s.yaml").write_text("epoch: 3")
    assert_one_line(
        culi("train", tiny_data, "--settings", "s.yaml"), "nearest valid key is 'epochs'"
    )
    assert_one_line(culi("train", tiny_data, "--r-max", "-1"), "r_max", "equal to 1")
    assert_one_line(culi("train", tiny_data, "--variant", "qdl"), "qdl")
    assert not (tmp_path / "run").exists()


def test_species_that_the_model_does_not_know(culi, tmp_path, model):
    ase.io.write(tmp_path / "ag.xyz", bulk("Ag", a=4.1, cubic=True), format="extxyz")
    for command in (["md", "ag.xyz", "--time", "0.01"], ["relax", "ag.xyz"]):
        done = culi(*command, "--model", model, "--out", "new")
        assert_one_line(done, "holds Ag", "knows only Cu")
    assert not (tmp_path / "new").exists()


def test_nan_positions(culi, tmp_path, model, cell):
    text = cell.read_text().splitlines()
    text[2] = "Cu nan 0.0 0.0"
    cell.write_text("\n".join(text) + "\n")
    for command in ("md", "relax"):
        done = culi(command, cell, "--model", model, "--out", "new")
        assert_one_line(done, "atom 0", "NaN")
    assert not (tmp_path / "new").exists()


def write_dataset(folder, frames):
    folder.mkdir()
    for part in ("train", "val"):
        ase.io.write(folder / f"{part}.extxyz", frames, format="extxyz")
        if not frames:
            (folder / f"{part}.extxyz").write_text("")


def labelled(**results):
    atoms = bulk("Cu", cubic=True)
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        ([], ["train.extxyz is empty"]),
        (
            [labelled(energy=1.0, forces=np.zeros((4, 3))), labelled(energy=1.0)],
            ["frame 1", "no label for forces"],
        ),
        ([labelled(forces=np.zeros((4, 3)))], ["frame 0", "no label for energy"]),
        ([labelled(energy=np.nan, forces=np.zeros((4, 3)))], ["frame 0", "NaN"]),
    ],
    ids=["empty", "some without forces", "without energy", "NaN energy"],
)
def test_unusable_datasets(culi, tmp_path, model, frames, words):
    write_dataset(tmp_path / "data", frames)
    assert_one_line(culi("train", "data", "--out", "new"), *words)
    assert not (tmp_path / "new").exists()
    words = [w.replace("train.", "val.") for w in words]
    assert_one_line(culi("evaluate", model, "data/val.extxyz"), *words)


def test_files_that_are_no_model(culi, tmp_path, cell, model):
    (tmp_path / "text.ckpt").write_text("hello")
    (tmp_path / "notes.txt").write_text("hello")
    with (tmp_path / "cut.ckpt").open("wb") as stream:
        stream.write((model / "checkpoints/best.ckpt").read_bytes()[:5000])
    shutil.make_archive(str(tmp_path / "archive"), "zip", model / "logs")
    shutil.move(tmp_path / "archive.zip", tmp_path / "other.nequip.zip")
    for name in ("text.ckpt", "notes.txt", "cut.ckpt", "other.nequip.zip"):
        assert_one_line(culi("md", cell, "--model", name, "--out", "new"), name)
    assert not (tmp_path / "new").exists()


def test_files_that_are_no_structure(culi, tmp_path, model):
    (tmp_path / "empty.xyz").write_text("")
    (tmp_path / "text.xyz").write_text("hello\nworld\n")
    for name in ("empty.xyz", "text.xyz"):
        assert_one_line(culi("md", name, "--model", model, "--out", "new"), name)


def test_impossible_md(culi, tmp_path, model, cell):
    for option, value in [("--time", "-1"), ("--temperature", "0"), ("--timestep", "0")]:
        done = culi("md", cell, "--model", model, option, value, "--out", "new")
        assert_one_line(done, option.removeprefix("--"))
    assert not (tmp_path / "new").exists()


def test_dataset_too_small_to_split(culi, tmp_path):
    recipe = {
        "structures": [{"kind": "bulk", "symbol": "Cu"}],
        "engine": {"name": "emt"},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    done = culi("build-dataset", "recipe.yaml", "--out", "new")
    assert_one_line_of_several(done, "too few to split")
    assert not list((tmp_path / "new").glob("*.extxyz"))


def test_output_that_is_a_file_or_belongs_to_another_job(culi, tmp_path, cell, model):
    (tmp_path / "file").write_text("")
    done = culi("md", cell, "--model", model, "--time", "0.01", "--out", "file")
    assert_one_line(done, "file is a file")
    assert culi("md", cell, "--model", model, "--time", "0.01", "--out", "md").returncode == 0
    done = culi("md", cell, "--model", model, "--time", "0.01", "--seed", "1", "--out", "md")
    assert_one_line(done, "md holds another job (md with other seed)")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 100 kB, mounted; needs root, as in CI's container."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", place],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip("this user may not mount a tmpfs")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def fill(place, leave):
    free = os.statvfs(place).f_bavail * os.statvfs(place).f_frsize
    (place / "filler").write_bytes(b"x" * max(0, free - leave))


@pytest.mark.parametrize("leave", [0, 40_000])
def test_full_disk(culi, tmp_path, small_disk, tiny_data, model, cell, leave):
    fill(small_disk, leave)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(TINY_RECIPE))
    commands = [
        ("build-dataset", "recipe.yaml", "--out", small_disk / "data"),
        ("train", tiny_data, "--epochs", 1, "--no-compile", "--out", small_disk / "run"),
        ("md", cell, "--model", model, "--time", 0.4, "--stride", 1, "--out", small_disk / "md"),
        ("quickstart", "--quick", "--out", small_disk / "quickstart"),
        ("evaluate", model, tiny_data / "test.extxyz", "--out", small_disk / "errors.json"),
    ]
    for command in commands:
        if command[0] == "evaluate" and leave:
            continue  # its few hundred bytes fit
        done = culi(*command)
        assert_one_line_of_several(done, str(small_disk), "cannot write")
        for file in small_disk.rglob("*"):
            if file.suffix in {".json", ".yaml", ".extxyz"} and file.parent.name != "md":
                assert file.stat().st_size > 0, f"{file} is half-written"
        for file in small_disk.glob("*"):
            if file.name != "filler":
                shutil.rmtree(file) if file.is_dir() else file.unlink()


def assert_one_line_of_several(done, *words):
    """Progress may stand before the error, but the error is one line and the last."""
    assert done.returncode == 2, done.stderr
    lines = done.stderr.strip().splitlines()
    assert "Traceback" not in done.stderr
    for word in ("Error: ", *words):
        assert word in lines[-1], done.stderr
