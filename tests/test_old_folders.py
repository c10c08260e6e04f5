"""Folders of the version before records were typed are opened, continued and reported.

`tests/old/make.py` made them, with commit 469eee1.
"""

import json
from pathlib import Path

import ase.db
import numpy as np
import pytest
import yaml
from ase.build import bulk
from ase.calculators.emt import EMT

from culi_mlip.calculator import HybridAllegro
from culi_mlip.configuration import parse
from culi_mlip.datasets import open_store
from culi_mlip.dynamics import run_md
from culi_mlip.errors import CuliError
from culi_mlip.files import read_frames
from culi_mlip.labelling import build_dataset, load_recipe
from culi_mlip.models.files import model_digest
from culi_mlip.models.settings import TrainSettings
from culi_mlip.models.training import learning_curve, train
from culi_mlip.reference import Engine
from culi_mlip.tuning.recipe import Measurement
from culi_mlip.tuning.recipe import load_recipe as load_tuning_recipe
from culi_mlip.tuning.tune import load_tuning, tune
from tests.conftest import unpack_old

OLD = Path(__file__).parent / "old"
EXPECTED = json.loads((OLD / "expected.json").read_text())


@pytest.fixture
def old(tmp_path):
    """Unpack folders of before; return where they are."""

    def unpack(*names):
        return unpack_old(tmp_path, *names)

    return unpack


def labels(folder):
    """Row, host and time of each label: another label has others."""
    with ase.db.connect(folder / "store.db") as database:
        return {row.uid: (row.id, row.mtime) for row in database.select(status="done")}


def test_dataset_is_as_it_was(old, monkeypatch):
    expected = EXPECTED["dataset"]
    folder = old("dataset") / "dataset"
    before = labels(folder)
    monkeypatch.setattr(Engine, "calculator", None)  # nothing is computed
    card = build_dataset(load_recipe(folder / "recipe.yaml"), folder).card
    assert labels(folder) == before
    assert sorted(before) == expected["uids"]
    assert card.engine_digest == expected["engine_digest"]
    assert card.frames == expected["frames"]
    assert card.split_by == "frame"
    assert card.split_chosen
    assert card.train_sha256 == expected["train_sha256"]
    (source,) = open_store(folder).engines.values()
    assert source.title == "ASE's effective medium theory"
    assert source.caution == card.caution == "labels are from ASE's effective medium theory, " \
        "a stand-in for DFT"  # fmt: skip


def test_dataset_grows_under_its_digest(old):
    folder = old("dataset") / "dataset"
    before = labels(folder)
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    recipe["structures"][0]["disorder"]["copies"] = 2
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    card = build_dataset(load_recipe(folder / "recipe.yaml"), folder).card
    assert card.engine_digest == EXPECTED["dataset"]["engine_digest"]
    assert before.items() < labels(folder).items()
    assert sum(card.frames.values()) == 15


def test_dataset_of_another_recipe_is_refused(old):
    folder = old("dataset") / "dataset"
    recipe = load_recipe(folder / "recipe.yaml")
    with pytest.raises(CuliError, match="other seed"):
        build_dataset(recipe.model_copy(update={"seed": 1}), folder)


def test_label_of_an_interrupted_job_is_taken(old):
    folder = old("interrupted") / "interrupted"
    build_dataset(load_recipe(folder / "recipe.yaml"), folder)
    store = open_store(folder)
    assert store.hosts()["a-former-host"] == 1
    assert store.count("done") == 3 + 3 + 3 * 10
    assert store.check() == []


def test_training_is_finished(old, monkeypatch):
    expected = EXPECTED["run"]
    place = old("dataset", "run")
    monkeypatch.setattr("culi_mlip.models.training._run_nequip", None)
    trained = train(place / "dataset", place / "run", TrainSettings(**expected["settings"]))
    assert expected["validation"].items() <= trained.metadata.validation.model_dump().items()
    assert model_digest(place / "run") == expected["digest"]
    metadata = HybridAllegro(place / "run", device="cpu").metadata
    assert expected["validation"].items() <= metadata["validation"].items()
    assert metadata["engine_title"] == "ASE's effective medium theory"
    other = TrainSettings(**{**expected["settings"], "readout_width": 3})
    with pytest.raises(CuliError, match="other settings"):
        train(place / "dataset", place / "run", other)


