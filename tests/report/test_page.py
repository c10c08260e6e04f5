"""The quickstart's page: units, per-atom energies, the row "all", nothing that HTML would obey."""

import shlex
import shutil

import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from culi_mlip.cli import group
from culi_mlip.dynamics.analysis import MDSummary
from culi_mlip.files import write_frames, write_json, write_text
from culi_mlip.models.evaluation import Errors, Evaluation, evaluate
from culi_mlip.report import write_page
from culi_mlip.report.page import evaluation_page
from culi_mlip.structures import bulk, rattled, slab
from tests.report.reader import Reader

GPA = 160.21766208  # GPa in an eV/Å³, CODATA
NAME = "a <b>&'folder'"


def errors(kind, frames, energy, force, stress):
    return {"kind": kind, "frames": frames, "energy_mae": energy, "energy_rmse": 9.0,
            "force_mae": force, "force_rmse": 9.0, "stress_mae": stress}  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A folder as quickstart leaves it, with numbers of our own."""
    root = tmp_path_factory.mktemp("page") / NAME
    card = {
        "frames": {"train": 30, "val": 4, "test": 5},
        "frames_by_kind": {
            "bulk": {"train": 20, "val": 3, "test": 1},
            "x<i>y": {"train": 10, "val": 1, "test": 4},
        },
        "caution": "labels are <script>alert(1)</script> & so on",
        "reference_energies": {"Cu": -3.25, "Li": -1.5},
        "split_by": "parent",
        "split_missed": [],
        "engine": "x", "engine_title": "X", "engine_settings": {}, "engine_digest": "e1",
        "is_dft": False, "notes": [], "seed": 0, "split_chosen": False, "species": ["Cu", "Li"],
        "atoms_per_frame": [1, 2], "force_rms": 0.1, "dropped_by_audit": {}, "failed_labels": {},
        "train_sha256": "",
    }  # fmt: skip
    write_json(root / "data/card.json", card)
    model = {
        "variant": "<em>own</em>", "species": ["Cu", "Li"], "r_max": 5.0, "notes": [],
        "reference_energies": {}, "train_frames": 30, "train_sha256": "", "best_epoch": 0,
        "validation": {"force_mae": 1, "energy_mae_per_atom": 1, "stress_mae": 1}, "settings": {},
    }  # fmt: skip
    write_json(root / "run/model.json", model)
    curve = [{"epoch": e, "val0_epoch/forces_mae": 0.1, "val0_epoch/per_atom_energy_mae": 0.01}
             for e in range(3)]  # fmt: skip
    curve[2]["val0_epoch/forces_mae"] = 0.05
    write_json(root / "run/learning_curve.json", curve)
    rows = [
        errors("bulk", 1, 0.0123, 0.0456, 2 / GPA),
        errors("x<i>y", 4, 0.0011, 0.0022, None),
        errors("all", 5, 0.0042, 0.0077, 0.5 / GPA),
    ]
    write_json(root / "evaluation/errors.json", rows)
    pairs = {
        key: np.array([[0.0, 0.1], [1.0, 1.0 + i]])
        for i, key in enumerate(("energies", "forces", "stresses", "force_errors"))
    }
    np.savez_compressed(root / "evaluation/pairs.npz", **pairs)
    frame = slab("Cu", (1, 0, 0), thickness=3, free_layers=None)
    moved = frame.copy()
    moved.positions[:, 2] += 1
    for name, kelvin in (("nvt", 310), ("nve", 290)):
        log = f"time_ps,temperature_K,potential_eV,conserved_eV\n0,300,-1,-1\n1,{kelvin},-1.1,-1\n"
        write_text(root / f"md/{name}/log.csv", log)
        write_frames(root / f"md/{name}/trajectory.extxyz", [frame, frame, moved])
    md = {"nve_drift": -0.00123, "lost_atoms": [3, 4], "nvt_time_ps": 2.0, "nve_time_ps": 1.0,
          "temperature_K": 300.0,
          "heights": {"Cu": {"height": [0.0, 1.0], "density": [1.0, 2.0]}}}  # fmt: skip
    write_json(root / "md/summary.json", md)
    found = Reader(write_page(root).read_text(encoding="utf-8"))
    found.root, found.md = root, md
    return found


def test_errors_are_in_the_units_of_their_columns(page):
    titles, *rows = page.table_with("stress MAE (GPa)")
    found = {row[0]: dict(zip(titles[1:], row[1:], strict=True)) for row in rows}
    assert found["bulk"] == {"frames": "1", "energy MAE (meV/atom)": "12.3",
                             "force MAE (meV/Å)": "45.6", "stress MAE (GPa)": "2.00"}  # fmt: skip
    assert found["x<i>y"]["stress MAE (GPa)"] == "–"
    assert rows[-1] == ["all", "5", "4.2", "7.7", "0.50"]


def test_the_headline_is_the_row_all(page):
    for words in ("7.7 meV/Å", "4.2 meV/atom", "-1.23 meV/atom/ps"):
        assert words in page.text
    assert "2atoms lost" in page.text


def test_frames_are_counted_by_part_and_in_all(page):
    titles, *rows = page.table_with("training")
    assert titles == ["kind", "training", "validation", "test"]
    assert rows == [
        ["bulk", "20", "3", "1"],
        ["x<i>y", "10", "1", "4"],
        ["all", "30", "4", "5"],
    ]
    assert "39 structures" in page.text
    assert "Cu -3.250 eV, Li -1.500 eV an atom" in page.text


def test_what_others_wrote_is_text(page):
    assert "<script>alert(1)</script> & so on" in page.text
    assert "<em>own</em>, end to end" in page.text
    assert f'HybridAllegro("{NAME}/run")' in page.text
    assert not {"script", "i", "em"} & {*page.tags}
    assert page.tags.count("b") == 4, "the four numbers on top"


def test_errors_of_energies_alone_are_dashes(page, tmp_path):
    from culi_mlip.report.page import errors_table

    assert Reader(errors_table([Errors(**errors("all", 1, 0.001, None, None))])).tables[0][1] == [
        "all", "1", "1.0", "–", "–",
    ]  # fmt: skip


class Shifted(EMT):
    """EMT with known errors: energy by 2 meV an atom, forces by 0.03, stress by 0.004."""

    def calculate(self, *arguments, **options):
        super().calculate(*arguments, **options)
        n = len(self.atoms)
        self.results["energy"] += 0.002 * n
        self.results["free_energy"] = self.results["energy"]
        self.results["forces"] = self.results["forces"] + 0.03 * np.sign(n - 4.5)
        self.results["stress"] = self.results["stress"] - 0.004


def test_errors_by_kind_and_in_all_are_those_that_were_put_in():
    """Frames of 4 and 8 atoms: energies per atom, each frame once; components of forces alike."""
    frames = []
    for kind, repeat in (("small", (1, 1, 1)), ("large", (2, 1, 1))):
        atoms = rattled(bulk("Cu", cubic=True, repeat=repeat), 0.1, seed=0)
        atoms.calc = EMT()
        results = {key: atoms.calc.get_property(key, atoms) for key in ("energy", "forces")}
        if kind == "large":
            results["stress"] = atoms.get_stress()
            results["energy"] -= 0.004 * len(atoms)
        atoms.calc = SinglePointCalculator(atoms, **results)
        atoms.info["kind"] = kind
        frames.append(atoms)
    found = evaluate(frames, Shifted())
    rows = {row.kind: row for row in found.errors}
    assert list(rows) == ["large", "small", "all"]
    assert rows["small"].energy_mae == pytest.approx(0.002)
    assert rows["large"].energy_mae == pytest.approx(0.006)
    assert rows["all"].energy_mae == pytest.approx(0.004), "a frame counts once"
    assert rows["all"].energy_rmse == pytest.approx(np.sqrt((0.002**2 + 0.006**2) / 2))
    assert rows["all"].force_mae == pytest.approx(0.03)
    assert rows["small"].stress_mae is None
    assert rows["all"].stress_mae == rows["large"].stress_mae == pytest.approx(0.004)
    assert (rows["small"].frames, rows["large"].frames, rows["all"].frames) == (1, 1, 2)
    assert found.energies[0] == pytest.approx([frames[0].get_potential_energy() / 4] * 2, abs=0.01)


def test_each_figure_is_drawn_from_its_own_file(page):
    from culi_mlip.report.page import _figures

    drawn = _figures(page.root, MDSummary.read(page.root / "md/summary.json"))
    shown = [axes.texts[0].get_text() for axes in drawn["parity"].axes]
    assert shown == ["MAE 50 meV/atom", "MAE 550 meV/Å", f"MAE {1.05 * GPA:.3g} GPa"]
    (points,) = drawn["calibration"].axes[0].collections
    assert points.get_offsets().tolist() == [[1000, 4000]], "what is 0 has no logarithm"
    assert drawn["learning_curve"].axes[0].get_lines()[0].get_ydata()[-1] == pytest.approx(50)
    for name, kelvin, lines in (("nvt", 310, 2), ("nve", 290, 1)):
        assert drawn[name].get_suptitle() == name.upper()
        upper, lower = drawn[name].axes
        assert upper.get_lines()[0].get_ydata() == pytest.approx([300, kelvin])
        assert len(upper.get_lines()) == lines, "a thermostat has a target"
        potential = lower.get_lines()[0].get_ydata()
        assert potential == pytest.approx([0, -100 / 3]), "three atoms"
    start, end, *_ = drawn["snapshots"].axes
    assert (start.get_title(), end.get_title()) == ("start", "after 2 ps")
    rise = [axes.collections[0].get_offsets()[:, 1].max() for axes in (start, end)]
    assert rise[1] - rise[0] == pytest.approx(1)
    assert {file.stem for file in (page.root / "figures").iterdir()} == {*drawn}
    assert "First and last frame of 2 ps at 300 K" in page.text


def test_folders_of_before_there_were_uncertainties_have_a_page(page, tmp_path):
    from culi_mlip.report.page import _figures

    root = shutil.copytree(page.root, tmp_path / "old")
    pairs = dict(np.load(root / "evaluation/pairs.npz"))
    del pairs["force_errors"]
    np.savez_compressed(root / "evaluation/pairs.npz", **pairs)
    assert "calibration" not in _figures(root, MDSummary.read(root / "md/summary.json"))


def test_page_of_an_evaluation():
    rows = [Errors("all", 3, 0.0042, 9, 0.0077, 9, 0.5 / GPA)]
    pairs = np.array([[1.0, 2.0], [2.0, 3.0], [3.0, 2.5]])
    found = Evaluation(rows, pairs, pairs, pairs, pairs, [True, False, False])
    page = Reader(evaluation_page(found, "a <b>", "some.xyz"))
    assert "Errors of a <b>" in page.text
    assert "On the 3 frames of some.xyz." in page.text
    assert "correlation of the two, by atom: 0.50." in page.text
    assert "1 of 3 frames hold atoms unlike those of the training." in page.text
    assert page.tables[0][1] == ["all", "3", "4.2", "7.7", "0.50"]
    plain = Reader(evaluation_page(Evaluation(rows, pairs, pairs, pairs), "a", "b"))
    assert "correlation" not in plain.text
    assert "unlike" not in plain.text


def test_what_next_are_commands_that_there_are(page):
    """As a shell reads them: names of commands, of options, and numbers; the folder is one word."""
    lines = [shlex.split(line) for line in page.text.splitlines() if line.startswith("culi-mlip ")]
    assert [words[1] for words in lines] == ["train", "evaluate", "md"]
    found = [
        group.get_command(None, name).make_context(name, list(words)).params
        for _, name, *words in lines
    ]
    train, evaluate, md = found
    assert (str(train["data"]), train["variant"]) == (f"{NAME}/data", "mlp")
    assert (evaluate["model"], str(evaluate["frames"])) == (
        train["out"],
        f"{NAME}/data/test.extxyz",
    )
    assert str(md["structure"]) == f"{NAME}/li_on_cu100.extxyz"
    assert (str(md["model"]), md["temperature"], md["time"]) == (f"{NAME}/run", 400, 10)
