"""From a recipe's parts to structures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from ase import Atoms

from culi_mlip.datasets.recipe import (
    AdatomPart,
    AdlayerPart,
    BulkPart,
    InterfacePart,
    Recipe,
    SlabPart,
)
from culi_mlip.datasets.store import Entry
from culi_mlip.structures import adatoms, bulk, interface, li_on_cu, rattled, slab, strained


def generate(recipe: Recipe) -> Iterator[Entry]:
    """Yield every static structure of a recipe, each ideal one before its rattled copies.

    The same recipe gives the same structures in the same order.
    """
    for number, part in enumerate(recipe.structures):
        seeds = np.random.SeedSequence([recipe.seed, number])
        rng = np.random.default_rng(seeds)
        for atoms, how in _IDEAL[type(part)](part, rng):
            ideal = Entry(atoms, part.kind, how=how | {"kind": part.kind})
            yield ideal
            for copy in range(part.disorder.copies):
                sigma = part.disorder.rattle[copy % len(part.disorder.rattle)]
                moved = rattled(atoms, sigma, seed=int(rng.integers(2**31)))
                yield Entry(moved, part.kind, parent=ideal.uid, how={"rattle": sigma})


def _bulk(part: BulkPart, rng: np.random.Generator) -> Iterator[tuple[Atoms, dict[str, Any]]]:
    crystal = bulk(part.symbol, a=part.a, repeat=part.repeat)
    for strain in part.strains:
        yield strained(crystal, strain), {"strain": strain}
    for size in part.shears:
        tensor = rng.uniform(-size, size, (3, 3))
        yield strained(crystal, (tensor + tensor.T) / 2), {"shear": size}


def _slab(part: SlabPart, rng: np.random.Generator) -> Iterator[tuple[Atoms, dict[str, Any]]]:
    for miller in part.millers:
        yield _base(part, miller) * part.repeat, {"miller": miller}


def _adatom(part: AdatomPart, rng: np.random.Generator) -> Iterator[tuple[Atoms, dict[str, Any]]]:
    for miller in part.millers:
        base = _base(part, miller)
        for atoms in adatoms(base, part.adatom, height=part.height, repeat=part.repeat):
            yield atoms, {"miller": miller, "site": atoms.info["site"]}


def _adlayer(part: AdlayerPart, rng: np.random.Generator) -> Iterator[tuple[Atoms, dict[str, Any]]]:
    for miller in part.millers:
        for coverage in part.coverages:
            atoms = li_on_cu(
                _base(part, miller),
                coverage,
                seed=int(rng.integers(2**31)),
                repeat=part.repeat,
                height=part.height,
                symbol=part.adatom,
            )
            yield atoms, {"miller": miller, "coverage": coverage}


def _interface(
    part: InterfacePart, rng: np.random.Generator
) -> Iterator[tuple[Atoms, dict[str, Any]]]:
    options = part.model_dump(
        exclude={"kind", "film", "film_miller", "substrate", "substrate_miller", "disorder"}
    )
    atoms = interface(part.film, part.film_miller, part.substrate, part.substrate_miller, **options)
    yield atoms, dict(atoms.info)


def _base(part: SlabPart | AdatomPart | AdlayerPart, miller: tuple[int, int, int]) -> Atoms:
    return slab(
        part.symbol,
        miller,
        a=part.a,
        thickness=part.thickness,
        vacuum=part.vacuum,
        free_layers=None,
    )


_IDEAL: dict[type, Callable[..., Iterator[tuple[Atoms, dict[str, Any]]]]] = {
    BulkPart: _bulk,
    SlabPart: _slab,
    AdatomPart: _adatom,
    AdlayerPart: _adlayer,
    InterfacePart: _interface,
}
