"""Shots and gate noise against PennyLane's own, and against theory."""

import numpy as np
import pennylane as qml
import pytest
import torch

from culi_mlip.errors import CuliError
from culi_mlip.quantum import Circuit, QDILayer
from culi_mlip.quantum.noise import NoisyLayer

ONE_ROW = Circuit(n_qubits=3, n_features=3, depth=2)
TWO_ROWS = Circuit(n_qubits=2, n_features=3, depth=1, measurement="X")


def layer_and_features(circuit, n_edges=5):
    torch.manual_seed(0)
    return QDILayer(circuit).double(), torch.randn(n_edges, circuit.n_features).double()


@pytest.mark.parametrize("circuit", [ONE_ROW, TWO_ROWS])
def test_depolarised_values_are_those_of_pennylanes_noise_model(circuit):
    layer, features = layer_and_features(circuit)

    def channel(operation, p, **_):
        for wire in operation.wires:
            qml.DepolarizingChannel(p, wires=wire)

    model = qml.NoiseModel({qml.BooleanFn(lambda operation: True): channel}, p=0.02)
    node = qml.add_noise(circuit.qnode("default.mixed"), model)
    weights = layer.weight.detach().numpy()
    expected = np.array([node(x, weights) for x in features.numpy()])
    ours = NoisyLayer(layer, depolarising=0.02)(features).numpy()
    np.testing.assert_allclose(ours, expected, atol=1e-12)
    assert np.abs(ours - layer(features).detach().numpy()).max() > 0.01


def test_qubits_depolarised_for_good_tell_nothing():
    layer, features = layer_and_features(ONE_ROW)
    values = NoisyLayer(layer, depolarising=0.75)(features)  # p = 3/4 is the maximally mixed state
    torch.testing.assert_close(values, torch.zeros_like(values), rtol=0, atol=1e-12)


@pytest.mark.parametrize("circuit", [ONE_ROW, TWO_ROWS])
def test_parameter_shift_is_exact_with_gate_noise_too(circuit):
    layer, features = layer_and_features(circuit)
    features.requires_grad_()
    (exact,) = torch.autograd.grad(layer.change_from_zero(features).sin().sum(), features)
    ours = NoisyLayer(layer)
    (measured,) = torch.autograd.grad(ours.change_from_zero(features).sin().sum(), features)
    torch.testing.assert_close(measured, exact, rtol=0, atol=1e-12)
    assert torch.autograd.gradcheck(NoisyLayer(layer, depolarising=0.05), features)


def test_shots_scatter_as_pennylanes_and_as_theory_says():
    """The variance of a mean of N outcomes ±1 with mean f is (1 - f²)/N."""
    layer, features = layer_and_features(ONE_ROW, n_edges=1)
    shots, repeats = 200, 400
    noisy = NoisyLayer(layer, shots=shots, seed=1)
    ours = np.array([noisy(features)[0].numpy() for _ in range(repeats)])
    exact = layer(features)[0].detach().numpy()
    node = ONE_ROW.qnode(shots=shots)
    weights = layer.weight.detach().numpy()
    theirs = np.array([node(features[0].numpy(), weights) for _ in range(repeats)])
    theory = (1 - exact**2) / shots
    for sample in (ours, theirs):
        error_of_mean = np.sqrt(theory / repeats)
        assert (np.abs(sample.mean(axis=0) - exact) < 5 * error_of_mean).all()
        np.testing.assert_allclose(sample.var(axis=0), theory, rtol=5 * np.sqrt(2 / repeats))


@pytest.mark.parametrize("shots", [1, 3, 100])
def test_a_certain_outcome_is_measured_each_time(shots):
    """Rotations about z leave |0⟩ alone."""
    circuit = Circuit(2, 2, 1, encoding="Z", variational="Z", entangling_gate="CZ", measurement="Z")
    layer, features = layer_and_features(circuit)
    values = NoisyLayer(layer, shots=shots)(features)
    torch.testing.assert_close(values, torch.ones_like(values), rtol=0, atol=1e-12)


@pytest.mark.parametrize("circuit", [ONE_ROW, TWO_ROWS])
def test_no_edges_are_no_values(circuit):
    layer, features = layer_and_features(circuit, n_edges=0)
    features.requires_grad_()
    values = NoisyLayer(layer, shots=10)(features)
    assert values.shape == (0, circuit.n_qubits)
    assert torch.autograd.grad(values.sum(), features)[0].shape == features.shape


def test_a_measured_gradient_has_no_derivative():
    layer, features = layer_and_features(ONE_ROW)
    features.requires_grad_()
    values = NoisyLayer(layer)(features)
    (first,) = torch.autograd.grad(values.sum(), features, create_graph=True)
    with pytest.raises(RuntimeError, match="measured gradients cannot be differentiated"):
        torch.autograd.grad(values.sum() + first.square().sum(), features)


@pytest.mark.parametrize("depolarising", [0.0, 0.05])
def test_the_value_at_zero_has_the_noise_of_gates_and_none_of_shots(depolarising):
    layer, features = layer_and_features(ONE_ROW)
    options = {"shots": 10, "depolarising": depolarising, "seed": 3}
    change = NoisyLayer(layer, **options).change_from_zero(features)
    zero = NoisyLayer(layer, depolarising=depolarising)(torch.zeros(1, 3, dtype=torch.float64))
    measured = NoisyLayer(layer, **options)(features)
    torch.testing.assert_close(change, measured - zero, rtol=0, atol=1e-12)
    exact = layer(torch.zeros(1, 3, dtype=torch.float64))
    assert ((zero - exact).abs().max() > 1e-3) == bool(depolarising)


def test_the_same_seed_measures_the_same():
    layer, features = layer_and_features(ONE_ROW)
    first, second, other = (NoisyLayer(layer, shots=10, seed=s)(features) for s in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"shots": 0}, "0 shots"), ({"depolarising": 1.5}, "1.5: give one of 0 to 1")],
)
def test_impossible_noise_is_refused(wrong, words):
    with pytest.raises(CuliError, match=words):
        NoisyLayer(QDILayer(ONE_ROW), **wrong)
