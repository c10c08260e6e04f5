"""ASE's VASP calculator, its single points watched by custodian and their output checked."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.calculators.calculator import CalculationFailed
from ase.calculators.vasp import Vasp

from culi_mlip.errors import EngineError, LabelError
from culi_mlip.reference.vasp import (
    LABEL_TAGS,
    SINGLE_POINT,
    VaspSettings,
    check_installation,
    incar_values,
    structure_values,
)
from culi_mlip.reference.vasp_outputs import accepted_frames, read_vasp


def make(settings: VaspSettings) -> Vasp:
    """Return the ASE calculator for single points, in a folder of its own below this one.

    Raises
    ------
    EngineError
        If ASE's configuration has no command or no pseudopotentials, or there is no custodian.
    """
    check_installation(settings, settings.potentials)
    check_custodian(settings)
    return StructureVasp(settings, directory=f"vasp-{socket.gethostname()}-{os.getpid()}")


class StructureVasp(Vasp):
    """ASE's calculator, with k-points and dipole correction that follow the structure.

    Parameters
    ----------
    settings
        What labels depend on.
    task
        INCAR values of the task.
    directory
        Where VASP runs.
    """

    def __init__(
        self,
        settings: VaspSettings,
        task: Mapping[str, Any] = SINGLE_POINT,
        directory: str = "vasp",
    ) -> None:
        self.vasp_settings = settings
        super().__init__(directory=directory, **{**incar_values(settings), **task})

    def write_input(self, atoms: Atoms, properties: Any = None, system_changes: Any = None) -> None:
        """Write INCAR, KPOINTS, POSCAR (with velocities, if there are any) and POTCAR."""
        self.set(**structure_values(self.vasp_settings, atoms))
        Path(self.directory).mkdir(parents=True, exist_ok=True)
        super().write_input(atoms, properties, system_changes)

    def run(self, atoms: Atoms) -> None:
        """Write the input and run VASP; read nothing.

        Raises
        ------
        CalculationFailed
            If VASP fails.
        """
        self.write_input(atoms)
        code, message = self._run(self.make_command(self.command), directory=self.directory)
        if code:
            raise CalculationFailed(f"VASP failed in {Path(self.directory).absolute()}: {message}")

    def read_results(self) -> None:
        """Read the results of a run.

        Raises
        ------
        EngineError
            If the electrons did not converge, or the output is not of these settings.
        """
        super().read_results()
        if not self.read_convergence():
            raise EngineError(
                f"VASP's electrons did not converge in {self.vasp_settings.electronic_steps} "
                f"steps: see {Path(self.directory).absolute()}"
            )
        try:
            accepted_frames(read_vasp(self._indir("vasprun.xml")), self.vasp_settings)
        except LabelError as error:
            raise EngineError(str(error)) from error

    def _run(
        self, command: str | None = None, out: Any = None, directory: str | None = None
    ) -> tuple[int, str]:
        """Run VASP, single points by custodian; return its exit code and complaint.

        Custodian would begin a relaxation or MD again, and overwrite its steps.
        """
        folder = Path(directory or self.directory)
        if not self.vasp_settings.corrections or self.int_params["nsw"]:
            code, message = super()._run(command, out, directory)
            return code, message
        before = _label_input(folder)
        complaint = _run_by_custodian(
            command or self.make_command(self.command),
            folder,
            self.vasp_settings.corrections,
        )
        changed = {key for key, value in _label_input(folder).items() if before.get(key) != value}
        if changed:
            raise EngineError(
                f"custodian changed {', '.join(sorted(changed))} in {folder.absolute()}, which "
                "labels depend on: mend the structure or the settings"
            )
        return (1, complaint) if complaint else (0, "")


def _run_by_custodian(command: str, folder: Path, corrections: int) -> str:
    """Run VASP and mend its errors; return what could not be mended, or ""."""
    from custodian import Custodian
    from custodian.custodian import CustodianError
    from custodian.vasp import handlers
    from custodian.vasp.jobs import VaspJob

    watch = [
        handlers.VaspErrorHandler(),
        handlers.NonConvergingErrorHandler(),
        handlers.PositiveEnergyErrorHandler(),
        handlers.StdErrHandler(),
        handlers.FrozenJobErrorHandler(),
        handlers.UnconvergedErrorHandler(),
    ]
    job = VaspJob(["sh", "-c", command], backup=False, auto_gamma=False)
    custodian = Custodian(
        watch, [job], max_errors=corrections, polling_time_step=1, directory=str(folder)
    )
    try:
        custodian.run()
    except CustodianError as error:
        return str(error)
    except BaseException:
        job.terminate(str(folder))  # it would go on alone
        raise
    return ""


def _label_input(folder: Path) -> dict[str, Any]:
    """What labels depend on in a folder's input files, by INCAR tag and file."""
    from pymatgen.io.vasp.inputs import Incar

    incar = Incar.from_file(folder / "INCAR")
    found = {tag: incar.get(tag) for tag in LABEL_TAGS}
    return found | {name: (folder / name).read_text() for name in ("KPOINTS", "POTCAR")}


def check_custodian(settings: VaspSettings) -> None:
    """Check that custodian is there, if it is wanted.

    Raises
    ------
    EngineError
        If it is not.
    """
    if settings.corrections and find_spec("custodian") is None:
        raise EngineError(
            "VASP's errors are mended by custodian: pip install 'culi_mlip[vasp]', or set "
            "corrections: 0 in the engine's settings"
        )
