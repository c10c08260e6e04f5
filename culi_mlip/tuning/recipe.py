"""What is tuned, in which ranges, and how a trial is measured."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from culi_mlip.configuration import Configuration, parse, read_yaml
from culi_mlip.errors import CuliError, RecipeError
from culi_mlip.models.settings import TrainSettings, present_name
from culi_mlip.optimize.space import Categorical, Integer, Parameter, Real, Space


class RealRange(Configuration):
    """A real number from `low` to `high`."""

    type: Literal["real"]
    low: float
    high: float
    log: bool = False


class IntegerRange(Configuration):
    """An integer from `low` to `high`."""

    type: Literal["integer"]
    low: int
    high: int
    log: bool = False


class Choices(Configuration):
    """One of several choices."""

    type: Literal["categorical"]
    choices: list[bool | int | float | str]


Range = Annotated[RealRange | IntegerRange | Choices, Field(discriminator="type")]


class TuningRecipe(Configuration):
    """Settings that stay, and settings that are searched.

    Attributes
    ----------
    settings
        Settings of every training, as in `culi_mlip.models.settings.TrainSettings`; for
        searched ones the untuned value, which is the first trial.
    space
        Range of each searched setting; ``further_mlp_widths.0`` is a member of a list,
        ``circuit.depth`` a nested setting, ``pair_cutoffs.Cu-Cu`` the cutoff of a pair.
    """

    settings: dict[str, Any] = Field(default_factory=dict)
    space: dict[str, Range]


Pruner = Literal["none", "median", "hyperband"]

Positive = Annotated[float, Field(gt=0)]


class Measurement(Configuration):
    """How a trial is run and measured.

    Attributes
    ----------
    device
        "cpu", "cuda" or "cuda:N"; by default the GPUs if there are some.
    compile
        Whether the inference time is that of the model compiled by ``nequip-compile``.
    threads
        Threads of a trial.
    repeats
        Passes over the test set that are timed.
    time_limit
        Longest time of a trial in minutes; a longer one has failed.
    memory_limit
        Most memory of a trial's processes in GB; a trial that takes more has failed.
    max_parameters, max_memory, max_drift
        Constraints, each optional: weights of the model, peak memory of the evaluation in MB,
        drift of the conserved energy (NVE, 300 K, 1 ps) in meV/atom/ps.
    pruner
        Optuna's pruner that stops unpromising trainings by their validation force error; what
        they have learnt by then is measured like the others.
    """

    device: str | None = None
    compile: bool = False
    threads: int = Field(1, ge=1)
    repeats: int = Field(5, ge=1)
    time_limit: Positive | None = None
    memory_limit: Positive | None = None
    max_parameters: Positive | None = None
    max_memory: Positive | None = None
    max_drift: Positive | None = None
    pruner: Pruner = "none"


def load_recipe(path: str | os.PathLike[str]) -> tuple[TrainSettings, Space]:
    """Read the recipe of a tuning, and check that its ranges are settings of a training.

    Returns
    -------
    settings, space
        The untuned settings, and what is searched.

    Raises
    ------
    RecipeError
        If the file is missing or not YAML, a key is unknown, or a bound is no valid setting.
    SpaceError
        If a range is impossible.
    """
    recipe = parse(TuningRecipe, read_yaml(path), str(path))
    settings = parse(TrainSettings, recipe.settings, f"{path}, settings")
    space = Space(**_parameters(recipe, settings, f"{path}, space"))
    r_max = space.parameters.get("r_max")
    smallest = {} if r_max is None else {"r_max": min(_ends(r_max))}
    for name, parameter in space.parameters.items():
        within = smallest if name.startswith("pair_cutoffs.") else {}
        for value in _ends(parameter):
            settings_at(settings, {**within, name: value}, f"{path}, space")
    return settings, space


def settings_at(settings: TrainSettings, point: Mapping[str, Any], name: str) -> TrainSettings:
    """Return settings with the values of a point of the space; `name` stands before complaints.

    Raises
    ------
    RecipeError
        If a parameter is no setting, or its value none of its.
    """
    values = settings.model_dump(mode="json")
    for key, value in point.items():
        *path, last = present_name(key, settings.variant).split(".")
        place = values
        for part in path:
            place = _member(place, part)
        if isinstance(place, list) and last.isdigit() and int(last) < len(place):
            place[int(last)] = value
        elif isinstance(place, dict):
            place[last] = value
        else:
            values[key] = value  # the check below says what is wrong
    return parse(TrainSettings, values, name)


def point_of(settings: TrainSettings, space: Space) -> dict[str, Any] | None:
    """Return the point of the space that settings are; None if they lie outside."""
    values = settings.model_dump(mode="json")
    point = {}
    for key in space.parameters:
        value: Any = values
        for part in present_name(key, settings.variant).split("."):
            value = _member(value, part)
        point[key] = value
    try:
        space.encode(point)
    except (CuliError, TypeError):
        return None
    return point


def _member(place: Any, part: str) -> Any:
    if isinstance(place, list) and part.isdigit() and int(part) < len(place):
        return place[int(part)]
    return place.get(part) if isinstance(place, dict) else None


def ranges_of(space: Space) -> dict[str, RealRange | IntegerRange | Choices]:
    """Return the ranges of a space, as a recipe has them."""
    kinds: dict[type[Parameter], type[RealRange | IntegerRange | Choices]] = {
        Real: RealRange,
        Integer: IntegerRange,
        Categorical: Choices,
    }
    return {
        name: kinds[type(p)](type=type(p).__name__.lower(), **vars(p))
        for name, p in space.parameters.items()
    }


def _parameters(recipe: TuningRecipe, settings: TrainSettings, name: str) -> dict[str, Parameter]:
    """What is searched, by the names that settings have today."""
    parameters: dict[str, Parameter] = {}
    for key, entry in recipe.space.items():
        present = present_name(key, settings.variant)
        if present in parameters:
            raise RecipeError(f"{name}: two ranges of {present}, one by a former name: give one")
        parameters[present] = _parameter(entry)
    return parameters


def _parameter(entry: RealRange | IntegerRange | Choices) -> Parameter:
    if isinstance(entry, Choices):
        return Categorical(*entry.choices)
    kind = Real if isinstance(entry, RealRange) else Integer
    return kind(entry.low, entry.high, log=entry.log)  # type: ignore[arg-type]


def _ends(parameter: Parameter) -> tuple[Any, ...]:
    """Both ends, and within a real range a number that is no integer; all choices."""
    if isinstance(parameter, Categorical):
        return parameter.choices
    within = parameter.low + (parameter.high - parameter.low) / math.pi
    ends = parameter.low, parameter.high
    return (*ends, within) if isinstance(parameter, Real) else ends
