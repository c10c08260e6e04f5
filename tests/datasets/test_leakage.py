"""Grouped splits show what random ones hide."""

import itertools
import shutil
import sys

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from culi_mlip.datasets import Store, leakage
from culi_mlip.datasets.leakage import _folds, leakage_by_split, radial_distribution
from culi_mlip.reference import get_engine
from culi_mlip.structures import Entry, bulk, rattled


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


def clusters():
    """Five pairs of clusters of copper and lithium, of different sizes and energies."""
    rng = np.random.default_rng(1)
    for n in range(10):
        symbols = ["Cu"] * (2 + n % 3) + ["Li"] * (1 + n // 4)
        atoms = Atoms(symbols, rng.uniform(0, 5, (len(symbols), 3)))
        yield atoms, -3.5 * (2 + n % 3) - 1.5 * (1 + n // 4) + rng.normal()


def test_the_error_is_that_of_kernel_regression_left_out_by_groups():
    """By loops over pairs and a plain solve; five groups are the five folds, in any order."""
    frames, energies = map(list, zip(*clusters(), strict=True))
    for atoms, energy in zip(frames, energies, strict=True):
        atoms.calc = SinglePointCalculator(atoms, energy=energy)
    sizes = np.array([len(atoms) for atoms in frames])
    shares = np.array([[(a.symbols == s).mean() for s in ("Cu", "Li")] for a in frames])
    per_atom = np.array(energies) / sizes
    targets = per_atom - shares @ np.linalg.lstsq(shares, per_atom, rcond=None)[0]
    rows = []
    for atoms, share in zip(frames, shares, strict=True):
        sums = {pair: np.zeros(16) for pair in ("CuCu", "CuLi", "LiLi")}
        for i, j in itertools.permutations(range(len(atoms)), 2):
            pair, distance = atoms.symbols[i] + atoms.symbols[j], atoms.get_distance(i, j)
            if pair in sums and distance < 6:
                centres = 1.5 + 0.3 * np.arange(16)
                sums[pair] += np.exp(-((distance - centres) ** 2) / (2 * 0.3**2)) / len(atoms)
        rows.append(np.concatenate([*sums.values(), share]))
        expected = radial_distribution(atoms, ["Cu", "Li"])
        np.testing.assert_allclose(rows[-1], expected, atol=1e-12)
    apart = np.array([[np.linalg.norm(a - b) for b in rows] for a in rows])
    kernel = np.exp(-((apart / np.median(apart)) ** 2) / 2)
    groups = np.arange(10) // 2
    wrong = []
    for group in range(5):
        train, test = groups != group, groups == group
        mean = targets[train].mean()
        inverse = np.linalg.inv(kernel[train][:, train] + 1e-6 * np.eye(8))
        told = kernel[test][:, train] @ inverse @ (targets[train] - mean) + mean
        wrong += list(np.abs(told - targets[test]))
    assert leakage(frames, {"pairs": groups})["pairs"] == pytest.approx(np.mean(wrong), rel=1e-6)


def test_of_very_many_frames_a_random_part_is_taken(monkeypatch):
    """With the groups of those very frames."""
    monkeypatch.setattr(sys.modules[leakage.__module__], "MOST_FRAMES", 20)
    made, groups = frames()
    rng = np.random.default_rng(3)
    chosen = sorted(rng.permutation(48)[:20])
    part = leakage([made[i] for i in chosen], {"one": [groups[i] < 4 for i in chosen]}, seed=0)
    assert leakage(made, {"one": [g < 4 for g in groups]}, seed=3)["one"] == pytest.approx(
        part["one"]
    )


def test_ways_to_split_are_judged_by_the_frames_of_the_parts(tiny_data, tmp_path):
    """Nine rattled copies of three crystals; a frame that the audit dropped does not count."""
    data = shutil.copytree(tiny_data, tmp_path / "data")
    store = Store(data / "store.db")
    unfit = Entry(bulk("Cu", a=3.7), "bulk", results={"energy": 1.0, "forces": [[99.0, 0, 0]]})
    store.add([unfit], get_engine("emt"))
    rows = leakage_by_split(data, seed=2)
    assert [(row.by, row.n_groups) for row in rows] == [
        ("frame", 9), ("trajectory", 9), ("parent", 3)
    ]  # fmt: skip
    kept = [atoms for atoms in store.frames() if atoms.info["uid"] != unfit.uid]
    roots = [atoms.info.get("parent", atoms.info["uid"]) for atoms in kept]
    errors = leakage(kept, {"trajectory": range(9), "parent": roots}, seed=2)
    assert [row.error for row in rows] == [errors[k] for k in ("random", "trajectory", "parent")]
