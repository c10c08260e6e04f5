"""A trained model in memory, eager or compiled: from a graph of atoms to energies and forces."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
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
from nequip.scripts._compile_utils import COMPILE_TARGET_DICT
from numpy.typing import NDArray
from torch import Tensor

from culi_mlip.calculator.blocks import in_blocks, part_of
from culi_mlip.calculator.global_state import evaluating, loading, precisions
from culi_mlip.calculator.memory import is_out_of_memory, largest
from culi_mlip.calculator.results import OF_ATOMS, Found
from culi_mlip.errors import ModelError
from culi_mlip.models.last_layer import FEATURES_KEY, with_last_layer_features
from culi_mlip.models.unrolled import unrolled

Graph = dict[str, Tensor]

BLOCK_PAIRS = 20_000
"""Pairs that a CPU evaluates at a time: what is computed of more leaves its caches."""

PROBED_PAIRS = 1_000
"""Of the first atoms, by which a model is tried for energies that depend on more than own pairs."""


def is_compiled(file: Path) -> bool:
    """Whether a model file is a compiled one."""
    return file.name.endswith(".nequip.pt2")


class Potential:
    """A model in memory: of a checkpoint, a packaged or a compiled model.

    Parameters
    ----------
    file
        A checkpoint, packaged or compiled model.
    device
        One of `culi_mlip.devices.check_device`.
    target
        What a compiled model must be made for: "ase", one structure a call, or "batch", several.
    features
        Whether it gives the features of its last layer, too.

    Raises
    ------
    ModelError
        If the file cannot be loaded, was compiled for another device or another program, or its
        types are not chemical elements.
    """

    def __init__(
        self, file: Path, device: str, target: str = "ase", features: bool = False
    ) -> None:
        self.file, self.device = file, device
        _warn_of_strangers(file)
        self.is_compiled = is_compiled(file)
        self._outputs = outputs(target, features)
        load = _load_compiled if self.is_compiled else _load_saved
        with loading():
            # A torch module, or what calls machine code.
            self.model, metadata = load(file, device, target, features)
            self._precision = precisions() if device != "cpu" else {}
        self.species: list[str] = metadata[graph_model.TYPE_NAMES_KEY]  # in the order of types
        unknown = [name for name in self.species if name not in atomic_numbers]
        if unknown:
            raise ModelError(f"{file}: the model's type '{unknown[0]}' is not a chemical element")
        self.cutoffs = _cutoffs(metadata)  # in Å, by the types of centre and neighbour
        self._type_of = np.full(len(atomic_numbers), -1)
        self._type_of[[atomic_numbers[name] for name in self.species]] = range(len(self.species))
        self._last = np.array([], int), torch.tensor([])  # numbers and types
        self._is_local: bool | None = None  # not known yet

    def types(self, atoms: Atoms) -> Tensor:
        """Return the model's type of each atom; the same tensor while the atoms are the same.

        Raises
        ------
        ModelError
            If the model does not know one.
        """
        numbers, types = self._last
        if not np.array_equal(atoms.numbers, numbers):
            found = self._type_of[atoms.numbers]
            if found.min() < 0:
                unknown = sorted(set(atoms.symbols) - set(self.species))
                raise ModelError(
                    f"{atoms.get_chemical_formula()} holds {', '.join(unknown)}, but the model "
                    f"knows only {', '.join(self.species)}: train one on these species"
                )
            types = torch.as_tensor(found).to(self.device)
            self._last = atoms.numbers.copy(), types
        return types

    def evaluating(self) -> AbstractContextManager[None]:
        """Hold PyTorch's global settings as the model needs them."""
        return evaluating(self._precision)

    def __call__(self, graph: Graph) -> Found:
        """Evaluate the model, within `evaluating`.

        Parameters
        ----------
        graph
            Positions, cell, types and pairs by nequip's keys, on the device.

        Returns
        -------
        dict
            What the model gives, by nequip's keys: energies in eV, forces in eV/Å, stress in eV/Å³.
        """
        try:
            return self._evaluated(graph)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        # Not above, where the error's traceback holds what was computed so far.
        raise ModelError(self._too_large(graph))

    def _too_large(self, graph: Graph) -> str:
        n_atoms, n_pairs = (graph[key].shape[_axis(key)] for key in _COUNTED)
        fitting = "fewer"
        with suppress(RuntimeError):  # there may not be memory enough to measure it
            fitting = f"about {self.largest(graph):,}"
        return (
            f"{n_atoms:,} atoms with {n_pairs:,} pairs within the cutoff need more memory than "
            f"{self.device} has: {fitting} atoms like these fit; give fewer, or let LAMMPS share "
            "them among GPUs (culi-mlip export lammps)"
        )

    def largest(self, graph: Graph) -> int:
        """Return about how many atoms of a structure's density fit on the device in one call."""
        return largest(self._at_once, graph, only_pairs=self._is_split(graph))

    def _evaluated(self, graph: Graph) -> Found:
        is_large = graph[AtomicDataDict.EDGE_INDEX_KEY].shape[1] > 2.5 * BLOCK_PAIRS
        if is_large and self._is_split(graph):
            return in_blocks(self._at_once, graph, BLOCK_PAIRS)
        return self._at_once(graph)

    def _is_split(self, graph: Graph) -> bool:
        """Whether a graph as this one is evaluated in parts, once it is large enough."""
        if self.device != "cpu" or AtomicDataDict.BATCH_KEY in graph:
            return False
        if self._is_local is None:
            self._is_local = self._energies_need_own_pairs_alone(graph)
        return self._is_local

    def _at_once(self, graph: Graph) -> Found:
        needs_more = self.is_compiled and _is_small(graph)
        out = self.model(self._with_lonely_atoms(graph) if needs_more else dict(graph))
        found = {
            key: out[key].numpy(force=True).astype(float, copy=False)
            for key in self._outputs
            if key in out
        }
        return _without_lonely_atoms(found, graph) if needs_more else found

    def _energies_need_own_pairs_alone(self, graph: Graph) -> bool:
        """Whether the energy of an atom depends on pairs with it as centre only, as Allegro's."""
        centers, neighbors = graph[AtomicDataDict.EDGE_INDEX_KEY]
        n_known = int(centers[:PROBED_PAIRS].max()) or 1
        own = centers < n_known
        wide = own | torch.isin(centers, neighbors[own].unique())
        few, more = (
            self._at_once(part_of(graph, pairs, keep_atoms=True))[
                AtomicDataDict.PER_ATOM_ENERGY_KEY
            ]
            for pairs in (own, wide)
        )
        return bool(np.allclose(few[:n_known], more[:n_known], rtol=1e-4, atol=1e-6))

    def _with_lonely_atoms(self, graph: Graph) -> Graph:
        """Add two atoms that see nobody, to a batch as a structure: compiled models need two."""
        n, r_max = len(graph[AtomicDataDict.POSITIONS_KEY]), float(self.cutoffs.max())
        far = graph[AtomicDataDict.POSITIONS_KEY][:1].repeat(2, 1)
        far[:, 0] += torch.tensor([2 * r_max, 4 * r_max], device=far.device)
        more = {
            AtomicDataDict.POSITIONS_KEY: far,
            AtomicDataDict.ATOM_TYPE_KEY: torch.zeros(2, dtype=torch.int64),
            AtomicDataDict.EDGE_INDEX_KEY: torch.tensor([[n, n + 1], [n + 1, n]]),
            AtomicDataDict.EDGE_CELL_SHIFT_KEY: torch.zeros(2, 3),
        }
        if AtomicDataDict.BATCH_KEY in graph:
            n_structures = len(graph[AtomicDataDict.NUM_NODES_KEY])
            more[AtomicDataDict.CELL_KEY] = torch.eye(3).unsqueeze(0)
            more[AtomicDataDict.NUM_NODES_KEY] = torch.tensor([2])
            more[AtomicDataDict.BATCH_KEY] = torch.full((2,), n_structures)
        return graph | {
            key: torch.cat([graph[key], value.to(graph[key])], dim=_axis(key))
            for key, value in more.items()
        }


