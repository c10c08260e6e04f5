"""HybridAllegro: a trained potential of any variant as an ASE calculator."""

from __future__ import annotations

import hashlib
import os
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress
from matscipy.neighbours import neighbour_list
from nequip.data import AtomicDataDict
from numpy.typing import NDArray

from culi_mlip.calculator.compiled import cached, compile_model, expected_seconds
from culi_mlip.calculator.neighbors import NeighborList
from culi_mlip.calculator.potential import Graph, Potential
from culi_mlip.devices import check_device
from culi_mlip.errors import CuliError, ModelError
from culi_mlip.files import check_finite
from culi_mlip.models.files import model_digest, model_file, model_metadata
from culi_mlip.process import keep_freed_memory
from culi_mlip.progress import Step

SAME_PLACE = 0.1
"""Atoms that are closer, in Å, are a mistake."""

ModelPath = str | os.PathLike[str]


class HybridAllegro(Calculator):
    """Energy (eV), forces (eV/Å), stress (eV/Å³, ASE's sign and order) and atomic energies.

    Parameters
    ----------
    model
        A run folder of ``culi-mlip train`` (its best checkpoint is taken), a checkpoint
        (``.ckpt``), a packaged (``.nequip.zip``) or a compiled model (``.nequip.pt2``).
        A checkpoint or package can run code when it is loaded: open only those you trust.
        Several models of the same species and cutoffs are a committee: results are their means,
        and there are ``results["energy_std"]`` (eV) and ``results["forces_std"]`` (eV/Å, one for
        each atom: the root of the summed variances of the three components), both with n - 1 in
        the denominator.
    device
        "cpu", "cuda" or "cuda:N"; "auto" takes the GPU if there is one.
    compile
        True compiles the model at once (a minute or two) and keeps it in the user's cache; False
        never does. "auto" takes a compiled model that is in the cache, and compiles once the
        evaluations have taken as long as compiling is expected to take: a run of any length then
        takes at most twice the time of the better choice.
    skin
        Of the neighbour list, in Å; see `culi_mlip.calculator.neighbors`. 0 builds the list at each
        step.
    keep_memory
        On the CPU, let the process keep the memory that it freed: calls take 15 to 30 % less time
        (200 to 4,000 atoms); see `culi_mlip.process.keep_freed_memory`.
    step
        Called with the name of a long step, gives what is called as it advances; by default a
        progress bar is drawn while the model is compiled.

    Attributes
    ----------
    species
        Chemical symbols that the model knows.
    metadata
        What the run folder records of the model (``model.json``), empty for a lone file; of a
        committee that of its first member.
    digest
        Hash of the model file, the same wherever it lies.
    is_compiled
        Whether a compiled model answers.
    model_card
        What is known of the model, as a dictionary.

    Raises
    ------
    ModelError
        If the path is not a model, or the structure holds other species.
    CuliError
        If there is no such device, or positions are NaN.

    Notes
    -----
    Global settings, such as PyTorch's default dtype and random state, are left as they were.

    A compiled model rounds in another way: forces in single precision differ by some 1e-7 eV/Å.

    The stress of a slab, periodic in the plane alone, is that of its whole cell with the
    vacuum. A cell without volume has no stress.

    Examples
    --------
    >>> from culi_mlip.calculator import HybridAllegro  # doctest: +SKIP
    >>> atoms.calc = HybridAllegro("run/")  # doctest: +SKIP
    """

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]

    def __init__(
        self,
        model: ModelPath | Sequence[ModelPath],
        device: str | None = "auto",
        compile: bool | Literal["auto"] = "auto",  # noqa: A002 (as torch and nequip name it)
        skin: float = 1.0,
        keep_memory: bool = True,
        step: Step | None = None,
    ) -> None:
        super().__init__()
        if compile not in (True, False, "auto"):
            raise CuliError(f"compile={compile!r}: give True, False or 'auto'")
        if not 0 <= skin < np.inf:
            raise CuliError(f"skin={skin!r}: give a length of 0 or more, in Å")
        self.device = check_device(None if device == "auto" else device)
        self.paths = [
            Path(p) for p in ([model] if isinstance(model, (str, os.PathLike)) else model)
        ]
        if not self.paths:
            raise ModelError("a committee without members: give at least one model")
        if self.device.startswith("cuda:") and compile:  # compiled code is bound to the first GPU
            if compile is True:
                raise CuliError(
                    f"compile=True on {self.device}: let CUDA_VISIBLE_DEVICES name that GPU, and "
                    "give device='cuda'"
                )
            compile = False  # noqa: A001
        self.skin, self._compile, self._step = skin, compile, step
        self._keep_memory = keep_memory
        if keep_memory and self.device == "cpu":
            keep_freed_memory()
        self.metadata = model_metadata(self.paths[0])
        digests = [model_digest(path) for path in self.paths]
        self.digest = digests[0] if len(digests) == 1 else _joint_digest(digests)
        self._seconds = 0.0  # that evaluations have taken
        self._use([self._opened(model_file(path)) for path in self.paths])
        self._worth = np.inf if self.is_compiled or compile is False else self._compilation()

    def _opened(self, file: Path) -> Potential:
        place = cached(file, self.device) if self._compile else None
        if place is not None and place != file:
            try:
                return Potential(place, self.device)
            except ModelError:  # a disk that failed: what is in the cache can be made again
                place.unlink()
        if self._compile is True:
            file = compile_model(file, self.device, step=self._step) or file
        return Potential(file, self.device)

    def _use(self, potentials: list[Potential]) -> None:
        first, *others = potentials
        for other in others:
            if other.species != first.species or not np.array_equal(other.cutoffs, first.cutoffs):
                raise ModelError(
                    f"{other.file} has other species or cutoffs than {first.file}: members of a "
                    "committee need the same"
                )
        self._potentials, self.model = potentials, first.model
        self.species = first.species
        self.is_compiled = all(potential.is_compiled for potential in potentials)
        self._neighbors = NeighborList(first.cutoffs, self.skin, self.device)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Evaluate the model; called by ASE."""
        super().calculate(atoms, properties, system_changes)
        started = time.perf_counter()
        graph = self.graph(self.atoms)
        found = [_results(potential(graph)) for potential in self._potentials]
        self.results = found[0] if len(found) == 1 else _committee(found)
        self._seconds += time.perf_counter() - started
        if self._seconds > self._worth:
            self._compile_now()

    def check_state(self, atoms: Atoms, tol: float = 0.0) -> list[str]:
        """Return what changed since the last evaluation, by ASE's names; charges do not matter."""
        if self.atoms is None or len(atoms) != len(self.atoms):
            return list(all_changes)
        return [
            name
            for name in ("positions", "numbers", "cell", "pbc")
            if not np.array_equal(getattr(atoms, name), getattr(self.atoms, name))
        ]

    def graph(self, atoms: Atoms) -> Graph:
        """Return positions, cell, types and pairs within the cutoff, as the model takes them.

        Raises
        ------
        ModelError
            If there are no atoms, or of other species than the model's, or two at one place.
        StructureError
            If positions or cell are not finite.
        """
        if not len(atoms):
            raise ModelError("a structure without atoms has no energy: give at least one atom")
        if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
            check_finite(atoms, atoms.get_chemical_formula())
        types = self._potentials[0].types(atoms)
        positions = torch.as_tensor(atoms.positions, dtype=torch.float64).to(self.device)
        pairs = self._neighbors.pairs(positions, atoms.cell.array, atoms.pbc, types)
        if self._neighbors.closest < SAME_PLACE:
            raise ModelError(_overlap(atoms))
        cell = torch.as_tensor(atoms.cell.array, dtype=torch.float64).to(self.device)
        return {
            AtomicDataDict.POSITIONS_KEY: positions,
            AtomicDataDict.CELL_KEY: cell.unsqueeze(0),
            AtomicDataDict.ATOM_TYPE_KEY: types,
            AtomicDataDict.EDGE_INDEX_KEY: pairs.edge_index,
            AtomicDataDict.EDGE_CELL_SHIFT_KEY: pairs.shifts,
        }

    def _compilation(self) -> float:
        """Seconds that compiling is expected to take."""
        missing = sum(not potential.is_compiled for potential in self._potentials)
        return missing * expected_seconds(self.device)

    def _compile_now(self) -> None:
        """Compile, unless another process is at it: then the model goes on as it is for a while."""
        self._seconds, compiled = 0.0, []
        try:
            for potential in self._potentials:
                file = compile_model(potential.file, self.device, wait=False, step=self._step)
                compiled.append(potential if file is None else Potential(file, self.device))
        except CuliError as error:
            self._worth = np.inf
            warnings.warn(f"{error}. The model goes on as it is", stacklevel=2)
            return
        self._use(compiled)
        self._worth = np.inf if self.is_compiled else self._compilation()

    @property
    def model_card(self) -> dict[str, Any]:
        """What is known of the model: species, cutoffs, units, data, engine, errors, files."""
        cutoffs = self._potentials[0].cutoffs
        return {
            **self.metadata,
            "species": self.species,
            "r_max": float(cutoffs.max()),
            "cutoffs": cutoffs.tolist(),
            "files": [str(potential.file) for potential in self._potentials],
            "digest": self.digest,
            "device": self.device,
            "compiled": self.is_compiled,
        }

    def todict(self, skip_default: bool = True) -> dict[str, Any]:
        """Return what names the model in ASE's databases."""
        named = {"model": " ".join(map(str, self.paths)), "digest": self.digest}
        return named | {k: self.metadata[k] for k in ("variant", "engine") if k in self.metadata}

    def __reduce__(self) -> tuple[Any, ...]:
        # A model in memory cannot travel to another process; its path can.
        options = (self.device, self._compile, self.skin, self._keep_memory)
        paths = [str(path.absolute()) for path in self.paths]
        return _reopened, (paths, options, self.atoms, self.results)


