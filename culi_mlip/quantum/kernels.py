"""Evaluation of circuits for many edges at once, in real arithmetic.

Batches are in the last axis: everything streams over contiguous memory, and the small matrices of
a circuit act from the left. There are two forms of each map. The plain one is made of ordinary
operations: tracers (``torch.compile``, ``torch.export``, ``make_fx``) take it and fuse it. Eager
calls take the other, a ``torch.autograd.Function`` with a derivative in closed form, which touches
memory a fraction as often.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import is_in_torch_dispatch_mode


def polynomial(angles: Tensor, matrix: Tensor) -> Tensor:
    """Evaluate trigonometric polynomials, linear in (1, cos x, sin x) of each angle.

    Parameters
    ----------
    angles
        In radians, shape (angles, batch).
    matrix
        Coefficients, shape (3·n, 3**(angles - 1)): factors of the last angle by polynomial; those
        of the other angles, the first one fastest.

    Returns
    -------
    Tensor, shape (n, batch)
    """
    terms = _plain_terms(angles[:-1]) if _is_traced() else _Terms.apply(angles[:-1])
    constant, with_cos, with_sin = (matrix @ terms).unflatten(0, (3, -1)).unbind(0)
    last = angles[-1]
    return torch.addcmul(torch.addcmul(constant, with_cos, last.cos()), with_sin, last.sin())


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
    pair = state.unflatten(0, (2, -1))
    if _is_traced():
        return _plain_rotate(pair, angles, bits).flatten(0, 1)
    with torch.no_grad():
        phases = _phases(angles.cos(), angles.sin(), qubits, bits.shape[0])
    turned: Tensor = _Rotate.apply(pair, angles, bits, phases, 1)
    return turned.flatten(0, 1)


def _is_traced() -> bool:
    return torch.compiler.is_compiling() or is_in_torch_dispatch_mode()


def _plain_terms(angles: Tensor) -> Tensor:
    """All products of 1, cos x and sin x of each angle, shape (3**angles, batch)."""
    terms = angles.new_ones((1, angles.shape[1]))
    for c, s in zip(angles.cos(), angles.sin(), strict=True):
        terms = torch.cat([terms, terms * c, terms * s])
    return terms


class _Terms(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, angles: Tensor) -> Tensor:
        cos, sin = angles.cos(), angles.sin()
        terms = angles.new_empty((3 ** len(angles), angles.shape[1]))
        terms[0] = 1
        size = 1
        for c, s in zip(cos, sin, strict=True):
            torch.mul(terms[:size], c, out=terms[size : 2 * size])
            torch.mul(terms[:size], s, out=terms[2 * size : 3 * size])
            size *= 3
        ctx.save_for_backward(angles, cos, sin)
        ctx.terms = terms.detach()
        return terms

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        gradient: Tensor = _TermsGradient.apply(grad, *ctx.saved_tensors, ctx.terms)
        return gradient


class _TermsGradient(torch.autograd.Function):
    """Gradient g of the angles for a gradient h of the terms, and its own gradient.

    With p the terms of the angles before x, those with x are (p, p·cos x, p·sin x). Going back,
    h = (h₀, h₁, h₂) gives Σ p·(h₂·cos x - h₁·sin x) for x and h₀ + h₁·cos x + h₂·sin x for p.
    """

    @staticmethod
    def forward(
        ctx: Any, grad: Tensor, angles: Tensor, cos: Tensor, sin: Tensor, terms: Tensor
    ) -> Tensor:
        ctx.save_for_backward(grad, angles, cos, sin)
        ctx.terms = terms
        result = torch.empty_like(angles)
        size = len(terms)
        for k in reversed(range(len(angles))):
            size //= 3
            h = grad[: 3 * size].unflatten(0, (3, -1))
            p = terms[: 3 * size].unflatten(0, (3, -1))
            torch.sum((p[1] * h[2]).addcmul_(p[2], h[1], value=-1), 0, out=result[k])
            if k:
                grad = torch.addcmul(h[0], h[1], cos[k]).addcmul_(h[2], sin[k])
        return result

    @staticmethod
    def backward(ctx: Any, step: Tensor) -> tuple[Tensor | None, ...]:
        grad, angles, cos, sin = ctx.saved_tensors
        if torch.is_grad_enabled():  # a third derivative is asked for
            return *_plain_second(grad, angles, step), None, None, None
        # grad·(change of the terms along the step), and its derivatives.
        terms = ctx.terms
        change = torch.zeros_like(terms)
        size = 1
        for k in range(len(angles)):
            p, dp = terms[:size], change[:size]
            c, s, new = cos[k], sin[k], change[size : 3 * size].unflatten(0, (2, -1))
            torch.mul(p, -step[k] * s, out=new[0]).addcmul_(dp, c)
            torch.mul(p, step[k] * c, out=new[1]).addcmul_(dp, s)
            size *= 3
        second = torch.empty_like(angles)
        h, q = grad, None  # gradients of the change, of the terms
        for k in reversed(range(len(angles))):
            size //= 3
            p, dp = terms[:size], change[:size]
            c, s, a = cos[k], sin[k], step[k]
            h = h.unflatten(0, (3, -1))
            along = torch.addcmul(h[1] * c, h[2], s)
            across = torch.addcmul(h[2] * c, h[1], s, value=-1)
            total = (dp * across).addcmul_(p, along * a, value=-1)
            if q is not None:
                q = q.unflatten(0, (3, -1))
                total.addcmul_(p, torch.addcmul(q[2] * c, q[1], s, value=-1))
                q = torch.addcmul(q[0], q[1], c).addcmul_(q[2], s).addcmul_(across, a)
            else:
                q = across * a
            torch.sum(total, 0, out=second[k])
            h = h[0] + along
        return change, second, None, None, None


def _plain_second(grad: Tensor, angles: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """What `_TermsGradient.backward` returns, differentiable once more."""
    with torch.enable_grad():
        # Aliases: the gradient of the terms may itself depend on the angles.
        h, x = (
            tensor.view_as(tensor) if tensor.requires_grad else tensor.detach().requires_grad_()
            for tensor in (grad, angles)
        )
        (first,) = torch.autograd.grad(_plain_terms(x), x, h, create_graph=True)
        change, second = torch.autograd.grad(first, (h, x), step, create_graph=True)
    return change, second


def _plain_rotate(state: Tensor, angles: Tensor, bits: Tensor) -> Tensor:
    phase = bits @ angles
    cos, sin = phase.cos(), phase.sin()
    re, im = state
    return torch.stack([re * cos - im * sin, re * sin + im * cos])


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
