"""The whole path in small: every step leaves its results, and the page needs no other file."""

import json
import re
import shutil
import subprocess
import sys
import textwrap
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import ase.io
import numpy as np
import pytest
import yaml
from ase import Atoms

from culi_mlip.errors import CuliError
from culi_mlip.files import write_frames
from culi_mlip.labelling import load_recipe
from culi_mlip.models.evaluation import Errors, Evaluation
from culi_mlip.models.files import Validation
from culi_mlip.models.settings import TrainSettings
from culi_mlip.workflows import workflow

pytest.importorskip("chgnet")
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    from culi_mlip.quickstart import quickstart

    said = []
    out = tmp_path_factory.mktemp("q") / "quickstart"
    result = quickstart(out, quick=True, say=said.append, step=lambda name: lambda d, t: None)
    return out, result, said


def test_it_says_that_the_labels_are_a_stand_in(quickstart):
    out, _, said = quickstart
    assert any("stand-in for DFT, not DFT" in line for line in said)
    assert "stand-in for DFT" in (out / "data/card.md").read_text()


def test_page_is_self_contained_and_complete(quickstart):
    out, result, _ = quickstart
    page = result.page.read_text()
    assert page.count("src='data:image/png;base64,") == 7
    assert not re.search(r"(src|href)=['\"]?(http|/|\.)", page)
    for word in ("stand-in for DFT", "Allegro+QDI", "meV/atom/ps", "What next", "adlayer-md"):
        assert word in page
    assert "The split is by parent: an ideal structure and all that was made from it" in page
    assert f"{1000 * result.errors.force_mae:.1f} meV/Å" in page
    assert {p.stem for p in (out / "figures").glob("*.png")} >= {"parity", "snapshots"}


def test_lithium_stays_on_copper(quickstart):
    out, result, _ = quickstart
    assert result.lost_atoms == []
    assert abs(result.nve_drift) < 1e-3
    frames = ase.io.read(out / "md/nvt/trajectory.extxyz", index=":")
    assert {len(f) for f in frames} == {72}


def test_folder_can_be_moved_and_continued(quickstart, tmp_path):
    from culi_mlip.quickstart import quickstart as run

    out, result, _ = quickstart
    moved = tmp_path / "elsewhere"
    shutil.copytree(out, moved)
    again = run(moved, quick=True, say=lambda text: None, step=lambda name: lambda d, t: None)
    assert asdict(again.errors) == pytest.approx(asdict(result.errors))
    assert (moved / "md/nve/log.csv").read_bytes() == (out / "md/nve/log.csv").read_bytes()


def test_example_runs_with_the_potential(quickstart):
    out, _, _ = quickstart
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "li_on_cu.py", out / "run"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["top", "bridge", "hollow"]


def test_ase_example_of_the_readme_runs(quickstart, capsys):
    out, _, _ = quickstart
    section = (ROOT / "README.md").read_text().split("## In ASE")[1].split("##")[0]
    code = textwrap.dedent("\n".join(re.findall(r"^    .*|^$", section, re.MULTILINE)))
    assert "HybridAllegro" in code
    exec(code.replace("quickstart/run", str(out / "run")).replace("fmax=0.05", "steps=3"), {})  # noqa: S102
    assert float(capsys.readouterr().out.split()[-1]) < 0


CARD = SimpleNamespace(
    frames={"train": 5, "val": 2, "test": 1},
    split_missed=["No Li in test."],
    reference_energies={"Cu": -3.1234, "Li": -1.5},
)


@pytest.fixture(params=[True, False], ids=["quick", "whole"])
def asked(request, tmp_path, monkeypatch):
    """A quickstart whose steps are left out: its folder, result, words, and what each step gets."""
    calls, said, root = {}, [], tmp_path / "q"

    def replace(module, name, result):
        def stand_in(*arguments, **options):
            options = {k: v for k, v in options.items() if k not in ("progress", "step")}
            calls.setdefault(name, []).append((arguments, options))
            return result(*arguments, **options) if callable(result) else result

        monkeypatch.setattr(f"culi_mlip.{module}.{name}", stand_in)

    def run_md(atoms, calculator, *, out, **options):
        """Leave copper and lithium 2.7 Å apart in height, without thermostat 3.7 Å."""
        pair = Atoms("CuLi", positions=[[0, 0, 1], [0, 0, 4.7 if out.name == "nve" else 3.7]])
        for name in ("trajectory", "final"):
            write_frames(out / f"{name}.extxyz", [pair])
        log = {"time_ps": np.arange(3.0), "total_eV": 0.36 * np.arange(3), "conserved_eV": 7.0}
        files = {name: out / f"{name}.extxyz" for name in ("trajectory", "final")}
        return SimpleNamespace(log=log, **files)

    validation = Validation(force_mae=0.0321, energy_mae_per_atom=0.0045, stress_mae=None)
    trained = SimpleNamespace(folder=root / "run", metadata=SimpleNamespace(validation=validation))
    rows = [Errors("a", 1, 9, 9, 9, 9, 9), Errors("all", 1, 0.0067, 9, 0.0089, 9, 9)]
    pairs = [np.full((2, 2), value) for value in (1.0, 2.0, 3.0, 4.0)]
    replace("labelling", "build_dataset", SimpleNamespace(card=CARD))
    replace("models.training", "train", trained)
    replace("models.training", "learning_curve", lambda folder: [{"of": folder.name}])
    replace("calculator.uncertainty", "recorded_uncertainty", None)
    replace("calculator.uncertainty", "calibrate", None)
    replace("calculator", "HybridAllegro", "the model")
    replace("datasets.frames", "training_frames", ["frames"])
    replace("models.evaluation", "evaluate", Evaluation(rows, *pairs))
    replace("models.files", "model_digest", "d1")
    replace("dynamics", "run_md", run_md)
    replace("dynamics", "lost_atoms", lambda atoms: [round(10 * atoms.positions[1, 2])])
    replace("report", "write_page", root / "report.html")
    from culi_mlip.quickstart import quickstart as run

    step = lambda name: lambda done, total: None  # noqa: E731
    result = run(root, quick=request.param, say=said.append, step=step)
    return SimpleNamespace(root=root, result=result, said="\n".join(said), calls=calls,
                           quick=request.param)  # fmt: skip


