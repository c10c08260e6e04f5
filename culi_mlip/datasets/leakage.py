"""How much a random split flatters: the error of a quick model across random and grouped splits."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.spatial.distance import cdist

from culi_mlip.datasets.export import frame_groups, open_store, parts_of
from culi_mlip.datasets.references import composition, composition_energies, fit_energies

RADII = np.linspace(1.5, 6.0, 16)
"""Centres of the radial functions in Å."""

RADIAL_WIDTH = 0.3
"""Their width in Å."""

FOLDS = 5
MOST_FRAMES = 2000
RIDGE = 1e-6


def leakage(
    frames: Iterable[Atoms], groupings: Mapping[str, Sequence[Hashable]], *, seed: int = 0
) -> dict[str, float]:
    """Return the error of a quick model by way of splitting, mean absolute, eV/atom.

    Kernel ridge regression of the energy per atom, beyond the fitted energies of the elements, on
    smeared radial distributions of each pair of species; five-fold cross-validation, whose
    folds take whole groups. Near-copies of training frames among the test frames make the random
    error small, and say nothing of new structures: the grouped error does.

    Parameters
    ----------
    frames
        Frames with energies, read once; of more than `MOST_FRAMES` a random part is kept.
    groupings
        Groups of the frames by name, at least one; "random" is added, every frame its own.
    seed
        Seed of the folds.

    Returns
    -------
    dict
        Error by grouping; NaN where there are fewer than two groups.
    """
    rng = np.random.default_rng(seed)
    n_frames = len(next(iter(groupings.values())))
    chosen = np.sort(rng.permutation(n_frames)[:MOST_FRAMES])
    kept = set(chosen.tolist())
    part = [atoms for i, atoms in enumerate(frames) if i in kept]
    compositions = [composition(atoms) for atoms in part]
    sizes = np.array([len(atoms) for atoms in part])
    energies = np.array([atoms.get_potential_energy() for atoms in part])
    references = fit_energies(compositions, energies)
    targets = (energies - composition_energies(compositions, references)) / sizes
    species = sorted(references)
    features = np.array([radial_distribution(atoms, species) for atoms in part])
    distances = cdist(features, features)
    kernel = np.exp(-0.5 * (distances / max(np.median(distances), 1e-12)) ** 2)
    errors = {}
    for name, groups in {"random": range(n_frames), **groupings}.items():
        names = [groups[i] for i in chosen]
        errors[name] = _error(kernel, targets, _folds(names, rng))
    return errors


class SplitError(NamedTuple):
    """The error of a quick model by one way to split a dataset."""

    by: str  # "frame", "trajectory" or "parent": what is kept whole
    n_groups: int  # how many groups there are, of frames for "frame"
    error: float  # mean absolute error of the energy in eV/atom


def leakage_by_split(
    folder: str | os.PathLike[str], *, engine_digest: str | None = None, seed: int = 0
) -> list[SplitError]:
    """Return what each way to split the frames of a dataset's parts would say of a quick model.

    Parameters
    ----------
    folder
        Of a dataset that has been split.
    engine_digest
        As in `culi_mlip.datasets.export_parts`.
    seed
        As in `leakage`.

    Raises
    ------
    DatasetError
        If the folder has no store.
    """
    store, kept = open_store(folder), parts_of(folder)
    groupings: dict[str, list[Hashable]] = {}
    for way in ("trajectory", "parent"):
        groups, _, uids = frame_groups(store, way, engine_digest)
        groupings[way] = [group for group, uid in zip(groups, uids, strict=True) if uid in kept]
    frames = (atoms for atoms in store.frames(engine_digest) if atoms.info["uid"] in kept)
    errors = leakage(frames, groupings, seed=seed)
    return [
        SplitError("frame", len(groupings["parent"]), errors["random"]),
        *(SplitError(way, len(set(groups)), errors[way]) for way, groups in groupings.items()),
    ]


def radial_distribution(atoms: Atoms, species: Sequence[str]) -> NDArray[np.float64]:
    """Return smeared radial distributions of all pairs of species, an atom, shape (features,)."""
    i, j, distances = neighbor_list("ijd", atoms, float(RADII[-1]))
    values = np.exp(-0.5 * ((distances[:, None] - RADII) / RADIAL_WIDTH) ** 2)
    symbols = np.array(atoms.get_chemical_symbols())
    features = [
        values[(symbols[i] == a) & (symbols[j] == b)].sum(axis=0) / len(atoms)
        for n, a in enumerate(species)
        for b in species[n:]
    ]
    shares = [np.array([(symbols == a).mean()]) for a in species]
    return np.concatenate([*features, *shares])


def _folds(groups: Sequence[Hashable], rng: np.random.Generator) -> NDArray[np.int64]:
    """The fold of each frame: groups in random order, each to the smallest fold so far."""
    members: dict[Hashable, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    folds = np.zeros(len(groups), int)
    filled = np.zeros(min(FOLDS, len(members)), int)
    names = list(members)
    for index in rng.permutation(len(names)):
        fold = int(filled.argmin())
        folds[members[names[index]]] = fold
        filled[fold] += len(members[names[index]])
    return folds


def _error(
    kernel: NDArray[np.float64], targets: NDArray[np.float64], folds: NDArray[np.int64]
) -> float:
    if folds.max(initial=0) == 0:
        return float("nan")
    wrong = np.empty(len(targets))
    for fold in range(folds.max() + 1):
        train, test = folds != fold, folds == fold
        matrix = kernel[np.ix_(train, train)] + RIDGE * np.eye(train.sum())
        mean = targets[train].mean()
        weights = cho_solve(cho_factor(matrix), targets[train] - mean)
        wrong[test] = kernel[np.ix_(test, train)] @ weights + mean - targets[test]
    return float(np.abs(wrong).mean())
