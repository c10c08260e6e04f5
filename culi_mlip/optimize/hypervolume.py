"""Hypervolume, and how much of it points would add."""

from __future__ import annotations

import moocore
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def hypervolume(objectives: Array, reference: Array) -> float:
    """Return the volume that points dominate, up to the reference; all are minimised.

    Objectives have the shape (points, objectives), the reference (objectives,).
    """
    inside = objectives[(objectives < reference).all(axis=1)]
    return float(moocore.hypervolume(inside, ref=reference)) if len(inside) else 0.0


def nondominated(objectives: Array) -> NDArray[np.bool_]:
    """Return which points no other dominates; of equal points, the first. Shape (points,)."""
    if len(objectives) == 0:
        return np.zeros(0, bool)
    return np.asarray(moocore.is_nondominated(objectives), bool)


class Improvement:
    """Hypervolume that a single further point adds to a front, which may be empty.

    The front has the shape (points, objectives), the reference (objectives,).
    """

    def __init__(self, front: Array, reference: Array) -> None:
        self.reference = reference
        inside = front[(front < reference).all(axis=1)]
        self.front = inside[nondominated(inside)]
        if len(reference) == 2:
            order = self.front[self.front[:, 0].argsort()]
            self.starts = np.r_[-np.inf, order[:, 0]]
            self.ends = np.r_[order[:, 0], reference[0]]
            self.heights = np.r_[reference[1], order[:, 1]]

    def __call__(self, objectives: Array) -> Array:
        """Return the improvement of points of shape (m, objectives), shape (m,)."""
        if len(self.reference) == 1:
            best = self.front.min() if len(self.front) else self.reference[0]
            return np.maximum(best - objectives[:, 0], 0.0)
        if len(self.reference) == 2:
            x, y = objectives[:, :1], objectives[:, 1:]
            widths = np.maximum(self.ends - np.maximum(self.starts, x), 0.0)
            return (widths * np.maximum(self.heights - y, 0.0)).sum(axis=1)
        possible = (objectives < self.reference).all(axis=1)
        possible &= ~(self.front[:, None] <= objectives).all(axis=2).any(axis=0)
        gains = np.zeros(len(objectives))
        gains[possible] = [self._exact(point) for point in objectives[possible]]
        return gains

    def with_gradient(self, point: Array) -> tuple[float, Array]:
        """Return the improvement of one point, and its derivatives, shape (objectives,)."""
        if len(self.reference) == 1:
            value = self(point[None])[0]
            return value, np.where(value > 0, -1.0, 0.0)[None]
        if len(self.reference) == 2:
            widths = np.maximum(self.ends - np.maximum(self.starts, point[0]), 0.0)
            rise = np.maximum(self.heights - point[1], 0.0)
            here = (self.starts <= point[0]) & (point[0] < self.ends)
            return float(widths @ rise), np.array([-(rise @ here), -(widths @ (rise > 0))])
        value = self._exact(point)
        gradient = np.zeros(len(point))
        if value > 0:
            steps = 1e-6 * (self.reference - point)
            for i, step in enumerate(steps):
                moved = point.copy()
                moved[i] += step
                gradient[i] = (self._exact(moved) - value) / step
        return value, gradient

    def _exact(self, point: Array) -> float:
        if not (point < self.reference).all():
            return 0.0
        volume = float(np.prod(self.reference - point))
        return volume - hypervolume(np.maximum(self.front, point), self.reference)
