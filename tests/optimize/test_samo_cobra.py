"""The optimiser on problems whose fronts are known, and its contract."""

import numpy as np
import pytest
from scipy.stats import qmc

from culi_mlip.errors import SpaceError
from culi_mlip.optimize import Categorical, Integer, Real, SamoCobra, Space, samo_cobra
from culi_mlip.optimize.hypervolume import hypervolume
from culi_mlip.optimize.infill import trust_in_neighbours
from culi_mlip.optimize.samo_cobra import _Plan


def bnh(x0, x1):
    """Binh and Korn's problem."""
    return (
        [4 * x0**2 + 4 * x1**2, (x0 - 5) ** 2 + (x1 - 5) ** 2],
        [(x0 - 5) ** 2 + x1**2 - 25, 7.7 - (x0 - 8) ** 2 - (x1 + 3) ** 2],
    )


BNH = Space.box([0, 0], [5, 3])


def run(optimizer, function, n, batch=1):
    while len(optimizer.history) < n:
        points = optimizer.ask(min(batch, n - len(optimizer.history)))
        optimizer.tell(points, [function(**point) for point in points])
    return optimizer


def test_a_constrained_front_is_found():
    """Within 0.1 % of the published mean hypervolume of 40 evaluations a coordinate."""
    optimizer = run(SamoCobra(BNH, 2, 2, reference=[140, 50]), bnh, 80)
    assert optimizer.hypervolume([140, 50]) > 0.999 * 5256.4
    points, objectives = optimizer.pareto_front()
    assert len(points) > 60
    assert (np.diff(objectives[:, 0]) > 0).all()
    assert (np.diff(objectives[:, 1]) < 0).all()


def test_without_a_reference_point_the_ends_of_the_front_are_found():
    optimizer = run(SamoCobra(BNH, 2, 2), bnh, 60)
    _, objectives = optimizer.pareto_front()
    reach = np.ptp(objectives, axis=0)
    ends = np.array([[0, 50], [136, 4]])
    assert (np.abs(objectives[[0, -1]] - ends) < 0.1 * reach).all()


def test_a_single_objective_is_minimised():
    """Rosenbrock's valley, its minimum 0 at (1, 1)."""
    space = Space(x=Real(-2, 2), y=Real(-1, 3))
    optimizer = SamoCobra(space, 1)
    run(optimizer, lambda x, y: [100 * (y - x**2) ** 2 + (1 - x) ** 2], 60)
    (best,), value = optimizer.pareto_front()
    assert value[0, 0] < 1e-4
    assert best["x"] == pytest.approx(1, abs=0.02)


def test_three_objectives():
    """Distances from three corners: the front is the triangle between them."""
    corners = np.array([[0, 0], [1, 0], [0, 1]])

    def distances(x0, x1):
        return ((np.array([x0, x1]) - corners) ** 2).sum(axis=1)

    optimizer = run(SamoCobra(Space.box([-1, -1], [2, 2]), 3), distances, 40)
    points, _ = optimizer.pareto_front()
    inside = [p["x0"] > -0.1 and p["x1"] > -0.1 and p["x0"] + p["x1"] < 1.1 for p in points]
    assert np.mean(inside) > 0.8


def test_what_is_asked_follows_from_history_pending_points_and_seed():
    first = run(SamoCobra(BNH, 2, 2, seed=7), bnh, 20)
    pending = first.ask(2)
    second = SamoCobra(BNH, 2, 2, seed=7)
    second.tell(first.history, [bnh(**p) for p in first.history])
    second.pending.extend(dict(p) for p in pending)
    assert first.ask(3) == second.ask(3)
    other = SamoCobra(BNH, 2, 2, seed=8)
    assert other.ask(3) != SamoCobra(BNH, 2, 2, seed=7).ask(3)


