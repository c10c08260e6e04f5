"""Compiled models: the same results, kept in a cache, opened by several processes."""

import copy
import json
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import time
import warnings
from collections import defaultdict

import ase.db
import joblib
import numpy as np
import pytest
from ase import Atoms

from culi_mlip.calculator import HybridAllegro, compiled, members, potential
from culi_mlip.calculator.compiled import cached, compile_model, expected_seconds
from culi_mlip.calculator.results import UNCERTAINTIES
from culi_mlip.calculator.uncertainty import calibrate
from culi_mlip.errors import CuliError, ModelError
from culi_mlip.files import cache_folder
from culi_mlip.models.files import model_file
from tests.calculator.test_hybrid_allegro import (
    cluster,
    crystal,
    one_atom_in_a_cell_smaller_than_the_cutoff,
    surface,
)
from tests.calculator.test_uncertainty import labelled


@pytest.fixture(scope="module")
def model(trained, tmp_path_factory):
    """A run folder with uncertainties whose model is compiled, and in the cache."""
    if shutil.which("g++") is None:
        pytest.skip("there is no C++ compiler")
    told = []

    def step(name):
        told.append(name)
        return lambda done, total: told.append((done, total))

    run = shutil.copytree(trained["qdi"], tmp_path_factory.mktemp("compiled") / "run")
    frames = [labelled(seed) for seed in range(12)]
    calibrate(run, frames[:6], frames[6:], device="cpu")
    calculator = HybridAllegro(run, device="cpu", compile=True, step=step)
    assert calculator.is_compiled
    assert told[0] == "Compiling best.ckpt"
    assert [done for done, _ in told[1:]] == sorted(done for done, _ in told[1:])
    assert told[-1][0] == told[-1][1]
    return run


# Of little-known directions single bits of the features are magnified.
TOLERANCE = defaultdict(lambda: 1e-11, dict.fromkeys(UNCERTAINTIES, 1e-5))


def results(calculator, atoms):
    atoms = atoms.copy()
    atoms.calc = calculator
    atoms.get_forces()
    return calculator.results


def two_atoms_apart():
    return Atoms("Cu2", [[0, 0, 0], [9, 0, 0]], cell=[30, 30, 30])


def one_atom():
    return Atoms("Cu")


def pair():
    return Atoms("Cu2", [[1, 2, 3], [1, 2, 5.4]])


@pytest.mark.parametrize(
    "structure",
    [
        crystal,
        surface,
        cluster,
        one_atom_in_a_cell_smaller_than_the_cutoff,
        two_atoms_apart,
        one_atom,
        pair,
    ],
)
def test_results_are_the_eager_models(model, structure):
    eager = results(HybridAllegro(model, device="cpu", compile=False), structure())
    found = results(HybridAllegro(model, device="cpu"), structure())
    assert found.keys() == eager.keys() >= {"uncertainty", "energy_uncertainty"}
    for name, values in eager.items():
        np.testing.assert_allclose(found[name], values, rtol=TOLERANCE[name], atol=1e-12)


@pytest.mark.parametrize("structure", [crystal, surface])
def test_parts_of_a_structure_are_the_eager_models(model, monkeypatch, structure):
    eager = results(HybridAllegro(model, device="cpu", compile=False), structure())
    calculator = HybridAllegro(model, device="cpu")
    monkeypatch.setattr(potential, "BLOCK_PAIRS", 60)
    found = results(calculator, structure())
    assert calculator._members.first._is_local
    for name, values in eager.items():
        np.testing.assert_allclose(found[name], values, rtol=TOLERANCE[name], atol=1e-11)


def test_batches_are_the_eager_models(model, tmp_path):
    frames = [crystal(), surface(), one_atom(), cluster(), two_atoms_apart(), pair()]
    eager = HybridAllegro(model, device="cpu", compile=False)
    calculator = HybridAllegro(model, device="cpu", compile=True)
    batches = calculator.batches()
    for some in (frames, frames[:1], frames[2:3]):  # one structure, one atom as well
        for found, atoms in zip(batches(dict(enumerate(some))).values(), some, strict=True):
            expected = results(eager, atoms)
            assert found.keys() == expected.keys()
            for name, values in expected.items():
                np.testing.assert_allclose(found[name], values, rtol=TOLERANCE[name], atol=1e-12)
    assert calculator._batch_members.is_compiled
    # A file that was compiled for one structure a call takes them one after the other.
    place = cached(model_file(model), "cpu", features=True)
    alone = shutil.copy(place, tmp_path / "alone.nequip.pt2")
    one_by_one = HybridAllegro(alone, device="cpu")
    for found, atoms in zip(one_by_one.evaluate(frames), frames, strict=True):
        np.testing.assert_allclose(found["forces"], results(eager, atoms)["forces"], atol=1e-12)


