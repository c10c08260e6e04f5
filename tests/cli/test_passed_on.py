"""What commands pass on: every option at a value of its own, the work itself left out."""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import ase.io
import numpy as np
import pytest
import yaml
from matplotlib.figure import Figure

import culi_mlip.calculator.compiled
from culi_mlip import datasets, dynamics, labelling
from culi_mlip.calculator import uncertainty
from culi_mlip.datasets.frames import LabelKeys
from culi_mlip.dynamics import Relaxed
from culi_mlip.dynamics.melt_quench import Chosen, Schedule
from culi_mlip.errors import CuliError
from culi_mlip.models import evaluation, noise, training
from culi_mlip.models import files as model_files
from culi_mlip.models.evaluation import Errors
from culi_mlip.models.noise import NoiseErrors
from culi_mlip.quantum import Circuit, analysis
from culi_mlip.reference import get_engine
from culi_mlip.structures import bulk
from tests.cli.test_options import columns

KEYS = ["--energy-key", "e", "--forces-key", "f", "--stress-key", "s"]


@pytest.fixture
def record(monkeypatch):
    """Replace a function; gives the list of what it is called with, (arguments, options)."""

    def replace(module, name, result=None):
        calls = []

        def stand_in(*arguments, **options):
            options.pop("progress", None)
            calls.append((arguments, options))
            return result(*arguments, **options) if callable(result) else result

        monkeypatch.setattr(module, name, stand_in)
        return calls

    return replace


CARD = SimpleNamespace(
    lattice_constants={},
    frames_by_kind={"slab": {"train": 3, "val": 2, "test": 1}},
    frames={"train": 3, "val": 2, "test": 1},
    split_chosen=False,
    split_by="frame",
    split_missed=["No frames of Li are in the test part."],
    caution="a stand-in",
    failed_labels={"too hard": 4},
)


def test_workers_are_those_of_the_options(run, record, tmp_path):
    built = record(labelling, "build_dataset", SimpleNamespace(folder=Path("there"), card=CARD))
    (tmp_path / "job.sh").write_text("#!/bin/sh\n#SBATCH -p long\n")
    options = ["--executor", "slurm", "--workers", 7, "--per-job", 3, "--job-script", "job.sh"]
    output = run("build-dataset", "--out", "there", "--retry-failed", *options)
    ((recipe, out), given) = built[0]
    workers = given["workers"]
    assert (workers.where, workers.number, workers.per_job) == ("slurm", 7, 3)
    assert workers.job_script == "#!/bin/sh\n#SBATCH -p long\n"
    assert (out, given["retry_failed"]) == (Path("there"), True)
    assert recipe.engine.name == "chgnet"
    assert columns(output, "kind +train")["slab"] == {"train": "3", "val": "2", "test": "1"}
    for line in ("No frames of Li are in the test part.", "Caution: a stand-in.",
                 "Failed: 4 structures: too hard", "Dataset card: there/card.md"):  # fmt: skip
        assert line in output.splitlines()
    assert "Split by" not in output
    run("build-dataset")
    workers, given = built[1][1]["workers"], built[1][1]
    assert (workers.where, workers.number, workers.per_job) == ("local", None, 1)
    assert workers == datasets.Workers()
    assert not given["retry_failed"]


def test_an_engine_that_is_the_recipes_keeps_its_settings(run, record, tmp_path):
    built = record(labelling, "build_dataset", SimpleNamespace(folder=Path("there"), card=CARD))
    settings = {"calculator": "ase.calculators.emt.EMT", "revision": "2"}
    content = {"structures": [{"kind": "bulk", "symbol": "Cu"}],
               "engine": {"name": "ase", "settings": settings}}  # fmt: skip
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(content))
    for engine, expected in (("ase", settings), ("emt", {})):
        run("build-dataset", "r.yaml", "--engine", engine)
        chosen = built[-1][0][0].engine
        assert (chosen.name, chosen.settings) == (engine, expected)


