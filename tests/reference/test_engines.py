"""The embedded reference engine: equilibrium, honesty, repeatability."""

import hashlib
import os
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.calculators.calculator import FileIOCalculator, all_changes
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.eos import EquationOfState

from culi_mlip.errors import EngineError, RecipeError
from culi_mlip.reference import get_engine
from culi_mlip.reference.recording import Recorded
from culi_mlip.reference.relaxation import computed_labels
from culi_mlip.structures import bulk, rattled, strained
from culi_mlip.structures.bulk import LATTICE_CONSTANTS

pytest.importorskip("chgnet")


@pytest.fixture(scope="module")
def chgnet():
    return get_engine("chgnet").calculator()


@pytest.mark.parametrize("symbol", ["Cu", "Li"])
def test_default_lattice_constant_is_the_engines_equilibrium(chgnet, symbol):
    volumes, energies = [], []
    for strain in np.linspace(-0.03, 0.03, 7):
        atoms = strained(bulk(symbol, cubic=True), strain)
        atoms.calc = chgnet
        volumes.append(atoms.get_volume())
        energies.append(atoms.get_potential_energy())
    volume, _, _ = EquationOfState(volumes, energies).fit()
    assert volume ** (1 / 3) == pytest.approx(LATTICE_CONSTANTS[symbol], abs=0.01)


def test_labels_repeat_to_the_last_bit(chgnet):
    atoms = rattled(bulk("Cu", repeat=(2, 2, 1)), 0.1, seed=0)
    forces = []
    for calculator in (chgnet, get_engine("chgnet").calculator()):
        atoms.calc = calculator
        forces.append(atoms.get_forces().copy())
    np.testing.assert_array_equal(*forces)


def test_chgnet_gives_forces_without_a_stress_to_who_asks_for_no_more(chgnet):
    atoms = rattled(bulk("Cu", repeat=(2, 2, 1)), 0.1, seed=0)
    found = []
    for wanted in (["energy", "forces"], ["energy", "forces", "stress"], ["forces"]):
        chgnet.results = {}
        chgnet.calculate(atoms, wanted, all_changes)
        found.append(dict(chgnet.results))
    assert ["stress" in results for results in found] == [False, True, True]
    for results in found[1:]:
        np.testing.assert_allclose(results["forces"], found[0]["forces"], atol=1e-5)
        assert results["energy"] == pytest.approx(found[0]["energy"], abs=1e-5)


def test_stand_ins_say_so_and_digests_tell_engines_apart():
    engines = [get_engine(name) for name in ("chgnet", "emt")]
    for engine in engines:
        assert not engine.is_dft
        assert "stand-in for DFT" in engine.caution
    assert engines[0].digest != engines[1].digest
    assert engines[0].digest == get_engine("chgnet", {"model": "r2scan"}).digest


def test_only_first_principles_are_called_dft():
    lj = {"calculator": "ase.calculators.lj.LennardJones"}
    engines = [get_engine(name) for name in ("chgnet", "cp2k", "emt", "gpaw", "vasp")]
    engines += [get_engine("ase", lj)]
    engines += [get_engine("imported", {"code": c, "is_dft": c == "QE"}) for c in ("QE", "MACE")]
    assert {engine.title: engine.is_dft for engine in engines} == {
        "CHGNet's r2SCAN model": False,
        "CP2K": True,
        "ASE's effective medium theory": False,
        "GPAW": True,
        "VASP": True,
        "the ASE calculator ase.calculators.lj.LennardJones": False,
        "QE": True,
        "MACE": False,
    }
    assert all(engine.is_dft == (engine.caution is None) for engine in engines)
    assert len({engine.digest for engine in engines}) == 8
    words = hashlib.sha256(b'["emt", {}]').hexdigest()  # stores know their labels by it
    assert get_engine("emt").digest == f"e{words[:11]}"
    assert [e.name for e in engines if e.own_dynamics] == ["vasp"]


class Smeared(EMT):
    """With electrons whose entropy lowers the energy; without a stress."""

    implemented_properties = ("energy", "free_energy", "forces")

    def calculate(self, *arguments, **options):
        super().calculate(*arguments, **options)
        self.results["free_energy"] -= 0.25
        self.results.pop("stress", None)


def test_labels_are_free_energies_all_forces_and_a_stress_where_there_is_one(tmp_path):
    atoms = rattled(bulk("Cu", repeat=(2, 1, 1)), 0.1, seed=1)
    plain = atoms.copy()
    plain.calc = EMT()
    atoms.set_constraint(FixAtoms([0]))
    for calculator in (Smeared(), Recorded(Smeared(), tmp_path / "steps", "e0")):
        atoms.calc = calculator
        found = computed_labels(atoms)
        assert found["energy"] == pytest.approx(plain.get_potential_energy() - 0.25)
        np.testing.assert_allclose(found["forces"], plain.get_forces())
        assert "stress" not in found
    atoms.calc = EMT()
    np.testing.assert_allclose(computed_labels(atoms)["stress"], plain.get_stress())
    atoms.set_cell(None)
    atoms.pbc = False
    assert set(computed_labels(atoms)) == {"energy", "forces"}


