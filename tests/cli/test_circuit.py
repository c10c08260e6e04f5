"""The analyses of a circuit, as users type them."""

import json

import pytest

from tests.cli.test_wrong_input import assert_one_line

PNG = b"\x89PNG"


@pytest.mark.parametrize(
    ("name", "options", "words", "keys"),
    [
        ("draw", ["--depth", 1], "8 weights, 4 features in 1 row", {"gates"}),
        ("zx", [], "24 of 24", {"n_weights", "weights_left", "n_phases", "phases_left"}),
        (
            "fisher",
            ["--draws", 3, "--qubits", 2, "--features", 2],
            "near zero, a single input",
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


def test_impossible_circuits_are_one_line(culi):
    assert_one_line(culi("circuit", "zx", "--depth", 0), "depth=0: give a depth of 1 to 8")
    assert_one_line(culi("circuit", "draw", "--qubits", 9), "n_qubits=9: give 1 to 8 qubits")
    assert_one_line(culi("circuit", "fourier", "--features", 21), "give at most 8")
    assert_one_line(culi("circuit", "fisher", "--encoding", "W"), "'W' is not one of")
    assert_one_line(culi("train", "--preset", "paper"), "no preset is named 'paper'")


def test_presets_are_listed_by_name(culi):
    done = culi("presets", "list")
    assert done.returncode == 0, done.stderr
    assert "paper-culi-qdi" in done.stdout
    assert "0.00402" in done.stdout
