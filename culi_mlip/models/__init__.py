"""Allegro, Allegro+MLP and Allegro+QDI: building, training and evaluating them with nequip."""

import importlib
from typing import Any

_MODULES = {
    "AllegroMLPModel": "builders",
    "AllegroModel": "builders",
    "AllegroQDIModel": "builders",
    "Evaluation": "evaluation",
    "PRESETS": "presets",
    "TrainSettings": "settings",
    "TrainedModel": "training",
    "evaluate": "evaluation",
    "learning_curve": "training",
    "load_settings": "settings",
    "train": "training",
}
"""Module of each name. Names are no import statements: packaged models would follow those."""

__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    """Import PyTorch and nequip only for what needs them: nequip imports this package."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