def test_each_step_gets_what_the_steps_before_it_left(asked):
    root, calls = asked.root, asked.calls
    ((recipe, out), _) = calls["build_dataset"][0]
    name = "quickstart-tiny.yaml" if asked.quick else "quickstart.yaml"
    assert (recipe, out) == (load_recipe(workflow(name)), root / "data")
    ((data, out, settings), _) = calls["train"][0]
    assert (data, out) == (root / "data", root / "run")
    full = TrainSettings(epochs=120, r_max=5.5)
    tiny = TrainSettings(epochs=4, num_scalar_features=16, num_tensor_features=4)
    assert settings == (tiny if asked.quick else full)
    parts = [arguments for arguments, _ in calls["training_frames"]]
    assert parts == [(root / f"data/{part}.extxyz",) for part in ("train", "val", "test")]
    assert calls["calibrate"] == [((root / "run", ["frames"], ["frames"]), {})]
    assert calls["HybridAllegro"] == [((root / "run",), {"compile": False})] * 2
    assert calls["evaluate"] == [((["frames"], "the model"), {})]
    ((start, model), nvt), ((second, _), nve) = calls["run_md"]
    length = 0.1 if asked.quick else 1.0
    assert model == "the model"
    assert start.symbols.formula.count() == {"Cu": 64, "Li": 8}, "half a monolayer"
    assert not start.constraints
    common = {"temperature": 300, "model": "d1"}
    assert nvt == common | {"time": 2 * length, "out": root / "md/nvt"}
    assert nve == common | {
        "time": length, "out": root / "md/nve", "ensemble": "nve", "timestep": 1.0,
    }  # fmt: skip
    assert second.positions[1, 2] == 3.7, "it goes on from the end of the thermostatted run"
    assert calls["write_page"] == [((root,), {})]


def test_numbers_of_the_steps_are_where_the_page_looks_for_them(asked):
    root, result = asked.root, asked.result
    curve = json.loads((root / "run/learning_curve.json").read_text())
    assert curve == [{"of": "run"}]
    saved = np.load(root / "evaluation/pairs.npz")
    assert [saved[key][0, 0] for key in ("energies", "forces", "stresses")] == [1, 2, 3]
    assert saved["force_errors"][0, 0] == 4
    errors = json.loads((root / "evaluation/errors.json").read_text())["errors"]
    assert [(row["kind"], row["force_mae"]) for row in errors] == [("a", 9), ("all", 0.0089)]
    summary = json.loads((root / "md/summary.json").read_text())
    length = 0.1 if asked.quick else 1.0
    assert (summary["nvt_time_ps"], summary["nve_time_ps"]) == (2 * length, length)
    assert summary["temperature_K"] == 300
    assert summary["nve_drift"] == result.nve_drift == pytest.approx(0.36 / 72)
    assert summary["lost_atoms"] == result.lost_atoms == [47], "of the last frame of all"
    for symbol, z in (("Cu", 1.0), ("Li", 3.7)):
        profile = summary["heights"][symbol]
        peak = profile["height"][int(np.argmax(profile["density"]))]
        assert peak == pytest.approx(z, abs=0.06)
    assert (result.page, result.errors.force_mae) == (root / "report.html", 0.0089)
    for words in (
        "Frames: 5 train, 2 val, 1 test. Reference energies (eV/atom): Cu -3.123, Li -1.500.",
        "    No Li in test.",
        "Validation: forces 32.1 meV/Å, energy 4.5 meV/atom.",
        "Test frames, split by parent: forces 8.9 meV/Å, energy 6.7 meV/atom.",
        "Moving lithium on Cu(100) at 300 K.",
        "Energy drift without thermostat: +5.000 meV/atom/ps.",
    ):
        assert words in asked.said


def test_a_folder_of_the_quick_path_is_not_for_the_whole_one(asked):
    from culi_mlip.quickstart import quickstart as run

    record = yaml.safe_load((asked.root / "run.yaml").read_text())
    assert (record["command"], record["status"]) == ("quickstart", "done")
    assert record["inputs"] == {"quick": asked.quick}
    with pytest.raises(CuliError, match=r"another job \(quickstart with other quick\)"):
        run(asked.root, quick=not asked.quick, say=print, step=lambda name: None)
