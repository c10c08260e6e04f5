"""What VASP needs besides itself."""

import numpy as np
import pytest

from culi_mlip.reference.relaxation import computed_labels

POTENTIALS = (("Cu_pv", 17), ("Li_sv", 3), ("Li", 1), ("H", 1), ("P", 5), ("S", 6))

POTCAR = """\
  PAW_PBE {name}
 {valence}.0
 parameters from PSCTR are:
   VRHFIN ={symbol}: nothing
   LEXCH  = PE
   TITEL  = PAW_PBE {name} 06Sep2000
   ZVAL   = {valence}.0    mass and valenz
 END of PSCTR-controll parameters
 local part
   1.0 2.0 3.0
 End of Dataset
"""


@pytest.fixture
def potentials(tmp_path, monkeypatch):
    """A folder like the PAW set's, with what ASE and custodian read of a POTCAR: its head."""
    folder = tmp_path / "potentials"
    for name, valence in POTENTIALS:
        file = folder / "potpaw_PBE.54" / name / "POTCAR"
        file.parent.mkdir(parents=True)
        file.write_text(POTCAR.format(name=name, symbol=name.split("_")[0], valence=valence))
    monkeypatch.setenv("VASP_PP_PATH", str(folder))
    return folder


@pytest.fixture
def outputs(real_data):
    """Outputs of real VASP runs."""
    return real_data / "vasp"


@pytest.fixture
def check_strained():
    """Check the labels of a strained crystal of one atom: they repeat, and belong together."""

    def check(atoms, calculator_at, width=0.01):
        """Differentiate the energy by a further strain, for which there is a calculator each."""

        def labels(strain):
            strained = atoms.copy()
            strained.set_cell(atoms.cell * (1 + strain), scale_atoms=True)
            strained.calc = calculator_at(strain)
            return computed_labels(strained)

        found, again, low, high = map(labels, (0, 0, -width, width))
        assert again["energy"] == pytest.approx(found["energy"], abs=1e-5)
        assert np.abs(found["forces"]).max() < 1e-4
        np.testing.assert_allclose(found["stress"][:3], found["stress"][0], rtol=1e-3)
        # dE/dε of an isotropic strain is the volume times the trace of the stress.
        derivative = (high["energy"] - low["energy"]) / (2 * width)
        work = atoms.get_volume() * found["stress"][:3].sum()
        assert work == pytest.approx(derivative, rel=0.02)

    return check
