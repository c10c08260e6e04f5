"""The potential in torch-sim: many structures on a GPU, with its optimisers and autobatcher."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.geometry import complete_cell

from culi_mlip.calculator.compiled import compile_model
from culi_mlip.calculator.global_state import evaluating, loading
from culi_mlip.calculator.potential import is_compiled
from culi_mlip.devices import check_device
from culi_mlip.errors import CuliError
from culi_mlip.models.files import model_file
from culi_mlip.models.unrolled import unrolled

MARGIN_OF_CELLS = 1.0
"""Å beyond the cutoff between a structure and its image in a direction without period."""


def torchsim_model(
    model: str | os.PathLike[str],
    device: str = "auto",
    compile: bool = False,  # noqa: A002 (as in `HybridAllegro`)
) -> Any:
    """Return nequip's model for torch-sim with Allegro's layers written out.

    Parameters
    ----------
    model
        A run folder, checkpoint or packaged model, or a model compiled for "batch".
    device
        "cpu", "cuda" or "cuda:N"; "auto" takes the GPU if there is one.
    compile
        Whether to compile the model, or to take it compiled from the cache.

    Returns
    -------
    nequip.integrations.torchsim.NequIPTorchSimCalc
        A ``torch_sim.models.interface.ModelInterface``.

    Raises
    ------
    CuliError
        If torch-sim is not installed.
    """
    if not importlib.util.find_spec("torch_sim"):
        raise CuliError("torch-sim is not installed: pip install 'culi-mlip[torchsim]'")
    from nequip.integrations.torchsim import NequIPTorchSimCalc

    place, file = check_device(None if device == "auto" else device), model_file(model)
    if compile:
        file = compile_model(file, place.partition(":")[0], "batch") or file
    opened = (
        NequIPTorchSimCalc.from_compiled_model
        if is_compiled(file)
        else NequIPTorchSimCalc._from_saved_model
    )
    has_gpu_lists = importlib.util.find_spec("nvalchemiops") is not None
    with loading():
        found = opened(
            file,
            device=place,
            chemical_species_to_atom_type_map=True,
            neighborlist_backend="alchemiops" if has_gpu_lists else "matscipy",
        )
    found.model = _Evaluating(found.model if is_compiled(file) else unrolled(found.model))
    return found


class _Evaluating(torch.nn.Module):
    """A model that holds the global settings that it needs while it runs."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, data: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Evaluate the model."""
        with evaluating({}):
            out: dict[str, torch.Tensor] = self.model(data)
            return out


def in_periodic_cell(atoms: Atoms, r_max: float) -> Atoms:
    """Return a structure in a cell with periods along all vectors, its images out of reach.

    torch-sim 0.3 takes a structure that is periodic in some directions for one without periods: a
    slab loses its neighbours in the plane without a word. Energies and forces in the cell that is
    returned are those of the structure; its stress is that of another volume.

    Parameters
    ----------
    atoms
        The structure.
    r_max
        Cutoff of the potential in Å.
    """
    copy = atoms.copy()
    copy.cell = complete_cell(atoms.cell)
    for axis in np.flatnonzero(~atoms.pbc):
        others = [copy.cell[i] for i in range(3) if i != axis]
        normal = np.cross(*others) / np.linalg.norm(np.cross(*others))
        heights = atoms.positions @ normal
        needed = np.ptp(heights) + r_max + MARGIN_OF_CELLS
        height = copy.cell[axis] @ normal
        copy.cell[axis] *= needed / abs(height)
    copy.pbc = True
    return copy
