"""ASE's effective medium theory: instant, for Cu and a few other metals, for trying things out."""

from __future__ import annotations

from ase.calculators.calculator import Calculator

from culi_mlip.configuration import Configuration

TITLE = "ASE's effective medium theory"


class EMTSettings(Configuration):
    """Settings of the EMT engine: none."""


def make(settings: EMTSettings) -> Calculator:
    """Return the ASE calculator."""
    from ase.calculators.emt import EMT

    return EMT()
