"""Structures as the model takes them: positions, cells, types and pairs within the cutoff."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import torch
from ase import Atoms
from matscipy.neighbours import neighbour_list
from nequip.data import AtomicDataDict

from culi_mlip.calculator.neighbors import NeighborList
from culi_mlip.calculator.potential import Graph, Potential
from culi_mlip.errors import ModelError
from culi_mlip.files import check_finite

SAME_PLACE = 0.1
"""Atoms that are closer, in Å, are a mistake."""


def graph_of(atoms: Atoms, potential: Potential, neighbors: NeighborList) -> Graph:
    """Return a structure's graph, by nequip's keys.

    Parameters
    ----------
    atoms
        The structure.
    potential
        The model, which knows the types.
    neighbors
        The structure's neighbour list.

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
    types = potential.types(atoms)
    device = neighbors.device
    pairs = neighbors.pairs(atoms.positions, atoms.cell.array, atoms.pbc, types)
    if neighbors.closest < SAME_PLACE:
        raise ModelError(_overlap(atoms))
    positions = torch.as_tensor(atoms.positions, dtype=torch.float64, device=device)
    cell = torch.as_tensor(atoms.cell.array, dtype=torch.float64, device=device)
    return {
        AtomicDataDict.POSITIONS_KEY: positions,
        AtomicDataDict.CELL_KEY: cell.unsqueeze(0),
        AtomicDataDict.ATOM_TYPE_KEY: types,
        AtomicDataDict.EDGE_INDEX_KEY: pairs.edge_index,
        AtomicDataDict.EDGE_CELL_SHIFT_KEY: pairs.shifts,
    }


def joined(graphs: Sequence[Graph]) -> Graph:
    """Return several structures' graphs as one, with the structure of each atom."""
    joint = {key: torch.cat([graph[key] for graph in graphs]) for key in _OF_ATOMS_AND_CELLS}
    joint[AtomicDataDict.EDGE_CELL_SHIFT_KEY] = torch.cat(
        [graph[AtomicDataDict.EDGE_CELL_SHIFT_KEY] for graph in graphs]
    )
    sizes = [len(graph[AtomicDataDict.POSITIONS_KEY]) for graph in graphs]
    firsts = accumulate(sizes[:-1], initial=0)
    joint[AtomicDataDict.EDGE_INDEX_KEY] = torch.cat(
        [g[AtomicDataDict.EDGE_INDEX_KEY] + n for g, n in zip(graphs, firsts, strict=True)], dim=1
    )
    numbers = torch.tensor(sizes, device=joint[AtomicDataDict.POSITIONS_KEY].device)
    joint[AtomicDataDict.NUM_NODES_KEY] = numbers
    joint[AtomicDataDict.BATCH_KEY] = torch.arange(
        len(graphs), device=numbers.device
    ).repeat_interleave(numbers)
    return joint


_OF_ATOMS_AND_CELLS = (
    AtomicDataDict.POSITIONS_KEY,
    AtomicDataDict.CELL_KEY,
    AtomicDataDict.ATOM_TYPE_KEY,
)


def _overlap(atoms: Atoms) -> str:
    """Which atoms are at the same place."""
    first, second, lengths = neighbour_list("ijd", atoms=atoms, cutoff=2 * SAME_PLACE)
    k = lengths.argmin()
    return (
        f"{atoms.get_chemical_formula()}: atoms {first[k]} and {second[k]} are {lengths[k]:.3f} Å "
        "apart: move one of them, or remove it"
    )
