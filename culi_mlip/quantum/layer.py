"""Batched state-vector evaluation of the QDI circuit in torch, in real arithmetic."""

from __future__ import annotations

import math

import torch

from culi_mlip.quantum.circuit import Circuit


class QDILayer(torch.nn.Module):
    """The QDI circuit as a torch module, differentiable any number of times.

    The real and imaginary part of the state are two real tensors, so that ``torch.compile``
    and AOTInductor accept the layer. A block of RX and CNOT gates is a fixed unitary for the
    whole batch: it is built once a call (microseconds) and applied as matrix products. The
    encoding RZ gates are diagonal, a phase for each amplitude.

    Parameters
    ----------
    circuit
        The circuit to evaluate.

    Notes
    -----
    Weights start uniform in [0, 2π): at zero angles the state would stay ``|0…0>``, every
    ⟨Y⟩ would vanish, and so would all gradients with respect to the features.
    """

    def __init__(self, circuit: Circuit) -> None:
        super().__init__()
        self.circuit = circuit
        self.weight = torch.nn.Parameter(2 * math.pi * torch.rand(circuit.weight_shape))
        n = circuit.n_qubits
        dtype = self.weight.dtype
        bits = (torch.arange(2**n)[:, None] >> torch.arange(n - 1, -1, -1)) & 1
        # All constants are 0 or ±1, exact in every precision; norms are powers of two.
        hadamard = _kronecker_power(torch.tensor([[1, 1], [1, -1]]), n)
        to_y = _kronecker_power(torch.tensor([[1, -1j], [1, 1j]]), n)  # maps Y to Z eigenstates
        # Eigenvalue of Pauli Z on each qubit (columns) for each basis state (rows).
        self.register_buffer("z_signs", (1 - 2 * bits).to(dtype), persistent=False)
        self.register_buffer("hadamard", hadamard.to(dtype), persistent=False)
        self.register_buffer("to_y_re", to_y.real.to(dtype), persistent=False)
        self.register_buffer("to_y_im", to_y.imag.to(dtype), persistent=False)
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
        circuit = self.circuit
        blocks_re, blocks_im = self._block_unitaries()
        padding = circuit.n_rows * circuit.n_qubits - circuit.n_features
        rows = torch.nn.functional.pad(features, (0, padding))
        # |0…0> after the first block is the first column of its unitary.
        re, im = blocks_re[0, :, 0], blocks_im[0, :, 0]
        for row in range(circuit.n_rows):
            angles = rows[:, row * circuit.n_qubits : (row + 1) * circuit.n_qubits]
            phase = -0.5 * angles @ self.z_signs.T
            cos, sin = torch.cos(phase), torch.sin(phase)
            re, im = re * cos - im * sin, re * sin + im * cos
            u_re, u_im = blocks_re[row + 1], blocks_im[row + 1]
            if row == circuit.n_rows - 1:  # measure Z in the basis in which it reads Y
                u_re, u_im = _complex_matmul(self.to_y_re, self.to_y_im, u_re, u_im)
            re, im = _complex_matmul(re, im, u_re.T, u_im.T)
        return (re * re + im * im) @ (self.z_signs / 2**circuit.n_qubits)

    def _block_unitaries(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Real and imaginary part of all variational blocks, each (blocks, 2**n, 2**n).

        RX on every qubit is H diag(exp(-i z·θ/2)) H / 2**n with the unnormalised Hadamard
        transform H, since RX = H RZ H; the ring of CNOTs permutes the rows.
        """
        half_angle = -0.5 * self.weight @ self.z_signs.T  # (blocks, depth, 2**n)
        layers_re = self._ring_of_rx(torch.cos(half_angle))
        layers_im = self._ring_of_rx(torch.sin(half_angle))
        re, im = layers_re[:, 0], layers_im[:, 0]
        for layer in range(1, self.circuit.depth):
            re, im = _complex_matmul(layers_re[:, layer], layers_im[:, layer], re, im)
        return re, im

    def _ring_of_rx(self, diagonal: torch.Tensor) -> torch.Tensor:
        rx = (self.hadamard * diagonal[..., None, :]) @ self.hadamard / 2**self.circuit.n_qubits
        return rx[..., self.permutation, :]


def _complex_matmul(
    a_re: torch.Tensor, a_im: torch.Tensor, b_re: torch.Tensor, b_im: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    return a_re @ b_re - a_im @ b_im, a_re @ b_im + a_im @ b_re


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
