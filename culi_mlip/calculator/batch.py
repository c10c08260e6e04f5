"""Many structures at once: a few calls of the model, each of as many as are worth it."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from functools import partial
from typing import Any, TypeVar

import torch
from ase import Atoms

from culi_mlip.calculator.graphs import graph_of, joined
from culi_mlip.calculator.members import Members
from culi_mlip.calculator.neighbors import NeighborList
from culi_mlip.calculator.potential import Graph
from culi_mlip.calculator.results import results_of, split

PAIRS_PER_CALL = 8_000
"""Pairs of a call of the model, beyond which a CPU wins no time."""

ATOMS_PER_THREAD = 400
"""Of the structures that are worth evaluating together."""

PAIRS_PER_ATOM = 50
"""Of structures that are met for the first time."""

Key = TypeVar("Key", bound=Hashable)


class Batches:
    """Evaluates many structures together, and keeps a neighbour list of each.

    Parameters
    ----------
    members
        The models.
    skin
        Of the neighbour lists, in Å.

    Attributes
    ----------
    atoms_at_once
        Atoms of as many structures as are worth evaluating together; more win no time.
    """

    def __init__(self, members: Members, skin: float) -> None:
        self._members, self._skin = members, skin
        self._lists: dict[Hashable, NeighborList] = {}
        self.atoms_at_once = ATOMS_PER_THREAD * torch.get_num_threads()

    def __call__(self, frames: Mapping[Key, Atoms]) -> dict[Key, dict[str, Any]]:
        """Return the results of structures by their keys, as a calculator's `results` has them.

        A structure that comes again under its key is taken for the same that has moved.
        """
        first, device = self._members.first, self._members.device
        self._lists = {
            key: self._lists.get(key) or NeighborList(first.cutoffs, self._skin, device)
            for key in frames
        }
        groups = list(self._grouped(frames))
        is_batch = self._members.target == "batch"

        def made(keys: list[Key]) -> Graph:
            graphs = [graph_of(frames[key], first, self._lists[key]) for key in keys]
            return joined(graphs) if is_batch else graphs[0]

        found = self._members.map([partial(made, keys) for keys in groups])
        results: dict[Key, dict[str, Any]] = {}
        for keys, members in zip(groups, found, strict=True):
            sizes = [len(frames[key]) for key in keys]
            of_each = (
                zip(*(split(m, sizes) for m in members), strict=True) if is_batch else [members]
            )
            results.update(zip(keys, map(results_of, of_each), strict=True))
        return results

    def _grouped(self, frames: Mapping[Key, Atoms]) -> Iterator[list[Key]]:
        """Keys of as many structures as are evaluated in a call, by their numbers of pairs."""
        known = {key: of_key.n_pairs for key, of_key in self._lists.items()}
        expected = {k: known[k] or PAIRS_PER_ATOM * len(atoms) for k, atoms in frames.items()}
        share = sum(expected.values()) // self._members.n_workers + 1
        most = min(PAIRS_PER_CALL, share) if self._members.target == "batch" else 0
        group, n_pairs = list[Key](), 0
        for key, more in expected.items():
            if group and n_pairs + more > most:
                yield group
                group, n_pairs = [], 0
            group.append(key)
            n_pairs += more
        if group:
            yield group