def in_a_pool(calculator):
    return calculator.is_compiled, results(calculator, crystal())["energy"]


def test_compiled_calculators_are_copied_and_travel_to_other_processes(model):
    calculator = HybridAllegro(model, device="cpu", skin=0.7)
    energy = results(calculator, crystal())["energy"]
    for other in (copy.deepcopy(calculator), pickle.loads(pickle.dumps(calculator))):  # noqa: S301
        assert other.results["energy"] == energy
        assert (other.is_compiled, other.skin) == (True, 0.7)
        assert other.todict() == calculator.todict()
    for method in ("spawn", "forkserver"):
        with multiprocessing.get_context(method).Pool(1) as pool:
            assert pool.map(in_a_pool, [calculator]) == [(True, energy)]
    assert joblib.Parallel(2)([joblib.delayed(in_a_pool)(calculator)] * 2) == [(True, energy)] * 2


def test_database_row_names_the_model(model, tmp_path):
    atoms = crystal()
    atoms.calc = HybridAllegro(model, device="cpu")
    atoms.get_forces()
    with ase.db.connect(tmp_path / "rows.db") as rows:
        rows.write(atoms)
        row = rows.get(1)
    assert row.calculator == "hybridallegro"
    named = row.calculator_parameters
    assert named["model"] == str(model)
    assert named["digest"] == atoms.calc.digest
    assert named["variant"] == "qdi"


def test_cache_is_of_this_model_packages_threads_and_options(model, trained, monkeypatch):
    file = model_file(model)
    assert cached(file, "cpu", features=True).parent == cache_folder("compiled")
    assert cached(file, "cpu", tf32=True, features=True) is None
    assert cached(file, "cpu") is None
    assert cached(file, "cpu", "pair_allegro", features=True) is None
    assert cached(model_file(trained["allegro"]), "cpu") is None
    for name, other in (
        ("version", lambda name: "2.99"),
        ("_instruction_set", lambda device: ["another processor"]),
        ("__version__", "99"),
    ):
        with monkeypatch.context() as context:
            context.setattr(compiled, name, other)
            assert cached(file, "cpu", features=True) is None
            assert not HybridAllegro(model, device="cpu").is_compiled
    with monkeypatch.context() as context:
        context.setattr(compiled.torch, "get_num_threads", lambda: 77)
        assert cached(file, "cpu", features=True) is None


def test_compiling_is_expected_to_take_as_long_as_the_last_time(monkeypatch, tmp_path):
    monkeypatch.setenv("CULI_MLIP_CACHE", str(tmp_path))
    assert expected_seconds("cpu") == compiled.EXPECTED_SECONDS
    for i, (device, seconds) in enumerate((("cpu", 20.0), ("cpu", 10.0), ("cuda", 90.0))):
        record = cache_folder("compiled") / f"{3 - i}.json"
        record.parent.mkdir(exist_ok=True)
        record.write_text(json.dumps({"device": device, "seconds": seconds}))
        os.utime(record, (i, i))
    assert expected_seconds("cpu") == 10
    assert expected_seconds("cuda") == 90


def test_what_a_disk_damaged_in_the_cache_is_made_again(model, monkeypatch, tmp_path):
    place = cached(model_file(model), "cpu", features=True)
    monkeypatch.setenv("CULI_MLIP_CACHE", str(tmp_path))
    broken = tmp_path / "compiled" / place.name
    broken.parent.mkdir()
    broken.write_bytes(place.read_bytes()[:1000])
    broken.with_suffix(".json").write_text('{"device": "cpu"')
    calculator = HybridAllegro(model, device="cpu")
    assert not calculator.is_compiled
    assert not broken.exists()
    assert expected_seconds("cpu") == compiled.EXPECTED_SECONDS
    shutil.copy(place, broken)
    assert HybridAllegro(model, device="cpu").is_compiled