def test_devices_keys_and_presets_reach_a_training(run, record, tmp_path):
    metadata = SimpleNamespace(
        reference_energies={"Cu": -3.12344, "Li": -1.5}, best_epoch=6, notes=["A [note]."],
        validation=SimpleNamespace(force_mae=None, energy_mae_per_atom=0.0123),
    )  # fmt: skip
    trained = record(training, "train", training.TrainedModel(Path("kept"), metadata))
    known = record(uncertainty, "recorded_uncertainty")
    frames = record(datasets.frames, "training_frames", lambda path, keys: [path.name])
    calibrated = record(uncertainty, "calibrate")
    (tmp_path / "s.yaml").write_text("batch_size: 3\nr_max: 4.5\n")
    options = ["--preset", "paper-culi-qdi", "--settings", "s.yaml", "--r-max", 4.25]
    output = run("train", "some", "--out", "here", *options, "--device", "cpu", "--devices", 1,
                 *KEYS, "--compile")  # fmt: skip
    (((data, out, settings), given),) = trained
    assert (data, out) == (Path("some"), Path("here"))
    assert given == {"keys": LabelKeys("e", "f", "s"), "device": "cpu"}
    assert known == [((Path("kept"),), {})]
    assert [arguments[1] for arguments, _ in frames] == [LabelKeys("e", "f", "s")] * 2
    kept = (Path("kept"), ["train.extxyz"], ["val.extxyz"])
    assert calibrated == [(kept, {"device": "cpu"})]
    from culi_mlip.models.presets import PRESETS

    preset = PRESETS["paper-culi-qdi"]
    assert settings.learning_rate == preset["learning_rate"]
    assert settings.variant == "qdi"
    assert (settings.batch_size, settings.r_max) == (3, 4.25), "a flag wins, then the file"
    assert (settings.devices, settings.compile) == (1, True)
    assert output.splitlines() == [
        "Reference energies (eV/atom): Cu -3.1234, Li -1.5000",
        "Validation: energy MAE 12.30 meV/atom (epoch 7)",
        "A [note].",
        "Model: kept",
    ]


@pytest.fixture
def models(record, tmp_path):
    """Calculators that are asked for, by arguments and device."""
    ase.io.write(tmp_path / "cell.xyz", [bulk("Li"), bulk("Cu", cubic=True)], format="extxyz")
    return record(culi_mlip.calculator, "HybridAllegro", "a calculator")


def test_evaluation_takes_its_device_and_its_labels(run, record, models):
    frames = record(datasets.frames, "training_frames", ["frames"])
    rows = [Errors("a", 2, 0.0012, 0.2, 0.0345, 0.4, None), Errors("all", 3, 0.5, 0.6, None, 1, 2)]
    errors = np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 4.0]])
    found = evaluation.Evaluation(rows, *[np.empty((0, 2))] * 3, errors, [True, False])
    calls = record(evaluation, "evaluate", found)
    options = ["--out", "e.json", "--page", "e.html"]
    output = run("evaluate", "model", "some.xyz", "--device", "cpu", *KEYS, *options)
    assert "Spearman's correlation 1.00" in output
    assert "1 of 2 frames hold atoms unlike those of the training" in output
    assert "On the 3 frames of some.xyz." in Path("e.html").read_text()
    assert models == [((Path("model"),), {"device": "cpu"})]
    assert frames == [((Path("some.xyz"), LabelKeys("e", "f", "s")), {})]
    assert calls == [((["frames"], "a calculator"), {})]
    assert columns(output, "kind +frames") == {
        "a": {"frames": "2", "force MAE (meV/Å)": "34.5", "energy MAE (meV/atom)": "1.20",
              "stress MAE (GPa)": "–"},
        "all": {"frames": "3", "force MAE (meV/Å)": "–", "energy MAE (meV/atom)": "500.00",
                "stress MAE (GPa)": f"{2 * 160.21766208:.3f}"},
    }  # fmt: skip
    saved = json.loads(Path("e.json").read_text())["errors"]
    assert [row["force_rmse"] for row in saved] == [0.4, 1]


def test_every_option_of_md_reaches_it_and_the_second_half_is_told(run, record, models):
    log = {
        "time_ps": np.array([0.0, 1.0, 2.0, 3.0]),
        "temperature_K": np.array([800.0, 700.0, 430.0, 450.0]),
        "conserved_eV": np.array([1.0, 1.0, 1.0, 1.0]),
        "total_eV": np.array([0.0, 1.0, 2.0, 3.0]),
    }
    result = SimpleNamespace(log=log, trajectory=Path("there/t.extxyz"))
    calls = record(dynamics, "run_md", result)
    digests = record(model_files, "model_digest", "d1")
    given = {
        "temperature": 410.0, "initial_temperature": 820.0, "time": 3.5, "ensemble": "nve",
        "timestep": 1.5, "stride": 7, "seed": 4, "out": "there",
    }  # fmt: skip
    options = [w for k, v in given.items() for w in (f"--{k.replace('_', '-')}", v)]
    output = run(*("md", "cell.xyz", "--model", "model", "--device", "cpu", "--compile"), *options)
    (((atoms, calculator), passed),) = calls
    assert passed == given | {"out": Path("there"), "model": "d1"}
    assert calculator == "a calculator"
    (((path,), of_model),) = models
    assert path == Path("model")
    assert of_model.pop("step")("Compiling")(1, 2) is None
    assert of_model == {"device": "cpu", "compile": True}
    assert digests == [((Path("model"),), {})]
    assert str(atoms.symbols) == "Cu4", "the last frame"
    assert "Mean temperature of the second half 440 K" in output
    assert "Of 800 K at the start the potential energy took a part" in output
    assert "Trajectory: there/t.extxyz" in output
    output = run("md", "--model", "model")
    ((atoms, _), passed) = calls[1]
    assert "took a part" not in output, "a thermostat gives that back"
    defaults = {"temperature": 300, "initial_temperature": None, "time": 2, "ensemble": "nvt",
                "timestep": 2, "stride": 10, "seed": 0, "out": Path("md")}  # fmt: skip
    assert passed == defaults | {"model": "d1"}
    counts = atoms.symbols.formula.count()
    assert counts == {"Cu": 64, "Li": 8}, "half a monolayer on 16 cells"
    assert not atoms.constraints


