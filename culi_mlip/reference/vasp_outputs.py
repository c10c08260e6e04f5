"""Labels out of VASP's own outputs, each checked before it is accepted.

vasprun.xml is read by pymatgen, which knows its dialects: names padded with blanks (VASP 6.4.3),
tags of the response functions that repeat those of the electrons. OUTCAR is read by ASE, as
pymatgen takes no structures from it; what ASE does not know (several files joined, steps beyond
9999, steps that were cut) is put right in the text before.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import ase.io
import ase.units
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from numpy.typing import NDArray

from culi_mlip.errors import LabelError
from culi_mlip.reference.kpoints import kpoint_mesh
from culi_mlip.reference.vasp import VaspSettings
from culi_mlip.reference.vasp_inputs import PER_POTENTIAL, KPoints, VaspInputs, functional_name


@dataclass(frozen=True)
class VaspRun:
    """A VASP run as its output tells it."""

    path: Path  # the vasprun.xml or OUTCAR
    inputs: VaspInputs  # what its labels depend on
    # Its ionic steps with energy (the free energy, whose derivatives the forces are; eV), forces
    # (eV/Å, on fixed atoms too) and, where it is printed, stress (eV/Å³, ASE's sign and order).
    frames: list[Atoms]
    # Whether the electrons of each step converged in less than NELM iterations. VASP says so at
    # NELM as well.
    is_converged: list[bool]
    # Of MD (OUTCAR only): kinetic energy, and total energy with the thermostat's, in eV by step.
    kinetic: list[float] = field(default_factory=list)
    conserved: list[float] = field(default_factory=list)


def read_vasp(path: str | os.PathLike[str]) -> VaspRun:
    """Read a vasprun.xml or an OUTCAR, plain or packed by gzip, bzip2 or xz.

    Raises
    ------
    LabelError
        If the file is missing, is neither, is damaged or cut off, or joins runs that differ.
    """
    file = Path(path)
    if not file.is_file():
        raise LabelError(f"{file} does not exist: give a vasprun.xml or an OUTCAR")
    text = _text(file)
    if text.lstrip("\ufeff \r\n").startswith("<?xml"):
        read = _read_vasprun
    elif re.search(r"^ *vasp\.\d", text[:2000], re.MULTILINE):
        read = _read_outcar
    else:
        raise LabelError(f"{file} is neither a vasprun.xml nor an OUTCAR")
    try:
        run = read(file, text)
    except LabelError:
        raise
    except Exception as error:  # whatever the readers make of a damaged file
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise LabelError(
            f"{file} is cut off or damaged ({reason}): copy it again, import the run's other "
            "output, or run it again"
        ) from error
    _check_numbers(run)
    return run


def accepted_frames(run: VaspRun, settings: VaspSettings) -> list[Atoms]:
    """Return the frames of a run that labels of these settings may be mixed with.

    They have converged electrons, and k-points that the settings give in their cell.

    Raises
    ------
    LabelError
        If the run is no self-consistent calculation of DFT, if something that labels depend on
        differs (each difference is named), or if no step is left.
    """
    frames = _converged(run)
    differences = run.inputs.differences(settings, run.frames[0])
    if differences:
        raise LabelError(f"{run.path} {'; '.join(differences)}")
    return [atoms for atoms in frames if _has_mesh_of(run, settings, atoms)]


def own_frames(run: VaspRun, settings: VaspSettings) -> list[tuple[Atoms, dict[str, Any]]]:
    """Return the frames of a run whose electrons converged, with what each label depends on.

    Where a frame's mesh is that of the settings, their density of k-points is named.

    Raises
    ------
    LabelError
        If the run is no self-consistent calculation of DFT, or no step is left.
    """
    return [(atoms, run.inputs.own_settings(settings, atoms)) for atoms in _converged(run)]


def _converged(run: VaspRun) -> list[Atoms]:
    unfit = run.inputs.unfit()
    if unfit:
        raise LabelError(f"{run.path} holds no labels of DFT: it has {', '.join(unfit)}")
    found = [f for f, is_good in zip(run.frames, run.is_converged, strict=True) if is_good]
    if not found:
        raise LabelError(f"{run.path}: the electrons converged in none of {len(run.frames)} steps")
    return found


def _has_mesh_of(run: VaspRun, settings: VaspSettings, atoms: Atoms) -> bool:
    """Whether the mesh, which VASP keeps as the cell changes, is right in a frame's cell."""
    start = run.frames[0].copy()  # its vacuum is the run's
    start.set_cell(atoms.cell, scale_atoms=True)
    return run.inputs.kpoints.are(kpoint_mesh(start, settings.kpoint_length))


def _text(file: Path) -> str:
    from monty.io import zopen

    try:
        with zopen(file, "rt", errors="replace") as lines:
            return str(lines.read())
    except Exception as error:  # of four libraries of packing
        raise LabelError(f"{file} is cut off or damaged ({error}): copy it again") from error


