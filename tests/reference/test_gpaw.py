"""GPAW really runs, where it is installed: bulk lithium by r2SCAN."""

from importlib.util import find_spec

import pytest
from ase.build import bulk

from culi_mlip.errors import EngineError
from culi_mlip.reference import get_engine
from tests.conftest import need


@pytest.fixture
def here(tmp_path, monkeypatch):
    need("gpaw", "" if find_spec("gpaw") else "GPAW is not installed")
    monkeypatch.chdir(tmp_path)


@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore:libxc should be compiled")
def test_lithium_repeats_and_its_stress_is_the_energys_derivative(here, check_lithium):
    check_lithium(get_engine("gpaw", {"kpoint_length": 14, "cutoff": 400}).calculator())


@pytest.mark.filterwarnings("ignore:libxc should be compiled")
def test_unconverged_electrons_are_no_label(here):
    engine = get_engine("gpaw", {"kpoint_length": 7, "cutoff": 300, "electronic_steps": 2})
    atoms = bulk("Li", "bcc", a=3.44)
    atoms.calc = engine.calculator()
    with pytest.raises(EngineError, match="did not converge in 2 steps"):
        atoms.get_potential_energy()


@pytest.mark.filterwarnings("ignore:libxc should be compiled")
def test_diverged_electrons_are_said(here, monkeypatch):
    """As by NaN, which a slab's empty space gives with a libxc that has FHC."""
    from gpaw.occupations import FermiDiracCalculator

    def find_no_root(self, *_):
        raise AssertionError

    monkeypatch.setattr(FermiDiracCalculator, "_calculate", find_no_root)
    atoms = bulk("Li", "bcc", a=3.44)
    atoms.calc = get_engine("gpaw", {"kpoint_length": 7, "cutoff": 300}).calculator()
    with pytest.raises(EngineError, match="diverged: see .*FHC"):
        atoms.get_potential_energy()


def test_no_gpaw_is_said(monkeypatch):
    monkeypatch.setattr("culi_mlip.reference.gpaw.find_spec", lambda name: None)
    with pytest.raises(EngineError, match="needs GPAW"):
        get_engine("gpaw").calculator()
