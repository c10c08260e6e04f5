"""The potential in LAMMPS: files for pair styles, and our calculator behind a running LAMMPS."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from ase.io.lammpsdata import write_lammps_data

from culi_mlip.calculator.compiled import compile_model, last_error
from culi_mlip.calculator.hybrid_allegro import HybridAllegro
from culi_mlip.errors import ModelError
from culi_mlip.files import atomic_path, check_finite, write_bytes, write_text
from culi_mlip.models.files import model_file
from culi_mlip.progress import Step

Form = Literal["pair_allegro", "mliap"]

PAIR_STYLES: dict[Form, tuple[str, str]] = {
    "pair_allegro": ("allegro", "model.nequip.pt2 {species}"),
    "mliap": ("mliap unified model.nequip.lmp.pt 0", "{species}"),
}
"""What stands behind ``pair_style`` and ``pair_coeff * *``."""

SCRIPT = """\
# {title}
units         metal
atom_style    atomic
newton        on
boundary      {boundary}
read_data     structure.data
pair_style    {style}
pair_coeff    * * {coefficients}
timestep      0.001
thermo        100
velocity      all create 300 1
fix           md all nvt temp 300 300 0.1
dump          trajectory all custom 100 trajectory.dump id element x y z
dump_modify   trajectory element {species}
run           2000
"""


def export_lammps(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    atoms: Atoms,
    device: str = "cpu",
    form: Form = "pair_allegro",
    step: Step | None = None,
) -> Path:
    """Write what LAMMPS needs: the model for one of its pair styles, structure, input script.

    Parameters
    ----------
    model
        A run folder, checkpoint or packaged model.
    out
        Folder for the model, ``structure.data`` and ``in.lammps``.
    atoms
        The structure. Types are the model's elements in their order, also those that are not in it;
        the cell is turned as LAMMPS asks for, its first vector along x.
    device
        "cpu" or "cuda"; the form mliap is for both.
    form
        "pair_allegro" (github.com/mir-group/pair_nequip_allegro) or "mliap", LAMMPS's own ML-IAP
        with Kokkos, for which nequip writes ``model.nequip.lmp.pt``.
    step
        As in `culi_mlip.calculator.compiled.compile_model`.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ModelError
        If the model cannot be compiled or written, or does not know an element of the structure.
    StructureError
        If positions are not finite.
    """
    folder, file = Path(out), model_file(model)
    species = HybridAllegro(model, device="cpu", compile=False).species
    unknown = sorted(set(atoms.symbols) - set(species))
    if unknown:
        raise ModelError(
            f"the structure holds {', '.join(unknown)}; the model knows only {', '.join(species)}"
        )
    check_finite(atoms, str(atoms.symbols))
    if form == "mliap":
        _write_mliap(file, folder / "model.nequip.lmp.pt")
    else:
        compile_model(file, device, "pair_allegro", out=folder / "model.nequip.pt2", step=step)
    with atomic_path(folder / "structure.data") as temporary:
        write_lammps_data(
            temporary, atoms, specorder=species, units="metal", atom_style="atomic", masses=True
        )
    style, coefficients = PAIR_STYLES[form]
    script = SCRIPT.format(
        title=f"{atoms.get_chemical_formula()} with the model {file}",
        boundary=" ".join("p" if periodic else "m" for periodic in atoms.pbc),
        style=style,
        coefficients=coefficients.format(species=" ".join(species)),
        species=" ".join(species),
    )
    write_text(folder / "in.lammps", script)
    return folder


def _write_mliap(file: Path, out: Path) -> None:
    """Write a model for ML-IAP by nequip's own command."""
    tool = "nequip.integrations.lammps_mliap.create_lmp_mliap_file"
    main = f"import sys; from {tool} import main; main(sys.argv[1:])"
    with tempfile.TemporaryDirectory() as work:
        unfinished = Path(work, out.name)
        done = subprocess.run(  # noqa: S603 (our own interpreter, fixed arguments)
            [sys.executable, "-c", main, str(file.absolute()), str(unfinished)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ModelError(f"{file} cannot be written for ML-IAP ({last_error(done.stderr)})")
        write_bytes(out, unfinished.read_bytes())


def drive_lammps(lammps: Any, calculator: HybridAllegro, fix: str = "culi") -> None:
    """Let a calculator give forces, energy and virial of a running LAMMPS, by ``fix external``.

    This works in every LAMMPS with its Python module, in one process and at the speed of the
    calculator; large runs are pair_allegro's.

    Parameters
    ----------
    lammps
        A ``lammps.lammps`` in units "metal" with a box and atoms, whose types are the calculator's
        species in their order. It needs a pair style, such as "zero" with the model's cutoff.
    calculator
        The calculator.
    fix
        Name of the fix.

    Raises
    ------
    ModelError
        If LAMMPS has other units, several processes, or more types than there are species.
    """
    if lammps.extract_global("units") != "metal":
        raise ModelError(f"LAMMPS has units {lammps.extract_global('units')}: give it units metal")
    if lammps.extract_setting("world_size") > 1:
        raise ModelError("LAMMPS has several processes: fix external of ours needs one")
    if lammps.extract_setting("ntypes") > len(calculator.species):
        raise ModelError(f"LAMMPS has more types than the model: {', '.join(calculator.species)}")
    numbers = np.array([0, *(atomic_numbers[name] for name in calculator.species)])

    def evaluate(
        _caller: Any, _step: int, n_atoms: int, _tags: Any, positions: Any, forces: Any
    ) -> None:
        low, high, xy, yz, xz, periodic, _ = lammps.extract_box()
        lengths = np.subtract(high, low)
        cell = np.diag(lengths)
        cell[1, 0], cell[2, 0], cell[2, 1] = xy, xz, yz
        types = lammps.numpy.extract_atom("type")[:n_atoms]
        atoms = Atoms(numbers[types], positions[:n_atoms], cell=cell, pbc=list(periodic))
        atoms.calc = calculator
        forces[:n_atoms] = atoms.get_forces()
        lammps.fix_external_set_energy_global(fix, atoms.get_potential_energy())
        if "stress" in calculator.results:
            xx, yy, zz, yz_, xz_, xy_ = -atoms.get_volume() * calculator.results["stress"]
            lammps.fix_external_set_virial_global(fix, [xx, yy, zz, xy_, xz_, yz_])

    lammps.command(f"fix {fix} all external pf/callback 1 1")
    lammps.command(f"fix_modify {fix} energy yes virial yes")
    lammps.set_fix_external_callback(fix, evaluate, None)
