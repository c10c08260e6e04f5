"""The space that is searched: real, integer and categorical parameters as points of a cube."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from culi_mlip.errors import SpaceError

Array = NDArray[np.float64]

_ONE_HOT = math.sqrt(2.0)
"""Coordinate of the chosen category: two categories are as far apart as two ends of a range."""


@dataclass(frozen=True)
class Real:
    """A real number from `low` to `high`, both included.

    Parameters
    ----------
    low, high
        Bounds.
    log
        Whether ratios matter rather than differences.
    """

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Integer:
    """An integer from `low` to `high`, both included; parameters as of `Real`."""

    low: int
    high: int
    log: bool = False


@dataclass(frozen=True, init=False)
class Categorical:
    """One of several choices without an order.

    Parameters
    ----------
    *choices
        At least two, all different.
    """

    choices: tuple[Any, ...]

    def __init__(self, *choices: Any) -> None:
        object.__setattr__(self, "choices", choices)


Parameter = Real | Integer | Categorical


class Space:
    """Named parameters, and their points as coordinates.

    A real or integer parameter is one coordinate from -1 to 1; a categorical one is a coordinate
    for each choice, √2 for the chosen one and 0 for the others.

    Parameters
    ----------
    **parameters
        The parameters by name.

    Attributes
    ----------
    parameters
        As given.
    dimension
        Number of coordinates.
    lower, upper
        Bounds of the coordinates, shape (dimension,).
    is_continuous
        Which coordinates take any value, shape (dimension,).

    Raises
    ------
    SpaceError
        If a parameter is impossible: bounds reversed, a logarithmic range that includes zero, a
        categorical of one.
    """

    def __init__(self, **parameters: Parameter) -> None:
        if not parameters:
            raise SpaceError("the search space holds no parameter: give at least one")
        for name, parameter in parameters.items():
            _check(name, parameter)
        self.parameters: dict[str, Parameter] = dict(parameters)
        self._places: dict[str, slice] = {}
        start = 0
        for name, parameter in parameters.items():
            width = len(parameter.choices) if isinstance(parameter, Categorical) else 1
            self._places[name] = slice(start, start + width)
            start += width
        self.dimension = start
        self.lower, self.upper = -np.ones(start), np.ones(start)
        self.is_continuous = np.zeros(start, bool)
        for name, place in self._places.items():
            if isinstance(parameters[name], Categorical):
                self.lower[place], self.upper[place] = 0.0, _ONE_HOT
            self.is_continuous[place] = isinstance(parameters[name], Real)

    @classmethod
    def box(cls, lower: ArrayLike, upper: ArrayLike) -> Space:
        """Return a space of real parameters x0, x1, … between bounds."""
        pairs = zip(np.ravel(lower), np.ravel(upper), strict=True)
        return cls(**{f"x{i}": Real(float(a), float(b)) for i, (a, b) in enumerate(pairs)})

    @property
    def n_points(self) -> float:
        """Number of different points; infinity if a parameter is real."""
        numbers = [
            len(p.choices) if isinstance(p, Categorical)
            else math.inf if isinstance(p, Real)
            else p.high - p.low + 1
            for p in self.parameters.values()
        ]  # fmt: skip
        return math.prod(numbers)

    def encode(self, point: Mapping[str, Any]) -> Array:
        """Return the coordinates of a point, shape (dimension,).

        Raises
        ------
        SpaceError
            If a parameter is missing, unknown or out of its range.
        """
        if point.keys() != self.parameters.keys():
            wrong = sorted(point.keys() ^ self.parameters.keys())
            raise SpaceError(
                f"a point that lacks or adds {', '.join(wrong)}: the space has "
                f"{', '.join(self.parameters)}"
            )
        coordinates = np.zeros(self.dimension)
        for name, place in self._places.items():
            coordinates[place] = _encode(name, self.parameters[name], point[name])
        return coordinates

    def decode(self, coordinates: ArrayLike) -> dict[str, Any]:
        """Return the point at coordinates, or the nearest one that can be evaluated."""
        values = np.asarray(coordinates, float)
        return {
            name: _decode(self.parameters[name], values[place])
            for name, place in self._places.items()
        }

    def snap(self, coordinates: Array) -> Array:
        """Return the nearest coordinates that can be evaluated, shape (points, dimension)."""
        result = np.clip(coordinates, self.lower, self.upper)
        for name, place in self._places.items():
            parameter = self.parameters[name]
            if isinstance(parameter, Categorical):
                chosen = result[:, place].argmax(axis=1)
                result[:, place] = _ONE_HOT * (chosen[:, None] == np.arange(len(parameter.choices)))
            elif isinstance(parameter, Integer):
                values = np.round(_from_unit(parameter, result[:, place.start]))
                result[:, place.start] = _to_unit(parameter, values)
        return result

    def steps(self, rng: np.random.Generator, coordinates: Array, scale: ArrayLike) -> Array:
        """Return random neighbours of points, shape (points, dimension).

        Each parameter of a point changes with probability 1/√(parameters), at least one does:
        real ones by a normal step, integers by that or by one, categories to any other.

        Parameters
        ----------
        rng
            Source of randomness.
        coordinates
            Points, shape (points, dimension).
        scale
            Standard deviation of the normal steps, shape (points,).
        """
        n, names = len(coordinates), list(self._places)
        changes = rng.random((n, len(names))) < 1 / math.sqrt(len(names))
        changes[np.arange(n), rng.integers(len(names), size=n)] = True
        result = coordinates.copy()
        normal = rng.normal(size=(n, self.dimension)) * np.broadcast_to(scale, n)[:, None]
        uniform = rng.random((n, self.dimension))
        for column, (name, place) in enumerate(self._places.items()):
            parameter, rows = self.parameters[name], changes[:, column]
            if isinstance(parameter, Categorical):
                result[rows, place] = uniform[rows, place]
                continue
            step = normal[rows, place.start]
            if isinstance(parameter, Integer):
                value = _from_unit(parameter, result[rows, place.start])
                one = np.abs(_to_unit(parameter, value + 1) - result[rows, place.start])
                step = np.sign(step) * np.maximum(np.abs(step), one)
            result[rows, place.start] += step
        return self.snap(result)


def _check(name: str, parameter: Parameter) -> None:
    if isinstance(parameter, Categorical):
        if len(parameter.choices) < 2:
            raise SpaceError(
                f"parameter {name}: a categorical of {len(parameter.choices)}: give at least two "
                "choices, or leave it out of the space"
            )
        if any(c in parameter.choices[:i] for i, c in enumerate(parameter.choices)):
            raise SpaceError(f"parameter {name}: a choice is given twice: {parameter.choices}")
        return
    if not isinstance(parameter, (Real, Integer)):
        raise SpaceError(
            f"parameter {name} is a {type(parameter).__name__}: give Real, Integer or Categorical"
        )
    low, high = parameter.low, parameter.high
    if not (math.isfinite(low) and math.isfinite(high)):
        raise SpaceError(f"parameter {name}: bounds {low} and {high}: give finite numbers")
    if isinstance(parameter, Integer) and (low != int(low) or high != int(high)):
        raise SpaceError(f"parameter {name}: bounds {low} and {high}: give integers")
    if not low < high:
        raise SpaceError(
            f"parameter {name}: bounds {low} and {high}: the lower must be less than the upper one"
        )
    if parameter.log and low <= 0:
        raise SpaceError(
            f"parameter {name}: a logarithmic range from {low}: it must start above zero"
        )


def _to_unit(parameter: Real | Integer, values: Any) -> Any:
    low, high = _scale(parameter)
    values = np.log(values) if parameter.log else values
    return 2 * (values - low) / (high - low) - 1


def _from_unit(parameter: Real | Integer, values: Any) -> Any:
    low, high = _scale(parameter)
    values = low + (high - low) * (values + 1) / 2
    return np.exp(values) if parameter.log else values


def _scale(parameter: Real | Integer) -> tuple[float, float]:
    if parameter.log:
        return math.log(parameter.low), math.log(parameter.high)
    return parameter.low, parameter.high


def _encode(name: str, parameter: Parameter, value: Any) -> ArrayLike:
    if isinstance(parameter, Categorical):
        if value not in parameter.choices:
            raise SpaceError(
                f"{name}={value!r}: choose one of {', '.join(map(repr, parameter.choices))}"
            )
        return [_ONE_HOT * (choice == value) for choice in parameter.choices]
    tolerance = 1e-9 * (parameter.high - parameter.low)
    if not parameter.low - tolerance <= value <= parameter.high + tolerance:
        raise SpaceError(f"{name}={value}: give a value of {parameter.low} to {parameter.high}")
    if isinstance(parameter, Integer) and value != round(value):
        raise SpaceError(f"{name}={value}: give an integer")
    return float(np.clip(_to_unit(parameter, value), -1, 1))


def _decode(parameter: Parameter, coordinates: Array) -> Any:
    if isinstance(parameter, Categorical):
        return parameter.choices[int(coordinates.argmax())]
    unit = float(coordinates[0])
    if abs(unit) >= 1:  # the bounds themselves, free of rounding
        value = parameter.high if unit > 0 else parameter.low
    else:
        value = float(np.clip(_from_unit(parameter, unit), parameter.low, parameter.high))
    return round(value) if isinstance(parameter, Integer) else float(value)
