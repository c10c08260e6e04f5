"""Campaigns: every structure of a recipe, streamed, each with a content id and its parent."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from ase import Atoms

from culi_mlip.configuration import parse, read_yaml
from culi_mlip.errors import StructureError
from culi_mlip.progress import Progress
from culi_mlip.structures.adsorbates import adatoms, li_on_cu
from culi_mlip.structures.bulk import bulk, lattice_constant, rattled, strained, thermal
from culi_mlip.structures.defects import surface_vacancies
from culi_mlip.structures.interfaces import join, registry_shifts
from culi_mlip.structures.matching import first_match
from culi_mlip.structures.parts import (
    AdatomPart,
    AdlayerPart,
    BulkPart,
    Campaign,
    Disorder,
    InterfacePart,
    Miller,
    SlabPart,
    VacancyPart,
)
from culi_mlip.structures.slabs import slab, supercell
from culi_mlip.workflows import workflow

AnyPart = BulkPart | SlabPart | InterfacePart

LABELLING_KEYS = ("relaxation", "sampling", "melt_quench", "engine", "audit", "split")
"""Keys of a dataset's recipe that say nothing about its structures."""


@dataclass(frozen=True)
class Entry:
    """A structure with where it comes from.

    Attributes
    ----------
    atoms
        The structure.
    kind
        What sort of structure it is, such as "bulk" or "slab".
    parent
        Id of the structure that it was made from, or "".
    trajectory
        Name shared by the frames of one trajectory, or "". Splits keep it whole.
    how
        How it was made, plain values.
    results
        Labels, where a calculation made the structure (a frame of MD).
    """

    atoms: Atoms
    kind: str
    parent: str = ""
    trajectory: str = ""
    how: Mapping[str, Any] = field(default_factory=dict)
    results: Mapping[str, Any] = field(default_factory=dict)

    @property
    def uid(self) -> str:
        """Content id: hash of species, positions (1e-6 Å), cell and periodicity."""
        content = hashlib.sha256()
        content.update(np.asarray(self.atoms.numbers, "<i4").tobytes())
        content.update(np.asarray(self.atoms.pbc, "<i4").tobytes())
        for array in (self.atoms.cell.array, self.atoms.positions):
            content.update((np.rint(array * 1e6) + 0.0).astype("<i8").tobytes())
        return "s" + content.hexdigest()[:15]


def campaign(
    recipe: str | os.PathLike[str] | Campaign,
    *,
    progress: Progress | None = None,
) -> Iterator[Entry]:
    """Yield every static structure of a recipe, each ideal one before its disordered copies.

    The same recipe gives the same structures in the same order, whatever the machine:
    positions and cells are rounded to 1e-9 Å. Lattice constants that a recipe leaves out are those
    of CHGNet's r2SCAN model.

    Parameters
    ----------
    recipe
        "paper" for all static structures of Laskaris et al. (2026), section 3.2; the path of a
        recipe (YAML); or a recipe.
    progress
        Called with (parts done, parts in all) after each part of the recipe.

    Raises
    ------
    RecipeError
        If the recipe cannot be read.
    StructureError
        If a structure cannot be built, or another engine's recipe leaves lattice constants out.
    """
    if not isinstance(recipe, Campaign):
        path = workflow("cu_li_paper.yaml") if recipe == "paper" else recipe
        content = read_yaml(path)
        static = {key: value for key, value in content.items() if key not in LABELLING_KEYS}
        recipe = parse(Campaign, static, f"recipe {path}")
        engine = content.get("engine")
        name = engine.get("name", "chgnet") if isinstance(engine, dict) else "chgnet"
        if name != "chgnet" and (left_out := recipe.open_lattices):
            raise StructureError(
                f"recipe {path} leaves the lattice constants of {' and '.join(left_out)} to engine "
                f"'{name}': run culi-mlip build-dataset, or give them under lattice_constants"
            )
    return _stream(recipe, progress)


