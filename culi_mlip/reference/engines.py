"""The registry of reference engines."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.calculators.calculator import Calculator

from culi_mlip.configuration import Configuration, parse
from culi_mlip.errors import EngineError
from culi_mlip.progress import Progress, no_progress
from culi_mlip.reference import (
    any_ase,
    chgnet,
    cp2k,
    emt,
    gpaw,
    imported,
    lattice_constants,
    relaxation,
    vasp,
    vasp_calculator,
    vasp_trajectories,
)
from culi_mlip.reference.recording import Recorded


@dataclass(frozen=True)
class Engine:
    """A source of labels: an ASE calculator with settings that identify its labels.

    Attributes
    ----------
    name
        Name in the registry.
    title
        What labels of this engine are called in reports.
    is_dft
        Whether the labels may be called DFT. A machine-learned model is a stand-in.
    settings
        All values that the labels depend on.
    """

    name: str
    title: str
    is_dft: bool
    settings: Configuration

    def calculator(self, folder: str | os.PathLike[str] | None = None) -> Calculator:
        """Return a new ASE calculator (energy in eV, forces in eV/Å, stress in eV/Å³).

        Parameters
        ----------
        folder
            Where it writes, if it writes files; by default one of its own below this one.

        Raises
        ------
        SetupError
            If the engine lacks something on this machine.
        """
        calculator = ENGINES[self.name].make(self.settings)
        if folder is not None:
            work_in(calculator, folder)
        return calculator

    def check(self, symbols: Iterable[str] = ()) -> None:
        """Check that the engine can label structures of these elements on this machine.

        Raises
        ------
        SetupError
            If its package, program, or data of an element are missing.
        """
        ENGINES[self.name].check(self.settings, symbols)

    @property
    def own_dynamics(self) -> Callable[..., list[Atoms]] | None:
        """MD that the engine itself runs, for `culi_mlip.dynamics.melt_quench`, if it has one."""
        own = ENGINES[self.name].molecular_dynamics
        return partial(own, self.settings) if own else None

    def relax(
        self,
        atoms: Atoms,
        folder: Path,
        *,
        force: float = 0.03,
        steps: int = 200,
        calculator: Calculator | None = None,
        progress: Progress = no_progress,
    ) -> list[Atoms]:
        """Relax a structure in its cell, by the engine itself where it can.

        Parameters
        ----------
        atoms
            The structure; its constraints are obeyed.
        folder
            For the engine's files and the steps: what a killed run left there is continued.
        force
            Largest force on an atom at the end, eV/Å; by default the paper's.
        steps
            The most ionic steps.
        calculator
            One of this engine's that is there already.
        progress
            Called with (steps done, steps at most).

        Returns
        -------
        list of Atoms
            The steps with their labels, the first of which is the structure.

        Raises
        ------
        EngineError
            If the engine fails, or the forces are not small after so many steps.
        """
        own = ENGINES[self.name].relax
        if own:
            return own(self.settings, atoms, folder, force=force, steps=steps, progress=progress)
        recorded = Recorded(calculator or self.calculator(folder), folder / "steps", self.digest)
        return relaxation.relax(atoms, recorded, force=force, steps=steps, progress=progress)

    def lattice_constant(self, symbol: str) -> float:
        """Return the cubic lattice constant of an fcc or bcc element by this engine in Å.

        It is looked up in `culi_mlip.reference.lattice_constants.KNOWN`, or computed here by an
        equation of state (seven energies of one atom or more).

        Parameters
        ----------
        symbol
            The element.

        Raises
        ------
        EngineError
            If the engine fails, or its energies have no minimum.
        """
        known = lattice_constants.known_lattice_constant(self.name, self.settings, symbol)
        if known:
            return known[0]
        with tempfile.TemporaryDirectory() as folder:
            calculator = self.calculator(folder)

            def energies(cells: Sequence[Atoms]) -> list[float]:
                found = []
                for atoms in cells:
                    atoms.calc = calculator
                    try:
                        found.append(relaxation.computed_labels(atoms)["energy"])
                    except Exception as error:  # a calculator may fail in any way
                        raise EngineError(
                            f"engine '{self.name}' did not find the lattice constant of {symbol} "
                            f"({type(error).__name__}: {error}): give it"
                        ) from error
                return found

            return lattice_constants.equilibrium(symbol, energies)

    @property
    def given(self) -> str:
        """The settings that differ from their defaults, in JSON: what a worker is given."""
        return self.settings.model_dump_json(exclude_defaults=True)

    @property
    def digest(self) -> str:
        """Short hash of name and settings: labels with the same digest may be mixed."""
        text = json.dumps([self.name, self.settings.identity()], sort_keys=True)
        return "e" + hashlib.sha256(text.encode()).hexdigest()[:11]

    @property
    def caution(self) -> str | None:
        """What to say wherever the labels are shown, if they are not DFT."""
        return None if self.is_dft else f"labels are from {self.title}, a stand-in for DFT"


@dataclass(frozen=True)
class _Registered:
    title: str
    is_dft: bool
    settings: type[Configuration]
    make: Callable[[Any], Calculator]
    relax: Callable[..., list[Atoms]] | None = None
    molecular_dynamics: Callable[..., list[Atoms]] | None = None
    check: Callable[[Any, Iterable[str]], None] = lambda settings, symbols: None


ENGINES: Mapping[str, _Registered] = {
    "ase": _Registered(
        any_ase.TITLE, False, any_ase.AseSettings, any_ase.make, check=any_ase.check
    ),
    "chgnet": _Registered(
        chgnet.TITLE, False, chgnet.CHGNetSettings, chgnet.make, check=chgnet.check
    ),
    "cp2k": _Registered(cp2k.TITLE, True, cp2k.Cp2kSettings, cp2k.make, check=cp2k.check),
    "gpaw": _Registered(gpaw.TITLE, True, gpaw.GpawSettings, gpaw.make, check=gpaw.check),
    "vasp": _Registered(
        vasp.TITLE,
        True,
        vasp.VaspSettings,
        vasp_calculator.make,
        vasp_trajectories.relax,
        vasp_trajectories.molecular_dynamics,
        vasp_calculator.check,
    ),
    "emt": _Registered(emt.TITLE, False, emt.EMTSettings, emt.make),
    "imported": _Registered(
        imported.TITLE, True, imported.ImportedSettings, imported.make, check=imported.check
    ),
}
"""Engines by name."""


def work_in(calculator: Calculator, folder: str | os.PathLike[str]) -> None:
    """Let a calculator of an engine write its files in a folder, if it writes files."""
    if str(getattr(calculator, "directory", ".")) != ".":
        calculator.directory = Path(folder)


def get_engine(name: str, settings: Configuration | Mapping[str, Any] | None = None) -> Engine:
    """Return a reference engine by name.

    Parameters
    ----------
    name
        A key of `ENGINES`.
    settings
        The engine's settings object, or its values; defaults where left out.

    Raises
    ------
    EngineError
        If the engine is unknown.
    RecipeError
        If a setting is not one of its own or out of range.
    """
    if name not in ENGINES:
        raise EngineError(f"unknown engine '{name}': choose one of {', '.join(sorted(ENGINES))}")
    registered = ENGINES[name]
    values = settings.model_dump() if isinstance(settings, Configuration) else dict(settings or {})
    checked = parse(registered.settings, values, f"engine '{name}'")
    title = registered.title.format(**checked.model_dump())
    is_dft = getattr(checked, "is_dft", registered.is_dft)  # of labels that others computed
    return Engine(name, title, is_dft, checked)
