"""The embedded reference engine: equilibrium, honesty, repeatability."""

import numpy as np
import pytest
from ase.eos import EquationOfState

from culi_mlip.errors import EngineError, RecipeError
from culi_mlip.reference import get_engine
from culi_mlip.structures import bulk, rattled, strained
from culi_mlip.structures.bulk import LATTICE_CONSTANTS

pytest.importorskip("chgnet")


@pytest.fixture(scope="module")
def chgnet():
    return get_engine("chgnet").calculator()


@pytest.mark.parametrize("symbol", ["Cu", "Li"])
def test_default_lattice_constant_is_the_engines_equilibrium(chgnet, symbol):
    volumes, energies = [], []
    for strain in np.linspace(-0.03, 0.03, 7):
        atoms = strained(bulk(symbol, cubic=True), strain)
        atoms.calc = chgnet
        volumes.append(atoms.get_volume())
        energies.append(atoms.get_potential_energy())
    volume, _, _ = EquationOfState(volumes, energies).fit()
    assert volume ** (1 / 3) == pytest.approx(LATTICE_CONSTANTS[symbol], abs=0.01)


def test_labels_repeat_to_the_last_bit(chgnet):
    atoms = rattled(bulk("Cu", repeat=(2, 2, 1)), 0.1, seed=0)
    forces = []
    for calculator in (chgnet, get_engine("chgnet").calculator()):
        atoms.calc = calculator
        forces.append(atoms.get_forces().copy())
    np.testing.assert_array_equal(*forces)


def test_stand_ins_say_so_and_digests_tell_engines_apart():
    engines = [get_engine(name) for name in ("chgnet", "emt")]
    for engine in engines:
        assert not engine.is_dft
        assert "stand-in for DFT" in engine.caution
    assert engines[0].digest != engines[1].digest
    assert engines[0].digest == get_engine("chgnet", {"model": "r2scan"}).digest


def test_any_ase_calculator_is_an_engine():
    engine = get_engine("ase", {"calculator": "ase.calculators.emt.EMT"})
    atoms = rattled(bulk("Cu", cubic=True), 0.1, seed=0)
    (here, there) = (atoms.copy() for _ in range(2))
    here.calc, there.calc = engine.calculator(), get_engine("emt").calculator()
    np.testing.assert_array_equal(here.get_forces(), there.get_forces())
    assert engine.title == "the ASE calculator ase.calculators.emt.EMT"
    assert not engine.is_dft
    argon = {"calculator": "ase.calculators.lj.LennardJones", "arguments": {"sigma": 2.0}}
    assert get_engine("ase", argon).calculator().parameters["sigma"] == 2.0
    later = get_engine("ase", argon | {"revision": "2"})
    assert len({engine.digest, get_engine("ase", argon).digest, later.digest}) == 3


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({}, RecipeError, "calculator"),
        ({"calculator": "EMT"}, RecipeError, "calculator"),
        ({"calculator": "nowhere.EMT"}, EngineError, "cannot import nowhere.EMT"),
        ({"calculator": "ase.calculators.emt.ETM"}, EngineError, "cannot import .*ETM"),
        ({"calculator": "ase.io.read", "arguments": {"no": 1}}, EngineError,
         "refuses its arguments"),
    ],
)  # fmt: skip
def test_wrong_ase_calculators_are_refused(settings, error, words):
    with pytest.raises(error, match=words):
        get_engine("ase", settings).calculator()
