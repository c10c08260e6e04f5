"""The circuit as hardware would run it: finite shots, depolarising noise, through PennyLane."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from culi_mlip.errors import CuliError
from culi_mlip.quantum.circuit import Circuit
from culi_mlip.quantum.compiler import bits
from culi_mlip.quantum.fourier import inverse_transform
from culi_mlip.quantum.layer import FOURIER_LIMIT, QDILayer


class NoisyLayer(torch.nn.Module):
    """A trained QDI layer, measured as on hardware.

    Each expectation value is the mean over `shots` measurements of all qubits. The gradient with
    respect to the features is measured too, by parameter shift: two further circuits a feature,
    exact for rotations and any noise between them. Weights are constants.

    Parameters
    ----------
    layer
        The trained layer.
    shots
        Measurements of each circuit; ``None`` for exact expectation values.
    depolarising
        Probability p that a qubit is depolarised (X, Y or Z, p/3 each) after each gate on it.
    seed
        Seed of the measurements.

    Raises
    ------
    CuliError
        If the shots or the probability are out of range.
    """

    def __init__(
        self, layer: QDILayer, shots: int | None = None, depolarising: float = 0.0, seed: int = 0
    ) -> None:
        super().__init__()
        if shots is not None and shots < 1:
            raise CuliError(f"circuit with {shots} shots: give at least 1")
        if not 0 <= depolarising <= 1:
            raise CuliError(f"depolarising probability {depolarising}: give one of 0 to 1")
        if seed < 0:
            raise CuliError(f"seed {seed} of the measurements: give at least 0")
        circuit = layer.circuit
        weights = layer.weight.detach().double().numpy(force=True)
        self.outcomes = outcomes(circuit, weights, depolarising)
        self.signs = 1.0 - 2.0 * bits(circuit.n_qubits)
        self.zero = self.outcomes(np.zeros((1, circuit.n_features))) @ self.signs
        self.shots = shots
        self.generator = np.random.default_rng(seed)

    def forward(self, features: Tensor) -> Tensor:
        """Measure the expectation values, shape ``(batch, n_qubits)``."""
        return _Measured.apply(features, self.measure)

    def change_from_zero(self, features: Tensor) -> Tensor:
        """Return `forward` minus its value at zero angles.

        That value is a constant of the model, measured once and for all: it has the noise of
        the gates, but no shot noise.
        """
        return self(features) - _as(self.zero, features)

    def measure(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Expectation values of features, shapes (batch, n_features) and (batch, n_qubits)."""
        if len(features) == 0:
            return np.empty((0, self.signs.shape[1]))
        probabilities = self.outcomes(features)
        if self.shots is not None:
            probabilities = np.clip(probabilities, 0, None)
            probabilities /= probabilities.sum(axis=1, keepdims=True)
            probabilities = self.generator.multinomial(self.shots, probabilities) / self.shots
        return probabilities @ self.signs


Outcomes = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def outcomes(circuit: Circuit, weights: NDArray[np.float64], depolarising: float) -> Outcomes:
    """Return the probabilities of the outcomes of measuring all qubits, as a function of features.

    PennyLane's default.qubit gives them, default.mixed with noise. Whatever the noise, they are
    linear in (1, cos x, sin x) of each feature, so that with one row of few features PennyLane is
    asked at 0, π/2 and π of each only.

    Weights are angles in radians, of the circuit's `weight_shape`. Features have the shape (batch,
    n_features), probabilities (batch, 2**n_qubits); see `Circuit.outcomes`.
    """
    direct = circuit.outcomes(depolarising)
    n = circuit.n_features
    if circuit.n_rows > 1 or n > FOURIER_LIMIT:
        return lambda features: np.atleast_2d(direct(features, weights))
    grid = np.indices((3,) * n).reshape(n, -1)[::-1].T * (math.pi / 2)
    factors = inverse_transform(n).T @ direct(grid, weights)

    def probabilities(features: NDArray[np.float64]) -> NDArray[np.float64]:
        terms = np.ones((len(features), 1))
        for x in features.T:
            basis = np.stack([np.ones_like(x), np.cos(x), np.sin(x)], axis=1)
            terms = (basis[:, :, None] * terms[:, None, :]).reshape(len(features), -1)
        return terms @ factors

    return probabilities


class _Measured(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, measure: Outcomes) -> Tensor:
        ctx.save_for_backward(features)
        ctx.measure = measure
        return _as(measure(features.detach().double().numpy(force=True)), features)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (features,) = ctx.saved_tensors
        return _MeasuredGradient.apply(grad, features, ctx.measure), None


class _MeasuredGradient(torch.autograd.Function):
    """The parameter-shift rule."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, features: Tensor, measure: Outcomes) -> Tensor:
        angles = features.detach().double().numpy(force=True)
        of_values = grad.detach().double().numpy(force=True)
        result = np.empty_like(angles)
        for k in range(angles.shape[1]):
            shift = np.zeros(angles.shape[1])
            shift[k] = math.pi / 2
            slopes = (measure(angles + shift) - measure(angles - shift)) / 2
            result[:, k] = (of_values * slopes).sum(axis=1)
        return _as(result, features)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> None:
        raise RuntimeError("measured gradients cannot be differentiated")


def _as(values: NDArray[np.float64], like: Tensor) -> Tensor:
    return torch.as_tensor(values, dtype=like.dtype, device=like.device)
