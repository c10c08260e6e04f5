"""CP2K really runs: bulk lithium and copper by r2SCAN, on small grids and meshes."""

import shutil
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators import cp2k
from ase.calculators.cp2k import CP2K

from culi_mlip.errors import EngineError
from culi_mlip.labelling.computations import attempt
from culi_mlip.labelling.jobs import Job, Label
from culi_mlip.reference import Cp2kSettings, get_engine
from culi_mlip.reference.cp2k import StructureCp2k, input_text
from culi_mlip.reference.relaxation import computed_labels
from culi_mlip.structures import Entry, slab
from tests.conftest import need

SMALL = {"cutoff": 250, "relative_cutoff": 40, "kpoint_length": 7}


@pytest.fixture
def here(tmp_path, monkeypatch):
    need("cp2k", "" if shutil.which("cp2k.psmp") else "there is no cp2k.psmp")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.timeout(1200)
def test_lithium_repeats_and_its_stress_is_the_energys_derivative(here, check_strained):
    calculator = get_engine("cp2k", {"kpoint_length": 7}).calculator()
    check_strained(bulk("Li", "bcc", a=0.97 * 3.44), lambda strain: calculator)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_copper_has_forces_and_stress(here):
    """By short orbitals, on grids so coarse that its stress has a shear, as no fcc crystal has."""
    orbitals = {"basis_set_file": "BASIS_MOLOPT", "basis_sets": {"Cu": "DZVP-MOLOPT-SR-GTH-q11"}}
    settings = Cp2kSettings(
        cutoff=250, relative_cutoff=25, kpoint_length=7, mixing=0.4, tolerance=1e-4, **orbitals
    )
    start = Entry(bulk("Cu", a=3.6), "bulk")
    (label,) = attempt("cp2k", settings.model_dump_json(), [Job(start)])
    assert isinstance(label, Label), label
    assert label.results["energy"] == pytest.approx(-1292.04, abs=0.05)
    np.testing.assert_allclose(label.results["forces"], 0, atol=1e-6)
    np.testing.assert_allclose(label.results["stress"][:3], label.results["stress"][0], atol=1e-5)
    np.testing.assert_allclose(label.results["stress"][3:], label.results["stress"][3], atol=1e-5)


def test_unconverged_electrons_are_no_label(here):
    engine = get_engine("cp2k", SMALL | {"electronic_steps": 2})
    atoms = bulk("Li", "bcc", a=3.44)
    atoms.calc = engine.calculator()
    with pytest.raises(EngineError, match="did not converge in 2 steps"):
        atoms.get_potential_energy()


@pytest.mark.timeout(600)
def test_forces_of_coarse_grids_are_no_label(here):
    """An atom beside the grid's points feels a force, which it does not in truth."""
    engine = get_engine("cp2k", {"cutoff": 60, "relative_cutoff": 15, "kpoint_length": 3})
    atoms = bulk("Li", "bcc", a=3.44)
    atoms.positions += [0.13, 0.07, 0.05]
    atoms.calc = engine.calculator()
    with pytest.raises(EngineError, match="do not add up to zero, but to .* eV/Å an atom"):
        atoms.get_potential_energy()


@pytest.mark.parametrize(("force", "is_label"), [(0.019, True), (0.021, False)])
def test_net_force_is_that_of_an_atom(tmp_path, monkeypatch, force, is_label):
    """The sum of all forces over the number of atoms: large cells are not refused for it."""
    atoms = bulk("Li", "bcc", a=3.44, cubic=True) * (2, 2, 2)

    def begun(calculator, **options):
        calculator._directory, calculator._shell = options["directory"], None
        calculator.parameters = {}

    def calculated(calculator, *arguments):
        calculator.results = {"forces": np.full((len(atoms), 3), [0, force, 0])}
        (tmp_path / "cp2k.out").touch()

    monkeypatch.setattr(CP2K, "__init__", begun)
    monkeypatch.setattr(CP2K, "command", "cp2k")
    monkeypatch.setattr(CP2K, "calculate", calculated)
    calculator = StructureCp2k(Cp2kSettings(), folder=str(tmp_path))
    if is_label:
        calculator.calculate(atoms)
    else:
        with pytest.raises(EngineError, match="to 0.021 eV/Å an atom"):
            calculator.calculate(atoms)


def test_input_follows_the_structure():
    copper = slab("Cu", (1, 0, 0), thickness=8, vacuum=10)
    text = input_text(Cp2kSettings(), copper)
    assert "MONKHORST-PACK 7 7 1" in text
    assert "MONKHORST-PACK 7 7 7" in input_text(Cp2kSettings(), bulk("Cu", a=3.6))  # 6.3 points
    assert "MONKHORST-PACK 9 9 9" in input_text(Cp2kSettings(kpoint_length=20), bulk("Cu", a=3.6))
    assert f"ADDED_MOS {4 * len(copper)}" in text
    assert "POTENTIAL GTH-SCAN-q11" in text
    assert "Li" not in text
    with pytest.raises(EngineError, match="no basis set and potential for Al"):
        input_text(Cp2kSettings(), bulk("Al"))


def sections(text):
    """Lines of an input by the path of their section."""
    path, found = [], {}
    for line in map(str.strip, text.splitlines()):
        if line.startswith("&END"):
            path.pop()
        elif line.startswith("&"):
            path.append(line[1:])
        elif not line.startswith("!"):
            found.setdefault("/".join(path), []).append(line)
    return found


