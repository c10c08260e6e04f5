"""Options are the same everywhere, and reach what they are for.

Values that are no defaults are read from what a command leaves.
"""

import json
import re

import ase.io
import click
import numpy as np
import pytest
import yaml

from culi_mlip.cli import group, main, options
from culi_mlip.datasets import Store
from culi_mlip.reference import get_engine
from culi_mlip.structures import Entry, bulk
from tests.conftest import TINY_RECIPE

FLAGS = {
    "md": {
        "--temperature": (450, "temperature_K"),
        "--time": (0.01, "time_ps"),
        "--ensemble": ("nve", "ensemble"),
        "--timestep": (1.0, "timestep_fs"),
        "--stride": (5, "stride"),
        "--seed": (7, "seed"),
    },
    "melt-quench": {
        "--hold": (500, "hold"),
        "--hold-time": (0.004, "hold_time"),
        "--to": (400, "to"),
        "--rate": (50000, "rate"),
        "--timestep": (1.0, "timestep"),
        "--seed": (7, "seed"),
    },
    "train": {
        "--variant": ("mlp", "settings.variant"),
        "--epochs": (1, "settings.epochs"),
        "--batch-size": (3, "settings.batch_size"),
        "--learning-rate": (0.02, "settings.learning_rate"),
        "--r-max": (3.5, "settings.r_max"),
        "--seed": (5, "settings.seed"),
        "--no-compile": (None, "settings.compile"),
    },
}


def commands(command=group, *words):
    """All commands that do something, by the words that a user types."""
    if not isinstance(command, click.Group):
        return {words: command}
    found = {}
    for name in command.list_commands(None):
        found |= commands(command.get_command(None, name), *words, name)
    return found


def parameters(kind):
    """Options or arguments of all commands, by name."""
    found = {}
    for words, command in commands().items():
        for parameter in command.params:
            if isinstance(parameter, kind):
                found.setdefault(max(parameter.opts, key=len), {})[words] = parameter
    return found


SEEDED = [*parameters(click.Option)["--seed"]]


@pytest.mark.parametrize("words", SEEDED, ids=" ".join)
def test_a_negative_seed_is_refused_alike(capsys, words):
    with pytest.raises(SystemExit) as ended:
        main([*words, "--seed", "-1"])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("Error: Invalid value for '--seed': -1 is not in the range x>=0. See ")


def test_options_of_one_name_are_one():
    """One check of their values, one placeholder; where what they are for is the same, one text."""
    differ = {"--frames", "--variant"}  # files or a number; controls are trained, not tuned
    texts = {"--device", "--energy-key", "--forces-key", "--stress-key", "--engine-digest",
             "--mixed", "--timestep", "--draws", "--qubits", "--measurement"}  # fmt: skip
    found = parameters(click.Option)
    for name in found.keys() - differ:
        users = found[name].values()
        assert len({(repr(user.type), user.metavar) for user in users}) == 1, name
        if name in texts:
            assert len({(user.help, user.default) for user in users}) == 1, name
            assert len(users) > 1
    assert {user.type for user in found["--out"].values()} == {options.PATH}
    for user in found["--seed"].values():
        assert re.match("Seed of [a-z]", user.help)
        assert user.default in (0, None)
    assert all(user.help.startswith("YAML file with ") for user in found["--settings"].values())


def test_arguments_of_one_name_have_one_default():
    defaults = {"data": "data", "source": "data", "model": "run", "frames": "data/test.extxyz",
                "trajectory": "md/trajectory.extxyz"}  # fmt: skip
    no_files = {
        "symbol",
        "symbols",
        "first",
        "second",
        "adatom",
        "film",
        "substrate",
        "faces",
        "film_face",
        "substrate_face",
    }
    for name, users in parameters(click.Argument).items():
        for words, user in users.items():
            assert user.type is options.PATH or name in no_files
            if name in defaults and words != ("label", "add"):  # which would make a folder
                assert str(user.default) == defaults[name], words


def recorded(folder, key):
    value = yaml.safe_load((folder / "run.yaml").read_text())["inputs"]
    for part in key.split("."):
        value = value[part]
    return value


def columns(output, first):
    """A printed table: the values by row and by the title that they stand under."""
    lines = output.splitlines()
    start = next(i for i, line in enumerate(lines) if line.split() and re.match(first, line))
    titles = [(m.group(), m.end()) for m in re.finditer(r"\S+(?: \S+)*", lines[start])]
    found = {}
    for line in lines[start + 1 :]:
        cells = {m.end(): m.group() for m in re.finditer(r"\S+(?: \S+)*", line)}
        row = {title: cells.get(end) for title, end in titles[1:]}  # all but the first are
        if not any(row.values()):  # aligned to the right
            break
        found[line[: titles[0][1] + 20].split("  ")[0].strip()] = row
    return found


