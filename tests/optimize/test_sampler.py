"""The Optuna sampler: the same points as the core's, from the storage alone."""

import subprocess
import sys

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from culi_mlip.errors import SpaceError
from culi_mlip.optimize import Categorical, Integer, Real, SamoCobra, SamoCobraSampler, Space
from culi_mlip.optimize.sampler import distribution

optuna.logging.set_verbosity(optuna.logging.ERROR)

SPACE = Space(
    x=Real(-2, 2), rate=Real(1e-4, 1e-1, log=True), layers=Integer(1, 4), kind=Categorical("a", "b")
)


def suggest(trial):
    return {
        "x": trial.suggest_float("x", -2, 2),
        "rate": trial.suggest_float("rate", 1e-4, 1e-1, log=True),
        "layers": trial.suggest_int("layers", 1, 4),
        "kind": trial.suggest_categorical("kind", ["a", "b"]),
    }


def functions(point):
    x, rate = point["x"], np.log10(point["rate"]) + 2
    offset = 0.3 * (point["kind"] == "b") + 0.1 * (point["layers"] - 2) ** 2
    return x**2 + rate**2 + offset, (x - 1) ** 2 + rate**2 + offset, 0.5 - x


def objective(trial):
    first, second, constraint = functions(suggest(trial))
    trial.set_constraint("x large enough", constraint)
    return first, second


def study(**options):
    return optuna.create_study(
        directions=["minimize"] * 2, sampler=SamoCobraSampler(SPACE, seed=3), **options
    )


def test_points_are_the_cores():
    sampled = study()
    sampled.optimize(objective, n_trials=15)
    core = SamoCobra(SPACE, 2, 1, seed=3)
    for _ in range(15):
        points = core.ask()
        core.tell(points, [functions(p) for p in points])
    assert [t.params for t in sampled.trials] == core.history


def test_maximising_is_minimising_the_negative():
    minimised, maximised = (
        optuna.create_study(
            directions=[direction] * 2,
            sampler=SamoCobraSampler(SPACE, seed=3, reference=reference),
        )
        for direction, reference in (("minimize", [2.0, 3.0]), ("maximize", [-2.0, -3.0]))
    )
    minimised.optimize(lambda t: functions(suggest(t))[:2], n_trials=12)
    maximised.optimize(lambda t: tuple(-f for f in functions(suggest(t))[:2]), n_trials=12)
    assert [t.params for t in minimised.trials] == [t.params for t in maximised.trials]


def test_every_option_of_the_sampler_is_the_cores():
    """One objective is minimised, the other maximised; two constraints, the first named last."""
    options = {"seed": 5, "n_initial": 3, "noisy": True}
    sampler = SamoCobraSampler(SPACE, reference=[6.0, -9.0], **options)
    mixed = optuna.create_study(directions=["minimize", "maximize"], sampler=sampler)

    def objective(trial):
        first, second, constraint = functions(suggest(trial))
        trial.set_constraint("b", constraint)
        trial.set_constraint("a", 2 * constraint - 1)
        return first, -second

    mixed.optimize(objective, n_trials=9)
    core = SamoCobra(SPACE, 2, 2, reference=[6.0, 9.0], **options)
    for _ in range(9):
        points = core.ask()
        values = [functions(p) for p in points]
        core.tell(points, [([f, g], [2 * c - 1, c]) for f, g, c in values])
    assert [t.params for t in mixed.trials] == core.history
    made = sampler._optimizer(mixed, mixed.trials)
    assert (made.seed, made.n_initial, made.noisy) == (5, 3, True)
    assert made.reference.tolist() == [6, 9]
    np.testing.assert_allclose(made.objectives, core.objectives)
    np.testing.assert_allclose(made.constraints, core.constraints)
    assert SamoCobraSampler(SPACE)._optimizer(mixed, []).n_initial == 5


def test_a_constraint_that_a_trial_lacks_is_a_failure_and_pruned_trials_count():
    """The last of a pruned trial's values, by its step, not by the order of reports."""
    space = Space(x=Real(-1, 1))
    study = optuna.create_study(directions=["maximize"], sampler=SamoCobraSampler(space))
    for x, constraints in ((0.1, {"a": -1.0, "b": -2.0}), (0.2, {"a": -3.0})):
        trial = study.ask()
        trial.suggest_float("x", -1, 1)
        for name, value in constraints.items():
            trial.set_constraint(name, value)
        study.tell(trial, x)
    single = optuna.create_study(sampler=SamoCobraSampler(space))
    trial = single.ask()
    trial.suggest_float("x", -1, 1)
    for step, value in ((3, 0.25), (10, 0.125), (7, 0.5)):
        trial.report(value, step)
    single.tell(trial, state=optuna.trial.TrialState.PRUNED)
    made = study.sampler._optimizer(study, study.trials)
    np.testing.assert_array_equal(made.objectives[:, 0], [-0.1, np.nan])
    np.testing.assert_array_equal(made.constraints[0], [-1, -2])
    assert single.sampler._optimizer(single, single.trials).objectives.tolist() == [[0.125]]


def test_parameters_are_optunas_distributions():
    expected = [
        (Real(-2, 5), FloatDistribution(-2, 5)),
        (Real(1, 5, log=True), FloatDistribution(1, 5, log=True)),
        (Integer(3, 7), IntDistribution(3, 7)),
        (Integer(3, 7, log=True), IntDistribution(3, 7, log=True)),
        (Categorical("b", "a", None), CategoricalDistribution(("b", "a", None))),
    ]
    for parameter, theirs in expected:
        assert distribution(parameter) == theirs


