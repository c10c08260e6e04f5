"""Records: identities that new fields leave alone, versions, damage."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from culi_mlip import configuration, records
from culi_mlip.configuration import Configuration
from culi_mlip.errors import CuliError
from culi_mlip.models.settings import LossWeights, TrainSettings
from culi_mlip.records import Record
from culi_mlip.reference import get_engine

ROOT = Path(__file__).parents[1]
OPEN_SET = {
    "cutoff": 520,
    "kpoint_length": 24,
    "kpoint_origin": "shifted",
    "smearing": "methfessel-paxton",
    "width": 0.2,
    "semicore": {"Li": 3},
}


@pytest.mark.parametrize(
    ("name", "settings", "digest"),
    [
        ("ase", {"calculator": "ase.calculators.emt.EMT"}, "ef5161672e61"),
        ("chgnet", {}, "eec9453f3eed"),
        ("cp2k", {}, "e5ddeae9f249"),
        ("emt", {}, "e9b0ec20311f"),
        ("gpaw", {}, "ebc3586e20a7"),
        ("gpaw", OPEN_SET, "ed788f3675a2"),
        ("vasp", {}, "e15afbd7d63a"),
        ("vasp", {"cutoff": 400, "kpoint_groups": 2}, "e54ca5f25d62"),
        ("imported", {"code": "FHI-aims", "is_dft": True}, "e4a62582f6ca"),
    ],
)
def test_digests_are_those_of_labels_that_exist(name, settings, digest):
    assert get_engine(name, settings).digest == digest


def test_new_field_of_every_record_orphans_nothing(tmp_path):
    """Old folders, in a process where each setting and record has a field more."""
    assert "added_since" not in Configuration.model_fields, "not in this process"
    command = [
        *(sys.executable, "-m", "pytest", "-q", "-p", "tests.new_field", "-p", "no:cacheprovider"),
        *("--basetemp", str(tmp_path / "temp"), "tests/test_old_folders.py", __file__),
        *("-k", "as_it_was or interrupted or finished or found or md or melt or digests"),
    ]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


class Inner(Configuration):
    x: int = 1
    y: int = 2


class Sample(Record):
    FIRST = frozenset({"first"})
    MACHINE = frozenset({"cores"})

    needed: str
    first: int = 3
    cores: int = 1
    inner: Inner = Inner()
    many: tuple[Inner, ...] = ()
    named: dict[str, Inner] = {}
    maybe: Inner | None = None
    anything: dict[str, Any] = {}


@pytest.mark.parametrize(
    ("values", "identity"),
    [
        ({}, {}),
        ({"first": 4}, {"first": 4}),
        ({"cores": 8}, {}),
        ({"inner": {"y": 5}}, {"inner": {"y": 5}}),
        ({"inner": {"y": 2}}, {}),
        ({"many": [{"x": 4}, {}]}, {"many": [{"x": 4}, {}]}),
        ({"named": {"a": {"x": 4}, "b": {}}}, {"named": {"a": {"x": 4}, "b": {}}}),
        ({"maybe": {}}, {"maybe": {}}),
        ({"anything": {"a": {3: 4}}}, {"anything": {"a": {"3": 4}}}),
    ],
)
def test_identity_is_what_differs_from_defaults(values, identity):
    wanted = {"needed": "a", "first": 3, **identity}
    assert Sample(needed="a", **values).identity() == wanted
    json.dumps(wanted)


def test_identity_of_trainings():
    assert TrainSettings().identity() == {}
    settings = TrainSettings(epochs=3, loss=LossWeights(energy=2.0), further_mlp_widths=(4, 4))
    assert settings.identity() == {
        "epochs": 3,
        "loss": {"energy": 2.0},
        "further_mlp_widths": [4, 4],
    }
    assert settings.identity(without={"epochs", "loss"}) == {"further_mlp_widths": [4, 4]}


def _renamed(old: dict[str, Any]) -> dict[str, Any]:
    return {"total": old["sum"], "parts": old["parts"]}


def _counted(old: dict[str, Any]) -> dict[str, Any]:
    return {"total": old["total"], "number": len(old["parts"])}


class Twice(Record):
    UPDATES = (_renamed, _counted)

    total: float
    number: int


@pytest.mark.parametrize(
    "content",
    [
        {"sum": 2.5, "parts": [1, 1.5]},
        {"version": 1, "total": 2.5, "parts": [1, 1.5]},
        {"version": 2, "total": 2.5, "number": 2},
    ],
)
def test_old_versions_are_updated_one_by_one(content, tmp_path):
    (tmp_path / "record.json").write_text(json.dumps(content))
    record = Twice.read(tmp_path / "record.json")
    assert record == Twice(total=2.5, number=2)
    assert record["total"] == record.total == 2.5
    record.write(tmp_path / "again.json")
    written = json.loads((tmp_path / "again.json").read_text())
    assert written == {"version": 2, "total": 2.5, "number": 2}
    assert Twice.read(tmp_path / "again.json") == record


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"version": 3, "total": 2.5, "number": 2}', "newer version of culi_mlip (3, this one"),
        ('{"version": "x"}', "newer version"),
        ('{"version": 2, "total": 2.5}', "it has no number"),
        ('{"version": 2, "total": "a", "number": 2}', "total Input should be a valid number"),
        ('{"version": 2, "total": 1, "number": 2, "more": 3}', "unknown key 'more'"),
        ("{}", "KeyError('sum')"),
        ("[]", "damaged"),
        ("3", "damaged"),
        ("null", "damaged"),
        ("{", "is not a readable JSON file"),
    ],
)
def test_damaged_and_newer_records_are_refused(content, message, tmp_path):
    file = tmp_path / "record.json"
    file.write_text(content)
    with pytest.raises(CuliError, match=r"record\.json") as error:
        Twice.read(file)
    assert message in str(error.value)


def all_kinds(kind=configuration.Configuration):
    return {kind, *(found for sub in kind.__subclasses__() for found in all_kinds(sub))}


def test_fields_of_records_are_documented():
    """What a record means is in its docstring, or in that of what its fields are named after."""
    package = [k for k in all_kinds(records.Record) if k.__module__.startswith("culi_mlip.")]
    assert len(package) > 10
    for kind in package:
        assert kind.__doc__, kind
