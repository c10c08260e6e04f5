"""Recipes of campaigns: their parts, each one kind of structure, with defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from ase.data import chemical_symbols
from pydantic import Field, model_validator

from culi_mlip.configuration import Configuration
from culi_mlip.structures.slabs import distinct_millers

Miller = tuple[int, int, int]
Repeat = tuple[
    Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]
]
Cells = Repeat | Annotated[int, Field(ge=1)]
"""Repeats along the three vectors, or the number of cells of the roundest supercell."""

_ALL_MILLERS = tuple(distinct_millers(3))


class Disorder(Configuration):
    """Random versions of each structure.

    Attributes
    ----------
    copies
        How many rattled copies of each structure; 0 makes none.
    rattle
        Standard deviations of the displacements in Å, taken in turn.
    temperatures
        One copy with thermal displacements at each of these temperatures (K).
    """

    copies: int = Field(0, ge=0)
    rattle: tuple[Annotated[float, Field(gt=0)], ...] = Field((0.05, 0.1, 0.15), min_length=1)
    temperatures: tuple[Annotated[float, Field(ge=0)], ...] = ()


class BulkPart(Configuration):
    """Crystals under strain. `strains` are isotropic; `shears` random tensors of that size."""

    kind: Literal["bulk"]
    symbol: str
    a: float | None = None
    repeat: Repeat = (2, 2, 2)
    strains: tuple[float, ...] = (0.0,)
    shears: tuple[float, ...] = ()
    disorder: Disorder = Disorder()

    @property
    def lattices(self) -> dict[str, str]:
        """The keys of lattice constants that matter, each with its element."""
        return {"a": self.symbol}


class SlabPart(Configuration):
    """Slabs of each Miller index; by default of the 13 distinct ones up to 3."""

    kind: Literal["slab"]
    symbol: str
    millers: tuple[Miller, ...] = _ALL_MILLERS
    a: float | None = None
    thickness: float | None = None
    vacuum: float = 15.0
    free_layers: int | None = Field(2, ge=0)
    repeat: Cells = (1, 1, 1)
    disorder: Disorder = Disorder()

    @property
    def lattices(self) -> dict[str, str]:
        """As in `BulkPart`."""
        return {"a": self.symbol}


class VacancyPart(SlabPart):
    """A vacancy of each class of surface atoms of each slab."""

    kind: Literal["vacancy"]  # type: ignore[assignment]
    repeat: Cells = (2, 2, 1)


class AdatomPart(SlabPart):
    """One adatom at each distinct site of each slab."""

    kind: Literal["adatom"]  # type: ignore[assignment]
    adatom: str
    height: float = 2.0
    repeat: Cells = (2, 2, 1)


class AdlayerPart(SlabPart):
    """Adlayers of lithium (or another element) on slabs, from partial to many layers."""

    kind: Literal["adlayer"]  # type: ignore[assignment]
    adatom: str = "Li"
    coverages: tuple[float, ...]
    arrangement: Literal["random", "island"] = "random"
    height: float = 2.0
    adatom_a: float | None = None
    repeat: Cells = (3, 3, 1)

    @property
    def lattices(self) -> dict[str, str]:
        """As in `BulkPart`; one layer has the slab's lattice."""
        layers = {"adatom_a": self.adatom} if max(self.coverages, default=0) > 1 else {}
        return {"a": self.symbol, **layers}


class InterfacePart(Configuration):
    """The smallest coherent interface of each pair of Miller indices (film, substrate).

    By default the pairs are the 13 distinct indices on themselves. `shifts` are in-plane shifts
    of the film, or "high-symmetry" for one interface of each high-symmetry registry.
    """

    kind: Literal["interface"]
    film: str
    substrate: str
    pairs: tuple[tuple[Miller, Miller], ...] = tuple((m, m) for m in _ALL_MILLERS)
    film_a: float | None = None
    substrate_a: float | None = None
    film_thickness: float | None = None
    substrate_thickness: float | None = None
    gap: float = 3.0
    vacuum: float = 15.0
    strain: Literal["film", "substrate", "shared"] = "film"
    shifts: tuple[tuple[float, float], ...] | Literal["high-symmetry"] = ((0.0, 0.0),)
    max_area: float = Field(400.0, gt=0)
    area_tolerance: float = Field(0.09, ge=0, le=0.5)
    length_tolerance: float = Field(0.09, ge=0, le=0.5)
    angle_tolerance: float = Field(0.09, ge=0, le=0.5)
    disorder: Disorder = Disorder()

    @property
    def lattices(self) -> dict[str, str]:
        """As in `BulkPart`."""
        return {"film_a": self.film, "substrate_a": self.substrate}


Part = Annotated[
    BulkPart | SlabPart | VacancyPart | AdatomPart | AdlayerPart | InterfacePart,
    Field(discriminator="kind"),
]


class Campaign(Configuration):
    """Structures of a recipe.

    Attributes
    ----------
    structures
        Parts, each one kind of structure.
    lattice_constants
        Cubic lattice constants in Å by element, for parts that give none.
    published
        How many structures of each kind a publication has, to compare with.
    seed
        Seed of all that is random.
    """

    structures: tuple[Part, ...] = Field(min_length=1)
    lattice_constants: Mapping[str, Annotated[float, Field(gt=1)]] | None = None
    published: Mapping[str, int] = Field(default_factory=dict)
    seed: int = Field(0, ge=0)

    @property
    def open_lattices(self) -> list[str]:
        """The elements whose lattice constant is not given."""
        given = self.lattice_constants or {}
        left = [
            symbol
            for part in self.structures
            for key, symbol in part.lattices.items()
            if getattr(part, key) is None and symbol not in given
        ]
        return list(dict.fromkeys(left))

    @model_validator(mode="after")
    def _lattice_constants_are_of_elements(self) -> Campaign:
        for symbol in self.lattice_constants or {}:
            if symbol not in chemical_symbols[1:]:
                raise ValueError(f"lattice_constants: '{symbol}' is not a chemical symbol")
        return self

    @model_validator(mode="after")
    def _published_kinds_are_built(self) -> Campaign:
        kinds = {part.kind for part in self.structures}
        for kind in self.published:
            if kind not in kinds:
                raise ValueError(
                    f"published: no part is of kind '{kind}': use {', '.join(sorted(kinds))}"
                )
        return self
