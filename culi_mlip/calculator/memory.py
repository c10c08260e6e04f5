"""How large a structure can be: memory that a model takes for a pair, and that a device has."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

import psutil
import torch
from nequip.data import AtomicDataDict
from torch.profiler import ProfilerActivity, profile

from culi_mlip.calculator.blocks import Graph, part_of

BYTES_OF_A_PAIR = 560.0
"""Of a neighbour list with a skin of 1 Å, for each pair within a cutoff of 5.5 Å, as it is built:
what a process grew by from 16,000 to 40,000 atoms of lithium on copper."""

PROBE = 10_000
"""Pairs on which memory is measured; it grows in proportion to them."""


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error of PyTorch's says that there is no memory left."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def largest(model: Callable[[Graph], Any], graph: Graph, *, only_pairs: bool = False) -> int:
    """Return about how many atoms of a structure's density a model can evaluate in a call.

    Parameters
    ----------
    model
        Evaluates a graph, on the graph's device.
    graph
        A structure with pairs, which may be too large.
    only_pairs
        Whether the structure is evaluated in parts, so that its pairs alone take memory.
    """
    device = graph[AtomicDataDict.POSITIONS_KEY].device
    for_a_pair = BYTES_OF_A_PAIR if only_pairs else _for_a_pair(model, _part(graph), device)
    pairs_of_an_atom = graph[AtomicDataDict.EDGE_INDEX_KEY].shape[1] / len(
        graph[AtomicDataDict.POSITIONS_KEY]
    )
    return int(_free(device) / for_a_pair / pairs_of_an_atom)


def _for_a_pair(model: Callable[[Graph], Any], part: Graph, device: torch.device) -> float:
    """Bytes that a model takes for each pair."""
    model(part)  # what stays from the first call on, such as constants, is not the structure's
    return _peak(lambda: model(part), device) / part[AtomicDataDict.EDGE_INDEX_KEY].shape[1]


def _part(graph: Graph) -> Graph:
    """The graph of the first pairs, as one structure of a batch where the graph is of a batch."""
    part = part_of(graph, slice(0, PROBE))
    if AtomicDataDict.BATCH_KEY in graph:
        atoms = part[AtomicDataDict.ATOM_TYPE_KEY]
        part[AtomicDataDict.BATCH_KEY] = torch.zeros_like(atoms)
        part[AtomicDataDict.NUM_NODES_KEY] = atoms.new_tensor([len(atoms)])
    return part


def _peak(call: Callable[[], Any], device: torch.device) -> float:
    """Bytes that a call takes at most."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return torch.cuda.max_memory_allocated(device) - before
    with (
        _silent_stderr(),
        profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled,
    ):
        call()
    events = [e for e in profiled.profiler.kineto_results.events() if e.name() == "[memory]"]
    return max(accumulate(e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())))


def _free(device: torch.device) -> int:
    """Bytes that a device has left, those that PyTorch keeps for its next tensors among them."""
    if device.type != "cuda":
        return int(psutil.virtual_memory().available)
    torch.cuda.empty_cache()
    return int(torch.cuda.mem_get_info(device)[0])


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Hold back what the profiler's machine code writes."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
