"""The models behind a calculator: one, or a committee; compiled once that pays."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from culi_mlip.calculator.compiled import Target, cached, compile_model, expected_seconds
from culi_mlip.calculator.potential import Graph, Potential
from culi_mlip.calculator.results import Found
from culi_mlip.errors import CuliError, ModelError
from culi_mlip.models.last_layer import FEATURES_KEY
from culi_mlip.progress import Step

Compile = bool | Literal["auto"]

OfFeatures = Callable[[NDArray[np.float64], Graph], Found]


class Members:
    """Models of the same species and cutoffs in memory.

    Parameters
    ----------
    files
        Checkpoints, packaged or compiled models.
    device
        "cpu", "cuda" or "cuda:N".
    compile
        True compiles at once, False never; "auto" takes what is in the cache, and compiles once the
        evaluations have taken as long as compiling is expected to take.
    target
        What the models are compiled for: "ase" for one structure a call, "batch" for several.
    of_features
        What to compute of the last layer's features of atoms, and their graph, if anything.
    step
        As in `culi_mlip.calculator.compiled.compile_model`.

    Raises
    ------
    ModelError
        If there are no files, or members differ in species or cutoffs.
    """

    def __init__(
        self,
        files: Sequence[Path],
        device: str,
        compile: Compile,  # noqa: A002 (as torch and nequip name it)
        target: Target = "ase",
        of_features: OfFeatures | None = None,
        step: Step | None = None,
    ) -> None:
        if not files:
            raise ModelError("a committee without members: give at least one model")
        self.device, self.target, self._of_features = device, target, of_features
        self._features = of_features is not None
        self._compile, self._step = compile, step
        self._workers: ThreadPoolExecutor | None = None
        self._seconds = 0.0  # that evaluations have taken
        self._use([self._opened(file) for file in files])
        self._worth = np.inf if self.is_compiled or compile is False else self._compilation()

    def __call__(self, graph: Graph) -> list[Found]:
        """Evaluate the models, one after the other; see `Potential`."""
        return self.map([lambda: graph])[0]

    def map(self, made: Sequence[Callable[[], Graph]]) -> list[list[Found]]:
        """Make and evaluate graphs, `n_workers` of them at a time."""
        started = time.perf_counter()
        with self.first.evaluating():
            found = list(self._mapped(self._evaluated, made))
        self._seconds += time.perf_counter() - started
        if self._seconds > self._worth:
            self._compile_now()
        return found

    def _evaluated(self, made: Callable[[], Graph]) -> list[Found]:
        graph = made()
        found = [potential(graph) for potential in self.potentials]
        if self._of_features:
            found = [f | self._of_features(f.pop(FEATURES_KEY), graph) for f in found]
        return found

    def _mapped(
        self, function: Callable[..., list[Found]], made: Sequence[Any]
    ) -> Iterable[list[Found]]:
        if self.n_workers == 1 or len(made) == 1:
            return map(function, made)
        if self._workers is None:
            threads = torch.get_num_threads()
            self._workers = ThreadPoolExecutor(self.n_workers)
            all_there = Barrier(self.n_workers)
            list(self._workers.map(_without_threads, [all_there] * self.n_workers))
            torch.set_num_threads(threads)  # which the workers changed for threads to come
        return self._workers.map(function, made)

    @property
    def first(self) -> Potential:
        """The first member, whose species and cutoffs are those of all."""
        return self.potentials[0]

    @property
    def n_workers(self) -> int:
        """Threads that evaluate a graph each. Machine code uses all for one, and keeps others out.

        PyTorch's own threads, which share each operation, win little on small graphs.
        """
        is_parallel = self.device == "cpu" and self.target == "batch" and not self.is_compiled
        return torch.get_num_threads() if is_parallel else 1

    @property
    def is_compiled(self) -> bool:
        """Whether compiled models answer."""
        return all(potential.is_compiled for potential in self.potentials)

    def _opened(self, file: Path) -> Potential:
        place = None
        if self._compile:
            place = cached(file, self.device, self.target, features=self._features)
        if place is not None and place != file:
            try:
                return self._in_memory(place)
            except ModelError:  # a disk that failed: what is in the cache can be made again
                place.unlink()
        compiled = self._compiled(file, wait=True) if self._compile is True else None
        return compiled or self._in_memory(file)

    def _compiled(self, file: Path, *, wait: bool) -> Potential | None:
        """The compiled model of a file; None if another process is at it, for which we wait not."""
        place = compile_model(
            file, self.device, self.target, features=self._features, wait=wait, step=self._step
        )
        return self._in_memory(place) if place else None

    def _in_memory(self, file: Path) -> Potential:
        return Potential(file, self.device, self.target, self._features)

    def _use(self, potentials: list[Potential]) -> None:
        first, *others = potentials
        for other in others:
            if other.species != first.species or not np.array_equal(other.cutoffs, first.cutoffs):
                raise ModelError(
                    f"{other.file} has other species or cutoffs than {first.file}: members of a "
                    "committee need the same"
                )
        self.potentials = potentials

    def _compilation(self) -> float:
        """Seconds that compiling is expected to take."""
        missing = sum(not potential.is_compiled for potential in self.potentials)
        return missing * expected_seconds(self.device)

    def _compile_now(self) -> None:
        """Compile, unless another process is at it: then the models go on as they are a while."""
        self._seconds = 0.0
        try:
            compiled = [self._compiled(p.file, wait=False) or p for p in self.potentials]
        except CuliError as error:
            self._worth = np.inf
            warnings.warn(f"{error}. The model goes on as it is", stacklevel=2)
            return
        self._use(compiled)
        self._worth = np.inf if self.is_compiled else self._compilation()


def _without_threads(all_there: Barrier) -> None:
    """Let PyTorch run the operations of this thread, of a pool, in it alone."""
    torch.set_num_threads(1)
    torch.get_num_threads()  # the thread keeps what it sees first
    all_there.wait()
