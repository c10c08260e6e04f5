"""From a list of gates to constant matrices with diagonal rotations between them.

A rotation about an axis A is V·D·V⁻¹ with a diagonal D and a constant basis V. Rotations of all
qubits at once are one such D, of 2**n phases; what is left between two of them, entangling gates
and changes of basis, is one constant matrix. All constants are Gaussian integers over powers of
two, exact in every precision.
"""

from __future__ import annotations

from functools import reduce
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from culi_mlip.quantum.circuit import Circuit, Gate

_BASES = {  # columns are eigenvectors of the Pauli operator, not normalised
    "X": np.array([[1, 1], [1, -1]], dtype=complex),
    "Y": np.array([[1, 1], [1j, -1j]], dtype=complex),
    "Z": np.eye(2, dtype=complex),
}


class Program(NamedTuple):
    """A circuit as constants and diagonals.

    The state starts as the first column of ``constants[0]``. Then, one after another, the
    diagonal of `sources[i]` and ``constants[i + 1]`` act. The probability of a
    basis state is the square of its amplitude's modulus times `norm`.
    """

    constants: NDArray[np.complex128]  # matrices, shape (diagonals + 1, 2**n, 2**n), complex
    # For each diagonal the kind of its angles, "weight" or "feature", and the index of each
    # qubit's angle, or -1.
    sources: list[tuple[str, list[int]]]
    norm: float  # a power of two


def compiled(circuit: Circuit) -> Program:
    """Compile a circuit. Angles enter as phases 1, exp(ix) of each qubit's two eigenstates."""
    n = circuit.n_qubits
    constants: list[NDArray[np.complex128]] = []
    sources: list[tuple[str, list[int]]] = []
    matrix = np.eye(2**n, dtype=complex)
    open_layer: tuple[str, str] | None = None  # axis and kind of the rotations gathered now
    for gate in circuit.gates:
        if gate.name[0] == "R":
            kind = "weight" if gate.weight is not None else "feature"
            index = gate.weight if gate.weight is not None else gate.feature
            layer = gate.name[1], kind
            (qubit,) = gate.wires
            if layer != open_layer or sources[-1][1][qubit] >= 0:
                if open_layer:
                    matrix = _basis(open_layer[0], n) @ matrix
                constants.append(_inverse_basis(layer[0], n) @ matrix)
                matrix = np.eye(2**n, dtype=complex)
                sources.append((kind, [-1] * n))
                open_layer = layer
            sources[-1][1][qubit] = -1 if index is None else index
        else:
            if open_layer:
                matrix = _basis(open_layer[0], n) @ matrix
                open_layer = None
            matrix = _two_qubit(gate, n) @ matrix
    if open_layer:
        matrix = _basis(open_layer[0], n) @ matrix
    constants.append(_inverse_basis(circuit.measurement, n) @ matrix)
    norm = 1.0 if circuit.measurement == "Z" else 2.0**n
    return Program(np.array(constants), sources, norm)


def bits(n_qubits: int) -> NDArray[np.int64]:
    """Value of each qubit (columns) in each basis state (rows); qubit 0 is the highest bit."""
    return (np.arange(2**n_qubits)[:, None] >> np.arange(n_qubits - 1, -1, -1)) & 1


def _basis(axis: str, n_qubits: int) -> NDArray[np.complex128]:
    return reduce(np.kron, [_BASES[axis]] * n_qubits)


def _inverse_basis(axis: str, n_qubits: int) -> NDArray[np.complex128]:
    norm = 1 if axis == "Z" else 2**n_qubits
    return _basis(axis, n_qubits).conj().T / norm


def _two_qubit(gate: Gate, n_qubits: int) -> NDArray[np.complex128]:
    """Matrix of a CNOT or CZ on all qubits."""
    values = bits(n_qubits)
    control, target = gate.wires
    on = values[:, control] == 1
    if gate.name == "CZ":
        return np.diag(np.where(on & (values[:, target] == 1), -1.0, 1.0)).astype(complex)
    flipped = np.arange(2**n_qubits) ^ (on * 2 ** (n_qubits - 1 - target))
    return np.eye(2**n_qubits, dtype=complex)[flipped]
