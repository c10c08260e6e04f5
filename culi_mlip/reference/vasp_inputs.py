"""What a label of VASP depends on, as an output tells it, compared with what is asked for."""

from __future__ import annotations

import bz2
import json
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, lru_cache
from itertools import chain
from typing import Any

import numpy as np
from ase import Atoms

from culi_mlip.reference.kpoints import kpoint_mesh
from culi_mlip.reference.vasp import VaspSettings, incar_values, structure_values

Tag = float | bool | str

OFF: Mapping[str, Tag] = {
    "LHFCALC": False,  # exact exchange
    "LDAU": False,
    "IVDW": 0.0,  # van der Waals corrections: D2, D3, Tkatchenko-Scheffler, …
    "LVDW": False,  # D2 before VASP 5.2.12
    "LUSE_VDW": False,  # van der Waals functionals
    **dict.fromkeys(("ALDAX", "ALDAC", "AGGAX", "AGGAC", "AMGGAX", "AMGGAC"), 1.0),  # shares
    "GGA_COMPAT": True,  # gradients along the cell vectors
    "LMODELHF": False,
    "LTHOMAS": False,
    "I_CONSTRAINED_M": 0.0,  # moments held by a penalty
    "LSORBIT": False,
    "LNONCOLLINEAR": False,
    "LSOL": False,  # implicit solvent
    "LTRUNCATE": False,  # Coulomb interaction cut off in the vacuum
    "EFIELD": 0.0,
    "LMONO": False,
    "EPSILON": 1.0,
    "LDIPOL": False,
    "IDIPOL": 0.0,
}
"""Tags that change a label where they are set, and what VASP takes where they are not."""

SHOWN: Mapping[str, type] = {
    "ENCUT": float,
    "PREC": str,
    "LASPH": bool,
    "LREAL": bool,
    "ISPIN": float,
    "ISMEAR": float,
    "SIGMA": float,
    "EDIFF": float,
}
"""Tags that each output shows, and what they are."""

BESIDE: Mapping[str, Sequence[str]] = {
    "LHFCALC": ("AEXX", "HFSCREEN"),
    "LDAU": ("LDAUTYPE", "LDAUL", "LDAUU", "LDAUJ"),
    "IVDW": (
        *("VDW_S6", "VDW_S8", "VDW_A1", "VDW_A2", "VDW_SR", "VDW_SR8"),
        *("VDW_D", "VDW_C6", "VDW_R0", "VDW_RADIUS", "VDW_CNRADIUS"),
    ),
    "ISPIN": ("NUPDOWN",),
    "LUSE_VDW": ("ZAB_VDW", "BPARAM", "CPARAM", "PARAM1", "PARAM2"),
    "I_CONSTRAINED_M": ("LAMBDA", "M_CONSTR"),
    "LSOL": ("EB_K", "TAU"),
}
"""Tags that say how, where another one is set."""

PER_POTENTIAL = ("LDAUL", "LDAUU", "LDAUJ", "VDW_C6", "VDW_R0")
"""Tags of `BESIDE` that have a value for each potential, in their order."""

UNFIT: Mapping[str, Tag] = {"ML_LMLFF": False, "PSTRESS": 0.0, "SCALEE": 1.0}
"""Tags whose steps are no labels of DFT, whatever the settings, and what VASP takes by default."""

LABEL_TAGS = ("METAGGA", "GGA", *SHOWN, *OFF, *UNFIT, *chain.from_iterable(BESIDE.values()))
"""INCAR tags that labels depend on, besides k-points, potentials and the number of electrons."""

_FITS: Mapping[str, re.Pattern[str]] = {
    "ICHARG": re.compile("-?[0-9]"),  # from 10 on the density is kept
    "IALGO": re.compile("8|[3-6][0-9]"),  # below and above, the bands are computed once or not
    "VCA": re.compile(r"(1(\.0*)?\s*)+"),  # below 1 an atom is a share of one
    "ALGO": re.compile("(?i)n(?!o[nt])[a-z]*|[vfcad](?!cfdt|hi)[a-z]*"),
}
"""Values of the tags by which the electrons are self-consistent in the energy of whole atoms."""

_GGA = {"PE": "pbe", "8": "pbe", "PS": "pbesol", "CA": "lda", "2": "lda", "RP": "rpbe"}
_GGA |= {"RE": "revpbe", "91": "pw91", "PW": "pw91", "AM": "am05", "LI": "libxc"}

_FAMILIES = {"PAW_PBE": "PE", "PAW_GGA": "91", "PAW_LDA": "CA", "PAW": "CA"}
"""Functional of each set of potentials, by the first word of TITEL."""