def test_a_record_is_of_one_cell_its_periodicity_and_its_species(tmp_path):
    """Whatever else stands at the same positions is computed."""
    atoms = rattled(bulk("Cu", repeat=(2, 1, 1)), 0.1, seed=1)
    wider, open_, silver = atoms.copy(), atoms.copy(), atoms.copy()
    wider.set_cell(1.01 * atoms.cell, scale_atoms=False)
    open_.pbc = [True, True, False]
    silver.symbols[1] = "Ag"
    for structure in (atoms, wider, atoms, open_, atoms, silver, atoms):
        structure.calc = Recorded(EMT(), tmp_path / "steps", "e0")
        again = structure.copy()
        again.calc = EMT()
        for one, other in zip(*map(labels_of, (structure, again)), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12)
    atoms.calc = Recorded(None, tmp_path / "steps", "e0")  # which can compute nothing
    atoms.positions[1, 2] += 3e-7  # other processors' last digits
    np.testing.assert_allclose(atoms.get_forces(), again.get_forces(), rtol=1e-12)
    atoms.calc = Recorded(EMT(), tmp_path / "steps", "e0")
    atoms.positions[1, 2] += 3e-6
    assert atoms.get_potential_energy() != again.get_potential_energy()


def labels_of(atoms):
    return atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()


def test_a_relaxation_ends_below_the_papers_force_and_tells_its_steps(tmp_path):
    told = []
    atoms = rattled(bulk("Cu", repeat=(2, 2, 1)), 0.1, seed=1)
    frames = get_engine("emt").relax(atoms, tmp_path, progress=lambda *done: told.append(done))
    largest = [np.linalg.norm(frame.get_forces(), axis=1).max() for frame in frames]
    assert largest[-1] < 0.03 < largest[-2]
    assert told == [(n + 1, 200) for n in range(len(frames))]
    np.testing.assert_array_equal(frames[0].positions, atoms.positions)


class Program(FileIOCalculator):
    """Of those that write files."""

    implemented_properties = ("energy",)
    _legacy_default_command = "true"


def test_programs_of_ase_write_in_a_folder_of_each_process(tmp_path):
    settings = {"calculator": f"{__name__}.Program"}
    own = Path(get_engine("ase", settings).calculator().directory).name
    assert own == f"ase-{socket.gethostname()}-{os.getpid()}"
    given = settings | {"arguments": {"directory": "mine"}}
    assert Path(get_engine("ase", given).calculator().directory).name == "mine"
    assert Path(get_engine("ase", given).calculator(tmp_path).directory) == tmp_path


def test_any_ase_calculator_is_an_engine():
    engine = get_engine("ase", {"calculator": "ase.calculators.emt.EMT"})
    atoms = rattled(bulk("Cu", cubic=True), 0.1, seed=0)
    (here, there) = (atoms.copy() for _ in range(2))
    here.calc, there.calc = engine.calculator(), get_engine("emt").calculator()
    np.testing.assert_array_equal(here.get_forces(), there.get_forces())
    assert engine.title == "the ASE calculator ase.calculators.emt.EMT"
    assert not engine.is_dft
    argon = {"calculator": "ase.calculators.lj.LennardJones", "arguments": {"sigma": 2.0}}
    assert get_engine("ase", argon).calculator().parameters["sigma"] == 2.0
    later = get_engine("ase", argon | {"revision": "2"})
    assert len({engine.digest, get_engine("ase", argon).digest, later.digest}) == 3


class WritingEMT(EMT):
    """Leaves a file of each calculation in its folder, as codes do."""

    def __init__(self):
        super().__init__()
        self.directory = "scratch"

    def calculate(self, *arguments, **options):
        super().calculate(*arguments, **options)
        Path(self.directory).mkdir(exist_ok=True)
        (Path(self.directory) / "output").touch()


def test_a_lattice_constant_leaves_no_files_where_the_user_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    engine = get_engine("ase", {"calculator": f"{__name__}.WritingEMT"})
    assert engine.lattice_constant("Cu") == pytest.approx(3.59, abs=0.01)
    assert not list(tmp_path.iterdir())
    atoms = bulk("Cu")
    atoms.calc = engine.calculator()
    atoms.get_potential_energy()
    assert (tmp_path / "scratch/output").exists()


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({}, RecipeError, "calculator"),
        ({"calculator": "EMT"}, RecipeError, "calculator"),
        ({"calculator": "nowhere.EMT"}, EngineError, "cannot import nowhere.EMT"),
        ({"calculator": "ase.calculators.emt.ETM"}, EngineError, "cannot import .*ETM"),
        ({"calculator": "ase.io.read", "arguments": {"no": 1}}, EngineError,
         "no ASE calculator"),
        ({"calculator": "ase.calculators.singlepoint.SinglePointCalculator",
          "arguments": {"no": 1}}, EngineError, "refuses its arguments"),
        ({"calculator": "ase.Atoms"}, EngineError, "no ASE calculator"),
        ({"calculator": "ase.units.kB"}, EngineError, "no ASE calculator"),
    ],
)  # fmt: skip
def test_wrong_ase_calculators_are_refused(settings, error, words):
    with pytest.raises(error, match=words):
        get_engine("ase", settings).calculator()