def _stream(recipe: Campaign, progress: Progress | None) -> Iterator[Entry]:
    for number, part in enumerate(recipe.structures):
        part = _with_lattices(part, recipe.lattice_constants or {})  # noqa: PLW2901
        # Each family and each ideal structure has draws of its own: a recipe with more at the end
        # of its lists, or more copies, has the structures of the shorter one.
        seed = [recipe.seed, number]
        for place, entries in _families(part, seed):
            try:
                for entry in entries:
                    ideal = _rounded(entry)
                    yield ideal
                    own = [*seed, int(ideal.uid[1:], 16)]
                    for moved, disorder in _disordered(ideal.atoms, part.disorder, own):
                        how = {**ideal.how, "disorder": disorder}
                        yield _rounded(Entry(moved, part.kind, parent=ideal.uid, how=how))
            except StructureError as error:
                raise StructureError(
                    f"structures.{number} of the recipe, {part.kind} {place}: {error}"
                ) from error
        if progress:
            progress(number + 1, len(recipe.structures))


def _with_lattices(part: AnyPart, given: Mapping[str, float]) -> AnyPart:
    """Fill in the lattice constants that a part leaves to its recipe."""
    return part.model_copy(
        update={
            key: given[symbol]
            for key, symbol in part.lattices.items()
            if getattr(part, key) is None and symbol in given
        }
    )


def _families(part: AnyPart, seed: Sequence[int]) -> Iterator[tuple[str, Iterator[Entry]]]:
    """Yield the structures of each crystal, slab or pair of slabs, with its name."""
    if isinstance(part, BulkPart):
        yield part.symbol, _bulk(part, np.random.default_rng(seed))
    elif isinstance(part, InterfacePart):
        for film, substrate in part.pairs:
            name = f"{face(part.film, film)} on {face(part.substrate, substrate)}"
            yield name, _interface(part, film, substrate)
    else:
        for n, miller in enumerate(part.millers):
            rng = np.random.default_rng([*seed, n])
            yield face(part.symbol, miller), _on_slab(part, miller, rng)


def face(symbol: str, miller: Sequence[int]) -> str:
    """Return the name of a face, such as "Cu(111)"."""
    return f"{symbol}({''.join(str(i) for i in miller)})"


def _bulk(part: BulkPart, rng: np.random.Generator) -> Iterator[Entry]:
    crystal = bulk(part.symbol, a=part.a, repeat=part.repeat)
    how = {"symbols": (part.symbol,), "a": lattice_constant(part.symbol, part.a)}
    for strain in part.strains:
        yield Entry(strained(crystal, strain), part.kind, how={**how, "strain": strain})
    for size in part.shears:
        tensor = rng.uniform(-size, size, (3, 3))
        shear = (tensor + tensor.T) / 2
        strain = shear.round(9).tolist()
        yield Entry(strained(crystal, shear), part.kind, how={**how, "strain": strain})


def _on_slab(part: SlabPart, miller: Miller, rng: np.random.Generator) -> Iterator[Entry]:
    """Yield the structures of a part that are made from one primitive slab."""
    atoms = slab(
        part.symbol,
        miller,
        a=part.a,
        thickness=part.thickness,
        vacuum=part.vacuum,
        free_layers=part.free_layers,
    )
    how: dict[str, Any] = {
        "symbols": (part.symbol,),
        "millers": (miller,),
        "a": lattice_constant(part.symbol, part.a),
        "vacuum": part.vacuum,
        "free_layers": part.free_layers,
        "repeat": part.repeat,
    }
    base = _rounded(Entry(atoms, "slab", how=how))
    for made, details in _variations(part, base.atoms, rng):
        parent = "" if type(part) is SlabPart else base.uid
        yield Entry(made, part.kind, parent=parent, how={**how, **details})


