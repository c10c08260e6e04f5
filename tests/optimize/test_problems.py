"""The benchmark's eighteen problems at points whose values are published."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "samo_problems.py"
spec = importlib.util.spec_from_file_location("samo_problems", FILE)
problems = importlib.util.module_from_spec(spec)
spec.loader.exec_module(problems)

# Problem, point, objectives there, constraints that are active there; and where it is published.
POINTS = [
    ("bnh", (0, 0), (0, 50), []),  # Binh and Korn 1997: ends of the front
    ("bnh", (5, 3), (136, 4), []),
    ("cexp", (7 / 18, 2.5), (7 / 18, 9), [0, 1]),  # Deb 2001: where the front bends
    ("cexp", (2 / 3, 0), (2 / 3, 1.5), [0]),
    ("srn", (-2.5, 2.5), (24.5, -24.75), [1]),  # Deb 2001: the front is x1 = -2.5
    ("tnk", (1.0384, 0.0417), (1.0384, 0.0417), [1]),  # Tanaka et al. 1995: end of the front
    ("osy", (5, 1, 5, 0, 5, 0), (-274, 76), [1, 3, 5]),  # Deb 2001: least first objective
    ("osy", (1, 1, 1, 0, 1, 0), (-42, 4), [0, 4, 5]),  # and least second one
    ("dbd", (55, 75, 3000, 2), (0.1274, 16.6549), [0]),  # Osyczka and Kundu 1995: least mass
    ("srd", (3.5, 0.7, 17, 7.3, 7.8, 3.350215, 5.286683), (2996.348, None), [6]),  # Golinski
    ("wb", (0.2444, 6.2175, 8.2915, 0.2444), (2.381, 0.01576), [2]),  # Deb 2001: least cost
    ("c3dtlz4", (0.5, *[0.5] * 5), (np.sqrt(0.5), np.sqrt(0.5)), []),
    ("bicop1", (1, *[0] * 9), (1, 0), []),  # Datta and Regis 2016
    ("tricop", (0, 0), (5 + 1 / 13, -13 + 9 / 175, 17 + 1 / 27), []),
    # Ideal point of the water problem: Tanabe and Ishibuchi 2020, RE6-1 (third in units of 1e6)
    ("wp", (0.01, 0.01, 0.01), (63840.2774, 30, 0.2853468964, None, None), []),
    ("wp", (0.45, 0.1, 0.01), (None, None, None, 183749.967, 7.2222), []),
]


@pytest.mark.parametrize(("name", "point", "objectives", "active"), POINTS)
def test_published_values(name, point, objectives, active):
    found, constraints = getattr(problems, name)(np.array(point, float))
    for value, published in zip(found, objectives, strict=True):
        if published is not None:
            assert value == pytest.approx(published, rel=2e-4, abs=1e-9)
    for i in active:
        assert abs(constraints[i]) < 1e-2


def test_front_of_bicop2_lies_on_its_first_constraint():
    """Datta and Regis 2016: the sum is sin(πx₁/2) plus the root of 0.1."""
    x = np.array([0.5, *[(9 * np.sin(0.25 * np.pi) + np.sqrt(0.1)) / 9] * 9])
    (first, second), constraints = problems.bicop2(x)
    assert (first, second) == pytest.approx((0.6, 0.85))
    assert constraints[0] == pytest.approx(0, abs=1e-12)
