"""The torch layer against PennyLane, an independent simulator."""

import pytest
import torch

from culi_mlip.errors import CuliError
from culi_mlip.quantum import Circuit, QDILayer

CIRCUITS = [
    Circuit(n_qubits=4, n_features=4, depth=3),
    Circuit(n_qubits=4, n_features=21, depth=2),
    Circuit(n_qubits=2, n_features=3, depth=1),
    Circuit(n_qubits=5, n_features=4, depth=2),
]


@pytest.fixture(params=CIRCUITS, ids=str)
def case(request):
    torch.manual_seed(0)
    circuit = request.param
    layer = QDILayer(circuit).double()
    features = torch.randn(7, circuit.n_features, dtype=torch.float64, requires_grad=True)
    return circuit, layer, features


def pennylane(circuit, features, weights):
    return torch.stack(circuit.qnode()(features, weights), dim=-1)


def derivatives(outputs, features, weights):
    """First derivatives, and second derivatives of a random projection of them."""
    generator = torch.Generator().manual_seed(1)
    direction = torch.randn(outputs.shape, generator=generator, dtype=outputs.dtype)
    first = torch.autograd.grad((outputs * direction).sum(), [features, weights], create_graph=True)
    projection = torch.randn(features.shape, generator=generator, dtype=outputs.dtype)
    second = torch.autograd.grad((first[0] * projection).sum(), [features, weights])
    return (*first, *second)


def test_equals_pennylane_with_first_and_second_derivatives(case):
    circuit, layer, features = case
    ours = layer(features)
    theirs = pennylane(circuit, features, layer.weight)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    for a, b in zip(
        derivatives(ours, features, layer.weight),
        derivatives(theirs, features, layer.weight),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-11)


def test_single_precision_stays_single_and_agrees(case):
    _, layer, features = case
    exact = layer(features)
    single = layer.float()(features.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), exact, rtol=0, atol=1e-5)


def test_expectation_values_are_bounded_and_periodic(case):
    _, layer, features = case
    outputs = layer(features)
    assert outputs.abs().max() <= 1 + 1e-12
    torch.testing.assert_close(layer(features + 4 * torch.pi), outputs, rtol=0, atol=1e-12)


def test_paper_circuit_has_24_parameters():
    assert Circuit(n_qubits=4, n_features=4, depth=3).n_weights == 24


@pytest.mark.parametrize(
    "sizes", [{"n_qubits": 1}, {"n_qubits": 9}, {"n_features": 0}, {"depth": 0}]
)
def test_impossible_sizes_are_refused(sizes):
    with pytest.raises(CuliError, match=next(iter(sizes))):
        Circuit(**sizes)
