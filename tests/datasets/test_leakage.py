"""Grouped splits show what random ones hide."""

import numpy as np
import pytest
from ase.calculators.emt import EMT

from culi_mlip.datasets import leakage
from culi_mlip.datasets.leakage import _folds, radial_distribution
from culi_mlip.structures import bulk, rattled


def frames():
    """Near-copies of crystals under very different strains, and which crystal each is."""
    made, groups = [], []
    for group, strain in enumerate(np.linspace(-0.08, 0.08, 8)):
        crystal = bulk("Cu", a=3.6 * (1 + strain), repeat=(2, 1, 1))
        for copy in range(6):
            atoms = rattled(crystal, 0.01, seed=copy)
            atoms.calc = EMT()
            made.append(atoms)
            groups.append(group)
    return made, groups


def test_random_folds_hide_the_error_of_new_structures():
    made, groups = frames()
    errors = leakage(made, {"parent": groups})
    assert errors["random"] < 0.3 * errors["parent"]
    assert errors == leakage(made, {"parent": groups})


def test_folds_take_whole_groups_and_everything_once():
    groups = [i // 3 for i in range(31)]
    folds = _folds(groups, np.random.default_rng(0))
    assert set(folds) == set(range(5))
    assert len(set(zip(groups, folds, strict=True))) == len(set(groups))
    assert max(np.bincount(folds)) - min(np.bincount(folds)) <= 3


def test_one_group_has_no_error():
    made, _ = frames()
    assert np.isnan(leakage(made, {"parent": [0] * len(made)})["parent"])


def test_fingerprint_does_not_change_with_the_cell_or_a_rotation():
    atoms = rattled(bulk("Cu", cubic=True), 0.05, seed=0)
    turned = atoms.copy()
    turned.rotate(40, (1, 2, 3), rotate_cell=True)
    expected = radial_distribution(atoms, ["Cu"])
    for same in (atoms * (2, 1, 1), turned):
        assert radial_distribution(same, ["Cu"]) == pytest.approx(expected, abs=1e-9)
