"""VASP: the paper's settings, with their reasons, as input of ASE's calculator.

Pseudopotentials and command come from ASE's configuration (VASP_PP_PATH, ASE_VASP_COMMAND).
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from ase import Atoms
from ase.calculators.vasp import Vasp
from ase.config import cfg
from pydantic import Field

from culi_mlip.configuration import Configuration
from culi_mlip.errors import SetupError
from culi_mlip.reference.kpoints import kpoint_mesh, occupied, vacuum_axes

TITLE = "VASP"


class VaspSettings(Configuration):
    """What labels of VASP depend on. The defaults are the paper's where it has one.

    Attributes
    ----------
    functional
        "r2scan" (the paper's) or "pbe".
    cutoff
        ENCUT in eV; the paper's 520.
    energy_tolerance
        EDIFF in eV; the paper's 1e-5.
    force_tolerance
        EDIFFG in eV/Å, where a relaxation asks for no other; the paper's 0.03.
    kpoint_length
        The mesh is Γ-centred with N_i = ⌈length / |a_i|⌉ points, length in Å; the paper's "density
        of 32/Å". Along vacuum there is one point.
    smearing, width
        ISMEAR and SIGMA in eV. Methfessel-Paxton of first order and 0.1 eV: all structures are
        metals, and the forces are exact derivatives of the free energy, which is the label.
    algorithm, electronic_steps
        ALGO and NELM. Meta-GGAs converge by direct minimisation (All) where mixing fails.
    potentials
        PAW potential of each element: Cu_pv and Li_sv have the semicore states that r2SCAN,
        without potentials of its own, is sensitive to. Others get the plain one.
    potential_version
        Release of the PBE potentials.
    dipole_correction
        LDIPOL along the one cell vector with vacuum; see `dipole_centre`.
    symmetry
        ISYM; the paper relaxes without symmetry.
    cores_per_band, kpoint_groups
        NCORE and KPAR; labels do not depend on them.
    corrections
        How many errors custodian (extra ``vasp``) may mend in a single point, as by another ALGO,
        and how often a relaxation or MD goes on after VASP failed; 0 for neither. What custodian
        may not change is in `culi_mlip.reference.vasp_inputs.LABEL_TAGS`.
    """

    MACHINE: ClassVar[frozenset[str]] = frozenset(
        {"cores_per_band", "kpoint_groups", "corrections", "force_tolerance"}
    )

    FIRST: ClassVar[frozenset[str]] = frozenset({
        "algorithm", "cutoff", "dipole_correction", "electronic_steps", "energy_tolerance",
        "functional", "kpoint_length", "potential_version", "potentials", "smearing", "symmetry",
        "width",
    })  # fmt: skip

    functional: Literal["r2scan", "pbe"] = "r2scan"
    cutoff: float = Field(520.0, gt=0)
    energy_tolerance: float = Field(1e-5, gt=0)
    force_tolerance: float = Field(0.03, gt=0)
    kpoint_length: float = Field(32.0, gt=0)
    smearing: Literal["methfessel-paxton", "gaussian", "fermi"] = "methfessel-paxton"
    width: float = Field(0.1, gt=0)
    algorithm: Literal["All", "Normal", "Fast", "Damped", "VeryFast"] = "All"
    electronic_steps: int = Field(200, ge=1)
    potentials: dict[str, str] = Field(default_factory=lambda: {"Cu": "Cu_pv", "Li": "Li_sv"})
    potential_version: str = "54"
    dipole_correction: bool = True
    symmetry: int = 0
    cores_per_band: int | None = Field(None, ge=1)
    kpoint_groups: int | None = Field(None, ge=1)
    corrections: int = Field(5, ge=0)


_SMEARINGS = {"methfessel-paxton": 1, "gaussian": 0, "fermi": -1}

FIXED: Mapping[str, Any] = {
    "prec": "Accurate",  # forces without aliasing
    "lasph": True,  # aspherical terms within the spheres: meta-GGA energies need them
    "lmixtau": True,  # mixes the kinetic energy density too, or meta-GGAs converge badly
    "lreal": False,  # projection in reciprocal space: the same error in small and large cells
    "ispin": 1,  # neither copper nor lithium is magnetic
    "lwave": False,
    "lcharg": False,  # files of gigabytes that no label needs
}
"""INCAR values that are not to be changed, for ASE's calculator."""

SINGLE_POINT: Mapping[str, Any] = {"ibrion": -1, "nsw": 0}
"""INCAR values of one calculation."""


def relaxation_values(steps: int, force: float) -> dict[str, Any]:
    """Return INCAR values of a relaxation by conjugate gradients in a fixed cell.

    It ends when no force on an atom is larger than `force` (eV/Å), or after so many steps.
    """
    return {"ibrion": 2, "isif": 2, "nsw": steps, "ediffg": -force}


def md_values(steps: int, start: float, end: float, timestep: float) -> dict[str, Any]:
    """Return INCAR values of VASP's own MD under Nosé-Hoover, its temperature falling linearly.

    Temperatures are in K, equal ones hold the temperature; the timestep is in fs.
    """
    return {
        "ibrion": 0,
        "mdalgo": 2,  # Nosé-Hoover
        "smass": 0,  # a period of 40 steps
        "potim": timestep,
        "tebeg": start,
        "teend": end,
        "nsw": steps,
        "isif": 2,
    }


def incar_values(settings: VaspSettings) -> dict[str, Any]:
    """Return the arguments of ASE's calculator that do not depend on the structure."""
    values = {
        **FIXED,
        "xc": settings.functional,
        "encut": settings.cutoff,
        "ediff": settings.energy_tolerance,
        "ediffg": -settings.force_tolerance,
        "ismear": _SMEARINGS[settings.smearing],
        "sigma": settings.width,
        "algo": settings.algorithm,
        "nelm": settings.electronic_steps,
        "isym": settings.symmetry,
        "gamma": True,
        "pp": "PBE",  # r2SCAN has no potentials of its own
        "pp_version": settings.potential_version,
        "setups": {s: name.removeprefix(s) for s, name in settings.potentials.items()},
        "ncore": settings.cores_per_band,
        "kpar": settings.kpoint_groups,
    }
    return {key: value for key, value in values.items() if value is not None}


def structure_values(settings: VaspSettings, atoms: Atoms) -> dict[str, Any]:
    """Return the arguments of ASE's calculator that follow the structure as VASP repeats it."""
    axes = vacuum_axes(atoms)
    values: dict[str, Any] = {"kpts": kpoint_mesh(atoms, settings.kpoint_length)}
    values |= dict.fromkeys(("idipol", "ldipol", "dipol"))  # not those of the structure before
    if len(axes) == 1 and settings.dipole_correction:
        (axis,) = axes
        centre = [round(x % 1, 6) % 1 for x in dipole_centre(atoms, axis)]
        values |= {"idipol": axis + 1, "ldipol": True, "dipol": centre}
    return values


def dipole_centre(atoms: Atoms, axis: int) -> list[float]:
    """Return the centre of mass in parts of the cell vectors, wherever the cell cuts the slab.

    Half a cell from it VASP's potential jumps, which must be well within the vacuum: next to a
    thick film of a light element, the centre is moved towards the middle of what the atoms fill.
    The vacuum is along the cell vector `axis`.
    """
    middle, width = occupied(atoms, axis)
    places = atoms.get_scaled_positions(wrap=False)
    from_middle = (places[:, axis] - middle + 0.5) % 1 - 0.5
    offset = float(np.average(from_middle, weights=atoms.get_masses()))
    room = (1 - width) / 4
    centre = np.average(places, axis=0, weights=atoms.get_masses())
    centre[axis] = middle + np.clip(offset, -room, room)
    return [float(x) for x in centre]


_LAUNCHERS = {"aprun", "env", "ibrun", "jsrun", "mpiexec", "mpiexec.hydra", "mpirun", "nice"}
_LAUNCHERS |= {"orterun", "srun", "time"}


def check_installation(settings: VaspSettings, symbols: Iterable[str] = ()) -> None:
    """Check that ASE's configuration names a command, and whole pseudopotentials of elements.

    Raises
    ------
    SetupError
        If it does not.
    """
    name = next((name for name in Vasp.env_commands if cfg.get(name, "").strip()), None)
    if name is None:
        raise SetupError(
            "no command for VASP: set ASE_VASP_COMMAND, such as 'mpirun -n 32 vasp_std', in the "
            "environment or in ASE's configuration file"
        )
    if name != "VASP_SCRIPT":  # that one is read by Python
        _check_command(cfg[name])
    check_potentials(settings, symbols)


def check_potentials(settings: VaspSettings, symbols: Iterable[str] = ()) -> None:
    """Check that ASE's configuration names whole pseudopotentials of elements.

    Raises
    ------
    SetupError
        If it does not.
    """
    if "VASP_PP_PATH" not in cfg:
        raise SetupError(
            "no pseudopotentials for VASP: set VASP_PP_PATH to the folder that holds "
            f"potpaw_PBE.{settings.potential_version}"
        )
    folder = Path(cfg["VASP_PP_PATH"]) / f"potpaw_PBE.{settings.potential_version}"
    for symbol in sorted(symbols):
        _check_potential(folder / settings.potentials.get(symbol, symbol) / "POTCAR")


def _check_command(command: str) -> None:
    """Check that there is a program, and one for a launcher to start."""
    try:
        program, *others = shlex.split(command)
    except ValueError as error:
        raise SetupError(
            f"VASP's command '{command}' cannot be read ({error}): mend ASE_VASP_COMMAND"
        ) from error
    lacking = "" if shutil.which(program) else program
    if not lacking and Path(program).name in _LAUNCHERS and not any(map(shutil.which, others)):
        lacking = others[-1] if others else "program to start"
    if lacking:
        raise SetupError(
            f"VASP's command '{command}' cannot be run, as there is no {lacking}: mend "
            "ASE_VASP_COMMAND"
        )


def _check_potential(potcar: Path) -> None:
    """Check that a pseudopotential is there, with its head and its last line."""
    packed = potcar.with_name("POTCAR.Z")
    if not potcar.exists() and packed.exists():
        return  # ASE unpacks it
    try:
        text = potcar.read_text(errors="replace")
    except OSError as error:
        raise SetupError(
            f"no pseudopotential {potcar}: VASP_PP_PATH is to hold the PAW set "
            f"{potcar.parent.parent.name}"
        ) from error
    if "TITEL" not in text or "End of Dataset" not in text[-200:]:
        raise SetupError(
            f"the pseudopotential {potcar} is not complete, as TITEL or its last line, End of "
            "Dataset, is missing: copy it again"
        )
