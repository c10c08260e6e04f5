"""The quantum depth-infused (QDI) circuit and its differentiable torch evaluation."""

from typing import TYPE_CHECKING, Any

from culi_mlip.quantum.circuit import Circuit

if TYPE_CHECKING:
    from culi_mlip.quantum.layer import QDILayer

__all__ = ["Circuit", "QDILayer"]


def __getattr__(name: str) -> Any:
    """Import PyTorch only for the layer, which needs it."""
    if name != "QDILayer":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from culi_mlip.quantum.layer import QDILayer

    return QDILayer
