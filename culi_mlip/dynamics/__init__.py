"""Molecular dynamics with any ASE calculator."""

from culi_mlip.dynamics.analysis import energy_drift, height_profile, lost_atoms
from culi_mlip.dynamics.md import MDResult, run_md

__all__ = ["MDResult", "energy_drift", "height_profile", "lost_atoms", "run_md"]
