"""The analyses of a circuit against PennyLane, and the paper's numbers."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pennylane as qml
import pytest
import torch

from culi_mlip.errors import CuliError
from culi_mlip.quantum import Circuit, QDILayer
from culi_mlip.quantum import analysis as analyses
from culi_mlip.quantum.analysis import (
    Fisher,
    fisher,
    fisher_matrices,
    fourier,
    rank_by_depth,
    rank_plateau,
    redundancy,
)


def test_zx_keeps_all_weights_of_the_papers_circuit():
    result = redundancy(Circuit())
    assert (result.n_weights, result.weights_left) == (24, 24)
    assert (result.n_phases, result.phases_left) == (28, 28)


def test_zx_finds_the_weights_that_a_chain_does_not_need():
    """After a chain of CNOTs some rotations commute to the next block and merge."""
    result = redundancy(Circuit(entangler="chain"))
    assert result.phases_left == 22
    assert result.weights_left < 24


def test_zx_merges_rotations_that_follow_one_another():
    """One qubit has no entangler: the three rotations of each of its two blocks are one."""
    result = redundancy(Circuit(n_qubits=1, n_features=1, depth=3))
    assert (result.n_weights, result.weights_left, result.phases_left) == (6, 2, 3)


@pytest.mark.parametrize(
    "circuit",
    [Circuit(n_qubits=3, n_features=2, depth=1),
     Circuit(n_qubits=2, n_features=3, depth=1, encoding="Y", variational="Z", entangler="chain",
             entangling_gate="CZ")],
)  # fmt: skip
def test_zx_diagrams_are_pennylanes_unitary(circuit):
    """Before and after the simplification, at random angles, up to a factor."""
    rng = np.random.default_rng(5)
    names = [f"w{i}" for i in range(circuit.n_weights)]
    names += [f"x{i}" for i in range(circuit.n_features)]
    turns = {
        name: Fraction(int(n), 97)
        for name, n in zip(names, rng.integers(194, size=len(names)), strict=True)
    }
    angles = np.pi * np.array([float(turns[name]) for name in names])
    weights, features = np.split(angles, [circuit.n_weights])
    with qml.queuing.AnnotatedQueue() as queue:
        circuit._apply(qml, features, weights)
    theirs = qml.matrix(qml.tape.QuantumScript.from_queue(queue), range(circuit.n_qubits))
    result = redundancy(circuit)
    for diagram in (result.before, result.after):
        for vertex in diagram.vertices():
            if terms := getattr(diagram.phase(vertex), "terms", None):
                phase = sum(
                    Fraction(factor) * math.prod(turns[v.name] for v, _ in term.vars)
                    for factor, term in terms
                )
                diagram.set_phase(vertex, phase)
        ours = diagram.to_matrix()
        overlap = abs(np.vdot(ours, theirs)) / np.linalg.norm(ours) / np.linalg.norm(theirs)
        assert overlap == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("axis", ["X", "Y", "Z"])
def test_probabilities_are_pennylanes(axis):
    circuit = Circuit(n_qubits=3, n_features=5, depth=2, measurement=axis)
    layer = QDILayer(circuit).double()
    features = torch.randn(4, 5, dtype=torch.float64)
    expected = []
    for x in features:
        amplitudes = _state(circuit, x.numpy(), layer.weight.detach().numpy().ravel())
        expected.append(np.abs(amplitudes) ** 2)
    ours = layer.probabilities(features).detach().numpy()
    np.testing.assert_allclose(ours, expected, atol=1e-12)
    np.testing.assert_allclose(ours.sum(axis=1), 1, atol=1e-12)


def _state(circuit, features, weights):
    """State in the basis of the measured axis, by PennyLane."""

    @qml.qnode(qml.device("default.qubit", wires=circuit.n_qubits))
    def run():
        _apply(circuit, features, weights)
        return qml.state()

    return run()


def _apply(circuit, features, weights):
    for gate in circuit.gates:
        if gate.weight is not None:
            getattr(qml, gate.name)(weights[gate.weight], wires=gate.wires)
        elif gate.feature is not None:
            getattr(qml, gate.name)(features[gate.feature], wires=gate.wires)
        else:
            getattr(qml, gate.name)(wires=gate.wires)
    for wire in range(circuit.n_qubits):
        with qml.QueuingManager.stop_recording():
            rotations = getattr(qml, f"Pauli{circuit.measurement}")(wire).diagonalizing_gates()
        for rotation in rotations:
            qml.apply(rotation)


def test_fisher_matrix_is_pennylanes():
    circuit = Circuit(n_qubits=3, n_features=3, depth=2)
    rng = np.random.default_rng(0)
    weights = rng.uniform(0, 2 * np.pi, (1, circuit.n_weights))
    features = rng.normal(size=(3, 3))

    @qml.qnode(qml.device("default.qubit", wires=3))
    def node(w, x):
        _apply(circuit, x, w)
        return qml.probs(wires=range(3))

    theirs = np.mean(
        [
            qml.gradients.classical_fisher(node, argnums=0)(
                qml.numpy.array(weights[0], requires_grad=True), x
            )
            for x in features
        ],
        axis=0,
    )
    ours = fisher_matrices(circuit, weights, features)[0]
    np.testing.assert_allclose(ours, theirs, atol=1e-8)


def test_rank_of_the_fisher_matrix_reaches_a_plateau():
    """Every weight counts up to depth 3; of the 40 of depth 5 no more than of the 32 of depth 4."""
    ranks = [fisher(Circuit(depth=d), draws=3, inputs=60).ranks.mean() for d in (2, 3, 4, 5)]
    assert ranks[:2] == [16, 24]
    assert 24 < ranks[2] < 32
    assert ranks[3] == pytest.approx(ranks[2], abs=1)


def test_ranks_by_depth_are_means_of_the_draws_and_the_plateau_is_where_they_end(monkeypatch):
    circuit, told = Circuit(n_qubits=2, n_features=1, encoding="X"), []
    ranks = rank_by_depth(
        circuit, draws=3, seed=5, depths=(1, 2), progress=lambda *n: told.append(n)
    )
    for depth in (1, 2):
        own = Circuit(n_qubits=2, n_features=1, encoding="X", depth=depth)
        assert ranks[depth] == fisher(own, draws=3, seed=5).ranks.mean()
    assert told == [(1, 2), (2, 2)]
    none, asked = np.zeros((1, 1)), []

    def stand_in(circuit, **options):
        asked.append(options)
        return Fisher(none, none, np.array([circuit.depth, 4]), 0.0, 0.1)

    monkeypatch.setattr(analyses, "fisher", stand_in)
    assert rank_by_depth(circuit, seed=3) == {1: 2.5, 2: 3, 3: 3.5, 4: 4, 5: 4.5}
    assert asked == [{"draws": 10, "seed": 3}] * 5
    assert rank_plateau({1: 3, 2: 7, 3: 8.95, 4: 9, 5: 9}) == 3
    assert rank_plateau({1: 3, 2: 8.9, 3: 8.91, 4: 9}) == 4


@pytest.mark.parametrize("sizes", [(2, 2), (2, 3), (4, 1)])
def test_fourier_coefficients_are_pennylanes(sizes):
    n_qubits, n_features = sizes
    circuit = Circuit(n_qubits=n_qubits, n_features=n_features, depth=2)
    ours = fourier(circuit, draws=1, seed=3).coefficients[0]
    weights = np.random.default_rng(3).uniform(0, 2 * np.pi, (1, *circuit.weight_shape))[0]
    node = circuit.qnode()
    for qubit in range(n_qubits):
        theirs = qml.fourier.coefficients(
            lambda x, q=qubit: node(np.array(x), weights)[q], n_features, 1
        )
        frequencies = itertools.product((0, 1, -1), repeat=n_features)
        expected = [theirs[frequency] for frequency in frequencies]
        np.testing.assert_allclose(ours[:, qubit], expected, atol=1e-12)


def test_the_papers_circuit_has_161_terms():
    result = fourier(Circuit(), draws=20)
    assert result.n_terms == 161
    assert 93 <= result.nonzero.mean() <= 159


def test_thresholds_count_what_they_are_said_to():
    """Parts of coefficients of each draw and qubit; shares of eigenvalues of the mean one."""
    circuit = Circuit(n_qubits=2, n_features=2, depth=1)
    spectrum = fourier(circuit, draws=5, seed=1, threshold=0.05)
    parts = [spectrum.coefficients.real, spectrum.coefficients.imag]
    expected = sum((abs(part) > 0.05).sum(axis=1) for part in parts)
    assert spectrum.nonzero.tolist() == expected.tolist()
    assert spectrum.nonzero.shape == (5, 2)
    assert (spectrum.n_terms, spectrum.threshold) == (17, 0.05)
    assert fourier(circuit, draws=5, seed=1).nonzero.sum() > spectrum.nonzero.sum()
    result = fisher(circuit, draws=4, inputs=5, seed=4, threshold=0.7)
    assert result.threshold == 0.7
    assert result.near_zero == np.mean(result.eigenvalues < 0.7) > 0.2


def test_too_many_features_for_a_spectrum_are_refused():
    with pytest.raises(CuliError, match=r"21 features has 3\*\*21 terms: give at most 8"):
        fourier(Circuit(n_features=21))


def test_eigenvalues_of_all_draws_are_in_one_unit():
    """Some weights matter more than others: each draw keeps its share of the information."""
    circuit = Circuit(n_qubits=2, n_features=2, depth=1)
    result = fisher(circuit, draws=6, inputs=5, seed=4)
    rng = np.random.default_rng(4)
    weights = rng.uniform(0, 2 * np.pi, (6, circuit.n_weights))
    matrices = fisher_matrices(circuit, weights, rng.normal(size=(5, 2)))
    traces = np.trace(matrices, axis1=1, axis2=2)
    assert np.ptp(traces) > 0.1 * traces.mean()
    unit = traces.sum() / (6 * circuit.n_weights)
    np.testing.assert_allclose(result.eigenvalues.sum(axis=1), traces / unit)
    np.testing.assert_allclose(result.mean, matrices.mean(axis=0))
    assert result.near_zero == np.mean(result.eigenvalues < 0.1)
    tolerances = 1e-8 * np.linalg.norm(matrices, 2, axis=(1, 2))
    assert result.ranks.tolist() == np.linalg.matrix_rank(matrices, tol=tolerances).tolist()
    small = result.eigenvalues / result.eigenvalues[:, -1:]
    assert ((small > 1e-6) & (small < 0.1)).any(), "a small eigenvalue counts for the rank"


@pytest.mark.parametrize(
    ("analysis", "options", "words"),
    [
        (fisher, {"draws": 0}, "0 draws: give at least 1"),
        (fisher, {"inputs": 0}, "0 inputs"),
        (fisher, {"seed": -1}, "seed -1"),
        (fisher, {"threshold": np.nan}, "threshold nan"),
        (fourier, {"draws": -3}, "-3 draws"),
        (fourier, {"threshold": -1}, "threshold -1"),
    ],
)
def test_impossible_numbers_are_refused(analysis, options, words):
    with pytest.raises(CuliError, match=words):
        analysis(Circuit(n_qubits=2, n_features=2, depth=1), **options)
