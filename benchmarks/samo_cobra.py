"""SAMO-COBRA on the eighteen problems, beside what was published and beside its peers.

    python benchmarks/samo_cobra.py ../shared/targets/samo_cobra.csv                   # ours
    python benchmarks/samo_cobra.py TARGETS --methods culi optuna-tpe nsga2 --problems BNH TNK
    python benchmarks/samo_cobra.py TARGETS --methods published --published CLONE      # see below

Each run has 40·d evaluations; its result is the hypervolume of all feasible points at the given
reference point. Runs are independent processes; those that are on disk already are not repeated.
Peers need ``pip install -e '.[peers]'``; the published code needs pygmo and a clone of
https://github.com/RoydeZomer/SAMO-COBRA.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from samo_problems import Problem, problems
from scipy.stats import ranksums

from culi_mlip.optimize import SamoCobra, Space
from culi_mlip.optimize.hypervolume import hypervolume

Array = NDArray[np.float64]
Evaluate = Callable[[Array], tuple[Array, Array]]

SMALL = ("BNH", "CEXP", "SRN", "TNK", "CTP1", "TRICOP")
"""The problems of the slow peers: minutes a run, where ours takes seconds."""


def culi(
    problem: Problem,
    evaluate: Evaluate,
    budget: int,
    seed: int,
    batch: int = 1,
    knows_reference: bool = True,
) -> None:
    """Ours, one point at a time; like the published code it is told the reference point."""
    k, m = _sizes(problem)
    reference = problem.reference if knows_reference else None
    space = Space.box(problem.lower, problem.upper)
    optimizer = SamoCobra(space, k, m, seed=seed, reference=reference)
    names = list(optimizer.space.parameters)
    while len(optimizer.history) < budget:
        points = optimizer.ask(min(batch, budget - len(optimizer.history)))
        outcomes = [evaluate(np.array([p[name] for name in names])) for p in points]
        optimizer.tell(points, outcomes)


def culi_10(problem: Problem, evaluate: Evaluate, budget: int, seed: int) -> None:
    """Ours, in batches of ten."""
    culi(problem, evaluate, budget, seed, batch=10)


def culi_adaptive(problem: Problem, evaluate: Evaluate, budget: int, seed: int) -> None:
    """Ours, one point at a time, without the reference point."""
    culi(problem, evaluate, budget, seed, knows_reference=False)


def published(problem: Problem, evaluate: Evaluate, budget: int, seed: int) -> None:
    """The published code with PHV, its defaults and its own initial design."""
    for name in ("NaN", "NAN"):  # gone from NumPy 2
        setattr(np, name, np.nan)
    sys.path.insert(0, os.environ["SAMO_COBRA_CLONE"])
    os.chdir(tempfile.mkdtemp())  # it writes where it runs
    from SAMO_COBRA_Init import SAMO_COBRA_Init
    from SAMO_COBRA_PhaseII import SAMO_COBRA_PhaseII

    np.random.seed(seed)  # noqa: NPY002 (it draws from here)
    lower, upper = np.array(problem.lower, float), np.array(problem.upper, float)
    state = SAMO_COBRA_Init(
        lower + np.random.rand(len(lower)) * (upper - lower),  # noqa: NPY002
        evaluate,
        "problem",
        lower,
        upper,
        _sizes(problem)[1],
        ref=np.array(problem.reference),
        feval=budget,
        initDesPoints=len(lower) + 1,
        cobraSeed=seed,
    )
    SAMO_COBRA_PhaseII(state)


def optuna_tpe(problem: Problem, evaluate: Evaluate, budget: int, seed: int) -> None:
    """Optuna's tree-structured Parzen estimator."""
    import optuna

    _optuna(
        lambda c: optuna.samplers.TPESampler(
            seed=seed, multivariate=True,
            n_startup_trials=len(problem.lower) + 1, constraints_func=c,
        ),
        problem, evaluate, budget,
    )  # fmt: skip


def optuna_gp(problem: Problem, evaluate: Evaluate, budget: int, seed: int) -> None:
    """Optuna's Gaussian process (log expected hypervolume improvement)."""
    import optuna

    _optuna(
        lambda c: optuna.samplers.GPSampler(
            seed=seed, n_startup_trials=len(problem.lower) + 1, constraints_func=c
        ),
        problem, evaluate, budget,
    )  # fmt: skip


