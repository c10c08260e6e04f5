"""Improvements of hypervolume against moocore's hypervolume of the larger front."""

import numpy as np
import pytest

from culi_mlip.optimize.hypervolume import Improvement, hypervolume, nondominated


@pytest.mark.parametrize("k", [1, 2, 3, 5])
@pytest.mark.parametrize("n", [0, 1, 12])
def test_improvement_is_the_difference_of_two_hypervolumes(k, n):
    rng = np.random.default_rng(k + 10 * n)
    front, points = rng.random((n, k)), rng.uniform(-0.2, 1.2, (50, k))
    reference = np.full(k, 1.1)
    before = hypervolume(front, reference)
    expected = [hypervolume(np.vstack([front, p]), reference) - before for p in points]
    improvement = Improvement(front, reference)
    np.testing.assert_allclose(improvement(points), expected, atol=1e-12)
    for point, value in zip(points, expected, strict=True):
        assert improvement.with_gradient(point)[0] == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_gradient_of_the_improvement_is_that_of_finite_differences(k):
    rng = np.random.default_rng(k)
    improvement = Improvement(rng.uniform(0.3, 1, (8, k)), np.ones(k))
    for point in rng.uniform(0, 0.4, (20, k)):
        value, gradient = improvement.with_gradient(point)
        for i, step in enumerate(1e-6 * np.eye(k)):
            change = improvement.with_gradient(point + step)[0] - value
            assert gradient[i] == pytest.approx(change / 1e-6, rel=1e-3, abs=1e-6)


def test_a_front_holds_equal_points_once():
    points = np.array([[0, 1], [1, 0], [0, 1], [1, 1]])
    assert nondominated(points).tolist() == [True, True, False, False]
    assert nondominated(points[:0]).shape == (0,)
