"""Real-arithmetic kernels with closed-form derivatives, differentiable any number of times.

Batches are in the last axis: each kernel then streams over contiguous memory, and the small
matrices of a circuit act from the left. Every kernel is a linear map that depends on angles x;
its derivative is built from such kernels again. Cosines and sines (or phases) of x come as
arguments without a gradient, so that they are computed once: the gradient is that of x.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Raise(torch.autograd.Function):
    """p ↦ (p, p·cos x, p·sin x): one more factor of a trigonometric polynomial.

    Shapes: p (terms, batch), x (batch,), result (3, terms, batch).
    """

    @staticmethod
    def forward(ctx: Any, p: Tensor, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Apply the map."""
        out = p.new_empty((3, *p.shape))
        out[0] = p
        torch.mul(p, cos, out=out[1])
        torch.mul(p, sin, out=out[2])
        ctx.save_for_backward(out, x, cos, sin)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of p and x."""
        out, x, cos, sin = ctx.saved_tensors
        grad_p = Lower.apply(grad, x, cos, sin) if ctx.needs_input_grad[0] else None
        grad_x = (out[1] * grad[2] - out[2] * grad[1]).sum(0) if ctx.needs_input_grad[1] else None
        return grad_p, grad_x, None, None


class Lower(torch.autograd.Function):
    """t ↦ t₀ + t₁·cos x + t₂·sin x: the transpose of `Raise`.

    Shapes: t (3, terms, batch), x (batch,), result (terms, batch).
    """

    @staticmethod
    def forward(ctx: Any, t: Tensor, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Apply the map."""
        ctx.save_for_backward(t, x, cos, sin)
        return torch.addcmul(t[0], t[1], cos).addcmul_(t[2], sin)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of t and x."""
        t, x, cos, sin = ctx.saved_tensors
        grad_t = Raise.apply(grad, x, cos, sin)
        grad_x = None
        if ctx.needs_input_grad[1]:
            grad_x = (grad_t[1] * t[2] - grad_t[2] * t[1]).sum(0)
        return grad_t, grad_x, None, None


class Rotate(torch.autograd.Function):
    """ψ ↦ exp(i·sign·φ(x))·ψ with the phases φ = bits·x of all basis states.

    Shapes: state ψ (2, states, batch), real and imaginary parts; x (qubits, batch), bits
    (states, qubits), phases (2, states, batch) as from `phase_factors`. A state whose batch has
    length 1 serves all.
    """

    @staticmethod
    def forward(
        ctx: Any, state: Tensor, x: Tensor, bits: Tensor, phases: Tensor, sign: int
    ) -> Tensor:
        """Apply the map."""
        (re, im), (cos, sin) = state, phases
        out = phases.new_empty(phases.shape)
        torch.mul(re, cos, out=out[0]).addcmul_(im, sin, value=-sign)
        torch.mul(im, cos, out=out[1]).addcmul_(re, sin, value=sign)
        ctx.save_for_backward(out, x, bits, phases)
        ctx.sign = sign
        ctx.shared = state.shape[-1] == 1 != phases.shape[-1]
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of the state and x."""
        out, x, bits, phases = ctx.saved_tensors
        grad_state = grad_x = None
        if ctx.needs_input_grad[0]:
            grad_state = Rotate.apply(grad, x, bits, phases, -ctx.sign)
            if ctx.shared:
                grad_state = grad_state.sum(-1, keepdim=True)
        if ctx.needs_input_grad[1]:
            grad_x = ctx.sign * (bits.T @ (out[0] * grad[1] - out[1] * grad[0]))
        return grad_state, grad_x, None, None, None


def phase_factors(cos: Tensor, sin: Tensor, qubits: list[int], n_qubits: int) -> Tensor:
    """Return exp(iφ) of all basis states, φ the sum of the angles of the qubits that are 1.

    Parameters
    ----------
    cos, sin
        Of the angles, shape (len(qubits), batch).
    qubits
        The qubit of each angle.
    n_qubits
        All qubits.

    Returns
    -------
    Tensor, shape (2, 2**n_qubits, batch)
        Real and imaginary parts.
    """
    out = cos.new_empty((2, 2**n_qubits, cos.shape[-1]))
    out[0, 0], out[1, 0] = 1, 0
    for qubit in reversed(range(n_qubits)):  # each doubles what is there
        size = 2 ** (n_qubits - 1 - qubit)
        (re, im), (new_re, new_im) = out[:, :size], out[:, size : 2 * size]
        if qubit in qubits:
            c, s = cos[qubits.index(qubit)], sin[qubits.index(qubit)]
            torch.mul(re, c, out=new_re).addcmul_(im, s, value=-1)
            torch.mul(im, c, out=new_im).addcmul_(re, s)
        else:
            out[:, size : 2 * size] = out[:, :size]
    return out
