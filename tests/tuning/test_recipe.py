"""Recipes of tunings: ranges of real settings, and clear words about wrong ones."""

import pytest
import yaml

from culi_mlip.configuration import parse
from culi_mlip.errors import RecipeError, SpaceError
from culi_mlip.models.presets import PRESETS
from culi_mlip.models.settings import TrainSettings, load_settings
from culi_mlip.optimize import Categorical, Integer, Real
from culi_mlip.quantum import Circuit
from culi_mlip.tuning.recipe import Measurement, load_recipe, point_of, settings_at
from culi_mlip.workflows import workflow

SPACE = {
    "r_max": {"type": "real", "low": 4, "high": 8},
    "further_mlp_widths.1": {"type": "integer", "low": 4, "high": 64, "log": True},
    "loss.forces": {"type": "real", "low": 0.1, "high": 10, "log": True},
    "variant": {"type": "categorical", "choices": ["mlp", "qdi"]},
}


@pytest.fixture
def written(tmp_path):
    def write(**content):
        (tmp_path / "r.yaml").write_text(yaml.safe_dump(content))
        return tmp_path / "r.yaml"

    return write


def test_ranges_become_a_space(written):
    settings, space = load_recipe(written(settings={"epochs": 7}, space=SPACE))
    assert settings == TrainSettings(epochs=7)
    assert space.parameters == {
        "r_max": Real(4, 8),
        "further_mlp_widths.1": Integer(4, 64, log=True),
        "loss.forces": Real(0.1, 10, log=True),
        "variant": Categorical("mlp", "qdi"),
    }


def test_point_becomes_settings_and_back(written):
    settings, space = load_recipe(written(space=SPACE))
    point = {"r_max": 6.5, "further_mlp_widths.1": 8, "loss.forces": 2.0, "variant": "mlp"}
    there = settings_at(settings, point, "here")
    assert (there.r_max, there.further_mlp_widths, there.variant) == (6.5, (16, 8), "mlp")
    assert there.loss.forces == 2.0
    assert there.loss.energy == settings.loss.energy
    assert point_of(there, space) == point


def test_cutoffs_of_pairs_are_searched_up_to_the_smallest_r_max(written):
    pair = {"type": "real", "low": 3.0, "high": 4.5}
    settings, space = load_recipe(written(settings={}, space={"pair_cutoffs.Cu-Cu": pair}))
    there = settings_at(settings, {"pair_cutoffs.Cu-Cu": 3.5}, "here")
    assert there.pair_cutoffs == {"Cu-Cu": 3.5}
    assert point_of(there, space) == {"pair_cutoffs.Cu-Cu": 3.5}
    assert point_of(settings, space) is None  # the untuned model has no such cutoff
    with pytest.raises(RecipeError, match=r"4.5 Å of Cu-Cu is more than r_max, 4.0 Å"):
        load_recipe(written(space={"pair_cutoffs.Cu-Cu": pair, "r_max": SPACE["r_max"]}))


def test_former_names_of_the_circuit_are_searched_by_their_present_ones(written):
    """`readout_features` was the circuit's in a hybrid alone."""
    space = {
        "qdi_depth": {"type": "integer", "low": 1, "high": 4},
        "readout_features": {"type": "integer", "low": 4, "high": 21},
        "encoding": {"type": "categorical", "choices": ["X", "Z"]},
    }
    settings, found = load_recipe(written(settings={"qdi_depth": 2, "n_qubits": 3}, space=space))
    assert settings.circuit == Circuit(n_qubits=3, depth=2)
    assert found.parameters == {
        "circuit.depth": Integer(1, 4),
        "circuit.n_features": Integer(4, 21),
        "circuit.encoding": Categorical("X", "Z"),
    }
    point = {"circuit.depth": 4, "circuit.n_features": 7, "circuit.encoding": "X"}
    there = settings_at(settings, point, "here")
    assert there.circuit == Circuit(n_qubits=3, n_features=7, depth=4, encoding="X")
    assert point_of(there, found) == point
    of_mlp = {"variant": "mlp", "readout_features": 6}
    settings, found = load_recipe(written(settings=of_mlp, space=space))
    assert found.parameters.keys() == {"circuit.depth", "readout_features", "circuit.encoding"}
    assert point_of(settings, found)["readout_features"] == 6
    twice = space | {"circuit.depth": {"type": "integer", "low": 1, "high": 3}}
    with pytest.raises(RecipeError, match="two ranges of circuit.depth, one by a former name"):
        load_recipe(written(space=twice))


