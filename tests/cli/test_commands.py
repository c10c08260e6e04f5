"""The commands as users type them: help, the whole path on tiny data, continuation."""

import json
import re
import shutil
import subprocess
import sys
import time

import ase.io
import pytest
import yaml

from culi_mlip.structures import bulk
from tests.conftest import TINY_RECIPE

COMMANDS = [
    "build-dataset",
    "structures",
    "structures show",
    "train",
    "evaluate",
    "compile",
    "export lammps",
    "info",
    "md",
    "quickstart",
]


def test_help_answers_within_a_second(culi):
    culi("--help")  # bytecode is compiled once
    best = min(_timed(culi) for _ in range(3))
    assert best < 1.0


def _timed(culi):
    start = time.perf_counter()
    assert culi("--help").returncode == 0
    return time.perf_counter() - start


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_a_page_with_an_example(culi, command):
    page = culi(*command.split(), "--help")
    assert page.returncode == 0
    assert f"culi-mlip {command}" in page.stdout.split("Example")[1]


def test_help_of_every_command_loads_nothing_heavy():
    code = """
import sys, click
from click.testing import CliRunner
from culi_mlip.cli import group
def walk(command, words):
    done = CliRunner().invoke(group, [*words, "--help"])
    assert done.exit_code == 0 and "Usage:" in done.output, words
    for name in getattr(command, "list_commands", lambda _: [])(None):
        walk(command.get_command(None, name), [*words, name])
walk(group, [])
print({"torch", "ase", "numpy", "scipy", "rich", "optuna", "pydantic"} & {*sys.modules})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_importing_nequip_or_the_package_loads_nothing_heavy():
    code = (
        "import sys, culi_mlip, culi_mlip.cli, culi_mlip.models, culi_mlip.devices; "
        "print('torch' in sys.modules, 'ase' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_the_path_from_recipe_to_molecular_dynamics(culi_process, tmp_path):
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(TINY_RECIPE))
    built = culi_process("build-dataset", "recipe.yaml", "--out", "data")
    assert built.returncode == 0, built.stderr
    assert "stand-in for DFT" in built.stdout

    trained = culi_process(
        "train", "data", "--variant", "mlp", "--out", "run", "--epochs", 2, "--no-compile"
    )
    assert trained.returncode == 0, trained.stderr
    assert "Reference energies (eV/atom): Cu" in trained.stdout
    record = yaml.safe_load((tmp_path / "run/run.yaml").read_text())
    assert record["status"] == "done"
    assert record["inputs"]["settings"]["variant"] == "mlp"

    evaluated = culi_process("evaluate", "run", "data/test.extxyz", "--out", "errors.json")
    assert evaluated.returncode == 0, evaluated.stderr
    (errors,) = json.loads((tmp_path / "errors.json").read_text())["errors"][-1:]
    assert f"{1000 * errors['force_mae']:.1f}" in evaluated.stdout

    ase.io.write(tmp_path / "cell.xyz", bulk("Cu", cubic=True, repeat=(2, 2, 2)), format="extxyz")
    arguments = ("md", "cell.xyz", "--model", "run", "--time", "0.02", "--out", "md")
    first = culi_process(*arguments)
    assert first.returncode == 0, first.stderr
    shutil.move(tmp_path / "run", tmp_path / "moved")
    again = culi_process(*(a if a != "run" else "moved" for a in arguments))
    assert again.returncode == 0, again.stderr
    assert again.stdout == first.stdout


def test_nequip_repeats_the_training_alone(trained, tmp_path):
    """`cd run && nequip-train` needs the configuration and the data alone, and writes elsewhere."""
    copy = tmp_path / "a" / "run"
    copy.mkdir(parents=True)
    config = (trained["qdi"] / "config.yaml").read_text()
    data = (trained["qdi"] / yaml.safe_load(config)["data"]["train_file_path"]).resolve().parent
    shutil.copy(trained["qdi"] / "config.yaml", copy)
    place = copy / yaml.safe_load(config)["data"]["train_file_path"]
    shutil.copytree(data, place.parent.resolve())
    subprocess.run(
        [sys.executable, "-m", "nequip.scripts.train"], cwd=copy, check=True, capture_output=True
    )
    ours, theirs = (
        sorted(re.findall(r"val0_epoch/weighted_sum|\d\.\d{6,}", file.read_text()))
        for file in (
            next(trained["qdi"].glob("logs/version_0/metrics.csv")),
            next(copy.glob("repeated/logs/version_0/metrics.csv")),
        )
    )
    assert ours == theirs
    assert (copy / "repeated" / "checkpoints" / "best.ckpt").is_file()
    assert {file.name for file in copy.iterdir()} == {"config.yaml", "repeated"}


def test_settings_file_and_flags(culi, tiny_data, tmp_path):
    (tmp_path / "s.yaml").write_text("epochs: 1\nnum_scalar_features: 8\nbatch_size: 2\n")
    done = culi(
        *("train", tiny_data, "--settings", "s.yaml", "--batch-size", 3, "--out", "run"),
        *("--variant", "mlp", "--learning-rate", 0.004, "--r-max", 4.5, "--seed", 11),
        *("--schedule", "constant", "--device", "cpu", "--no-compile"),
    )
    assert done.returncode == 0, done.stderr
    expected = {
        "epochs": 1, "num_scalar_features": 8, "batch_size": 3, "variant": "mlp",
        "learning_rate": 0.004, "r_max": 4.5, "seed": 11, "schedule": "constant",
    }  # fmt: skip
    metadata = json.loads((tmp_path / "run/model.json").read_text())
    assert metadata["settings"] | expected == metadata["settings"]
    inputs = yaml.safe_load((tmp_path / "run/run.yaml").read_text())["inputs"]
    assert inputs["settings"] | expected == inputs["settings"]
    validation = metadata["validation"]
    assert f"force MAE {1000 * validation['force_mae']:.1f} meV/Å" in done.stdout
    assert f"energy MAE {1000 * validation['energy_mae_per_atom']:.2f} meV/atom" in done.stdout
    assert "(epoch 1)" in done.stdout
