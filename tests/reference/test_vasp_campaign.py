"""A campaign labelled by VASP through the command, with a program in VASP's place."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml
from ase import Atoms
from ase.build import bulk, fcc111
from ase.calculators.lj import LennardJones
from ase.constraints import (
    FixAtoms,
    FixBondLength,
    FixCartesian,
    FixedLine,
    FixedPlane,
    FixScaled,
)
from ase.io.vasp import read_vasp as read_poscar

from culi_mlip.configuration import parse
from culi_mlip.datasets import Store
from culi_mlip.errors import EngineError, SetupError
from culi_mlip.labelling import Recipe
from culi_mlip.reference import VaspSettings, get_engine
from culi_mlip.reference.kpoints import kpoint_mesh
from culi_mlip.reference.relaxation import computed_labels
from culi_mlip.reference.vasp import structure_values
from culi_mlip.structures import campaign
from tests import recorded_vasp
from tests.reference.conftest import POTCAR, POTENTIALS

pytestmark = [
    pytest.mark.filterwarnings("ignore:POTCAR", "ignore:No POTCAR"),
    pytest.mark.timeout(1200),
]

EXPECTED = Path(__file__).with_name("expected") / "campaign"

SLAB = {"symbol": "Cu", "millers": [[1, 0, 0]], "thickness": 4, "vacuum": 10}
RECIPE = {
    "lattice_constants": {"Cu": 3.578, "Li": 3.414},
    "structures": [
        {"kind": "slab", **SLAB, "free_layers": 1},
        {"kind": "adatom", **SLAB, "adatom": "Li", "repeat": [1, 1, 1]},
        {"kind": "interface", "film": "Li", "substrate": "Cu", "pairs": [[[1, 0, 0], [1, 0, 0]]],
         "film_thickness": 4, "substrate_thickness": 4, "vacuum": 10},
    ],
    "relaxation": {"kinds": ["slab"], "force": 0.02, "keep": "all"},
    "melt_quench": {"kinds": ["interface"], "frames": 5, "hold": 300, "to": 200, "rate": 5000,
                    "hold_time": 0.01, "stride": 1, "distance": 0},
    "engine": {"name": "vasp", "settings": {"corrections": 0}},
    "split": {"val": 0.2, "test": 0.2, "by": "frame"},
}  # fmt: skip


def write_potentials(folder, names=POTENTIALS):
    for name, valence in names:
        file = folder / "potpaw_PBE.54" / name / "POTCAR"
        file.parent.mkdir(parents=True)
        file.write_text(POTCAR.format(name=name, symbol=name.split("_")[0], valence=valence))


def run(*arguments, cwd, **environment):
    command = [sys.executable, "-W", "ignore", "-c", "from culi_mlip.cli import main; main()"]
    return subprocess.run(
        [*command, "build-dataset", *map(str, arguments)], cwd=cwd, env=os.environ | environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with `data`, built from elsewhere, and the folders that VASP ran in."""
    root = tmp_path_factory.mktemp("vasp")
    (root / "elsewhere").mkdir()
    (root / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    write_potentials(root / "potentials", [("Cu_pv", 17), ("Li_sv", 3)])
    with pytest.MonkeyPatch.context() as patch:
        log = recorded_vasp.install(root, patch)
        patch.setenv("VASP_PP_PATH", str(root / "potentials"))
        ended = run(root / "recipe.yaml", "--out", root / "data", cwd=root / "elsewhere")
    assert ended.returncode == 0, ended.stderr
    return root, sorted(Path(line) for line in log.read_text().splitlines())


def first_of(kind):
    return next(e for e in campaign(parse(Recipe, RECIPE, "test")) if e.kind == kind)


def test_vasp_is_reached_for_every_structure_in_a_folder_of_its_own(built):
    root, reached = built
    runs = root / "data" / "runs"
    entries = list(campaign(parse(Recipe, RECIPE, "test")))
    expected = [runs / entry.uid / "label" for entry in entries]
    expected.append(runs / first_of("slab").uid / "relaxation" / "00")
    expected += [
        runs / first_of("interface").uid / "melt-quench" / "steps" / leg for leg in ("00", "01")
    ]
    assert reached == sorted(expected)
    assert not list((root / "elsewhere").iterdir()), "nothing is left where the user stands"
    assert not Store(root / "data" / "store.db").failures()


@pytest.mark.parametrize("kind", ["slab", "adatom", "interface"])
def test_each_kind_has_its_input_line_by_line(built, kind):
    folder = built[0] / "data" / "runs" / first_of(kind).uid / "label"
    for file in ("INCAR", "KPOINTS", "POSCAR"):
        written = (folder / file).read_text().splitlines()
        assert written == (EXPECTED / kind / file).read_text().splitlines(), file
    names = re.findall(r"TITEL\s*=\s*PAW_PBE (\S+)", (folder / "POTCAR").read_text())
    assert names == (["Cu_pv"] if kind == "slab" else sorted(["Cu_pv", "Li_sv"]))


TASKS = {
    ("slab", "relaxation/00"): {
        "IBRION": "2", "NSW": "200", "ISIF": "2", "EDIFFG": "-2.00e-02",
    },
    ("interface", "melt-quench/steps/00"): {
        "IBRION": "0", "NSW": "5", "ISIF": "2", "MDALGO": "2", "SMASS": "0.000000",
        "POTIM": "2.000000", "TEBEG": "300.000000", "TEEND": "300.000000",
    },
    ("interface", "melt-quench/steps/01"): {
        "IBRION": "0", "NSW": "10", "ISIF": "2", "MDALGO": "2", "SMASS": "0.000000",
        "POTIM": "2.000000", "TEBEG": "300.000000", "TEEND": "200.000000",
    },
}  # fmt: skip


@pytest.mark.parametrize(("kind", "place"), TASKS)
def test_tasks_have_the_input_of_the_label_but_for_what_they_do(built, kind, place):
    folder = built[0] / "data" / "runs" / first_of(kind).uid

    def incar(place):
        return dict(re.findall(r"(?m)^(\w+) = (.*)$", (folder / place / "INCAR").read_text()))

    label, task = incar("label"), incar(place)
    if place.endswith("01"):  # the slab moved
        del label["DIPOL"], task["DIPOL"]
    assert task == label | TASKS[kind, place]
    kpoints = [(folder / p / "KPOINTS").read_text() for p in ("label", place)]
    assert kpoints[0] == kpoints[1]
    if not place.endswith("01"):
        poscar = (EXPECTED / kind / "POSCAR").read_text().splitlines()
        assert (folder / place / "POSCAR").read_text().splitlines()[: len(poscar)] == poscar


def test_labels_are_read_back_to_their_structures(built):
    """All forces, those on held atoms too, by the program's physics in ASE."""
    frames = list(Store(built[0] / "data" / "store.db").frames())
    kinds = {}
    for frame in frames:
        kinds[frame.info["kind"]] = kinds.get(frame.info["kind"], 0) + 1
        again = frame.copy()
        again.calc = LennardJones(**recorded_vasp.LJ)
        assert frame.get_potential_energy() == pytest.approx(again.get_potential_energy(), abs=1e-6)
        np.testing.assert_allclose(frame.get_forces(), again.get_forces(), atol=1e-6)
        np.testing.assert_allclose(frame.get_stress(), again.get_stress(), atol=1e-8)
        assert list(frame.pbc) == [True, True, False]
    assert kinds.pop("slab-relaxation") > 1
    assert kinds == {"slab": 1, "adatom": 3, "interface": 1, "interface-melt-quench": 5}
    held = first_of("slab").atoms.constraints[0].index
    (slab,) = (f for f in frames if f.info["kind"] == "slab")
    assert np.abs(slab.get_forces()[held]).max() > 1e-3


def test_frames_of_tasks_stay_beside_their_start(built):
    """VASP wraps positions into the cell; a structure that is not periodic there would be torn."""
    frames = list(Store(built[0] / "data" / "store.db").frames())
    starts = {frame.info["uid"]: frame for frame in frames}
    tasks = ("slab-relaxation", "interface-melt-quench")
    moved = [frame for frame in frames if frame.info["kind"] in tasks]
    assert len(moved) > 6
    for frame in moved:
        assert np.abs(frame.positions - starts[frame.info["parent"]].positions).max() < 1.5


def test_dry_run_writes_the_inputs_and_says_what_is_missing(built, tmp_path):
    root, _ = built
    ended = run(
        root / "recipe.yaml", "--out", tmp_path / "dry", "--dry-run",
        "--write-inputs", tmp_path / "inputs", cwd=tmp_path, VASP_PP_PATH="", ASE_VASP_COMMAND="",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "Not ready to label here: no command for VASP" in ended.stdout
    runs = root / "data" / "runs"
    pairs = {
        f"{kind}/{task}": runs / first_of(kind).uid / place
        for kind, task, place in (
            ("slab", ".", "label"),
            ("adatom", ".", "label"),
            ("interface", ".", "label"),
            ("slab", "relaxation", "relaxation/00"),
            ("interface", "melt-quench", "melt-quench/steps/00"),
        )
    }
    written = {str(f.relative_to(tmp_path / "inputs")) for f in tmp_path.glob("inputs/**/*.*")}
    assert not written, "no file but INCAR, KPOINTS, POSCAR"
    for name, folder in pairs.items():
        for file in ("INCAR", "KPOINTS"):
            text = (tmp_path / "inputs" / name / file).read_text()
            assert text == (folder / file).read_text()
        poscar = (tmp_path / "inputs" / name / "POSCAR").read_text()
        assert (folder / "POSCAR").read_text().startswith(poscar)
    ended = run(root / "recipe.yaml", "--write-inputs", "x", cwd=tmp_path)
    assert ended.returncode == 2
    assert "--write-inputs is for --dry-run" in ended.stderr


@pytest.fixture
def vasp(potentials, tmp_path, monkeypatch):
    recorded_vasp.install(tmp_path, monkeypatch)
    return get_engine("vasp", {"corrections": 0})


def others_slab(axis=2, shift=0.0, pbc=True):
    """Cu(111) with Li on it, with vacuum along a cell vector, anywhere in its cell."""
    slab = fcc111("Cu", (1, 1, 4), a=3.6, vacuum=8, periodic=True)
    slab += Atoms("Li", positions=[slab.positions[-1] + [0, 0, 2.4]])
    slab.positions[:, 2] += shift
    slab.wrap()
    slab.set_cell(slab.cell[np.roll([0, 1, 2], axis - 2)], scale_atoms=False)
    slab.pbc = [pbc or i != axis for i in range(3)]
    return slab


@pytest.mark.parametrize("pbc", [True, False])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slabs_of_others_are_labelled_whatever_axis_is_empty(vasp, tmp_path, axis, pbc):
    slab = others_slab(axis, pbc=pbc)
    twin = slab.copy()
    slab.calc, twin.calc = vasp.calculator(tmp_path / "run"), LennardJones(**recorded_vasp.LJ)
    assert slab.get_potential_energy() == pytest.approx(twin.get_potential_energy(), abs=1e-6)
    np.testing.assert_allclose(slab.get_forces(), twin.get_forces(), atol=1e-6)
    np.testing.assert_allclose(slab.get_stress(), twin.get_stress(), atol=1e-8)
    incar = (tmp_path / "run" / "INCAR").read_text()
    assert f"IDIPOL = {axis + 1}\n" in incar
    mesh = (tmp_path / "run" / "KPOINTS").read_text().splitlines()[3].split()
    assert [n for n, i in zip(mesh, range(3), strict=True) if i != axis] == ["13", "13"]
    assert mesh[axis] == "1"


@pytest.mark.parametrize("shift", [0.0, 4.0, 9.0, 11.0, 13.0])
def test_dipole_follows_a_slab_across_the_boundary(shift):
    """DIPOL of a shifted slab is DIPOL of the slab, shifted."""
    start, moved = others_slab(), others_slab(shift=shift)
    (before, after) = (structure_values(VaspSettings(), s)["dipol"][2] for s in (start, moved))
    difference = after - before - shift / start.cell[2, 2]
    assert difference == pytest.approx(round(difference), abs=2e-6)
    heights = start.positions[:, 2] / start.cell[2, 2]
    masses = start.get_masses()
    assert before == pytest.approx((heights * masses).sum() / masses.sum(), abs=1e-6)


def test_dipole_jumps_in_the_vacuum_above_a_thick_light_film():
    """The centre of mass is in the copper; half a cell above it is still lithium."""
    copper = bulk("Cu", cubic=True, a=3.6).repeat((1, 1, 3))
    film = bulk("Li", cubic=True, a=3.6).repeat((1, 1, 8))
    film.positions[:, 2] += copper.positions[:, 2].max() + 2.5
    stack = copper + film
    stack.center(vacuum=4, axis=2)
    values = structure_values(VaspSettings(), stack)
    jump = (values["dipol"][2] + 0.5) % 1 * stack.cell[2, 2]
    heights = stack.positions[:, 2]
    gap = [heights.max() + 1, heights.min() + stack.cell[2, 2] - 1]
    assert any(gap[0] < jump + image < gap[1] for image in (0, stack.cell[2, 2]))
    assert (heights * stack.get_masses()).sum() / stack.get_masses().sum() < heights.mean()


def test_isolated_atom_and_cluster_have_one_k_point_and_no_dipole(vasp, tmp_path):
    for n, atoms in enumerate([Atoms("Li"), Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 2.4]])]):
        atoms.center(vacuum=6)
        twin = atoms.copy()
        atoms.calc = vasp.calculator(tmp_path / str(n))
        twin.calc = LennardJones(**recorded_vasp.LJ)
        assert atoms.get_potential_energy() == pytest.approx(twin.get_potential_energy(), abs=1e-6)
        np.testing.assert_allclose(atoms.get_forces(), twin.get_forces(), atol=1e-6)
        assert "DIPOL" not in (tmp_path / str(n) / "INCAR").read_text()
        assert (tmp_path / str(n) / "KPOINTS").read_text().splitlines()[3].split() == ["1"] * 3


