"""Relaxations: each structure takes the steps of ASE's optimiser, many are evaluated together."""

import csv

import numpy as np
import pytest
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc100
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.constraints import FixAtoms
from ase.filters import FrechetCellFilter
from ase.io import read
from ase.optimize import BFGS, FIRE, LBFGS

from culi_mlip.calculator import HybridAllegro, batch
from culi_mlip.dynamics import relax, relaxation, run_relaxations
from culi_mlip.dynamics.relaxation import Descent
from culi_mlip.errors import CuliError, StructureError


def adatom(seed=0, size=(2, 2, 3), site="hollow"):
    atoms = fcc100("Cu", size, a=3.6, vacuum=6)
    add_adsorbate(atoms, "Cu", 1.9, site)
    atoms.pbc = (True, True, False)
    atoms.rattle(0.05, seed=seed)
    atoms.set_constraint(FixAtoms(indices=range(size[0] * size[1])))
    return atoms


def strained(a=3.7, seed=0):
    atoms = bulk("Cu", a=a, cubic=True)
    atoms.rattle(0.05, seed=seed)
    return atoms


def by_ase(atoms, calculator, optimizer, *, cell=False, fmax=0.02, steps=500):
    moving = atoms.copy()
    moving.calc = calculator
    run = optimizer(FrechetCellFilter(moving) if cell else moving, logfile=None)
    run.run(fmax=fmax, steps=steps)
    return moving, run.nsteps


@pytest.mark.parametrize(("name", "optimizer"), [("fire", FIRE), ("lbfgs", LBFGS), ("bfgs", BFGS)])
def test_steps_are_those_of_ases_optimisers(name, optimizer):
    frames = [adatom(i, site=site) for i, site in enumerate(("hollow", "bridge", "ontop"))]
    before = [atoms.positions.copy() for atoms in frames]
    found = relax(frames, EMT(), fmax=0.02, optimizer=name)
    for atoms, old, relaxed in zip(frames, before, found, strict=True):
        expected, steps = by_ase(atoms, EMT(), optimizer)
        assert (relaxed.steps, relaxed.converged) == (steps, True)
        np.testing.assert_allclose(relaxed.atoms.positions, expected.positions, atol=1e-10)
        energy = expected.get_potential_energy()
        assert relaxed.atoms.get_potential_energy() == pytest.approx(energy, abs=1e-9)
        np.testing.assert_array_equal(atoms.positions, old)
        assert np.linalg.norm(relaxed.atoms.get_forces(), axis=1).max() < 0.02
        np.testing.assert_array_equal(relaxed.atoms.positions[:4], old[:4])  # fixed


def test_the_most_steps_are_taken_and_no_more():
    (found,) = relax([adatom()], EMT(), fmax=1e-9, steps=3)
    expected, _ = by_ase(adatom(), EMT(), FIRE, fmax=1e-9, steps=3)
    assert (found.steps, found.converged, found.failure) == (3, False, None)
    np.testing.assert_allclose(found.atoms.positions, expected.positions, atol=1e-10)


def test_cells_are_relaxed_where_they_are_periodic():
    crystal, steps = by_ase(strained(), EMT(), FIRE, cell=True, fmax=0.01)
    slab = adatom()
    (bulk_, surface) = relax([strained(), slab], EMT(), fmax=0.01, cell=True)
    assert bulk_.steps == steps
    np.testing.assert_allclose(bulk_.atoms.cell, crystal.cell, atol=1e-10)
    assert abs(bulk_.atoms.get_stress()).max() < 4 * 0.01 / bulk_.atoms.get_volume()
    assert surface.atoms.cell[2].tolist() == slab.cell[2].tolist()
    assert surface.atoms.cell[0, 0] != slab.cell[0, 0]
    assert abs(surface.atoms.get_stress()[[0, 1, 5]]).max() < 13 * 0.01 / slab.get_volume()
    tilted = slab.copy()
    tilted.rotate(30, "x", rotate_cell=True)
    with pytest.raises(StructureError, match="lie along Cartesian axes, or in a plane of two"):
        relax([tilted], EMT(), cell=True)
    with pytest.raises(StructureError, match="periodic along 0 of its cell vectors"):
        relax([Atoms("Cu2", [[0, 0, 0], [0, 0, 2.4]])], EMT(), cell=True)


@pytest.mark.parametrize("cell", [False, True])
def test_many_at_once_are_as_each_alone(trained, monkeypatch, cell):
    monkeypatch.setattr(batch, "ATOMS_PER_THREAD", 20)  # some wait for others to end
    calculator = HybridAllegro(trained["qdi"], device="cpu", compile=False)
    frames = [strained(3.5 + 0.05 * i, seed=i) for i in range(3)]
    frames += [] if cell else [adatom(1), Atoms("Cu"), Atoms("Cu2", [[0, 0, 0], [0, 0, 2.3]])]
    calls, evaluate = [], batch.Batches.__call__
    monkeypatch.setattr(
        batch.Batches, "__call__", lambda self, of: calls.append(len(of)) or evaluate(self, of)
    )
    together = relax(frames, calculator, fmax=0.02, steps=40, cell=cell)
    assert max(calls) > 1
    for atoms, found in zip(frames, together, strict=True):
        alone, _ = by_ase(atoms, calculator, FIRE, cell=cell) if found.converged else (None, 0)
        if alone is not None:
            assert found.atoms.get_potential_energy() == pytest.approx(
                alone.get_potential_energy(), abs=1e-9
            )
            np.testing.assert_allclose(found.atoms.positions, alone.positions, atol=1e-7)
    assert sum(found.converged for found in together) >= 2


class _Killed(BaseException):
    pass


