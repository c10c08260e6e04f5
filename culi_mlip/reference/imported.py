"""Labels that were computed elsewhere: nothing here can compute more of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, NoReturn

from pydantic import Field

from culi_mlip.configuration import Configuration
from culi_mlip.errors import SetupError

TITLE = "{code}"


class ImportedSettings(Configuration):
    """What labels that others computed depend on, as their output or whoever adds them says.

    Attributes
    ----------
    code
        The program or model.
    is_dft
        Whether its labels may be called DFT.
    settings
        All that tells labels of this code apart: functional, cutoff, k-points, potentials, ….
    """

    FIRST: ClassVar[frozenset[str]] = frozenset({"code", "is_dft", "settings"})

    code: str = Field(pattern=r"^[A-Za-z][\w .+-]*$")
    is_dft: bool
    settings: dict[str, Any] = Field(default_factory=dict)


def check(settings: ImportedSettings, symbols: Iterable[str] = ()) -> NoReturn:
    """Raise a `SetupError`: the labels that were computed elsewhere are all that there are."""
    raise SetupError(
        f"labels of {settings.code} were computed elsewhere: name an engine to compute more"
    )


def make(settings: ImportedSettings) -> NoReturn:
    """Raise a `SetupError`, as `check`."""
    check(settings)