def _reopened(
    paths: list[str], options: tuple[Any, ...], atoms: Atoms | None, results: dict[str, Any]
) -> HybridAllegro:
    calculator = HybridAllegro(paths, *options)
    calculator.atoms, calculator.results = atoms, results
    return calculator


def _joint_digest(digests: list[str]) -> str:
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()[:16]


def _results(found: dict[str, NDArray[np.float64]]) -> dict[str, Any]:
    """What a model gave, by ASE's names."""
    energy = float(found[AtomicDataDict.TOTAL_ENERGY_KEY].item())
    results: dict[str, Any] = {"energy": energy, "free_energy": energy}
    results["energies"] = found[AtomicDataDict.PER_ATOM_ENERGY_KEY].reshape(-1)
    results["forces"] = found[AtomicDataDict.FORCE_KEY]
    stress = found[AtomicDataDict.STRESS_KEY].reshape(3, 3)
    if np.isfinite(stress).all():  # a cell without volume has none
        results["stress"] = full_3x3_to_voigt_6_stress(stress)
    return results


def _overlap(atoms: Atoms) -> str:
    """Which atoms are at the same place."""
    first, second, lengths = neighbour_list("ijd", atoms=atoms, cutoff=2 * SAME_PLACE)
    k = lengths.argmin()
    return (
        f"{atoms.get_chemical_formula()}: atoms {first[k]} and {second[k]} are {lengths[k]:.3f} Å "
        "apart: move one of them, or remove it"
    )


def _committee(members: list[dict[str, Any]]) -> dict[str, Any]:
    """Means of the members' results, and the spread of energy and forces."""
    means = {name: np.mean([m[name] for m in members], axis=0) for name in members[0]}
    energies = [m["energy"] for m in members]
    variances = np.var([m["forces"] for m in members], axis=0, ddof=1)
    return {
        **means,
        "energy": float(means["energy"]),
        "free_energy": float(means["free_energy"]),
        "energy_std": float(np.std(energies, ddof=1)),
        "forces_std": np.sqrt(variances.sum(axis=1)),
    }
