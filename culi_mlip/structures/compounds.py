"""Ordered compounds of two elements, in the prototypes of alloys of fcc and bcc metals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from culi_mlip.errors import StructureError
from culi_mlip.structures.bulk import PRIMITIVE_VECTORS, atomic_volume
from culi_mlip.structures.checks import check_symbol

_CUBIC = np.eye(3)
_FCC = PRIMITIVE_VECTORS["fcc"]


@dataclass(frozen=True)
class Prototype:
    """A crystal with two kinds of sites.

    Attributes
    ----------
    vectors
        Lattice vectors (rows), to a factor.
    first, second
        Sites of either element, in fractions of the vectors.
    """

    vectors: NDArray[np.float64]
    first: tuple[tuple[float, float, float], ...]
    second: tuple[tuple[float, float, float], ...]


PROTOTYPES = {
    "L1_0": Prototype(np.diag([1, 1, 2**0.5]), ((0, 0, 0),), ((0.5, 0.5, 0.5),)),
    "B2": Prototype(_CUBIC, ((0, 0, 0),), ((0.5, 0.5, 0.5),)),
    "B32": Prototype(_FCC, ((0, 0, 0), (0.25,) * 3), ((0.5,) * 3, (0.75,) * 3)),
    "C11_b": Prototype(
        np.array([[1, 0, 0], [0, 1, 0], [0.5, 0.5, 1.5]]),
        ((0, 0, 0),),
        ((-1 / 3, -1 / 3, 2 / 3), (1 / 3, 1 / 3, -2 / 3)),
    ),
    "C15": Prototype(
        _FCC,
        ((0.125,) * 3, (0.875,) * 3),
        ((0.5, 0.5, 0.5), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)),
    ),
    "L1_2": Prototype(_CUBIC, ((0, 0, 0),), ((0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0))),
    "D0_22": Prototype(
        np.array([[1, 0, 0], [0, 1, 0], [0.5, 0.5, 1]]),
        ((0, 0, 0),),
        ((-0.5, -0.5, 1), (-0.25, 0.25, 0.5), (0.25, -0.25, 0.5)),
    ),
    "D0_3": Prototype(_FCC, ((0, 0, 0),), ((0.25,) * 3, (0.5,) * 3, (0.75,) * 3)),
}
"""By Strukturbericht; AB, AB2 and AB3, A the first kind of site.

L1_0 of CuAu, B2 of CsCl, B32 of NaTl, C11_b of MoSi2, C15 of MgCu2, L1_2 of Cu3Au, D0_22 of Al3Ti,
D0_3 of AlFe3.
"""

PrototypeName = Literal["L1_0", "B2", "B32", "C11_b", "C15", "L1_2", "D0_22", "D0_3"]


def compound(prototype: str, first: str, second: str, *, volume: float | None = None) -> Atoms:
    """Return the primitive cell of an ordered compound of two elements.

    Parameters
    ----------
    prototype
        A name in `PROTOTYPES`.
    first, second
        Elements of its two kinds of sites; of AB3 that of A and that of B.
    volume
        Of the cell in Å³; by default that of the atoms in their own crystals, which is
        known here for Cu and Li.

    Raises
    ------
    StructureError
        If there is no such prototype or element.

    Examples
    --------
    >>> compound("L1_2", "Li", "Cu").get_chemical_formula()
    'Cu3Li'
    """
    if prototype not in PROTOTYPES:
        raise StructureError(f"prototype '{prototype}': choose one of {', '.join(PROTOTYPES)}")
    for symbol in (first, second):
        check_symbol(symbol)
    sites = PROTOTYPES[prototype]
    symbols = [first] * len(sites.first) + [second] * len(sites.second)
    if volume is None:
        volume = sum(map(atomic_volume, symbols))
    scale = (volume / abs(np.linalg.det(sites.vectors))) ** (1 / 3)
    atoms = Atoms(symbols, cell=scale * sites.vectors, pbc=True)
    atoms.set_scaled_positions([*sites.first, *sites.second])
    atoms.info["prototype"] = prototype
    return atoms
