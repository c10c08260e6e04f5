"""A run is another one where structure, constraints, velocities or potential are."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.mixing import SumCalculator
from ase.calculators.tersoff import Tersoff, TersoffParameters
from ase.constraints import FixAtoms, FixedPlane

from culi_mlip.dynamics import Schedule, melt_quench, run_md
from culi_mlip.dynamics.identity import calculator_digest, structure_digest
from culi_mlip.errors import CuliError
from culi_mlip.structures import bulk

CELL = bulk("Cu", cubic=True)


class Learned(Calculator):
    """A potential with weights, and an argument that is no parameter of ASE's."""

    def __init__(self, model, cutoff, device="cpu"):
        super().__init__()
        self.model, self.cutoff, self.device = model, cutoff, device


def linear(weight):
    layer = torch.nn.Linear(1, 1)
    torch.nn.init.constant_(layer.weight, weight)
    torch.nn.init.zeros_(layer.bias)
    return layer


def test_potentials_are_told_apart_by_class_parameters_arguments_and_weights():
    calculators = [
        EMT(), EMT(asap_cutoff=True), LennardJones(), LennardJones(epsilon=0.2),
        SumCalculator([LennardJones(), EMT()]), SumCalculator([LennardJones(sigma=2.0), EMT()]),
        Learned(linear(1.0), 5.0), Learned(linear(2.0), 5.0), Learned(linear(1.0), 6.0),
    ]  # fmt: skip
    assert len({calculator_digest(c) for c in calculators}) == len(calculators)
    assert calculator_digest(Learned(linear(1.0), 5.0, "cuda")) == calculator_digest(calculators[6])


class Program(Calculator):
    """An engine's program: what it computes, and all that says where and how it runs."""

    def __init__(self, level, **machine):
        super().__init__()
        self.parameters = {"level": level, **machine}


def test_where_and_how_a_calculator_runs_does_not_count():
    plain = calculator_digest(Program(1))
    for name in (
        "command",
        "device",
        "directory",
        "label",
        "logfile",
        "parallel",
        "profile",
        "txt",
    ):
        assert calculator_digest(Program(1, **{name: "here"})) == plain, name
    assert calculator_digest(Program(1, charge=1)) != plain != calculator_digest(Program(2))
    assert plain.startswith(f"{__name__}.Program ")


def test_a_digest_of_its_own_is_all_that_counts():
    one, same, other = (
        Learned(linear(weight), cutoff) for weight, cutoff in ((1, 5), (2, 6), (1, 5))
    )
    one.digest = same.digest = "abc"
    other.digest = "abd"
    assert calculator_digest(one) == calculator_digest(same) != calculator_digest(other)
    assert calculator_digest(lambda atoms, folder: []) == "", "an engine's own dynamics"


def test_a_potential_that_has_computed_is_the_same():
    for calculator in (EMT(), LennardJones()):
        before = calculator_digest(calculator)
        calculator.get_potential_energy(CELL)
        assert calculator_digest(calculator) == before


class Springs(Calculator):
    """Keeps its argument under another name."""

    def __init__(self, k, name):
        super().__init__()
        self.stiffness, self.atomic = k, Path(name)


def test_potentials_are_told_apart_by_what_they_made_of_their_arguments():
    assert calculator_digest(Springs(1.0, "a")) == calculator_digest(Springs(1.0, "b"))
    assert calculator_digest(Springs(1.0, "a")) != calculator_digest(Springs(2.0, "a"))


def test_parameters_may_have_keys_of_several_elements():
    """Tersoff's."""
    values = {**dict.fromkeys(TersoffParameters.__annotations__, 1.0), "R": 3.0, "D": 0.2}
    triples = [("Si", "Si", "Si"), ("Si", "Si", "C")]

    def tersoff(a):
        return Tersoff({triple: TersoffParameters(**{**values, "A": a}) for triple in triples})

    assert calculator_digest(tersoff(300.0)) == calculator_digest(tersoff(300.0))
    assert calculator_digest(tersoff(300.0)) != calculator_digest(tersoff(301.0))


def test_a_file_of_parameters_is_its_content(tmp_path):
    def digest(folder, text):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "cu.alloy").write_text(text)
        return calculator_digest(Calculator(potential=str(tmp_path / folder / "cu.alloy")))

    assert digest("a", "one") == digest("b", "one")
    assert digest("a", "one") != digest("a", "another")
    assert digest("a", "one").endswith(" 7bb9dcab3856"), "as in the records that there are"


def test_a_sum_of_potentials_has_one_name_in_all_processes():
    """ASE keeps the names of its properties in an order that Python draws."""
    code = (
        "from ase.calculators.emt import EMT; from ase.calculators.lj import LennardJones;"
        "from ase.calculators.mixing import SumCalculator;"
        "from culi_mlip.dynamics.identity import calculator_digest;"
        "print(calculator_digest(SumCalculator([EMT(), LennardJones()])))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in "123"
    }
    assert len(found) == 1


def test_structures_are_told_apart_by_all_that_a_run_depends_on():
    def changed(change):
        atoms = CELL.copy()
        change(atoms)
        return structure_digest(atoms)

    digests = [
        changed(change)
        for change in (
            lambda a: None,
            lambda a: a.set_pbc((True, True, False)),
            lambda a: a.set_constraint(FixAtoms([0])),
            lambda a: a.set_constraint(FixAtoms([1])),
            lambda a: a.set_constraint(FixedPlane([0], (0, 0, 1))),
            lambda a: a.set_momenta(np.eye(4, 3)),
            lambda a: a.set_masses([60.0] * 4),
            lambda a: a.set_initial_magnetic_moments([1.0] * 4),
            lambda a: a.set_initial_charges([1.0] * 4),
            lambda a: a.set_cell(a.cell * 1.01),
            lambda a: a.rattle(0.01),
        )
    ]
    assert len(set(digests)) == len(digests)
    assert changed(lambda a: a.set_constraint([FixAtoms([0]), FixAtoms([1])])) == changed(
        lambda a: a.set_constraint(FixAtoms([1, 0]))
    )


def test_a_folder_does_not_give_the_result_of_another_potential(tmp_path):
    options = {"temperature": 300, "time": 0.01, "out": tmp_path / "md"}
    run_md(CELL, EMT(), **options)
    with pytest.raises(CuliError, match=r"another job \(md with other calculator\)"):
        run_md(CELL, LennardJones(), **options)
    options = {
        "schedule": Schedule(300, 290, rate=2000, hold_time=0.01),
        "out": tmp_path / "quench",
    }
    melt_quench(CELL, EMT(), **options)
    with pytest.raises(CuliError, match="another job .*other calculator"):
        melt_quench(CELL, LennardJones(), **options)
    fixed = CELL.copy()
    fixed.set_constraint(FixAtoms([0]))
    with pytest.raises(CuliError, match="another job .*other structure"):
        melt_quench(fixed, EMT(), **options)
    longer = options | {"schedule": Schedule(300, 290, rate=2000, hold_time=0.02)}
    with pytest.raises(CuliError, match="hold_time.*run md or melt-quench on its final.extxyz"):
        melt_quench(CELL, EMT(), **longer)
