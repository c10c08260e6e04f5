"""Any ASE calculator as an engine, by its import path: another code, or our own potential."""

from __future__ import annotations

import inspect
import os
import pkgutil
import socket
import typing
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

from ase.calculators.calculator import Calculator, FileIOCalculator
from ase.calculators.genericfileio import GenericFileIOCalculator
from pydantic import Field

from culi_mlip.configuration import Configuration
from culi_mlip.errors import EngineError, SetupError
from culi_mlip.reference.cells import only_right_handed

TITLE = "the ASE calculator {calculator}"


class AseSettings(Configuration):
    """An ASE calculator and its arguments.

    Attributes
    ----------
    calculator
        Import path of its class, or of a function with it as annotated return type, such as
        "tblite.ase.TBLite" or "culi_mlip.calculator.HybridAllegro". Importing it runs its module.
    arguments
        Its arguments, by name; paths are best absolute, as workers may run elsewhere.
    revision
        Tells labels apart that calculator and arguments do not, such as those of a model before
        and after it was trained further.
    """

    FIRST: ClassVar[frozenset[str]] = frozenset({"arguments", "calculator", "revision"})

    calculator: str = Field(pattern=r"^\w+(\.\w+)+$")
    arguments: dict[str, Any] = Field(default_factory=dict)
    revision: str = ""


def make(settings: AseSettings) -> Calculator:
    """Return the calculator.

    Raises
    ------
    SetupError
        If it cannot be imported.
    EngineError
        If it is no ASE calculator, or refuses its arguments.
    """
    maker = _maker(settings.calculator)
    try:
        calculator: Calculator = maker(**settings.arguments)
    except Exception as error:  # a calculator may refuse in any way
        raise EngineError(
            f"{settings.calculator} refuses its arguments ({type(error).__name__}: {error})"
        ) from error
    if not _is_calculator(type(calculator)):
        raise EngineError(f"{settings.calculator} made a {type(calculator).__name__}, {_WANTED}")
    writes_files = isinstance(calculator, FileIOCalculator | GenericFileIOCalculator)
    if writes_files and "directory" not in settings.arguments:  # each process its own
        calculator.directory = Path(f"ase-{socket.gethostname()}-{os.getpid()}")
    return only_right_handed(calculator) if hasattr(calculator, "calculate") else calculator


def check(settings: AseSettings, symbols: Iterable[str] = ()) -> None:
    """Check that the calculator can be imported and is one; call nothing.

    Raises
    ------
    SetupError
        If it cannot be imported.
    EngineError
        If it is no ASE calculator.
    """
    _maker(settings.calculator)


_WANTED = (
    "which is no ASE calculator: name a class, or a function with one as annotated return type"
)


def _maker(path: str) -> Callable[..., Any]:
    """Import what makes a calculator."""
    try:
        maker = pkgutil.resolve_name(path)
    except Exception as error:  # a module may fail in any way
        raise SetupError(
            f"engine 'ase' cannot import {path} ({error}): install it, or mend the path"
        ) from error
    if not _is_calculator(_made_by(maker)):
        raise EngineError(f"engine 'ase' has the calculator {path}, {_WANTED}")
    return maker


def _made_by(maker: Any) -> Any:
    """The class that a class, one of its class methods or an annotated function gives, or None."""
    if inspect.isclass(maker):
        return maker
    if inspect.ismethod(maker) and inspect.isclass(maker.__self__):
        return maker.__self__
    try:
        return typing.get_type_hints(maker).get("return")
    except (NameError, TypeError):  # no function of Python's, or names for type checkers alone
        return None


def _is_calculator(kind: Any) -> bool:
    methods = ("get_potential_energy", "get_forces", "get_property")  # GPAW's has no base of ASE's
    return inspect.isclass(kind) and all(callable(getattr(kind, name, None)) for name in methods)
