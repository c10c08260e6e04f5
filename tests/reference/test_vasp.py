"""VASP's input files line by line, its outputs checked, its process replayed."""

import json
import re
import shutil
import stat
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111
from ase.calculators.calculator import CalculationFailed
from ase.constraints import FixAtoms

from culi_mlip.errors import EngineError
from culi_mlip.reference import VaspSettings, get_engine
from culi_mlip.reference.kpoints import kpoint_mesh, vacuum_axes
from culi_mlip.reference.vasp import SINGLE_POINT, md_values, relaxation_values
from culi_mlip.reference.vasp_calculator import StructureVasp
from culi_mlip.reference.vasp_outputs import read_vasp
from culi_mlip.structures import interface

pytestmark = pytest.mark.filterwarnings("ignore:No POTCAR file")

EXPECTED = Path(__file__).with_name("expected")

R2SCAN_LIH = VaspSettings(
    cutoff=680,
    smearing="gaussian",
    width=0.05,
    kpoint_length=21.0,
    potentials={"Li": "Li_sv", "H": "H"},
)


def slab():
    """Cu(111), six layers of which the middle two are held."""
    atoms = fcc111("Cu", (1, 1, 6), a=3.57, vacuum=10, periodic=True)
    atoms.set_constraint(FixAtoms([2, 3]))
    return atoms


def li_on_cu():
    """The smallest coherent interface of (100) faces."""
    return interface("Li", (1, 0, 0), "Cu", (1, 0, 0), film_thickness=5.0, substrate_thickness=5.0)


CASES = {
    "slab": (slab, SINGLE_POINT),
    "bulk": (lambda: bulk("Li", "bcc", a=3.44), SINGLE_POINT),
    "interface": (li_on_cu, relaxation_values(200, 0.03)),
    "quench": (li_on_cu, md_values(1180, 600, 10, 2.0)),
}


def lines(path):
    """The lines of a file, its decimals without the last bits, in which processors differ."""
    return [
        re.sub(r" *-?\d+\.\d{12,}", lambda found: f" {round(float(found[0]), 12) + 0.0:.12f}", line)
        for line in path.read_text().splitlines()
    ]


@pytest.mark.parametrize("name", CASES)
def test_input_files_are_the_expected_ones_line_by_line(name, potentials, tmp_path):
    make, task = CASES[name]
    calculator = StructureVasp(VaspSettings(), task, directory=str(tmp_path / "run"))
    calculator.write_input(make())
    for file in ("INCAR", "KPOINTS", "POSCAR"):
        assert lines(tmp_path / "run" / file) == lines(EXPECTED / name / file), file


def test_every_setting_reaches_vasps_input(potentials, tmp_path):
    """None at its default; a mesh of 21 / 3.578 = 5.9, and no correction beside the vacuum."""
    (potentials / "potpaw_PBE.54").rename(potentials / "potpaw_PBE.64")
    settings = VaspSettings(
        functional="pbe",
        cutoff=431,
        energy_tolerance=3e-6,
        force_tolerance=0.07,
        kpoint_length=21,
        smearing="fermi",
        width=0.13,
        algorithm="Damped",
        electronic_steps=77,
        potentials={"Cu": "Cu_pv"},
        potential_version="64",
        dipole_correction=False,
        symmetry=2,
        cores_per_band=3,
        kpoint_groups=5,
    )
    folder = tmp_path / "run"
    StructureVasp(settings, directory=str(folder)).write_input(li_on_cu())
    expected = {
        "GGA": "PE", "ENCUT": "431.000000", "EDIFF": "3.00e-06", "EDIFFG": "-7.00e-02",
        "ISMEAR": "-1", "SIGMA": "0.130000", "ALGO": "Damped", "NELM": "77", "ISYM": "2",
        "NCORE": "3", "KPAR": "5", "PREC": "Accurate", "LASPH": ".TRUE.", "LMIXTAU": ".TRUE.",
        "LREAL": ".FALSE.", "ISPIN": "1", "LWAVE": ".FALSE.", "LCHARG": ".FALSE.",
        "IBRION": "-1", "NSW": "0",
    }  # fmt: skip
    assert dict(re.findall(r"(?m)^(\w+) = (.*)$", (folder / "INCAR").read_text())) == expected
    assert (folder / "KPOINTS").read_text().splitlines()[2:4] == ["Gamma", "6 6 1"]
    titles = re.findall(r"TITEL\s*=\s*(\S+ \S+)", (folder / "POTCAR").read_text())
    assert sorted(titles) == ["PAW_PBE Cu_pv", "PAW_PBE Li"]
    gaussian = settings.model_copy(update={"smearing": "gaussian"})
    StructureVasp(gaussian, directory=str(folder)).write_input(li_on_cu())
    assert "ISMEAR = 0\n" in (folder / "INCAR").read_text()