def test_training_is_extended(old):
    place = old("dataset", "run")
    before = learning_curve(place / "run")
    settings = TrainSettings(**{**EXPECTED["run"]["settings"], "epochs": 3})
    train(place / "dataset", place / "run", settings, device="cpu")
    curve = learning_curve(place / "run")
    assert [row["epoch"] for row in curve] == [0, 1, 2]
    assert curve[:2] == before


@pytest.fixture
def tuned(old, tmp_path):
    """Tune the old study further, by the same recipe."""
    place = old("dataset", "study")
    expected = EXPECTED["study"]
    ranges = {
        name: {"type": "integer", "low": low, "high": high}
        for name, (low, high) in expected["space"].items()
    }
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"settings": expected["settings"], "space": ranges}))

    def tuned(trials, **measurement):
        options = {"measurement": Measurement(device="cpu", **measurement), "trials": trials}
        return tune(place / "dataset", place / "study", *load_tuning_recipe(recipe), **options)

    tuned.folder = place / "study"
    return tuned


def test_study_is_found_again(tuned):
    expected = EXPECTED["study"]
    assert [t.values for t in load_tuning(tuned.folder).trials] == expected["values"]
    again = tuned(2)
    assert [t.params for t in again.trials] == expected["params"]
    assert [t.values for t in again.trials] == expected["values"]
    with pytest.raises(CuliError, match="other measurement"):
        tuned(2, repeats=2)


def test_study_goes_on(tuned):
    expected = EXPECTED["study"]
    more = tuned(3)
    assert [t.values for t in more.trials[:2]] == expected["values"]
    assert more.trials[2].values
    assert more.trials[2].params.keys() == expected["params"][0].keys()


def test_study_is_reported(old, culi):
    place = old("dataset", "study")
    for job in (place / "study").glob("trials/*/job.json"):  # it was made in another place
        job.write_text(json.dumps(json.loads(job.read_text()) | {"data": str(place / "dataset")}))
    done = culi("optimize", "report", place / "study")
    assert done.returncode == 0, done.stderr
    assert "2 trials, 0 failed" in done.stdout
    assert (place / "study" / "report.html").exists()
    (best,) = {f.read_text() for f in (place / "study" / "best").glob("*accurate.yaml")}
    assert parse(TrainSettings, yaml.safe_load(best), "best").r_max == 3.2


def test_md_goes_on(old):
    folder = old("md") / "md"
    options = {"temperature": 300, "out": folder, "stride": 5, "seed": 4}
    before = (folder / "trajectory.extxyz").read_bytes()
    finished = run_md(bulk("Cu", cubic=True), EMT(), time=0.1, **options)
    assert len(finished.log["step"]) == EXPECTED["md"]["rows"]
    assert (folder / "trajectory.extxyz").read_bytes() == before
    longer = run_md(bulk("Cu", cubic=True), EMT(), time=0.14, **options)
    assert np.allclose(longer.log["total_eV"], EXPECTED["md"]["total_eV"], rtol=0, atol=1e-9)
    with pytest.raises(CuliError, match="other seed"):
        run_md(bulk("Cu", cubic=True), EMT(), time=0.14, **{**options, "seed": 5})


def test_melt_quench_goes_on(old, culi):
    expected = EXPECTED["melt-quench"]
    folder = old("melt-quench") / "melt-quench"
    start = (folder / "log.csv").read_text()
    done = culi("melt-quench", folder / "start.extxyz", "--engine", "emt", *expected["arguments"],
                "--out", folder)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (folder / "log.csv").read_text().startswith(start)
    log = np.genfromtxt(folder / "log.csv", delimiter=",", names=True)
    assert np.allclose(log["total_eV"], expected["total_eV"], rtol=0, atol=1e-9)
    assert len(read_frames(folder / "trajectory.extxyz")) == expected["frames"]