def test_the_initial_design_is_scipys_halton_sequence():
    """A point more than there are parameters, unless another number is asked for."""
    space = Space(x=Real(-3, 5), rate=Real(1e-4, 1, log=True))
    for options, n in (({}, 3), ({"n_initial": 6}, 6)):
        optimizer = SamoCobra(space, 1, seed=9, **options)
        units = qmc.Halton(2, rng=9).random(n + 1)
        found = np.array([[p["x"], np.log10(p["rate"])] for p in optimizer.ask(n)])
        np.testing.assert_allclose(found, [-3, -4] + units[:n] * [8, 4])
        points = [space.decode(2 * u - 1) for u in units[:n]]
        optimizer.pending.clear()
        optimizer.tell(points, [[p["x"] ** 2] for p in points])
        (after,) = optimizer.ask()
        assert abs(after["x"] - (-3 + 8 * units[n, 0])) > 1e-6, "the design has ended"


def test_surrogates_are_judged_by_the_newest_and_the_front():
    """Or, where nothing is feasible, by the four that violate least."""
    optimizer = SamoCobra(BNH, 2, 1)
    points = [{"x0": n / 4, "x1": 0.0} for n in range(10)]
    objectives = [[n, 10 - n] if n in (1, 3) else [5 + n, 11] for n in range(10)]
    violated = [-1, -1, 9, -1, 8, 1, 2, 3, 4, 7]
    optimizer.tell(points, zip(objectives, [[c] for c in violated], strict=True))
    assert _Plan(optimizer)._focus().tolist() == [1, 3, 6, 7, 8, 9]
    optimizer = SamoCobra(BNH, 2, 1)
    violated = [5, 1, 9, 2, 8, 6, 100, 3, 4, 7]
    optimizer.tell(points, zip(objectives, [[c] for c in violated], strict=True))
    assert _Plan(optimizer)._focus().tolist() == [1, 3, 6, 7, 8, 9]
    assert _Plan(optimizer)._units.tolist() == [14.5]


@pytest.mark.parametrize(("n_pending", "optimism"), [(0, 1.0), (2, 0.0)])
def test_a_plan_is_made_of_what_is_known_and_believed(monkeypatch, n_pending, optimism):
    """Nine evaluations of x and -x where x ≤ 0.25, one of which failed; the tenth is hopeful."""
    optimizer = SamoCobra(Space(x=Real(-1, 1)), 2, 1, reference=[3, 4], n_initial=2)
    x = np.linspace(-0.8, 0.8, 9)
    outcomes = [[v, -v, v - 0.25] if v != x[4] else None for v in x]
    optimizer.tell([{"x": v} for v in x], outcomes)
    optimizer.pending = [{"x": 0.1}, {"x": 0.9}][:n_pending]
    plans = []
    monkeypatch.setattr(samo_cobra, "best_point", lambda *given: plans.append(given) or np.zeros(1))
    plan = _Plan(optimizer)
    plan._best()
    ((problem, space, good, taken, _),) = plans
    rest = np.delete(x, 4)
    believed = [0.1][:n_pending]  # the other one is believed to violate the constraint
    feasible = np.sort([*rest[rest <= 0.25], *believed])
    np.testing.assert_allclose(np.sort(good[:, 0]), feasible, atol=1e-6)
    np.testing.assert_allclose(np.sort(problem.improvement.front[:, 0]), feasible, atol=1e-6)
    assert problem.improvement.reference.tolist() == [3, 4]
    np.testing.assert_allclose(taken[:, 0], [*rest, x[4], *[0.1, 0.9][:n_pending]], atol=1e-12)
    np.testing.assert_allclose(problem.successes[:, 0], rest)
    np.testing.assert_allclose(problem.failures[:, 0], x[[4]], atol=1e-12)
    np.testing.assert_allclose(problem.spans, [1.6, 1.6])
    np.testing.assert_allclose(problem.units, [np.abs(rest - 0.25).mean()])
    assert problem.uncertainty(taken).max() < 1e-3
    assert (problem.optimism, problem.n_objectives) == (optimism, 2)
    assert problem.errors.tolist() == [f.error for f in problem.surrogates.functions[:2]]
    assert problem.caution == pytest.approx(3 * 2.0 * 0.99**4, rel=1e-9)
    assert space is optimizer.space


