"""Diffusion of known processes within the errors that are stated; distributions against ASE's."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.geometry.rdf import get_rdf

from culi_mlip.errors import CuliError
from culi_mlip.properties import arrhenius, diffusion, radial_distribution
from culi_mlip.properties.transport import mean_square_displacement, unwrapped
from culi_mlip.structures import rattled

INTERVAL, D = 0.05, 0.8  # ps, Å²/ps


def walk(seed, frames=2000, atoms=16, dimensions=3):
    rng = np.random.default_rng(seed)
    steps = rng.normal(scale=(2 * D * INTERVAL) ** 0.5, size=(frames, atoms, dimensions))
    return steps.cumsum(axis=0)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_known_diffusion_is_within_the_stated_error_as_often_as_stated(dimensions):
    """At 95 %: of 200 walks 190 are, give or take 3."""
    within = 0
    for seed in range(200):
        found = diffusion(walk(seed, dimensions=dimensions), INTERVAL)
        within += abs(found.coefficient - D) < found.error
    assert 184 <= within <= 197


def test_error_falls_with_the_length_of_the_run():
    errors = [
        np.mean([diffusion(walk(seed, frames=n), INTERVAL).error for seed in range(20)])
        for n in (2000, 8000)
    ]
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.25)


def test_drift_of_what_they_diffuse_in_is_taken_out():
    drift = 0.05 * np.arange(2000)[:, None, None] * [1.0, 0.0, 0.0]
    crystal = drift + np.zeros((1, 8, 3))
    found = diffusion(walk(1) + drift, INTERVAL, relative_to=crystal)
    assert found.coefficient == pytest.approx(diffusion(walk(1), INTERVAL).coefficient)
    assert diffusion(walk(1) + drift, INTERVAL).coefficient > 1.5 * D


def test_atoms_that_stay_have_no_coefficient():
    rng = np.random.default_rng(0)
    found = diffusion(rng.normal(scale=0.1, size=(2000, 10, 3)), INTERVAL)
    assert found.coefficient is found.error is None
    assert "run longer" in found.withheld
    assert abs(found.exponent) < 0.1
    with pytest.raises(CuliError, match="give at least 100 ps"):
        diffusion(walk(0, frames=1999), INTERVAL)
    with pytest.raises(CuliError, match="give times of two frames"):
        diffusion(walk(0), INTERVAL, fit=(0.01, 1.0))


def test_line_is_fitted_between_the_times_that_are_given():
    """Of what runs in circles below a picosecond and wanders above."""
    times = INTERVAL * np.arange(4000)[:, None, None]
    circles = 2 * np.concatenate([np.sin(9 * times), np.cos(9 * times)], axis=2)
    path = walk(2, frames=4000, dimensions=2) + circles
    late = diffusion(path, INTERVAL, fit=(2 * np.pi / 9, 10 * 2 * np.pi / 9))
    early = diffusion(path, INTERVAL, fit=(0.05, 0.3))
    assert late.coefficient == pytest.approx(D, abs=0.15)
    assert early.coefficient > 3 * D


def test_mean_square_displacement_is_over_all_origins():
    positions = walk(3, frames=30, atoms=2)
    by_hand = [
        np.mean([np.sum((positions[t + lag] - positions[t]) ** 2, axis=1) for t in range(30 - lag)])
        for lag in (1, 7, 29)
    ]
    np.testing.assert_allclose(mean_square_displacement(positions, [1, 7, 29]), by_hand)


def test_boundaries_are_no_jumps():
    path = walk(5, frames=200, atoms=4)
    frames = [
        Atoms("Li4", positions=p + 1.0, cell=[[6, 0, 0], [1, 5, 0], [0, 2, 7]], pbc=(1, 1, 0))
        for p in path
    ]
    for atoms in frames:
        atoms.wrap()
    found = unwrapped(frames)
    np.testing.assert_allclose(found - found[0], path - path[0], atol=1e-9)


def test_activation_energy_of_a_known_law():
    temperatures = np.array([300.0, 400.0, 500.0, 700.0])
    exact = 50 * np.exp(-0.3 / (units.kB * temperatures))
    found = arrhenius(temperatures, exact, 0.1 * exact)
    assert found.activation_energy == pytest.approx(0.3)
    assert found.prefactor == pytest.approx(50)
    rng, within = np.random.default_rng(0), 0
    for _ in range(300):
        noisy = exact * np.exp(rng.normal(scale=0.1 / 1.96, size=4))
        one = arrhenius(temperatures, noisy, 0.1 * noisy)
        within += abs(one.activation_energy - 0.3) < one.error
    assert 270 <= within <= 298
    with pytest.raises(CuliError, match="two temperatures"):
        arrhenius([300], [1.0], [0.1])
    with pytest.raises(CuliError, match="positive"):
        arrhenius([300, 400], [1.0, -1.0], [0.1, 0.1])


def test_radial_distribution_is_ases():
    frames = [rattled(bulk("Cu", cubic=True) * (4, 4, 4), 0.1, seed=i) for i in range(3)]
    distances, density = radial_distribution(frames, ("Cu", "Cu"), r_max=6.5, bin_width=0.1)
    expected = np.mean([get_rdf(atoms, 6.5, 65)[0] for atoms in frames], axis=0)
    np.testing.assert_allclose(density * 255 / 256, expected, atol=1e-9)  # ASE's: all atoms
    np.testing.assert_allclose(distances, np.arange(0.05, 6.5, 0.1))


def test_radial_distribution_of_two_elements_and_far_away():
    rng = np.random.default_rng(1)
    gas = Atoms("Cu500Li1500", positions=rng.uniform(0, 30, (2000, 3)), cell=[30] * 3, pbc=True)
    for pair in (("Cu", "Li"), ("Li", "Cu"), ("Li", "Li")):
        _, density = radial_distribution([gas], pair, r_max=12, bin_width=1.0)
        np.testing.assert_allclose(density[3:], 1, atol=0.03)
    with pytest.raises(CuliError, match="three periods"):
        radial_distribution([Atoms("Li2", cell=[5, 5, 5], pbc=(1, 1, 0))], ("Li", "Li"))
    with pytest.raises(CuliError, match="needs both"):
        radial_distribution([gas], ("Li", "Ag"))