def test_auto_compiles_when_evaluations_have_taken_as_long(model, monkeypatch):
    calls = []

    def compile_now(*of, wait, **options):
        calls.append(wait)
        return compile_model(*of, wait=wait, **options) if len(calls) > 1 else None

    monkeypatch.setattr(members, "cached", lambda *of, features: None)
    monkeypatch.setattr(members, "compile_model", compile_now)
    monkeypatch.setattr(members, "expected_seconds", lambda device: 3.0)
    clock = iter(range(1000))
    monkeypatch.setattr(members.time, "perf_counter", lambda: float(next(clock)))
    calculator = HybridAllegro(model, device="cpu")
    is_compiled, energies = [], []
    for _ in range(9):  # each takes a second of that clock
        calculator.reset()
        energies.append(results(calculator, crystal())["energy"])
        is_compiled.append(calculator.is_compiled)
    # Another process is at it after four calls; four calls later it is done.
    assert is_compiled == [False] * 7 + [True] * 2
    assert calls == [False, False]
    np.testing.assert_allclose(energies, energies[0], rtol=1e-12)


def test_without_a_compiler_the_model_stays_eager_with_one_warning(model, monkeypatch, tmp_path):
    monkeypatch.setenv("CULI_MLIP_CACHE", str(tmp_path))
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ModelError, match="there is no C\\+\\+ compiler"):
        HybridAllegro(model, device="cpu", compile=True)
    monkeypatch.setattr(members, "expected_seconds", lambda device: 0.0)
    calculator = HybridAllegro(model, device="cpu")
    with pytest.warns(UserWarning, match="no C\\+\\+ compiler .* The model goes on"):
        results(calculator, crystal())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        calculator.reset()
        results(calculator, crystal())
    assert not list(cache_folder("compiled").glob("*.pt2"))


def test_a_compiler_that_fails_is_named_and_leaves_nothing(model, monkeypatch, tmp_path):
    monkeypatch.setenv("CULI_MLIP_CACHE", str(tmp_path))
    monkeypatch.setenv("CXX", "false")
    with pytest.raises(ModelError, match=r"best\.ckpt cannot be compiled \(.*[Cc]ompile"):
        compile_model(model_file(model), "cpu")
    assert [path.suffix for path in cache_folder("compiled").iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"device": "gpu"}, "a GPU is called cuda"),
        ({"compile": "yes"}, "give True, False or 'auto'"),
        ({"skin": -1.0}, "give a length of 0 or more"),
        ({"skin": np.nan}, "give a length of 0 or more"),
    ],
)
def test_wrong_arguments(trained, arguments, reason):
    with pytest.raises(CuliError, match=reason):
        HybridAllegro(trained["allegro"], **{"device": "cpu", **arguments})


COMPILE_AND_ANSWER = """
import sys
from ase.build import bulk
from culi_mlip.calculator import HybridAllegro
atoms = bulk("Cu", cubic=True)
atoms.calc = HybridAllegro(sys.argv[1], device="cpu", compile=True)
print(atoms.get_potential_energy())
"""


@pytest.mark.slow
def test_two_processes_compile_at_once_and_one_is_killed(trained, monkeypatch, tmp_path):
    monkeypatch.setenv("CULI_MLIP_CACHE", str(tmp_path))
    command = [sys.executable, "-c", COMPILE_AND_ANSWER, trained["allegro"]]
    first, second = (subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2))
    time.sleep(20)
    first.kill()
    answer = float(second.communicate()[0])
    assert second.returncode == 0
    assert float(subprocess.check_output(command)) == answer
    names = sorted(path.suffix for path in cache_folder("compiled").iterdir())
    assert names == [".json", ".lock", ".pt2"]


@pytest.mark.slow
@pytest.mark.parametrize("target", ["batch", "lammps"])
def test_a_model_of_another_program_is_named(trained, culi, tmp_path, target):
    done = culi("compile", trained["allegro"], "--target", target, "--out", "model.nequip.pt2")
    assert done.returncode == 0, done.stderr
    with pytest.raises(ModelError, match="it was compiled for another program"):
        HybridAllegro(tmp_path / "model.nequip.pt2", device="cpu")