def test_asking_one_by_one_or_at_once_is_the_same():
    together = run(SamoCobra(BNH, 2, 2), bnh, 10)
    apart = run(SamoCobra(BNH, 2, 2), bnh, 10)
    assert together.ask(4) == [apart.ask(1)[0] for _ in range(4)]


def test_points_of_a_batch_are_apart():
    optimizer = run(SamoCobra(BNH, 2, 2), bnh, 12)
    batch = np.array([BNH.encode(p) for p in optimizer.ask(12)])
    distances = np.linalg.norm(batch[:, None] - batch, axis=2) + 10 * np.eye(12)
    assert distances.min() > 1e-3


def test_batches_reach_the_front_too():
    optimizer = run(SamoCobra(BNH, 2, 2, reference=[140, 50]), bnh, 80, batch=10)
    assert optimizer.hypervolume([140, 50]) > 0.998 * 5256.4


def test_mixed_parameters_are_never_asked_twice():
    space = Space(n=Integer(0, 5), kind=Categorical("a", "b", "c"))
    optimizer = SamoCobra(space, 2)

    def function(n, kind):
        shift = {"a": 0, "b": 2, "c": 5}[kind]
        return [n + shift, (5 - n) ** 2 + shift]

    run(optimizer, function, 18)
    assert len({tuple(p.values()) for p in optimizer.history}) == 18
    assert optimizer.ask(1) == []
    points, _ = optimizer.pareto_front()
    assert {p["kind"] for p in points} == {"a"}


def test_the_better_category_is_found_early():
    space = Space(x=Real(0, 1), kind=Categorical("bad", "good", "worse"))
    loss = {"bad": 1.0, "good": 0.0, "worse": 3.0}
    optimizer = SamoCobra(space, 2)
    run(optimizer, lambda x, kind: [x + loss[kind], (1 - x) ** 2 + loss[kind]], 25)
    assert np.mean([p["kind"] == "good" for p in optimizer.history[10:]]) > 0.8


def test_random_failures_cost_little():
    rng = np.random.default_rng(0)

    def unreliable(**point):
        return None if rng.random() < 0.3 else bnh(**point)

    optimizer = SamoCobra(BNH, 2, 2, reference=[140, 50])
    while np.isfinite(optimizer.objectives).all(axis=1).sum() < 50:
        points = optimizer.ask(1)
        optimizer.tell(points, [unreliable(**p) for p in points])
    whole = run(SamoCobra(BNH, 2, 2, reference=[140, 50]), bnh, 50)
    assert optimizer.hypervolume([140, 50]) > 0.99 * whole.hypervolume([140, 50])


def test_neighbours_are_trusted_where_they_foretell_failures():
    points = np.random.default_rng(0).uniform(-1, 1, (60, 2))
    fails_in_corner = (points > 0.2).all(axis=1)
    fails_at_random = np.random.default_rng(1).random(60) < 0.3
    assert trust_in_neighbours(points[~fails_in_corner], points[fails_in_corner]) > 0.5
    assert trust_in_neighbours(points[~fails_at_random], points[fails_at_random]) == 0
    assert trust_in_neighbours(points, points[:0]) == 0


