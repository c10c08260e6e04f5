"""The embedded reference engine: equilibrium, honesty, repeatability."""

import numpy as np
import pytest
from ase.eos import EquationOfState

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
