"""Molecular dynamics and relaxations with any ASE calculator."""

from culi_mlip.dynamics.analysis import energy_drift, height_profile, lost_atoms
from culi_mlip.dynamics.md import MDResult, run_md
from culi_mlip.dynamics.melt_quench import Schedule, choose_frames, melt_quench
from culi_mlip.dynamics.relaxation import Relaxed, relax, run_relaxations
from culi_mlip.dynamics.velocities import degrees_of_freedom

__all__ = [
    "MDResult",
    "Relaxed",
    "Schedule",
    "choose_frames",
    "degrees_of_freedom",
    "energy_drift",
    "height_profile",
    "lost_atoms",
    "melt_quench",
    "relax",
    "run_md",
    "run_relaxations",
]
