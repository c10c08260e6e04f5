"""What a point is worth, on functions that are written down: sides, margins, slopes."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from culi_mlip.optimize import Real, SamoCobra, Space
from culi_mlip.optimize.hypervolume import Improvement
from culi_mlip.optimize.infill import (
    Infill,
    _apart,
    _free,
    _neighbours,
    _polished,
    _searched,
    _weighted,
    best_point,
)
from culi_mlip.optimize.samo_cobra import _Plan
from culi_mlip.optimize.surrogates import Uncertainty, fit

X = np.linspace(-1, 1, 9)[:, None]
"""Evaluations of x and -x, subject to x ≤ 0.2 and -x ≤ 0.7."""

VALUES = np.hstack([X, -X, X - 0.2, -X - 0.7])


def infill(**options):
    """Reference point (2, 2), an empty front; surrogates of linear functions are exact."""
    values = {
        "surrogates": fit(X, VALUES, focus=np.arange(len(X))),
        "n_objectives": 2,
        "improvement": Improvement(np.empty((0, 2)), np.array([2.0, 2.0])),
        "margins": np.array([0.1, 0.1]),
        "spans": np.ones(2),
        "units": np.array([0.5, 0.25]),
        "uncertainty": Uncertainty(X),
        "optimism": 0.0,
        "errors": np.array([0.3, 0.6]),
        "successes": X,
        "failures": X[:0],
        "trust": 0.0,
        "caution": 2.0,
    }
    return Infill(**(values | options))


@pytest.mark.parametrize(
    ("x", "worth"),
    [
        (0.05, (2 - 0.05) * (2 + 0.05)),  # x - 0.2 + 0.1 < 0: both hold with their margin
        (0.15, -(0.15 - 0.2 + 0.1) / 0.5),  # it holds, but not by its margin
        (0.5, -(0.5 - 0.2 + 0.1) / 0.5),
        (-0.55, (2 + 0.55) * (2 - 0.55)),
        (-0.65, -(0.65 - 0.7 + 0.1) / 0.25),
    ],
)
def test_a_point_is_worth_its_hypervolume_if_constraints_hold_by_their_margin(x, worth):
    assert infill().merit(np.array([[x]]))[0] == pytest.approx(worth, abs=1e-6)


def test_without_margins_the_constraint_itself_decides():
    merit = infill(margins=np.zeros(2)).merit(np.array([[0.199], [0.201]]))
    assert merit[0] > 0 > merit[1]


def test_local_searches_see_the_same_constraints():
    """Slack is positive where a constraint holds by its margin, and falls as x rises."""
    problem = infill()
    for x in (0.05, 0.15):
        values, jacobian = problem.surrogates.with_jacobian(np.array([x]))
        slack, slopes = problem.slack(values, jacobian)
        assert slack == pytest.approx([-(x - 0.1) / 0.5, -(-x - 0.6) / 0.25], abs=1e-6)
        assert slopes[:, 0] == pytest.approx([-1 / 0.5, 1 / 0.25], abs=1e-5)


def test_local_searches_climb_the_hypervolume():
    problem = infill()
    values, jacobian = problem.surrogates.with_jacobian(np.array([0.05]))
    gain, slope = problem.gain(np.array([0.05]), values, jacobian)
    assert gain == pytest.approx((2 - 0.05) * (2 + 0.05), abs=1e-6)
    assert slope == pytest.approx([-2 * 0.05], abs=1e-5)  # of 4 - x²


def test_optimism_takes_errors_off_the_objectives_where_little_is_known():
    hopeful, x = infill(optimism=1.0, uncertainty=Uncertainty(X[::4])), np.array([[-0.5]])
    unknown = hopeful.uncertainty(x)[0]
    assert unknown > 0.01
    expected = (2 + 0.5 + 0.3 * unknown) * (2 - 0.5 + 0.6 * unknown)
    assert hopeful.merit(x)[0] == pytest.approx(expected, abs=1e-6)


def test_what_neighbours_failed_is_worth_less():
    x = np.array([[-0.45], [0.0]])
    sound = infill().merit(x)
    doubted = infill(failures=np.array([[-0.44]]), trust=1.0).merit(x)
    assert doubted[0] < 0.1 * sound[0]
    assert doubted[1] > 0.9 * sound[1]
    farther = infill(failures=np.array([[-0.3]]), trust=1.0)
    careful = replace(farther, caution=2 * farther.caution)
    assert careful.doubt(x)[0] == pytest.approx(2 * farther.doubt(x)[0])
    assert farther.doubt(x)[0] > 0.01


def test_neighbours_count_by_inverse_distance():
    """In two dimensions by the fourth power: at distances 1 and 2 with 16/17 and 1/17."""
    known = np.array([[1.0, 0.0], [0.0, 2.0]])
    weights = _neighbours(np.zeros((1, 2)), known)
    np.testing.assert_allclose(weights, [[16 / 17, 1 / 17]], rtol=1e-6)
    np.testing.assert_allclose(_neighbours(known, known), np.eye(2), atol=1e-6)
    np.testing.assert_allclose(_neighbours(known, known, others_only=True), 1 - np.eye(2))


def test_doubt_is_by_hand():
    """A success at 1 and a failure at 2, to the third power: 8/9 nearby, 1/2 on the whole."""
    problem = infill(
        successes=np.array([[1.0]]), failures=np.array([[2.0]]), trust=0.25, caution=3.0
    )
    near, far = 1 / (1 + 2**-3), 0.5
    share = (0.75 * far + 0.25 * near) / (0.75 * far + 0.25)
    assert problem.doubt(np.zeros((1, 1)))[0] == pytest.approx(-3 * np.log(share), rel=1e-6)


LINE = Space(x=Real(-1, 1))


@pytest.mark.parametrize(("weights", "end"), [([0.0, 2.0], 0.1), ([3.0, 0.0], -0.6)])
def test_local_searches_end_on_the_constraint_that_stops_them(weights, end):
    """Of x and -x one is minimised; both constraints hold by their margin from -0.6 to 0.1."""
    objective = partial(_weighted, np.array(weights))
    found = _searched(infill(), LINE, np.array([0.0]), objective, 40)
    assert found == pytest.approx([end], abs=1e-5)
    assert infill().merit(found[None])[0] > 0, "just inside"
    free = infill(
        surrogates=fit(X, VALUES[:, :2], focus=np.arange(9)), margins=np.empty(0), units=np.empty(0)
    )
    assert _searched(free, LINE, np.array([0.0]), objective, 40) == pytest.approx([np.sign(end)])


def test_an_infeasible_start_walks_in_and_climbs_to_the_top():
    """Of 4 - x² at 0, from beyond the constraint at 0.1; and from where nothing is gained."""
    found = _polished(infill(), LINE, np.array([0.5]), np.array([0.0, 1.0]))
    assert found == pytest.approx([0], abs=1e-2)
    above = infill(improvement=Improvement(np.empty((0, 2)), np.array([2.0, 0.3])))  # x > -0.3
    found = _polished(above, LINE, np.array([-0.5]), np.array([0.0, 1.0]))
    assert found == pytest.approx([0.1], abs=1e-3)


def test_where_nothing_is_gained_the_least_known_place_is_next():
    """All points up to 0 are known; failures at 0.9 are reason to stay away from there."""
    hopeless = infill(
        surrogates=fit(X, VALUES[:, :2], focus=np.arange(9)),
        improvement=Improvement(np.empty((0, 2)), np.array([-9.0, -9.0])),
        uncertainty=Uncertainty(X[:5]), margins=np.empty(0), units=np.empty(0), successes=X[:5],
    )  # fmt: skip
    for failures, low, high in ((X[:0], 0.99, 1.0), (np.array([[0.9]]), 0.3, 0.8)):
        problem = replace(hopeless, failures=failures, trust=1.0, caution=2.0)
        found = best_point(problem, LINE, X[:2], X[:5], np.random.default_rng(0))
        assert low <= found[0] <= high
    hope = Improvement(np.empty((0, 2)), np.array([0.2, -0.25]))  # for x < 0.2 and x > 0.25
    problem = replace(hopeless, improvement=hope, uncertainty=Uncertainty(X[:3]))
    found = best_point(problem, LINE, X[:2], X[:3], np.random.default_rng(0))
    assert 0 < found[0] < 0.45, "with its errors taken off, this place gains"


def test_new_points_are_apart_from_those_that_are_taken_and_starts_from_each_other():
    points = np.array([[0.0], [0.99e-4], [1.01e-4], [0.05], [0.11], [0.5], [-0.4], [0.9]])
    left = _free(points, np.array([[0.0], [1.0]]))
    assert left[:, 0].tolist() == [1.01e-4, 0.05, 0.11, 0.5, -0.4, 0.9]
    assert [float(p[0]) for p in _apart(left)] == [1.01e-4, 0.11, 0.5]


def margin(constraints):
    """Margin of a constraint after a history, the error of its surrogate, and its mean size."""
    optimizer = SamoCobra(Space(x=Real(-1, 1)), 1, 1, n_initial=2)
    x = np.linspace(-0.9, 0.9, len(constraints))
    optimizer.tell([{"x": v} for v in x], [[v, c] for v, c in zip(x, constraints, strict=True)])
    plan = _Plan(optimizer)
    error = plan._surrogates.functions[1].error
    return plan._margins[0], error, np.mean(np.abs(constraints))


@pytest.mark.parametrize(
    ("constraints", "root"),
    [
        ([-0.01, 5, -3, -9], 0.3 * 0.9 * 0.9),  # held twice since the two of the design
        ([-0.01, 5, 3, 9], 0.3 * 1.2 * 1.2),  # violated twice
        ([5, 4, -3, 9, -6], 0.3 * 0.9 * 1.2 * 0.9),
        ([5, 4] + [-3, -6] * 5, 0.2),  # never narrower
    ],
)
def test_margins_narrow_where_constraints_hold_and_widen_where_not(constraints, root):
    found, error, size = margin(constraints)
    assert found == pytest.approx(min(root**2 * error, 0.16 * size))
    assert found > 0


def test_margins_are_a_share_of_the_constraints_size_at_most():
    found, error, size = margin([5, 4] + [3, 6, 1, 9, 2, 8] * 3)
    assert 2.0**2 * error > 0.16 * size  # the root has reached its largest
    assert found == pytest.approx(0.16 * size)


def test_without_a_reference_point_it_lies_a_fifth_of_the_range_beyond_the_worst():
    optimizer = SamoCobra(Space(x=Real(-1, 1)), 3)
    points = [{"x": v} for v in (-0.5, 0.0, 0.5)]
    optimizer.tell(points, [[1, -20, 4], [3, -10, 4], [2, -15, 4]])
    np.testing.assert_allclose(_Plan(optimizer)._reference(), [3.4, -8, 4.2])


def test_failures_make_wary_and_successes_bold():
    optimizer = SamoCobra(Space(x=Real(-1, 1)), 1, n_initial=1)
    outcomes = [None, [1], None, [2], [3]]  # the design, a success, a failure, two successes
    optimizer.tell([{"x": v / 10} for v in range(5)], outcomes)
    assert _Plan(optimizer)._caution() == pytest.approx(2.0 * 3.0 * 0.99 * 0.99)
