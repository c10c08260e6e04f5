"""Mixed real, integer and categorical problems: SAMO-COBRA beside Optuna's TPE and NSGA-II.

    python benchmarks/mixed.py              # 100 evaluations, 11 seeds

Two are engineering problems whose literature has integers or tables of standard sizes (disc brake
with a whole number of discs, Osyczka and Kundu 1995; speed reducer with a whole number of teeth,
Golinski 1970); "zdt1-mixed" is ZDT1 (Zitzler, Deb and Thiele 2000) over reals, integers and a
choice; "tuning" is a model of error and speed of a potential by its hyperparameters.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import optuna
from samo_problems import dbd, srd
from scipy.stats import ranksums

from culi_mlip.optimize import Categorical, Integer, Real, SamoCobraSampler, Space
from culi_mlip.optimize.hypervolume import hypervolume
from culi_mlip.optimize.sampler import distribution

Values = tuple[list[float], list[float]]


def disc_brake(p: Mapping[str, Any]) -> Values:
    """The disc brake with a whole number of discs."""
    return dbd(np.array([p["inner"], p["outer"], p["force"], p["discs"]], float))


def speed_reducer(p: Mapping[str, Any]) -> Values:
    """The speed reducer with a whole number of teeth and modules of a standard series."""
    return srd(
        np.array([p["a"], float(p["module"]), p["teeth"], p["d"], p["e"], p["f"], p["g"]], float)
    )


def zdt1(p: Mapping[str, Any]) -> Values:
    """ZDT1; the choice and the integers are steps of its g."""
    rest = [p["y"], p["n"] / 8, p["m"] / 20, {"a": 0.0, "b": 0.4, "c": 0.2, "d": 0.9}[p["c"]]]
    g = 1 + 9 * float(np.mean(rest))
    return [p["x"], g * (1 - np.sqrt(p["x"] / g))], []


def tuning(p: Mapping[str, Any]) -> Values:
    """Error and time of a potential, in the manner of the paper's Pareto fronts."""
    size = p["layers"] * p["width"] / 128
    base = {"allegro": (1.0, 0.0), "mlp": (0.9, 0.08), "qdi": (0.82, 0.02)}[p["variant"]]
    rate = np.log10(p["lr"] / 2e-3)
    error = (
        base[0]
        * (20 + 25 * np.exp(-1.5 * (p["r_max"] - 3.5)) + 18 / (1 + 3 * size))
        * (1 + 0.6 * rate**2 + 0.03 * abs(p["batch"] - 2))
    )
    seconds = 0.2 + base[1] + 0.02 * p["r_max"] ** 3 * (0.3 + size) / 3
    return [error, seconds], []


PROBLEMS: dict[str, tuple[Callable[[Mapping[str, Any]], Values], Space, list[float]]] = {
    "disc brake": (
        disc_brake,
        Space(inner=Real(55, 80), outer=Real(75, 110), force=Real(500, 3000), discs=Integer(2, 20)),
        [5, 50],
    ),
    "speed reducer": (
        speed_reducer,
        Space(
            a=Real(2.6, 3.6),
            module=Categorical("0.7", "0.72", "0.75", "0.8"),
            teeth=Integer(17, 28),
            d=Real(7.3, 8.3),
            e=Real(7.3, 8.3),
            f=Real(2.9, 3.9),
            g=Real(5, 5.5),
        ),
        [7000, 1700],
    ),
    "zdt1-mixed": (
        zdt1,
        Space(
            x=Real(0, 1),
            y=Real(0, 1),
            n=Integer(0, 8),
            m=Integer(0, 20),
            c=Categorical("a", "b", "c", "d"),
        ),
        [1.1, 6],
    ),
    "tuning": (
        tuning,
        Space(
            r_max=Real(4, 12),
            lr=Real(1e-4, 2e-2, log=True),
            batch=Integer(1, 5),
            layers=Integer(1, 4),
            width=Integer(4, 128, log=True),
            variant=Categorical("allegro", "mlp", "qdi"),
        ),
        [120, 20],
    ),
}


def sampler(method: str, space: Space, seed: int) -> optuna.samplers.BaseSampler:
    """Return a sampler by name, each with its defaults."""

    def constraints(trial: optuna.trial.FrozenTrial) -> list[float]:
        return list(trial.user_attrs["constraints"])

    if method == "tpe":
        return optuna.samplers.TPESampler(seed=seed, constraints_func=constraints)
    if method == "nsga2":
        return optuna.samplers.NSGAIISampler(
            seed=seed, population_size=20, constraints_func=constraints
        )
    return SamoCobraSampler(space, seed=seed)


def run(job: tuple[str, str, int]) -> float:
    """Return the hypervolume of the feasible points after 100 evaluations."""
    method, name, seed = job
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    function, space, reference = PROBLEMS[name]
    distributions = {n: distribution(p) for n, p in space.parameters.items()}
    study = optuna.create_study(directions=["minimize"] * 2, sampler=sampler(method, space, seed))
    feasible = []
    for _ in range(100):
        trial = study.ask(distributions)
        objectives, constraints = function(trial.params)
        trial.set_user_attr("constraints", [float(c) for c in constraints])
        if method == "culi":
            for i, value in enumerate(constraints):
                trial.set_constraint(str(i), value)
        study.tell(trial, [float(f) for f in objectives])
        if all(c <= 0 for c in constraints):
            feasible.append(objectives)
    return hypervolume(np.array(feasible), np.array(reference, float)) if feasible else 0.0


def main() -> None:
    """Run all and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=11)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    methods = ("culi", "tpe", "nsga2")
    jobs = [(m, n, s) for n in PROBLEMS for m in methods for s in range(arguments.seeds)]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.workers, mp_context=spawn) as pool:
        volumes = dict(zip(jobs, pool.map(run, jobs), strict=True))
    print(f"{'problem':15}{'method':8}{'mean':>14}{'spread':>12}   ours ahead (rank-sum p)")
    for name in PROBLEMS:
        ours = [volumes["culi", name, s] for s in range(arguments.seeds)]
        for method in methods:
            values = np.array([volumes[method, name, s] for s in range(arguments.seeds)])
            p = ranksums(ours, values, alternative="greater").pvalue
            print(
                f"{name:15}{method:8}{values.mean():14.6g}{values.std():12.3g}"
                + (f"   {p:.1e}" if method != "culi" else "")
            )


if __name__ == "__main__":
    main()
