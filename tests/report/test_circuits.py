"""Figures of a circuit's analyses: what is drawn is what was found, in the units of its axes."""

from itertools import pairwise

import numpy as np
import pytest

from culi_mlip.models.evaluation import Errors
from culi_mlip.models.noise import NoiseErrors, PowerLaw
from culi_mlip.quantum import Circuit
from culi_mlip.quantum.analysis import Fisher, Spectrum, redundancy
from culi_mlip.report.circuits import (
    drawing,
    fisher_figure,
    fourier_figure,
    noise_figure,
    zx_diagrams,
)


def test_fisher_matrix_and_ranks_are_those_of_the_result():
    mean = np.array([[1.0, 0.2, 0.3], [0.2, 4.0, 0.6], [0.3, 0.6, 7.0]])
    result = Fisher(np.array([[0.05, 0.4, 2.5]]), mean, np.array([3]), 0.321, 0.125)
    spectrum, matrix, plateau, _ = fisher_figure(result, {1: 2.5, 2: 5.0, 4: 5.5}).axes
    assert spectrum.get_title() == "32% below 0.125"
    np.testing.assert_array_equal(matrix.images[0].get_array(), mean)
    (line,) = plateau.get_lines()
    assert list(line.get_xdata()) == [1, 2, 4]
    assert list(line.get_ydata()) == [2.5, 5.0, 5.5]
    assert plateau.get_ylim()[0] == 0
    assert (plateau.get_xlabel(), plateau.get_ylabel()) == ("depth of a block", "mean rank")


def test_fourier_parts_are_those_of_the_first_qubit_real_above_imaginary():
    coefficients = np.zeros((2, 3, 2), dtype=complex)
    coefficients[:, :, 0] = [[0.1 - 0.01j, 0.2, -0.3], [0.4, 0.5, 0.6 + 0.02j]]
    coefficients[:, :, 1] = 7 + 7j
    result = Spectrum(coefficients, 5, np.array([[3, 4], [1, 0]]), 0.002)
    real, imaginary = fourier_figure(result).axes
    drawn = [np.array([line.get_ydata() for line in axes.get_lines()[:2]])
             for axes in (real, imaginary)]  # fmt: skip
    np.testing.assert_allclose(drawn[0], [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
    np.testing.assert_allclose(drawn[1], [[0.01, 0, 0], [0, 0, 0.02]])
    assert (real.get_ylabel(), imaginary.get_ylabel()) == ("|Re c|", "|Im c|")
    for axes in (real, imaginary):
        assert axes.get_lines()[2].get_ydata() == [0.002, 0.002]
    assert real.get_title() == "2 of 5 parts above 0.002, mean of 2 draws of the weights"


def test_noise_stands_at_its_shots_or_its_probability_in_thousandths():
    rows = [
        NoiseErrors(100, 0.0, 0.003, 0.05),
        NoiseErrors(1000, 0.0, 0.001, 0.02),
        NoiseErrors(None, 0.01, 0.004, 0.07),
        NoiseErrors(None, 0.02, 0.006, 0.11),
    ]
    laws = {
        "force_by_shots": PowerLaw(0.5, -0.5),
        "energy_by_shots": PowerLaw(0.03, -0.25),
        "force_by_depolarising": PowerLaw(7.0, 1.0),
        "energy_by_depolarising": None,
    }
    own = Errors("all", 1, 0.01, 0.02, 0.03, 0.04, None)
    shots, noise = noise_figure(rows, laws, own).axes
    assert shots.get_xlabel() == "shots of each circuit"
    assert noise.get_xlabel() == "depolarising probability of each gate"

    def found(axes):
        """By label: x and y of the points, and of the law's line before them."""
        lines = axes.get_lines()
        return {
            line.get_label(): (*map(list, line.get_data()), list(before.get_ydata()))
            for before, line in pairwise(lines)
            if line.get_marker() == "o"
        }

    x = [100, 1000]
    assert found(shots) == {
        "force (meV/Å), exponent -0.50": (x, [50, 20], pytest.approx([50, 500 / 1000**0.5])),
        "energy (meV/atom), exponent -0.25": (
            x, [3, 1], pytest.approx([30 / 100**0.25, 30 / 1000**0.25]),
        ),
    }  # fmt: skip
    drawn = found(noise)
    assert drawn["force (meV/Å), exponent 1.00"] == ([0.01, 0.02], [70, 110], [70, 140])
    assert drawn["energy (meV/atom)"][:2] == ([0.01, 0.02], [4, 6])
    nothing, _ = noise_figure(rows[2:], laws, own).axes
    assert len(nothing.get_lines()) == 2, "the model's own errors alone"


def test_diagrams_say_what_is_left_and_draw_every_spider():
    result = redundancy(Circuit(n_qubits=2, n_features=2, depth=1))
    before, after = zx_diagrams(result).axes
    assert before.get_title(loc="left") == f"as it is: {result.n_phases} phases"
    assert after.get_title(loc="left") == (
        f"simplified: {result.phases_left} phases, {result.weights_left} of "
        f"{result.n_weights} weights"
    )
    for axes, graph in ((before, result.before), (after, result.after)):
        spiders = [line for line in axes.get_lines() if line.get_marker() == "o"]
        edges = [line for line in axes.get_lines() if line.get_marker() != "o"]
        assert len(spiders) == graph.num_vertices()
        assert len(edges) == graph.num_edges()
        places = sorted(
            (float(x), float(y)) for line in spiders for x, y in [np.ravel(line.get_data())]
        )
        assert places == sorted((float(graph.row(v)), -float(graph.qubit(v)))
                                for v in graph.vertices())  # fmt: skip
        assert {line.get_linestyle() for line in edges} <= {"-", "--"}


def test_a_drawing_has_a_line_for_each_qubit():
    """Labels are PennyLane's: the qubits' numbers and the gates' names."""
    figure = drawing(Circuit(n_qubits=3, n_features=3, depth=1, variational="Y", encoding="X"))
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert {"0", "1", "2"} <= {*texts}
    assert texts.count("RX") == 3
    assert texts.count("RY") == Circuit(n_qubits=3, n_features=3, depth=1).n_weights
