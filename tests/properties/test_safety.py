"""Checks of potentials: what they pass, and that each sees a potential which fails."""

from dataclasses import replace

import numpy as np
import pytest
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from culi_mlip.properties import dimer_curve, safety
from culi_mlip.report.safety import checks, page


class Spoilt(Calculator):
    """EMT, with what its results are changed by."""

    implemented_properties = ["energy", "forces", "stress"]

    def __init__(self, change):
        super().__init__()
        self.emt, self.change = EMT(), change

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.emt.calculate(atoms, ["energy", "forces"], all_changes)
        self.results = self.change(atoms, dict(self.emt.results))


@pytest.fixture(scope="module")
def emt():
    return safety("Cu", EMT(), time=0.3)


def test_a_sound_potential_passes(emt):
    assert emt.dimer.repulsive_from == pytest.approx(2.3, abs=0.3)
    assert emt.locality < 12
    assert abs(emt.extensivity) < 1e-10
    assert emt.rotation < 1e-10
    assert emt.slope < 1e-5
    assert abs(emt.drift) < 2e-4


def test_dimer_of_lennard_jones_is_its_formula():
    found = dimer_curve(("Cu", "Cu"), LennardJones(sigma=2.0, epsilon=0.5, rc=7.0))
    r = found.distances
    exact = 4 * 0.5 * ((2 / r) ** 12 - (2 / r) ** 6)
    shift = 4 * 0.5 * ((2 / 7) ** 12 - (2 / 7) ** 6)
    np.testing.assert_allclose(found.energies, np.where(r < 7, exact - shift, 0), atol=1e-9)
    assert found.repulsive_from == pytest.approx(2 * 2 ** (1 / 6), abs=0.02)
    assert found.inconsistency < 0.02
    # The force of this one is cut at 7 Å, where it is not yet zero.
    assert found.reach == pytest.approx(7, abs=0.02)
    slope = 24 * 0.5 / 7 * (2 * (2 / 7) ** 12 - (2 / 7) ** 6)
    assert found.jump == pytest.approx(abs(slope), rel=0.05)
    smooth = dimer_curve(("Cu", "Cu"), LennardJones(sigma=2.0, epsilon=0.5, rc=7.0, smooth=True))
    assert smooth.jump < 0.1 * found.jump


def test_a_hole_is_seen():
    def hole(atoms, results):
        if len(atoms) == 2 and atoms.get_distance(0, 1) < 1.0:
            results["forces"] = -results["forces"]
        return results

    assert dimer_curve(("Cu", "Cu"), Spoilt(hole)).repulsive_from == 0
    assert dimer_curve(("Cu", "Cu"), Spoilt(hole)).inconsistency > 0.5


@pytest.mark.parametrize(
    ("check", "change"),
    [
        ("extensivity", lambda atoms, r: r | {"energy": r["energy"] + 1e-5 * len(atoms) ** 2}),
        ("rotation", lambda atoms, r: r | {"forces": r["forces"] + [1e-3, 0, 0]}),
        ("slope", lambda atoms, r: r | {"forces": r["forces"] * 1.05}),
        ("drift", lambda atoms, r: r | {"forces": r["forces"] + 0.5 * atoms.get_velocities()}),
        (
            "locality",
            lambda atoms, r: r | {"forces": r["forces"] + atoms.positions.mean()},
        ),
    ],
)
def test_each_check_sees_what_fails_it(emt, check, change):
    a = 3.59
    found, sound = (safety("Cu", c, a=a, time=0.05) for c in (Spoilt(change), EMT()))
    assert abs(getattr(found, check)) > 5 * abs(getattr(sound, check)) + 1e-6


def test_the_page_tells_what_fails(emt):
    def hole(atoms, results):
        if len(atoms) == 2 and atoms.get_distance(0, 1) < 1.0:
            results["forces"] = -results["forces"]
        return results

    curve = dimer_curve(("Cu", "Cu"), Spoilt(hole))
    rows = checks([replace(emt, slope=-0.5, locality=np.inf)], [curve])
    failed = {row[0] for row in rows if row[-1] == "no"}
    assert failed == {"repulsion", "locality", "slope"}
    text = page([emt], [curve], "<m>")
    assert "1 of 7 checks find a fault." in text
    assert "&lt;m&gt;" in text
