"""Files of strangers through the commands: labels by name, empty lines, stresses here and there."""

import csv
import json

import ase.io
import numpy as np
import pytest
import yaml
from ase.calculators.emt import EMT
from click.testing import CliRunner

from culi_mlip.calculator import HybridAllegro
from culi_mlip.cli import group
from culi_mlip.errors import CuliError
from culi_mlip.structures import bulk, rattled

NAMES = ("--energy-key", "dft_energy", "--forces-key", "dft_forces", "--stress-key", "dft_virial")
TINY = "num_scalar_features: 8\nnum_tensor_features: 2\nreadout_width: 8\nmodel_dtype: float64\n"


@pytest.fixture(scope="module")
def strangers(tmp_path_factory):
    """Frames with labels under names of their own, every other with a virial; and the truth."""
    folder = tmp_path_factory.mktemp("strangers")
    truth = []
    for seed in range(8):
        atoms = rattled(bulk("Cu", repeat=(2, 1, 1)), 0.1, seed=seed)
        atoms.calc = EMT()
        truth.append(atoms)
    for part, frames in {"train": truth[:5], "val": truth[5:], "test": truth[5:]}.items():
        texts = []
        for i, atoms in enumerate(frames):
            copy = atoms.copy()
            copy.info["dft_energy"] = atoms.get_potential_energy()
            copy.arrays["dft_forces"] = atoms.get_forces()
            if i % 2:
                copy.info["dft_virial"] = -atoms.get_volume() * atoms.get_stress(voigt=False)
            ase.io.write(folder / "one.extxyz", copy)
            texts.append((folder / "one.extxyz").read_text())
        (folder / f"{part}.extxyz").write_text("\n".join(texts))  # an empty line between them
    (folder / "tiny.yaml").write_text(TINY)
    return folder, truth


def test_training_and_evaluation_by_names(culi, strangers, tmp_path):
    folder, truth = strangers
    options = ("--settings", folder / "tiny.yaml", "--epochs", 1, "--variant", "allegro")
    done = culi("train", folder, *NAMES, *options)
    assert done.returncode == 0, done.stderr
    assert "Only 3 of 8 training and validation frames have a stress" in done.stdout
    record = yaml.safe_load((tmp_path / "run" / "run.yaml").read_text())
    assert record["inputs"]["keys"]["forces"] == "dft_forces"
    model = json.loads((tmp_path / "run" / "model.json").read_text())
    assert model["validation"]["stress_mae"] is None
    mean = np.mean([atoms.get_potential_energy() / len(atoms) for atoms in truth[:5]])
    assert model["reference_energies"]["Cu"] == pytest.approx(mean)

    done = culi("evaluate", "run", folder / "val.extxyz", *NAMES, "--out", "errors.json")
    assert done.returncode == 0, done.stderr
    (errors,) = json.loads((tmp_path / "errors.json").read_text())["errors"]
    assert errors["frames"] == 3
    calculator = HybridAllegro(tmp_path / "run", device="cpu")
    energies, forces, stresses = [], [], []
    for atoms in truth[5:]:
        copy = atoms.copy()
        copy.calc = calculator
        energies.append(copy.get_potential_energy() - atoms.get_potential_energy())
        forces.append(copy.get_forces() - atoms.get_forces())
        stresses.append(copy.get_stress() - atoms.get_stress())
    assert errors["energy_mae"] == pytest.approx(np.abs(energies).mean() / 2, abs=1e-6)
    assert errors["force_mae"] == pytest.approx(np.abs(forces).mean(), abs=1e-6)
    assert errors["stress_mae"] == pytest.approx(np.abs(stresses[1]).mean(), abs=1e-7)


def here(*arguments):
    """The command in this process: torch is loaded once."""
    return CliRunner().invoke(group, [str(argument) for argument in arguments])


def test_audit_by_names(strangers, tmp_path):
    source = strangers[0] / "train.extxyz"
    done = here("dataset", "audit", source, *NAMES, "--out", tmp_path / "audit")
    assert done.exit_code == 0, done.output
    rows = list(csv.DictReader((tmp_path / "audit" / "audit.csv").open()))
    assert [row["reason"] for row in rows] == [""] * 5
    done = here("dataset", "audit", source, "--out", tmp_path / "audit")
    assert "give " + " ".join(NAMES) in " ".join(done.output.split()), "and says what to do"


@pytest.mark.parametrize(
    "command",
    [
        ("train", "{data}"),
        ("optimize", "{data}"),
        ("evaluate", "{model}", "{data}/test.extxyz"),
        ("circuit", "noise", "{model}", "{data}/test.extxyz"),
    ],
)
def test_commands_name_the_labels_that_they_find(
    strangers, trained, tmp_path, monkeypatch, command
):
    monkeypatch.chdir(tmp_path)
    arguments = [part.format(data=strangers[0], model=trained["qdi"]) for part in command]
    assert "give " + " ".join(NAMES) in str(here(*arguments).exception)
    wrong = (*NAMES[:3], "REF_forces", *NAMES[4:])
    error = here(*arguments, *wrong).exception
    assert isinstance(error, CuliError)
    assert "no frame has 'REF_forces' for the forces" in str(error)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_tuning_by_names(culi, strangers, tmp_path):
    (tmp_path / "r.yaml").write_text(
        "settings: {variant: allegro, epochs: 1, num_scalar_features: 8, num_tensor_features: 2, "
        "readout_width: 8}\nspace:\n  learning_rate: {type: real, low: 0.001, high: 0.02}\n"
    )
    options = ("--recipe", "r.yaml", "--trials", 1, "--epochs", 1, "--device", "cpu")
    done = culi("optimize", strangers[0], *NAMES, *options)
    assert done.returncode == 0, done.stderr
    assert "1 trials, 0 failed" in done.stdout
