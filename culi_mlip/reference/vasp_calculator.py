"""ASE's VASP calculator, its single points watched by custodian and their output checked."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from ase import Atoms
from ase.calculators.calculator import CalculationFailed, all_changes
from ase.calculators.vasp import Vasp
from ase.constraints import FixScaled

from culi_mlip.constraints import free_directions
from culi_mlip.errors import EngineError, LabelError, SetupError
from culi_mlip.files import output_errors
from culi_mlip.reference.cells import repeated
from culi_mlip.reference.vasp import (
    SINGLE_POINT,
    VaspSettings,
    check_installation,
    check_potentials,
    incar_values,
    structure_values,
)
from culi_mlip.reference.vasp_inputs import LABEL_TAGS
from culi_mlip.reference.vasp_outputs import accepted_frames, read_vasp

FOLDER = "CULI_MLIP_VASP_FOLDER"
"""Environment variable of the VASP that is started here: the folder that it works in."""


def make(settings: VaspSettings) -> Vasp:
    """Return the ASE calculator for single points, in a folder of its own below this one.

    Raises
    ------
    SetupError
        If ASE's configuration has no command or no pseudopotentials, or there is no custodian.
    """
    check(settings)
    return StructureVasp(settings, directory=f"vasp-{socket.gethostname()}-{os.getpid()}")


def check(settings: VaspSettings, symbols: Iterable[str] = ()) -> None:
    """Check that VASP can label structures of some elements here.

    Raises
    ------
    SetupError
        If something is missing.
    """
    check_installation(settings, symbols)
    if settings.corrections and find_spec("custodian") is None:
        raise SetupError(
            "VASP's errors are mended by custodian, which is not installed: pip install custodian, "
            "or set corrections: 0 in the engine's settings"
        )


def write_inputs(
    settings: VaspSettings, atoms: Atoms, task: Mapping[str, Any], folder: Path
) -> None:
    """Write INCAR, KPOINTS and POSCAR of a structure, to be read before anything is computed.

    The folder is made; the task's INCAR values are added to those of the settings.

    Raises
    ------
    EngineError
        If the structure is not one that VASP can repeat.
    OutputError
        If the folder cannot be written.
    """
    calculator = StructureVasp(settings, task, str(folder), with_potentials=False)
    with output_errors(folder):
        calculator.write_input(atoms)


def selective_dynamics(atoms: Atoms) -> list[FixScaled]:
    """Return the constraints of a structure as VASP has them, along cell vectors.

    Raises
    ------
    EngineError
        If they are others.
    """
    free, others = free_directions(atoms)
    along = [np.abs(free @ vector - vector).max(axis=1) < 1e-6 * np.linalg.norm(vector)
             for vector in atoms.cell]  # fmt: skip
    flags = np.transpose(along)
    oblique = np.flatnonzero(flags.sum(axis=1) != np.rint(np.trace(free, axis1=1, axis2=2)))
    if others or len(oblique):
        what = f"a {type(others[0]).__name__}" if others else f"another one on atom {oblique[0]}"
        raise EngineError(
            f"{atoms.get_chemical_formula()}: VASP holds atoms along cell vectors alone, and there "
            f"is {what}: remove it, or hold these atoms as a whole"
        )
    kinds = np.unique(flags, axis=0)
    return [FixScaled(np.flatnonzero((flags == kind).all(axis=1)), mask=~kind)
            for kind in kinds if not kind.all()]  # fmt: skip


class StructureVasp(Vasp):
    """ASE's calculator, with k-points and dipole correction that follow the structure.

    The task's INCAR values are added to those of the settings. Without potentials, no POTCAR is
    written.
    """

    def __init__(
        self,
        settings: VaspSettings,
        task: Mapping[str, Any] = SINGLE_POINT,
        directory: str = "vasp",
        with_potentials: bool = True,
    ) -> None:
        self.vasp_settings, self.with_potentials = settings, with_potentials
        super().__init__(directory=directory, **{**incar_values(settings), **task})

    def calculate(
        self, atoms: Atoms | None = None, properties: Any = None, system_changes: Any = all_changes
    ) -> None:
        """Compute energy, forces and stress.

        Raises
        ------
        EngineError
            If the structure is not one that VASP can repeat, or its label is none.
        CalculationFailed
            If VASP fails.
        """
        structure = self.atoms if atoms is None else atoms
        end_left(Path(self.directory))
        super().calculate(repeated(structure), properties, system_changes)
        self._atoms = structure.copy()  # by the property's setter, results would be lost

    def write_input(self, atoms: Atoms, properties: Any = None, system_changes: Any = None) -> None:
        """Write INCAR, KPOINTS, POSCAR (with velocities, if there are any) and POTCAR.

        Raises
        ------
        EngineError
            If the structure is not one that VASP can repeat.
        SetupError
            If a pseudopotential of it is missing or not complete.
        """
        periodic = repeated(atoms)
        try:
            periodic.set_constraint(selective_dynamics(periodic))
        except EngineError:
            if self.int_params["nsw"]:
                raise
            periodic.set_constraint()  # nothing moves: a label has all forces
        self.set(**structure_values(self.vasp_settings, periodic))
        if self.with_potentials:
            check_potentials(self.vasp_settings, set(atoms.symbols))
        Path(self.directory).mkdir(parents=True, exist_ok=True)
        super().write_input(periodic, properties, system_changes)

    def _build_pp_list(self, *arguments: Any, **options: Any) -> list[str]:
        if not self.with_potentials:
            return []
        return super()._build_pp_list(*arguments, **options)

    def write_sort_file(self, directory: str = ".") -> None:
        """Write the order of the atoms beside POTCAR."""
        if self.with_potentials:
            super().write_sort_file(directory)

    def write_potcar(self, suffix: str = "", directory: str = ".") -> None:
        """Write POTCAR, if it is wanted."""
        if self.with_potentials:
            super().write_potcar(suffix, directory)

    def run(self, atoms: Atoms) -> None:
        """Write the input and run VASP; read nothing.

        Raises
        ------
        SetupError
            If there is no VASP, or no pseudopotential.
        CalculationFailed
            If VASP fails.
        """
        check_installation(self.vasp_settings, set(atoms.symbols))
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
        folder = Path(directory or self.directory).absolute()
        command = command or self.make_command(self.command)
        if not self.vasp_settings.corrections or self.int_params["nsw"]:
            result = subprocess.run(  # noqa: S602 (the command is the user's own)
                command,
                shell=True,
                cwd=folder,
                env=os.environ | {FOLDER: str(folder.resolve())},
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
            )
            (folder / "vasp.out").write_text(result.stdout)
            _check_code(result.returncode, command, folder)
            return result.returncode, result.stderr
        before = _label_input(folder)
        complaint = _run_by_custodian(command, folder, self.vasp_settings.corrections)
        changed = {key for key, value in _label_input(folder).items() if before.get(key) != value}
        if changed:
            raise EngineError(
                f"custodian changed {', '.join(sorted(changed))} in {folder}, which labels depend "
                "on: mend the structure or the settings"
            )
        return (1, complaint) if complaint else (0, "")


def end_left(folder: Path) -> None:
    """End the VASP that a killed process started in a folder or below, and left running there."""
    place = folder.resolve()
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            theirs = process.environ().get(FOLDER)
            if theirs and Path(theirs).is_relative_to(place):
                process.kill()


def _check_code(code: int | None, command: str, folder: Path) -> None:
    """Raise an error if the shell found no program, or one that it may not run."""
    if code in (126, 127):
        raise SetupError(
            f"VASP's command '{command}' cannot be run (the shell's code {code} in {folder}): mend "
            "ASE_VASP_COMMAND"
        )


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
    words = ["env", f"{FOLDER}={folder.resolve()}", "sh", "-c", command]
    job = VaspJob(words, backup=False, auto_gamma=False)
    custodian = Custodian(
        watch, [job], max_errors=corrections, polling_time_step=1, directory=str(folder)
    )
    try:
        custodian.run()
    except CustodianError as error:
        _check_code(job._vasp_process.returncode, command, folder)
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
