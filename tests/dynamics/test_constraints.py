"""Constraints obeyed in runs, and the same in what is written."""

import ase.io
import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.constraints import (
    FixAtoms,
    FixBondLengths,
    FixCartesian,
    FixCom,
    FixedLine,
    FixedPlane,
    FixScaled,
    Hookean,
)

from culi_mlip.dynamics import Schedule, melt_quench, run_md
from culi_mlip.dynamics.constraints import merged_constraints
from culi_mlip.errors import StructureError
from culi_mlip.files import read_frames
from culi_mlip.structures import bulk

CELL = bulk("Cu", cubic=True)
SKEWED = bulk("Cu", repeat=(2, 2, 1))
CLUSTER = bulk("Cu", cubic=True)
CLUSTER.pbc = False  # so that a bond is not one of several images


def kept():
    """Coordinates of atom 0 along the held directions of each case, and distances."""
    return {
        "plane": lambda a: a.positions[0] @ [1, 1, 0],
        "line": lambda a: a.positions[0][[0, 1]],
        "z": lambda a: a.positions[0, 2],
        "scaled": lambda a: a.get_scaled_positions(wrap=False)[0, [0, 2]],
        "bond": lambda a: a.get_distance(0, 1),
        "com": lambda a: a.get_center_of_mass(),
        "spring": lambda a: np.zeros(1),
    }


CASES = {
    "plane": (CELL, FixedPlane([0], (1, 1, 0))),
    "line": (CELL, FixedLine([0], (0, 0, 1))),
    "z": (CELL, FixCartesian([0], mask=(False, False, True))),
    "scaled": (SKEWED, FixScaled([0], mask=(True, False, True))),
    "bond": (CLUSTER, FixBondLengths([(0, 1)])),
    "com": (CELL, FixCom()),
    "spring": (CELL, Hookean(0, (0.1, 0.0, 0.0), k=3.0, rt=0.0)),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("method", ["nve", "hold"])
def test_constraints_hold_conserve_and_outlive_the_run(tmp_path, name, method):
    atoms = CASES[name][0].copy()
    atoms.symbols[1] = "Au"  # unequal masses
    atoms.set_constraint(CASES[name][1])
    coordinate = kept()[name]
    if method == "nve":
        first = run_md(atoms, EMT(), temperature=300, time=0.02, out=tmp_path / "a",
                       ensemble="nve", timestep=1, stride=2)  # fmt: skip
    else:
        schedule = Schedule(300, 300, hold_time=0.02, timestep=1)
        first = melt_quench(atoms, EMT(), schedule, out=tmp_path / "a", stride=2)
    assert np.ptp(first.log["conserved_eV"]) < 0.02 * first.log["kinetic_eV"].max()
    written = read_frames(first.final)[0]
    assert np.abs(written.positions - atoms.positions).max() > 0.01
    np.testing.assert_allclose(coordinate(written), coordinate(atoms), atol=1e-6)
    second = run_md(written, EMT(), temperature=300, time=0.02, out=tmp_path / "b", timestep=1)
    again = read_frames(second.final)[0]
    assert [c.todict()["name"] for c in again.constraints] == [
        c.todict()["name"] for c in written.constraints
    ]
    np.testing.assert_allclose(coordinate(again), coordinate(atoms), atol=1e-6)
    if name == "spring":
        assert again.constraints[0].spring == 3.0


def test_merged_constraints_leave_what_all_of_them_leave():
    """Two planes leave their line; a plane and a line in it that line; scaled ones too."""
    atoms = SKEWED.copy()
    planes = [FixedPlane([1], (1, 1, 0)), FixedPlane([0, 1], (0, 1, 1)), FixedPlane([2], (1, 0, 2))]
    plane, line = _sorted(atoms, planes[:2])
    assert (plane.index.tolist(), line.index.tolist()) == ([0], [1])
    assert abs(plane.dir @ [0, 1, 1]) == pytest.approx(np.sqrt(2))
    assert abs(line.dir @ [1, -1, 1]) == pytest.approx(np.sqrt(3))
    (line,) = _sorted(atoms, [planes[2], FixedLine([2], (2, 0, -1))])
    assert abs(line.dir @ [2, 0, -1]) == pytest.approx(np.sqrt(5))
    (plane,) = _sorted(atoms, [FixScaled([3], mask=(False, True, False))])
    assert plane.dir @ atoms.cell[0] == pytest.approx(0, abs=1e-12)
    assert plane.dir @ atoms.cell[2] == pytest.approx(0, abs=1e-12)
    (line,) = _sorted(atoms, [FixScaled([3], mask=(True, True, False))])
    assert abs(line.dir @ atoms.cell[2]) == pytest.approx(atoms.cell.lengths()[2])
    bond = FixBondLengths([(0, 1)])
    held, other = merged_constraints_of(atoms, [bond, FixCartesian([3], (True, False, True))])
    assert (held.mask.tolist(), other) == ([True, False, True], bond)


def merged_constraints_of(atoms, constraints):
    atoms.set_constraint(constraints)
    return merged_constraints(atoms)


def _sorted(atoms, constraints):
    """Merged constraints, by their first atom."""
    return sorted(merged_constraints_of(atoms, constraints), key=lambda c: c.index[0])


def test_masks_are_a_column_that_ase_reads(tmp_path):
    atoms = CELL.copy()
    atoms.set_constraint([FixAtoms([3]), FixScaled([0], mask=(False, False, True)),
                          FixedLine([1], (1, 0, 0))])  # fmt: skip
    result = run_md(atoms, EMT(), temperature=300, time=0.02, out=tmp_path, stride=5)
    for file in (result.final, result.trajectory):
        last = ase.io.read(file, index=-1)
        held = np.zeros((4, 3), bool)
        for constraint in last.constraints:
            held[constraint.index] |= constraint.mask
        assert held.astype(int).tolist() == [[0, 0, 1], [0, 1, 1], [0, 0, 0], [1, 1, 1]]
        assert not last.info.keys() - {"time_ps"}


def test_constraints_of_columns_and_others_are_read_together(tmp_path):
    atoms = CELL.copy()
    atoms.set_constraint([FixAtoms([3]), FixedPlane([0], (1, 1, 0))])
    result = run_md(atoms, EMT(), temperature=300, time=0.01, out=tmp_path)
    columns, other = read_frames(result.final)[0].constraints
    assert (columns.index.tolist(), other.index.tolist()) == ([3], [0])
    assert other.todict()["name"] == "FixedPlane"


def test_other_keys_in_the_place_of_constraints_are_named(tmp_path):
    atoms = CELL.copy()
    atoms.info["ase_constraints"] = "none"
    ase.io.write(tmp_path / "a.xyz", atoms, format="extxyz")
    with pytest.raises(StructureError, match="frame 0: ase_constraints holds no constraints"):
        read_frames(tmp_path / "a.xyz")
