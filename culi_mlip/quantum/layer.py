"""The QDI circuit as a torch module, in real arithmetic."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from culi_mlip.errors import ModelError
from culi_mlip.quantum.circuit import CHOICES, Circuit
from culi_mlip.quantum.compiler import bits, compiled
from culi_mlip.quantum.kernels import polynomial, rotate

FOURIER_LIMIT = 6
"""Most features of a row for which the Fourier form was measured to be faster (7: equal)."""


class QDILayer(torch.nn.Module):
    """The QDI circuit as a torch module, differentiable any number of times.

    The weights are folded once a call, whatever the number of edges: each variational block
    becomes one unitary. With one row of features, the expectation values are a trigonometric
    polynomial with 3**n_features coefficients, found from the circuit's values at the angles 0,
    π/2 and π of each feature and evaluated by one small matrix product. With more rows, or many
    features, the state vector is propagated: a phase for each amplitude at each row, and the
    block's unitary.

    A complex number is two real ones throughout, so that ``torch.compile``, ``torch.export``
    and AOTInductor take the layer. All constants are dyadic, exact in every precision.

    Parameters
    ----------
    circuit
        The circuit to evaluate.

    Notes
    -----
    Weights start uniform in [0, 2π): at zero angles the state would stay ``|0…0>``, every
    ⟨Y⟩ would vanish, and so would all gradients with respect to the features.
    """

    signature: Tensor
    bits: Tensor
    first: Tensor
    folded: Tensor
    turned: Tensor
    measurement: Tensor
    grid: Tensor
    inverse: Tensor

    def __init__(self, circuit: Circuit) -> None:
        super().__init__()
        self.circuit = circuit
        self.weight = torch.nn.Parameter(2 * math.pi * torch.rand(circuit.weight_shape))
        n, depth = circuit.n_qubits, circuit.depth
        program = compiled(circuit)
        state_bits = bits(n)
        # Each block: a constant before its first diagonal, one after each of its diagonals.
        starts = np.arange(circuit.n_rows + 1) * (depth + 1)
        after = program.constants[(starts[:, None] + 1 + np.arange(depth))]
        self._constant("bits", state_bits)
        self._constant("first", _real(program.constants[starts]))
        self._constant("folded", _real(after))
        self._constant("turned", _real(1j * after))
        self.norm = program.norm
        signs = program.norm * (1 - 2 * state_bits.T)
        self._constant("measurement", np.hstack([signs, signs]))
        self.rows = [
            [qubit for qubit, feature in enumerate(indices) if feature >= 0]
            for kind, indices in program.sources
            if kind == "feature"
        ]
        # Travels with the weights: another circuit refuses them.
        self.register_buffer("signature", torch.tensor(_signature(circuit)))
        self.is_fourier = circuit.n_rows == 1 and circuit.n_features <= FOURIER_LIMIT
        if self.is_fourier:
            self._constant("grid", _grid_phases(circuit.n_features, state_bits))
            self._constant("inverse", _inverse_transform(circuit.n_features))

    def forward(self, features: Tensor) -> Tensor:
        """Evaluate the circuit.

        Parameters
        ----------
        features
            Angles in radians, shape ``(batch, n_features)``.

        Returns
        -------
        Tensor
            Expectation value of each qubit, shape ``(batch, n_qubits)``, each in [-1, 1].
        """
        return self._values(features.T.contiguous(), self._folded()).T

    def change_from_zero(self, features: Tensor) -> Tensor:
        """Return `forward` minus its value at zero angles; the weights are folded once for both."""
        folded = self._folded()
        zeros = features.new_zeros(self.circuit.n_features, 1)
        values = self._values(features.T.contiguous(), folded)
        return (values - self._values(zeros, folded)).T

    def coefficients(self) -> Tensor:
        """Return the coefficients of a circuit in its Fourier form, as `polynomial` takes them.

        Returns
        -------
        Tensor, shape (3·n_qubits, 3**(n_features - 1))
        """
        first, block = self._blocks()
        half = len(block) // 2
        # Columns of a real matrix: the state, and i times the state.
        state, turned = first[:, :1], first[:, half : half + 1]
        amplitudes = block @ torch.addcmul(state * self.grid[0], turned, self.grid[1])
        values = (self.measurement @ amplitudes.square()) @ self.inverse
        n_qubits = self.circuit.n_qubits
        return values.view(n_qubits, 3, -1).transpose(0, 1).reshape(3 * n_qubits, -1)

    def probabilities(self, features: Tensor) -> Tensor:
        """Return the probability of each outcome when all qubits are measured.

        Parameters
        ----------
        features
            Angles in radians, shape ``(batch, n_features)``.

        Returns
        -------
        Tensor, shape ``(batch, 2**n_qubits)``
            Qubit 0 is the highest bit of the outcome's number; a bit of 0 is the value +1.
        """
        amplitudes = self._amplitudes(features.T.contiguous(), self._blocks())
        return self.norm * amplitudes.square().unflatten(0, (2, -1)).sum(0).T

    def _folded(self) -> tuple[Tensor, ...]:
        """The weights, as the evaluation takes them."""
        return (self.coefficients(),) if self.is_fourier else self._blocks()

    def _values(self, angles: Tensor, folded: tuple[Tensor, ...]) -> Tensor:
        if self.is_fourier:
            return polynomial(angles, folded[0])
        return self.measurement @ self._amplitudes(angles, folded).square()

    def _amplitudes(self, angles: Tensor, blocks: tuple[Tensor, ...]) -> Tensor:
        """Amplitudes of all outcomes, real parts and imaginary parts, shape (2·2**n, batch)."""
        state = blocks[0][:, :1]
        first = 0
        for qubits, block in zip(self.rows, blocks[1:], strict=True):
            row = angles[first : first + len(qubits)]
            state = block @ rotate(state, row, self.bits[:, qubits], qubits)
            first += len(qubits)
        return state

    def _blocks(self) -> tuple[Tensor, ...]:
        """All variational blocks as real matrices, each of shape (2·2**n, 2·2**n)."""
        phase = (self.weight @ self.bits.T).repeat(1, 1, 2)[..., None, :]
        # A constant times a diagonal exp(iφ): its columns times cos φ, i times them times sin φ.
        factors = torch.addcmul(self.folded * phase.cos(), self.turned, phase.sin())
        product = self.first
        for factor in factors.unbind(1):
            product = factor @ product
        return product.unbind(0)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        stored = state_dict.get(f"{prefix}signature")
        if stored is not None and stored.tolist() != self.signature.tolist():
            raise ModelError(
                f"the weights belong to {_circuit(stored.tolist())}, not to {self.circuit}: "
                "build the model with that circuit"
            )
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _constant(self, name: str, values: NDArray[np.number]) -> None:
        tensor = torch.as_tensor(np.ascontiguousarray(values)).to(self.weight.dtype)
        self.register_buffer(name, tensor, persistent=False)


def _signature(circuit: Circuit) -> list[int]:
    return [
        CHOICES[field.name].index(value) if field.name in CHOICES else value
        for field in fields(circuit)
        for value in [getattr(circuit, field.name)]
    ]


def _circuit(signature: list[int]) -> Circuit:
    """The circuit of a signature."""
    values = {
        field.name: CHOICES[field.name][value] if field.name in CHOICES else value
        for field, value in zip(fields(Circuit), signature, strict=True)
    }
    return Circuit(**values)  # type: ignore[arg-type]


def _real(matrices: NDArray[np.complex128]) -> NDArray[np.float64]:
    """The real matrices that act on (real parts, imaginary parts) as complex ones act."""
    re, im = matrices.real, matrices.imag
    return np.block([[re, -im], [im, re]])


def _grid_phases(n_features: int, state_bits: NDArray[np.int64]) -> NDArray[np.int64]:
    """exp(iφ) of all basis states with each feature at 0, π/2 and π, the last one slowest.

    Shape (2, 2·states, 3**n_features): cosines and sines, each 0 or ±1, twice over the states.
    """
    grid = np.indices((3,) * n_features).reshape(n_features, -1)[::-1]
    quarter_turns = (state_bits[:, :n_features] @ grid) % 4
    return np.array([[1, 0, -1, 0], [0, 1, 0, -1]])[:, np.vstack([quarter_turns] * 2)]


def _inverse_transform(n_features: int) -> NDArray[np.float64]:
    """From values at 0, π/2 and π of each feature to factors of 1, cos x and sin x."""
    one = np.array([[0.5, 0.5, -0.5], [0, 0, 1], [0.5, -0.5, -0.5]])
    result = np.eye(1)
    for _ in range(n_features):
        result = np.kron(result, one)
    return result
