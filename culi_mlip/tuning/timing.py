"""How long potentials take to evaluate frames, measured so that the numbers can be compared."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator

from culi_mlip.errors import CuliError
from culi_mlip.progress import Progress


@dataclass(frozen=True)
class InferenceTime:
    """Time of energies, forces and neighbour lists of a whole set of frames.

    Attributes
    ----------
    median
        In s, over the repeats.
    quartiles
        First and third quartile in s.
    seconds
        Of each repeat.
    """

    median: float
    quartiles: tuple[float, float]
    seconds: tuple[float, ...]


def inference_times(
    calculators: Sequence[Calculator],
    frames: Sequence[Atoms],
    *,
    repeats: int = 5,
    progress: Progress | None = None,
) -> list[InferenceTime]:
    """Time potentials on the same frames, in turns.

    Each calculator first evaluates all frames once, unmeasured: compilation, memory and caches
    are warm. Then every repeat runs through all calculators, so that whatever the machine does
    meanwhile falls on all. The GPU is waited for at both ends.

    Parameters
    ----------
    calculators
        The potentials.
    frames
        What they evaluate, one frame at a time.
    repeats
        How often.
    progress
        Called with (passes done, passes in all).

    Raises
    ------
    CuliError
        If there is nothing to time.
    """
    if repeats < 1 or not len(frames):
        raise CuliError(f"{repeats} repeats over {len(frames)} frames: give at least one of each")
    seconds = np.zeros((repeats + 1, len(calculators)))
    for repeat in range(repeats + 1):
        for i, calculator in enumerate(calculators):
            _synchronise(calculator)
            start = time.perf_counter()
            for frame in frames:
                calculator.calculate(frame, ["energy", "forces"])
            _synchronise(calculator)
            seconds[repeat, i] = time.perf_counter() - start
            if progress:
                progress(repeat * len(calculators) + i + 1, seconds.size)
    return [
        InferenceTime(
            median=float(np.median(measured)),
            quartiles=(float(np.quantile(measured, 0.25)), float(np.quantile(measured, 0.75))),
            seconds=tuple(measured.tolist()),
        )
        for measured in seconds[1:].T
    ]


@contextmanager
def on_cores(cores: Sequence[int], threads: int) -> Iterator[None]:
    """Let this process run on these cores alone, and PyTorch with so many threads.

    Parameters
    ----------
    cores
        Numbers of the cores; where there are none (not on Linux) any will do.
    threads
        Threads of PyTorch.
    """
    before = torch.get_num_threads()
    allowed = os.sched_getaffinity(0) if cores else None
    torch.set_num_threads(threads)
    if cores:
        os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        if allowed:
            os.sched_setaffinity(0, allowed)


def _synchronise(calculator: Calculator) -> None:
    if torch.cuda.is_available():
        device = getattr(calculator, "device", None)
        torch.cuda.synchronize(device if getattr(device, "type", "") == "cuda" else None)