def test_what_vasp_cannot_repeat_is_one_sentence(vasp, tmp_path):
    thin = fcc111("Cu", (1, 1, 4), a=3.6, vacuum=2)
    without = Atoms("Cu")
    for atoms, words in ((thin, "at least 7 Å of vacuum"), (without, "has no cell")):
        atoms.calc = vasp.calculator(tmp_path / "run")
        with pytest.raises(EngineError, match=words):
            atoms.get_potential_energy()


def test_left_handed_cells_are_turned_for_vasp(vasp, tmp_path):
    """VASP refuses them; the k-points stay with their vectors."""
    right = bulk("Cu", a=3.6).repeat((2, 1, 1))
    right.rattle(0.1, seed=1)
    left = right.copy()
    left.set_cell(right.cell[[1, 0, 2]], scale_atoms=False)
    assert left.cell.handedness != right.cell.handedness
    labels = {}
    for name, atoms in (("left", left), ("right", right)):
        atoms.calc = vasp.calculator(tmp_path / name)
        labels[name] = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
    for one, other in zip(*labels.values(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert (tmp_path / "left" / "KPOINTS").read_text().splitlines()[3].split() == [
        str(n) for n in kpoint_mesh(left)
    ]


def test_only_the_potentials_of_a_structure_are_asked_for(vasp, potentials, tmp_path):
    for name in ("Li_sv", "H"):
        (potentials / "potpaw_PBE.54" / name / "POTCAR").unlink()
    copper = bulk("Cu", a=3.6)
    copper.calc = vasp.calculator(tmp_path / "run")
    assert copper.get_potential_energy() < 0
    vasp.check({"Cu"})
    with pytest.raises(SetupError, match="no pseudopotential .*Li_sv"):
        vasp.check({"Cu", "Li"})


@pytest.mark.parametrize(
    "text", ["", "  PAW_PBE Cu_pv\n 11.0\n   TITEL  = PAW_PBE Cu_pv\n 1.0 2.0"]
)
def test_potential_that_is_cut_off_is_one_sentence(vasp, potentials, text):
    (potentials / "potpaw_PBE.54" / "Cu_pv" / "POTCAR").write_text(text)
    with pytest.raises(SetupError, match="Cu_pv.POTCAR is not complete.*: copy it again"):
        vasp.check({"Cu"})


@pytest.mark.parametrize(
    ("command", "lacking"),
    [
        ("mpirun -n 2 no_such_vasp", "as there is no no_such_vasp: "),
        ("no_such_vasp -v", "as there is no no_such_vasp: "),
        ("mpirun", "as there is no program to start: "),
        ("'open quote", "cannot be read"),
    ],
)
def test_command_without_a_program_is_found_before(
    potentials, tmp_path, monkeypatch, command, lacking
):
    (tmp_path / "mpirun").write_text("#!/bin/sh\n")
    (tmp_path / "mpirun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("ASE_VASP_COMMAND", command)
    with pytest.raises(SetupError, match=f"VASP's command .*{lacking}.*mend ASE_VASP_COMMAND"):
        get_engine("vasp").check()
    for whole in (f"{sys.executable} -n 2", f"mpirun -n 2 {sys.executable}"):
        monkeypatch.setenv("ASE_VASP_COMMAND", whole)
        get_engine("vasp").check()


def test_packed_potentials_are_whole_as_ase_unpacks_them(vasp, potentials):
    potential = potentials / "potpaw_PBE.54" / "Cu_pv" / "POTCAR"
    potential.rename(potential.with_name("POTCAR.Z"))
    vasp.check({"Cu"})


@pytest.mark.parametrize("corrections", [0, 1])
def test_program_that_the_shell_does_not_find_is_no_structures_failure(
    potentials, tmp_path, monkeypatch, corrections
):
    monkeypatch.setenv("ASE_VASP_COMMAND", "sh -c no_such_vasp")
    atoms = bulk("Cu", a=3.6)
    atoms.calc = get_engine("vasp", {"corrections": corrections}).calculator(tmp_path / "run")
    with pytest.raises(SetupError, match="cannot be run"):
        atoms.get_potential_energy()


RELAX = """
import sys
from ase.build import bulk
from culi_mlip.reference import get_engine
atoms = bulk("Cu", a=3.5).repeat((2, 1, 1))
atoms.rattle(0.1, seed=1)
get_engine("vasp", {"corrections": 0}).relax(atoms, __import__("pathlib").Path(sys.argv[1]))
"""


def test_vasp_that_a_killed_worker_left_is_ended_and_nobody_else(potentials, tmp_path, monkeypatch):
    """Not a notebook's kernel in the same folder, which has no terminal and no parent either."""
    recorded_vasp.install(tmp_path, monkeypatch, first="test -e go || { touch up; sleep 300; }")
    folder = tmp_path / "run"
    worker = subprocess.Popen([sys.executable, "-c", RELAX, folder], cwd=tmp_path)
    for _ in range(600):
        if (folder / "00" / "up").exists():
            break
        time.sleep(0.1)
    left = psutil.Process(worker.pid).children(recursive=True)
    assert left
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    kernel = subprocess.Popen(["sleep", "300"], cwd=folder / "00", start_new_session=True)
    assert all(process.is_running() for process in left)
    (folder / "00" / "go").touch()
    atoms = bulk("Cu", a=3.5).repeat((2, 1, 1))
    atoms.rattle(0.1, seed=1)
    frames = get_engine("vasp", {"corrections": 0}).relax(atoms, folder)
    assert len(frames) > 1
    _, alive = psutil.wait_procs(left, timeout=10)
    assert not alive
    assert kernel.poll() is None
    kernel.kill()


def test_positions_that_vasp_wraps_come_back_unwrapped(vasp, tmp_path):
    slab = others_slab(pbc=False)
    slab.positions[:, 2] -= slab.positions[:, 2].min() + 1.0  # below the cell's boundary
    frames = vasp.relax(slab, tmp_path / "run", force=0.02)
    wrapped = read_poscar(tmp_path / "run" / "00" / "CONTCAR").positions[:, 2]
    assert wrapped.max() > slab.positions[:, 2].max() + 1, "VASP wrapped them"
    for frame in frames:
        assert np.abs(frame.positions - slab.positions).max() < 1.0
        twin = frame.copy()
        twin.calc = LennardJones(**recorded_vasp.LJ)
        np.testing.assert_allclose(frame.get_forces(), twin.get_forces(), atol=1e-6)


def relaxed(vasp, atoms, folder):
    """How far each atom goes, and the flags of selective dynamics."""
    last = vasp.relax(atoms, folder, force=0.05)[-1]
    lines = (folder / "00" / "POSCAR").read_text().splitlines()
    flags = [" ".join(line.split()[3:]) for line in lines if line.endswith(("T", "F"))]
    return last.positions - atoms.positions, flags


def test_constraints_of_each_sort_reach_vasp(vasp, tmp_path):
    """Of several on one atom, all."""
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, seed=1)
    atoms.set_constraint(
        [FixAtoms([0]), FixScaled([0, 1], (True, False, False)), FixCartesian([2], (0, 1, 0))]
    )
    moved, flags = relaxed(vasp, atoms, tmp_path / "run")
    assert flags == ["F F F", "F T T", "T F T", "T T T"]
    held = np.array([[1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 0]], bool)
    np.testing.assert_allclose(moved[held], 0, atol=1e-8)
    assert np.abs(moved[~held]).min() > 1e-4


def test_what_selective_dynamics_cannot_hold_is_refused_where_atoms_move(vasp, tmp_path):
    """In a hexagonal cell x is no cell vector's, but z is; a label needs no constraint."""
    atoms = fcc111("Cu", (1, 1, 4), a=3.6, vacuum=8)
    atoms.rattle(0.05, seed=1)
    atoms.set_constraint([FixCartesian([0], (0, 0, 1)), FixedLine([1], [0, 0, 1])])
    moved, flags = relaxed(vasp, atoms, tmp_path / "run")
    assert flags[:2] == ["T T F", "F F T"]
    assert abs(moved[0, 2]) < 1e-8
    assert np.abs(moved[1, :2]).max() < 1e-8
    for constraint, words in (
        (FixCartesian([0], (1, 0, 0)), "another one on atom 0"),
        (FixedPlane([1], [1, 1, 0]), "another one on atom 1"),
        (FixBondLength(0, 1), "a FixBondLengths"),
    ):
        atoms.set_constraint(constraint)
        with pytest.raises(EngineError, match=f"along cell vectors alone, and there is {words}"):
            vasp.relax(atoms, tmp_path / "none", force=0.05)
        atoms.calc = vasp.calculator(tmp_path / words)
        assert computed_labels(atoms)["forces"].any(axis=1).all()