def test_every_option_of_a_melt_quench_reaches_it(run, record, tmp_path):
    frames = [bulk("Cu", a=3.5 + 0.1 * i) for i in range(4)]
    ase.io.write(tmp_path / "t.extxyz", frames, format="extxyz")
    log = {
        "step": np.array([0, 2, 4, 6]), "time_ps": np.array([0.0, 0.5, 1.0, 1.5]),
        "temperature_K": np.array([500.0, 520.0, 540.0, 20.0]),
        "potential_eV": np.array([1.0, 2.0, 3.0, 4.0]), "total_eV": np.zeros(4),
        "conserved_eV": np.array([0.0, 0.5, 1.0, 9.0]),
    }  # fmt: skip
    result = SimpleNamespace(log=log, trajectory=tmp_path / "t.extxyz")
    calls = record(dynamics, "melt_quench", result)
    chosen = record(dynamics, "choose_frames", Chosen([3, 1], 2, 0, "two are few"))
    options = ["--hold", 700, "--hold-time", 0.006, "--to", 40, "--rate", 90, "--timestep", 1.5,
               "--frames", 9, "--seed", 8, "--out", "there"]  # fmt: skip
    output = run("melt-quench", "--engine", "emt", "t.extxyz", *options)
    (((atoms, calculator, schedule), passed),) = calls
    assert schedule == Schedule(hold=700, to=40, rate=90, hold_time=0.006, timestep=1.5)
    emt = get_engine("emt")
    assert passed == {"out": Path("there"), "seed": 8, "model": f"emt {emt.digest}"}
    assert calculator.__class__.__name__ == "EMT"
    assert atoms.cell.array == pytest.approx(frames[3].cell.array), "the last frame"
    (((trajectory, energies, count), _),) = chosen
    assert (len(trajectory), energies.tolist(), count) == (4, [1, 2, 3, 4], 9)
    written = ase.io.read("there/chosen.extxyz", ":")
    volumes = [a.get_volume() for a in written]
    assert volumes == pytest.approx([frames[i].get_volume() for i in (3, 1)])
    assert "drift of the conserved energy +1000.000 meV/atom/ps" in output
    assert "Two are few." in output
    assert "2 frames: there/chosen.extxyz" in output


def test_without_a_structure_a_melt_quench_takes_the_lattices_of_its_engine(
    run, record, monkeypatch
):
    from culi_mlip.cli import melt_quench

    built = record(culi_mlip.structures, "interface", lambda *_, **__: bulk("Cu"))
    stop = CuliError("enough")

    def ends(*_, **__):
        raise stop

    monkeypatch.setattr(melt_quench, "_calculator", ends)
    for engine, (film_a, substrate_a) in (
        ("chgnet", (3.414, 3.578)), ("vasp", (3.463, 3.577)), ("a/model", (None, None)),
    ):  # fmt: skip
        with pytest.raises(CuliError, match="enough"):
            run("melt-quench", "--engine", engine)
        assert built[-1] == (
            ("Li", (1, 0, 0), "Cu", (1, 0, 0)),
            {"film_a": film_a, "substrate_a": substrate_a, "film_thickness": 5.0,
             "substrate_thickness": 5.0},
        )  # fmt: skip


