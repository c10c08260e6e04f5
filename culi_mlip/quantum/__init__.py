"""The quantum depth-infused (QDI) circuit and its differentiable torch evaluation."""

from culi_mlip.quantum.circuit import Circuit
from culi_mlip.quantum.layer import QDILayer

__all__ = ["Circuit", "QDILayer"]
