"""Lattice constants of elements by an engine: known ones, and the equation of state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from culi_mlip.configuration import Configuration
from culi_mlip.errors import EngineError
from culi_mlip.properties.eos import Energies, NoMinimumError, fitted, start
from culi_mlip.reference.gpaw import GpawSettings
from culi_mlip.structures.bulk import LATTICE_CONSTANTS

STRAINS = np.linspace(-0.03, 0.03, 7)
"""Of the lattice constant, in the equation of state."""


class Known(NamedTuple):
    """Cubic lattice constants that need not be computed."""

    engine: str  # name of the engine
    settings: Mapping[str, Any]  # values that the engine's settings must have
    values: Mapping[str, float]  # in Å, by element
    source: str  # where they are from


KNOWN = (
    Known("chgnet", {"model": "r2scan"}, LATTICE_CONSTANTS, "equation of state"),
    Known(
        "gpaw",
        GpawSettings().model_dump(),
        {"Cu": 3.591, "Li": 3.484},
        "equation of state, k-mesh of 25 Å",
    ),
    # Copper: fcc cell with a residual stress of -0.14 kbar. Lithium: the volume of an atom in an
    # fcc cell with 2.39 kbar, relaxed by 13.2 GPa and laid into bcc, to about 0.01 Å.
    Known(
        "vasp",
        {"functional": "r2scan"},
        {"Cu": 3.577, "Li": 3.463},
        "MatPES, r2SCAN by VASP; lithium estimated to 0.01 Å from its fcc cell",
    ),
)
"""First come, first served."""


def known_lattice_constant(
    engine: str, settings: Configuration, symbol: str
) -> tuple[float, str] | None:
    """Return the cubic lattice constant of an element in Å and its source, if it is in `KNOWN`.

    Parameters
    ----------
    engine
        Name of the engine.
    settings
        Its settings.
    symbol
        The element.
    """
    values = settings.model_dump()
    for known in KNOWN:
        if (
            known.engine == engine
            and symbol in known.values
            and all(values[key] == value for key, value in known.settings.items())
        ):
            return known.values[symbol], known.source
    return None


def equilibrium(symbol: str, energies: Energies) -> float:
    """Return the cubic lattice constant of least energy in Å, to 0.001 Å.

    Seven primitive cells within 3 % of a lattice constant are fitted, again about the result until
    that is within 0.5 % of the middle; see `culi_mlip.properties.eos.fitted`.

    Parameters
    ----------
    symbol
        An fcc or bcc element.
    energies
        Returns the energies of cells in eV.

    Raises
    ------
    EngineError
        If the energies have no minimum.
    StructureError
        If the crystal of the element is neither fcc nor bcc.
    """
    first = start(symbol)
    try:
        return round(fitted(symbol, energies, strains=STRAINS, within=0.005).lattice_constant, 3)
    except NoMinimumError as error:
        raise EngineError(
            f"{error}: give it in the recipe, such as lattice_constants: {{{symbol}: {first:.3f}}}"
        ) from error
