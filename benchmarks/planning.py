"""CPU time that SAMO-COBRA needs to plan, one thread: 9 parameters, 2 objectives, 1 constraint.

    python benchmarks/planning.py

Objectives are smooth functions of tuning's kind (log-sums of the parameters), so that all of the
machinery runs: six kernels, two transforms, both criteria, margins.
"""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from culi_mlip.optimize import SamoCobra, Space

D = 9


def functions(x: NDArray[np.float64]) -> list[float]:
    """Error falls and time rises with the first parameters; the others have an optimum."""
    bowl = np.sum((x[3:] - 0.4) ** 2)
    size = np.sum(x[:3])
    error = np.exp(-size) + bowl + 0.05 * np.sin(5 * x[0]) * x[3]
    seconds = 0.2 + size**2 + 0.3 * bowl + 0.1 * x[4]
    return [error, seconds, 0.3 - x[0] - x[5]]


def run(total: int, batch: int, report: tuple[int, ...] = ()) -> float:
    """Optimise; print the CPU time of one point at some sizes; return that of all planning."""
    optimizer = SamoCobra(Space.box([0] * D, [1] * D), 2, 1, seed=0)
    planning = 0.0
    while len(optimizer.history) < total:
        start = time.process_time()
        points = optimizer.ask(min(batch, total - len(optimizer.history)))
        seconds = time.process_time() - start
        planning += seconds
        n = len(optimizer.history)
        optimizer.tell(points, [functions(np.array(list(p.values()))) for p in points])
        if any(size <= n < size + batch for size in report):
            print(f"{n:6} evaluations: {seconds / len(points):8.4f} s a point", flush=True)
    return planning


def at(n: int) -> float:
    """CPU time of one point after n random evaluations, the median of five."""
    rng = np.random.default_rng(0)
    times = []
    for seed in range(5):
        optimizer = SamoCobra(Space.box([0] * D, [1] * D), 2, 1, seed=seed)
        names = list(optimizer.space.parameters)
        units = rng.random((n, D))
        points = [dict(zip(names, u.tolist(), strict=True)) for u in units]
        optimizer.tell(points, [functions(u) for u in units])
        start = time.process_time()
        optimizer.ask()
        times.append(time.process_time() - start)
    return float(np.median(times))


def main() -> None:
    """Time and print."""
    for n in (200, 1200):
        print(f"{n:6} evaluations, one point: {at(n):.4f} s of CPU", flush=True)
    total = run(1200, 12, report=(200, 600, 1188))
    print(f"  1200 evaluations in batches of 12: {total:.1f} s of CPU in all")


if __name__ == "__main__":
    main()
