"""HybridAllegro: a trained potential of any variant as an ASE calculator."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from nequip.data import AtomicDataDict

from culi_mlip.calculator.batch import Batches
from culi_mlip.calculator.graphs import graph_of
from culi_mlip.calculator.members import Compile, Members
from culi_mlip.calculator.neighbors import NeighborList
from culi_mlip.calculator.potential import Graph, is_compiled
from culi_mlip.calculator.results import results_of
from culi_mlip.calculator.uncertainty import Rigidity, recorded_uncertainty
from culi_mlip.devices import check_device
from culi_mlip.errors import CuliError, ModelError
from culi_mlip.models.files import model_digest, model_file, model_metadata
from culi_mlip.process import keep_freed_memory
from culi_mlip.progress import Step

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

        Of one model of a run folder whose uncertainties are calibrated, as `culi-mlip train`
        does, there are ``results["uncertainty"]``, the length of the force error that is expected
        of each atom (root mean square, eV/Å); ``results["domain_distance"]``, which above 1 says
        that an atom is unlike those of the training; and ``results["energy_uncertainty"]`` in
        eV. See `culi_mlip.calculator.uncertainty`.
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
    metadata
        What the run folder records of the model (``model.json``), empty for a lone file; of a
        committee that of its first member.
    digest
        Hash of the model file, the same wherever it lies.

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
        compile: Compile = "auto",  # noqa: A002 (as torch and nequip name it)
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
        files = [model_file(path) for path in self.paths]
        record = recorded_uncertainty(self.paths[0]) if len(files) == 1 else None
        self._rigidity = Rigidity(record) if record else None
        self._members = Members(files, self.device, compile, of_features=self._rigidity, step=step)
        self._batch_members: Members | None = None
        self._copy: Atoms | None = None
        self.metadata = model_metadata(self.paths[0])
        digests = [model_digest(path) for path in self.paths]
        self.digest = digests[0] if len(digests) == 1 else _joint_digest(digests)
        self._neighbors = NeighborList(self._members.first.cutoffs, skin, self.device)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Evaluate the model; called by ASE."""
        if atoms is not None and self._copy is not None and [*system_changes] == ["positions"]:
            self._copy.positions[:] = atoms.positions  # a step of MD: to copy all takes longer
            self.atoms = self._copy
        else:
            super().calculate(atoms, properties, system_changes)
            self._copy = self.atoms
        self.results = results_of(self._members(self.graph(self.atoms)))

    def evaluate(self, frames: Sequence[Atoms]) -> list[dict[str, Any]]:
        """Return what `results` would hold of each of several structures, evaluated together.

        Small structures, which leave a processor or GPU idle one by one, take less time.

        Parameters
        ----------
        frames
            Structures, which are left as they are.

        Raises
        ------
        ModelError
            As `graph` does, of the first structure that it does of.
        """
        return list(self.batches(skin=0)(dict(enumerate(frames))).values())

    def batches(self, skin: float | None = None) -> Batches:
        """Return what evaluates many structures again and again, as relaxations do.

        Parameters
        ----------
        skin
            Of the structures' neighbour lists in Å; by default the calculator's.
        """
        if self._batch_members is None:
            files = [model_file(path) for path in self.paths]
            is_single = any(map(is_compiled, files))  # for one structure a call, whoever compiled
            self._batch_members = (
                self._members
                if is_single
                else Members(files, self.device, self._compile, "batch", self._rigidity, self._step)
            )
        return Batches(self._batch_members, self.skin if skin is None else skin)

    def check_state(self, atoms: Atoms, tol: float = 0.0) -> list[str]:
        """Return what changed since the last evaluation, by ASE's names; charges do not matter."""
        if self.atoms is None or len(atoms) != len(self.atoms):
            return list(all_changes)
        old = self.atoms
        arrays = {
            "positions": (atoms.positions, old.positions),
            "numbers": (atoms.numbers, old.numbers),
            "cell": (atoms.cell.array, old.cell.array),
            "pbc": (atoms.pbc, old.pbc),
        }
        return [name for name, (now, then) in arrays.items() if not (now == then).all()]

    def graph(self, atoms: Atoms) -> Graph:
        """Return positions, cell, types and pairs within the cutoff, as the model takes them.

        Raises
        ------
        ModelError
            If there are no atoms, or of other species than the model's, or two at one place.
        StructureError
            If positions or cell are not finite.
        """
        return graph_of(atoms, self._members.first, self._neighbors)

    def largest(self, atoms: Atoms) -> int:
        """Return about how many atoms of a structure's density fit on the device in one call.

        Raises
        ------
        ModelError
            If no atoms of the structure are within the cutoff of each other.
        """
        graph, potential = self.graph(atoms), self._members.first
        if not graph[AtomicDataDict.EDGE_INDEX_KEY].shape[1]:
            raise ModelError(
                f"{atoms.get_chemical_formula()} has no pairs: give a denser structure"
            )
        with potential.evaluating():
            return potential.largest(graph)

    @property
    def species(self) -> list[str]:
        """Chemical symbols that the model knows."""
        return self._members.first.species

    @property
    def model(self) -> Any:
        """The first member: a PyTorch module, or what calls its machine code."""
        return self._members.first.model

    @property
    def is_compiled(self) -> bool:
        """Whether compiled models answer."""
        return self._members.is_compiled

    @property
    def model_card(self) -> dict[str, Any]:
        """What is known of the model: species, cutoffs, units, data, engine, errors, files."""
        cutoffs = self._members.first.cutoffs
        record = self._rigidity and self._rigidity.record
        return {
            **self.metadata,
            "uncertainty": record and record.model_dump(exclude={"metric"}),
            "species": self.species,
            "r_max": float(cutoffs.max()),
            "cutoffs": cutoffs.tolist(),
            "files": [str(potential.file) for potential in self._members.potentials],
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