def test_a_crashing_corner_is_left():
    def crashes(x0, x1):
        return np.nan if x0 < 1 and x1 < 1 else bnh(x0, x1)

    optimizer = run(SamoCobra(BNH, 2, 2, reference=[140, 50]), crashes, 60)
    failed = ~np.isfinite(optimizer.objectives).all(axis=1)
    n_successes = int((~failed).sum())
    whole = run(SamoCobra(BNH, 2, 2, reference=[140, 50]), bnh, n_successes)
    outside = [i for i, p in enumerate(whole.history) if p["x0"] >= 1 or p["x1"] >= 1]
    feasible = [i for i in outside if (whole.constraints[i] <= 0).all()]
    best = hypervolume(whole.objectives[feasible], np.array([140.0, 50.0]))
    assert optimizer.hypervolume([140, 50]) > 0.99 * best
    assert failed[30:].mean() < 0.1


def test_a_crashing_corner_that_seems_the_only_feasible_place_is_left():
    """Srinivas and Deb's problem: after three points all but the corner is predicted infeasible."""

    def crashes(x0, x1):
        if x0 > 8 and x1 > 8:
            return np.nan
        objectives = [2 + (x0 - 2) ** 2 + (x1 - 1) ** 2, 9 * x0 - (x1 - 1) ** 2]
        return objectives, [x0**2 + x1**2 - 225, x0 - 3 * x1 + 10]

    space = Space.box([-20, -20], [20, 20])
    optimizer = run(SamoCobra(space, 2, 2, seed=3, reference=[301, 72]), crashes, 30)
    failed = ~np.isfinite(optimizer.objectives).all(axis=1)
    assert 0 < failed.sum() < 6
    assert not failed[10:].any()


@pytest.mark.parametrize("failure", [None, np.nan, [1, np.inf], ValueError("crash"), (1, np.nan)])
def test_failures_of_every_kind_are_kept_as_such(failure):
    optimizer = SamoCobra(BNH, 2)
    (point,) = optimizer.ask()
    optimizer.tell([point], [failure])
    assert np.isnan(optimizer.objectives).all()
    assert optimizer.pending == []
    assert optimizer.pareto_front()[0] == []
    assert optimizer.ask(5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_objectives": 0}, "0 objectives"),
        ({"n_objectives": 1, "n_constraints": -1}, "-1 constraints"),
        ({"n_objectives": 2, "reference": [1]}, "one number for each of 2 objectives"),
    ],
)
def test_impossible_optimisers_are_refused(options, words):
    with pytest.raises(SpaceError, match=words):
        SamoCobra(BNH, **options)


def test_wrong_outcomes_tell_nothing():
    optimizer = SamoCobra(BNH, 2, 1)
    points = optimizer.ask(2)
    with pytest.raises(SpaceError, match="2 numbers: give 2 objectives and 1 constraints"):
        optimizer.tell(points, [[1, 2, 3], [1, 2]])
    assert optimizer.history == []
    assert optimizer.pending == points


def test_a_front_holds_no_infeasible_and_no_failed_point():
    optimizer = SamoCobra(BNH, 2, 2)
    points = [{"x0": float(i), "x1": 0.0} for i in range(5)]
    outcomes = [
        ([5, 5], [-1, 0]),  # on its constraint, feasible
        ([1, 1], [-1, 0.1]),  # best of all, infeasible
        ([0, 0], [1e-9, -1]),
        None,
        ([4, 6], [-1, -1]),
    ]
    optimizer.tell(points, outcomes)
    front, objectives = optimizer.pareto_front()
    assert [p["x0"] for p in front] == [4, 0]
    assert objectives.tolist() == [[4, 6], [5, 5]]
    assert optimizer.hypervolume([10, 10]) == 6 * 4 + 5 * 5 - 5 * 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seed": -1}, "seed -1: give an integer of at least 0"),
        ({"seed": 1.5}, "seed 1.5: give an integer"),
        ({"n_initial": 0}, "design of 0: give at least 1"),
        ({"reference": [1, np.nan]}, "give one number for each of 2 objectives, all finite"),
    ],
)
def test_impossible_numbers_are_refused(options, words):
    with pytest.raises(SpaceError, match=words):
        SamoCobra(BNH, 2, **options)