def _read_vasprun(file: Path, text: str) -> VaspRun:
    from pymatgen.io.vasp.outputs import Vasprun

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # unconverged electrons, no POTCAR
        run = Vasprun(
            file,
            parse_dos=False,
            parse_eigen=False,
            parse_projected_eigen=False,
            parse_potcar_file=False,
        )
    tags = {
        name.strip(): _printed(value)
        for block in (run.incar, run.parameters)  # what VASP took stands before what was given
        for name, value in block.items()
    }
    tags["ENCUT"] = tags.get("ENMAX", "")
    species = re.findall(
        r"<rc><c>\s*(\d+)\s*</c><c>[^<]*</c><c>[^<]*</c><c>\s*([\d.]+)\s*</c><c>[^<]*</c></rc>",
        text,
    )
    titles = tuple(title.strip() for title in run.potcar_symbols)
    inputs = VaspInputs(
        tags,
        functional_name(tags.get("METAGGA"), tags.get("GGA"), titles[0].split()[0]),
        titles,
        _kpoints_of_vasprun(run),
        _charge(tags, [(int(number), float(valence)) for number, valence in species]),
    )
    limit = int(run.parameters["NELM"])
    frames = [_frame_of_vasprun(run.atomic_symbols, step) for step in run.ionic_steps]
    electronic = [len(step["electronic_steps"]) for step in run.ionic_steps]
    return VaspRun(file, inputs, frames, [0 < n < limit for n in electronic])


def _frame_of_vasprun(symbols: list[str], step: Mapping[str, Any]) -> Atoms:
    structure = step["structure"]
    atoms = Atoms(
        symbols, cell=structure.lattice.matrix, scaled_positions=structure.frac_coords, pbc=True
    )
    labels = {"energy": float(step["e_fr_energy"]), "forces": np.array(step["forces"], float)}
    if step.get("stress") is not None:
        stress = np.array(step["stress"], float) * -0.1 * ase.units.GPa  # from kbar
        labels["stress"] = stress.ravel()[[0, 4, 8, 5, 2, 1]]
    atoms.calc = SinglePointCalculator(atoms, **labels)
    return atoms


def _kpoints_of_vasprun(run: Any) -> KPoints:
    mesh = run.kpoints.kpts[0] if run.kpoints.num_kpts == 0 else None
    weights = np.array(run.actual_kpoints_weights, float)
    counts = weights > 0  # others, for bands, do not
    weights, points = weights[counts], np.array(run.actual_kpoints, float)[counts]
    return KPoints(
        tuple(int(n) for n in mesh) if mesh is not None else None,
        tuple(map(tuple, points.tolist())),
        tuple(weights / weights.sum()),
    )


def _read_outcar(file: Path, text: str) -> VaspRun:
    """Read an OUTCAR, or several by ``cat``, one after the other."""
    parts = re.split(r"(?=^.*vasp\.\d.*\n.*\n *executed on)", text, flags=re.MULTILINE)
    runs = [_read_one_outcar(file, part) for part in parts if part.strip()]
    first = runs[0]
    for other in runs[1:]:
        if other.inputs.comparable() != first.inputs.comparable():
            raise LabelError(f"{file} joins runs of different settings: give each by itself")
    return VaspRun(
        file,
        first.inputs,
        [atoms for run in runs for atoms in run.frames],
        [is_good for run in runs for is_good in run.is_converged],
        [value for run in runs for value in run.kinetic],
        [value for run in runs for value in run.conserved],
    )


def _read_one_outcar(file: Path, text: str) -> VaspRun:
    if "General timing" not in text:  # killed: up to the last step that is whole
        text = text[: text.rfind("LOOP+:") + len("LOOP+:")]
    head, *_ = re.split(r"^.*Iteration", text, maxsplit=1, flags=re.MULTILINE)
    inputs = _inputs_of_outcar(text, head)
    limit = inputs.tags.get("NELM", "")
    if not limit.isdigit() or not inputs.titles or "ENCUT" not in inputs.tags:
        raise LabelError(f"{file} is cut off before its first step: VASP was stopped")
    stream = StringIO(text)
    stream.name = str(file / "OUTCAR")  # nowhere, where ASE finds no constraints
    frames = []
    for atoms in ase.io.iread(stream, index=":", format="vasp-out"):
        results = atoms.calc.results
        labels = {key: results[key] for key in ("forces", "stress") if key in results}
        frame = Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=True)
        frame.calc = SinglePointCalculator(frame, energy=results["free_energy"], **labels)
        frames.append(frame)
    kinetic, conserved = (
        [float(value) for value in re.findall(rf"{name}\s*=\s*(-?[\d.]+)", text)][: len(frames)]
        for name in ("kinetic energy EKIN ", "total energy   ETOTAL")
    )
    is_converged = list(_convergence(text, int(limit)))[: len(frames)]
    return VaspRun(file, inputs, frames, is_converged, kinetic, conserved)


def _convergence(text: str, limit: int) -> Iterator[bool]:
    """Whether the electrons of each step converged, of which VASP prints the iterations."""
    iterations, is_reached = 0, False
    for mark in re.finditer(
        r"Iteration[ *\d]+\(|aborting loop because EDIFF is reached|FREE ENERGIE OF THE ION", text
    ):
        if mark[0].startswith("Iteration"):
            iterations += 1
        elif mark[0].startswith("aborting"):
            is_reached = True
        else:
            yield is_reached and iterations < limit
            iterations, is_reached = 0, False


