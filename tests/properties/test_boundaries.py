"""Boundaries of film and substrate: known widths are found, whatever the number of atoms."""

import numpy as np
import pytest
from ase import Atoms
from scipy import stats

from culi_mlip.errors import CuliError
from culi_mlip.properties import intermixing


def mixed(deviations, middle=21.0, n=300, seed=0):
    """Frames whose atoms are lithium by an error function of their height."""
    rng = np.random.default_rng(seed)
    frames = []
    for k, deviation in enumerate(deviations):
        z = rng.uniform(0, 40, n)
        is_film = rng.random(n) < stats.norm.cdf((z - middle) / deviation)
        symbols = np.where(is_film, "Li", "Cu")
        frames.append(Atoms(symbols, positions=np.outer(z, [0, 0, 1]), info={"time_ps": 0.5 * k}))
    return frames


@pytest.mark.parametrize("deviation", [1.0, 4.0])
def test_a_known_width_is_found(deviation):
    found = intermixing(mixed([deviation] * 60), parts=3)
    ten, ninety = (stats.norm.ppf(share, scale=deviation) for share in (0.1, 0.9))
    np.testing.assert_allclose(found.widths, ninety - ten, rtol=0.12)
    np.testing.assert_allclose(found.heights, 21.0, atol=0.3)
    np.testing.assert_allclose(found.times, [4.75, 14.75, 24.75])
    # ∫ of the tail, deviation/√(2π), over the 19 Å of film and the 21 Å of substrate.
    tail = deviation / (2 * np.pi) ** 0.5
    np.testing.assert_allclose(found.crossed.mean(axis=0), [tail / 19, tail / 21], rtol=0.15)


def test_a_boundary_that_spreads_is_seen_to():
    found = intermixing(mixed(np.linspace(0.3, 5, 100)), parts=5)
    assert (np.diff(found.widths) > 0).all()


def test_a_sharp_boundary_lies_in_the_gap():
    z = np.array([0.0, 2, 4, 6, 9, 11, 13])
    atoms = Atoms("Cu4Li3", positions=np.outer(z, [0, 0, 1]))
    found = intermixing([atoms], parts=1)
    assert 6 < found.heights[0] < 9
    assert found.widths[0] < 1.5
    assert found.crossed.tolist() == [[0, 0]]
    film, substrate = found.profiles[0]
    assert found.bins[film > 0] == pytest.approx([9, 11, 13], abs=0.11)
    assert found.bins[substrate > 0] == pytest.approx([0, 2, 4, 6], abs=0.11)
    step = found.bins[1] - found.bins[0]
    assert found.profiles.sum(axis=2) * step == pytest.approx(np.array([[3, 4]]))
    assert found.times.tolist() == [0]


@pytest.mark.parametrize(
    ("frames", "what"),
    [
        ([Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 2]])], "Cu2 has no boundary of Li and Cu"),
        ([Atoms("LiCu", positions=[[0, 0, 0], [0, 0, 2]])], "the Li does not lie above the Cu"),
        ([], "0 frames in 1 parts"),
    ],
)
def test_what_has_no_boundary_is_refused(frames, what):
    with pytest.raises(CuliError, match=what):
        intermixing(frames, parts=1)
