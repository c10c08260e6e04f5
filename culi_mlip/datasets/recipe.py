"""The recipe of a dataset: which structures, which engine, which split."""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal

from pydantic import Field

from culi_mlip.configuration import Configuration, parse, read_yaml

Miller = tuple[int, int, int]
Repeat = tuple[
    Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]
]


class Disorder(Configuration):
    """Random versions of each structure.

    Attributes
    ----------
    copies
        How many rattled copies of each structure; 0 keeps the ideal one alone.
    rattle
        Standard deviations of the displacements in Å, taken in turn.
    """

    copies: int = Field(0, ge=0)
    rattle: tuple[float, ...] = (0.05, 0.1, 0.15)


class BulkPart(Configuration):
    """Crystals under strain. `strains` are isotropic; `shears` random tensors of that size."""

    kind: Literal["bulk"]
    symbol: str
    a: float | None = None
    repeat: Repeat = (2, 2, 2)
    strains: tuple[float, ...] = (0.0,)
    shears: tuple[float, ...] = ()
    disorder: Disorder = Disorder()


class SlabPart(Configuration):
    """Slabs of each Miller index."""

    kind: Literal["slab"]
    symbol: str
    millers: tuple[Miller, ...]
    a: float | None = None
    thickness: float | None = None
    vacuum: float = 15.0
    repeat: Repeat = (1, 1, 1)
    disorder: Disorder = Disorder()


class AdatomPart(Configuration):
    """One adatom at each distinct site of each slab."""

    kind: Literal["adatom"]
    symbol: str
    adatom: str
    millers: tuple[Miller, ...]
    a: float | None = None
    thickness: float | None = None
    vacuum: float = 15.0
    height: float = 2.0
    repeat: Repeat = (2, 2, 1)
    disorder: Disorder = Disorder()


class AdlayerPart(Configuration):
    """Random partial monolayers of lithium (or another element) on slabs."""

    kind: Literal["adlayer"]
    symbol: str
    adatom: str = "Li"
    millers: tuple[Miller, ...]
    coverages: tuple[float, ...]
    a: float | None = None
    thickness: float | None = None
    vacuum: float = 15.0
    height: float = 2.0
    repeat: Repeat = (3, 3, 1)
    disorder: Disorder = Disorder()


class InterfacePart(Configuration):
    """The smallest coherent interface of a film on a substrate."""

    kind: Literal["interface"]
    film: str
    film_miller: Miller
    substrate: str
    substrate_miller: Miller
    film_thickness: float | None = None
    substrate_thickness: float | None = None
    gap: float = 3.0
    vacuum: float = 15.0
    max_area: float = 400.0
    area_tolerance: float = 0.09
    max_strain: float = 0.09
    disorder: Disorder = Disorder()


Part = Annotated[
    BulkPart | SlabPart | AdatomPart | AdlayerPart | InterfacePart, Field(discriminator="kind")
]


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
    """Shares of the frames, trajectories kept whole; the rest is the training set."""

    val: float = Field(0.1, gt=0, lt=1)
    test: float = Field(0.1, gt=0, lt=1)


class Recipe(Configuration):
    """A whole dataset.

    Attributes
    ----------
    structures
        Parts, each one kind of structure.
    sampling
        Short MD, or None.
    engine
        Who labels.
    split
        Shares of validation and test frames.
    seed
        Seed of all that is random.
    """

    structures: tuple[Part, ...] = Field(min_length=1)
    sampling: Sampling | None = None
    engine: EngineChoice = EngineChoice()
    split: Split = Split()
    seed: int = 0


def load_recipe(path: str | os.PathLike[str]) -> Recipe:
    """Read a recipe from a YAML file.

    Raises
    ------
    RecipeError
        If the file is missing, is not YAML, or says something that a recipe does not know.
    """
    return parse(Recipe, read_yaml(path), f"recipe {path}")