@pytest.mark.parametrize("command", FLAGS)
def test_flags_of_runs_are_in_their_record(run, tmp_path, trained, tiny_data, command):
    ase.io.write(tmp_path / "cell.xyz", bulk("Cu", cubic=True), format="extxyz")
    small = "num_scalar_features: 8\nnum_tensor_features: 2\nreadout_width: 8\nseed: 9\n"
    (tmp_path / "small.yaml").write_text(small)
    others = {
        "md": ["cell.xyz", "--model", trained["allegro"], "--device", "cpu"],
        "melt-quench": ["cell.xyz", "--engine", "emt", "--frames", 2],
        "train": [tiny_data, "--settings", "small.yaml"],
    }[command]
    flags = FLAGS[command]
    given = [
        word for flag, (value, _) in flags.items() for word in (flag, value) if word is not None
    ]
    output = run(command, *others, *given, "--out", "here")
    for flag, (value, key) in flags.items():
        assert recorded(tmp_path / "here", key) == (False if value is None else value), flag
    if command == "train":
        assert recorded(tmp_path / "here", "settings.num_scalar_features") == 8
    if command == "md":
        frames = ase.io.read(tmp_path / "here/trajectory.extxyz", ":")
        assert len(frames) == 3, "10 steps of 1 fs, one in 5"
    if command == "melt-quench":
        n = len(ase.io.read(tmp_path / "here/chosen.extxyz", ":"))
        assert n <= 2
        assert f"{n} frames: here/chosen.extxyz" in output


def test_engine_settings_reach_melt_quench(run, tmp_path):
    ase.io.write(tmp_path / "cell.xyz", bulk("Cu", cubic=True), format="extxyz")
    (tmp_path / "engine.yaml").write_text("calculator: ase.calculators.emt.EMT\nrevision: two")
    short = ["--hold-time", 0.002, "--to", 400, "--rate", 50000]
    run("melt-quench", "cell.xyz", "--engine", "ase", "--settings", "engine.yaml", *short)
    digest = get_engine("ase", {"calculator": "ase.calculators.emt.EMT", "revision": "two"}).digest
    assert recorded(tmp_path / "melt-quench", "model") == f"ase {digest}"


def test_build_dataset_takes_engine_and_folder_and_tries_failures_again(run, tmp_path):
    content = TINY_RECIPE | {"engine": {"name": "chgnet"}}
    content["structures"] = [
        *content["structures"],
        {"kind": "slab", "symbol": "Li", "a": 3.4, "millers": [[1, 0, 0]], "thickness": 5},
    ]
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(content))
    output = run("build-dataset", "r.yaml", "--engine", "emt", "--out", "here")
    assert recorded(tmp_path / "here", "engine.name") == "emt"
    assert "Lattice constants: Cu 3.590 Å" in output
    rows = columns(output, "kind +train")
    counts = json.loads((tmp_path / "here/card.json").read_text())
    assert rows["bulk"] == {k: str(v) for k, v in counts["frames_by_kind"]["bulk"].items()}
    assert rows["all"] == {k: str(v) for k, v in counts["frames"].items()}
    store = Store(tmp_path / "here/store.db")
    (failed,) = store.failures()
    store.fail(store._id(failed), "by hand")
    for retry in ([], ["--retry-failed"]):
        run("build-dataset", "r.yaml", "--engine", "emt", "--out", "here", *retry)
        assert (store.failures()[failed] == "by hand") == (not retry)


def test_costs_of_a_dry_run_stand_under_their_titles(run, tmp_path):
    content = TINY_RECIPE | {
        "relaxation": {"kinds": ["bulk"], "expected_steps": 7, "published": 5},
        "published": {"bulk": 11},
    }
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(content))
    cost = ["--step-seconds", 7200, "--step-seconds", "bulk=3600", "--step-cores", 4]
    output = run("build-dataset", "r.yaml", "--dry-run", "--out", "dry", *cost)
    assert columns(output, "kind +structures")["bulk"] == {
        "structures": "9", "distinct": "9", "atoms": "4 to 4", "published": "11",
    }  # fmt: skip
    assert columns(output, "task +of") == {
        "label": {"of": "bulk", "structures": "9", "steps": "9", "frames": "9", "published": "–",
                  "core-hours": "36"},
        "relaxation": {"of": "bulk", "structures": "3", "steps": "21", "frames": "3",
                       "published": "5", "core-hours": "84"},
    }  # fmt: skip
    assert "120 core-hours" in output


@pytest.fixture
def two_engines(tmp_path):
    """A store with labels of two engines: 8 frames of EMT, 4 that "CHGNet" made."""
    folder = tmp_path / "two"
    folder.mkdir()
    store = Store(folder / "store.db")
    for name, lengths, energy in (("emt", np.arange(8), -1.0), ("chgnet", np.arange(4), -2.0)):
        shift = 0.0 if name == "emt" else 0.4
        entries = [
            Entry(bulk("Cu", a=3.5 + shift + 0.03 * i), name, results={
                "energy": energy - 0.01 * i, "forces": np.zeros((1, 3)), "stress": np.zeros(6)})
            for i in lengths
        ]  # fmt: skip
        store.add(entries, get_engine(name))
    return folder


