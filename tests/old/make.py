"""Make the folders of the version before records were typed: run with commit 469eee1.

``python make.py OUT`` writes one ``NAME.tar.xz`` for each kind of folder, and ``expected.json``
with what the tests hold the newer version to.
"""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml
from ase.build import bulk
from ase.calculators.emt import EMT
from culi_mlip.datasets.recipe import Split
from culi_mlip.optimize.recipe import Measurement
from culi_mlip.optimize.tuning import tune

from culi_mlip.configuration import parse
from culi_mlip.datasets import Recipe, build_dataset, export_parts, open_store
from culi_mlip.dynamics import run_md
from culi_mlip.files import read_frames, write_frames
from culi_mlip.models.files import model_digest
from culi_mlip.models.settings import TrainSettings
from culi_mlip.models.training import train
from culi_mlip.optimize import Integer, Space

STRAINS = [-0.03, 0.0, 0.03]
RECIPE = {
    "structures": [{"kind": "bulk", "symbol": "Cu", "repeat": [2, 1, 1], "strains": STRAINS,
                    "disorder": {"copies": 1}}],
    "sampling": {"kinds": ["bulk"], "temperatures": [300.0], "steps": 4, "stride": 2},
    "engine": {"name": "emt"},
    "split": {"val": 0.2, "test": 0.2},
}  # fmt: skip
SETTINGS = {
    "epochs": 2,
    "batch_size": 3,
    "schedule": "constant",
    "r_max": 3.2,
    "num_layers": 1,
    "num_scalar_features": 2,
    "num_tensor_features": 1,
    "readout_width": 2,
    "output_mlp_width": 2,
    "n_qubits": 2,
    "readout_features": 2,
    "qdi_depth": 2,
    "entangler": "chain",
}
SPACE = {"qdi_depth": [1, 3], "readout_features": [2, 4], "batch_size": [2, 4]}
MELT_QUENCH = ["--hold", "300", "--hold-time", "0.02", "--rate", "5000", "--frames", "3"]


def main(out: Path) -> None:
    """Make all folders and pack them."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        expected = {
            "dataset": dataset(root / "dataset"),
            "interrupted": interrupted(root / "interrupted"),
            "run": run(root / "dataset", root / "run"),
            "study": study(root / "dataset", root / "study"),
            "md": md(root / "md"),
            "melt-quench": melt_quench(root / "melt-quench", root / "start.extxyz"),
        }
        for name in expected:
            pack(root / name, out / f"{name}.tar.xz")
    (out / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


def dataset(folder: Path) -> dict:
    """A finished dataset that its user split by frame, and its recipe."""
    recipe = parse(Recipe, RECIPE, "recipe")
    build_dataset(recipe, folder)
    split = Split(val=0.2, test=0.2, by="frame")
    card = export_parts(folder, split=split, seed=3, chosen=True).card
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    store = open_store(folder)
    return {
        "engine_digest": card["engine_digest"],
        "frames": card["frames"],
        "uids": [atoms.info["uid"] for atoms in store.frames()],
        "train_sha256": card["train_sha256"],
    }


def interrupted(folder: Path) -> dict:
    """A dataset that was killed while a job ran whose label was finished and its MD was not."""
    values = {**RECIPE, "sampling": {**RECIPE["sampling"], "steps": 3000, "stride": 300}}
    folder.mkdir()
    (folder / "recipe.yaml").write_text(yaml.safe_dump(values))
    command = [sys.executable, "-c", "from culi_mlip.cli import main; main()", "build-dataset",
               str(folder / "recipe.yaml"), "--out", str(folder)]  # fmt: skip
    process = subprocess.Popen(command, start_new_session=True)
    while not [f for f in folder.glob("runs/*/md/*.steps") if f.stat().st_size > 5000]:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (steps,) = folder.glob("runs/*/md/*.steps")
    file = steps.parent.parent / "outcome.json"
    outcome = json.loads(file.read_text())
    outcome["host"] = "a-former-host"  # so that a label taken from here can be told
    file.write_text(json.dumps(outcome))
    return {"job": file.parent.name}


def run(data: Path, folder: Path) -> dict:
    """A training of two epochs with a constant learning rate."""
    trained = train(data, folder, TrainSettings(**SETTINGS), device="cpu")
    (folder / "train.log").unlink()
    return {
        "validation": trained.metadata["validation"],
        "digest": model_digest(folder),
        "settings": SETTINGS,
    }


def study(data: Path, folder: Path) -> dict:
    """A tuning of two trials."""
    space = Space(**{name: Integer(*ends) for name, ends in SPACE.items()})
    settings = TrainSettings(**{**SETTINGS, "epochs": 1})
    tuning = tune(data, folder, settings, space, trials=2, measurement=Measurement(device="cpu"))
    for run_folder in folder.glob("trials/*/run"):
        (run_folder / "checkpoints" / "last.ckpt").unlink()
        (run_folder / "train.log").unlink()
    (folder / "trials/0000/trial.log").unlink(missing_ok=True)
    return {
        "params": [t.params for t in tuning.trials],
        "values": [t.values for t in tuning.trials],
        "space": SPACE,
        "settings": {**SETTINGS, "epochs": 1},
    }


def md(folder: Path) -> dict:
    """A run of 0.1 ps."""
    atoms = bulk("Cu", cubic=True)
    result = run_md(atoms, EMT(), temperature=300, time=0.1, out=folder, stride=5, seed=4)
    longer = run_md(
        atoms, EMT(), temperature=300, time=0.14, out=f"{folder}-longer", stride=5, seed=4
    )
    return {"rows": len(result.log["step"]), "total_eV": longer.log["total_eV"].tolist()}


def melt_quench(folder: Path, start: Path) -> dict:
    """A run by an engine that was killed in the ramp."""
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, seed=1)
    write_frames(start, [atoms])
    command = [sys.executable, "-c", "from culi_mlip.cli import main; main()", "melt-quench",
               str(start), "--engine", "emt", *MELT_QUENCH]  # fmt: skip
    whole = folder.with_name("whole")
    subprocess.run([*command, "--out", str(whole)], check=True)
    text = "import culi_mlip.dynamics.records as r\nfrom culi_mlip.cli import main\n" \
           "old = r.Recorder.record\n" \
           "def record(self):\n    old(self)\n" \
           "    if self.dynamics.nsteps >= 20: import os; os._exit(9)\n" \
           "r.Recorder.record = record\nmain()\n"  # fmt: skip
    subprocess.run([sys.executable, "-c", text, *command[3:], "--out", str(folder)], check=False)
    (folder / "start.extxyz").write_bytes(start.read_bytes())
    log = np.genfromtxt(whole / "log.csv", delimiter=",", names=True)
    return {
        "arguments": MELT_QUENCH,
        "total_eV": log["total_eV"].tolist(),
        "frames": len(read_frames(whole / "trajectory.extxyz")),
    }


def pack(folder: Path, target: Path) -> None:
    """Pack a folder, the same bytes whenever."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz", preset=9) as archive:
        archive.add(folder, arcname=folder.name, filter=_plain)
    target.write_bytes(buffer.getvalue())


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if "__pycache__" in member.name:
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    main(Path(sys.argv[1]))