def test_every_setting_reaches_cp2ks_input(tmp_path, monkeypatch):
    """None at its default, with the structure in a right-handed cell; energies in eV."""
    settings = Cp2kSettings(
        cutoff=310,
        relative_cutoff=47,
        kpoint_length=11,
        smearing_temperature=870,
        added_orbitals=3,
        tolerance=2e-5,
        electronic_steps=71,
        mixing=0.23,
        damping=1.7,
        history=6,
        basis_sets={"Cu": "BASIS-OF-CU", "Li": "BASIS-OF-LI"},
        potentials={"Cu": "POTENTIAL-OF-CU", "Li": "POTENTIAL-OF-LI"},
        basis_set_file="FILE_OF_BASES",
        potential_file="FILE_OF_POTENTIALS",
    )
    texts = []

    def calculate(self, atoms, *_):
        self.atoms = atoms
        texts.append(self._generate_input())
        assert self.command.startswith(f"cd {tmp_path / 'run'} && ")
        Path(self.directory, "cp2k.out").write_text("SCF run converged")
        self.results = {"energy": 1.5, "free_energy": 1.5, "forces": np.zeros((3, 3))}

    monkeypatch.setattr(cp2k, "Cp2kShell", Mock())
    monkeypatch.setattr(cp2k.CP2K, "calculate", calculate)
    places = [[0.1, 0.2, 0.3], [1.1, 1.2, 1.3], [2.1, 2.2, 2.3]]
    atoms = Atoms("LiCuLi", places, cell=np.diag([4.0, 5.0, -6.0]), pbc=True)
    atoms.calc = StructureCp2k(settings, folder=str(tmp_path / "run"))
    assert atoms.get_potential_energy() == 1.5
    assert atoms.calc.atoms == atoms
    found = sections(texts[0])
    dft, subsystem = "FORCE_EVAL/DFT", "FORCE_EVAL/SUBSYS"
    assert "STRESS_TENSOR ANALYTICAL" in found["FORCE_EVAL"]
    assert set(found[dft]) >= {
        "BASIS_SET_FILE_NAME FILE_OF_BASES",
        "POTENTIAL_FILE_NAME FILE_OF_POTENTIALS",
    }
    grids = dict(line.rsplit(maxsplit=1) for line in found[f"{dft}/MGRID"])
    assert float(grids["CUTOFF [eV]"]) == pytest.approx(310 * 13.605693, rel=1e-6)
    assert float(grids["REL_CUTOFF"]) == 47
    assert "SCHEME MONKHORST-PACK 3 3 3" in found[f"{dft}/KPOINTS"]  # 2.75, 2.2 and 1.8
    electrons = dict(line.rsplit(maxsplit=1) for line in found[f"{dft}/SCF"])
    assert {key: float(x) for key, x in electrons.items()} == {
        "EPS_SCF": 2e-5, "ADDED_MOS": 9, "MAX_SCF": 71
    }  # fmt: skip
    assert found[f"{dft}/SCF/SMEAR ON"] == [
        "METHOD FERMI_DIRAC",
        "ELECTRONIC_TEMPERATURE [K] 870.0",
    ]
    mixing = ["METHOD BROYDEN_MIXING", "ALPHA 0.23", "BETA 1.7", "NBROYDEN 6"]
    assert found[f"{dft}/SCF/MIXING"] == mixing
    for symbol, name in (("Cu", "CU"), ("Li", "LI")):
        kind = [f"BASIS_SET BASIS-OF-{name}", f"POTENTIAL POTENTIAL-OF-{name}"]
        assert found[f"{subsystem}/KIND {symbol}"] == kind
    for functional in ("X", "C"):
        assert f"&MGGA_{functional}_R2SCAN" in texts[0]
    rows = [line.split() for line in found[f"{subsystem}/COORD"]]
    assert [row[0] for row in rows] == ["Li", "Cu", "Li"]
    np.testing.assert_allclose([[float(x) for x in row[1:]] for row in rows], places)
    cell = [line.split()[1:] for line in found[f"{subsystem}/CELL"] if line[:2] in "A B C "]
    np.testing.assert_allclose(np.array(cell, float), np.diag([-4.0, -5.0, 6.0]))


LEFT_HANDED = {
    "left-handed": [[0, 1, 0], [1, 0, 0], [0, 0, 1]],
    "skewed and left-handed": [[0, 1, 0], [1, 0, 0], [1, 0, 1]],
}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_left_handed_and_skewed_cells_have_the_same_labels(here):
    """Of one lattice, sampled by its Γ point alone, within the grids' error."""
    right = bulk("Li", "bcc", a=3.44)
    right.set_cell(right.cell.array @ np.diag([1.03, 0.98, 1.0]), scale_atoms=True)
    calculator = get_engine("cp2k", SMALL | {"kpoint_length": 2}).calculator()
    labels = {}
    for name, matrix in {**LEFT_HANDED, "right": np.eye(3)}.items():
        atoms = right.copy()
        atoms.set_cell(np.array(matrix) @ right.cell.array, scale_atoms=False)
        atoms.calc = calculator
        labels[name] = computed_labels(atoms)
    expected = labels.pop("right")
    assert np.abs(expected["stress"][:3]).max() > 1e-3
    for name, found in labels.items():
        assert found["energy"] == pytest.approx(expected["energy"], abs=6e-3), name  # 3.6 meV, once
        np.testing.assert_allclose(found["stress"], expected["stress"], atol=2e-3)


def test_no_cp2k_is_said(monkeypatch):
    monkeypatch.setenv("ASE_CP2K_COMMAND", "mpiexec-of-nowhere cp2k")
    with pytest.raises(EngineError, match="needs CP2K"):
        get_engine("cp2k").calculator()
