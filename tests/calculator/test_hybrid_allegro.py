"""The calculator: derivatives, symmetries, continuity, files and refusals."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import warnings

import ase.io
import numpy as np
import pytest
from ase import Atoms, units
from ase.calculators.emt import EMT
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from nequip.integrations.ase import NequIPCalculator
from scipy.spatial.transform import Rotation

from culi_mlip.calculator import HybridAllegro
from culi_mlip.calculator.global_state import evaluating, loading
from culi_mlip.errors import ModelError, StructureError
from culi_mlip.labelling.computations import attempt
from culi_mlip.labelling.jobs import Job
from culi_mlip.structures import Entry, bulk, rattled, slab

VARIANTS = ["allegro", "mlp", "qdi"]


@pytest.fixture(params=VARIANTS)
def calculator(request, trained):
    return HybridAllegro(trained[request.param], device="cpu")


def crystal():
    return rattled(bulk("Cu", repeat=(2, 2, 2)), 0.1, seed=1)


def surface():
    atoms = slab("Cu", (1, 1, 1), thickness=4, vacuum=5, free_layers=None) * (2, 1, 1)
    return rattled(atoms, 0.1, seed=2)


def cluster():
    atoms = crystal()[[0, 1, 2, 3, 5, 7]]
    atoms.pbc = False
    return atoms


def two_atoms_in_a_cell_smaller_than_the_cutoff():
    return rattled(
        Atoms("Cu2", [[0, 0, 0], [1.3, 1.3, 1.9]], cell=[2.6, 2.7, 3.9], pbc=True), 0.1, seed=3
    )


def one_atom_in_a_cell_smaller_than_the_cutoff():
    return Atoms("Cu", cell=[[2.5, 0.1, 0], [0, 2.6, 0.2], [0.3, 0, 2.4]], pbc=True)


def outside_of_the_cell():
    atoms = surface()
    atoms.positions[::2] += 7 * atoms.cell[0] - 5 * atoms.cell[1]
    return atoms


STRUCTURES = pytest.mark.parametrize(
    "structure",
    [
        crystal,
        surface,
        cluster,
        two_atoms_in_a_cell_smaller_than_the_cutoff,
        one_atom_in_a_cell_smaller_than_the_cutoff,
        outside_of_the_cell,
    ],
)


@STRUCTURES
def test_forces_are_finite_differences_of_the_energy(calculator, structure):
    atoms = structure()
    atoms.calc = calculator
    forces, h = atoms.get_forces(), 1e-4
    scale = max(np.abs(forces).max(), 1e-3)
    for i, axis in [(0, 0), (len(atoms) // 2, 1), (len(atoms) - 1, 2)]:
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[i, axis] += sign * h
            moved.calc = calculator
            energies.append(moved.get_potential_energy())
        slope = -(energies[0] - energies[1]) / (2 * h)
        assert forces[i, axis] == pytest.approx(slope, abs=1e-4 * scale)


@STRUCTURES
def test_stress_is_the_finite_difference_under_strain(calculator, structure):
    atoms = structure()
    atoms.calc = calculator
    stress, h = atoms.get_stress(voigt=False), 1e-4
    scale = np.abs(stress).max()
    for i, j in [(0, 0), (1, 1), (0, 1), (2, 2), (0, 2)]:
        energies = []
        for sign in (1, -1):
            strain = np.zeros((3, 3))
            strain[i, j] += sign * h / 2
            strain[j, i] += sign * h / 2
            strained = atoms.copy()
            strained.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
            strained.calc = calculator
            energies.append(strained.get_potential_energy())
        slope = (energies[0] - energies[1]) / (2 * h * atoms.get_volume())
        assert stress[i, j] == pytest.approx(slope, abs=1e-4 * scale)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("mirror", [False, True], ids=["rotation", "reflection"])
def test_energy_is_invariant_and_forces_turn_along(calculator, seed, mirror):
    atoms = crystal()
    turn = Rotation.random(rng=np.random.default_rng(seed)).as_matrix() * (-1 if mirror else 1)
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ turn.T)
    turned.positions = atoms.positions @ turn.T
    for a in (atoms, turned):
        a.calc = calculator
    assert turned.get_potential_energy() == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
    np.testing.assert_allclose(turned.get_forces(), atoms.get_forces() @ turn.T, atol=1e-9)


def test_energy_and_force_are_continuous_where_an_atom_crosses_the_cutoff(calculator):
    def at(distance):
        trimer = Atoms("Cu3", [[0, 0, 0], [2.4, 0, 0], [0, distance, 0]], cell=[30] * 3)
        trimer.calc = calculator
        return trimer.get_potential_energy(), trimer.get_forces()

    cutoff, h = 5.0, 1e-5
    (inside, force_inside), (outside, force_outside) = at(cutoff - h), at(cutoff + h)
    assert inside == pytest.approx(outside, abs=1e-9)
    np.testing.assert_allclose(force_inside, force_outside, atol=1e-7)
    np.testing.assert_allclose(force_outside[2], 0, atol=1e-12)


@pytest.mark.parametrize(
    "pbc",
    [(True, True, False), pytest.param((True, True, True), marks=pytest.mark.slow)],
    ids=["TTF", "TTT"],
)
def test_thousand_steps_with_and_without_a_skin_are_those_of_nequips_calculator(trained, pbc):
    """MD by EMT at 600 K, with a strain now and then; every 50th step by nequip's own code too."""
    run = trained["allegro"]
    with_skin = HybridAllegro(run, device="cpu", compile=False)
    without = HybridAllegro(run, device="cpu", compile=False, skin=0.0)
    with loading():
        nequips = NequIPCalculator._from_saved_model(
            run / "checkpoints/best.ckpt", chemical_species_to_atom_type_map=True
        )
    atoms = bulk("Cu", repeat=(2, 2, 1))
    atoms.pbc = pbc
    atoms.calc = EMT()
    rng = np.random.default_rng(1)
    MaxwellBoltzmannDistribution(atoms, temperature_K=600, rng=rng)
    md = Langevin(
        atoms, 2 * units.fs, temperature_K=600, friction=0.02 / units.fs, rng=rng, fixcm=False
    )
    for step in range(1000):
        md.run(1)
        if step % 10 == 0:
            strain = np.eye(3) + 0.003 * rng.normal(size=(3, 3))
            atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
        others = [(without, 1e-12)] + [(nequips, 1e-10)] * (step % 50 == 0)
        for name in ("energy", "forces", "stress"):
            found = with_skin.get_property(name, atoms)
            for other, rtol in others:
                with evaluating({}):
                    expected = other.get_property(name, atoms)
                scale = np.abs(expected).max()
                np.testing.assert_allclose(found, expected, rtol=0, atol=rtol * scale)
    assert with_skin._neighbors.builds < 200
    assert without._neighbors.builds == 1000


