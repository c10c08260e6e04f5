"""CP2K: r2SCAN labels from an open engine, through ASE's calculator.

ASE finds the command in its configuration (ASE_CP2K_COMMAND, by default ``cp2k.psmp -s``), CP2K its
basis sets and potentials where it was installed, or in CP2K_DATA_DIR.
"""

from __future__ import annotations

import os
import shlex
import shutil
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.cp2k import CP2K
from ase.config import cfg
from ase.units import Rydberg
from pydantic import Field

from culi_mlip.configuration import Configuration
from culi_mlip.errors import EngineError, SetupError
from culi_mlip.reference.cells import repeated
from culi_mlip.reference.kpoints import kpoint_mesh

TITLE = "CP2K"


class Cp2kSettings(Configuration):
    """What labels of CP2K depend on: r2SCAN with Gaussian orbitals and smeared electrons.

    Attributes
    ----------
    cutoff, relative_cutoff
        CUTOFF and REL_CUTOFF of the grids in Ry. Stresses need fine grids: of bcc lithium under
        3 % strain 400 and 60 give the energy's derivative to 0.2 %, 250 and 40 nonsense.
    kpoint_length
        The Monkhorst-Pack mesh has N_i = ⌈length / |a_i|⌉ points, length in Å, or one more where
        that is even: even meshes of Monkhorst and Pack miss Γ, and break the symmetry of fcc and
        hexagonal cells. Along vacuum there is one.
    smearing_temperature
        Of the Fermi-Dirac smearing in K; 1160 is 0.1 eV. Energies are free energies.
    added_orbitals
        Empty orbitals an atom, at least four in all.
    tolerance, electronic_steps
        EPS_SCF and MAX_SCF.
    mixing, damping, history
        ALPHA, BETA and NBROYDEN of the Broyden mixing. With these a slab of lithium on copper
        converges.
    net_force
        Largest sum of all forces over the number of atoms, eV/Å. It is 0 but for the grids' error;
        labels beyond it are refused.
    basis_sets, potentials
        Of each element: made for SCAN, with copper's 3d and lithium's 1s among the valence
        electrons.
    basis_set_file, potential_file
        Where CP2K finds them.
    """

    FIRST: ClassVar[frozenset[str]] = frozenset({
        "added_orbitals", "basis_set_file", "basis_sets", "cutoff", "damping", "electronic_steps",
        "history", "kpoint_length", "mixing", "net_force", "potential_file", "potentials",
        "relative_cutoff", "smearing_temperature", "tolerance",
    })  # fmt: skip

    cutoff: float = Field(400.0, gt=0)
    relative_cutoff: float = Field(60.0, gt=0)
    kpoint_length: float = Field(16.0, gt=0)
    smearing_temperature: float = Field(1160.0, gt=0)
    added_orbitals: int = Field(4, ge=1)
    tolerance: float = Field(1e-6, gt=0)
    electronic_steps: int = Field(150, ge=1)
    mixing: float = Field(0.1, gt=0, le=1)
    damping: float = Field(1.5, gt=0)
    history: int = Field(8, ge=1)
    net_force: float = Field(0.02, gt=0)
    basis_sets: dict[str, str] = Field(
        default_factory=lambda: {
            "Cu": "DZVP-MOLOPT-SCAN-GTH-q11",
            "Li": "DZVP-MOLOPT-SCAN-GTH-q3",
        }
    )
    potentials: dict[str, str] = Field(
        default_factory=lambda: {"Cu": "GTH-SCAN-q11", "Li": "GTH-SCAN-q3"}
    )
    basis_set_file: str = "BASIS_MOLOPT_UZH"
    potential_file: str = "POTENTIAL_UZH"


_INPUT = """\
&FORCE_EVAL
  &DFT
    &MGRID
      REL_CUTOFF {settings.relative_cutoff}
    &END MGRID
    &KPOINTS
      SCHEME MONKHORST-PACK {mesh[0]} {mesh[1]} {mesh[2]}
      SYMMETRY OFF
      FULL_GRID OFF
    &END KPOINTS
    &SCF
      EPS_SCF {settings.tolerance}
      ADDED_MOS {added}
      &SMEAR ON
        METHOD FERMI_DIRAC
        ELECTRONIC_TEMPERATURE [K] {settings.smearing_temperature}
      &END SMEAR
      &MIXING
        METHOD BROYDEN_MIXING
        ALPHA {settings.mixing}
        BETA {settings.damping}
        NBROYDEN {settings.history}
      &END MIXING
    &END SCF
    &XC
      &XC_FUNCTIONAL
        &MGGA_X_R2SCAN
        &END MGGA_X_R2SCAN
        &MGGA_C_R2SCAN
        &END MGGA_C_R2SCAN
      &END XC_FUNCTIONAL
    &END XC
  &END DFT
  &SUBSYS
{kinds}
  &END SUBSYS
&END FORCE_EVAL
"""

