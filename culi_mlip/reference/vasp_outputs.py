"""Labels out of VASP's own outputs, each checked before it is accepted."""

from __future__ import annotations

import gzip
import os
import re
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import ase.io
import numpy as np
from ase import Atoms
from ase.io.formats import UnknownFileTypeError

from culi_mlip.errors import LabelError
from culi_mlip.reference.vasp import VaspSettings


@dataclass(frozen=True)
class VaspRun:
    """A VASP run as its output tells it.

    Attributes
    ----------
    path
        The vasprun.xml or OUTCAR.
    functional
        "r2scan", "scan", "pbe", "lda" or VASP's own word.
    cutoff
        In eV.
    potentials
        TITEL of each element's pseudopotential, such as "PAW_PBE Li_sv 10Sep2004".
    frames
        Its ionic steps with energy (the free energy, whose derivatives the forces are; eV),
        forces (eV/Å) and stress (eV/Å³, ASE's sign and order).
    is_converged
        Whether the electrons of each step converged.
    kinetic, conserved
        Of MD (OUTCAR only): kinetic energy, and total energy with the thermostat's, of each step
        in eV.
    """

    path: Path
    functional: str
    cutoff: float
    potentials: dict[str, str]
    frames: list[Atoms]
    is_converged: list[bool]
    kinetic: list[float] = field(default_factory=list)
    conserved: list[float] = field(default_factory=list)


def read_vasp(path: str | os.PathLike[str]) -> VaspRun:
    """Read a vasprun.xml or an OUTCAR, plain or gzipped.

    Raises
    ------
    LabelError
        If the file is missing, is neither, or is cut off.
    """
    file = Path(path)
    if not file.is_file():
        raise LabelError(f"{file} does not exist: give a vasprun.xml or an OUTCAR")
    text = _text(file)
    if text.lstrip().startswith("<?xml"):
        return _read_vasprun(file, text)
    if "vasp." in text[:200]:
        return _read_outcar(file, text)
    raise LabelError(f"{file} is neither a vasprun.xml nor an OUTCAR")


def accepted_frames(run: VaspRun, settings: VaspSettings) -> list[Atoms]:
    """Return the frames of a run that labels of these settings may be mixed with.

    Raises
    ------
    LabelError
        If functional, cutoff or a potential differ, or no step converged.
    """
    if run.functional != settings.functional:
        raise LabelError(f"{run.path} is {run.functional}, not {settings.functional}")
    if abs(run.cutoff - settings.cutoff) > 1e-3:
        raise LabelError(f"{run.path} has ENCUT {run.cutoff:g} eV, not {settings.cutoff:g}")
    for symbol, title in run.potentials.items():
        wanted = settings.potentials.get(symbol, symbol)
        if title.split()[1] != wanted:
            raise LabelError(f"{run.path} has the potential '{title}' for {symbol}, not {wanted}")
    frames = [f for f, is_good in zip(run.frames, run.is_converged, strict=True) if is_good]
    if not frames:
        raise LabelError(f"{run.path}: the electrons converged in none of {len(run.frames)} steps")
    return frames


def functional_name(metagga: str | None, gga: str | None, lexch: str | None) -> str:
    """Return the functional in one spelling.

    VASP prints METAGGA as the user wrote it (R2scan), cuts it to five letters in OUTCAR (R2SCA),
    and has a second field of that name that holds F. Without one it is GGA, and where that is --,
    the functional of the potentials, `lexch`.
    """
    word = (metagga or "").strip().strip(".").upper()
    if word not in ("", "--", "F", "FALSE", "NONE"):
        known = {"R2SCA": "r2scan", "RSCAN": "rscan", "SCAN": "scan"}
        return known.get(word[:5], word.lower())
    word = (gga or "").strip().upper()
    if word in ("", "--"):
        word = (lexch or "").strip().upper()
    return {"PE": "pbe", "8": "pbe", "PS": "pbesol", "CA": "lda", "2": "lda"}.get(
        word, word.lower()
    )


_FAMILIES = {"PAW_PBE": "PE", "PAW_GGA": "91", "PAW_LDA": "CA", "PAW": "CA"}
"""Functional of each set of potentials, by the first word of TITEL."""


