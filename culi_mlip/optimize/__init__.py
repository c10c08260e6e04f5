"""SAMO-COBRA on any problem, and the tuning of potentials with it."""

from culi_mlip.optimize.samo_cobra import SamoCobra
from culi_mlip.optimize.space import Categorical, Integer, Real, Space

__all__ = ["Categorical", "Integer", "Real", "SamoCobra", "Space"]