_KIND = """\
    &KIND {symbol}
      BASIS_SET {basis_set}
      POTENTIAL {potential}
    &END KIND"""


def make(settings: Cp2kSettings) -> CP2K:
    """Return the ASE calculator for single points, in a folder of its own below this one.

    Raises
    ------
    SetupError
        If there is no CP2K.
    """
    check(settings)
    return StructureCp2k(settings, folder=f"cp2k-{socket.gethostname()}-{os.getpid()}")


def check(settings: Cp2kSettings, symbols: Iterable[str] = ()) -> None:
    """Check that there is CP2K.

    Raises
    ------
    SetupError
        If there is not.
    """
    command = cfg.get("ASE_CP2K_COMMAND", "cp2k.psmp -s")
    words = [word for word in shlex.split(command) if "=" not in word and word != "env"]
    if not words or shutil.which(words[0]) is None:
        raise SetupError(
            f"engine 'cp2k' needs CP2K, there is no '{command}': install it (Debian: cp2k), or "
            "name its shell in ASE_CP2K_COMMAND"
        )


class StructureCp2k(CP2K):
    """ASE's calculator, with an input that follows the structure, in a folder of its own.

    Each structure begins from atoms, so that its label does not depend on the one before. Slabs are
    repeated along their normal, as in plane-wave codes.
    """

    label = ""  # ASE's property would put the folder before it

    def __init__(self, settings: Cp2kSettings, folder: str = "cp2k") -> None:
        self.cp2k_settings = settings
        super().__init__(
            label="cp2k",
            directory=folder,
            cutoff=settings.cutoff * Rydberg,
            max_scf=settings.electronic_steps,
            xc=None,
            basis_set=None,
            pseudo_potential=None,
            basis_set_file=settings.basis_set_file,
            potential_file=settings.potential_file,
        )
        self.close()
        self.label = "cp2k"  # CP2K cuts long paths off: it runs in the folder
        self._program = self.command

    def calculate(
        self, atoms: Atoms | None = None, properties: Any = None, system_changes: Any = ()
    ) -> None:
        """Compute energy, forces and stress.

        Raises
        ------
        EngineError
            If an element has no basis set, the electrons do not converge, the forces do not add
            up to zero, or CP2K stops.
        """
        structure = atoms if atoms is not None else self.atoms
        periodic = repeated(structure)
        self.parameters["inp"] = input_text(self.cp2k_settings, periodic)
        output = Path(self.directory, "cp2k.out").absolute()
        output.parent.mkdir(parents=True, exist_ok=True)
        output.unlink(missing_ok=True)  # one that was left running writes to the old file
        command = f"cd {shlex.quote(str(output.parent))} && {self._program}"
        self.command = command  # type: ignore[assignment]  # ASE has None there
        try:
            self.close()
            super().calculate(periodic, properties, ["numbers", "cell", "positions"])
        except (AssertionError, OSError, RuntimeError, ValueError) as error:
            self.close()
            raise EngineError(f"CP2K stopped: see {output}") from error
        finally:
            self.atoms = structure.copy()
        if "SCF run NOT converged" in output.read_text(errors="replace"):
            self.results = {}
            raise EngineError(
                f"CP2K's electrons did not converge in {self.cp2k_settings.electronic_steps} "
                f"steps: see {output}"
            )
        net = float(np.linalg.norm(self.results["forces"].mean(axis=0)))
        if net > self.cp2k_settings.net_force:
            self.results = {}
            raise EngineError(
                f"CP2K's forces do not add up to zero, but to {net:.3f} eV/Å an atom: its grids "
                "are too coarse for this structure; raise cutoff and relative_cutoff, or for "
                "copper take engine gpaw"
            )


def input_text(settings: Cp2kSettings, atoms: Atoms) -> str:
    """Return the part of CP2K's input that is not the coordinates.

    Raises
    ------
    EngineError
        If an element has no basis set or potential.
    """
    symbols = sorted(set(atoms.symbols))
    for symbol in symbols:
        if symbol not in settings.basis_sets or symbol not in settings.potentials:
            raise EngineError(
                f"engine 'cp2k' has no basis set and potential for {symbol}: add them to its "
                f"settings, from {settings.basis_set_file} and {settings.potential_file}"
            )
    kinds = [
        _KIND.format(symbol=s, basis_set=settings.basis_sets[s], potential=settings.potentials[s])
        for s in symbols
    ]
    return _INPUT.format(
        settings=settings,
        mesh=[n + 1 - n % 2 for n in kpoint_mesh(atoms, settings.kpoint_length)],
        added=max(4, settings.added_orbitals * len(atoms)),
        kinds="\n".join(kinds),
    )
