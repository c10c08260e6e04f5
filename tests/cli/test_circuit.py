"""The analyses of a circuit, as users type them."""

import json
from dataclasses import fields

import pytest
from click.testing import CliRunner

from culi_mlip.cli import group
from culi_mlip.datasets.frames import training_frames
from culi_mlip.files import write_frames
from culi_mlip.models import noise
from culi_mlip.models.noise import NoiseErrors
from culi_mlip.quantum import Circuit
from culi_mlip.quantum.analysis import fisher
from tests.cli.test_wrong_input import assert_one_line

PNG = b"\x89PNG"


def run(*arguments):
    """A command in this process."""
    done = CliRunner().invoke(group, [*map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("name", "options", "words", "keys"),
    [
        ("draw", ["--depth", 1], "8 weights, 4 features in 1 row", {"gates"}),
        ("zx", [], "24 of 24", {"n_weights", "weights_left", "n_phases", "phases_left"}),
        (
            "fisher",
            ["--draws", 3, "--qubits", 2, "--features", 2],
            "rank's plateau (99%)",
            {"near_zero", "rank_by_depth", "mean", "eigenvalues", "threshold", "definition"},
        ),
        (
            "fourier",
            ["--draws", 5],
            "161",
            {"n_terms", "nonzero_mean", "nonzero_least", "nonzero_most", "threshold", "mean_abs"},
        ),
    ],
)
def test_each_analysis_writes_a_figure_and_its_numbers(culi, tmp_path, name, options, words, keys):
    done = culi("circuit", name, *options)
    assert done.returncode == 0, done.stderr
    assert words in done.stdout
    assert (tmp_path / f"circuit/{name}.png").read_bytes().startswith(PNG)
    content = json.loads((tmp_path / f"circuit/{name}.json").read_text())
    assert keys <= content.keys()
    assert content["circuit"]["measurement"] == "Y"


def test_every_option_reaches_the_circuit(culi, tmp_path):
    options = {
        "--qubits": 3, "--features": 5, "--depth": 2, "--encoding": "X", "--variational": "Y",
        "--entangler": "chain", "--entangling-gate": "CZ", "--measurement": "Z",
    }  # fmt: skip
    arguments = [str(part) for pair in options.items() for part in pair]
    done = culi("circuit", "draw", *arguments, "--out", "there")
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "there/draw.json").read_text())
    assert content["circuit"] == {
        "n_qubits": 3, "n_features": 5, "depth": 2, "encoding": "X", "variational": "Y",
        "entangler": "chain", "entangling_gate": "CZ", "measurement": "Z",
    }  # fmt: skip
    assert content["gates"][0] == {"name": "RY", "wires": [0], "weight": 0, "feature": None}


def test_every_option_says_what_it_is():
    page = " ".join(CliRunner().invoke(group, ["circuit", "draw", "--help"]).output.split())
    for field in fields(Circuit):
        assert f"{field.metadata['help']} [default: {field.default}]" in page


def test_near_zero_is_told_for_all_inputs_and_for_one(tmp_path):
    options = ["--draws", 4, "--qubits", 2, "--features", 1, "--depth", 1, "--seed", 5]
    run("circuit", "fisher", *options, "--out", tmp_path)
    content = json.loads((tmp_path / "fisher.json").read_text())
    circuit = Circuit(n_qubits=2, n_features=1, depth=1)
    for key, inputs in (("near_zero", 100), ("near_zero_single_input", 1)):
        assert content[key] == fisher(circuit, draws=4, inputs=inputs, seed=5).near_zero
    assert content["near_zero"] != content["near_zero_single_input"]


def test_the_papers_numbers_stand_beside_the_papers_circuit_only(culi):
    assert "24 of 24" in culi("circuit", "zx").stdout
    done = culi("circuit", "zx", "--depth", 2)
    assert "16 of 16" in done.stdout
    assert "paper" not in done.stdout


def test_impossible_circuits_are_one_line(culi):
    assert_one_line(culi("circuit", "zx", "--depth", 0), "depth=0: give 1 to 8")
    assert_one_line(culi("circuit", "draw", "--qubits", 9), "n_qubits=9: give 1 to 8")
    assert_one_line(culi("circuit", "fourier", "--features", 21), "give at most 8")
    assert_one_line(culi("circuit", "fisher", "--encoding", "W"), "'W' is not one of")
    assert_one_line(culi("train", "--preset", "paper"), "no preset is named 'paper'")


def test_noise_of_a_trained_model(culi, tmp_path, trained, tiny_data):
    frames = tiny_data / "train.extxyz"
    options = ("--shots", 100, "--shots", 1000, "--max-frames", 1, "--repeats", 1)
    done = culi("circuit", "noise", trained["qdi"], frames, *options)
    assert done.returncode == 0, done.stderr
    assert "1,000 shots" in done.stdout
    assert "Force error = " in done.stdout
    assert (tmp_path / "circuit/noise.png").read_bytes().startswith(PNG)
    content = json.loads((tmp_path / "circuit/noise.json").read_text())
    assert content["laws"].keys() >= {"force_by_shots", "force_by_depolarising"}
    assert content["frames"] == 1
    (line,) = [line for line in done.stdout.splitlines() if line.lstrip().startswith("100 shots")]
    row = content["rows"][0]
    assert line.split()[-2:] == [
        f"{1000 * row['force_mae']:.2f}", f"{1000 * row['energy_mae']:.3f}"
    ]  # fmt: skip


def test_frames_of_the_noise_are_evenly_spaced(tmp_path, monkeypatch, trained, tiny_data):
    """Of three frames at most two: the first and the last."""
    frames = training_frames(tiny_data / "train.extxyz")[:3]
    write_frames(tmp_path / "three.extxyz", frames)
    measured = []

    def noise_errors(chosen, *arguments, **options):
        measured.extend(chosen)
        return [NoiseErrors(10, 0.0, 0.001, 0.01)]

    monkeypatch.setattr(noise, "noise_errors", noise_errors)
    few = ["--shots", 10, "--max-frames", 2, "--out", tmp_path]
    run("circuit", "noise", trained["qdi"], tmp_path / "three.extxyz", *few)
    expected = [frames[n].get_potential_energy() for n in (0, 2)]
    assert [atoms.get_potential_energy() for atoms in measured] == pytest.approx(expected)


def test_noise_that_cannot_be_measured_is_one_line(culi, trained, tiny_data):
    frames = tiny_data / "train.extxyz"
    assert_one_line(culi("circuit", "noise"), "data/test.extxyz does not exist")
    assert_one_line(culi("circuit", "noise", "missing", frames), "no model at missing")
    assert_one_line(culi("circuit", "noise", trained["allegro"], frames), "no quantum circuit")
    assert_one_line(culi("circuit", "noise", trained["qdi"], frames, "--shots", 0), "0 is not in")
    assert_one_line(
        culi("circuit", "noise", trained["qdi"], frames, "--depolarising", 2), "2.0 is not in"
    )


def test_presets_are_listed_by_name(culi):
    done = culi("presets", "list")
    assert done.returncode == 0, done.stderr
    assert "paper-culi-qdi" in done.stdout
    assert "0.00402" in done.stdout
