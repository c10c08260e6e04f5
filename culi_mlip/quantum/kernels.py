"""Evaluation of circuits for many edges at once, in real arithmetic.

There are two forms of each map. The plain one is made of ordinary operations: tracers
(``torch.compile``, ``torch.export``, ``make_fx``) take it and fuse it, GPUs run it. Eager calls on
the CPU take the other, a ``torch.autograd.Function`` with derivatives in closed form, which touches
memory a fraction as often.

The plain form takes tensors apart by `chunk`, not by views with one more dimension: of those the
torch.export of PyTorch 2.11 concludes that the number of edges is fixed.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

_INTERFACE = 1  # of the native module


def polynomial(angles: Tensor, matrix: Tensor) -> Tensor:
    """Evaluate trigonometric polynomials, linear in (1, cos x, sin x) of each angle.

    Parameters
    ----------
    angles
        In radians, shape (batch, angles).
    matrix
        Coefficients, shape (3·n, 3**(angles - 1)): factors of 1 (n rows), cos (n rows) and sin
        (n rows) of the last angle; in a row those of the other angles, the first one fastest.

    Returns
    -------
    Tensor, shape (batch, n)
    """
    native = None if is_traced() else _native()
    if native is None or not native.takes(angles, matrix):
        return _plain_polynomial(angles, matrix)
    values: Tensor = _Polynomial.apply(angles, matrix)
    return values


def rotate(state: Tensor, angles: Tensor, bits: Tensor, qubits: list[int]) -> Tensor:
    """Multiply each amplitude by exp(iφ), φ the sum of the angles of the qubits that are 1.

    Parameters
    ----------
    state
        Real parts of the amplitudes, then imaginary parts, shape (2·2**n, batch or 1).
    angles
        In radians, shape (qubits, batch).
    bits
        Value of the qubits in each basis state, shape (2**n, len(qubits)).
    qubits
        The qubit of each angle, ascending.

    Returns
    -------
    Tensor, shape (2·2**n, batch)
    """
    if is_traced() or angles.device.type != "cpu":
        return _plain_rotate(state, angles, bits)
    with torch.no_grad():
        phases = _phases(angles.cos(), angles.sin(), qubits, bits.shape[0])
    turned: Tensor = _Rotate.apply(state.unflatten(0, (2, -1)), angles, bits, phases, 1)
    return turned.flatten(0, 1)


def is_traced() -> bool:
    """Whether a tracer or a transform (torch.func) watches, which must see ordinary operations."""
    return (
        torch.compiler.is_compiling()
        or is_in_torch_dispatch_mode()
        or torch._C._are_functorch_transforms_active()
    )


def is_batched(grad: Tensor) -> bool:
    """Whether a gradient stands for many, whose memory only ordinary operations can reach."""
    return is_traced() or torch._C._functorch.is_legacy_batchedtensor(grad)


def _native() -> ModuleType | None:
    # torch.package follows plain imports, and has no place for C++: packaged models take the
    # installed module, if it is there and still the one that they know.
    try:
        module = importlib.import_module("culi_mlip.quantum.native")
    except ImportError:
        return None
    return module if module.INTERFACE == _INTERFACE else None


def _plain_polynomial(angles: Tensor, matrix: Tensor) -> Tensor:
    rows = angles.T.contiguous()
    *others, last = zip(rows.cos(), rows.sin(), strict=True)
    terms = angles.new_ones((1, angles.shape[0]))  # len() would fix the number of edges
    for cos, sin in others:
        terms = torch.cat([terms, terms * cos, terms * sin])
    constant, with_cos, with_sin = (matrix @ terms).chunk(3)
    return torch.addcmul(torch.addcmul(constant, with_cos, last[0]), with_sin, last[1]).T


class _Polynomial(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, angles: Tensor, matrix: Tensor) -> Tensor | None:
        cos, sin = angles.cos(), angles.sin()
        ctx.save_for_backward(angles, matrix, cos, sin)
        return _sweep(cos, sin, matrix)[0]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if is_batched(grad):
            return _plain_gradient(grad, *ctx.saved_tensors[:2])
        with_matrix = ctx.needs_input_grad[1]
        gradients: tuple[Tensor, ...] = _Gradient.apply(grad, *ctx.saved_tensors, with_matrix)
        return gradients


class _Gradient(torch.autograd.Function):
    """Gradients of `_Polynomial`."""

    @staticmethod
    def forward(
        ctx: Any,
        grad: Tensor,
        angles: Tensor,
        matrix: Tensor,
        cos: Tensor,
        sin: Tensor,
        with_matrix: bool,
    ) -> tuple[Tensor | None, ...]:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(grad, angles, matrix, cos, sin)
        gradients: tuple[Tensor | None, ...] = _sweep(
            cos, sin, matrix, grad=grad, with_values=False, with_matrix=with_matrix
        )[1:]
        return gradients

    @staticmethod
    def backward(
        ctx: Any, of_angles: Tensor | None, of_matrix: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        grad, angles, matrix, cos, sin = ctx.saved_tensors
        if of_matrix is not None or of_angles is None or torch.is_grad_enabled():
            return *_plain_second(grad, angles, matrix, of_angles, of_matrix), None, None, None
        second: tuple[Tensor | None, ...] = _sweep(
            cos, sin, matrix, direction=of_angles, grad=grad, with_matrix=ctx.needs_input_grad[2]
        )
        return *second, None, None, None


def _sweep(*arguments: Any, **options: Any) -> tuple[Tensor | None, ...]:
    native = _native()
    assert native is not None  # noqa: S101 (`polynomial` looked)
    results: tuple[Tensor | None, ...] = native.sweep(*arguments, **options)
    return results


def _plain_gradient(grad: Tensor, angles: Tensor, matrix: Tensor) -> tuple[Tensor, ...]:
    with torch.enable_grad():
        inputs = [tensor.detach().requires_grad_() for tensor in (angles, matrix)]
        values = _plain_polynomial(*inputs)
    return torch.autograd.grad(values, inputs, grad)


def _plain_second(
    grad: Tensor,
    angles: Tensor,
    matrix: Tensor,
    of_angles: Tensor | None,
    of_matrix: Tensor | None,
) -> tuple[Tensor | None, ...]:
    """What `_Gradient.backward` returns, for any of its gradients, differentiable once more."""
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        # Aliases: the gradient of the values may itself depend on the angles.
        inputs = [
            tensor.view_as(tensor) if tensor.requires_grad else tensor.detach().requires_grad_()
            for tensor in (grad, angles, matrix)
        ]
        values = _plain_polynomial(*inputs[1:])
        first = torch.autograd.grad(values, inputs[1:], inputs[0], create_graph=True)
        given = [
            (f, g) for f, g in zip(first, (of_angles, of_matrix), strict=True) if g is not None
        ]
        if not given:
            return None, None, None
        return torch.autograd.grad(
            [f for f, _ in given],
            inputs,
            [g for _, g in given],
            create_graph=create_graph,
            allow_unused=True,
        )


def _plain_rotate(state: Tensor, angles: Tensor, bits: Tensor) -> Tensor:
    phase = bits @ angles
    cos, sin = phase.cos(), phase.sin()
    re, im = state.chunk(2)
    return torch.cat([re * cos - im * sin, re * sin + im * cos])


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, state: Tensor, angles: Tensor, bits: Tensor, phases: Tensor, sign: int
    ) -> Tensor:
        (re, im), (cos, sin) = state, phases
        out = phases.new_empty(phases.shape)
        torch.mul(re, cos, out=out[0]).addcmul_(im, sin, value=-sign)
        torch.mul(im, cos, out=out[1]).addcmul_(re, sin, value=sign)
        ctx.save_for_backward(out, angles, bits, phases)
        ctx.sign = sign
        ctx.shared = state.shape[-1] == 1 != phases.shape[-1]
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        out, angles, bits, phases = ctx.saved_tensors
        grad_state = grad_angles = None
        if ctx.needs_input_grad[0]:
            grad_state = _Rotate.apply(grad, angles, bits, phases, -ctx.sign)
            if ctx.shared:
                grad_state = grad_state.sum(-1, keepdim=True)
        if ctx.needs_input_grad[1]:
            grad_angles = ctx.sign * (bits.T @ (out[0] * grad[1] - out[1] * grad[0]))
        return grad_state, grad_angles, None, None, None


def _phases(cos: Tensor, sin: Tensor, qubits: list[int], n_states: int) -> Tensor:
    """Real and imaginary parts of exp(iφ) of all basis states, shape (2, n_states, batch)."""
    out = cos.new_empty((2, n_states, cos.shape[-1]))
    out[0, 0], out[1, 0] = 1, 0
    size = 1
    for qubit in reversed(range(n_states.bit_length() - 1)):  # each doubles what is there
        (re, im), (new_re, new_im) = out[:, :size], out[:, size : 2 * size]
        if qubit in qubits:
            c, s = cos[qubits.index(qubit)], sin[qubits.index(qubit)]
            torch.mul(re, c, out=new_re).addcmul_(im, s, value=-1)
            torch.mul(im, c, out=new_im).addcmul_(re, s)
        else:
            out[:, size : 2 * size] = out[:, :size]
        size *= 2
    return out
