"""The recipe of a dataset: which structures, which engine, which split."""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal

from pydantic import Field

from culi_mlip.configuration import Configuration, parse, read_yaml
from culi_mlip.structures import Campaign


class Sampling(Configuration):
    """Short MD with the reference engine from the ideal structures of some kinds.

    Attributes
    ----------
    kinds
        Kinds of structures to start from.
    temperatures
        Temperatures in K; one trajectory from each start at each.
    timestep_fs
        Time step in fs.
    steps
        Steps of a trajectory.
    stride
        Steps between frames that are kept.
    """

    kinds: tuple[str, ...] = ("adlayer", "interface")
    temperatures: tuple[Annotated[float, Field(gt=0)], ...] = (300.0, 600.0)
    timestep_fs: float = Field(2.0, gt=0)
    steps: int = Field(100, ge=1)
    stride: int = Field(20, ge=1)


class EngineChoice(Configuration):
    """A reference engine by name, and its settings."""

    name: str = "chgnet"
    settings: dict[str, Any] = Field(default_factory=dict)


class Split(Configuration):
    """Validation and test frames; the rest is the training set.

    Attributes
    ----------
    val, test
        Shares of the frames.
    by
        What stays whole: "trajectory"; "parent" is a structure with all disordered copies and
        trajectories that were made from it; "frame" is a random split.
    """

    val: float = Field(0.1, gt=0, lt=1)
    test: float = Field(0.1, gt=0, lt=1)
    by: Literal["trajectory", "parent", "frame"] = "trajectory"


class Recipe(Campaign):
    """A whole dataset: a campaign of structures, and what becomes of it.

    Attributes
    ----------
    sampling
        Short MD, or None.
    engine
        Who labels.
    split
        Shares of validation and test frames.
    """

    sampling: Sampling | None = None
    engine: EngineChoice = EngineChoice()
    split: Split = Split()


def load_recipe(path: str | os.PathLike[str]) -> Recipe:
    """Read a recipe from a YAML file.

    Raises
    ------
    RecipeError
        If the file is missing, is not YAML, or says something that a recipe does not know.
    """
    return parse(Recipe, read_yaml(path), f"recipe {path}")