@dataclass(frozen=True)
class KPoints:
    """The k-points of a run."""

    # Numbers of points along the reciprocal vectors, where the output says them.
    mesh: tuple[int, ...] | None = None
    points: tuple[tuple[float, ...], ...] = ()  # irreducible points, in reciprocal vectors
    weights: tuple[float, ...] = ()  # of each, as a share of all
    precision: float = 1e-6  # of the weights

    def are(self, mesh: Sequence[int]) -> bool:
        """Return whether they are the Γ-centred mesh with such numbers, as far as can be told.

        The irreducible points of a mesh are some of its points. The symmetry that relates them to
        the others leaves Γ alone, so that the weight of Γ counts the mesh, and keeps the order of
        each in the group of the mesh, so that their least common multiple is that of the numbers.
        """
        return _are(self, tuple(mesh))

    def __str__(self) -> str:
        """Return the mesh, guessed from the points where the output does not say it."""
        mesh = self.mesh or self.denominators()
        name = "×".join(map(str, mesh))
        if not self.points or self.gamma() is not None:
            return name
        shift = np.abs((np.array(self.points[0]) * mesh + 0.5) % 1 - 0.5)  # k and −k are the same
        by = " shifted by " + ", ".join(f"{x:.3g}" for x in shift) if shift.max() > 1e-3 else ""
        return f"{name}{by} without Γ"

    def gamma(self) -> int | None:
        """Return which of the points is Γ."""
        points = np.array(self.points)
        found = np.flatnonzero(np.abs(points - np.rint(points)).max(axis=1) < 1e-6)
        return int(found[0]) if len(found) else None

    def denominators(self) -> list[int]:
        """Return the least numbers that make all coordinates along each vector whole."""
        found = []
        for column in np.array(self.points).T:
            multiples = np.outer(np.arange(1, 200), column)
            wrong = np.abs(multiples - np.rint(multiples)).max(axis=1)
            found.append(int(np.argmax(wrong < 1e-4)) + 1 if (wrong < 1e-4).any() else 0)
        return found


@lru_cache(maxsize=16)
def _are(kpoints: KPoints, mesh: tuple[int, ...]) -> bool:
    if kpoints.mesh is not None and mesh != kpoints.mesh:
        return False
    if not kpoints.points:
        return True
    gamma = kpoints.gamma()
    if gamma is None:
        return False
    places = np.array(kpoints.points) * mesh
    if np.abs(places - np.rint(places)).max() > 1e-3:
        return False
    if math.lcm(*kpoints.denominators()) != math.lcm(*mesh):
        return False
    return abs(kpoints.weights[gamma] - 1 / math.prod(mesh)) < kpoints.precision


@dataclass(frozen=True)
class VaspInputs:
    """What a label depends on, as an output says that VASP took it."""

    # INCAR tags by name, as printed, without the blanks around names and values.
    tags: Mapping[str, str]
    functional: str  # as of `functional_name`
    # TITEL of each potential in the order of VASP's input, such as "PAW_PBE Li_sv 10Sep2004".
    titles: tuple[str, ...]
    kpoints: KPoints = field(default_factory=KPoints)
    charge: float = 0.0  # electrons that lack, where the output tells

    def tag(self, name: str) -> Tag | None:
        """Return the value of one of `SHOWN` or `OFF`; None if the output does not show it."""
        default = {**OFF, **UNFIT}.get(name)
        text = self.tags.get(name)
        if text is None:
            return default
        kind = type(default) if default is not None else SHOWN[name]
        if kind is bool:
            return text.strip(".").upper()[:1] in ("T", "A", "O")  # LREAL = Auto or On
        if kind is float:
            with suppress(ValueError):
                return float(text.upper().replace("D", "E"))
        return text

    def unfit(self) -> list[str]:
        """Return why no step of the run is a label, whatever is asked for."""
        found = [
            f"{name} = {self.tags[name]}" for name, off in UNFIT.items() if self.tag(name) != off
        ]
        found += [f"{name} = {self.tags[name]}" for name, fits in _FITS.items()
                  if name in self.tags and not fits.fullmatch(self.tags[name])]  # fmt: skip
        return found

    def comparable(self) -> tuple[Any, ...]:
        """Return what two runs must have in common for their steps to be one run's."""
        tags = [(name, self.tag(name)) for name in (*SHOWN, *OFF, *UNFIT)]
        return tags, self.functional, self.titles, self.kpoints, round(self.charge, 3)

    def unknown(self) -> list[str]:
        """Return the tags that the output should show and does not."""
        return [name for name in SHOWN if name not in self.tags]

    def differences(self, settings: VaspSettings, atoms: Atoms) -> list[str]:
        """Return in which points the run is not of these settings, as "has ENCUT 680 eV, not 520".

        K-points and dipole correction are those of the settings for the structure.
        """
        found = []
        if self.functional != settings.functional:
            found.append(f"is {self.functional}, not {settings.functional}")
        for name, value in _wanted(settings, atoms).items():
            told = self.tag(name)
            if told is not None and not self._is(name, value):
                unit = " eV" if name == "ENCUT" else ""
                found.append(f"has {name} {self._words(name)}{unit}, not {_word(value)}")
        for title in dict.fromkeys(self.titles):
            found += _wrong_potential(title, settings)
        if abs(self.charge) > 1e-3:
            found.append(f"has a charge of {self.charge:+g} e (NELECT)")
        mesh = kpoint_mesh(atoms, settings.kpoint_length)
        if not self.kpoints.are(mesh):
            found.append(f"has k-points {self.kpoints}, not {'×'.join(map(str, mesh))}")
        return found

    def own_settings(self, settings: VaspSettings, atoms: Atoms) -> dict[str, Any]:
        """Return what the label depends on, with what the output does not show left out.

        Where the mesh of a structure is that of the settings, their density of k-points is named.
        """
        tags: dict[str, Any] = {}
        for name in (*SHOWN, *OFF):
            value = self.tag(name)
            if value is None or value == OFF.get(name):
                continue
            tags[name] = str(value)[:1].upper() if name == "PREC" else value
            if name != "ISPIN" or value != 1:
                tags |= self._beside(name)
        mesh = kpoint_mesh(atoms, settings.kpoint_length)
        is_dense = self.kpoints.are(mesh)
        return {
            "functional": self.functional,
            "potentials": sorted(set(self.titles)),
            "kpoints": f"length {settings.kpoint_length:g} Å" if is_dense else str(self.kpoints),
            "charge": round(self.charge, 3) + 0.0,
            **{name: self._told(name) for name in self.tags if name.startswith("LIBXC")},
            **tags,
        }

    def _is(self, name: str, value: Tag) -> bool:
        """Whether a tag has a value, to the digits that are printed."""
        told = self.tag(name)
        if isinstance(value, float) and isinstance(told, float):
            mantissa, _, exponent = self.tags.get(name, "0.0").upper().partition("E")
            digits = len(mantissa.partition(".")[2]) - int(exponent or 0)
            return abs(told - value) <= 0.5001 * 10.0**-digits
        if name == "PREC":  # VASP reads its first letter
            return str(told)[:1].upper() == str(value)[:1].upper()
        return told == value

    def _words(self, name: str) -> str:
        """A tag as it is printed, with what stands beside it."""
        told = self.tag(name)
        beside = [f"{key} {value}" for key, value in self._beside(name).items()]
        return _word(told) + (f" ({', '.join(beside)})" if beside and told is True else "")

    def _beside(self, name: str) -> dict[str, str]:
        """Tags that say how, in the same digits by each output."""
        return {key: self._told(key) for key in BESIDE.get(name, ()) if key in self.tags}

    def _told(self, key: str) -> str:
        """The value of a tag, with the potentials' names where it has one for each."""
        words = [_plain(word) for word in self.tags[key].split()]
        if key in PER_POTENTIAL and len(words) == len(self.titles):
            names = [title.split()[1] for title in self.titles]
            words = sorted({f"{name} {word}" for name, word in zip(names, words, strict=True)})
        return " ".join(words)


