"""A large structure in parts: models whose energies are local are evaluated some atoms at a time.

The energy of an atom in Allegro depends on the pairs with that atom as centre and on no others. So
the sum of some atoms' energies has forces and a stress of its own, and these add up.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from nequip.data import AtomicDataDict

from culi_mlip.calculator.results import OF_ATOMS, Found

Graph = dict[str, torch.Tensor]


def part_of(graph: Graph, pairs: slice | torch.Tensor, *, keep_atoms: bool = False) -> Graph:
    """Return the graph of some pairs of a structure.

    Parameters
    ----------
    graph
        A structure.
    pairs
        Which of its pairs, as an index.
    keep_atoms
        Whether to keep all atoms, and their numbers; otherwise only those of the pairs are kept, in
        the same order.
    """
    index = graph[AtomicDataDict.EDGE_INDEX_KEY][:, pairs]
    part = {
        AtomicDataDict.CELL_KEY: graph[AtomicDataDict.CELL_KEY][:1],
        AtomicDataDict.EDGE_CELL_SHIFT_KEY: graph[AtomicDataDict.EDGE_CELL_SHIFT_KEY][pairs],
    }
    if keep_atoms:
        part |= {key: graph[key] for key in _POSITIONS_AND_TYPES}
    else:
        atoms, index = _renamed(index, len(graph[AtomicDataDict.POSITIONS_KEY]))
        part |= {key: graph[key][atoms] for key in _POSITIONS_AND_TYPES}
    return part | {AtomicDataDict.EDGE_INDEX_KEY: index.contiguous()}


def in_blocks(evaluate: Callable[[Graph], Found], graph: Graph, n_pairs: int) -> Found:
    """Evaluate a structure in parts.

    Parameters
    ----------
    evaluate
        Gives what a model gives of a graph.
    graph
        A structure, its pairs in the order of their centres.
    n_pairs
        About how many pairs to evaluate at a time.
    """
    n_atoms = len(graph[AtomicDataDict.POSITIONS_KEY])
    centers = graph[AtomicDataDict.EDGE_INDEX_KEY][0]
    firsts = torch.searchsorted(centers, torch.arange(n_atoms + 1))  # pair of each atom
    n_blocks = -(-len(centers) // n_pairs)
    shares = torch.linspace(0, len(centers), n_blocks + 1).round().long()
    ends = torch.searchsorted(firsts, shares).tolist()
    found: Found = {}
    for begin, end in zip([0, *ends[1:-1]], [*ends[1:-1], n_atoms], strict=True):
        pairs = slice(int(firsts[begin]), int(firsts[end]))
        own = torch.arange(begin, end)
        index = graph[AtomicDataDict.EDGE_INDEX_KEY][:, pairs]
        atoms, renamed = _renamed(index, n_atoms, own)
        part = {key: graph[key][atoms] for key in _POSITIONS_AND_TYPES}
        part[AtomicDataDict.CELL_KEY] = graph[AtomicDataDict.CELL_KEY]
        part[AtomicDataDict.EDGE_INDEX_KEY] = renamed
        part[AtomicDataDict.EDGE_CELL_SHIFT_KEY] = graph[AtomicDataDict.EDGE_CELL_SHIFT_KEY][pairs]
        first = int(torch.searchsorted(atoms, begin))
        _add(found, evaluate(part), atoms.numpy(), slice(first, first + end - begin), n_atoms)
    energies = found[AtomicDataDict.PER_ATOM_ENERGY_KEY]
    return found | {AtomicDataDict.TOTAL_ENERGY_KEY: energies.sum(axis=0, keepdims=True)}


_POSITIONS_AND_TYPES = (AtomicDataDict.POSITIONS_KEY, AtomicDataDict.ATOM_TYPE_KEY)


def _add(found: Found, of_part: Found, atoms: np.ndarray, own: slice, n_atoms: int) -> None:
    """Add what was found of a part: of atoms their own, of forces and stress the sum."""
    for key, values in of_part.items():
        if key == AtomicDataDict.TOTAL_ENERGY_KEY:
            continue  # atoms of other parts have energies, too, in this one
        if key not in OF_ATOMS:
            found[key] = found.get(key, 0.0) + values
            continue
        whole = found.setdefault(key, np.zeros((n_atoms, *values.shape[1:])))
        if key == AtomicDataDict.FORCE_KEY:
            whole[atoms] += values
        else:
            whole[atoms[own]] = values[own]


def _renamed(
    index: torch.Tensor, n_atoms: int, more: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The atoms of pairs, in order, and the pairs by their numbers among these."""
    there = torch.zeros(n_atoms, dtype=torch.bool, device=index.device)
    flat = index.reshape(-1)
    there.index_fill_(0, flat, True)
    if more is not None:
        there.index_fill_(0, more, True)
    atoms = there.nonzero().squeeze(1)
    number = torch.empty(n_atoms, dtype=torch.int64, device=index.device)
    number[atoms] = torch.arange(len(atoms), device=index.device)
    return atoms, number.index_select(0, flat).view_as(index)