def _text(file: Path) -> str:
    try:
        if file.suffix == ".gz":
            with gzip.open(file, "rt", errors="replace") as lines:
                return lines.read()
        return file.read_text(errors="replace")
    except (EOFError, gzip.BadGzipFile) as error:
        raise LabelError(f"{file} is cut off ({error}): copy it again") from error


def _read_vasprun(file: Path, text: str) -> VaspRun:
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 (VASP's own output)
    except ElementTree.ParseError as error:
        raise LabelError(
            f"{file} is cut off ({error}): VASP was stopped; import its OUTCAR, or run it again"
        ) from error
    values = {
        element.get("name"): (element.text or "").strip()
        for block in ("incar", "parameters")
        for element in root.iterfind(f"{block}//i")
    }
    titles = {
        row[1].text.strip(): row[4].text.strip()  # type: ignore[union-attr]
        for row in root.iterfind("atominfo/array[@name='atomtypes']/set/rc")
    }
    family = _FAMILIES.get(next(iter(titles.values())).split()[0])
    frames = _frames(file, "vasp-xml")
    limit = int(values["NELM"])
    electronic = [len(step.findall("scstep")) for step in root.iterfind("calculation")]
    return VaspRun(
        file,
        functional_name(values.get("METAGGA"), values.get("GGA"), family),
        float(values["ENMAX"]),
        titles,
        frames,
        [n < limit for n in electronic][: len(frames)],
    )


def _read_outcar(file: Path, text: str) -> VaspRun:
    if "General timing" not in text:  # killed: up to the last step that is whole
        text = text[: text.rfind("LOOP+:") + len("LOOP+:")]
    metagga = re.search(r"^\s*METAGGA\s*=\s*(\S+)\s+LMAXTAU", text, re.MULTILINE)
    gga = re.search(r"^\s*GGA\s*=\s*(\S+)\s+GGA type", text, re.MULTILINE)
    lexch = re.search(r"^\s*LEXCH\s*=\s*(\S+)\s+internal", text, re.MULTILINE)
    cutoff = re.search(r"^\s*ENCUT\s*=\s*([\d.]+) eV", text, re.MULTILINE)
    titles = [title.strip() for title in re.findall(r"TITEL\s*=\s*(.+)", text)]
    if cutoff is None or not titles:
        raise LabelError(f"{file} is cut off before its first step: VASP was stopped")
    converged: dict[int, bool] = {}
    for line in re.finditer(r"Iteration\s+(\d+)\(|aborting loop because EDIFF is reached", text):
        if line[1]:
            step = int(line[1])
            converged.setdefault(step, False)
        else:
            converged[step] = True
    stream = StringIO(text)
    stream.name = str(file)  # ASE looks for constraints beside it
    frames = _frames(file, "vasp-out", stream)
    kinetic, conserved = (
        [float(value) for value in re.findall(rf"{name}\s*=\s*(-?[\d.]+)", text)][: len(frames)]
        for name in ("kinetic energy EKIN ", "total energy   ETOTAL")
    )
    return VaspRun(
        file,
        functional_name(metagga and metagga[1], gga and gga[1], lexch and lexch[1]),
        float(cutoff[1]),
        {re.split("[_ ]", title.split(maxsplit=1)[1])[0]: title for title in titles},
        frames,
        list(converged.values())[: len(frames)],
        kinetic,
        conserved,
    )


def _frames(file: Path, kind: str, stream: StringIO | None = None) -> list[Atoms]:
    """Ionic steps, with the free energy as energy: the forces are its derivatives."""
    try:
        frames = list(ase.io.iread(stream or file, index=":", format=kind))
    except (
        UnknownFileTypeError,
        ase.io.ParseError,
        ValueError,
        IndexError,
        KeyError,
        ElementTree.ParseError,
    ) as error:
        raise LabelError(f"{file} is cut off ({error}): VASP was stopped") from error
    for atoms in frames:
        results = atoms.calc.results
        results["energy"] = results["free_energy"]
        if not all(np.isfinite(results[key]).all() for key in ("energy", "forces")):
            raise LabelError(f"{file} holds NaN")
    return frames