def nsga2(problem: Problem, evaluate: Evaluate, budget: int, seed: int) -> None:
    """NSGA-II of pymoo, a population of 20 (its default of 100 would leave one generation)."""
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.problem import ElementwiseProblem
    from pymoo.optimize import minimize

    k, m = _sizes(problem)

    class _Problem(ElementwiseProblem):
        def _evaluate(self, x: Array, out: dict[str, Array], *_: object, **__: object) -> None:
            out["F"], out["G"] = evaluate(x)

    task = _Problem(
        n_var=len(problem.lower), n_obj=k, n_ieq_constr=m,
        xl=np.array(problem.lower, float), xu=np.array(problem.upper, float),
    )  # fmt: skip
    minimize(task, NSGA2(pop_size=20), ("n_eval", budget), seed=seed)


def botorch(problem: Problem, evaluate: Evaluate, budget: int, seed: int) -> None:
    """BoTorch's qLogNEHVI as in its tutorial: a Gaussian process an output, reference given."""
    import torch
    from botorch.acquisition.multi_objective.logei import (
        qLogNoisyExpectedHypervolumeImprovement,
    )
    from botorch.acquisition.multi_objective.objective import IdentityMCMultiOutputObjective
    from botorch.fit import fit_gpytorch_mll
    from botorch.models import ModelListGP, SingleTaskGP
    from botorch.models.transforms import Standardize
    from botorch.optim import optimize_acqf
    from botorch.sampling import SobolQMCNormalSampler
    from botorch.utils.sampling import draw_sobol_samples
    from gpytorch.mlls import SumMarginalLogLikelihood

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    k, m = _sizes(problem)
    d = len(problem.lower)
    lower, upper = (torch.tensor(b, dtype=torch.double) for b in (problem.lower, problem.upper))
    cube = torch.stack([torch.zeros(d), torch.ones(d)]).double()

    def observed(units: torch.Tensor) -> torch.Tensor:
        rows = [np.concatenate(evaluate((lower + u * (upper - lower)).numpy())) for u in units]
        return torch.tensor(np.array(rows))

    x = draw_sobol_samples(cube, n=2 * (d + 1), q=1, seed=seed).squeeze(1)
    y = observed(x)
    reference = -torch.tensor(problem.reference, dtype=torch.double)
    while len(x) < budget:
        sign = torch.cat([-torch.ones(k), torch.ones(m)]).double()  # it maximises objectives
        signed = y * sign
        model = ModelListGP(
            *[
                SingleTaskGP(x, signed[:, i : i + 1], outcome_transform=Standardize(m=1))
                for i in range(k + m)
            ]
        )
        fit_gpytorch_mll(SumMarginalLogLikelihood(model.likelihood, model))
        acquisition = qLogNoisyExpectedHypervolumeImprovement(
            model=model,
            ref_point=reference,
            X_baseline=x,
            prune_baseline=True,
            sampler=SobolQMCNormalSampler(torch.Size([128]), seed=seed),
            objective=IdentityMCMultiOutputObjective(outcomes=list(range(k))),
            constraints=[lambda z, i=i: z[..., i] for i in range(k, k + m)],
        )
        new, _ = optimize_acqf(acquisition, cube, q=1, num_restarts=10, raw_samples=512)
        x = torch.cat([x, new.detach()])
        y = torch.cat([y, observed(new.detach())])


METHODS: dict[str, Callable[[Problem, Evaluate, int, int], None]] = {
    "culi": culi,
    "culi-10": culi_10,
    "culi-adaptive": culi_adaptive,
    "published": published,
    "optuna-gp": optuna_gp,
    "optuna-tpe": optuna_tpe,
    "nsga2": nsga2,
    "botorch": botorch,
}


def _optuna(sampler: Callable, problem: Problem, evaluate: Evaluate, budget: int) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def objective(trial: optuna.Trial) -> list[float]:
        bounds = zip(problem.lower, problem.upper, strict=True)
        x = [trial.suggest_float(f"x{i}", a, b) for i, (a, b) in enumerate(bounds)]
        objectives, constraints = evaluate(np.array(x))
        trial.set_user_attr("constraints", constraints.tolist())
        return objectives.tolist()

    study = optuna.create_study(
        directions=["minimize"] * len(problem.reference),
        sampler=sampler(lambda trial: trial.user_attrs["constraints"]),
    )
    study.optimize(objective, n_trials=budget)


