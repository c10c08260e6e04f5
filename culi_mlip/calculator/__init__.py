"""The trained potential as an ASE calculator."""

from culi_mlip.calculator.hybrid_allegro import HybridAllegro

__all__ = ["HybridAllegro"]
