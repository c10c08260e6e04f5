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

from culi_mlip.calculator.compiled import Target, cached, compile_model, expected_seconds
from culi_mlip.calculator.potential import Graph, Potential
from culi_mlip.calculator.results import Found
from culi_mlip.errors import CuliError, ModelError
from culi_mlip.progress import Step

Compile = bool | Literal["auto"]


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
        step: Step | None = None,
    ) -> None:
        if not files:
            raise ModelError("a committee without members: give at least one model")
        self.device, self.target = device, target
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
        return [potential(graph) for potential in self.potentials]

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
        place = cached(file, self.device, self.target) if self._compile else None
        if place is not None and place != file:
            try:
                return Potential(place, self.device, self.target)
            except ModelError:  # a disk that failed: what is in the cache can be made again
                place.unlink()
        if self._compile is True:
            file = compile_model(file, self.device, self.target, step=self._step) or file
        return Potential(file, self.device, self.target)

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
        self._seconds, compiled = 0.0, []
        options: dict[str, Any] = {"wait": False, "step": self._step}
        try:
            for potential in self.potentials:
                file = compile_model(potential.file, self.device, self.target, **options)
                compiled.append(
                    potential if file is None else Potential(file, self.device, self.target)
                )
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
