"""GPAW: r2SCAN labels by plane waves from an open engine."""

from __future__ import annotations

import os
import socket
import warnings
from argparse import ArgumentParser
from collections.abc import Iterable
from functools import lru_cache
from io import StringIO
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from pydantic import Field

from culi_mlip.configuration import Configuration
from culi_mlip.errors import EngineError, SetupError
from culi_mlip.reference.cells import repeated
from culi_mlip.reference.kpoints import kpoint_mesh

TITLE = "GPAW"
FUNCTIONAL = "MGGA_X_R2SCAN+MGGA_C_R2SCAN"


class GpawSettings(Configuration):
    """What labels of GPAW depend on: r2SCAN with plane waves and PBE's atomic data.

    Attributes
    ----------
    cutoff
        Of the plane waves in eV; the paper's 520.
    kpoint_length
        The mesh has N_i = ⌈length / |a_i|⌉ points, length in Å; along vacuum one.
    kpoint_origin
        "gamma" has Γ in the mesh; "shifted" moves it by half a step along each periodic vector
        (Monkhorst and Pack, Phys. Rev. B 13, 5188 (1976), for even N_i).
    smearing, width
        Of the occupations, in eV; "methfessel-paxton" is of first order. Energies are free
        energies.
    semicore
        Elements whose PAW data are made by GPAW's generator (its own parameters) with the number
        of valence electrons given here, instead of GPAW's files: ``{"Li": 3}`` has 1s in the
        valence.
    energy_tolerance
        Of the electrons in eV per valence electron.
    electronic_steps
        The most.
    """

    FIRST: ClassVar[frozenset[str]] = frozenset({
        "cutoff", "electronic_steps", "energy_tolerance", "kpoint_length", "kpoint_origin",
        "semicore", "smearing", "width",
    })  # fmt: skip

    cutoff: float = Field(520.0, gt=0)
    kpoint_length: float = Field(32.0, gt=0)
    kpoint_origin: Literal["gamma", "shifted"] = "gamma"
    smearing: Literal["fermi", "methfessel-paxton"] = "fermi"
    width: float = Field(0.1, gt=0)
    semicore: dict[str, int] = Field(default_factory=dict)
    energy_tolerance: float = Field(1e-6, gt=0)
    electronic_steps: int = Field(200, ge=1)


def make(settings: GpawSettings) -> Calculator:
    """Return the ASE calculator for single points, in a folder of its own below this one.

    Raises
    ------
    SetupError
        If there is no GPAW that can do r2SCAN; see `check`.
    """
    check(settings)
    return StructureGpaw(settings, f"gpaw-{socket.gethostname()}-{os.getpid()}")


def check(settings: GpawSettings, symbols: Iterable[str] = ()) -> None:
    """Check that GPAW can label structures of some elements here.

    Raises
    ------
    SetupError
        If there is no GPAW, no atomic data of an element, or GPAW's libxc cannot do without FHC,
        the check that the Fermi hole's curvature is positive: |∇n|² ≤ 8nτ, which densities of PAW
        break. Slabs diverge with it.
    """
    try:
        from gpaw.setup_data import search_for_file
        from gpaw.xc.libxc import LibXC

        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="libxc should be compiled")
            LibXC(FUNCTIONAL)
    except ImportError as error:
        raise SetupError(
            f"engine 'gpaw' needs GPAW ({error}): compile it by make gpaw, as docs/labels.md says"
        ) from error
    except (NameError, UserWarning) as error:  # no libxc, or one whose FHC stays on
        raise SetupError(
            "engine 'gpaw' needs a GPAW that was compiled with libxc 7 (slabs diverge by r2SCAN "
            "with older ones): compile it again by make gpaw, as docs/labels.md says"
        ) from error
    for symbol in sorted(set(symbols) - set(settings.semicore)):
        try:
            search_for_file(f"{symbol}.PBE")
        except FileNotFoundError as error:
            raise SetupError(
                f"GPAW has no atomic data of {symbol} (PBE): pip install gpaw-data, or set "
                "GPAW_SETUP_PATH to a folder that has them"
            ) from error


