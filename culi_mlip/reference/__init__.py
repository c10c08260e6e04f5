"""Reference engines that label structures; `get_engine` is the registry."""

from culi_mlip.reference.engines import ENGINES, Engine, get_engine

__all__ = ["ENGINES", "Engine", "get_engine"]
