"""How `make gpaw` compiles GPAW: with FFTW, BLAS and the libxc of PySCF's wheel.

GPAW's build runs this file with its own lists in scope. From libxc 7 on the check of the Fermi
hole's curvature (FHC), with which slabs diverge by r2SCAN, can be turned off.
"""

from pathlib import Path
from sysconfig import get_path

libxc = Path(get_path("purelib"), "pyscf", "lib", "deps")
include_dirs += [libxc / "include"]
library_dirs += [libxc / "lib"]
runtime_library_dirs += [libxc / "lib"]
libraries += ["blas", "fftw3"]
fftw = True
mpi = False  # a label is one process
compiler = "g++"
