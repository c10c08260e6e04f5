"""Radial basis functions through all evaluations, the best kernel chosen for each function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve, solve_triangular
from scipy.linalg.blas import dsyr2k

Array = NDArray[np.float64]


class Kernel(NamedTuple):
    """A radial kernel φ of width 1, as functions of r²."""

    value: Callable[[Array], Array]  # φ
    slope: Callable[[Array], Array]  # dφ/dr / r, finite at 0
    sign: int  # +1 if φ is (conditionally) positive definite, -1 if -φ is


def _logarithm(r2: Array) -> Array:
    return np.log(np.maximum(r2, 1e-300))


KERNELS: dict[str, Kernel] = {
    "cubic": Kernel(lambda r2: r2 * np.sqrt(r2), lambda r2: 3 * np.sqrt(r2), 1),
    "gaussian": Kernel(lambda r2: np.exp(-r2), lambda r2: -2 * np.exp(-r2), 1),
    "multiquadric": Kernel(lambda r2: np.sqrt(1 + r2), lambda r2: 1 / np.sqrt(1 + r2), -1),
    "inverse quadratic": Kernel(lambda r2: 1 / (1 + r2), lambda r2: -2 / (1 + r2) ** 2, 1),
    "inverse multiquadric": Kernel(lambda r2: (1 + r2) ** -0.5, lambda r2: -((1 + r2) ** -1.5), 1),
    "thin-plate spline": Kernel(
        lambda r2: 0.5 * r2 * _logarithm(r2), lambda r2: _logarithm(r2) + 1, 1
    ),
}
"""The six kernels of de Winter et al. (2021)."""

LINEAR = np.inf
"""Scale of values that are interpolated as they are."""

SCALES = (1.0, 0.01)
"""Scales of the logarithms that are tried, in units of the values' median size."""

SMOOTHINGS = (0.0, 1e-4, 1e-3, 1e-2, 1e-1)
"""Weights of the smoothness that leave-one-out chooses from where evaluations are noisy."""

_JITTERS = (1e-11, 1e-9, 1e-7)
_TAIL_KERNEL = 100.0
_WORST = 10.0  # leave-one-out errors beyond this many standard deviations are alike


class Function(NamedTuple):
    """The surrogate of one function."""

    kernel: str  # name of the kernel
    scale: float  # sign(y)·log(1 + |y|/scale) is interpolated; `LINEAR` is y itself
    smoothing: float  # weight of the smoothness; 0 interpolates
    # Root mean square leave-one-out error near the best evaluations, in the function's unit.
    error: float


@dataclass(frozen=True)
class Surrogates:
    """Surrogates of several functions on the same evaluations."""

    functions: tuple[Function, ...]  # what was chosen for each
    points: Array  # evaluated coordinates, shape (n, dimension)
    weights: Array
    tails: Array

    def predict(self, points: Array) -> Array:
        """Return the functions at points of shape (m, dimension), shape (m, functions)."""
        r2 = squared_distances(points, self.points)
        values = _tail(points) @ self.tails
        for kernel, members, weights in self._groups:
            values[:, members] += kernel.value(r2) @ weights
        return self._back(values)

    def with_jacobian(self, point: Array) -> tuple[Array, Array]:
        """Return the functions at one point, shape (functions,), and (functions, dimension)."""
        constants, slopes, curvatures = self._polynomials
        curved = curvatures @ point
        values = constants + (slopes + curved) @ point
        jacobian = slopes + 2 * curved
        difference = point - self.points
        r2 = np.einsum("ij,ij->i", difference, difference)
        for kernel, members, weights in self._groups:
            values[members] += kernel.value(r2) @ weights
            jacobian[members] += (weights.T * kernel.slope(r2)) @ difference
        which, scales = self._logarithmic
        jacobian[which] *= (scales * np.exp(np.minimum(np.abs(values[which]), 600)))[:, None]
        return self._back(values), jacobian

    @cached_property
    def _groups(self) -> list[tuple[Kernel, list[int], Array]]:
        """Each kernel in use, its functions, and their weights."""
        members: dict[str, list[int]] = {}
        for i, function in enumerate(self.functions):
            members.setdefault(function.kernel, []).append(i)
        return [(KERNELS[name], which, self.weights[:, which]) for name, which in members.items()]

    @cached_property
    def _polynomials(self) -> tuple[Array, Array, Array]:
        """Constants, gradients and half the Hessians of the polynomials at zero."""
        n_functions, d = len(self.functions), self.points.shape[1]
        constants, slopes, squares, products = np.split(self.tails.T, [1, 1 + d, 1 + 2 * d], axis=1)
        curvatures = np.zeros((n_functions, d, d))
        i, j = _pairs(d)
        curvatures[:, np.arange(d), np.arange(d)] = squares
        curvatures[:, i, j] = curvatures[:, j, i] = products / 2
        return constants[:, 0], slopes, curvatures

    @cached_property
    def _logarithmic(self) -> tuple[NDArray[np.bool_], Array]:
        """Which functions are interpolated as logarithms, and the scales of those."""
        scales = np.array([f.scale for f in self.functions])
        return scales != LINEAR, scales[scales != LINEAR]

    def _back(self, values: Array) -> Array:
        which, scales = self._logarithmic
        values[..., which] = _exp(values[..., which], scales)
        return values


