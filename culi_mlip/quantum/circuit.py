"""The declaration of the quantum depth-infused circuit."""

# No `from __future__ import annotations` here: a dataclass with annotations as strings cannot
# be loaded from a packaged model.
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from culi_mlip.errors import CuliError

MAX_QUBITS = 8
"""Widest circuit evaluated here: the cost of the layer grows as 4**n_qubits."""


@dataclass(frozen=True)
class Circuit:
    """A quantum depth-infused (QDI) circuit: data re-uploading on a lattice of features.

    A variational block is `depth` times (RX(theta) on every qubit, then a ring of CNOTs
    0→1→…→n-1→0). The circuit starts with one block on ``|0…0>``; then, for every row of the
    lattice of features, RZ(x) encodes one feature on each qubit and another block follows.
    The expectation value of Pauli Y is measured on every qubit.

    Parameters
    ----------
    n_qubits
        Number of qubits, 2 to 8.
    n_features
        Number of features (angles in radians). They fill the lattice row by row,
        `n_qubits` in a row; the last row is padded with zeros.
    depth
        Number of RX-and-CNOT layers in a block, at least 1.

    Raises
    ------
    CuliError
        If a size is out of range.

    References
    ----------
    Sagingalieva et al., Cancers 15, 2705 (2023): the QDI layer.
    Laskaris et al., Comput. Mater. Sci. (2026), 10.1016/j.commatsci.2026.114742, Fig. 1:
    4 qubits, 4 features and depth 3 give the paper's 24 parameters.
    """

    n_qubits: int = 4
    n_features: int = 4
    depth: int = 3

    def __post_init__(self) -> None:
        if not 2 <= self.n_qubits <= MAX_QUBITS:
            raise CuliError(f"circuit with n_qubits={self.n_qubits}: give 2 to {MAX_QUBITS} qubits")
        if self.n_features < 1:
            raise CuliError(f"circuit with n_features={self.n_features}: give at least 1 feature")
        if self.depth < 1:
            raise CuliError(f"circuit with depth={self.depth}: give a depth of at least 1")

    @property
    def n_rows(self) -> int:
        """Rows of the lattice of features, each encoded once on all qubits."""
        return -(-self.n_features // self.n_qubits)

    @property
    def weight_shape(self) -> tuple[int, int, int]:
        """Shape of the weights: (blocks, depth, qubits), angles in radians."""
        return self.n_rows + 1, self.depth, self.n_qubits

    @property
    def n_weights(self) -> int:
        """Number of trainable angles."""
        blocks, depth, qubits = self.weight_shape
        return blocks * depth * qubits

    @property
    def ring(self) -> list[tuple[int, int]]:
        """(control, target) of the entangling CNOTs, in order of application."""
        return [(q, (q + 1) % self.n_qubits) for q in range(self.n_qubits)]

    def qnode(self, device: str = "default.qubit", shots: int | None = None) -> Callable[..., Any]:
        """Return the same circuit as a PennyLane QNode.

        Parameters
        ----------
        device
            Name of a PennyLane device.
        shots
            Number of shots; ``None`` for exact expectation values.

        Returns
        -------
        callable
            ``qnode(features, weights)`` with features ``(..., n_features)`` and weights of
            `weight_shape`; gives one expectation value ⟨Y⟩ a qubit.
        """
        # torch.package follows plain imports, even here: packaged models must not need PennyLane.
        qml = importlib.import_module("pennylane")
        wires = range(self.n_qubits)

        def block(weights: Any) -> None:
            for layer in weights:
                for q in wires:
                    qml.RX(layer[q], wires=q)
                for control, target in self.ring:
                    qml.CNOT(wires=[control, target])

        def circuit(features: Any, weights: Any) -> list[Any]:
            block(weights[0])
            for row in range(self.n_rows):
                first = row * self.n_qubits
                for q, k in enumerate(range(first, min(first + self.n_qubits, self.n_features))):
                    qml.RZ(features[..., k], wires=q)
                block(weights[row + 1])
            return [qml.expval(qml.PauliY(q)) for q in wires]

        node = qml.QNode(circuit, qml.device(device, wires=self.n_qubits))
        return qml.set_shots(node, shots=shots) if shots else node