def test_meshes():
    assert kpoint_mesh(bulk("Cu", a=3.58)) == (13, 13, 13)
    assert kpoint_mesh(slab()) == (13, 13, 1)
    assert vacuum_axes(slab()) == [2]
    assert vacuum_axes(bulk("Cu", a=3.58)) == []
    leaning = Atoms("Li", cell=[[3, 0, 0], [0, 3, 0], [30, 0, 3]], pbc=True)  # simple cubic
    assert kpoint_mesh(leaning) == (11, 11, 2)
    assert vacuum_axes(leaning) == []


def test_labels_do_not_depend_on_how_the_machine_is_used():
    fast = get_engine("vasp", {"cores_per_band": 4, "kpoint_groups": 2})
    assert fast.digest == get_engine("vasp").digest
    assert get_engine("vasp", {"cutoff": 600}).digest != fast.digest


REPLAY = """#!{python}
import gzip, pathlib, shutil, sys
source = pathlib.Path({source!r})
shutil.copy(source / "OUTCAR", "OUTCAR")
with gzip.open(source / "vasprun.xml.gz") as packed, open("vasprun.xml", "wb") as plain:
    shutil.copyfileobj(packed, plain)
"""


@pytest.fixture
def replay(outputs, potentials, tmp_path, monkeypatch):
    """VASP's process, which here copies the outputs of a real run of LiH with r2SCAN."""
    program = tmp_path / "vasp_std"
    source = str(outputs / "pymatgen_LiH_R2SCAN_relax")
    program.write_text(REPLAY.format(python=sys.executable, source=source))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("ASE_VASP_COMMAND", str(program))
    monkeypatch.chdir(tmp_path)
    return outputs / "pymatgen_LiH_R2SCAN_relax"


def test_results_come_from_the_outputs(replay):
    (frame,) = read_vasp(replay / "vasprun.xml.gz").frames
    atoms = frame.copy()
    atoms.calc = get_engine("vasp", R2SCAN_LIH).calculator()
    assert atoms.get_potential_energy(force_consistent=True) == pytest.approx(-6.82078391, abs=1e-6)
    np.testing.assert_allclose(atoms.get_forces(), frame.get_forces(), atol=1e-6)
    np.testing.assert_allclose(atoms.get_stress(), frame.get_stress(), atol=1e-6)
    assert atoms.calc.converged


def test_unconverged_electrons_are_no_label(replay, tmp_path):
    unconverged = """
path = pathlib.Path("OUTCAR")
words = "because EDIFF is reached", "EDIFF was not reached (unconverged)"
path.write_text(path.read_text(errors="replace").replace(*words))
"""
    program = tmp_path / "vasp_std"
    program.write_text(program.read_text() + unconverged)
    atoms = read_vasp(replay / "vasprun.xml.gz").frames[0].copy()
    atoms.calc = get_engine("vasp", R2SCAN_LIH).calculator()
    with pytest.raises(EngineError, match="did not converge in 200 steps"):
        atoms.get_potential_energy()


def test_output_of_other_settings_is_no_label(replay):
    """What VASP says that it did counts, not what it was asked for."""
    atoms = read_vasp(replay / "vasprun.xml.gz").frames[0].copy()
    atoms.calc = get_engine("vasp", {"potentials": {"Li": "Li_sv", "H": "H"}}).calculator()
    with pytest.raises(EngineError, match="has ENCUT 680 eV, not 520"):
        atoms.get_potential_energy()


