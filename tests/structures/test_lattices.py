"""Superlattices and normal forms against counting and against sympy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sympy import Matrix, divisor_sigma
from sympy.matrices.normalforms import smith_normal_form

from culi_mlip.structures.lattices import (
    distinct_superlattices,
    hermite_normal_form,
    integer_span,
    point_group,
    reduced_plane,
    superlattices,
)

HEXAGON = np.array([[1.0, 0.0], [-0.5, np.sqrt(3) / 2]])
SQUARE = np.eye(2)
entries = st.integers(-12, 12)


@pytest.mark.parametrize("index", [1, 2, 6, 12, 37])
def test_as_many_superlattices_as_divisors_sum_to(index):
    forms = superlattices(index)
    assert len({form.tobytes() for form in forms}) == divisor_sigma(index)
    np.testing.assert_array_equal(np.linalg.det(forms).round(), index)


# Sublattices up to the symmetry of the parent lattice, from index 1 on: OEIS A145393 (square),
# A003051 (hexagonal); Rutherford, Acta Cryst. A 65, 156 (2009).
PUBLISHED = {
    "square": "1 2 2 4 3 5 3 7 5 7 4 11 5 8 8 12 6 13 6 15 10 11 7 21 10 13 12 18 9 22 9 21 14",
    "hexagon": "1 1 2 3 2 3 3 5 4 4 3 8 4 5 6 9 4 8 5 10 8 7 5 15 7 8 9 13 6 14 7 15 10",
}


@pytest.mark.parametrize(("name", "plane"), [("square", SQUARE), ("hexagon", HEXAGON)])
def test_as_many_distinct_superlattices_as_published(name, plane):
    group = point_group(plane)
    published = [int(n) for n in PUBLISHED[name].split()]
    ours = [len(distinct_superlattices(i + 1, group)) for i in range(len(published))]
    assert ours == published


@given(st.lists(entries, min_size=4, max_size=4))
def test_normal_form_spans_the_same_lattice(values):
    matrix = np.array(values).reshape(2, 2)
    det = round(np.linalg.det(matrix))
    if det == 0:
        return
    form = hermite_normal_form(matrix)
    assert form[1, 0] == 0
    assert form[0, 0] > 0
    assert 0 <= form[0, 1] < form[1, 1]
    change = matrix @ np.linalg.inv(form)
    np.testing.assert_allclose(change, np.rint(change), atol=1e-9)
    assert abs(round(np.linalg.det(form))) == abs(det)


@given(st.lists(st.tuples(entries, entries), min_size=2, max_size=6))
def test_span_holds_the_vectors_and_has_their_index(vectors):
    matrix = np.array(vectors)
    if np.linalg.matrix_rank(matrix) < 2:
        return
    basis = integer_span(matrix)
    coordinates = matrix @ np.linalg.inv(basis)
    np.testing.assert_allclose(coordinates, np.rint(coordinates), atol=1e-9)
    smith = smith_normal_form(Matrix(matrix.tolist()))
    index = abs(smith[0, 0] * smith[1, 1])
    assert abs(round(np.linalg.det(basis))) == index


@given(st.floats(1, 9), st.floats(1, 9), st.floats(20, 160), st.lists(entries, min_size=2))
def test_reduced_vectors_are_the_two_shortest(a, b, angle, steps):
    angle = np.radians(angle)
    plane = np.array([[a, 0], [b * np.cos(angle), b * np.sin(angle)]])
    skewed = np.array([[1, steps[0]], [0, 1]]) @ np.array([[1, 0], [steps[1], 1]]) @ plane
    u, v = reduced_plane(skewed)
    assert abs(np.linalg.det([u, v])) == pytest.approx(abs(np.linalg.det(plane)))
    points = [i * u + j * v for i in range(-3, 4) for j in range(-3, 4) if i or j]
    assert np.linalg.norm(u) <= min(np.linalg.norm(p) for p in points) + 1e-9
    assert abs(u @ v) <= 0.5 * u @ u + 1e-6
    assert u @ v <= 1e-6