@pytest.mark.parametrize(
    ("path", "arguments"),
    [
        ("os.system", {"command": "touch {}"}),
        ("subprocess.check_call", {"args": ["touch", "{}"]}),
        ("subprocess.Popen", {"args": ["touch", "{}"]}),
        ("pathlib.Path.touch", {"self": "{}"}),
        ("ase.io.write", {"filename": "{}", "images": []}),
        ("makers.unsaid", {"path": "{}"}),
        ("makers.other", {"path": "{}"}),
    ],
)
def test_nothing_but_a_calculator_is_called(tmp_path, monkeypatch, path, arguments):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "makers.py").write_text(
        "import pathlib\ndef unsaid(path): pathlib.Path(path).touch()\n"
        "def other(path) -> str: pathlib.Path(path).touch()\n"
    )
    trace = tmp_path / "trace"
    arguments = {
        key: [word.format(trace) for word in value] if isinstance(value, list) else
        value.format(trace) for key, value in arguments.items()
    }  # fmt: skip
    engine = get_engine("ase", {"calculator": path, "arguments": arguments})
    for call in (engine.check, engine.calculator):
        with pytest.raises(EngineError, match="which is no ASE calculator"):
            call()
    assert not trace.exists()


def test_functions_and_class_methods_that_say_so_make_calculators(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_calculators.py").write_text(
        "from __future__ import annotations\nfrom ase.calculators.emt import EMT\n"
        "def make(n: int) -> EMT:\n    return EMT() if n else 3\n"
        "class Mine(EMT):\n    @classmethod\n    def from_file(cls, path):\n        return cls()\n"
    )
    found = get_engine("ase", {"calculator": "my_calculators.make", "arguments": {"n": 1}})
    assert found.calculator().implemented_properties
    mine = {"calculator": "my_calculators.Mine.from_file", "arguments": {"path": "x"}}
    assert get_engine("ase", mine).calculator().implemented_properties
    wrong = get_engine("ase", {"calculator": "my_calculators.make", "arguments": {"n": 0}})
    with pytest.raises(EngineError, match="made a int, which is no ASE calculator"):
        wrong.calculator()


ENGINES = {
    "emt": {},
    "chgnet": {},
    "lj": {"calculator": "ase.calculators.lj.LennardJones",
           "arguments": {"sigma": 2.3, "rc": 5.0, "smooth": True}},
    "chgnet by ase": {"calculator": "chgnet.model.dynamics.CHGNetCalculator",
                      "arguments": {"use_device": "cpu"}},
}  # fmt: skip


def descriptions():
    """One strained, rattled crystal in five cells of the same lattice."""
    atoms = rattled(bulk("Cu", cubic=True), 0.1, seed=3)
    shear = np.array([[1.02, 0.03, 0], [0, 0.96, 0.01], [0.02, 0, 1.05]])
    atoms.set_cell(atoms.cell @ shear, scale_atoms=True)
    cells = {
        "right": np.eye(3),
        "swapped": [[0, 1, 0], [1, 0, 0], [0, 0, 1]],
        "reversed": [[1, 0, 0], [0, 1, 0], [0, 0, -1]],
        "skewed": [[1, 0, 0], [0, 1, 0], [1, 1, 1]],
        "skewed and left-handed": [[0, 1, 0], [1, 0, 0], [0, -1, 1]],
    }
    for name, matrix in cells.items():
        other = atoms.copy()
        other.set_cell(np.array(matrix) @ atoms.cell.array, scale_atoms=False)
        yield name, other


@pytest.mark.parametrize("name", ENGINES)
def test_labels_do_not_depend_on_the_description_of_the_cell(name):
    settings = ENGINES[name]
    calculator = get_engine("ase" if settings else name, settings).calculator()
    labels = {}
    for cell, atoms in descriptions():
        atoms.calc = calculator
        labels[cell] = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
        assert not calculator.calculation_required(atoms, ["energy", "forces", "stress"])
    right = labels.pop("right")
    assert np.abs(right[2]).max() > 1e-3
    for cell, found in labels.items():
        for one, other in zip(found, right, strict=True):
            np.testing.assert_allclose(one, other, atol=2e-5, err_msg=cell)


def test_stress_of_the_stored_pair(real_data, chgnet):
    """The same crystal in a left- and a right-handed cell."""
    from ase.io import read

    folder = real_data.parent / "faults" / "structures"
    if not folder.is_dir():
        pytest.skip("the folder of faults is not there")
    stresses = []
    for name in ("left", "right"):
        atoms = read(folder / f"{name}.xyz")
        atoms.calc = chgnet
        stresses.append(atoms.get_stress())
    assert abs(stresses[0][0]) > 1e-3
    np.testing.assert_allclose(*stresses, atol=1e-5)


def test_loading_a_model_draws_nothing():
    """What is drawn next, such as the weights of a training, does not depend on it."""
    before = torch.random.get_rng_state()
    get_engine("chgnet").calculator()
    assert torch.equal(torch.random.get_rng_state(), before)
