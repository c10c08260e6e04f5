"""Interpolation, its derivatives, and the choice of kernels."""

import numpy as np
import pytest

from culi_mlip.optimize.surrogates import KERNELS, LINEAR, Uncertainty, fit

RNG = np.random.default_rng(0)
POINTS = RNG.uniform(-1, 1, (40, 3))
ALL = np.arange(len(POINTS))


def smooth(x):
    return np.stack([np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2], np.exp(3 * x[:, 0] - x[:, 2])], 1)


def fitted(**options):
    return fit(POINTS, smooth(POINTS), focus=ALL, **options)


@pytest.mark.parametrize("kernel", KERNELS)
def test_each_kernel_goes_through_all_points_and_has_the_right_slopes(kernel):
    surrogates = fitted(kernels=[kernel])
    np.testing.assert_allclose(surrogates.predict(POINTS), smooth(POINTS), atol=1e-5)
    point = np.array([0.21, -0.4, 0.13])
    values, jacobian = surrogates.with_jacobian(point)
    np.testing.assert_allclose(values, surrogates.predict(point[None])[0], rtol=1e-10)
    for i, step in enumerate(1e-6 * np.eye(3)):
        ends = surrogates.predict(np.array([point - step, point + step]))
        np.testing.assert_allclose(jacobian[:, i], np.diff(ends, axis=0)[0] / 2e-6, rtol=1e-4)


@pytest.mark.parametrize("n", [5, 7, 12, 40])
def test_leave_one_out_errors_are_those_of_fits_without_the_point(n):
    """Few points, where a polynomial is not determined, and many."""
    points, values = POINTS[:n], smooth(POINTS[:n])[:, :1]
    whole = fit(points, values, focus=np.arange(n), kernels=["cubic"])
    (function,) = whole.functions
    errors = []
    for i in range(n):
        rest = np.delete(np.arange(n), i)
        left = fit(points[rest], values[rest], focus=np.arange(n - 1), kernels=["cubic"])
        assert (left.functions[0].scale == LINEAR) == (function.scale == LINEAR)
        errors.append(left.predict(points[[i]])[0, 0] - values[i, 0])
    assert function.error == pytest.approx(np.sqrt(np.mean(np.square(errors))), rel=1e-3)


def left_out(points, values):
    """Errors at points of fits without them, and whether their logarithms were interpolated."""
    for i in range(len(points)):
        rest = np.delete(np.arange(len(points)), i)
        left = fit(points[rest], values[rest], focus=np.arange(len(rest)), kernels=["cubic"])
        yield left.predict(points[[i]])[0, 0] - values[i, 0], left.functions[0].scale != LINEAR


def test_errors_are_those_of_the_evaluations_that_count_in_the_functions_unit():
    """Also where a logarithm is interpolated, whose unit depends a little on all points."""
    points, focus = POINTS[:12], np.array([3, 7, 8])
    values = smooth(points)[:, :1]
    errors, _ = np.transpose(list(left_out(points, values)))
    (function,) = fit(points, values, focus=focus, kernels=["cubic"]).functions
    assert function.error == pytest.approx(np.sqrt(np.mean(errors[focus] ** 2)), rel=1e-3)
    values = 1000 * np.exp(4 * points[:, :1])
    errors, are_logarithms = np.transpose(list(left_out(points, values)))
    (function,) = fit(points, values, focus=np.arange(12), kernels=["cubic"]).functions
    assert are_logarithms.all()
    assert function.scale != LINEAR
    assert function.error == pytest.approx(np.sqrt(np.mean(errors**2)), rel=0.3)


def test_quadratic_functions_are_exact_from_few_points():
    values = (POINTS**2 @ [1, 2, 3] + POINTS @ [3, 0, -1] + 5)[:, None]
    surrogates = fit(POINTS[:9], values[:9], focus=np.arange(9))
    np.testing.assert_allclose(surrogates.predict(POINTS), values, atol=1e-6)


def test_functions_over_many_magnitudes_are_interpolated_as_logarithms():
    steep = np.exp(6 * POINTS[:, :1])
    (function,) = fit(POINTS, steep, focus=ALL).functions
    assert function.scale != LINEAR
    powers = 1 / (POINTS[:, :1] + 1.02)  # hyperbola from 0.5 to 50: its plain logarithm is smooth
    (function,) = fit(POINTS, powers, focus=ALL).functions
    assert function.scale < 0.1 * np.median(powers)
    straight, _ = fit(POINTS, np.hstack([POINTS[:, :1], steep]), focus=ALL).functions
    assert straight.scale == LINEAR


def test_noise_is_smoothed_and_its_absence_is_not():
    noisy = smooth(POINTS) + RNG.normal(scale=0.3, size=(len(POINTS), 2))
    first = fit(POINTS, noisy, focus=ALL, noisy=True).functions[0]
    assert first.smoothing > 0
    assert fitted(noisy=True).functions[0].smoothing == 0


def test_constant_functions_and_repeated_points_do_no_harm():
    points = np.vstack([POINTS[:5], POINTS[:5]])
    surrogates = fit(points, np.ones((10, 1)), focus=np.arange(10))
    np.testing.assert_allclose(surrogates.predict(POINTS), 1, atol=1e-6)


def test_uncertainty_vanishes_at_known_points_and_rises_to_one():
    uncertainty = Uncertainty(POINTS)
    assert uncertainty(POINTS).max() < 1e-3
    assert uncertainty(np.full((1, 3), 1e3))[0] == pytest.approx(1, abs=1e-3)
    point = np.array([0.8, 0.9, -0.7])
    value, gradient = uncertainty.with_gradient(point)
    assert value == pytest.approx(uncertainty(point[None])[0], rel=1e-6)
    for i, step in enumerate(1e-6 * np.eye(3)):
        ends = uncertainty(np.array([point - step, point + step]))
        assert gradient[i] == pytest.approx((ends[1] - ends[0]) / 2e-6, rel=1e-3)
