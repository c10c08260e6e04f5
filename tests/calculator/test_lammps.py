"""LAMMPS with our calculator behind it, and the files for pair_allegro."""

import ase.io
import numpy as np
import pytest
import torch
from ase import units
from ase.calculators.lammps import Prism
from ase.io.lammpsdata import write_lammps_data
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet
from ase.neighborlist import neighbor_list
from nequip.model.inference_models import load_compiled_model

from culi_mlip.calculator import HybridAllegro
from culi_mlip.calculator.lammps import drive_lammps
from culi_mlip.errors import ModelError
from culi_mlip.structures import bulk, rattled
from tests.calculator.test_hybrid_allegro import crystal, surface


def opened(lammps, atoms, folder, calculator, units_="metal"):
    """A LAMMPS with a structure, in which the calculator gives the forces."""
    write_lammps_data(
        folder / "in.data", atoms, specorder=calculator.species, velocities=True, masses=True,
        units="metal", atom_style="atomic",
    )  # fmt: skip
    boundary = " ".join("p" if periodic else "m" for periodic in atoms.pbc)
    running = lammps(cmdargs=["-log", "none", "-screen", "none"])
    running.commands_list([
        f"units {units_}", "atom_style atomic", "atom_modify map array sort 0 0",
        f"boundary {boundary}", f"read_data {folder / 'in.data'}",
        "pair_style zero 5.0", "pair_coeff * *", "neigh_modify every 1 delay 0",
        "thermo_style custom step pe pxx pyy pzz pxy pxz pyz", "thermo_modify norm no",
    ])  # fmt: skip
    return running


def by_tag(running, name):
    n = running.get_natoms()
    order = np.argsort(running.numpy.extract_atom("id")[:n])
    return running.numpy.extract_atom(name)[:n][order].copy()


def skewed():
    atoms = crystal()
    shear = np.array([[1, 0.1, 0.05], [0.02, 1, -0.1], [0.1, 0, 1]])
    atoms.set_cell(atoms.cell.array @ shear, scale_atoms=True)
    return atoms


@pytest.mark.parametrize("structure", [crystal, surface, skewed])
def test_lammps_has_our_energies_forces_and_virials(lammps, trained, tmp_path, structure):
    calculator = HybridAllegro(trained["qdi"], device="cpu")
    for seed in range(7):
        atoms = rattled(structure(), 0.05, seed=seed)
        running = opened(lammps, atoms, tmp_path, calculator)
        drive_lammps(running, calculator)
        running.command("run 0")
        atoms.calc = HybridAllegro(trained["qdi"], device="cpu")
        prism = Prism(atoms.cell.array, atoms.pbc)
        assert running.get_thermo("pe") == pytest.approx(atoms.get_potential_energy(), abs=1e-7)
        expected = prism.vector_to_lammps(atoms.get_forces())
        np.testing.assert_allclose(by_tag(running, "f"), expected, atol=1e-7)
        if atoms.pbc.all():
            turn = prism.vector_to_lammps(np.eye(3))
            stress = turn.T @ atoms.get_stress(voigt=False) @ turn / units.bar
            scale = np.abs(stress).max()
            for i, name in enumerate("xyz"):
                for j, other in enumerate("xyz"[i:], i):
                    pressure = running.get_thermo(f"p{name}{other}")
                    assert pressure == pytest.approx(-stress[i, j], abs=1e-5 * scale), name + other
        running.close()


def test_hundred_steps_are_those_of_ase(lammps, trained, tmp_path):
    calculator = HybridAllegro(trained["allegro"], device="cpu")
    atoms = crystal()
    MaxwellBoltzmannDistribution(atoms, temperature_K=300, rng=np.random.default_rng(0))
    running = opened(lammps, atoms, tmp_path, calculator)
    drive_lammps(running, calculator)
    running.commands_list(["timestep 0.001", "fix move all nve", "run 100"])
    atoms.calc = HybridAllegro(trained["allegro"], device="cpu")
    VelocityVerlet(atoms, 1 * units.fs).run(100)
    assert running.get_thermo("pe") == pytest.approx(atoms.get_potential_energy(), abs=1e-5)
    prism = Prism(atoms.cell.array, atoms.pbc)
    apart = by_tag(running, "x") - prism.vector_to_lammps(atoms.positions)
    cell = prism.vector_to_lammps(atoms.cell.array)
    of_cell = apart @ np.linalg.inv(cell)
    assert np.abs((of_cell - np.round(of_cell)) @ cell).max() < 1e-5
    running.close()