def test_draws_and_seeds_reach_the_analyses_of_a_circuit(run, record, tmp_path):
    def fisher(circuit, *, draws, seed, inputs=100):
        n = circuit.n_weights
        ranks = np.array([{1: 3, 2: 7, 3: 8.95, 4: 9, 5: 9}[circuit.depth]])
        values = np.array([[0.005, 0.05, 0.3, 1.0]])
        return analysis.Fisher(values, np.eye(n), ranks, 0.5 if inputs == 100 else 0.75, 0.1)

    calls = record(analysis, "fisher", fisher)
    options = ["--qubits", 2, "--features", 2, "--draws", 70, "--seed", 6, "--out", "there"]
    output = run("circuit", "fisher", *options)
    own = Circuit(n_qubits=2, n_features=2)
    (first, given), (second, single), *depths = calls
    assert (first, second) == ((own,), (own,))
    assert given == {"draws": 70, "seed": 6}
    assert single == {"draws": 70, "seed": 6, "inputs": 1}
    assert [c.depth for (c,), _ in depths] == [1, 2, 3, 4, 5]
    assert all(options == {"draws": 7, "seed": 6} for _, options in depths)
    rows = columns(output, "Fisher information +ours")
    assert rows["mean rank at depth 2"] == {"ours": "7.0"}
    assert rows["rank's plateau (99%)"] == {"ours": "from depth 3 on"}
    assert "25% below 0.01, 50% below 0.1, 75% below 0.5" in output
    saved = json.loads((tmp_path / "there/fisher.json").read_text())
    assert (saved["near_zero"], saved["near_zero_single_input"]) == (0.5, 0.75)
    assert saved["rank_by_depth"] == {"1": 3, "2": 7, "3": 8.95, "4": 9, "5": 9}
    assert (saved["rank_plateau_from_depth"], saved["threshold"]) == (3, 0.1)
    assert saved["circuit"]["n_qubits"] == 2

    coefficients = np.array([[[1 + 1j, 0], [0.5, 0], [0, 0]], [[3 + 3j, 0], [0.5, 0], [4, 0]]])
    spectrum = analysis.Spectrum(coefficients, 5, np.array([[2, 3], [1, 4]]), 0.002)
    calls = record(analysis, "fourier", spectrum)
    output = run("circuit", "fourier", *options)
    assert calls == [((own,), {"draws": 70, "seed": 6})]
    assert columns(output, "Fourier coefficients +ours") == {
        "terms": {"ours": "5"},
        "above 0.001, mean": {"ours": "2"},
        "above 0.001, range": {"ours": "1 to 4"},
    }
    saved = json.loads((tmp_path / "there/fourier.json").read_text())
    assert (saved["nonzero_mean"], saved["nonzero_least"], saved["nonzero_most"]) == (2.5, 1, 4)
    assert np.ravel(saved["mean_abs"]) == pytest.approx([8**0.5, 0, 0.5, 0, 2, 0])
    assert np.ravel(saved["standard_deviation"]) == pytest.approx([2**0.5, 0, 0, 0, 2, 0])


def test_phases_and_weights_that_are_left_stand_in_their_places(run, record, tmp_path):
    whole = analysis.redundancy(Circuit(n_qubits=2, n_features=2, depth=1))
    made = analysis.Redundancy(11, 13, 7, 5, whole.before, whole.after)
    record(analysis, "redundancy", made)
    output = run("circuit", "zx", "--depth", 1)
    assert columns(output, "after pyzx full_reduce +ours") == {
        "independent weights": {"ours": "5 of 11"}, "phases, features too": {"ours": "7 of 13"},
    }  # fmt: skip
    saved = json.loads((tmp_path / "circuit/zx.json").read_text())
    expected = {"n_weights": 11, "n_phases": 13, "phases_left": 7, "weights_left": 5}
    assert {key: saved[key] for key in expected} == expected


def test_every_option_of_noise_reaches_it_and_laws_are_fitted_to_their_part(
    run, record, models, tmp_path
):
    """Force errors of 10/√shots eV/Å and of 4·p: the laws and where they meet the model's own."""
    frames = [bulk("Cu", a=3.5 + 0.1 * i) for i in range(3)]
    labelled = record(datasets.frames, "training_frames", frames)
    own = Errors("all", 3, 0.02, 0.1, 0.048, 0.1, None)
    record(noise, "evaluate", evaluation.Evaluation([own], *[np.empty((0, 2))] * 3))
    record(noise, "circuit_of", Circuit())
    rows = [NoiseErrors(n, 0.0, 3 / n**0.5, 10 / n**0.5) for n in (400, 2500)]
    rows += [NoiseErrors(None, p, 0.5 * p, 4 * p) for p in (0.001, 0.004)]
    measured = record(noise, "noise_errors", rows)
    options = ["--shots", 400, "--shots", 2500, "--depolarising", 0.001, "--depolarising", 0.004]
    options += ["--max-frames", 9, "--repeats", 2, "--seed", 5, "--out", "there"]
    output = run("circuit", "noise", "model", "some.xyz", *options, *KEYS)
    assert labelled == [((Path("some.xyz"), LabelKeys("e", "f", "s")), {})]
    assert models == [((Path("model"),), {"device": "cpu", "compile": False})]
    (((chosen, calculator), passed),) = measured
    assert (len(chosen), calculator) == (3, "a calculator")
    assert passed == {
        "shots": (400, 2500), "depolarising": (0.001, 0.004), "repeats": 2, "seed": 5
    }  # fmt: skip
    assert columns(output, "noise +force") == {
        "400 shots": {"force (meV/Å)": "500.00", "energy (meV/atom)": "150.000"},
        "2,500 shots": {"force (meV/Å)": "200.00", "energy (meV/atom)": "60.000"},
        "depolarising, p = 0.001": {"force (meV/Å)": "4.00", "energy (meV/atom)": "0.500"},
        "depolarising, p = 0.004": {"force (meV/Å)": "16.00", "energy (meV/atom)": "2.000"},
        "the model's own error, 3": {
            "force (meV/Å)": "48.00", "energy (meV/atom)": "20.000",
        },
    }  # fmt: skip
    assert (
        "Force error = 1e+04 meV/Å · shots^-0.50; as large as the model's own at shots = 4.3e+04"
        in output
    )
    assert "Force error = 4e+03 meV/Å · p^1.00; as large as the model's own at p = 0.012" in output
    saved = json.loads((tmp_path / "there/noise.json").read_text())
    assert (saved["model"], saved["frames"]) == ("model", 3)
    assert (saved["model_energy_mae"], saved["model_force_mae"]) == (0.02, 0.048)
    laws = {name: (law["prefactor"], law["exponent"]) for name, law in saved["laws"].items()}
    assert laws == {
        "energy_by_shots": pytest.approx((3, -0.5)), "force_by_shots": pytest.approx((10, -0.5)),
        "energy_by_depolarising": pytest.approx((0.5, 1)),
        "force_by_depolarising": pytest.approx((4, 1)),
    }  # fmt: skip


