"""Which file is the model, and the record beside it."""

import hashlib
import json
import shutil
import zipfile

import pytest

from culi_mlip.errors import ModelError
from culi_mlip.models.files import (
    ModelRecord,
    Validation,
    checkpoint_digest,
    model_digest,
    model_file,
    model_metadata,
)
from culi_mlip.models.settings import TrainSettings


@pytest.fixture
def run(tmp_path):
    """A run folder with two checkpoints, a package and a record; one package lies elsewhere."""
    names = ("run/checkpoints/best.ckpt", "run/checkpoints/last.ckpt", "run/m.nequip.zip",
             "run/m.nequip.pt2", "m.nequip.zip")  # fmt: skip
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("name", name)
    validation = Validation(force_mae=0.1, energy_mae_per_atom=0.2, stress_mae=None)
    ModelRecord(
        variant="qdi", species=["Cu"], r_max=5.0, reference_energies={"Cu": -1.0}, notes=[],
        train_frames=2, train_sha256="", best_epoch=1, validation=validation,
        settings=TrainSettings(), checkpoint_sha256=checkpoint_digest(tmp_path / "run"),
    ).write(tmp_path / "run" / "model.json")  # fmt: skip
    return tmp_path / "run"


def test_a_run_folder_is_its_best_checkpoint(run):
    best = run / "checkpoints" / "best.ckpt"
    assert model_file(run) == model_file(best) == best
    digest = hashlib.sha256(best.read_bytes()).hexdigest()[:16]
    assert model_digest(run) == model_digest(best) == digest
    assert model_digest(run / "checkpoints" / "last.ckpt") != digest
    (run / "notes.zip").touch()
    for name in ("notes.zip", "none.ckpt"):
        with pytest.raises(ModelError):
            model_file(run / name)


NAMES = ["", "checkpoints/best.ckpt", "m.nequip.zip", "m.nequip.pt2"]


@pytest.mark.parametrize("name", NAMES)
def test_the_record_is_found_from_every_file_of_the_run(run, name):
    assert model_metadata(run / name)["validation"]["energy_mae_per_atom"] == 0.2
    assert model_metadata(run.parent / "m.nequip.zip") == {}


def test_the_record_is_of_one_checkpoint(run):
    """Errors are those of the best checkpoint, not of the last one, wherever it is copied to."""
    assert model_metadata(run / "checkpoints" / "last.ckpt") == {}
    shutil.copy(run / "checkpoints" / "best.ckpt", run / "kept.ckpt")
    assert model_metadata(run / "kept.ckpt")["variant"] == "qdi"


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_that_was_overwritten_has_no_record(run, name):
    shutil.copy(run / "checkpoints" / "last.ckpt", run / "checkpoints" / "best.ckpt")
    with pytest.warns(UserWarning, match=r"best\.ckpt was changed after the training"):
        assert model_metadata(run / name) == {}


def test_a_record_of_before_holds_no_digest_and_is_taken_as_it_is(run):
    record = json.loads((run / "model.json").read_text())
    del record["checkpoint_sha256"]
    (run / "model.json").write_text(json.dumps(record))
    shutil.copy(run / "checkpoints" / "last.ckpt", run / "checkpoints" / "best.ckpt")
    assert model_metadata(run)["variant"] == "qdi"