def test_a_killed_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(relaxation, "SAVE_EVERY", 0.0)
    frames = [adatom(i) for i in range(4)]
    out = tmp_path / "relaxed"

    def killed_after_two(done, total):
        assert total == 4
        if done == 3:
            raise _Killed

    with pytest.raises(_Killed):
        run_relaxations(frames, EMT(), out=out, progress=killed_after_two)
    kept = [atoms.info["structure"] for atoms in read(out / "relaxed.extxyz", ":")]
    assert len(kept) in (2, 3)
    done = []
    found = run_relaxations(frames, EMT(), out=out, progress=lambda n, total: done.append(n))
    assert done == list(range(len(kept) + 1, 5))
    assert [atoms.info["structure"] for atoms in read(out / "relaxed.extxyz", ":")] == [0, 1, 2, 3]
    for one, expected in zip(found, relax(frames, EMT()), strict=True):
        assert (one.steps, one.converged) == (expected.steps, True)
        np.testing.assert_allclose(one.atoms.positions, expected.atoms.positions, atol=1e-7)
    again = run_relaxations(frames, EMT(), out=out, progress=lambda n, total: pytest.fail("again"))
    assert [one.steps for one in again] == [one.steps for one in found]
    with pytest.raises(CuliError, match="holds another job .* with other fmax"):
        run_relaxations(frames, EMT(), out=out, fmax=0.01)


def test_what_cannot_be_evaluated_is_named_at_once_and_later_left_out(trained, tmp_path):
    with pytest.raises(StructureError, match=r"structure 1: Li cannot be computed \(NotImpl"):
        relax([adatom(), Atoms("Li")], EMT())
    with pytest.raises(StructureError, match="no structures"):
        run_relaxations([], EMT(), out=tmp_path)
    for wrong in ({"fmax": 0.0}, {"fmax": np.nan}, {"steps": 0}):
        with pytest.raises(CuliError, match=next(iter(wrong))):
            run_relaxations([adatom()], EMT(), out=tmp_path / "no", **wrong)
    calculator = HybridAllegro(trained["allegro"], device="cpu", compile=False)
    for engine, name in ((calculator, "structure 1: Li holds Li, but"), (EMT(), "structure 0: Li")):
        frames = [adatom(), Atoms("Li")]
        with pytest.raises(StructureError, match=name):
            run_relaxations(
                frames if engine is calculator else frames[::-1], engine, out=tmp_path / "no"
            )
    assert not (tmp_path / "no").exists()

    class Failing(LennardJones):
        """Cannot evaluate clusters of three beyond their first step."""

        calls = 0

        def calculate(self, atoms, *others):
            super().calculate(atoms, *others)
            self.calls += len(atoms) == 3
            if self.calls > 1 and len(atoms) == 3:
                self.results["forces"] = np.full((3, 3), np.nan)

    pair, three = Atoms("Ar2", [[0, 0, 0], [0, 0, 1.2]]), Atoms("Ar3", np.eye(3) * 1.3)
    good, bad = run_relaxations([pair, three], Failing(), out=tmp_path / "out")
    assert good.converged
    assert (bad.converged, bad.steps) == (False, 1)
    rows = list(csv.DictReader((tmp_path / "out/relaxed.csv").open()))
    assert [row["converged"] for row in rows] == ["True", "False"]
    assert rows[1]["failure"] == "energy or forces are NaN or infinite"
    assert float(rows[0]["energy_eV"]) == good.atoms.get_potential_energy()
    assert np.linalg.norm(np.diff(good.atoms.positions, axis=0)) == pytest.approx(
        2 ** (1 / 6), abs=0.01
    )


def test_progress_is_by_the_logarithm_of_forces():
    """Two structures, one of which is at rest: half is done at once, the rest as forces fall."""
    still, moved = bulk("Cu", a=3.59, cubic=True), bulk("Cu", a=3.59, cubic=True) * (2, 1, 1)
    moved.positions[0] += [0.3, 0.1, 0]
    calls = []
    found = relax([still, moved], EMT(), fmax=0.01, progress=lambda *of: calls.append(of))
    done, total = zip(*calls, strict=True)
    assert set(total) == {100}
    assert list(done) == sorted(done)
    assert done[0] == 50
    assert done[-1] == 100
    assert 60 < np.median(done) < 100
    assert found[1].converged


def test_descent_is_a_share_of_a_logarithm():
    calls = []
    descent = Descent(2, 0.01, lambda *of: calls.append(of))
    for forces in ((1.0, 0.001), (0.1, 0.001), (0.5, 0.001), (0.0, 0.0)):
        for i, force in enumerate(forces):
            descent.reached(i, force)
        descent.tell()
    assert calls == [(50, 100), (75, 100), (75, 100), (100, 100)]


class Frugal(EMT):
    """Gives a stress to those alone who ask for it."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        super().calculate(atoms, properties, system_changes)
        self.asked.append("stress" in properties)
        if "stress" not in properties:  # as CHGNet's, which keeps an earlier one
            self.results["stress"] = np.full(6, 9.0)


@pytest.mark.parametrize("cell", [False, True])
def test_the_stress_is_asked_for_once_at_the_end_unless_the_cell_relaxes(cell):
    calculator = Frugal()
    (found,) = relax([strained()], calculator, fmax=0.02, cell=cell)
    (expected,) = relax([strained()], EMT(), fmax=0.02, cell=cell)
    np.testing.assert_allclose(found.atoms.get_stress(), expected.atoms.get_stress(), atol=1e-10)
    assert found.steps == expected.steps > 1
    n = found.steps + 1
    assert calculator.asked == ([True] * n if cell else [False] * n + [True])
    calculator.asked.clear()
    (at_once,) = relax([strained()], calculator, steps=0)
    assert calculator.asked == [True]
    assert at_once.atoms.get_stress().shape == (6,)
