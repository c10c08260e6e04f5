"""Evaluation of circuits for many edges at once, in real arithmetic.

All is made of ordinary operations, which tracers (``torch.compile``, ``torch.export``, ``make_fx``)
take and fuse. Tensors are taken apart by `chunk`, not by views with one more dimension: of those
the torch.export of PyTorch 2.11 concludes that the number of edges is fixed.
"""

from __future__ import annotations

import torch
from torch import Tensor


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
    rows = angles.T.contiguous()
    *others, last = zip(rows.cos(), rows.sin(), strict=True)
    terms = angles.new_ones((1, angles.shape[0]))  # len() would fix the number of edges
    for cos, sin in others:
        terms = torch.cat([terms, terms * cos, terms * sin])
    constant, with_cos, with_sin = (matrix @ terms).chunk(3)
    return torch.addcmul(torch.addcmul(constant, with_cos, last[0]), with_sin, last[1]).T


def rotate(state: Tensor, angles: Tensor, bits: Tensor) -> Tensor:
    """Multiply each amplitude by exp(iφ), φ the sum of the angles of the qubits that are 1.

    Parameters
    ----------
    state
        Real parts of the amplitudes, then imaginary parts, shape (2·2**n, batch or 1).
    angles
        In radians, shape (qubits, batch).
    bits
        Value of the qubits in each basis state, shape (2**n, qubits).

    Returns
    -------
    Tensor, shape (2·2**n, batch)
    """
    phase = bits @ angles
    cos, sin = phase.cos(), phase.sin()
    re, im = state.chunk(2)
    return torch.cat([re * cos - im * sin, re * sin + im * cos])