def test_labels_are_added_as_the_options_say_and_counted(run, record, tmp_path):
    done = datasets.Imported
    outcomes = [
        done(Path("a"), frames=9, labelled=1, added=2, known=6, others=("e3", "e4"), left_out=3,
             engines=("e2", "e1"), note="they are old"),
        done(Path("b"), frames=4, labelled=3, known=1, engines=("e1",)),
        done(Path("c"), reason="c is damaged"),
    ]  # fmt: skip
    vasp = record(labelling, "import_vasp", outcomes)
    frames = record(labelling, "import_frames", outcomes[:2])
    for name in "bac":
        (tmp_path / name).touch()
    (tmp_path / "v.yaml").write_text("kpoint_length: 7\n")
    options = ["--vasprun", "[ab]", "--vasprun", "a", "--vasprun", "c", "--settings", "v.yaml"]
    output = run("label", "add", "data", *options, "--as-computed", "--kind", "mine")
    (((data, paths, wanted), passed),) = vasp
    assert (data, paths) == (Path("data"), [Path("a"), Path("b"), Path("c")])
    assert wanted.kpoint_length == 7
    assert passed == {"as_computed": True, "kind": "mine"}
    assert output.splitlines() == [
        "a: 6 frames are in the store with a label already, also of other engines or settings: "
        "e3, e4; 3 steps are left out, as their electrons did not converge or their cell has "
        "another mesh of k-points; they are old",
        "b: 1 frames are in the store with a label already",
        "Refused: c is damaged",
        "2 of 3 files accepted, 13 frames: 4 label structures that waited, 2 are new, "
        "7 were known.",
        "Engine and settings: e1, e2",
    ]
    run("label", "add", "data", "--vasprun", "a")
    assert vasp[1][1] == {"as_computed": False, "kind": "imported"}
    options = ["--engine", "XYZ", "--no-dft", "--trajectory", "--kind", "theirs", *KEYS]
    run("label", "add", "data", "--frames", "b", *options)
    run("label", "add", "data", "--frames", "b", "--engine", "emt")
    ((data, paths, engine), passed), ((_, _, ours), defaults) = frames
    assert (data, paths) == (Path("data"), [Path("b")])
    values = {"code": "XYZ", "is_dft": False, "settings": {}}
    assert engine.digest == get_engine("imported", values).digest
    assert passed == {"keys": LabelKeys("e", "f", "s"), "is_trajectory": True, "kind": "theirs"}
    assert ours.digest == get_engine("emt").digest
    assert defaults == {"keys": LabelKeys(), "is_trajectory": False, "kind": "imported"}


def test_errors_of_ways_to_split_are_thousandths_of_the_frames_that_were_kept(
    run, record, tiny_data, tmp_path
):
    data = shutil.copytree(tiny_data, tmp_path / "data")
    errors = {"random": 0.001, "trajectory": 0.0123, "parent": 0.0456}
    module = sys.modules["culi_mlip.datasets.leakage"]  # a function of the room has its name
    calls = record(module, "leakage", lambda fit, groups, seed: [*fit] and errors)
    output = run("dataset", "split", data, "--seed", 4, "--val", 0.2, "--test", 0.3)
    (((_, groupings), passed),) = calls
    assert passed == {"seed": 4}
    assert list(groupings) == ["trajectory", "parent"]
    assert columns(output, "split by +groups") == {
        "frame (random)": {"groups": "9", "energy error (meV/atom)": "1.00"},
        "trajectory": {"groups": "9", "energy error (meV/atom)": "12.30"},
        "parent": {"groups": "3", "energy error (meV/atom)": "45.60"},
    }


