"""GPAW really runs, where it is installed: crystals and a slab by r2SCAN."""

import re
import sys
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from ase import units
from ase.build import add_adsorbate, bulk, fcc100
from ase.calculators.emt import EMT

from culi_mlip.errors import EngineError
from culi_mlip.reference import get_engine
from culi_mlip.reference.relaxation import computed_labels
from tests.conftest import need


@pytest.fixture
def here(tmp_path, monkeypatch):
    need("gpaw", "" if find_spec("gpaw") else "GPAW is not installed")
    monkeypatch.chdir(tmp_path)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("atoms", "cutoff"),
    [(bulk("Li", "bcc", a=3.34), 400), (bulk("Cu", a=3.48), 520)],
    ids=["Li", "Cu"],
)
def test_crystals_repeat_and_their_stress_is_the_energys_derivative(
    here, check_strained, atoms, cutoff
):
    """With the same plane waves at each strain: that is the stress's definition."""

    def calculator_at(strain):
        settings = {"cutoff": cutoff / (1 + strain) ** 2, "kpoint_length": 7}
        return get_engine("gpaw", settings).calculator()

    check_strained(atoms, calculator_at, width=0.005)


def test_shifted_meshes_are_those_of_monkhorst_and_pack(here):
    """For even numbers; an odd one has no point at zero, and vacuum has its one there."""
    from ase.dft.kpoints import monkhorst_pack

    from culi_mlip.reference.gpaw import _kpoints

    def ordered(points):
        return np.array(sorted(np.asarray(points).round(9).tolist()))

    np.testing.assert_allclose(
        ordered(_kpoints((4, 2, 1), "shifted")), ordered(monkhorst_pack((4, 2, 1)))
    )
    assert ordered(_kpoints((3, 1, 1), "shifted"))[:, 0] == pytest.approx([-1 / 6, 1 / 6, 0.5])


@pytest.mark.timeout(600)
def test_lithium_with_1s_in_the_valence_has_the_pressure_of_vasp(here):
    """MatPES: VASP's r2SCAN, fcc, a = 4.3337 Å, +0.239 GPa; with 1s frozen it is 0.54 GPa."""
    settings = {
        "kpoint_length": 20,
        "kpoint_origin": "shifted",
        "smearing": "methfessel-paxton",
        "width": 0.2,
        "semicore": {"Li": 3},
    }
    lithium = bulk("Li", "fcc", a=4.3337)
    lithium.calc = get_engine("gpaw", settings).calculator()
    pressure = -lithium.get_stress()[:3].mean() / units.GPa
    assert pressure == pytest.approx(0.239, abs=0.15)


@pytest.mark.parametrize(
    ("smearing", "order", "origin"),
    [
        ("fermi-dirac", {}, "gamma"),
        ("methfessel-paxton", {"order": 1}, "shifted"),
    ],
)
def test_every_setting_reaches_gpaw(here, tmp_path, monkeypatch, smearing, order, origin):
    """None at its default; the labels are those of the structure, by EMT in GPAW's place."""
    import gpaw

    asked = []

    class NoGpaw(EMT):
        def __init__(self, **options):
            super().__init__()
            asked.append(options)

        def calculate(self, atoms, *_):
            asked[-1]["atoms"] = atoms.copy()
            super().calculate(atoms)

    monkeypatch.setattr(gpaw, "GPAW", NoGpaw)
    monkeypatch.setattr("culi_mlip.reference.gpaw._generated", lambda *which: which)
    settings = {
        "cutoff": 431,
        "kpoint_length": 11,
        "kpoint_origin": origin,
        "smearing": smearing.removesuffix("-dirac"),
        "width": 0.17,
        "semicore": {"Cu": 19},
        "energy_tolerance": 3e-5,
        "electronic_steps": 71,
    }
    atoms = bulk("Cu", cubic=True, a=3.6)
    atoms.set_cell(atoms.cell @ np.diag([1, 1.02, -1.3]), scale_atoms=True)
    atoms.rattle(0.1, seed=1)
    twin = atoms.copy()
    atoms.calc, twin.calc = get_engine("gpaw", settings).calculator(tmp_path / "run"), EMT()
    np.testing.assert_allclose(atoms.get_forces(), twin.get_forces(), atol=1e-9)
    np.testing.assert_allclose(atoms.get_stress(), twin.get_stress(), atol=1e-9)
    (options,) = asked
    assert options.pop("atoms").cell.handedness == 1
    mode = options.pop("mode")
    assert mode.ecut * units.Hartree == pytest.approx(431)
    points = options.pop("kpts")
    if origin == "gamma":
        assert points == {"size": (4, 3, 3), "gamma": True}
    else:
        assert sorted(set(points[:, 0])) == pytest.approx([-3 / 8, -1 / 8, 1 / 8, 3 / 8])
    assert options == {
        "xc": "MGGA_X_R2SCAN+MGGA_C_R2SCAN",
        "occupations": {"name": smearing, "width": 0.17} | order,
        "setups": {"Cu": ("Cu", 19)},
        "eigensolver": {"name": "davidson", "niter": 2},
        "convergence": {"energy": 3e-5},
        "maxiter": 71,
        "txt": str(tmp_path / "run" / "gpaw.txt"),
    }


