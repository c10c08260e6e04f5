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
from culi_mlip.quantum.kernels import Lower, Raise, Rotate, phase_factors

FOURIER_LIMIT = 5
"""Most features of a single row for which the Fourier form is the faster one."""


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
        angles = features.T.contiguous()
        if self.is_fourier:
            return self._fourier(angles).T
        return (self.measurement @ self._amplitudes(angles).square()).T

    def coefficients(self) -> Tensor:
        """Return the Fourier coefficients of a circuit with one row of features.

        Returns
        -------
        Tensor, shape (3,) * n_features + (n_qubits,)
            Of the products of 1, cos x, sin x of each feature.
        """
        first, block = self._blocks()
        re, im = first[:, :1].unflatten(0, (2, -1))
        cos, sin = self.grid
        amplitudes = block @ torch.cat([re * cos - im * sin, im * cos + re * sin])
        values = self.measurement @ amplitudes.square()
        for _ in range(self.circuit.n_features):  # the last feature first, until all have cycled
            at_0, at_90, at_180 = values.unflatten(-1, (-1, 3)).unbind(-1)
            mean, cosine = (at_0 + at_180) / 2, (at_0 - at_180) / 2
            parts = torch.stack([mean, cosine, at_90 - mean])
            values = parts.movedim(0, 1).flatten(1)
        return values.T.unflatten(0, (3,) * self.circuit.n_features)

    def _fourier(self, angles: Tensor) -> Tensor:
        with torch.no_grad():
            cos, sin = angles.cos(), angles.sin()
        terms = angles.new_ones(1, angles.shape[-1])
        last = self.circuit.n_features - 1
        for k in range(last):
            terms = Raise.apply(terms, angles[k], cos[k], sin[k]).flatten(0, 1)
        # Each new factor became the slowest index: all features but the last, backwards.
        order = [last, last + 1, *reversed(range(last))]
        matrix = self.coefficients().permute(order).reshape(3 * self.circuit.n_qubits, -1)
        products = (matrix @ terms).unflatten(0, (3, -1))
        return Lower.apply(products, angles[last], cos[last], sin[last])

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
        amplitudes = self._amplitudes(features.T.contiguous())
        return self.norm * amplitudes.square().unflatten(0, (2, -1)).sum(0).T

    def _amplitudes(self, angles: Tensor) -> Tensor:
        with torch.no_grad():
            cos, sin = angles.cos(), angles.sin()
        blocks = self._blocks()
        state = blocks[0][:, :1]
        first = 0
        for qubits, block in zip(self.rows, blocks[1:], strict=True):
            row = slice(first, first + len(qubits))
            with torch.no_grad():
                phases = phase_factors(cos[row], sin[row], qubits, self.circuit.n_qubits)
            state = Rotate.apply(
                state.unflatten(0, (2, -1)), angles[row], self.bits[:, qubits], phases, 1
            )
            state = block @ state.flatten(0, 1)
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
    """exp(iφ) of all basis states with each feature at 0, π/2 and π, the last one fastest.

    Shape (2, states, 3**n_features): real and imaginary parts, each 0 or ±1.
    """
    grid = np.indices((3,) * n_features).reshape(n_features, -1)
    quarter_turns = (state_bits[:, :n_features] @ grid) % 4
    return np.array([[1, 0, -1, 0], [0, 1, 0, -1]])[:, quarter_turns]