_WHERE_ON = {  # what OUTCAR prints instead of a tag
    "LDAU": ("LDA+U is selected", "T"),
    "IVDW": ("Edisp (eV)", "on"),
    "LUSE_VDW": ("vdw_kernel", "T"),
    "ML_LMLFF": ("ML FREE ENERGIE", "T"),
}


def _inputs_of_outcar(text: str, head: str) -> VaspInputs:
    plain = re.sub(r"[#!].*", "", head)  # without INCAR's comments
    lines = re.findall(r"^ *[A-Z][A-Z_0-9]+ *=.*", plain, re.MULTILINE)  # no warnings
    found = re.findall(r"\b([A-Z][A-Z_0-9]+) *= *([^\s;=]+)", "\n".join(lines))
    tags = dict(found)  # what VASP took is printed after what it was given
    several = re.findall(rf"\b(LDAUTYPE|VCA|{'|'.join(PER_POTENTIAL)}) *= *([-\d. ]+)", plain)
    tags |= {name: " ".join(value.split()) for name, value in several}
    for name, (mark, value) in _WHERE_ON.items():
        if mark in text:
            tags.setdefault(name, value)
    metagga = [v for name, v in found if name == "METAGGA" and functional_name(v, "", "")]
    printed = re.findall(r"TITEL *= *(\S.*)", head)
    printed = printed or list(dict.fromkeys(re.findall(r"POTCAR: *(\S.*)", head)))  # twice each
    titles = tuple(" ".join(title.split()) for title in printed)
    numbers = re.findall(r"ions per type = *([\d ]+)", head)
    valences = re.findall(r"^ *ZVAL *= *([\d. ]+)$", head, re.MULTILINE)
    species = (
        list(zip(map(int, numbers[-1].split()), map(float, valences[-1].split()), strict=True))
        if numbers and valences
        else []
    )
    return VaspInputs(
        tags,
        functional_name(
            metagga[0] if metagga else None, tags.get("GGA"), titles[0].split()[0] if titles else ""
        ),
        titles,
        _kpoints_of_outcar(head),
        _charge(tags, species),
    )


def _kpoints_of_outcar(head: str) -> KPoints:
    mesh = re.search(r"generate k-points for: *(\d+) +(\d+) +(\d+)", head)
    rows = r"((?: *-?[\d.]+ +-?[\d.]+ +-?[\d.]+ +-?[\d.]+ *\n)+)"
    listed = _table(re.search(r"k-points in reciprocal lattice and weights:.*\n" + rows, head))
    reduced = _table(re.search(r"Following reciprocal coordinates:\n.*\n" + rows, head))
    precision = 6e-4  # of three digits
    if len(reduced) == len(listed):
        listed, precision = reduced[reduced[:, 3] > 0], 1e-6  # weights are whole numbers there
    total = listed[:, 3].sum()
    return KPoints(
        tuple(map(int, mesh.groups())) if mesh else None,
        tuple(map(tuple, listed[:, :3].tolist())),
        tuple((listed[:, 3] / total if precision < 1e-5 else listed[:, 3]).tolist()),
        precision,
    )


def _table(found: re.Match[str] | None) -> NDArray[np.float64]:
    rows = [row.split() for row in found[1].splitlines()] if found else []
    return np.array(rows, float).reshape(-1, 4)


def _charge(tags: Mapping[str, str], species: list[tuple[int, float]]) -> float:
    """Electrons that a run lacks, of so many atoms of so many electrons each."""
    neutral = sum(number * valence for number, valence in species)
    return neutral - float(tags.get("NELECT", neutral)) if species else 0.0


def _printed(value: Any) -> str:
    """A tag's value as VASP prints it."""
    if isinstance(value, bool):
        return "T" if value else "F"
    if isinstance(value, float):
        return f"{value:.8f}"
    if isinstance(value, list):
        return " ".join(f"{item:g}" if isinstance(item, float) else str(item) for item in value)
    return str(value).strip()


def _check_numbers(run: VaspRun) -> None:
    """Raise a `LabelError` unless each frame has a cell, and forces, and all are finite."""
    if not run.frames:
        raise LabelError(f"{run.path} has no whole ionic step: VASP was stopped")
    for n, atoms in enumerate(run.frames, 1):
        atoms.info["step"] = n
        labels = atoms.calc.results
        shapes = {"energy": (), "forces": (len(atoms), 3), "stress": (6,)}
        for name, values in (("positions", atoms.positions), ("cell", atoms.cell), *labels.items()):
            if values is None or not np.isfinite(np.array(values, float)).all():
                raise LabelError(f"{run.path}, step {n}: the {name} hold NaN or infinity")
            if name in shapes and np.shape(values) != shapes[name]:
                raise LabelError(f"{run.path}, step {n}: the {name} are not one for each atom")
        if "forces" not in labels or not atoms.cell.volume > 0:
            raise LabelError(f"{run.path}, step {n} lacks its forces or its cell")
