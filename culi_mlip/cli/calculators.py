"""What a command takes as a potential: a model, an engine, a file of embedded atoms, a factory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from culi_mlip.errors import ModelError

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator

    from culi_mlip.progress import Step

EMBEDDED_ATOMS = {".eam": "eam", ".alloy": "eam/alloy", ".fs": "eam/fs"}
"""LAMMPS's names of the forms of embedded-atom potentials, by the ends of their files' names."""


def open_calculator(
    model: Path, device: str | None, compilation: bool | None, step: Step
) -> Calculator:
    """Return a calculator.

    Parameters
    ----------
    model
        A run folder or a model's file, a file of an embedded-atom potential, the name of an engine
        with its default settings, or ``module:factory``.
    device, compilation
        Of a model.
    step
        Starts progress bars.

    Raises
    ------
    CuliError
        If it is none of these, or cannot be opened.
    """
    from culi_mlip.reference import ENGINES, get_engine

    name = str(model)
    if model.suffix in EMBEDDED_ATOMS:
        return embedded_atoms(model)
    if model.exists() or not (name in ENGINES or ":" in name):
        from culi_mlip.calculator import HybridAllegro

        return HybridAllegro(
            model, device=device, compile="auto" if compilation is None else compilation, step=step
        )
    if ":" in name:
        return get_engine("ase", {"calculator": name.replace(":", ".")}).calculator()
    return get_engine(name).calculator()


def open_committee(
    models: Sequence[Path], device: str | None, compilation: bool | None, step: Step
) -> tuple[Calculator, list[Calculator]]:
    """Return the calculator of one or several models, and of several each by itself.

    Raises
    ------
    CuliError
        If there are several, and one is not a model of ours, or cannot be opened.
    """
    if len(models) == 1:
        return open_calculator(models[0], device, compilation, step), []
    from culi_mlip.calculator import HybridAllegro

    opened = partial(
        HybridAllegro,
        device=device,
        compile="auto" if compilation is None else compilation,
        step=step,
    )
    return opened(list(models)), [opened(model) for model in models]


def embedded_atoms(path: Path) -> Calculator:
    """Return the calculator of an embedded-atom potential in one of LAMMPS's forms.

    Raises
    ------
    ModelError
        If the file is missing or damaged.
    """
    from ase.data import atomic_numbers
    from matscipy.calculators.eam import EAM

    from culi_mlip.files import read_text

    text, form = read_text(path), EMBEDDED_ATOMS[path.suffix]
    try:
        calculator = EAM(str(path), kind=form)
        if form != "eam":  # names count; the numbers in some files are wrong
            numbers = [atomic_numbers[name] for name in text.splitlines()[3].split()[1:]]
            calculator.atnum_to_index = np.full(max(numbers) + 1, -1)
            calculator.atnum_to_index[numbers] = np.arange(len(numbers))
            calculator._db_atomic_numbers = np.array(numbers)
    except Exception as error:  # a damaged file fails in any way
        raise ModelError(f"{path} is no embedded-atom potential ({error}): give another") from error
    return calculator