def test_other_units_are_refused(lammps, trained, tmp_path):
    calculator = HybridAllegro(trained["allegro"], device="cpu")
    running = opened(lammps, crystal(), tmp_path, calculator, units_="real")
    with pytest.raises(ModelError, match="LAMMPS has units real: give it units metal"):
        drive_lammps(running, calculator)
    running.close()


def by_pair_allegros_model(file, atoms):
    """Energy and forces by the compiled model, given atoms and ghosts as pair_allegro does."""
    model, _ = load_compiled_model(str(file), "cpu")
    index, shifts = neighbor_list("ijS", atoms, 5.0)[:2], neighbor_list("S", atoms, 5.0)
    ghosts = np.flatnonzero(shifts.any(axis=1))
    owners = np.concatenate([np.arange(len(atoms)), index[1][ghosts]])
    neighbors = index[1].copy()
    neighbors[ghosts] = len(atoms) + np.arange(len(ghosts))
    images = atoms.positions[index[1][ghosts]] + shifts[ghosts] @ atoms.cell.array
    out = model({
        "pos": torch.tensor(np.concatenate([atoms.positions, images])),
        "edge_index": torch.tensor(np.stack([index[0], neighbors])),
        "atom_types": torch.zeros(len(owners), dtype=torch.int64),
    })  # fmt: skip
    forces = np.zeros((len(atoms), 3))
    np.add.at(forces, owners, out["forces"].numpy())
    return float(out["atomic_energy"][: len(atoms)].sum()), forces


@pytest.mark.slow
def test_export_for_mliap(lammps, trained, culi, tmp_path):
    ase.io.write(tmp_path / "slab.xyz", surface())
    arguments = (
        "export",
        "lammps",
        trained["qdi"],
        "slab.xyz",
        "--form",
        "mliap",
        "--out",
        "there",
    )
    done = culi(*arguments)
    assert done.returncode == 0, done.stderr
    script = (tmp_path / "there/in.lammps").read_text()
    assert "pair_style    mliap unified model.nequip.lmp.pt 0\n" in script
    assert "pair_coeff    * * Cu\n" in script
    model = torch.load(tmp_path / "there/model.nequip.lmp.pt", weights_only=False)
    assert list(model.element_types) == ["Cu"]


@pytest.mark.slow
def test_export_writes_model_structure_and_script(lammps, trained, culi, tmp_path, monkeypatch):
    atoms = surface()
    ase.io.write(tmp_path / "slab.xyz", atoms)
    done = culi("export", "lammps", trained["allegro"], "slab.xyz", "--out", "there")
    assert done.returncode == 0, done.stderr
    there = tmp_path / "there"
    assert {path.name for path in there.iterdir()} == {
        "model.nequip.pt2", "structure.data", "in.lammps",
    }  # fmt: skip
    script = (there / "in.lammps").read_text()
    assert "boundary      p p m" in script
    assert "pair_coeff    * * model.nequip.pt2 Cu\n" in script
    again = ase.io.read(there / "structure.data", format="lammps-data", atom_style="atomic")
    assert str(again.symbols) == str(atoms.symbols)
    np.testing.assert_allclose(again.get_all_distances(), atoms.get_all_distances(), atol=1e-6)
    with pytest.raises(ModelError, match="it was compiled for another program"):
        HybridAllegro(there / "model.nequip.pt2", device="cpu")
    energy, forces = by_pair_allegros_model(there / "model.nequip.pt2", atoms)
    atoms.calc = HybridAllegro(trained["allegro"], device="cpu")
    assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
    np.testing.assert_allclose(forces, atoms.get_forces(), atol=1e-9)
    # This LAMMPS has no pair_allegro: all else in the script runs.
    other = script.replace("pair_style    allegro", "pair_style    zero 5.0")
    other = other.replace("* * model.nequip.pt2 Cu", "* *").replace("run           2000", "run 2")
    (there / "other.lammps").write_text(other)
    monkeypatch.chdir(there)
    running = lammps(cmdargs=["-log", "none", "-screen", "none"])
    running.file("other.lammps")
    assert running.get_natoms() == len(atoms)
    running.close()


def test_export_of_what_the_model_does_not_know(trained, culi, tmp_path):
    ase.io.write(tmp_path / "silver.xyz", bulk("Ag", a=4.1))
    done = culi("export", "lammps", trained["allegro"], "silver.xyz", "--out", "there")
    assert done.returncode == 2
    assert "the structure holds Ag; the model knows only Cu" in done.stderr
    assert not (tmp_path / "there").exists()