def test_the_report_of_tunings_goes_where_it_is_asked_to(run, record):
    from culi_mlip.report import tuning as pages
    from culi_mlip.tuning import tune as tuning

    def load(folder):
        trials = [SimpleNamespace(values=v) for v in ([1], None, [2], [3], None)]
        study = SimpleNamespace(study_name=f"study {folder}")
        return SimpleNamespace(folder=folder, study=study, trials=trials, front=trials[2:4])

    loaded = record(tuning, "load_tuning", load)
    record(tuning, "retime", lambda one: {"of": one.folder})
    written = record(pages, "write_report", Path("page.html"))
    tables = record(pages, "front_table", lambda one, times: (["trial"], [[str(one.folder)]]))
    output = run("optimize", "report", "b", "a", "--out", "both")
    run("optimize", "report", "b", "a")
    run("optimize", "report")
    assert [str(folder) for (folder,), _ in loaded] == ["b", "a", "b", "a", "hpo"]
    assert [str(out) for (_, _, out), _ in written] == ["both", "b", "hpo"]
    (tunings, timings, _), _ = written[0]
    assert [str(one.folder) for one in tunings] == ["b", "a"]
    assert [str(times["of"]) for times in timings] == ["b", "a"]
    assert all(one.folder == times["of"] for (one, times), _ in tables)
    assert "study b: 5 trials, 2 failed, 2 on the front" in output
    assert "Report: page.html" in output


def test_a_quick_quickstart_is_asked_for_by_its_flag(run, record):
    import culi_mlip.quickstart as module

    calls = record(module, "quickstart", SimpleNamespace(page=Path("q/report.html")))
    assert "Done. Open q/report.html in a browser." in run("quickstart", "--out", "q", "--quick")
    run("quickstart")
    assert [(out, options["quick"]) for (out,), options in calls] == [
        (Path("q"), True), (Path("quickstart"), False)
    ]  # fmt: skip


def test_settings_of_presets_stand_under_the_headings_of_the_paper(run):
    """Widths of the papers' further networks: after nequip's own or in the hybrid's place."""
    from culi_mlip.models.presets import PRESETS

    rows = columns(run("presets", "list"), "preset +")
    for name, row in rows.items():
        settings = PRESETS[name]
        assert row["edge"] == str(settings["readout_width"])
        assert row["epochs"] == str(settings.get("epochs", "–"))
        assert row["features"] == str(settings.get("circuit", {}).get("n_features", "–"))
        if "further_mlp_widths" in settings:
            assert row["final"] == ",".join(map(str, settings["further_mlp_widths"]))


def test_status_tells_engines_hosts_the_commonest_failures_and_what_is_wrong(run, monkeypatch):
    engines = {
        "d1": SimpleNamespace(name="emt", title="Effective medium"),
        "d2": SimpleNamespace(name="imported", title="FHI-aims"),
    }
    reasons = [f"reason {n}" for n in range(7) for _ in range(7 - n)]
    states = ("pending", "running", "done", "failed")
    store = SimpleNamespace(
        counts=lambda: {"b": dict(zip(states, (1, 2, 3, 4), strict=True)),
                        "a": dict(zip(states, (5, 6, 7, 8), strict=True))},
        digests=lambda: {"d1": 9, "d2": 10}, engines=engines, hosts=lambda: {"node": 12},
        failures=lambda: dict(enumerate(reasons)), notes=lambda: {"[odd]": 13},
        check=list, path=Path("data/store.db"),
    )  # fmt: skip
    monkeypatch.setattr(datasets, "open_store", lambda data: store)
    output = run("dataset", "status", "data", "--check")
    rows = columns(output, "kind +pending")
    assert list(rows)[:3] == ["a", "b", "all"]
    assert rows["all"] == {"pending": "6", "running": "8", "done": "10", "failed": "12"}
    said = output.splitlines()[4:]
    assert said == [
        "9 labels of emt, settings d1",
        "10 labels of FHI-aims (imported), settings d2",
        "12 labels made on node",
        *(f"{7 - n} failed: reason {n}" for n in range(5)),
        "13 labels: [odd]",
        "Nothing is wrong in the store.",
    ]
    store.check = lambda: [f"w{n}" for n in range(8)]
    with pytest.raises(CuliError, match=r"^data/store.db: w0; w1; w2; w3; w4 \(8 in all\)$"):
        run("dataset", "status", "data", "--check")
    run("dataset", "status", "data")


