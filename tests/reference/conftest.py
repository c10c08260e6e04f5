"""What VASP needs besides itself."""

import pytest

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
