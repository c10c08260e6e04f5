"""The recipe of a dataset: which structures, which engine, which split."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from culi_mlip.configuration import Configuration, parse, read_yaml
from culi_mlip.datasets.audit import AuditSettings
from culi_mlip.datasets.split import Split
from culi_mlip.dynamics import Schedule
from culi_mlip.dynamics.checks import MAX_TEMPERATURE
from culi_mlip.errors import CuliError
from culi_mlip.structures import Campaign, Entry

Kind = Literal["bulk", "slab", "vacancy", "adatom", "adlayer", "interface"]
"""Kinds of structures that a recipe may have."""


class Task(Configuration):
    """What is computed for the ideal structures of some kinds besides their labels.

    Attributes
    ----------
    kinds
        Kinds of structures.
    published
        How many frames the publication has, to compare.
    """

    MACHINE: ClassVar[frozenset[str]] = frozenset({"kinds", "published", "expected_steps"})

    name: ClassVar[str]
    kinds: tuple[Kind, ...]
    published: int | None = None

    @property
    @abstractmethod
    def cost(self) -> tuple[int, int]:
        """Energies and forces that one structure needs, and most frames that it gives."""


class Sampling(Task):
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

    FIRST: ClassVar[frozenset[str]] = frozenset({"temperatures", "timestep_fs", "steps", "stride"})

    kinds: tuple[Kind, ...] = ("adlayer", "interface")
    temperatures: tuple[Annotated[float, Field(gt=0, le=MAX_TEMPERATURE)], ...] = (300.0, 600.0)
    timestep_fs: float = Field(2.0, gt=0)
    steps: int = Field(100, ge=1)
    stride: int = Field(20, ge=1)

    name: ClassVar[str] = "md"

    @model_validator(mode="after")
    def _keeps_a_frame(self) -> Sampling:
        if self.steps < self.stride:
            raise ValueError(
                f"no frame is kept of {self.steps} steps by a stride of {self.stride}: lower it"
            )
        return self

    @property
    def cost(self) -> tuple[int, int]:
        """As in `Task`."""
        n = len(self.temperatures)
        return n * (self.steps + 1), n * (self.steps // self.stride)


class Relaxation(Task):
    """Relaxation of the ideal structures of some kinds, constraints obeyed, in their cells.

    Attributes
    ----------
    kinds
        Kinds of structures.
    force
        Largest force on an atom at the end in eV/Å; the paper's.
    steps
        The most ionic steps.
    keep
        Which steps enter the dataset besides the first: the "last" one or "all".
    expected_steps
        Ionic steps of one relaxation, for estimates of cost. By CHGNet, small structures of the
        paper's campaign needed 4 to 12 (slabs), 6 to 22 (vacancies) and 22 to 186 (adatoms).
    """

    FIRST: ClassVar[frozenset[str]] = frozenset({"force", "steps", "keep"})

    kinds: tuple[Kind, ...] = ("slab", "vacancy", "adatom")
    force: float = Field(0.03, gt=0)
    steps: int = Field(200, ge=2)
    keep: Literal["last", "all"] = "last"
    expected_steps: int = Field(30, ge=1)

    name: ClassVar[str] = "relaxation"

    @property
    def cost(self) -> tuple[int, int]:
        """As in `Task`."""
        return self.expected_steps, 1 if self.keep == "last" else self.expected_steps - 1


class MeltQuench(Task):
    """Melt-quench from the ideal structures of some kinds; see `culi_mlip.dynamics.Schedule`.

    Attributes
    ----------
    kinds
        Kinds of structures.
    frames
        How many frames to keep of each, decorrelated and none alike.
    hold, to, rate, hold_time, timestep, period
        Of the schedule: K, K, K/ps, ps, fs, fs. VASP's own MD has its own period, 40 steps.
    stride
        Steps between the frames to choose from.
    distance
        Root mean square displacement in Å within which two frames are alike.
    """

    FIRST: ClassVar[frozenset[str]] = frozenset({
        "frames", "hold", "to", "rate", "hold_time", "timestep", "period", "stride", "distance",
    })  # fmt: skip

    kinds: tuple[Kind, ...] = ("interface",)
    frames: int = Field(50, ge=1)
    hold: float = Field(600.0, gt=0)
    to: float = Field(10.0, gt=0)
    rate: float = Field(250.0, gt=0)
    hold_time: float = Field(1.0, ge=0)
    timestep: float = Field(2.0, gt=0)
    period: float = Field(12.0, gt=0)
    stride: int = Field(5, ge=1)
    distance: float = Field(0.1, ge=0)

    name: ClassVar[str] = "melt-quench"

    @model_validator(mode="after")
    def _has_a_schedule(self) -> MeltQuench:
        try:
            _ = self.schedule
        except CuliError as error:
            raise ValueError(str(error)) from None
        return self

    @property
    def schedule(self) -> Schedule:
        """Its temperatures."""
        return Schedule(self.hold, self.to, self.rate, self.hold_time, self.timestep, self.period)

    @property
    def cost(self) -> tuple[int, int]:
        """As in `Task`."""
        return self.schedule.steps + 1, min(self.frames, self.schedule.steps // self.stride)


class EngineChoice(Configuration):
    """A reference engine by name, and its settings."""

    name: str = "chgnet"
    settings: dict[str, Any] = Field(default_factory=dict)


class Recipe(Campaign):
    """A whole dataset: a campaign of structures, and what becomes of it.

    Attributes
    ----------
    relaxation, sampling, melt_quench
        What is computed for structures besides their labels, or None.
    engine
        Who labels.
    audit
        Thresholds beyond which a frame is left out.
    split
        Shares of validation and test frames.
    """

    relaxation: Relaxation | None = None
    sampling: Sampling | None = None
    melt_quench: MeltQuench | None = None
    engine: EngineChoice = EngineChoice()
    audit: AuditSettings = AuditSettings()
    split: Split = Split()

    @property
    def tasks(self) -> list[Task]:
        """What is computed for structures besides their labels."""
        return [task for task in (self.relaxation, self.sampling, self.melt_quench) if task]


def tasks_of(entry: Entry, tasks: Iterable[Task]) -> list[Task]:
    """Return the tasks that are meant for a structure: of its kind, and for ideal ones only."""
    is_ideal = "disorder" not in entry.how
    return [task for task in tasks if is_ideal and entry.kind in task.kinds]


def load_recipe(path: str | os.PathLike[str]) -> Recipe:
    """Read a recipe from a YAML file.

    Raises
    ------
    RecipeError
        If the file is missing, is not YAML, or says something that a recipe does not know.
    """
    return parse(Recipe, read_yaml(path), f"recipe {path}")
