"""What every structure must be."""

from __future__ import annotations

from ase import Atoms
from ase.data import chemical_symbols, covalent_radii
from ase.neighborlist import neighbor_list

from culi_mlip.errors import StructureError


def check_symbol(symbol: str) -> None:
    """Raise a `StructureError` if there is no such element."""
    if symbol not in chemical_symbols[1:]:
        raise StructureError(f"'{symbol}' is not a chemical symbol: use one such as Cu or Li")


def check_distances(atoms: Atoms, min_bond: float, remedy: str) -> None:
    """Raise a `StructureError` if atoms overlap.

    Parameters
    ----------
    atoms
        The structure.
    min_bond
        No two atoms may be closer than this fraction of the sum of their covalent radii.
    remedy
        What to do about it, the end of the message.
    """
    i, j, distances = neighbor_list("ijd", atoms, list(min_bond * covalent_radii[atoms.numbers]))
    if len(i):
        nearest = int(distances.argmin())
        pair = "-".join(sorted(str(atoms.symbols[k[nearest]]) for k in (i, j)))
        raise StructureError(
            f"atoms overlap: {pair} at {distances[nearest]:.2f} Å, closer than {min_bond:.0%} of "
            f"their bond: {remedy}"
        )