def test_unknown_data_are_named(here):
    calculator = get_engine("gpaw", {"semicore": {"Li": 2}}).calculator()
    with pytest.raises(EngineError, match="no data of Li with 2 valence electrons"):
        calculator.get_potential_energy(bulk("Li"))


@pytest.mark.timeout(600)
def test_slab_has_forces_that_are_the_energys_derivative_and_add_up_to_zero(here):
    calculator = get_engine("gpaw", {"cutoff": 400, "kpoint_length": 7}).calculator()
    slab = fcc100("Cu", (1, 1, 3), a=3.6, vacuum=5)
    add_adsorbate(slab, "Li", 2.2, "hollow")
    slab.rattle(0.1, seed=1)
    direction = np.random.default_rng(2).normal(size=(4, 3))  # all atoms move, in all directions

    def labels(step):
        moved = slab.copy()
        moved.positions += step * direction
        moved.calc = calculator
        return computed_labels(moved)

    low, found, high = map(labels, (-0.01, 0, 0.01))
    slope = (high["energy"] - low["energy"]) / 0.02
    assert -(found["forces"] * direction).sum() == pytest.approx(slope, rel=0.01)
    np.testing.assert_allclose(found["forces"].mean(axis=0), 0, atol=0.005)


def test_label_is_the_free_energy(here):
    """As GPAW prints it; forces are not the derivatives of the one without smearing."""
    lithium = bulk("Li", "bcc", a=3.44)
    settings = {"kpoint_length": 7, "cutoff": 300, "width": 0.3}
    lithium.calc = get_engine("gpaw", settings).calculator("gpaw")
    energy = computed_labels(lithium)["energy"]
    text = Path("gpaw/gpaw.txt").read_text()
    free, other = (
        float(re.findall(rf"{name}: +(-?[.\d]+)", text)[-1])
        for name in ("Free energy", "Extrapolated")
    )
    assert energy == pytest.approx(free, abs=1e-5)
    assert abs(free - other) > 0.01


def test_unconverged_electrons_are_no_label(here):
    engine = get_engine("gpaw", {"kpoint_length": 7, "cutoff": 300, "electronic_steps": 2})
    atoms = bulk("Li", "bcc", a=3.44)
    atoms.calc = engine.calculator()
    with pytest.raises(EngineError, match="did not converge in 2 steps"):
        atoms.get_potential_energy()


def test_diverged_electrons_are_said(here, monkeypatch):
    """As when energies become NaN."""
    from gpaw.occupations import FermiDiracCalculator

    def find_no_root(self, *_):
        raise AssertionError

    monkeypatch.setattr(FermiDiracCalculator, "_calculate", find_no_root)
    atoms = bulk("Li", "bcc", a=3.44)
    atoms.calc = get_engine("gpaw", {"kpoint_length": 7, "cutoff": 300}).calculator()
    with pytest.raises(EngineError, match="diverged: see "):
        atoms.get_potential_energy()


LEFT_HANDED = {
    "left-handed": [[0, 1, 0], [1, 0, 0], [0, 0, 1]],
    "skewed and left-handed": [[0, 1, 0], [1, 0, 0], [1, 0, 1]],
}


@pytest.mark.timeout(600)
def test_left_handed_and_skewed_cells_have_the_same_labels(here):
    """Of one lattice, sampled by its Γ point alone, within the grids' error."""
    right = bulk("Li", "bcc", a=3.4)
    right.set_cell(right.cell.array @ np.diag([1.03, 0.98, 1.0]), scale_atoms=True)
    calculator = get_engine("gpaw", {"cutoff": 300, "kpoint_length": 2}).calculator()
    labels = {}
    for name, matrix in {**LEFT_HANDED, "right": np.eye(3)}.items():
        atoms = right.copy()
        atoms.set_cell(np.array(matrix) @ right.cell.array, scale_atoms=False)
        atoms.calc = calculator
        labels[name] = computed_labels(atoms)
    expected = labels.pop("right")
    assert np.abs(expected["stress"][:3]).max() > 1e-3
    for name, found in labels.items():
        assert found["energy"] == pytest.approx(expected["energy"], abs=2e-4), name
        np.testing.assert_allclose(found["stress"], expected["stress"], atol=2e-4)


def test_no_gpaw_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "gpaw.xc.libxc", None)
    with pytest.raises(EngineError, match="needs GPAW"):
        get_engine("gpaw").calculator()


def test_libxc_that_slabs_diverge_with_is_refused(here, monkeypatch):
    from gpaw.xc import libxc

    def functional_of_old(*arguments):
        functional = Mock(wraps=new(*arguments))
        functional.disable_fhc = lambda: False
        return functional

    new = libxc.cgpaw.lxcXCFunctional
    monkeypatch.setattr(libxc.cgpaw, "lxcXCFunctional", functional_of_old)
    with pytest.raises(EngineError, match="compiled with libxc 7"):
        get_engine("gpaw").calculator()
