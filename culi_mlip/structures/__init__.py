"""Structures without labels: crystals, slabs, defects, adsorbates, interfaces, campaigns."""

from culi_mlip.structures.adsorbates import adatoms, li_on_cu
from culi_mlip.structures.bulk import bulk, rattled, strained, thermal
from culi_mlip.structures.campaign import Entry, campaign
from culi_mlip.structures.defects import surface_vacancies
from culi_mlip.structures.interfaces import interface, join, registry_shifts
from culi_mlip.structures.matching import LatticeMatch, Mismatch, first_match, lattice_matches
from culi_mlip.structures.orientation import upright
from culi_mlip.structures.parts import Campaign
from culi_mlip.structures.slabs import distinct_millers, slab, supercell
from culi_mlip.structures.surfaces import Site, adsorption_sites, coordination

__all__ = [
    "Campaign",
    "Entry",
    "LatticeMatch",
    "Mismatch",
    "Site",
    "adatoms",
    "adsorption_sites",
    "bulk",
    "campaign",
    "coordination",
    "distinct_millers",
    "first_match",
    "interface",
    "join",
    "lattice_matches",
    "li_on_cu",
    "rattled",
    "registry_shifts",
    "slab",
    "strained",
    "supercell",
    "surface_vacancies",
    "thermal",
    "upright",
]