def test_energy_is_the_sum_of_the_atomic_energies_and_repeats_with_the_cell(calculator):
    atoms = crystal()
    atoms.calc = calculator
    energy = atoms.get_potential_energy()
    assert calculator.results["energies"].sum() == pytest.approx(energy, abs=1e-9)
    double = atoms * (2, 1, 1)
    double.calc = calculator
    assert double.get_potential_energy() == pytest.approx(2 * energy, abs=1e-9)


def test_input_is_not_changed(calculator):
    atoms = crystal()
    positions, cell = atoms.positions.copy(), atoms.cell.array.copy()
    atoms.calc = calculator
    atoms.get_forces()
    np.testing.assert_array_equal(atoms.positions, positions)
    np.testing.assert_array_equal(atoms.cell.array, cell)


def test_checkpoint_and_run_folder_are_the_same_model(trained):
    atoms = crystal()
    energies = []
    for path in (trained["qdi"], trained["qdi"] / "checkpoints" / "best.ckpt"):
        atoms.calc = HybridAllegro(path, device="cpu")
        energies.append(atoms.get_potential_energy())
    assert energies[0] == energies[1]
    content = (trained["qdi"] / "checkpoints" / "best.ckpt").read_bytes()
    assert atoms.calc.digest == hashlib.sha256(content).hexdigest()[:16]
    assert atoms.calc.metadata["variant"] == "qdi"
    assert atoms.calc.metadata["engine"] == "emt"
    assert atoms.calc.species == ["Cu"]


@pytest.fixture(scope="module")
def package(trained, tmp_path_factory):
    """The hybrid, packaged by nequip's command."""
    package = tmp_path_factory.mktemp("package") / "model.nequip.zip"
    subprocess.run(
        [
            sys.executable, "-m", "nequip.scripts.package", "build",
            trained["qdi"] / "checkpoints" / "best.ckpt", package,
        ],
        check=True,
        capture_output=True,
        cwd=trained["qdi"],
    )  # fmt: skip
    return package


def test_packaged_model_gives_the_same_forces(trained, package):
    atoms = crystal()
    forces = []
    for path in (trained["qdi"], package):
        atoms.calc = HybridAllegro(path, device="cpu")
        forces.append(atoms.get_forces())
    np.testing.assert_allclose(forces[0], forces[1], atol=1e-12)


