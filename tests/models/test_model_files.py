"""Which file is the model, and the record beside it."""

import hashlib
import json
import zipfile

import pytest

from culi_mlip.errors import ModelError
from culi_mlip.models.files import model_digest, model_file, model_metadata


@pytest.fixture
def run(tmp_path):
    """A run folder with two checkpoints, a package and a record; one package lies elsewhere."""
    names = ("run/checkpoints/best.ckpt", "run/checkpoints/last.ckpt", "run/m.nequip.zip",
             "run/m.nequip.pt2", "m.nequip.zip")  # fmt: skip
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("name", name)
    (tmp_path / "run" / "model.json").write_text(json.dumps({"variant": "qdi"}))
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


@pytest.mark.parametrize(
    "name", ["", "checkpoints/best.ckpt", "checkpoints/last.ckpt", "m.nequip.zip", "m.nequip.pt2"]
)
def test_the_record_is_found_from_every_file_of_the_run(run, name):
    assert model_metadata(run / name) == {"variant": "qdi"}
    assert model_metadata(run.parent / "m.nequip.zip") == {}
