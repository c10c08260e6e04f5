"""Parameters as coordinates, and back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from culi_mlip.errors import SpaceError
from culi_mlip.optimize import Categorical, Integer, Real, Space

SPACE = Space(
    r_max=Real(4, 8),
    lr=Real(1e-4, 1e-2, log=True),
    layers=Integer(1, 4),
    width=Integer(4, 256, log=True),
    variant=Categorical("mlp", "qdi", None),
)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_points_survive_their_coordinates(seed):
    rng = np.random.default_rng(seed)
    coordinates = SPACE.snap(rng.uniform(-1.5, 1.5, (5, SPACE.dimension)))
    np.testing.assert_allclose(SPACE.snap(coordinates), coordinates, atol=1e-12)
    for row in coordinates:
        point = SPACE.decode(row)
        np.testing.assert_allclose(SPACE.encode(point), row, atol=1e-12)
        assert 4 <= point["r_max"] <= 8
        assert isinstance(point["layers"], int)
        assert point["variant"] in ("mlp", "qdi", None)


def test_logarithmic_ranges_have_their_geometric_mean_in_the_middle():
    point = SPACE.decode(np.zeros(SPACE.dimension))
    assert point["lr"] == pytest.approx(1e-3)
    assert point["width"] == 32
    assert point["r_max"] == 6


def test_bounds_are_reached_exactly():
    low, high = SPACE.decode(SPACE.lower), SPACE.decode(SPACE.upper)
    assert (low["lr"], high["lr"]) == (1e-4, 1e-2)
    assert (low["width"], high["width"]) == (4, 256)


def test_two_categories_are_as_far_apart_as_the_ends_of_a_range():
    space = Space(kind=Categorical("a", "b", "c"), x=Real(0, 1))
    a, b = (space.encode({"kind": kind, "x": 0}) for kind in "ab")
    assert np.linalg.norm(a - b) == pytest.approx(2)
    end = space.encode({"kind": "a", "x": 1})
    assert np.linalg.norm(a - end) == pytest.approx(2)


def test_neighbours_differ_and_stay_inside():
    rng = np.random.default_rng(0)
    discrete = Space(n=Integer(0, 3), kind=Categorical("a", "b"))
    start = np.tile(discrete.encode({"n": 0, "kind": "a"}), (200, 1))
    near = discrete.steps(rng, start, 1e-6)
    points = [discrete.decode(row) for row in near]
    assert {p["n"] for p in points} == {0, 1}
    assert {p["kind"] for p in points} == {"a", "b"}


def test_neighbours_change_in_some_parameters_by_steps_of_the_given_size():
    """Of four parameters each changes with probability 1/2, and one at least: 5 in 8."""
    rng = np.random.default_rng(1)
    space = Space(**{name: Real(0, 1) for name in "abcd"})
    start = np.full((20_000, 4), 0.1)
    change = space.steps(rng, start, np.repeat([0.02, 0.05], 10_000)) - start
    assert (change != 0).any(axis=1).all()
    np.testing.assert_allclose((change != 0).mean(axis=0), 5 / 8, atol=0.02)
    for rows, size in ((change[:10_000], 0.02), (change[10_000:], 0.05)):
        assert rows[rows != 0].std() == pytest.approx(size, rel=0.02)
        assert abs(rows.mean()) < 0.05 * size


def test_number_of_points():
    assert Space(n=Integer(1, 4), kind=Categorical("a", "b")).n_points == 8
    assert SPACE.n_points == np.inf


@pytest.mark.parametrize(
    ("parameter", "words"),
    [
        (Real(2, 1), "bounds 2 and 1: the lower must be less"),
        (Real(1, 1), "the lower must be less"),
        (Real(0, 1, log=True), "logarithmic range from 0: it must start above zero"),
        (Integer(-1, 5, log=True), "must start above zero"),
        (Real(0, np.inf), "give finite numbers"),
        (Real(np.nan, 1), "give finite numbers"),
        (Integer(1, 2.5), "give integers"),
        (Categorical("qdi"), "a categorical of 1: give at least two"),
        (Categorical("a", "b", "a"), "given twice"),
        (3, "is a int: give Real, Integer or Categorical"),
    ],
)
def test_impossible_parameters_are_refused(parameter, words):
    with pytest.raises(SpaceError, match=f"parameter x.*{words}"):
        Space(x=parameter)


def test_a_space_without_parameters_is_refused():
    with pytest.raises(SpaceError, match="no parameter"):
        Space()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"r_max": 9}, "r_max=9: give a value of 4 to 8"),
        ({"layers": 1.5}, "layers=1.5: give an integer"),
        ({"variant": "gnn"}, "variant='gnn': choose one of 'mlp', 'qdi', None"),
        ({"cutoff": 3}, "lacks or adds cutoff"),
        ({"lr": np.nan}, "lr=nan: give a value"),
    ],
)
def test_points_outside_are_refused(change, words):
    point = {"r_max": 5, "lr": 1e-3, "layers": 2, "width": 8, "variant": "mlp"} | change
    with pytest.raises(SpaceError, match=words):
        SPACE.encode(point)
