"""Labelled structures: recipes, the store, labelling, audit, splits and export."""

from culi_mlip.datasets.audit import Audit, Finding, audit
from culi_mlip.datasets.build import build_dataset
from culi_mlip.datasets.executors import Workers, open_executor
from culi_mlip.datasets.export import export_frames, export_parts, open_store
from culi_mlip.datasets.imports import Imported, import_frames, import_vasp
from culi_mlip.datasets.labelling import label_pending
from culi_mlip.datasets.leakage import leakage
from culi_mlip.datasets.preview import Preview, preview
from culi_mlip.datasets.recipe import Recipe, load_recipe
from culi_mlip.datasets.references import composition_energies, fit_reference_energies
from culi_mlip.datasets.split import split_by_group
from culi_mlip.datasets.store import Store

__all__ = [
    "Audit",
    "Finding",
    "Imported",
    "Preview",
    "Recipe",
    "Store",
    "Workers",
    "audit",
    "build_dataset",
    "composition_energies",
    "export_frames",
    "export_parts",
    "fit_reference_energies",
    "import_frames",
    "import_vasp",
    "label_pending",
    "leakage",
    "load_recipe",
    "open_executor",
    "open_store",
    "preview",
    "split_by_group",
]
