"""What failing evaluations cost SAMO-COBRA: hypervolume beside that of runs without failures.

    python benchmarks/failures.py ../shared/targets/samo_cobra.csv

Either 30 % of all evaluations fail at random, or every one in a corner: where all parameters lie
in the lower 30 % of their range, or in the upper. All runs have 40·d successful evaluations; the
hypervolume without failures counts points outside the corner.
"""

from __future__ import annotations

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from samo_problems import Problem, problems

from culi_mlip.optimize import SamoCobra, Space
from culi_mlip.optimize.hypervolume import hypervolume

PROBLEMS = ("BNH", "CEXP", "SRN", "TNK", "CTP1", "OSY", "WB")
SHARE = 0.3


def is_in_corner(corner: str, point: np.ndarray, problem: Problem) -> bool:
    """Say whether a point is where evaluations crash."""
    lower, upper = np.array(problem.lower), np.array(problem.upper)
    unit = (point - lower) / (upper - lower)
    return bool((unit < SHARE).all() if corner == "lower" else (unit > 1 - SHARE).all())


def run(task: tuple[str, str, int, Path]) -> tuple[float, float, float]:
    """Hypervolume with failures over that without; share of failures in both halves of the run."""
    name, failures, seed, targets = task
    problem = problems(targets)[name]
    whole, _ = _optimised(problem, failures, seed, fails=False)
    rest, failed = _optimised(problem, failures, seed, fails=True)
    halves = np.array_split(failed, 2)
    return rest / whole, float(halves[0].mean()), float(halves[1].mean())


def _optimised(problem: Problem, failures: str, seed: int, fails: bool) -> tuple[float, np.ndarray]:
    """Hypervolume outside the corner after 40·d successes, and which evaluations failed."""
    rng = np.random.default_rng(seed)
    space = Space.box(problem.lower, problem.upper)
    k, m = (len(part) for part in problem.function(np.array(problem.upper, float)))
    optimizer = SamoCobra(space, k, m, seed=seed, reference=problem.reference)
    feasible, failed = [], []
    while failed.count(False) < 40 * len(problem.lower):
        (point,) = optimizer.ask()
        x = np.array(list(point.values()))
        objectives, constraints = problem.function(x)
        if failures == "random":
            is_lost = rng.random() < SHARE and fails
        else:
            is_lost = is_in_corner(failures, x, problem)
        failed.append(is_lost and fails)
        optimizer.tell([point], [None if failed[-1] else (objectives, constraints)])
        if np.all(np.asarray(constraints) <= 0) and not is_lost:
            feasible.append(objectives)
    volume = hypervolume(np.array(feasible), np.array(problem.reference, float))
    return volume, np.array(failed)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("targets", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[threads] = "1"  # read by each process that is spawned
    print(
        f"{'problem':9}{'failures':>10}{'ratio':>9}{'least':>9}   failed: first half, second half"
    )
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        for name in PROBLEMS:
            for kind in ("random", "lower", "upper"):
                tasks = [(name, kind, s, arguments.targets) for s in range(arguments.seeds)]
                ratios, first, second = np.array(list(pool.map(run, tasks))).T
                print(
                    f"{name:9}{kind:>10}{ratios.mean():9.4f}{ratios.min():9.4f}   "
                    f"{first.mean():6.1%} {second.mean():12.1%}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