FAILS_ONCE = """
if not pathlib.Path("failed_once").exists():
    pathlib.Path("failed_once").touch()
    print("Error EDDDAV: Call to ZHEGV failed. Returncode = 7")
    sys.exit(1)
"""


def test_custodian_mends_errors(replay, tmp_path):
    program = tmp_path / "vasp_std"
    program.write_text(program.read_text().replace("source =", FAILS_ONCE + "source =", 1))
    frame = read_vasp(replay / "vasprun.xml.gz").frames[0]
    atoms = frame.copy()
    engine = get_engine("vasp", R2SCAN_LIH)
    atoms.calc = engine.calculator()
    np.testing.assert_allclose(atoms.get_forces(), frame.get_forces(), atol=1e-6)
    folder = Path(atoms.calc.directory)
    (correction,) = json.loads((folder / "custodian.json").read_text())[0]["corrections"]
    assert correction["errors"] == ["edddav"]
    (folder / "failed_once").unlink()
    alone = get_engine("vasp", R2SCAN_LIH.model_copy(update={"corrections": 0}))
    assert alone.digest == engine.digest
    atoms.calc = alone.calculator()
    with pytest.raises(CalculationFailed):
        atoms.get_potential_energy()


def test_custodian_may_not_change_what_labels_depend_on(replay, tmp_path):
    program = tmp_path / "vasp_std"
    wrong = FAILS_ONCE.replace("Error EDDDAV: Call to ZHEGV failed", "BRMIX: very serious problems")
    wrong += 'path = pathlib.Path("INCAR")\n'
    wrong += 'path.write_text(path.read_text().replace("SIGMA = 0.05", "SIGMA = 0.2"))\n'
    program.write_text(program.read_text().replace("source =", wrong + "source =", 1))
    atoms = read_vasp(replay / "vasprun.xml.gz").frames[0].copy()
    atoms.calc = get_engine("vasp", R2SCAN_LIH).calculator()
    with pytest.raises(EngineError, match="custodian changed SIGMA in .*vasp-"):
        atoms.get_potential_energy()


def test_a_structure_leaves_nothing_behind_for_the_next(potentials, tmp_path):
    calculator = StructureVasp(VaspSettings(), directory=str(tmp_path / "run"))
    calculator.write_input(slab())
    calculator.write_input(bulk("Li", "bcc", a=3.44))
    for file in ("INCAR", "KPOINTS", "POSCAR"):
        written = (tmp_path / "run" / file).read_text().splitlines()
        assert written == (EXPECTED / "bulk" / file).read_text().splitlines(), file


def test_failing_process_is_an_error(replay, tmp_path, monkeypatch):
    (tmp_path / "vasp_std").write_text("#!/bin/sh\nexit 1\n")
    atoms = bulk("Li", "bcc", a=3.44)
    atoms.calc = get_engine("vasp").calculator()
    with pytest.raises(CalculationFailed):
        atoms.get_potential_energy()


def test_missing_setup_is_one_sentence(potentials, monkeypatch):
    monkeypatch.delenv("ASE_VASP_COMMAND", raising=False)
    with pytest.raises(EngineError, match="no command for VASP: set ASE_VASP_COMMAND"):
        get_engine("vasp").calculator()
    monkeypatch.setenv("ASE_VASP_COMMAND", "no_such_vasp")
    with pytest.raises(EngineError, match="there is no no_such_vasp"):
        get_engine("vasp").calculator()
    monkeypatch.setenv("ASE_VASP_COMMAND", "sh")
    shutil.rmtree(potentials / "potpaw_PBE.54" / "Li_sv")
    with pytest.raises(EngineError, match="no pseudopotential .*Li_sv"):
        get_engine("vasp").check({"Li"})
    monkeypatch.delenv("VASP_PP_PATH")
    with pytest.raises(EngineError, match="no pseudopotentials for VASP: set VASP_PP_PATH"):
        get_engine("vasp").calculator()
