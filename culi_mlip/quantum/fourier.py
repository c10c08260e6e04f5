"""The Fourier form of a circuit with one row of features: its coefficients from its weights.

The circuit's values are linear in (1, cos x, sin x) of each feature x. They are found from its
values on a grid, each feature at 0, π/2 and π. Matrices and states are tiny whatever the number of
edges, so what they cost is the number of calls: on the CPU, NumPy's are several times as cheap as
PyTorch's, and the gradient is in closed form.
"""

from __future__ import annotations

from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

Array = NDArray[np.floating[Any]]


class Constants(NamedTuple):
    """What the coefficients are made from, besides the weights; n qubits, s = 2·2**n."""

    bits: Tensor  # value of each qubit in each basis state, shape (2**n, n)
    first: Tensor  # constant matrix at the beginning of each of the two blocks, shape (2, s, s)
    # Constant matrix after each diagonal, and i times it, shape (2, depth, s, s).
    folded: Tensor
    turned: Tensor
    measurement: Tensor  # from squares of the amplitudes to expectation values, shape (n, s)
    # Real and imaginary parts of the phases by the features, shape (2, s, 3**n_features).
    grid: Tensor
    # From values on the grid to factors of the terms, shape (3**n_features, 3**n_features).
    inverse: Tensor


def coefficients(weight: Tensor, constants: Constants) -> Tensor:
    """Return the coefficients, as `culi_mlip.quantum.kernels.polynomial` takes them.

    Weights are angles in radians, shape (2, depth, n_qubits); coefficients have the shape
    (3·n_qubits, 3**(n_features - 1)).
    """
    is_numpys = weight.device.type == "cpu" and weight.dtype in (torch.float32, torch.float64)
    if _is_traced() or not is_numpys:
        return _plain_coefficients(weight, constants)
    return _Coefficients.apply(weight, constants)


def blocks(
    weight: Tensor, bits: Tensor, first: Tensor, folded: Tensor, turned: Tensor
) -> tuple[Tensor, ...]:
    """Return all variational blocks as real matrices, each of shape (s, s); see `Constants`."""
    phase = (weight @ bits.T).repeat(1, 1, 2)[..., None, :]
    # A constant times a diagonal exp(iφ): its columns times cos φ, i times them times sin φ.
    factors = torch.addcmul(folded * phase.cos(), turned, phase.sin())
    product = first
    for factor in factors.unbind(1):
        product = factor @ product
    return product.unbind(0)


def grid_phases(n_features: int, state_bits: NDArray[np.int64]) -> NDArray[np.int64]:
    """exp(iφ) of all basis states with each feature at 0, π/2 and π, the last one slowest.

    Shape (2, 2·states, 3**n_features): cosines and sines, each 0 or ±1, twice over the states.
    """
    grid = np.indices((3,) * n_features).reshape(n_features, -1)[::-1]
    quarter_turns = (state_bits[:, :n_features] @ grid) % 4
    return np.array([[1, 0, -1, 0], [0, 1, 0, -1]])[:, np.vstack([quarter_turns] * 2)]


def inverse_transform(n_features: int) -> NDArray[np.float64]:
    """From values at 0, π/2 and π of each feature to factors of 1, cos x and sin x."""
    one = np.array([[0.5, 0.5, -0.5], [0, 0, 1], [0.5, -0.5, -0.5]])
    return reduce(np.kron, [one] * n_features)


def _is_traced() -> bool:
    """Whether a tracer or a transform (torch.func) watches, which must see ordinary operations."""
    return (
        torch.compiler.is_compiling()
        or is_in_torch_dispatch_mode()
        or torch._C._are_functorch_transforms_active()
    )


def _is_batched(grad: Tensor) -> bool:
    """Whether a gradient stands for many, whose memory only ordinary operations can reach."""
    return _is_traced() or torch._C._functorch.is_legacy_batchedtensor(grad)


def _plain_coefficients(weight: Tensor, constants: Constants) -> Tensor:
    first, block = blocks(weight, *constants[:4])
    half = len(block) // 2
    # Columns of a real matrix: the state, and i times the state.
    states = torch.addcmul(
        first[:, :1] * constants.grid[0], first[:, half : half + 1], constants.grid[1]
    )
    values = constants.measurement @ (block @ states).square()
    n_qubits = len(values)
    terms = (values @ constants.inverse).view(n_qubits, 3, -1)
    return terms.transpose(0, 1).reshape(3 * n_qubits, -1)


class _Coefficients(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, constants: Constants) -> Tensor:
        c = [tensor.numpy() for tensor in constants]
        bits, first, folded, turned, measurement, grid, inverse = c
        phase = weight.detach().numpy() @ np.concatenate([bits, bits]).T
        cos, sin = np.cos(phase)[..., None, :], np.sin(phase)[..., None, :]
        factors = folded * cos + turned * sin
        products = [first]
        for layer in range(factors.shape[1]):
            products.append(factors[:, layer] @ products[-1])
        half = first.shape[-1] // 2
        start, block = products[-1]
        states = start[:, :1] * grid[0] + start[:, half : half + 1] * grid[1]
        amplitudes = block @ states
        values = measurement @ (amplitudes * amplitudes) @ inverse
        ctx.save_for_backward(weight)
        ctx.constants, ctx.arrays = constants, (c, cos, sin, factors, products, states, amplitudes)
        n_qubits = len(values)
        terms = values.reshape(n_qubits, 3, -1).transpose(1, 0, 2)
        return torch.from_numpy(np.ascontiguousarray(terms).reshape(3 * n_qubits, -1))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        create_graph = torch.is_grad_enabled()  # for a second derivative of the weights
        if create_graph or _is_batched(grad):
            (weight,) = ctx.saved_tensors
            with torch.enable_grad():
                plain = _plain_coefficients(weight, ctx.constants)
            return *torch.autograd.grad(plain, weight, grad, create_graph=create_graph), None
        c, cos, sin, factors, products, states, amplitudes = ctx.arrays
        bits, first, folded, turned, measurement, grid, inverse = c
        n_qubits, half = len(measurement), first.shape[-1] // 2
        of_values = grad.numpy().reshape(3, n_qubits, -1).transpose(1, 0, 2)
        of_values = of_values.reshape(n_qubits, -1) @ inverse.T
        of_amplitudes = 2 * amplitudes * (measurement.T @ of_values)
        of_states = products[-1][1].T @ of_amplitudes
        of_product = np.zeros_like(first)
        of_product[0, :, ::half] = (of_states * grid).sum(-1).T
        of_product[1] = of_amplitudes @ states.T
        of_phase = np.empty(cos.shape[:2] + cos.shape[-1:], cos.dtype)
        for layer in reversed(range(factors.shape[1])):
            of_factor = of_product @ products[layer].swapaxes(1, 2)
            of_product = factors[:, layer].swapaxes(1, 2) @ of_product
            slope = turned[:, layer] * cos[:, layer] - folded[:, layer] * sin[:, layer]
            of_phase[:, layer] = (of_factor * slope).sum(1)
        return torch.from_numpy((of_phase[..., :half] + of_phase[..., half:]) @ bits), None
