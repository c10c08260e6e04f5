"""SAMO-COBRA on any problem, as an optimiser of its own and as a sampler of Optuna."""

from typing import TYPE_CHECKING, Any

from culi_mlip.moved import moved_modules, moved_name
from culi_mlip.optimize.samo_cobra import SamoCobra
from culi_mlip.optimize.space import Categorical, Integer, Real, Space

if TYPE_CHECKING:
    from culi_mlip.optimize.sampler import SamoCobraSampler

__all__ = ["Categorical", "Integer", "Real", "SamoCobra", "SamoCobraSampler", "Space"]

moved_modules(
    {
        f"culi_mlip.optimize.{name}": f"culi_mlip.tuning.{name}"
        for name in ("recipe", "study", "timing", "trial", "worker")
    }
    | {"culi_mlip.optimize.tuning": "culi_mlip.tuning.tune"}
)


def __getattr__(name: str) -> Any:
    """Import Optuna only for its sampler."""
    return moved_name(__name__, name, {"SamoCobraSampler": "culi_mlip.optimize.sampler"})