_COUNTED = (AtomicDataDict.ATOM_TYPE_KEY, AtomicDataDict.EDGE_INDEX_KEY)


def _axis(key: str) -> int:
    """The axis that counts atoms, pairs or structures."""
    return 1 if key == AtomicDataDict.EDGE_INDEX_KEY else 0


def _is_small(graph: Graph) -> bool:
    """Whether there are fewer than two atoms, pairs or, in a batch, structures."""
    of_batch = (AtomicDataDict.NUM_NODES_KEY,) if AtomicDataDict.NUM_NODES_KEY in graph else ()
    counted = _COUNTED + of_batch
    return any(graph[key].shape[_axis(key)] < 2 for key in counted)


def _without_lonely_atoms(found: Found, graph: Graph) -> Found:
    """Leave out what a model gave of the atoms of `_with_lonely_atoms`."""
    n_atoms = len(graph[AtomicDataDict.ATOM_TYPE_KEY])
    n_structures = len(graph[AtomicDataDict.CELL_KEY])
    found = {
        key: values[: n_atoms if key in OF_ATOMS else n_structures] for key, values in found.items()
    }
    if AtomicDataDict.BATCH_KEY not in graph:  # there the lonely atoms were of the structure
        energies = found[AtomicDataDict.PER_ATOM_ENERGY_KEY]
        found[AtomicDataDict.TOTAL_ENERGY_KEY] = energies.sum(keepdims=True)
    return found


def _warn_of_strangers(file: Path) -> None:
    """Models run code when they are opened: say so of those that another user wrote."""
    if hasattr(os, "getuid") and file.stat().st_uid not in (os.getuid(), 0):
        warnings.warn(
            f"{file} belongs to another user, and models run code when they are opened: open only "
            "those of people whom you trust",
            stacklevel=5,
        )


def outputs(target: str, features: bool) -> list[str]:
    """Return what a model gives, by nequip's keys."""
    return [*COMPILE_TARGET_DICT[target]["output"], *([FEATURES_KEY] if features else [])]


def _load_saved(file: Path, device: str, target: str, features: bool) -> tuple[Any, dict[str, Any]]:
    with _errors_of(file):
        model = load_saved_model(str(file)).eval().to(device)
        metadata = dict(model.metadata)
    if features:
        model = with_last_layer_features(model)
    types = metadata[graph_model.TYPE_NAMES_KEY].split(" ")
    by_pair = metadata.get(graph_model.PER_EDGE_TYPE_CUTOFF_KEY)
    return unrolled(model), {
        graph_model.R_MAX_KEY: float(metadata[graph_model.R_MAX_KEY]),
        graph_model.TYPE_NAMES_KEY: types,
        graph_model.PER_EDGE_TYPE_CUTOFF_KEY: by_pair and cutoff_str_to_fulldict(by_pair, types),
    }


def _load_compiled(
    file: Path, device: str, target: str, features: bool
) -> tuple[Any, dict[str, Any]]:
    inputs = COMPILE_TARGET_DICT[target]["input"]
    # Code for 256-bit vectors runs where there are wider ones, too; PyTorch warns all the same.
    with _errors_of(file), quiet("torch.export.pt2_archive._package"):
        try:
            return load_compiled_model(str(file), device, inputs, outputs(target, features))
        except ValueError:  # it may give the features, too
            return load_compiled_model(str(file), device, inputs, outputs(target, features=True))


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