def _sizes(problem: Problem) -> tuple[int, int]:
    objectives, constraints = problem.function(np.array(problem.upper, float))
    return len(objectives), len(constraints)


def run(method: str, name: str, seed: int, targets: Path) -> dict[str, float | str]:
    """Run one method on one problem once."""
    warnings.simplefilter("ignore")
    problem = problems(targets)[name]
    seen: list[tuple[Array, Array]] = []

    def evaluate(x: Array) -> tuple[Array, Array]:
        objectives, constraints = problem.function(np.asarray(x, float))
        seen.append((np.array(objectives, float), np.array(constraints, float)))
        return seen[-1]

    budget = 40 * len(problem.lower)
    start = time.process_time()
    with contextlib.redirect_stdout(None):
        METHODS[method](problem, evaluate, budget, seed)
    seconds = time.process_time() - start
    feasible = [f for f, g in seen[:budget] if (g <= 0).all()]
    volume = hypervolume(np.array(feasible), np.array(problem.reference)) if feasible else 0.0
    return {
        "method": method, "problem": name, "seed": seed, "evaluations": len(seen),
        "hypervolume": volume, "cpu_seconds": seconds,
    }  # fmt: skip


def results(file: Path) -> dict[tuple[str, str, int], dict]:
    """Read the runs on disk."""
    lines = file.read_text().splitlines() if file.exists() else []
    rows = [json.loads(line) for line in lines]
    return {(r["method"], r["problem"], r["seed"]): r for r in rows}


def table(rows: dict, targets: Path) -> Iterator[str]:
    """Mean, spread and ratio to the best published mean; rank test of our runs against others."""
    yield (
        f"{'problem':9}{'method':14}{'runs':>5}{'mean':>14}{'spread':>10}{'published':>14}"
        f"{'ratio':>9}{'s/point':>9}   ours ahead (rank-sum p)"
    )
    for name, problem in problems(targets).items():
        found = {m: [r for key, r in rows.items() if key[:2] == (m, name)] for m in METHODS}
        for method, runs in found.items():
            if not runs:
                continue
            volumes = np.array([r["hypervolume"] for r in runs])
            columns = problem.published
            if method == "culi-10":
                columns = {k: v for k, v in columns.items() if k == "MultiPoint_q10"}
            best = max(columns.values(), default=float("nan"))
            cpu = np.mean([r["cpu_seconds"] / r["evaluations"] for r in runs])
            line = (
                f"{name:9}{method:14}{len(runs):5}{volumes.mean():14.7g}{volumes.std():10.2g}"
                f"{best:14.7g}{volumes.mean() / best:9.5f}{cpu:9.3f}"
            )
            if not method.startswith("culi") and found["culi"]:
                ours = [r["hypervolume"] for r in found["culi"]]
                line += f"   {ranksums(ours, volumes, alternative='greater').pvalue:.1e}"
            yield line


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("targets", type=Path)
    parser.add_argument(
        "--methods", nargs="+", choices=METHODS, default=["culi", "culi-10", "culi-adaptive"]
    )
    parser.add_argument("--problems", nargs="+", help=f"such as {' '.join(SMALL)}")
    parser.add_argument("--seeds", type=int, default=11)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--published", type=Path, help="clone of the published code")
    parser.add_argument("--out", type=Path, default=Path("build/samo_cobra.jsonl"))
    arguments = parser.parse_args()
    if arguments.published:
        os.environ["SAMO_COBRA_CLONE"] = str(arguments.published.absolute())
    names = arguments.problems or list(problems(arguments.targets))
    done = results(arguments.out)
    jobs = [
        (method, name, seed)
        for method in arguments.methods
        for seed in range(arguments.seeds)
        for name in names
        if (method, name, seed) not in done
    ]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[threads] = "1"  # read by each process that is spawned
    spawn = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(arguments.workers, mp_context=spawn) as pool,
        arguments.out.open("a") as file,
    ):
        futures = [pool.submit(run, *job, arguments.targets) for job in jobs]
        for n, future in enumerate(as_completed(futures), 1):
            result = future.result()
            file.write(json.dumps(result) + "\n")
            file.flush()
            print(f"{n}/{len(jobs)}", *result.values(), file=sys.stderr, flush=True)
    print("\n".join(table(results(arguments.out), arguments.targets)))


if __name__ == "__main__":
    main()
