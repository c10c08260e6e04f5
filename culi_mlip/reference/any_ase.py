"""Any ASE calculator as an engine, by its import path: another code, or our own potential."""

from __future__ import annotations

import os
import socket
from importlib import import_module
from pathlib import Path
from typing import Any

from ase.calculators.calculator import Calculator, FileIOCalculator
from ase.calculators.genericfileio import GenericFileIOCalculator
from pydantic import Field

from culi_mlip.configuration import Configuration
from culi_mlip.errors import EngineError

TITLE = "the ASE calculator {calculator}"


class AseSettings(Configuration):
    """An ASE calculator and its arguments.

    Attributes
    ----------
    calculator
        Import path of what makes it, such as "tblite.ase.TBLite" or
        "culi_mlip.calculator.HybridAllegro".
    arguments
        Its arguments, by name; paths are best absolute, as workers may run elsewhere.
    revision
        Tells labels apart that calculator and arguments do not, such as those of a model before
        and after it was trained further.
    """

    calculator: str = Field(pattern=r"^\w+(\.\w+)+$")
    arguments: dict[str, Any] = Field(default_factory=dict)
    revision: str = ""


def make(settings: AseSettings) -> Calculator:
    """Return the calculator.

    Raises
    ------
    EngineError
        If it cannot be imported or refuses its arguments.
    """
    module, _, name = settings.calculator.rpartition(".")
    try:
        maker = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise EngineError(
            f"engine 'ase' cannot import {settings.calculator} ({error}): install it, or mend the "
            "path"
        ) from error
    try:
        calculator: Calculator = maker(**settings.arguments)
    except Exception as error:  # a calculator may refuse in any way
        raise EngineError(
            f"{settings.calculator} refuses its arguments ({type(error).__name__}: {error})"
        ) from error
    writes_files = isinstance(calculator, FileIOCalculator | GenericFileIOCalculator)
    if writes_files and "directory" not in settings.arguments:  # each process its own
        calculator.directory = Path(f"ase-{socket.gethostname()}-{os.getpid()}")
    return calculator
