"""Compounds: prototypes are the crystals that they are named after; energies are a script's."""

import numpy as np
import pytest
import spglib
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.spacegroup import crystal
from scipy.optimize import minimize_scalar

from culi_mlip.errors import EngineError, StructureError
from culi_mlip.properties import convex_hull
from culi_mlip.structures.compounds import PROTOTYPES, compound

GROUPS = {"L1_0": 123, "B2": 221, "B32": 227, "C11_b": 139, "C15": 227, "L1_2": 221, "D0_22": 139,
          "D0_3": 225}  # fmt: skip

WYCKOFF = {  # space group, sites of A and of B, c/a: as the handbooks have them
    "B2": (221, [(0, 0, 0)], [(0.5, 0.5, 0.5)], 1),
    "B32": (227, [(0.125,) * 3], [(0.625,) * 3], 1),
    "C15": (227, [(0.125,) * 3], [(0.5,) * 3], 1),
    "L1_2": (221, [(0, 0, 0)], [(0, 0.5, 0.5)], 1),
    "D0_3": (225, [(0, 0, 0)], [(0.25,) * 3, (0.5, 0, 0)], 1),
    "C11_b": (139, [(0, 0, 0)], [(0, 0, 1 / 3)], 3),
    "D0_22": (139, [(0, 0, 0)], [(0, 0, 0.5), (0, 0.5, 0.25)], 2),
}


def distances(atoms, first, second):
    """The shortest distances of two elements, in cube roots of an atom's volume."""
    large = atoms * (3, 3, 3)
    centre = np.flatnonzero(large.symbols == first)[0]
    found = np.sort(large.get_distances(centre, np.flatnonzero(large.symbols == second), mic=True))
    found = found[found > 1e-6][:4]
    return found / (atoms.get_volume() / len(atoms)) ** (1 / 3)


@pytest.mark.parametrize("name", PROTOTYPES)
def test_prototypes_are_primitive_cells_of_their_crystals(name):
    atoms = compound(name, "Li", "Cu", volume=50.0)
    assert atoms.get_volume() == pytest.approx(50.0)
    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    assert spglib.get_symmetry_dataset(cell).number == GROUPS[name]
    assert len(spglib.find_primitive(cell)[2]) == len(atoms)
    if name not in WYCKOFF:
        return
    group, first, second, ratio = WYCKOFF[name]
    symbols = ["Li"] * len(first) + ["Cu"] * len(second)
    cellpar = [4, 4, 4 * ratio, 90, 90, 90]
    setting = {"setting": 2} if group == 227 else {}
    whole = crystal(symbols, [*first, *second], spacegroup=group, cellpar=cellpar, **setting)
    ours, theirs = (sorted(x.symbols.formula.count().items()) for x in (atoms, whole))
    assert [n / len(atoms) for _, n in ours] == [n / len(whole) for _, n in theirs]
    for pair in (("Li", "Cu"), ("Cu", "Cu"), ("Li", "Li")):
        np.testing.assert_allclose(distances(atoms, *pair), distances(whole, *pair), rtol=1e-6)


def test_unknown_prototypes_and_elements_are_refused():
    with pytest.raises(StructureError, match="prototype 'A15': choose one of L1_0"):
        compound("A15", "Li", "Cu")
    with pytest.raises(StructureError, match="Xx"):
        compound("B2", "Xx", "Cu")


@pytest.fixture(scope="module")
def alloys():
    return convex_hull("Cu", "Au", EMT(), steps=150)


def lowest(make, start):
    """Least energy an atom of a cubic crystal by its lattice constant."""

    def energy(a):
        atoms = make(a)
        atoms.calc = EMT()
        return atoms.get_potential_energy() / len(atoms)

    return minimize_scalar(energy, bounds=(0.95 * start, 1.05 * start), method="bounded",
                           options={"xatol": 1e-6}).fun  # fmt: skip


def test_formation_energies_are_those_of_a_script(alloys):
    ends = {
        s: lowest(lambda a, s=s: bulk(s, "fcc", a=a), a) for s, a in (("Cu", 3.6), ("Au", 4.08))
    }
    cubic = {
        "B2 AuCu": (lambda a: bulk("CuAu", "cesiumchloride", a=a), 3.0),
        "L1_2 AuCu3": (
            lambda a: Atoms("AuCu3", cell=[a] * 3, pbc=True, scaled_positions=[
                (0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)]), 3.7),
    }  # fmt: skip
    by_name = {c.name: c for c in alloys.compounds}
    for name, (make, start) in cubic.items():
        found = by_name[name]
        mixed = (1 - found.fraction) * ends["Cu"] + found.fraction * ends["Au"]
        assert found.formation_energy == pytest.approx(lowest(make, start) - mixed, abs=1e-4)
    assert [by_name[name].fraction for name in cubic] == [0.5, 0.25]


def test_the_hull_is_the_lower_one_of_all(alloys):
    points = [(0.0, 0.0), (1.0, 0.0)]
    points += [(c.fraction, c.formation_energy) for c in alloys.compounds if not c.withheld]
    for c in alloys.compounds:
        if c.withheld:
            assert c.above_hull is None
            continue
        mixtures = [  # of any two, that have the same composition
            y0 + (y1 - y0) * (c.fraction - x0) / (x1 - x0)
            for x0, y0 in points for x1, y1 in points if x0 <= c.fraction <= x1 and x0 < x1
        ]  # fmt: skip
        same = [y for x, y in points if abs(x - c.fraction) < 1e-9]
        below = min(mixtures + same)
        assert c.above_hull == pytest.approx(c.formation_energy - below, abs=1e-6)
    assert [c.name for c in alloys.stable] == ["D0_22 AuCu3", "L1_0 AuCu"]


def test_further_crystals_count_and_what_does_not_relax_is_withheld():
    other = bulk("CuAu", "zincblende", a=5.0)
    found = convex_hull("Cu", "Au", EMT(), others=[other], steps=1)
    mine = next(c for c in found.compounds if c.name == "other AuCu")
    assert mine.withheld.startswith("other AuCu: not below")
    assert mine.formation_energy is None
    assert other.cell.lengths()[0] == pytest.approx(5.0 / 2**0.5)


def test_a_calculator_without_stress_is_refused():
    calculator = LennardJones()
    calculator.implemented_properties = ["energy", "forces"]
    with pytest.raises(EngineError, match="has no stress"):
        convex_hull("Cu", "Au", calculator)
