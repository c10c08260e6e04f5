"""Names that moved to other rooms: those of before keep working."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def moved_modules(modules: Mapping[str, str]) -> None:
    """Let modules be imported by their names of before, by which `modules` has those of today."""
    sys.meta_path.append(_Finder(modules))


def moved_name(room: str, name: str, names: Mapping[str, str]) -> Any:
    """Return what a room had under a name, for its ``__getattr__``; `names` has the module of each.

    Raises
    ------
    AttributeError
        If the room never had it.
    """
    if name not in names:
        raise AttributeError(f"module {room!r} has no attribute {name!r}")
    return getattr(importlib.import_module(names[name]), name)


class _Finder(MetaPathFinder, Loader):
    def __init__(self, modules: Mapping[str, str]) -> None:
        self.modules = modules

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in self.modules else None

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        sys.modules[name] = importlib.import_module(self.modules[name])
