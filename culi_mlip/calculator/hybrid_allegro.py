"""HybridAllegro: nequip's ASE calculator on a trained potential of any variant."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_changes
from nequip.integrations.ase import NequIPCalculator

from culi_mlip.calculator.global_state import evaluating, loading, precisions
from culi_mlip.devices import check_device
from culi_mlip.errors import ModelError
from culi_mlip.files import check_finite
from culi_mlip.models.files import model_digest, model_file, model_metadata


class HybridAllegro(NequIPCalculator):
    """Energy (eV), forces (eV/Å), stress (eV/Å³, ASE's sign and order) and atomic energies.

    Parameters
    ----------
    model
        A run folder of ``culi-mlip train`` (its best checkpoint is taken), a checkpoint
        (``.ckpt``), a packaged (``.nequip.zip``) or a compiled model (``.nequip.pt2``).
        A checkpoint or package can run code when it is loaded: open only those you trust.
    device
        "cpu", "cuda" or "cuda:N"; by default the GPU if there is one.

    Attributes
    ----------
    species
        Chemical symbols that the model knows.
    metadata
        What the run folder records of the model (``model.json``), empty for a lone file.
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

    The stress of a slab, periodic in the plane alone, is that of its whole cell with the
    vacuum. A cell without volume has no stress.

    Examples
    --------
    >>> from culi_mlip.calculator import HybridAllegro  # doctest: +SKIP
    >>> atoms.calc = HybridAllegro("run/")  # doctest: +SKIP
    """

    def __init__(self, model: str | os.PathLike[str], device: str | None = None) -> None:
        device = check_device(device)
        file = model_file(model)
        with loading():
            loaded = _load(file, device)
            super().__init__(model=loaded.model, device=device, transforms=loaded.transforms)
            self._precision = precisions() if device != "cpu" else {}
        self.metadata = model_metadata(model)
        self.digest = model_digest(model)
        mapper = next(t for t in self.transforms if hasattr(t, "model_type_names"))
        self.species: list[str] = list(mapper.model_type_names)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Evaluate the model; called by ASE."""
        assert atoms is not None  # noqa: S101 (ASE always passes the atoms)
        unknown = sorted(set(atoms.symbols) - set(self.species))
        if unknown:
            raise ModelError(
                f"{atoms.get_chemical_formula()} holds {', '.join(unknown)}, but the model knows "
                f"only {', '.join(self.species)}: train one on these species"
            )
        check_finite(atoms, atoms.get_chemical_formula())
        with evaluating(self._precision):
            super().calculate(atoms, properties, system_changes)
        if not np.isfinite(self.results.get("stress", 0.0)).all():
            del self.results["stress"]


def _load(file: os.PathLike[str], device: str) -> NequIPCalculator:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if str(file).endswith(".pt2"):
                return NequIPCalculator.from_compiled_model(file, device=device)
            return NequIPCalculator._from_saved_model(file, device=device)
    except Exception as error:  # what a damaged archive or pickle raises is anything
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{file} cannot be loaded as a model ({reason[:150]})") from error