def test_seeds_are_checked_when_the_sampler_is_made():
    with pytest.raises(SpaceError, match="seed -1"):
        SamoCobraSampler(SPACE, seed=-1)


def test_another_process_goes_on_where_this_one_stopped(tmp_path):
    storage = f"sqlite:///{tmp_path}/hpo.db"
    whole = study()
    whole.optimize(objective, n_trials=12)
    study(storage=storage, study_name="s").optimize(objective, n_trials=8)
    again = optuna.load_study(
        study_name="s", storage=storage, sampler=SamoCobraSampler(SPACE, seed=3)
    )
    again.optimize(objective, n_trials=4)
    assert [t.params for t in again.trials] == [t.params for t in whole.trials]


def test_points_under_evaluation_are_not_asked_again():
    parallel = study()
    parallel.optimize(objective, n_trials=10)
    running = [parallel.ask() for _ in range(6)]
    points = [suggest(trial) for trial in running]
    coordinates = [SPACE.encode(point) for point in points]
    gaps = [np.linalg.norm(a - b) for i, a in enumerate(coordinates) for b in coordinates[:i]]
    assert min(gaps) > 1e-3


WORKER = """
import sys, time, optuna
sys.path.insert(0, {folder!r})
from test_sampler import SPACE, SamoCobraSampler, objective
def slow(trial):
    values = objective(trial)
    time.sleep(0.05)
    return values
study = optuna.load_study(study_name="s", storage={storage!r},
                          sampler=SamoCobraSampler(SPACE, seed=3))
study.optimize(slow, n_trials=10)
"""


def test_processes_share_a_study(tmp_path):
    storage = f"sqlite:///{tmp_path}/hpo.db"
    shared = study(storage=storage, study_name="s")
    script = WORKER.format(folder=__file__.rsplit("/", 1)[0], storage=storage)
    workers = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(2)]
    assert [worker.wait() for worker in workers] == [0, 0]
    points = [tuple(t.params.values()) for t in shared.trials]
    assert len(points) == len(set(points)) == 20
    design = SamoCobra(SPACE, 2, 1, seed=3).ask(5)
    assert points[:5] == [tuple(p.values()) for p in design]


def test_failures_teach():
    space = Space(x=Real(0, 1), y=Real(0, 1))
    failing = optuna.create_study(sampler=SamoCobraSampler(space, seed=0))

    def crashes(trial):
        x, y = trial.suggest_float("x", 0, 1), trial.suggest_float("y", 0, 1)
        if x + y < 0.7:
            raise RuntimeError("out of memory")
        return (x - 0.6) ** 2 + (y - 0.6) ** 2

    failing.optimize(crashes, n_trials=40, catch=RuntimeError)
    states = [t.state for t in failing.trials]
    assert optuna.trial.TrialState.FAIL in states
    assert sum(s == optuna.trial.TrialState.FAIL for s in states[20:]) <= 3
    assert failing.best_value < 1e-4


def test_pruned_trial_counts_with_its_last_value():
    space = Space(x=Real(-1, 1))
    pruned = optuna.create_study(sampler=SamoCobraSampler(space, seed=0))

    def objective(trial):
        x = trial.suggest_float("x", -1, 1)
        trial.report(x**2 + 1, 0)
        trial.report(x**2, 1)
        raise optuna.TrialPruned

    pruned.optimize(objective, n_trials=12)
    assert min(t.intermediate_values[1] for t in pruned.trials) < 1e-3


def test_interrupted_trial_is_no_failure():
    """Optuna fails a stale trial and queues it again; its point is then evaluated once."""
    retried = study()
    retried.optimize(objective, n_trials=8)
    stale = retried.ask()
    point = suggest(stale)
    retried.tell(stale, state=optuna.trial.TrialState.FAIL)
    optuna.storages.RetryHeartbeatStaleTrialCallback()(retried, retried.trials[-1])
    retried.optimize(objective, n_trials=3)
    whole = study()
    whole.optimize(objective, n_trials=11)
    succeeded = [t.params for t in retried.trials if t.values]
    assert succeeded[8] == point
    assert succeeded == [t.params for t in whole.trials]


def test_points_of_another_space_are_left_out():
    mixed = study()
    mixed.enqueue_trial({"x": 5.0})
    with pytest.warns(UserWarning, match="out of range"):
        mixed.optimize(objective, n_trials=1)
    mixed.optimize(objective, n_trials=5)
    assert len(mixed.trials) == 6


def test_parameter_outside_the_space():
    with pytest.raises(SpaceError, match="suggests 'z', which the sampler's space lacks: it has x"):
        study().optimize(lambda t: (t.suggest_float("z", 0, 1), 0.0), n_trials=1)


def test_space_that_is_used_up():
    small = optuna.create_study(sampler=SamoCobraSampler(Space(n=Integer(1, 3))))
    small.optimize(lambda t: t.suggest_int("n", 1, 3), n_trials=3)
    assert {t.params["n"] for t in small.trials} == {1, 2, 3}
    with pytest.raises(SpaceError, match="every point of the search space"):
        small.optimize(lambda t: t.suggest_int("n", 1, 3), n_trials=1)