def test_settings_outside_the_space_are_no_point(written):
    settings, space = load_recipe(written(settings={"r_max": 3.0}, space=SPACE))
    assert point_of(settings, space) is None


@pytest.mark.parametrize(("variant", "n"), [("allegro", 6), ("mlp", 9), ("qdi", 9)])
def test_recipes_hold_the_papers_hyperparameters_and_models(variant, n):
    settings, space = load_recipe(workflow(f"tune-{variant}.yaml"))
    assert settings.variant == variant
    assert len(space.parameters) == n
    assert point_of(settings, space) is not None  # the untuned model is the first trial
    for name, preset in PRESETS.items():
        if preset["variant"] == variant:
            assert point_of(load_settings(None, {}, name), space) is not None, preset


@pytest.mark.parametrize(
    ("space", "error", "words"),
    [
        ({"rmax": {"type": "real", "low": 4, "high": 8}}, RecipeError, "key is 'r_max'"),
        ({"r_max": {"type": "real", "low": -1, "high": 8}}, RecipeError, "r_max: input should be"),
        ({"r_max": {"type": "real", "low": 8, "high": 4}}, SpaceError, "lower must be less"),
        (
            {"learning_rate": {"type": "real", "low": 0, "high": 1, "log": True}},
            SpaceError,
            "learning_rate: a logarithmic range from 0",
        ),
        ({"variant": {"type": "categorical", "choices": ["qdi"]}}, SpaceError, "of 1: give at"),
        (  # its ends are integers, what lies between is not
            {"batch_size": {"type": "real", "low": 1, "high": 4}},
            RecipeError,
            "batch_size: input should be a valid integer",
        ),
        (
            {"circuit.n_qubits": {"type": "integer", "low": 2, "high": 12}},
            RecipeError,
            "space, circuit: n_qubits=12: give 1 to 8",
        ),
        (
            {"learning_rate": {"type": "real", "low": 1e-3, "high": float("nan")}},
            RecipeError,
            "high: input should be a finite number",
        ),
        ({"r_max": {"type": "float", "low": 4, "high": 8}}, RecipeError, "'float' is unknown"),
        ({"r_max": {"low": 4, "high": 8}}, RecipeError, "key 'type' is missing"),
        (
            {"further_mlp_widths.2": {"type": "integer", "low": 4, "high": 8}},
            RecipeError,
            "unknown key 'further_mlp_widths.2'",
        ),
        (
            {"circuit.deep": {"type": "integer", "low": 1, "high": 4}},
            RecipeError,
            "space, circuit: unknown key 'deep': the nearest valid key is 'depth'",
        ),
    ],
)
def test_wrong_ranges(written, space, error, words):
    with pytest.raises(error, match=".") as raised:
        load_recipe(written(space=space))
    assert words in str(raised.value)


def test_a_trial_is_measured_without_limits_by_default():
    limits = ("time_limit", "memory_limit", "max_parameters", "max_memory", "max_drift")
    assert Measurement().model_dump() == dict.fromkeys((*limits, "device")) | {
        "compile": False, "threads": 1, "repeats": 5, "pruner": "none"
    }  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        "threads",
        "repeats",
        "time_limit",
        "memory_limit",
        "max_parameters",
        "max_memory",
        "max_drift",
    ],
)
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_impossible_limits_are_refused(name, value):
    """A limit of zero or less would turn the sign of its constraint."""
    with pytest.raises(RecipeError, match=f"options, {name}: input should be "):
        parse(Measurement, {name: value}, "options")
