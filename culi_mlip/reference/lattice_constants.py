"""Lattice constants of elements by an engine: known ones, and the equation of state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, reference_states
from ase.eos import EquationOfState

from culi_mlip.configuration import Configuration
from culi_mlip.errors import EngineError
from culi_mlip.reference.gpaw import GpawSettings
from culi_mlip.structures import bulk
from culi_mlip.structures.bulk import LATTICE_CONSTANTS, atomic_volume, crystal_of

STRAINS = np.linspace(-0.03, 0.03, 7)
"""Of the lattice constant, in the equation of state."""

Energies = Callable[[Sequence[Atoms]], Sequence[float]]
"""Returns the energies of structures in eV."""


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


def start(symbol: str) -> float:
    """Return a cubic lattice constant of an element to begin with in Å, ASE's (experiment).

    Raises
    ------
    StructureError
        If the crystal of the element is neither fcc nor bcc.
    """
    crystal_of(symbol)
    state: Mapping[str, Any] = reference_states[atomic_numbers[symbol]] or {}
    return float(state["a"])


def equilibrium(symbol: str, energies: Energies) -> float:
    """Return the cubic lattice constant of least energy in Å, to 0.001 Å.

    Seven primitive cells within 3 % of a lattice constant are fitted by the equation of state of
    Birch and Murnaghan (Phys. Rev. 71, 809, 1947), again about the result until that is within
    0.5 % of the middle.

    Parameters
    ----------
    symbol
        An fcc or bcc element.
    energies
        Returns the energies of cells in eV.
    rounds
        The most fits.

    Raises
    ------
    EngineError
        If the energies have no minimum.
    StructureError
        If the crystal of the element is neither fcc nor bcc.
    """
    middle = first = start(symbol)
    for _ in range(8):
        lengths = middle * (1 + STRAINS)
        found = np.asarray(energies([bulk(symbol, a=a) for a in lengths]), dtype=float)
        lowest = int(found.argmin())
        a = float(lengths[lowest])
        if 0 < lowest < len(lengths) - 1:
            volumes = [atomic_volume(symbol, length) for length in lengths]
            try:
                volume = EquationOfState(volumes, found, eos="birchmurnaghan").fit(warn=False)[0]
            except (ValueError, RuntimeError, TypeError):  # however the fit fails
                break
            a = float(middle * (volume / atomic_volume(symbol, middle)) ** (1 / 3))
            if abs(a / middle - 1) < 0.005:
                return round(a, 3)
        if not lengths[0] <= a <= lengths[-1]:
            break
        middle = a
    raise EngineError(
        f"the energies of {symbol} have no minimum near a lattice constant of {first:.3f} Å: give "
        f"it in the recipe, such as lattice_constants: {{{symbol}: {first:.3f}}}"
    )
