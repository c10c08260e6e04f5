"""Labelled structures at rest: the store, audit, splits and export."""

from typing import Any

from culi_mlip.datasets.audit import Audit, AuditSettings, Finding, audit
from culi_mlip.datasets.export import export_frames, export_parts, open_store
from culi_mlip.datasets.leakage import leakage
from culi_mlip.datasets.references import composition_energies, fit_reference_energies
from culi_mlip.datasets.split import split_by_group
from culi_mlip.datasets.store import Store
from culi_mlip.moved import moved_modules, moved_name

__all__ = [
    "Audit",
    "AuditSettings",
    "Finding",
    "Store",
    "audit",
    "composition_energies",
    "export_frames",
    "export_parts",
    "fit_reference_energies",
    "leakage",
    "open_store",
    "split_by_group",
]

_LABELLING = (
    "Imported Preview Recipe Workers build_dataset import_frames import_vasp label_pending "
    "load_recipe open_executor preview"
)

_MODULES = "build computations executors imports jobs preview recipe twins"
moved_modules(
    {f"culi_mlip.datasets.{name}": f"culi_mlip.labelling.{name}" for name in _MODULES.split()}
    | {"culi_mlip.datasets.labelling": "culi_mlip.labelling.campaign"}
)


def __getattr__(name: str) -> Any:
    """Return what went to the room labelling, which loads the engines."""
    return moved_name(__name__, name, dict.fromkeys(_LABELLING.split(), "culi_mlip.labelling"))
