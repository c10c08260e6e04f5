"""ASE's effective medium theory: instant, for Cu and a few other metals, for trying things out."""

from __future__ import annotations

from ase.calculators.calculator import Calculator
from pydantic import BaseModel, ConfigDict

TITLE = "ASE's effective medium theory"


class EMTSettings(BaseModel):
    """Settings of the EMT engine: none."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def make(settings: EMTSettings) -> Calculator:
    """Return the ASE calculator."""
    from ase.calculators.emt import EMT

    return EMT()