def test_an_audit_says_what_is_fit_and_why_the_rest_is_not(run, record, tmp_path):
    from culi_mlip.datasets.audit import Audit, Finding
    from culi_mlip.report import audit as pages

    frames = [bulk("Cu", a=3.5), bulk("Cu", a=3.6)]
    ase.io.write(tmp_path / "f.extxyz", frames, format="extxyz")
    reasons = ["", "", "", "too close: 1 Å", "too close: 2 Å", "no energy"]
    findings = [Finding("u", "", "Cu", 1, 0.0, 0.0, reason) for reason in reasons]
    asked = record(pages, "audit", lambda read, _: Audit(findings, [f"{len([*read])} read"]))
    written = record(pages, "write_audit", lambda found, read, out: out / "audit.html")
    output = run("dataset", "audit", "f.extxyz", "--out", "there")
    assert [settings for (_, settings), _ in asked] == [None]
    lines = [line.split() for line in output.splitlines()]
    assert lines[1:4] == [["fit", "3"], ["too", "close", "2"], ["no", "energy", "1"]]
    assert "2 read" in output
    assert "Report: there/audit.html" in output
    (((_, read, out), _),) = written
    assert (len([*read]), out) == (2, Path("there"))
    (tmp_path / "s.yaml").write_text("max_force: 12\nmin_bond: 0.5\nenergy_spreads: 3\n")
    run("dataset", "audit", "f.extxyz", "--settings", "s.yaml")
    assert vars(asked[1][0][1]) == {"max_force": 12, "min_bond": 0.5, "energy_spreads": 3}


def test_commands_without_options_do_what_their_functions_do_by_default(
    run, record, models, tmp_path, monkeypatch
):
    """One set of defaults: an analysis by hand and one by command are the same."""
    from inspect import signature

    def default(function, *names):
        found = {name: p.default for name, p in signature(function).parameters.items()}
        return {name: found[name] for name in names}

    noises = default(noise.noise_errors, "shots", "depolarising", "repeats", "seed")
    draws = default(analysis.fisher, "draws", "seed"), default(analysis.fourier, "draws", "seed")
    stop = CuliError("enough")

    def ends(*_, **__):
        raise stop

    def asked(module, name, *arguments):
        calls = record(module, name, ends)
        with pytest.raises(CuliError, match="enough"):
            run(*arguments)
        return calls[0]

    for name, expected in zip(("fisher", "fourier"), draws, strict=True):
        assert asked(analysis, name, "circuit", name) == ((Circuit(),), expected)
    own = Errors("all", 3, 0.02, 0.1, 0.048, 0.1, None)
    record(noise, "evaluate", evaluation.Evaluation([own], *[np.empty((0, 2))] * 3))
    frames = record(datasets.frames, "training_frames", [bulk("Cu")] * 11)
    (chosen, _), passed = asked(noise, "noise_errors", "circuit", "noise")
    assert passed == {key: tuple(v) if key in ("shots", "depolarising") else v
                      for key, v in noises.items()}  # fmt: skip
    assert len(chosen) <= 5
    assert frames[0][0] == (Path("data/test.extxyz"), LabelKeys())
    (_, _, schedule), passed = asked(
        dynamics, "melt_quench", "melt-quench", "cell.xyz", "--engine", "emt"
    )
    assert schedule == Schedule()
    assert (passed["out"], passed["seed"]) == (Path("melt-quench"), 0)
    from culi_mlip.labelling.recipe import Split

    record(datasets, "open_store", None)
    ((data,), passed) = asked(datasets, "export_parts", "dataset", "split")
    assert data == Path("data")
    assert passed == {"split": Split(), "seed": 0, "engine_digest": None, "mixed": False,
                      "chosen": True}  # fmt: skip
    from culi_mlip.models.settings import TrainSettings

    (data, out, settings), passed = asked(training, "train", "train")
    assert (data, out, settings) == (Path("data"), Path("run"), TrainSettings())
    assert passed == {"keys": LabelKeys(), "device": None}
    from culi_mlip.tuning import tune as tuning
    from culi_mlip.tuning.recipe import Measurement

    (data, out, settings, _), passed = asked(tuning, "tune", "optimize")
    assert (data, out, settings.variant) == (Path("data"), Path("hpo"), "qdi")
    assert passed["measurement"] == Measurement()
    plain = {"trials": 100, "workers": 1, "storage": None, "name": None, "seed": 0}
    assert {key: passed[key] for key in plain} == plain