def fit(
    points: Array,
    values: Array,
    *,
    focus: NDArray[np.int64],
    kernels: Sequence[str] = tuple(KERNELS),
    noisy: bool = False,
) -> Surrogates:
    """Fit all functions, with the kernel and transform of least leave-one-out error for each.

    One factorisation a kernel serves all functions and transforms, and gives the
    leave-one-out errors. Beside each kernel stands a polynomial of squares; the first kernel is
    tried with products of coordinates too, where there are evaluations enough.

    Parameters
    ----------
    points
        Evaluated coordinates, shape (n, dimension).
    values
        Shape (n, functions).
    focus
        Evaluations whose errors count, as indices.
    kernels
        Names of the kernels to choose from.
    noisy
        Whether to choose a smoothing too.

    References
    ----------
    de Winter, van Stein, Bäck, EMO 2021, LNCS 12654, 270 (2021).
    Rippa, Adv. Comput. Math. 11, 193 (1999): leave-one-out errors of one factorisation.
    """
    n, n_functions = values.shape
    sizes = np.median(np.abs(values), axis=0)
    sizes[sizes == 0] = 1.0
    scales = [np.full(n_functions, LINEAR), *(factor * sizes for factor in SCALES)]
    targets = np.hstack([values, *(_log(values, scale) for scale in scales[1:])])
    spread = values.std(axis=0)
    spread[spread == 0] = 1.0
    best = [Function(kernels[0], LINEAR, 0.0, np.inf)] * n_functions
    solutions: list[Array] = [np.empty(0)] * n_functions
    r2 = squared_distances(points, points)
    tail = _tail(points)
    n_tail, n_squares = tail.shape[1], 1 + 2 * points.shape[1]
    polynomials = [_polynomial(tail[:, :n_squares])]
    if n >= 2 * n_tail > 2 * n_squares:
        polynomials.append(_polynomial(tail))
    tried = [(name, polynomials[0]) for name in kernels]
    tried += [(kernels[0], polynomial) for polynomial in polynomials[1:]]
    for name, polynomial in tried:
        phi = KERNELS[name].value(r2)
        for smoothing in SMOOTHINGS if noisy else SMOOTHINGS[:1]:
            solved = _solve(phi, polynomial, targets, KERNELS[name].sign, smoothing, focus)
            if solved is None:
                continue
            solution, left_out = solved
            solution = np.pad(solution, ((0, n + n_tail - len(solution)), (0, 0)))
            guesses = np.split(targets[focus] - left_out, len(scales), axis=1)
            guesses[1:] = [_exp(g, s) for g, s in zip(guesses[1:], scales[1:], strict=True)]
            wrong = np.fmin(np.abs(np.array(guesses) - values[focus]) / spread, _WORST)
            errors = np.sqrt((wrong**2).mean(axis=1)) * spread  # (transforms, functions)
            for i, transform in enumerate(errors.argmin(axis=0)):
                if errors[transform, i] < best[i].error:
                    error = float(errors[transform, i])
                    best[i] = Function(name, scales[transform][i], smoothing, error)
                    solutions[i] = solution[:, i + n_functions * transform]
    if any(f.error == np.inf for f in best):  # nothing could be solved: the mean
        mean = np.zeros(n + n_tail)
        for i, function in enumerate(best):
            if function.error == np.inf:
                best[i] = function._replace(error=float(spread[i]))
                solutions[i] = mean.copy()
                solutions[i][n] = values[:, i].mean()
    stacked = np.stack(solutions, axis=1)
    return Surrogates(tuple(best), points, stacked[:n], stacked[n:])


class Uncertainty:
    """How little is known at a point, from 0 at known points to 1 far from all.

    The power function of the inverse multiquadric kernel, the standard deviation of a Gaussian
    process of unit variance. Known points are coordinates, shape (n, dimension).
    """

    def __init__(self, points: Array) -> None:
        self.points = points
        self.kernel = KERNELS["inverse multiquadric"]

    @cached_property
    def _factor(self) -> tuple[Array, bool]:
        phi = self.kernel.value(squared_distances(self.points, self.points))
        phi[np.diag_indices(len(phi))] += 1e-8
        factor, lower = cho_factor(phi.T, lower=True, overwrite_a=True, check_finite=False)
        return factor, bool(lower)

    def __call__(self, points: Array) -> Array:
        """Return the uncertainty at points of shape (m, dimension), shape (m,)."""
        phi = self.kernel.value(squared_distances(self.points, points))
        reduced = solve_triangular(self._factor[0], phi, lower=True, check_finite=False)
        return np.sqrt(np.maximum(1 - np.einsum("ij,ij->j", reduced, reduced), 0.0))

    def with_gradient(self, point: Array) -> tuple[float, Array]:
        """Return the uncertainty at one point and its gradient, shape (dimension,)."""
        difference = point - self.points
        r2 = np.einsum("ij,ij->i", difference, difference)
        phi = self.kernel.value(r2)
        weights = cho_solve(self._factor, phi, check_finite=False)
        value = float(np.sqrt(max(1 - phi @ weights, 1e-16)))
        return value, -difference.T @ (self.kernel.slope(r2) * weights) / value


