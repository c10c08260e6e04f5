"""SAMO-COBRA on any problem, and the tuning of potentials with it."""

from typing import TYPE_CHECKING, Any

from culi_mlip.optimize.samo_cobra import SamoCobra
from culi_mlip.optimize.space import Categorical, Integer, Real, Space

if TYPE_CHECKING:
    from culi_mlip.optimize.sampler import SamoCobraSampler

__all__ = ["Categorical", "Integer", "Real", "SamoCobra", "SamoCobraSampler", "Space"]


def __getattr__(name: str) -> Any:
    """Import Optuna only for its sampler."""
    if name == "SamoCobraSampler":
        from culi_mlip.optimize.sampler import SamoCobraSampler

        return SamoCobraSampler
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
