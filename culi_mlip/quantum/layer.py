"""The QDI circuit as a torch module, in real arithmetic."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from culi_mlip.errors import CuliError, ModelError
from culi_mlip.quantum.circuit import Circuit
from culi_mlip.quantum.compiler import bits, compiled
from culi_mlip.quantum.fourier import (
    Constants,
    blocks,
    coefficients,
    grid_phases,
    inverse_transform,
)
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
            self._constant("grid", grid_phases(circuit.n_features, state_bits))
            self._constant("inverse", inverse_transform(circuit.n_features))

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

        Raises
        ------
        ModelError
            If the features have another shape.
        """
        return self._values(features, self._folded())

    def change_from_zero(self, features: Tensor) -> Tensor:
        """Return `forward` minus its value at zero angles; the weights are folded once for both."""
        folded = self._folded()
        zeros = features.new_zeros(1, self.circuit.n_features)
        return self._values(features, folded) - self._values(zeros, folded)

    def coefficients(self) -> Tensor:
        """Return the coefficients of a circuit in its Fourier form, as `polynomial` takes them.

        Returns
        -------
        Tensor, shape (3·n_qubits, 3**(n_features - 1))
        """
        constants = Constants(
            *(self.bits, self.first, self.folded, self.turned),
            *(self.measurement, self.grid, self.inverse),
        )
        return coefficients(self.weight, constants)

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
        amplitudes = self._amplitudes(features, self._blocks())
        return self.norm * amplitudes.square().unflatten(0, (2, -1)).sum(0).T

    def _folded(self) -> tuple[Tensor, ...]:
        """The weights, as the evaluation takes them."""
        return (self.coefficients(),) if self.is_fourier else self._blocks()

    def _blocks(self) -> tuple[Tensor, ...]:
        return blocks(self.weight, self.bits, self.first, self.folded, self.turned)

    def _values(self, features: Tensor, folded: tuple[Tensor, ...]) -> Tensor:
        if features.shape[1:] != (self.circuit.n_features,):
            raise ModelError(
                f"features of shape {tuple(features.shape)}: give (batch, "
                f"{self.circuit.n_features}), as many as the circuit takes"
            )
        if self.is_fourier:
            return polynomial(features, folded[0])
        return (self.measurement @ self._amplitudes(features, folded).square()).T

    def _amplitudes(self, features: Tensor, blocks: tuple[Tensor, ...]) -> Tensor:
        """Amplitudes of all outcomes, real parts and imaginary parts, shape (2·2**n, batch)."""
        angles = features.T.contiguous()  # batches last: everything streams over memory
        state = blocks[0][:, :1]
        first = 0
        for qubits, block in zip(self.rows, blocks[1:], strict=True):
            row = angles[first : first + len(qubits)]
            state = block @ rotate(state, row, self.bits[:, qubits])
            first += len(qubits)
        return state

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        stored = state_dict.get(f"{prefix}signature")
        if stored is not None:
            # Fields that were added to circuits since had their defaults.
            belongs = [*stored.tolist(), *_signature(Circuit())[len(stored) :]]
            if belongs != _signature(self.circuit):
                raise ModelError(
                    f"the weights belong to {_described(belongs)}, not to {self.circuit}: "
                    "build the model with that circuit"
                )
            state_dict[f"{prefix}signature"] = self.signature
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _constant(self, name: str, values: NDArray[np.number]) -> None:
        tensor = torch.as_tensor(np.ascontiguousarray(values)).to(self.weight.dtype)
        self.register_buffer(name, tensor, persistent=False)


def _signature(circuit: Circuit) -> list[int]:
    values = []
    for field in fields(circuit):
        value, allowed = getattr(circuit, field.name), field.metadata["allowed"]
        values.append(value if isinstance(allowed, range) else allowed.index(value))
    return values


def _described(signature: list[int]) -> str:
    """The circuit of a signature, in words."""
    try:
        values: dict[str, Any] = {}
        for field, value in zip(fields(Circuit), signature, strict=True):
            allowed = field.metadata["allowed"]
            values[field.name] = value if isinstance(allowed, range) else allowed[value]
        return str(Circuit(**values))
    except (ValueError, IndexError, CuliError):
        return f"a circuit that this version does not know (signature {signature})"


def _real(matrices: NDArray[np.complex128]) -> NDArray[np.float64]:
    """The real matrices that act on (real parts, imaginary parts) as complex ones act."""
    re, im = matrices.real, matrices.imag
    return np.block([[re, -im], [im, re]])
