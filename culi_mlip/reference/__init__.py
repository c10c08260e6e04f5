"""Reference engines that label structures; `get_engine` is the registry."""

from culi_mlip.reference.cp2k import Cp2kSettings
from culi_mlip.reference.engines import ENGINES, Engine, get_engine
from culi_mlip.reference.gpaw import GpawSettings
from culi_mlip.reference.vasp import VaspSettings

__all__ = ["ENGINES", "Cp2kSettings", "Engine", "GpawSettings", "VaspSettings", "get_engine"]
