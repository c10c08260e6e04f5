"""The declaration of the quantum depth-infused circuit: a list of gates."""

# No `from __future__ import annotations` here: a dataclass with annotations as strings cannot
# be loaded from a packaged model.
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from itertools import combinations
from numbers import Integral
from typing import Any, NamedTuple

from culi_mlip.errors import CuliError

QUBITS = range(1, 9)
"""Widths of circuits: the cost of the layer grows as 4**n_qubits."""

FEATURES = range(1, 1025)
DEPTHS = range(1, 9)
AXES = ("X", "Y", "Z")
ENTANGLERS = ("ring", "chain", "all")
ENTANGLING_GATES = ("CNOT", "CZ")


class Gate(NamedTuple):
    """One gate."""

    name: str  # "RX", "RY", "RZ", "CNOT" or "CZ"
    wires: tuple[int, ...]  # the qubit, or control and target
    # Index of the weight (of the flattened weights) that is a rotation's angle.
    weight: int | None = None
    feature: int | None = None  # index of the feature that is a rotation's angle


def _meta(allowed: range | tuple[str, ...], text: str) -> dict[str, Any]:
    """What a field may be, and its help at the command line."""
    return {"allowed": allowed, "help": text}


@dataclass(frozen=True)
class Circuit:
    """A quantum depth-infused (QDI) circuit: data re-uploading on a lattice of features.

    A variational block is `depth` times (a rotation by a weight on every qubit, then the
    entangling gates). The circuit starts with one block on ``|0…0>``; then, for every row of the
    lattice of features, a rotation encodes one feature on each qubit and another block follows.
    The expectation value of a Pauli operator is measured on every qubit.

    Parameters
    ----------
    n_qubits
        Number of qubits, 1 to 8.
    n_features
        Number of features (angles in radians), 1 to 1024. They fill the lattice row by row,
        `n_qubits` in a row; the last row is padded with zeros.
    depth
        Number of rotation-and-entangler layers in a block, 1 to 8.
    encoding, variational
        Axis "X", "Y" or "Z" of the rotations by features and by weights.
    entangler
        Pairs that are entangled: "ring" (0→1→…→n-1→0), "chain" (the ring without its last) or
        "all" (every i→j with i < j).
    entangling_gate
        "CNOT" or "CZ".
    measurement
        Pauli operator, "X", "Y" or "Z", that is measured on each qubit.

    Raises
    ------
    CuliError
        If a size is out of range or a choice is unknown.

    References
    ----------
    Sagingalieva et al., Cancers 15, 2705 (2023): the QDI layer.
    Laskaris et al., Comput. Mater. Sci. (2026), 10.1016/j.commatsci.2026.114742, Fig. 1:
    4 qubits, 4 features and depth 3 give the paper's 24 parameters.
    """

    n_qubits: int = field(default=4, metadata=_meta(QUBITS, "Number of qubits."))
    n_features: int = field(default=4, metadata=_meta(FEATURES, "Number of features."))
    depth: int = field(
        default=3, metadata=_meta(DEPTHS, "Rotation-and-entangler layers in a block.")
    )
    encoding: str = field(default="Z", metadata=_meta(AXES, "Axis of the rotations by features."))
    variational: str = field(default="X", metadata=_meta(AXES, "Axis of the rotations by weights."))
    entangler: str = field(default="ring", metadata=_meta(ENTANGLERS, "Which pairs are entangled."))
    entangling_gate: str = field(
        default="CNOT", metadata=_meta(ENTANGLING_GATES, "How they are entangled.")
    )
    measurement: str = field(default="Y", metadata=_meta(AXES, "Pauli operator that is measured."))

    def __post_init__(self) -> None:
        for each in fields(self):
            value, allowed = getattr(self, each.name), each.metadata["allowed"]
            wrong = f"circuit with {each.name}={value!r}"
            if isinstance(allowed, range):
                if not isinstance(value, Integral):
                    raise CuliError(f"{wrong}: give an integer")
                if value not in allowed:
                    raise CuliError(f"{wrong}: give {allowed[0]} to {allowed[-1]}")
            elif value not in allowed:
                raise CuliError(f"{wrong}: choose {', '.join(allowed)}")

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
    def pairs(self) -> list[tuple[int, int]]:
        """(control, target) of the entangling gates of a layer, in order of application."""
        if self.entangler == "all":
            return list(combinations(range(self.n_qubits), 2))
        chain = [(q, q + 1) for q in range(self.n_qubits - 1)]
        closed = self.entangler == "ring" and self.n_qubits > 1
        return [*chain, (self.n_qubits - 1, 0)] if closed else chain

    @property
    def gates(self) -> list[Gate]:
        """All gates in order of application: what every form of the circuit is made from."""
        return [*self._block(0), *(gate for row in range(self.n_rows) for gate in self._row(row))]

    def _row(self, row: int) -> Iterator[Gate]:
        first = row * self.n_qubits
        for qubit, feature in enumerate(range(first, min(first + self.n_qubits, self.n_features))):
            yield Gate(f"R{self.encoding}", (qubit,), feature=feature)
        yield from self._block(row + 1)

    def _block(self, block: int) -> Iterator[Gate]:
        for layer in range(self.depth):
            first = (block * self.depth + layer) * self.n_qubits
            for qubit in range(self.n_qubits):
                yield Gate(f"R{self.variational}", (qubit,), weight=first + qubit)
            for pair in self.pairs:
                yield Gate(self.entangling_gate, pair)

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
            `weight_shape`; gives one expectation value a qubit.
        """
        qml = _pennylane()
        observable = getattr(qml, f"Pauli{self.measurement}")

        def circuit(features: Any, weights: Any) -> list[Any]:
            self._apply(qml, features, weights)
            return [qml.expval(observable(q)) for q in range(self.n_qubits)]

        node = qml.QNode(circuit, qml.device(device, wires=self.n_qubits))
        return qml.set_shots(node, shots=shots) if shots else node

    def outcomes(self, depolarising: float = 0.0) -> Callable[..., Any]:
        """Return a PennyLane QNode of the outcomes of measuring all qubits.

        Parameters
        ----------
        depolarising
            Probability that a qubit is depolarised (X, Y or Z, a third each) after each gate on
            it. The device is default.qubit, or with noise default.mixed.

        Returns
        -------
        callable
            As `qnode`, but gives the probability of each of the ``2**n_qubits`` outcomes of
            measuring the circuit's Pauli operator on each qubit; qubit 0 is the highest bit of
            an outcome's number, a bit of 0 is the value +1.
        """
        qml = _pennylane()
        observable = getattr(qml, f"Pauli{self.measurement}")

        def circuit(features: Any, weights: Any) -> Any:
            self._apply(qml, features, weights, depolarising)
            for qubit in range(self.n_qubits):  # queued as they are made
                observable(qubit).diagonalizing_gates()
            return qml.probs(wires=range(self.n_qubits))

        name = "default.mixed" if depolarising else "default.qubit"
        node = qml.QNode(circuit, qml.device(name, wires=self.n_qubits))
        if depolarising and tuple(map(int, qml.__version__.split(".")[:2])) < (0, 45):
            node = qml.transforms.broadcast_expand(node)  # its default.mixed fails on batched RZ
        return node

    def _apply(self, qml: Any, features: Any, weights: Any, depolarising: float = 0.0) -> None:
        """Queue all gates, each followed by the noise of its qubits."""
        flat = qml.math.reshape(weights, (-1,))
        for gate in self.gates:
            operation = getattr(qml, gate.name)
            if gate.weight is not None:
                operation(flat[gate.weight], wires=gate.wires)
            elif gate.feature is not None:
                operation(features[..., gate.feature], wires=gate.wires)
            else:
                operation(wires=gate.wires)
            for qubit in gate.wires if depolarising else ():
                qml.DepolarizingChannel(depolarising, wires=qubit)


def _pennylane() -> Any:
    # torch.package follows plain imports, even here: packaged models must not need PennyLane.
    return importlib.import_module("pennylane")
