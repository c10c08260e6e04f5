"""The circuit against matrices that are written out by hand, without its list of gates."""

from functools import reduce

import numpy as np
import pytest
import torch

from culi_mlip.quantum import Circuit, QDILayer

PAULI = {
    "X": np.array([[0, 1], [1, 0]], complex),
    "Y": np.array([[0, -1j], [1j, 0]]),
    "Z": np.array([[1, 0], [0, -1]], complex),
}
ZERO, ONE = np.diag([1, 0]), np.diag([0, 1])


def on(qubits, n):
    """The product of one-qubit matrices, qubit 0 first, as a matrix of all n qubits."""
    return reduce(np.kron, [qubits.get(q, np.eye(2)) for q in range(n)])


def rotation(axis, angle):
    return np.cos(angle / 2) * np.eye(2) - 1j * np.sin(angle / 2) * PAULI[axis]


def controlled(axis, control, target, n):
    return on({control: ZERO}, n) + on({control: ONE, target: PAULI[axis]}, n)


def papers_circuit(features, weights, encoding="Z", variational="X", measured="Y"):
    """Laskaris et al. (2026), Fig. 1: a block, the features, a block, on four qubits."""
    state = np.eye(16)[0].astype(complex)
    for block in range(2):
        if block == 1:
            state = on({q: rotation(encoding, features[q]) for q in range(4)}, 4) @ state
        for layer in range(3):
            angles = weights[block, layer]
            state = on({q: rotation(variational, angles[q]) for q in range(4)}, 4) @ state
            for control, target in ((0, 1), (1, 2), (2, 3), (3, 0)):
                state = controlled("X", control, target, 4) @ state
    return [np.vdot(state, on({q: PAULI[measured]}, 4) @ state).real for q in range(4)]


@pytest.mark.parametrize("axes", ["ZXY", "XXY", "YXY", "ZYY", "ZZY", "ZXZ", "ZXX", "YZX"])
def test_the_papers_circuit_by_hand(axes):
    encoding, variational, measured = axes
    circuit = Circuit(encoding=encoding, variational=variational, measurement=measured)
    if axes == "ZXY":
        assert circuit == Circuit(), "the default is the paper's"
    rng = np.random.default_rng(1)
    features, weights = rng.normal(size=4), rng.uniform(0, 2 * np.pi, (2, 3, 4))
    expected = papers_circuit(features, weights, *axes)
    layer = QDILayer(circuit).double()
    with torch.no_grad():
        layer.weight.copy_(torch.as_tensor(weights))
        ours = layer(torch.as_tensor(features)[None])[0].numpy()
    np.testing.assert_allclose(ours, expected, atol=1e-12)
    np.testing.assert_allclose(circuit.qnode()(features, weights), expected, atol=1e-12)


def test_rows_of_features_by_hand():
    """Five features on three qubits: a second row, of two; all pairs entangled by CZ."""
    circuit = Circuit(
        n_qubits=3, n_features=5, depth=1, encoding="Y", entangler="all", entangling_gate="CZ"
    )
    rng = np.random.default_rng(2)
    features, weights = rng.normal(size=5), rng.uniform(0, 2 * np.pi, (3, 1, 3))
    state = np.eye(8)[0].astype(complex)
    for block, row in enumerate([[], features[:3], features[3:]]):
        state = on({q: rotation("Y", x) for q, x in enumerate(row)}, 3) @ state
        state = on({q: rotation("X", weights[block, 0, q]) for q in range(3)}, 3) @ state
        for control, target in ((0, 1), (0, 2), (1, 2)):
            state = controlled("Z", control, target, 3) @ state
    expected = [np.vdot(state, on({q: PAULI["Y"]}, 3) @ state).real for q in range(3)]
    layer = QDILayer(circuit).double()
    with torch.no_grad():
        layer.weight.copy_(torch.as_tensor(weights))
        ours = layer(torch.as_tensor(features)[None])[0].numpy()
    np.testing.assert_allclose(ours, expected, atol=1e-12)
