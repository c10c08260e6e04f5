"""Hops of adatoms: from hollow to hollow of a face, and down a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.constraints import FixAtoms
from numpy.typing import NDArray

from culi_mlip.errors import StructureError
from culi_mlip.properties.barriers import Barrier, barrier
from culi_mlip.properties.eos import equation_of_state
from culi_mlip.structures import slab
from culi_mlip.structures.checks import check_symbol

ASIDE = np.array([0.1, 0.2, 0.0])
"""By how much in Å both ends are displaced where they are no minima: both leave to one side."""


def hop(
    adatom: str,
    substrate: str,
    miller: Sequence[int],
    calculator: Calculator,
    *,
    repeat: tuple[int, int] = (3, 3),
    a: float | None = None,
    thickness: float = 10.0,
    vacuum: float = 12.0,
    **options: Any,
) -> Barrier:
    """Return the barrier of an adatom's hop between nearest places of a crystal's next layer.

    On the (100) face of an fcc metal that is from hollow to hollow, on (111) from an fcc hollow by
    an hcp hollow to the next fcc one, on (110) along the trough. Places that are no minima are left
    for the nearest ones, both to the same side.

    Parameters
    ----------
    adatom, substrate, miller
        Elements and face.
    calculator
        Any of ASE's; one that evaluates many structures at a time is given all images together.
    repeat
        Cells of the slab in both directions.
    a
        Cubic lattice constant of the substrate in Å; by default that of `equation_of_state`.
    thickness, vacuum
        Of the slab, whose lower half stays as in bulk, and on each side of it, in Å.
    options
        Of `barrier`, such as images and fmax.

    Raises
    ------
    StructureError
        If the adatom is no element.

    Examples
    --------
    >>> from ase.calculators.emt import EMT
    >>> round(hop("Cu", "Cu", (1, 0, 0), EMT(), images=3, thickness=6).forward, 2)
    0.4
    """
    check_symbol(adatom)
    base, above = _with_next_layer(substrate, miller, calculator, repeat, a, thickness, vacuum)
    places = above[0], above[repeat[1]]  # along the shorter vector of the cell
    first, second = (_with_adatom(base, adatom, place) for place in places)
    found = barrier(first, second, calculator, **options)
    if found.passes_a_minimum:
        first, second = (_with_adatom(base, adatom, place + ASIDE) for place in places)
        found = barrier(first, second, calculator, **options)
    return found


def step_hop(
    adatom: str,
    substrate: str,
    miller: Sequence[int],
    calculator: Calculator,
    *,
    repeat: tuple[int, int] = (3, 6),
    a: float | None = None,
    thickness: float = 10.0,
    vacuum: float = 12.0,
    **options: Any,
) -> Barrier:
    """Return the barrier of an adatom's hop from the edge of a terrace to the foot of its step.

    The upper terrace is half of the top layer, with steps along the shortest vector of the face:
    `forward` is down, `reverse` up. Less the barrier of `hop`, that is the barrier of Ehrlich and
    Schwoebel.

    Parameters
    ----------
    repeat
        Cells along the steps, and across them, where half of them are upper terrace.
    adatom, substrate, miller, calculator, a, thickness, vacuum, options
        As in `hop`.

    Raises
    ------
    StructureError
        If there are fewer than four cells across the steps, or the adatom is no element.
    """
    across = repeat[1]
    if across < 4:
        raise StructureError(f"{across} cells across the steps: give at least four")
    check_symbol(adatom)
    base, above = _with_next_layer(substrate, miller, calculator, repeat, a, thickness, vacuum)
    top = base.arrays["layer"] == base.arrays["layer"].max()
    place = (np.arange(len(base)) // (base.arrays["layer"].max() + 1)) % across
    upper, lower = top & (place < across // 2), top & (place >= across // 2)
    foot = base.positions[lower & (place == across // 2)]
    down = base[~lower]
    # Of the places above the terrace, the ones next to the step that rest on all their neighbours.
    nearest = np.linalg.norm(above[:, None] - base.positions[upper], axis=-1)
    touching = (nearest < 1.1 * nearest.min()).sum(axis=1)
    resting = above[touching == touching.max()]
    distances = np.linalg.norm(resting[:, None] - foot, axis=-1)
    i, j = np.unravel_index(int(distances.argmin()), distances.shape)
    edge, below = (_with_adatom(down, adatom, place) for place in (resting[i], foot[j]))
    return barrier(edge, below, calculator, **options)


def _with_next_layer(
    substrate: str,
    miller: Sequence[int],
    calculator: Calculator,
    repeat: tuple[int, int],
    a: float | None,
    thickness: float,
    vacuum: float,
) -> tuple[Atoms, NDArray[np.float64]]:
    """A slab whose lower half is fixed, and the places of the crystal's next layer above it.

    Atoms and places run along the second vector of the cell first.
    """
    a = equation_of_state(substrate, calculator).lattice_constant if a is None else a
    unit = slab(substrate, miller, a=a, thickness=thickness, vacuum=vacuum, free_layers=None)
    layers = len(unit)
    step = unit.get_distance(0, 1, mic=True, vector=True)
    base = unit * (*repeat, 1)
    base.set_constraint(FixAtoms(mask=base.arrays["layer"] < layers // 2))
    top = base.positions[base.arrays["layer"] == layers - 1]
    return base, top + step


def _with_adatom(base: Atoms, adatom: str, place: NDArray[np.float64]) -> Atoms:
    """A copy with an adatom as its last atom."""
    atoms = base.copy()
    atoms.arrays.pop("layer")
    return atoms + Atoms(adatom, positions=[place])
