"""What VASP needs besides itself."""

import gzip
import os
import re
from pathlib import Path

import numpy as np
import pytest

from culi_mlip.reference.relaxation import computed_labels
from tests.vasp_files import retold

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
def raw_outputs(real_data):
    """Outputs of real VASP runs."""
    return real_data / "vasp"


@pytest.fixture(scope="session")
def retold_outputs(tmp_path_factory):
    """Outputs of real VASP runs, told as if our fixed values and potentials had been given."""
    source = os.environ.get("CULI_MLIP_DATA", "")
    folder = tmp_path_factory.mktemp("outputs")
    for file in Path(source, "vasp").glob("*/*") if source else []:
        pack = gzip.open if file.suffix == ".gz" else open
        with pack(file, "rt", errors="replace") as lines:
            text = lines.read()
        text = retold(text, PREC="accura", LASPH="T", LREAL="F", ISPIN="1")
        text = re.sub(r"(ISMEAR *(?:=|\">) *)-5", r"\g<1> 0", text)  # no smearing is tetrahedra
        text = text.replace("P 17Jan2003", "P 06Sep2000").replace("S 17Jan2003", "S 06Sep2000")
        target = folder / file.relative_to(Path(source, "vasp"))
        target.parent.mkdir(exist_ok=True)
        with pack(target, "wt") as lines:
            lines.write(text)
    return folder


@pytest.fixture
def outputs(real_data, retold_outputs):
    """Outputs of real VASP runs, told as if our fixed values and potentials had been given."""
    return retold_outputs


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
