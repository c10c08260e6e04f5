"""Batched state-vector evaluation of the QDI circuit in torch, in real arithmetic."""

from __future__ import annotations

import math

import torch

from culi_mlip.quantum.circuit import Circuit


class QDILayer(torch.nn.Module):
    """The QDI circuit as a torch module, differentiable any number of times.

    A complex state of 2**n amplitudes is held as a real vector, real parts first, so that
    ``torch.compile`` and AOTInductor accept the layer; a unitary U then is the real matrix
    [[Re U, -Im U], [Im U, Re U]]. A block of RX and CNOT gates is one such matrix for the whole
    batch, built once a call (microseconds). The encoding RZ gates are diagonal, a phase for
    each amplitude.

    Parameters
    ----------
    circuit
        The circuit to evaluate.

    Notes
    -----
    Weights start uniform in [0, 2π): at zero angles the state would stay ``|0…0>``, every
    ⟨Y⟩ would vanish, and so would all gradients with respect to the features.
    """

    z_signs: torch.Tensor
    hadamard: torch.Tensor
    measurement: torch.Tensor
    permutation: torch.Tensor

    def __init__(self, circuit: Circuit) -> None:
        super().__init__()
        self.circuit = circuit
        self.weight = torch.nn.Parameter(2 * math.pi * torch.rand(circuit.weight_shape))
        n = circuit.n_qubits
        dtype = self.weight.dtype
        bits = (torch.arange(2**n)[:, None] >> torch.arange(n - 1, -1, -1)) & 1
        # All constants are 0 or ±1, exact in every precision; norms are powers of two.
        hadamard = _kronecker_power(torch.tensor([[1, 1], [1, -1]]), n)
        y_to_z = _kronecker_power(torch.tensor([[1, -1j], [1, 1j]]), n)
        # Eigenvalue of Pauli Z on each qubit (columns) for each basis state (rows).
        self.register_buffer("z_signs", (1 - 2 * bits).to(dtype), persistent=False)
        self.register_buffer("hadamard", hadamard.to(dtype), persistent=False)
        self.register_buffer(
            "measurement", _real(y_to_z.real.to(dtype), y_to_z.imag.to(dtype)), persistent=False
        )
        self.register_buffer("permutation", _cnot_ring(circuit), persistent=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Evaluate the circuit.

        Parameters
        ----------
        features
            Angles in radians, shape ``(batch, n_features)``.

        Returns
        -------
        torch.Tensor
            ⟨Y⟩ of each qubit, shape ``(batch, n_qubits)``, each in [-1, 1].
        """
        n, size = self.circuit.n_qubits, 2**self.circuit.n_qubits
        rows = self.circuit.n_rows
        padded = torch.nn.functional.pad(features, (0, rows * n - self.circuit.n_features))
        blocks = self._blocks()
        state = blocks[0, :, 0]  # the first block on |0…0>
        for row in range(rows):
            re, im = state[..., :size], state[..., size:]
            phase = -0.5 * padded[:, row * n : (row + 1) * n] @ self.z_signs.T
            cos, sin = torch.cos(phase), torch.sin(phase)
            encoded = torch.cat([re * cos - im * sin, re * sin + im * cos], dim=-1)
            state = encoded @ blocks[row + 1].T
        # Measure Z in the basis in which it reads Y.
        amplitudes = state @ self.measurement.T
        return (amplitudes * amplitudes) @ (self.z_signs.repeat(2, 1) / size)

    def _blocks(self) -> torch.Tensor:
        """All variational blocks as real matrices, shape (blocks, 2·2**n, 2·2**n).

        RX on every qubit is H diag(exp(-i z·θ/2)) H / 2**n with the unnormalised Hadamard
        transform H, since RX = H RZ H; the ring of CNOTs permutes the rows.
        """
        half_angle = -0.5 * self.weight @ self.z_signs.T  # (blocks, depth, 2**n)
        left = self.hadamard[self.permutation] / 2**self.circuit.n_qubits
        layers = _real(
            (left * torch.cos(half_angle)[..., None, :]) @ self.hadamard,
            (left * torch.sin(half_angle)[..., None, :]) @ self.hadamard,
        )
        product = layers[:, 0]
        for layer in range(1, self.circuit.depth):
            product = layers[:, layer] @ product
        return product


def _real(re: torch.Tensor, im: torch.Tensor) -> torch.Tensor:
    """The real matrix that acts on (real parts, imaginary parts) as re + i·im acts."""
    return torch.cat([torch.cat([re, -im], dim=-1), torch.cat([im, re], dim=-1)], dim=-2)


def _kronecker_power(matrix: torch.Tensor, power: int) -> torch.Tensor:
    result = matrix
    for _ in range(power - 1):
        result = torch.kron(result, matrix)
    return result


def _cnot_ring(circuit: Circuit) -> torch.Tensor:
    """Basis state (before the ring) that each basis state (after it) comes from."""
    n = circuit.n_qubits
    source = []
    for after in range(2**n):
        state = after
        for control, target in reversed(circuit.ring):
            if state >> (n - 1 - control) & 1:
                state ^= 1 << (n - 1 - target)
        source.append(state)
    return torch.tensor(source)
