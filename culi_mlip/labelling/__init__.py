"""What becomes of a recipe: structures, their labels, by whom and where, labels of others."""

from culi_mlip.labelling.build import build_dataset
from culi_mlip.labelling.campaign import label_pending
from culi_mlip.labelling.executors import Workers, open_executor
from culi_mlip.labelling.imports import Imported, import_frames, import_vasp
from culi_mlip.labelling.preview import Preview, preview
from culi_mlip.labelling.recipe import Recipe, load_recipe

__all__ = [
    "Imported",
    "Preview",
    "Recipe",
    "Workers",
    "build_dataset",
    "import_frames",
    "import_vasp",
    "label_pending",
    "load_recipe",
    "open_executor",
    "preview",
]