def functional_name(metagga: str | None, gga: str | None, lexch: str | None) -> str:
    """Return the functional in one spelling.

    VASP prints METAGGA as the user wrote it (R2scan), cuts it to five letters in OUTCAR (R2SCA),
    and has a second field of that name that holds F. Without one it is GGA, and where that is --,
    the functional of the potentials, `lexch`: its LEXCH, or the first word of their TITEL.
    """
    word = (metagga or "").strip().strip(".").upper()
    if word not in ("", "--", "F", "FALSE", "NONE"):
        return {"R2SCA": "r2scan"}.get(word, word.lower())
    word = (gga or "").strip().upper()
    if word in ("", "--"):
        word = (lexch or "").strip().upper()
        word = _FAMILIES.get(word, word)
    return _GGA.get(word, word.lower())


def _wanted(settings: VaspSettings, atoms: Atoms) -> dict[str, Tag]:
    """The tags of `SHOWN` and `OFF` as our own input has them."""
    asked = incar_values(settings) | structure_values(settings, atoms)
    given = {key.upper(): value for key, value in asked.items() if value is not None}
    wanted = dict(OFF)
    for name, kind in ({**SHOWN, **{key: type(value) for key, value in OFF.items()}}).items():
        if name in given:
            wanted[name] = kind(given[name])
    return wanted


def _word(value: Tag | None) -> str:
    if isinstance(value, bool):
        return "T" if value else "F"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _plain(word: str) -> str:
    """A number without the digits that say nothing."""
    with suppress(ValueError):
        return f"{float(word):g}"
    return word


def _wrong_potential(title: str, settings: VaspSettings) -> list[str]:
    family, name, *_ = [*title.split(), ""]
    symbol = re.split(r"[^A-Za-z]", name)[0]
    wanted = settings.potentials.get(symbol, symbol)
    if family != "PAW_PBE":
        wanted = f"PAW_PBE {wanted}"
    elif name == wanted:
        release = _release(settings.potential_version)
        if not release or title.replace(" ", "") in release:
            return []
        wanted = f"that of potpaw_PBE.{settings.potential_version}"
    return [f"has the potential '{title}' for {symbol}, not {wanted}"]


@cache
def _release(version: str) -> frozenset[str]:
    """TITEL, without blanks, of each potential of a release, as pymatgen lists them."""
    from pymatgen.io.vasp.inputs import POTCAR_STATS_PATH

    with bz2.open(POTCAR_STATS_PATH) as packed:
        return frozenset(json.load(packed).get(f"PBE_{version}", ()))