def test_a_dry_run_draws_the_first_of_each_kind_under_their_titles(
    run, record, tmp_path, monkeypatch
):
    from culi_mlip.report import figures

    thin = {"symbol": "Cu", "millers": [[1, 0, 0]], "thickness": 4, "free_layers": None}
    parts = [{"kind": "slab", **thin}, {"kind": "adatom", "adatom": "Li", **thin}]
    content = {"structures": parts, "engine": {"name": "emt"}}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(content))
    sheets = record(figures, "contact_sheet", Figure((1, 1)))
    output = run("build-dataset", "r.yaml", "--dry-run", "--out", "dry", "--step-seconds", 36000)
    (((shown,), _),) = sheets
    assert [(title, str(atoms.symbols)) for title, atoms in shown] == [
        ("Cu(100), slab", "Cu4"),
        *(
            (f"Li on Cu(100), adatom {site} 1 2×2", "Cu16Li")
            for site in ("top", "bridge", "hollow")
        ),
    ]
    assert "4 steps (energy with forces) of emt: 40 core-hours." in output
    for name in ("Structures: dry/structures.extxyz", "Table: dry/structures.csv",
                 "Contact sheet: dry/contact_sheet.png"):  # fmt: skip
        assert name in output.splitlines()
    for name in ("ASE_VASP_COMMAND", "VASP_PP_PATH"):
        monkeypatch.delenv(name, raising=False)
    vasp = ("build-dataset", "r.yaml", "--dry-run", "--out", "dry", "--engine", "vasp")
    output = run(*vasp)
    assert "4 steps (energy with forces) of vasp: --step-seconds tells their cost." in output
    assert "Lattice constants: Cu 3.577 Å" in output
    assert "Not ready to label here: " in output
    assert "Not ready" not in run(*vasp, "--executor", "slurm"), "that is for the jobs to say"


def test_every_option_of_relax_reaches_it(run, record, models, tmp_path):
    ase.io.write(tmp_path / "a.extxyz", [bulk("Cu"), bulk("Cu", a=3.7)], format="extxyz")
    ase.io.write(tmp_path / "b.vasp", bulk("Li"))
    done = [
        Relaxed(bulk("Cu"), 5, converged=True),
        Relaxed(bulk("Cu"), 7, converged=False),
        Relaxed(bulk("Li"), 1, converged=False, failure="why"),
    ]
    calls = record(dynamics, "run_relaxations", done)
    options = ["--fmax", "0.02", "--steps", "7", "--cell", "--optimizer", "bfgs", "--out", "there"]
    output = run(
        "relax", "a.extxyz", "b.vasp", "--model", "model", "--device", "cpu", "--no-compile",
        *options,
    )  # fmt: skip
    (((frames, calculator), passed),) = calls
    assert [str(atoms.symbols) for atoms in frames] == ["Cu", "Cu", "Li"]
    assert calculator == "a calculator"
    assert passed == {
        "out": Path("there"), "fmax": 0.02, "steps": 7, "cell": True, "optimizer": "bfgs",
    }  # fmt: skip
    (((path,), of_model),) = models
    assert path == Path("model")
    assert of_model.pop("step")("Compiling")(1, 2) is None
    assert of_model == {"device": "cpu", "compile": False}
    assert "1 of 3 converged: there/relaxed.extxyz" in output
    assert "structure 1, Cu: not below 0.02 eV/Å after 7 steps" in output
    assert "structure 2, Li: why" in output
    run("relax")
    (((frames, _), passed),) = calls[1:]
    assert frames[0].symbols.formula.count() == {"Cu": 64, "Li": 8}, "half a monolayer"
    assert passed == {
        "out": Path("relaxed"), "fmax": 0.05, "steps": 500, "cell": False, "optimizer": "fire",
    }  # fmt: skip
    assert models[1][0] == (Path("run"),)


def test_every_option_of_compile_reaches_the_compiler(run, record, tmp_path, monkeypatch):
    (tmp_path / "a.ckpt").write_text("")
    found = record(model_files, "model_file", Path("a.ckpt"))
    known = record(uncertainty, "recorded_uncertainty", "a record")
    compiled = record(culi_mlip.calculator.compiled, "compile_model", Path("there"))
    monkeypatch.setattr("culi_mlip.devices.check_device", lambda name: name or "cuda:0")
    plain = {"tf32": False, "features": True, "kernel": "written-out", "out": None}
    assert "Compiled: there" in run("compile", "a")
    assert compiled.pop() == ((Path("a.ckpt"), "cuda", "ase"), plain)
    run("compile", "a", "--device", "cpu", "--target", "batch", "--tf32", "--kernel", "triton")
    of_batch = plain | {"tf32": True, "kernel": "triton"}
    assert compiled.pop() == ((Path("a.ckpt"), "cpu", "batch"), of_batch)
    run("compile", "a", "--target", "lammps", "--out", "m.nequip.pt2")
    of_lammps = plain | {"features": False, "out": Path("m.nequip.pt2")}
    assert compiled.pop() == ((Path("a.ckpt"), "cuda", "pair_allegro"), of_lammps)
    run("compile", "a", "--out", "m.nequip.pt2")
    assert compiled.pop()[1] == of_lammps, "other programs know no features"
    assert found[0] == ((Path("a"),), {})
    assert known[0] == ((Path("a"),), {})
