"""What every structure must be."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols, covalent_radii
from ase.neighborlist import neighbor_list

from culi_mlip.errors import StructureError


def check_symbol(symbol: str) -> None:
    """Raise a `StructureError` if there is no such element."""
    if symbol not in chemical_symbols[1:]:
        raise StructureError(f"'{symbol}' is not a chemical symbol: use one such as Cu or Li")


def check_numbers(*, above: float = -math.inf, least: float = -math.inf, **values: object) -> None:
    """Raise a `StructureError` that names the first value that is no finite number in range.

    The values, by their names, must be greater than `above` and not less than `least`.
    """
    wanted = "a number"
    if above > -math.inf:
        wanted += f" above {above:g}"
    if least > -math.inf:
        wanted += f" of at least {least:g}"
    for name, value in values.items():
        is_number = isinstance(value, float | int | np.floating | np.integer)
        if not (is_number and math.isfinite(value) and value > above and value >= least):  # type: ignore[arg-type, operator]
            raise StructureError(f"{name}={value!r}: give {wanted}")


def check_integers(name: str, values: Sequence[int] | int, n: int, *, least: int = 1) -> None:
    """Raise a `StructureError` unless there are `n` integers of at least `least`."""
    numbers = np.asarray(values)
    if numbers.size != n or not np.issubdtype(numbers.dtype, np.integer) or (numbers < least).any():
        wanted = "an integer" if n == 1 else f"{n} integers"
        raise StructureError(f"{name}={values!r}: give {wanted} of at least {least}")


def check_distances(atoms: Atoms, min_bond: float, remedy: str) -> None:
    """Raise a `StructureError`, which ends with the remedy, if atoms overlap.

    No two atoms may be closer than the fraction `min_bond` of the sum of their covalent radii.
    """
    i, j, distances = neighbor_list("ijd", atoms, list(min_bond * covalent_radii[atoms.numbers]))
    if len(i):
        nearest = int(distances.argmin())
        pair = "-".join(sorted(str(atoms.symbols[k[nearest]]) for k in (i, j)))
        raise StructureError(
            f"atoms overlap: {pair} at {distances[nearest]:.2f} Å, closer than {min_bond:.0%} of "
            f"their bond: {remedy}"
        )
