"""Names that README, docs and issues wrote before the rooms were divided can be imported still."""

import importlib
import subprocess
import sys

import pytest

NAMES = {
    "culi_mlip.calculator": "HybridAllegro",
    "culi_mlip.cli": "main",
    "culi_mlip.configuration": "Configuration parse read_yaml",
    "culi_mlip.datasets": "Audit Finding Imported Preview Recipe Store Workers audit build_dataset "
    "composition_energies export_frames export_parts fit_reference_energies import_frames "
    "import_vasp label_pending leakage load_recipe open_executor open_store preview "
    "split_by_group",
    "culi_mlip.datasets.build": "build_dataset",
    "culi_mlip.datasets.computations": "attempt",
    "culi_mlip.datasets.executors": "Workers open_executor SlurmExecutor WorkerError",
    "culi_mlip.datasets.frames": "LabelKeys training_frames labelled_frames",
    "culi_mlip.datasets.imports": "Imported import_frames import_vasp",
    "culi_mlip.datasets.jobs": "Job Label",
    "culi_mlip.datasets.labelling": "label_pending",
    "culi_mlip.datasets.preview": "preview title",
    "culi_mlip.datasets.recipe": "Recipe Split Sampling Relaxation MeltQuench load_recipe",
    "culi_mlip.dynamics": "MDResult Schedule choose_frames degrees_of_freedom energy_drift "
    "height_profile lost_atoms melt_quench run_md",
    "culi_mlip.files": "read_frames write_frames write_json write_text",
    "culi_mlip.models": "AllegroModel AllegroMLPModel AllegroQDIModel Evaluation PRESETS "
    "TrainSettings TrainedModel evaluate learning_curve load_settings train",
    "culi_mlip.models.builders": "AllegroModel AllegroMLPModel AllegroQDIModel",
    "culi_mlip.models.evaluation": "Errors Evaluation evaluate",
    "culi_mlip.models.readout": "mlp",
    "culi_mlip.models.settings": "BUILDERS LossWeights TrainSettings load_settings",
    "culi_mlip.models.training": "TrainedModel learning_curve train",
    "culi_mlip.optimize": "Categorical Integer Real SamoCobra SamoCobraSampler Space",
    "culi_mlip.optimize.hypervolume": "hypervolume",
    "culi_mlip.optimize.recipe": "Measurement TuningRecipe load_recipe",
    "culi_mlip.optimize.sampler": "SamoCobraSampler distribution",
    "culi_mlip.optimize.study": "open_storage open_study",
    "culi_mlip.optimize.timing": "InferenceTime inference_times on_cores",
    "culi_mlip.optimize.trial": "compiled",
    "culi_mlip.optimize.tuning": "Tuning load_tuning retime tune",
    "culi_mlip.optimize.worker": "Place Work places_of",
    "culi_mlip.process": "keep_freed_memory",
    "culi_mlip.quantum": "Circuit QDILayer",
    "culi_mlip.reference": "ENGINES Cp2kSettings Engine GpawSettings VaspSettings get_engine",
    "culi_mlip.reference.relaxation": "computed_labels",
    "culi_mlip.structures": "adatoms bulk campaign distinct_millers interface li_on_cu rattled "
    "slab upright",
    "culi_mlip.structures.slabs": "THICKNESS",
    "culi_mlip.workflows": "workflow",
}


@pytest.mark.parametrize("module", NAMES)
def test_name_can_be_imported(module):
    found = importlib.import_module(module)
    for name in NAMES[module].split():
        assert getattr(found, name) is not None


def test_moved_module_is_the_one_of_today():
    code = (
        "import culi_mlip.optimize.tuning as a\nfrom culi_mlip.tuning import tune as b\n"
        "from culi_mlip.datasets import recipe as c, Recipe\n"
        "import culi_mlip.labelling.recipe as d\n"
        "from culi_mlip.datasets import labelling as e\nimport culi_mlip.labelling.campaign as f\n"
        "assert (a, c, e) == (b, d, f) and Recipe is d.Recipe\n"
        "assert (b.__name__, d.__spec__.name) == ('culi_mlip.tuning.tune', d.__name__)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("room", ["datasets", "optimize", "models"])
def test_name_that_never_was_is_an_error(room):
    found = importlib.import_module(f"culi_mlip.{room}")
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = found.nonsense
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(f"culi_mlip.{room}.nonsense")
