"""A trained model in memory, eager or compiled: from a graph of atoms to energies and forces."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.data import atomic_numbers
from nequip.data import AtomicDataDict
from nequip.model.inference_models import load_compiled_model
from nequip.model.saved_models.load_utils import load_saved_model
from nequip.nn import graph_model
from nequip.nn.embedding.utils import cutoff_str_to_fulldict
from nequip.scripts._compile_utils import ASE_TARGET
from numpy.typing import NDArray
from torch import Tensor

from culi_mlip.calculator.global_state import evaluating, loading, precisions
from culi_mlip.errors import ModelError
from culi_mlip.models.unrolled import unrolled

Graph = dict[str, Tensor]

_OF_ATOMS_AND_PAIRS = (
    AtomicDataDict.POSITIONS_KEY,
    AtomicDataDict.ATOM_TYPE_KEY,
    AtomicDataDict.EDGE_INDEX_KEY,
    AtomicDataDict.EDGE_CELL_SHIFT_KEY,
)


def is_compiled(file: Path) -> bool:
    """Whether a model file is a compiled one."""
    return file.name.endswith(".nequip.pt2")


class Potential:
    """A model in memory: of a checkpoint, a packaged or a compiled model.

    The device is one of `culi_mlip.devices.check_device`.

    Raises
    ------
    ModelError
        If the file cannot be loaded, was compiled for another device or another program, or its
        types are not chemical elements.
    """

    def __init__(self, file: Path, device: str) -> None:
        self.file, self.device = file, device
        _warn_of_strangers(file)
        self.is_compiled = is_compiled(file)
        load = _load_compiled if self.is_compiled else _load_saved
        with loading():
            self.model, metadata = load(file, device)  # a torch module, or what calls machine code
            self._precision = precisions() if device != "cpu" else {}
        self.species: list[str] = metadata[graph_model.TYPE_NAMES_KEY]  # in the order of types
        unknown = [name for name in self.species if name not in atomic_numbers]
        if unknown:
            raise ModelError(f"{file}: the model's type '{unknown[0]}' is not a chemical element")
        self.cutoffs = _cutoffs(metadata)  # in Å, by the types of centre and neighbour
        self._type_of = np.full(len(atomic_numbers), -1)
        self._type_of[[atomic_numbers[name] for name in self.species]] = range(len(self.species))
        self._numbers, self._types = np.array([], int), torch.tensor([])

    def types(self, atoms: Atoms) -> Tensor:
        """Return the model's type of each atom; the same tensor while the atoms are the same.

        Raises
        ------
        ModelError
            If the model does not know one.
        """
        if not np.array_equal(atoms.numbers, self._numbers):
            types = self._type_of[atoms.numbers]
            if types.min() < 0:
                unknown = sorted(set(atoms.symbols) - set(self.species))
                raise ModelError(
                    f"{atoms.get_chemical_formula()} holds {', '.join(unknown)}, but the model "
                    f"knows only {', '.join(self.species)}: train one on these species"
                )
            self._numbers = atoms.numbers.copy()
            self._types = torch.as_tensor(types).to(self.device)
        return self._types

    def __call__(self, graph: Graph) -> dict[str, NDArray[np.float64]]:
        """Evaluate the model.

        Parameters
        ----------
        graph
            Positions, cell, types and pairs by nequip's keys, on the device.

        Returns
        -------
        dict
            What the model gives, by nequip's keys: energies in eV, forces in eV/Å, stress in eV/Å³.
        """
        n_atoms = len(graph[AtomicDataDict.ATOM_TYPE_KEY])
        is_small = n_atoms < 2 or graph[AtomicDataDict.EDGE_INDEX_KEY].shape[1] < 2
        if self.is_compiled and is_small:
            graph = self._with_lonely_atoms(graph)
        with evaluating(self._precision):
            out = self.model(dict(graph))
        found = {
            key: out[key].detach().cpu().numpy().astype(float, copy=False)
            for key in ASE_TARGET["output"]
            if key in out
        }
        if self.is_compiled and is_small:
            energies = found[AtomicDataDict.PER_ATOM_ENERGY_KEY][:n_atoms]
            found[AtomicDataDict.PER_ATOM_ENERGY_KEY] = energies
            found[AtomicDataDict.TOTAL_ENERGY_KEY] = energies.sum()
            found[AtomicDataDict.FORCE_KEY] = found[AtomicDataDict.FORCE_KEY][:n_atoms]
        return found

    def _with_lonely_atoms(self, graph: Graph) -> Graph:
        """Add two atoms that see nobody: compiled models need two atoms and two pairs."""
        positions, types, index, shifts = (graph[key] for key in _OF_ATOMS_AND_PAIRS)
        n, r_max = len(positions), float(self.cutoffs.max())
        far = positions[:1] + positions.new_tensor([[2 * r_max, 0, 0], [4 * r_max, 0, 0]])
        return {
            **graph,
            AtomicDataDict.POSITIONS_KEY: torch.cat([positions, far]),
            AtomicDataDict.ATOM_TYPE_KEY: torch.cat([types, types.new_zeros(2)]),
            AtomicDataDict.EDGE_INDEX_KEY: torch.cat(
                [index, index.new_tensor([[n, n + 1], [n + 1, n]])], dim=1
            ),
            AtomicDataDict.EDGE_CELL_SHIFT_KEY: torch.cat([shifts, shifts.new_zeros(2, 3)]),
        }


def _warn_of_strangers(file: Path) -> None:
    """Models run code when they are opened: say so of those that another user wrote."""
    if hasattr(os, "getuid") and file.stat().st_uid not in (os.getuid(), 0):
        warnings.warn(
            f"{file} belongs to another user, and models run code when they are opened: open only "
            "those of people whom you trust",
            stacklevel=5,
        )


def _load_saved(file: Path, device: str) -> tuple[Any, dict[str, Any]]:
    with _errors_of(file):
        model = load_saved_model(str(file)).eval().to(device)
        metadata = dict(model.metadata)
    types = metadata[graph_model.TYPE_NAMES_KEY].split(" ")
    by_pair = metadata.get(graph_model.PER_EDGE_TYPE_CUTOFF_KEY)
    return unrolled(model), {
        graph_model.R_MAX_KEY: float(metadata[graph_model.R_MAX_KEY]),
        graph_model.TYPE_NAMES_KEY: types,
        graph_model.PER_EDGE_TYPE_CUTOFF_KEY: by_pair and cutoff_str_to_fulldict(by_pair, types),
    }


def _load_compiled(file: Path, device: str) -> tuple[Any, dict[str, Any]]:
    # Code for 256-bit vectors runs where there are wider ones, too; PyTorch warns all the same.
    with _errors_of(file), quiet("torch.export.pt2_archive._package"):
        return load_compiled_model(str(file), device, ASE_TARGET["input"], ASE_TARGET["output"])


@contextmanager
def quiet(logger: str) -> Iterator[None]:
    """Hold a logger's warnings back."""
    level = logging.getLogger(logger).level
    logging.getLogger(logger).setLevel(logging.ERROR)
    try:
        yield
    finally:
        logging.getLogger(logger).setLevel(level)


@contextmanager
def _errors_of(file: Path) -> Iterator[None]:
    """Tell in one sentence why a model cannot be loaded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:  # what a damaged archive or pickle raises is anything
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if reason.startswith(("Provided input keys", "Provided output keys")):
            reason = "it was compiled for another program: compile it with --target ase"
        raise ModelError(f"{file} cannot be loaded as a model ({reason[:150]})") from error


def _cutoffs(metadata: dict[str, Any]) -> NDArray[np.float64]:
    types, by_pair = (
        metadata[graph_model.TYPE_NAMES_KEY],
        metadata[graph_model.PER_EDGE_TYPE_CUTOFF_KEY],
    )
    if not by_pair:
        return np.full((len(types), len(types)), metadata[graph_model.R_MAX_KEY])
    return np.array([[by_pair[center][neighbor] for neighbor in types] for center in types])