WITHOUT_THIS_PACKAGE = """
import importlib.metadata, sys
sys.modules["culi_mlip"] = None  # importing it fails, and nequip finds no extension of that name
entry_points = importlib.metadata.entry_points
def others(**which):
    return [] if which.get("group") == "nequip.extension" else entry_points(**which)
importlib.metadata.entry_points = others
import ase.io
from nequip.integrations.ase import NequIPCalculator
atoms = ase.io.read(sys.argv[2])
atoms.calc = NequIPCalculator._from_saved_model(sys.argv[1], device="cpu")
atoms.get_forces()
ase.io.write(sys.argv[3], atoms, format="extxyz")
assert "culi_mlip.quantum" not in sys.modules
"""


def test_packaged_model_runs_where_this_package_is_not_installed(trained, package, tmp_path):
    atoms = crystal()
    atoms.write(tmp_path / "in.traj")
    script = [sys.executable, "-c", WITHOUT_THIS_PACKAGE]
    subprocess.run([*script, package, tmp_path / "in.traj", tmp_path / "out.xyz"], check=True)
    atoms.calc = HybridAllegro(trained["qdi"], device="cpu")
    there = ase.io.read(tmp_path / "out.xyz").get_forces()
    np.testing.assert_allclose(there, atoms.get_forces(), atol=1e-7)


def test_cell_without_volume_has_no_stress(trained):
    atoms = Atoms("Cu2", [[0, 0, 0], [2.4, 0, 0]])
    atoms.calc = HybridAllegro(trained["qdi"], device="cpu")
    assert np.isfinite(atoms.get_potential_energy())
    assert "stress" not in atoms.calc.results


def test_unknown_species_and_nan_positions_are_refused(trained):
    calculator = HybridAllegro(trained["qdi"], device="cpu")
    atoms = bulk("Ag", a=4.1)
    atoms.calc = calculator
    with pytest.raises(ModelError, match="holds Ag, but the model knows only Cu"):
        atoms.get_potential_energy()
    atoms = bulk("Cu")
    atoms.positions[0, 0] = np.nan
    atoms.calc = calculator
    with pytest.raises(StructureError, match="NaN"):
        atoms.get_potential_energy()


def test_overlapping_atoms_and_no_atoms_are_named(trained):
    calculator = HybridAllegro(trained["qdi"], device="cpu")
    atoms = crystal()
    atoms.positions[5] = atoms.positions[2] + atoms.cell[0]
    atoms.calc = calculator
    with pytest.raises(ModelError, match="Cu8: atoms 2 and 5 are 0.000 Å apart"):
        atoms.get_forces()
    nothing = Atoms(cell=[3, 3, 3], pbc=True)
    nothing.calc = calculator
    with pytest.raises(ModelError, match="a structure without atoms has no energy"):
        nothing.get_potential_energy()
    atoms = crystal()
    atoms.calc = calculator
    assert np.isfinite(atoms.get_potential_energy())


def test_a_model_of_another_user_is_opened_with_a_warning(trained, tmp_path, monkeypatch):
    file = shutil.copy(trained["allegro"] / "checkpoints/best.ckpt", tmp_path / "theirs.ckpt")
    with warnings.catch_warnings(record=True) as warned:
        HybridAllegro(file, device="cpu")
    assert not [w for w in warned if "another user" in str(w.message)]
    monkeypatch.setattr(os, "getuid", lambda: file_owner + 1)
    file_owner = os.stat(file).st_uid
    if file_owner == 0:  # root's files are the system's
        os.chown(file, 1234, -1)
    with pytest.warns(
        UserWarning, match="theirs.ckpt belongs to another user, and models run code"
    ):
        HybridAllegro(file, device="cpu")


def test_what_is_not_a_model_is_refused(tmp_path):
    text = tmp_path / "model.ckpt"
    text.write_text("not a checkpoint")
    other = tmp_path / "notes.txt"
    other.write_text("")
    for path, reason in [
        (tmp_path / "nowhere", "does not exist"),
        (tmp_path, "holds no checkpoints"),
        (other, "is not a model"),
        (text, "not a model file, or it is damaged"),
    ]:
        with pytest.raises(ModelError, match=reason):
            HybridAllegro(path)


def test_trained_potential_labels_as_an_engine(trained):
    settings = {
        "calculator": "culi_mlip.calculator.HybridAllegro",
        "arguments": {"model": str(trained["mlp"]), "device": "cpu"},
    }
    structure = crystal()
    (label,) = attempt("ase", json.dumps(settings), [Job(Entry(structure, "bulk"))])
    structure.calc = HybridAllegro(trained["mlp"], device="cpu")
    assert label.results["energy"] == pytest.approx(structure.get_potential_energy())
    np.testing.assert_allclose(label.results["forces"], structure.get_forces(), atol=1e-9)
