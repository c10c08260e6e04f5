"""What models gave, by ASE's names; of a committee the means and the spread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from nequip.data import AtomicDataDict
from numpy.typing import NDArray

from culi_mlip.models.last_layer import FEATURES_KEY

Found = dict[str, NDArray[np.float64]]
"""What a model gave, by nequip's keys: of each atom, or of each structure."""

UNCERTAINTIES = ("uncertainty", "domain_distance", "energy_uncertainty")
"""What the last layer's features tell; see `culi_mlip.calculator.uncertainty`."""

OF_ATOMS = (
    *(AtomicDataDict.PER_ATOM_ENERGY_KEY, AtomicDataDict.FORCE_KEY, FEATURES_KEY),
    *UNCERTAINTIES[:2],
)
"""What a model gives of each atom."""


_VOIGT = [0, 4, 8, 5, 2, 1]
"""xx, yy, zz, yz, xz, xy among the nine components."""


def results_of(members: Sequence[Found]) -> dict[str, Any]:
    """Return a structure's results by ASE's names, from what one model or a committee gave."""
    each = [_named(found) for found in members]
    return each[0] if len(each) == 1 else _merged(each)


def split(found: Found, sizes: Sequence[int]) -> list[Found]:
    """Return what a model gave of each structure of a batch, by their numbers of atoms."""
    ends = np.cumsum(sizes)[:-1]
    parts = {k: np.split(v, ends) if k in OF_ATOMS else v for k, v in found.items()}
    return [{key: of_each[i] for key, of_each in parts.items()} for i in range(len(sizes))]


def _named(found: Found) -> dict[str, Any]:
    """What a model gave, by ASE's names."""
    energy = float(found[AtomicDataDict.TOTAL_ENERGY_KEY].item())
    results: dict[str, Any] = {"energy": energy, "free_energy": energy}
    results["energies"] = found[AtomicDataDict.PER_ATOM_ENERGY_KEY].reshape(-1)
    results["forces"] = found[AtomicDataDict.FORCE_KEY]
    stress = found[AtomicDataDict.STRESS_KEY].reshape(3, 3)
    if np.isfinite(stress).all():  # a cell without volume has none
        results["stress"] = ((stress + stress.T) / 2).ravel()[_VOIGT]
    for name in UNCERTAINTIES:
        if name in found:
            results[name] = float(found[name].item()) if name not in OF_ATOMS else found[name]
    return results


def _merged(members: list[dict[str, Any]]) -> dict[str, Any]:
    """Means of the members' results, and the spread of energy and forces."""
    means = {name: np.mean([m[name] for m in members], axis=0) for name in members[0]}
    energies = [m["energy"] for m in members]
    variances = np.var([m["forces"] for m in members], axis=0, ddof=1)
    return {
        **means,
        "energy": float(means["energy"]),
        "free_energy": float(means["free_energy"]),
        "energy_std": float(np.std(energies, ddof=1)),
        "forces_std": np.sqrt(variances.sum(axis=1)),
    }