def squared_distances(a: Array, b: Array) -> Array:
    """Return squared distances between two sets of points, shape (len(a), len(b))."""
    r2 = -2 * (a @ b.T)
    r2 += np.einsum("ij,ij->i", a, a)[:, None]
    r2 += np.einsum("ij,ij->i", b, b)[None]
    return np.maximum(r2, 0.0, out=r2)


class _Polynomial(NamedTuple):
    """The polynomial at all points, and an orthonormal basis of its independent columns."""

    tail: Array
    columns: NDArray[np.int64]
    basis: Array
    triangle: Array


def _polynomial(tail: Array) -> _Polynomial:
    n, n_tail = tail.shape
    columns = _independent(tail) if n > n_tail + 1 else np.arange(0)
    return _Polynomial(tail, columns, *np.linalg.qr(tail[:, columns]))


def _solve(
    phi: Array,
    polynomial: _Polynomial,
    targets: Array,
    sign: int,
    smoothing: float,
    focus: NDArray[np.int64],
) -> tuple[Array, Array] | None:
    """Weights and tail of all targets, and the leave-one-out residuals of the focus.

    Weights are orthogonal to the polynomials: there the kernel matrix is positive definite, and
    one Cholesky factorisation, half the cost of one of the saddle-point system, has them.
    """
    tail, columns, basis, triangle = polynomial
    n, n_tail = tail.shape
    unit = np.abs(phi).mean()
    right = np.zeros((n, targets.shape[1] + len(focus)))
    right[:, : targets.shape[1]] = targets
    right[focus, targets.shape[1] + np.arange(len(focus))] = 1.0
    matrix = sign * phi
    if len(columns):
        along = matrix @ basis  # from here on the matrix within the basis is replaced by a number
        half = along - 0.5 * basis @ (basis.T @ along + unit * np.eye(len(columns)))
        matrix = dsyr2k(-1.0, half, basis, 1.0, matrix.T, lower=1, overwrite_c=1)
        right -= basis @ (basis.T @ right)
    else:  # too few evaluations: the least polynomial that fits, by a kernel of its own
        matrix += _TAIL_KERNEL * (tail @ tail.T)
    factor = _cholesky(matrix, unit, smoothing)
    if factor is None:
        return None
    solved = cho_solve(factor, right, overwrite_b=True, check_finite=False)
    if not np.isfinite(solved).all():
        return None
    weights, inverse = solved[:, : targets.shape[1]], solved[:, targets.shape[1] :]
    coefficients = np.zeros((n_tail, targets.shape[1]))
    if len(columns):
        rest = basis.T @ targets - along.T @ weights
        coefficients[columns] = solve_triangular(triangle, rest, check_finite=False)
    else:
        coefficients = _TAIL_KERNEL * (tail.T @ weights)
    diagonal = inverse[focus, np.arange(len(focus))]
    with np.errstate(all="ignore"):
        return np.vstack([sign * weights, coefficients]), weights[focus] / diagonal[:, None]


def _cholesky(matrix: Array, unit: float, smoothing: float) -> tuple[Array, bool] | None:
    """Factorise with the least ridge that rounding allows."""
    for jitter in _JITTERS:
        ridged = matrix.copy(order="F")
        ridged[np.diag_indices(len(matrix))] += unit * (jitter + smoothing)
        try:
            factor, _ = cho_factor(ridged, lower=True, overwrite_a=True, check_finite=False)
        except (LinAlgError, ValueError):
            continue
        return factor, True
    return None


def _tail(points: Array) -> Array:
    """Constant, coordinates, their squares, then products of two, shape (points, columns)."""
    i, j = _pairs(points.shape[1])
    products = points[:, i] * points[:, j]
    return np.hstack([np.ones((len(points), 1)), points, points**2, products])


@cache
def _pairs(d: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return np.triu_indices(d, 1)


def _independent(tail: Array) -> NDArray[np.int64]:
    """Columns that no columns before them add up to: categories, two-valued parameters."""
    diagonal = np.abs(np.diag(np.linalg.qr(tail, mode="r")))
    return np.flatnonzero(diagonal > 1e-8 * np.sqrt(len(tail)))


def _log(values: Array, scales: Array) -> Array:
    return np.sign(values) * np.log1p(np.abs(values) / scales)


def _exp(values: Array, scales: Array | float) -> Array:
    return np.sign(values) * np.expm1(np.minimum(np.abs(values), 600.0)) * scales
