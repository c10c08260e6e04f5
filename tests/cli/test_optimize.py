"""Every option of ``culi-mlip optimize`` reaches the tuning."""

import pytest

from culi_mlip.cli import main
from culi_mlip.datasets.frames import LabelKeys
from culi_mlip.tuning import tune as tuning
from culi_mlip.tuning.recipe import Measurement


class Reached(Exception):  # noqa: N818
    """The tuning would start now."""


@pytest.fixture
def asked(monkeypatch):
    """What the command asks `tune` for."""
    found = {}

    def tune(data, out, settings, space, **options):
        found.update(options, data=data, out=out, settings=settings, space=space)
        raise Reached

    monkeypatch.setattr(tuning, "tune", tune)

    def run(*arguments):
        found.clear()
        with pytest.raises(Reached):
            main(["optimize", *arguments])
        return dict(found)

    return run


@pytest.mark.parametrize(
    ("option", "value", "name"),
    [
        ("--trials", 7, "trials"),
        ("--workers", 3, "workers"),
        ("--seed", 5, "seed"),
        ("--storage", "sqlite:///x.db", "storage"),
        ("--study", "mine", "name"),
    ],
)
def test_options_of_the_search(asked, option, value, name):
    assert asked("somewhere", option, str(value))[name] == value
    assert asked("somewhere")[name] != value


@pytest.mark.parametrize(
    ("option", "name", "value"),
    [
        ("--device=cpu", "device", "cpu"),
        ("--threads=4", "threads", 4),
        ("--time-limit=2.5", "time_limit", 2.5),
        ("--memory-limit=3", "memory_limit", 3.0),
        ("--max-parameters=1000", "max_parameters", 1000.0),
        ("--max-memory=700", "max_memory", 700.0),
        ("--max-drift=0.2", "max_drift", 0.2),
        ("--pruner=hyperband", "pruner", "hyperband"),
        ("--compile", "compile", True),
    ],
)
def test_options_of_the_measurement(asked, option, name, value):
    assert asked("somewhere", option)["measurement"] == Measurement(**{name: value})


def test_places_recipes_and_epochs(asked, tmp_path):
    found = asked("somewhere", "--variant", "mlp", "--epochs", "9", "--out", "there")
    assert (str(found["data"]), str(found["out"])) == ("somewhere", "there")
    assert (found["settings"].variant, found["settings"].epochs) == ("mlp", 9)
    assert "further_mlp_widths.0" in found["space"].parameters
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "settings: {l_max: 2}\nspace:\n  readout_width: {type: integer, low: 4, high: 8}\n"
    )
    found = asked("somewhere", "--recipe", str(recipe))
    assert list(found["space"].parameters) == ["readout_width"]
    assert found["settings"].l_max == 2


def test_names_of_labels(asked):
    names = ["--energy-key", "e", "--forces-key", "f", "--stress-key", "none"]
    assert asked("somewhere", *names)["keys"] == LabelKeys("e", "f", "none")
    assert asked("somewhere")["keys"] == LabelKeys()


@pytest.mark.parametrize(
    "wrong",
    [
        ["--trials", "0"],
        ["--trials", "-3"],
        ["--epochs", "0"],
        ["--seed", "-1"],
        ["--threads", "0"],
        ["--time-limit", "0"],
        ["--memory-limit", "nan"],
        ["--max-parameters", "0"],
        ["--max-memory", "-5"],
        ["--max-drift", "0"],
        ["--device", "gpu"],
    ],
)
def test_options_that_cannot_work_are_one_line(capsys, wrong):
    with pytest.raises(SystemExit) as ended:
        main(["optimize", "missing", *wrong])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert wrong[0].removeprefix("--").replace("-", "_") in line.replace("-", "_")
