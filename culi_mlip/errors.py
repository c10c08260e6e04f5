"""Errors that name the input, what is wrong with it, and what to do."""

from __future__ import annotations


class CuliError(Exception):
    """Base of every error that a user can cause and mend.

    The message is one sentence: which input, what is wrong with it, what to do.
    At the command line it is printed on one line and the exit code is 2.
    """


class StructureError(CuliError):
    """A structure cannot be built or used as asked."""


class RecipeError(CuliError):
    """A recipe or configuration does not say what it should."""


class DatasetError(CuliError):
    """A dataset is missing, empty, inconsistent or unusable."""


class EngineError(CuliError):
    """A reference engine is unknown, not installed, or failed on a structure."""


class SetupError(EngineError):
    """An engine lacks something on this machine: its package, program or data.

    No structure is to blame: when the machine has it, the same command goes on.
    """


class LabelError(CuliError):
    """A label that somebody computed cannot be accepted."""


class ModelError(CuliError):
    """A model file is missing, not a model, or does not fit the structure."""


class SpaceError(CuliError):
    """A search space, or a point of it, is impossible."""


class OutputError(CuliError):
    """Results cannot be written where they were asked for."""