def test_export_and_split_follow_their_options(run, two_engines, tmp_path):
    digest = get_engine("emt").digest
    run("dataset", "export", two_engines, "--engine-digest", digest, "--out", "emt.extxyz")
    energies = [a.get_potential_energy() for a in ase.io.read(tmp_path / "emt.extxyz", ":")]
    assert len(energies) == 8
    assert min(energies) > -1.5
    run("dataset", "export", two_engines, "--mixed", "--out", "all.extxyz")
    assert len(ase.io.read(tmp_path / "all.extxyz", ":")) == 12

    def parts(*options):
        output = run("dataset", "split", two_engines, *options)
        uids = {
            part: [a.info["uid"] for a in ase.io.read(two_engines / f"{part}.extxyz", ":")]
            for part in ("train", "val", "test")
        }
        return uids, json.loads((two_engines / "card.json").read_text()), output

    shares = ["--val", 0.25, "--test", 0.375]
    emt = ["--engine-digest", digest]
    first, card, output = parts(*shares, *emt)
    assert {part: len(uids) for part, uids in first.items()} == {"train": 3, "val": 2, "test": 3}
    assert (card["seed"], card["engine"]) == (0, "emt")
    rows = columns(output, "split by")
    for row in rows.values():
        assert row["groups"] == "8"
        assert float(row["energy error (meV/atom)"]) >= 0
    other, card, _ = parts(*shares, *emt, "--seed", 3, "--by", "frame")
    assert (card["seed"], card["split_by"]) == (3, "frame")
    assert other != first
    mixed, card, _ = parts("--mixed")
    assert sum(map(len, mixed.values())) == 12
    assert card["engine"] == "chgnet + emt"


def test_states_of_structures_stand_under_their_titles(run, two_engines):
    store = Store(two_engines / "store.db")
    store.add([Entry(bulk("Li", a=3.3 + 0.1 * i), "lithium") for i in range(6)])
    ids = list(store.pending())
    store.start(ids[:1])
    for row_id in ids[1:3]:
        store.fail(row_id, "too hard")
    output = run("dataset", "status", two_engines)
    rows = columns(output, "kind +")
    assert rows["lithium"] == {"pending": "3", "running": "1", "done": "0", "failed": "2"}
    assert rows["emt"] == {"pending": "0", "running": "0", "done": "8", "failed": "0"}
    assert rows["all"] == {"pending": "3", "running": "1", "done": "12", "failed": "2"}
    assert "2 failed: too hard" in output


def test_errors_stand_under_their_titles_in_their_units(run, trained, tiny_data, tmp_path):
    """Labels that are the model's own, moved by known amounts."""
    from ase.calculators.singlepoint import SinglePointCalculator

    from culi_mlip.calculator import HybridAllegro

    model = HybridAllegro(trained["allegro"], device="cpu")
    frames = []
    for frame in ase.io.read(tiny_data / "train.extxyz", ":2"):
        atoms = frame.copy()
        atoms.calc = model
        moved = {
            "energy": atoms.get_potential_energy() + 0.005 * len(atoms),
            "forces": atoms.get_forces() + 0.012,
            "stress": atoms.get_stress() + 0.3 / 160.21766208,
        }
        atoms.calc = SinglePointCalculator(atoms, **moved)
        frames.append(atoms)
    ase.io.write(tmp_path / "moved.extxyz", frames, format="extxyz")
    output = run(
        "evaluate", trained["allegro"], "moved.extxyz", "--out", "e.json", "--device", "cpu"
    )
    (row,) = columns(output, "kind +frames").values()
    assert row == {
        "frames": "2", "force MAE (meV/Å)": "12.0", "energy MAE (meV/atom)": "5.00",
        "stress MAE (GPa)": "0.300",
    }  # fmt: skip
    (saved,) = json.loads((tmp_path / "e.json").read_text())["errors"]
    assert saved["energy_mae"] == pytest.approx(0.005, abs=1e-6)


def test_presets_stand_under_their_titles(run):
    from culi_mlip.models.presets import PRESETS

    rows = columns(run("presets", "list"), "preset +")
    assert list(rows) == list(PRESETS)
    for name, row in rows.items():
        settings = PRESETS[name]
        for title, key in (("r_max", "r_max"), ("lr", "learning_rate"), ("batch", "batch_size"),
                           ("P", "polynomial_cutoff_p"), ("layers", "num_layers")):  # fmt: skip
            assert float(row[title]) == settings[key], (name, title)
        assert row["depth"] == str(settings.get("circuit", {}).get("depth", "–"))
