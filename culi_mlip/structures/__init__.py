"""Structures without labels: bulk, slabs, adatoms, adlayers of lithium, interfaces, disorder."""

from culi_mlip.structures.adsorbates import adatoms, li_on_cu
from culi_mlip.structures.bulk import bulk, rattled, strained
from culi_mlip.structures.interfaces import LatticeMatch, interface, lattice_matches
from culi_mlip.structures.slabs import slab

__all__ = [
    "LatticeMatch",
    "adatoms",
    "bulk",
    "interface",
    "lattice_matches",
    "li_on_cu",
    "rattled",
    "slab",
    "strained",
]