def _variations(
    part: SlabPart, base: Atoms, rng: np.random.Generator
) -> Iterator[tuple[Atoms, dict[str, Any]]]:
    """Yield what a part makes of a primitive slab, and how."""
    if isinstance(part, VacancyPart):
        for atoms in surface_vacancies(base, repeat=part.repeat):
            yield atoms, {"coordination": atoms.info["coordination"]}
    elif isinstance(part, AdatomPart):
        options = {"adatom": part.adatom, "height": part.height}
        structures = adatoms(base, part.adatom, height=part.height, repeat=part.repeat)
        numbers: Counter[str] = Counter()
        for atoms in structures:
            site = atoms.info["site"]
            numbers[site] += 1
            yield atoms, {**options, "site": site, "site_number": numbers[site]}
    elif isinstance(part, AdlayerPart):
        for coverage in part.coverages:
            seed = int(rng.integers(2**31))
            atoms = li_on_cu(
                base,
                coverage,
                seed=seed,
                arrangement=part.arrangement,
                repeat=part.repeat,
                height=part.height,
                symbol=part.adatom,
                adatom_a=part.adatom_a,
            )
            how = {"adatom": part.adatom, "coverage": coverage, "height": part.height}
            if coverage > 1:
                how["adatom_a"] = lattice_constant(part.adatom, part.adatom_a)
            yield atoms, {**how, "arrangement": part.arrangement, "seed": seed}
    else:
        yield supercell(base, part.repeat), {}


def _interface(
    part: InterfacePart, film_miller: Miller, substrate_miller: Miller
) -> Iterator[Entry]:
    film = slab(
        part.film, film_miller, a=part.film_a, thickness=part.film_thickness, free_layers=None
    )
    substrate = slab(
        part.substrate,
        substrate_miller,
        a=part.substrate_a,
        thickness=part.substrate_thickness,
        free_layers=None,
    )
    match = first_match(
        film,
        substrate,
        max_area=part.max_area,
        area_tolerance=part.area_tolerance,
        length_tolerance=part.length_tolerance,
        angle_tolerance=part.angle_tolerance,
    )
    shifts = part.shifts
    if shifts == "high-symmetry":
        shifts = registry_shifts(film, substrate, match, strain=part.strain).tolist()
    for shift in shifts:
        atoms = join(
            film,
            substrate,
            match,
            gap=part.gap,
            vacuum=part.vacuum,
            strain=part.strain,
            shift=shift,
        )
        how = {
            "symbols": (part.film, part.substrate),
            "millers": (film_miller, substrate_miller),
            "film_a": lattice_constant(part.film, part.film_a),
            "substrate_a": lattice_constant(part.substrate, part.substrate_a),
            "film": _rounded(Entry(film, "slab")).uid,
            "film_cell": match.film,
            "substrate_cell": match.substrate,
            "gap": part.gap,
            "strained": part.strain,
            "shift": shift,
        }
        parent = _rounded(Entry(substrate, "slab")).uid
        yield Entry(atoms, part.kind, parent=parent, how=how | dict(atoms.info))


def _disordered(
    atoms: Atoms, disorder: Disorder, entropy: Sequence[int]
) -> Iterator[tuple[Atoms, dict[str, Any]]]:
    seeds = np.random.SeedSequence(entropy).spawn(2)
    rattle_rng, thermal_rng = map(np.random.default_rng, seeds)
    for copy in range(disorder.copies):
        sigma, seed = disorder.rattle[copy % len(disorder.rattle)], int(rattle_rng.integers(2**31))
        how = {"rattled": sigma, "seed": seed, "copy": copy + 1}
        yield rattled(atoms, sigma, seed=seed), how
    for temperature in disorder.temperatures:
        seed = int(thermal_rng.integers(2**31))
        yield thermal(atoms, temperature, seed=seed), {"thermal_K": temperature, "seed": seed}


def _rounded(entry: Entry) -> Entry:
    atoms = entry.atoms.copy()
    atoms.info = {}
    atoms.positions = atoms.positions.round(9) + 0.0  # no negative zeros
    atoms.cell[:] = atoms.cell.array.round(9) + 0.0
    return replace(entry, atoms=atoms)