_SMEARINGS: dict[str, dict[str, Any]] = {
    "fermi": {"name": "fermi-dirac"},
    "methfessel-paxton": {"name": "methfessel-paxton", "order": 1},
}


def _kpoints(mesh: tuple[int, int, int], origin: str) -> Any:
    """GPAW's k-points: where there is one point along a vector, it is at zero."""
    if origin == "gamma":
        return {"size": mesh, "gamma": True}
    steps = [np.arange(n) / n + (0.5 / n if n > 1 else 0) for n in mesh]
    points = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, 3)
    return points - np.ceil(points - 0.5 - 1e-12)  # within (-1/2, 1/2]


@lru_cache
def _generated(symbol: str, n_valence: int) -> Any:
    """PAW data of PBE by GPAW's generator (`gpaw dataset`) for so many valence electrons."""
    from gpaw.atom.generator2 import CLICommand, generate, get_parameters, parameters

    if f"{symbol}{n_valence}" not in parameters:
        raise EngineError(
            f"GPAW's generator has no data of {symbol} with {n_valence} valence electrons: mend "
            "semicore"
        )
    parser = ArgumentParser()
    CLICommand.add_arguments(parser)
    chosen = parser.parse_args([symbol, "-f", "PBE", "-e", str(n_valence)])
    found = get_parameters(symbol, chosen) | {"output": StringIO()}  # what it says of its work
    return generate(**found).make_paw_setup(f"{n_valence}e")


class StructureGpaw(Calculator):
    """GPAW with k-points that follow the structure, each begun from atoms, in a folder of its own.

    So a label does not depend on the one before. Slabs are repeated along their normal, as in
    other plane-wave codes.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]

    def __init__(self, settings: GpawSettings, folder: str) -> None:
        super().__init__(directory=folder)
        self.gpaw_settings = settings

    def calculate(
        self, atoms: Atoms | None = None, properties: Any = None, system_changes: Any = ()
    ) -> None:
        """Compute energy, forces and stress.

        Raises
        ------
        EngineError
            If the electrons do not converge or diverge, or an element has no atomic data.
        """
        from gpaw import GPAW, PW, KohnShamConvergenceError

        super().calculate(atoms, properties, system_changes)
        settings = self.gpaw_settings
        periodic = repeated(self.atoms)
        output = Path(self.directory, "gpaw.txt").absolute()
        output.parent.mkdir(parents=True, exist_ok=True)
        periodic.calc = GPAW(
            mode=PW(settings.cutoff),
            xc=FUNCTIONAL,
            kpts=_kpoints(kpoint_mesh(periodic, settings.kpoint_length), settings.kpoint_origin),
            occupations={"width": settings.width} | _SMEARINGS[settings.smearing],
            setups={s: _generated(s, n) for s, n in settings.semicore.items()},
            eigensolver={"name": "davidson", "niter": 2},  # 30 % less CPU time than the default's
            convergence={"energy": settings.energy_tolerance},
            maxiter=settings.electronic_steps,
            txt=str(output),
        )
        try:
            self.results = {
                "energy": periodic.get_potential_energy(),
                "free_energy": periodic.get_potential_energy(force_consistent=True),
                "forces": periodic.get_forces(apply_constraint=False),
                "stress": periodic.get_stress(apply_constraint=False),
            }
        except KohnShamConvergenceError as error:
            raise EngineError(
                f"GPAW's electrons did not converge in {settings.electronic_steps} steps: see "
                f"{output}"
            ) from error
        except (AssertionError, ValueError) as error:  # NaN among the electrons' energies
            raise EngineError(f"GPAW's electrons diverged: see {output}") from error
        except FileNotFoundError as error:
            raise SetupError(f"GPAW has no atomic data: {error}") from error
