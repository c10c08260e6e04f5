"""Adhesion of a film to a substrate, with the strain of coherency taken out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.constraints import FixCartesian
from ase.geometry import get_distances
from numpy.typing import NDArray

from culi_mlip.dynamics import Relaxed, relax
from culi_mlip.progress import Progress, no_progress
from culi_mlip.properties.eos import equation_of_state
from culi_mlip.properties.evaluation import PER_EV_A2, why_not_converged
from culi_mlip.properties.surfaces import (
    STEPS,
    Face,
    SlabFit,
    face,
    fit_of_relaxed,
    slabs_of,
)
from culi_mlip.structures import LatticeMatch, first_match, join, registry_shifts, slab, upright
from culi_mlip.structures.bulk import nearest_distance
from culi_mlip.structures.interfaces import Strained, registry_map, spanned
from culi_mlip.structures.matching import plane_of

THICKER = (4.0, 8.0)
"""By how much the other slabs of a reference are thicker than those of the interface, in Å."""


@dataclass(frozen=True)
class Adhesion:
    """What it costs to part a film from its substrate.

    Two references are in use. Slabs in the cell of the interface have its strain, which cancels:
    this is the adhesion of the two faces, which the field compares. Slabs with their own lattice
    constants have none: their values hold the elastic energy of the film, too, which grows with
    its thickness.

    Attributes
    ----------
    film, film_miller, substrate, substrate_miller
        Elements and faces.
    strained, unstrained
        Work of adhesion (E_film + E_substrate - E_interface)/A in J/m², by slabs in the cell of
        the interface, and by slabs with their own lattice constants.
    interface_energy, unstrained_interface_energy
        (E_interface - N_film e_film - N_substrate e_substrate)/A - γ_film - γ_substrate in J/m²,
        with bulk energies e and surface energies γ of the same slabs.
    film_surface_energy
        Of the film with its own lattice constant, in J/m².
    interface
        The relaxed interface of the best registry; ``info`` holds its area (Å²) and strains.
    registries
        Of all that were relaxed: the shift of `culi_mlip.structures.join`, and the energy above the
        best one in J/m², None where it did not relax.
    withheld
        Why there are no values.
    """

    film: str
    film_miller: Face
    substrate: str
    substrate_miller: Face
    strained: float | None
    unstrained: float | None
    interface_energy: float | None
    unstrained_interface_energy: float | None
    film_surface_energy: float | None
    interface: Atoms
    registries: tuple[tuple[tuple[float, float], float | None], ...]
    withheld: str | None = None

    @property
    def value(self) -> float | None:
        """Work of adhesion in J/m², by strained slabs."""
        return self.strained

    @property
    def wets(self) -> bool | None:
        """Whether the film sticks to the substrate better than to itself, W ≥ 2 γ(film)."""
        if self.strained is None or self.film_surface_energy is None:
            return None
        return self.strained >= 2 * self.film_surface_energy

    @property
    def contact_angle(self) -> float | None:
        """Of a drop of the film in degrees, W = γ (1 + cos θ) (Young and Dupré); 0 if it wets."""
        if self.strained is None or self.film_surface_energy is None:
            return None
        cosine = np.clip(self.strained / self.film_surface_energy - 1, -1, 1)
        return float(np.degrees(np.arccos(cosine)))


def work_of_adhesion(
    film: str,
    film_miller: Sequence[int],
    substrate: str,
    substrate_miller: Sequence[int],
    calculator: Calculator,
    *,
    film_a: float | None = None,
    substrate_a: float | None = None,
    thickness: float = 10.0,
    strain: Strained = "film",
    match: LatticeMatch | None = None,
    max_area: float = 400.0,
    vacuum: float = 12.0,
    fmax: float = 0.005,
    steps: int = STEPS,
    progress: Progress = no_progress,
) -> Adhesion:
    """Return the work of adhesion of a coherent interface, relaxed from high-symmetry registries.

    All atoms are free to relax; each registry starts with the two faces in touch.

    Parameters
    ----------
    film, film_miller, substrate, substrate_miller
        Elements and faces.
    calculator
        Any of ASE's; one that evaluates many structures at a time is given all together.
    film_a, substrate_a
        Cubic lattice constants in Å; by default those of `equation_of_state`.
    thickness
        Of film and substrate in Å.
    strain
        Who is strained: "film", "substrate" or "shared".
    match
        Of the two slabs; by default the smallest within the limits of
        `culi_mlip.structures.first_match`.
    max_area
        Of the interface, in Å².
    vacuum
        Empty space on each side in Å.
    fmax, steps
        Largest force in eV/Å once a structure is relaxed, and the most steps.
    progress
        Called with (percent done, 100) of the relaxation.

    Raises
    ------
    StructureError
        If the faces do not match within the limits.

    Examples
    --------
    >>> from ase.calculators.emt import EMT
    >>> found = work_of_adhesion("Cu", (1, 0, 0), "Cu", (1, 0, 0), EMT())
    >>> round(found.value, 2), round(abs(found.interface_energy), 2)
    (2.27, 0.0)
    """
    films, substrates, match, lay = _sides(
        film, film_miller, substrate, substrate_miller, calculator, film_a, substrate_a, thickness,
        vacuum, match, max_area,
    )  # fmt: skip
    shifts = registry_shifts(films[0], substrates[0], match, strain=strain)
    interfaces = [lay(shift, strain) for shift in shifts.tolist()]
    plane = interfaces[0].cell.array[:2, :2]
    references = [
        [in_plane(atoms, np.linalg.inv(match.film) @ plane) for atoms in films],
        [in_plane(atoms, np.linalg.inv(match.substrate) @ plane) for atoms in substrates],
        films,
        substrates,
    ]
    found = iter(
        relax(
            [*interfaces, *(atoms for slabs in references for atoms in slabs)],
            calculator,
            fmax=fmax,
            steps=steps,
            optimizer="lbfgs",
            progress=progress,
        )
    )
    relaxed = [next(found) for _ in interfaces]
    alone = [_side([next(found) for _ in slabs], fmax) for slabs in references]
    faces = (film, face(film_miller), substrate, face(substrate_miller))
    return _adhesion(faces, relaxed, shifts, alone, fmax)


@dataclass(frozen=True)
class GammaSurface:
    """The energy of an interface by registry.

    Attributes
    ----------
    film, film_miller, substrate, substrate_miller
        Elements and faces.
    shifts
        Of `culi_mlip.structures.join`, one of each set that symmetry makes equivalent, shape
        (n, 2).
    energies
        Above the lowest in J/m², at rigid shifts with all atoms free along the normal, shape (n,);
        NaN where they did not relax.
    relaxed
        Energy of the lowest once its atoms are free in all directions, in J/m² on the same scale: 0
        or less; None where it did not relax.
    minimum
        That structure.
    vectors
        Of the lattice that film and substrate span together, rows in Å, shape (2, 2).
    classes
        Which of the energies each point of a grid over that cell has, the second vector fastest.
    withheld
        Why a registry has no energy.
    """

    film: str
    film_miller: Face
    substrate: str
    substrate_miller: Face
    shifts: NDArray[np.float64]
    energies: NDArray[np.float64]
    relaxed: float | None
    minimum: Atoms
    vectors: NDArray[np.float64]
    classes: NDArray[np.int64]
    withheld: str | None = None

    @property
    def corrugation(self) -> float | None:
        """Highest over lowest in J/m²; None where a registry did not relax."""
        return None if self.withheld else float(self.energies.max())


def gamma_surface(
    film: str,
    film_miller: Sequence[int],
    substrate: str,
    substrate_miller: Sequence[int],
    calculator: Calculator,
    *,
    grid: int = 6,
    film_a: float | None = None,
    substrate_a: float | None = None,
    thickness: float = 8.0,
    strain: Strained = "film",
    match: LatticeMatch | None = None,
    max_area: float = 400.0,
    vacuum: float = 12.0,
    fmax: float = 0.01,
    steps: int = STEPS,
    progress: Progress = no_progress,
) -> GammaSurface:
    """Return the energy of a coherent interface on a grid of registries, and its minimum.

    Parameters
    ----------
    grid
        Points along each vector of the lattice that film and substrate span together.
    film, film_miller, substrate, substrate_miller, calculator, film_a, substrate_a, thickness, \
    strain, match, max_area, vacuum, fmax, steps, progress
        As in `work_of_adhesion`.

    Raises
    ------
    StructureError
        If the faces do not match within the limits.
    """
    films, substrates, match, lay = _sides(
        film, film_miller, substrate, substrate_miller, calculator, film_a, substrate_a, thickness,
        vacuum, match, max_area,
    )  # fmt: skip
    shifts = registry_shifts(films[0], substrates[0], match, strain=strain, grid=grid)
    rigid = []
    for shift in shifts.tolist():
        atoms = lay(shift, strain)
        atoms.set_constraint(FixCartesian(range(len(atoms)), mask=(True, True, False)))
        rigid.append(atoms)
    options: dict[str, Any] = {"fmax": fmax, "steps": steps, "optimizer": "lbfgs"}
    found = relax(rigid, calculator, progress=progress, **options)
    energies = np.array([r.atoms.get_potential_energy() if r.converged else np.nan for r in found])
    best = found[int(np.nanargmin(energies)) if np.isfinite(energies).any() else 0].atoms
    free = best.copy()
    free.set_constraint()
    (minimum,) = relax([free], calculator, **options)
    per_area = PER_EV_A2 / float(best.info["area"])
    lowest = best.get_potential_energy()
    return GammaSurface(
        film,
        face(film_miller),
        substrate,
        face(substrate_miller),
        shifts,
        (energies - lowest) * per_area,
        float((minimum.atoms.get_potential_energy() - lowest) * per_area)
        if minimum.converged
        else None,
        minimum.atoms,
        spanned(match) @ plane_of(upright(substrates[0])),
        registry_map(films[0], substrates[0], match, strain=strain, grid=grid),
        why_not_converged(found, [f"registry {i}" for i in range(len(found))], fmax),
    )


def in_plane(atoms: Atoms, plane: NDArray[np.float64]) -> Atoms:
    """Return a slab strained to other in-plane vectors (rows, shape (2, 2)); layers keep apart."""
    result = atoms.copy()
    cell = atoms.cell.array.copy()
    cell[:2, :2] = plane if np.linalg.det(plane) > 0 else plane * [1, -1]  # its mirror image
    result.set_cell(cell, scale_atoms=True)
    return result


class _Side(NamedTuple):
    """Film or substrate by itself, strained or not."""

    fit: SlabFit
    energy: float  # of the slab with as many layers as in the interface, eV
    layers: int

    def alone(self, n_atoms: int) -> float:
        """Energy in eV of the slab, by its number of atoms in the interface."""
        return n_atoms / self.layers * self.energy


def _side(found: Sequence[Relaxed], fmax: float) -> _Side | str:
    """Film or substrate by itself, or why it did not relax."""
    fit, frames, withheld = fit_of_relaxed(found, fmax)
    if fit is None:
        return str(withheld)
    return _Side(fit, float(frames[0].get_potential_energy()), len(frames[0]))


def _slabs(
    symbol: str, miller: Sequence[int], a: float, thickness: float, vacuum: float
) -> list[Atoms]:
    """The slab of an interface and thicker ones."""
    make = partial(slab, symbol, miller, a=a, vacuum=vacuum, free_layers=None)
    return slabs_of([make(thickness=thickness + more) for more in (0.0, *THICKER)], make)


def _sides(
    film: str,
    film_miller: Sequence[int],
    substrate: str,
    substrate_miller: Sequence[int],
    calculator: Calculator,
    film_a: float | None,
    substrate_a: float | None,
    thickness: float,
    vacuum: float,
    match: LatticeMatch | None,
    max_area: float,
) -> tuple[list[Atoms], list[Atoms], LatticeMatch, Callable[[Sequence[float], Strained], Atoms]]:
    """Slabs of both sides, their match, and what lays the film down at a shift, in touch."""
    film_a, substrate_a = (
        equation_of_state(symbol, calculator).lattice_constant if a is None else a
        for symbol, a in ((film, film_a), (substrate, substrate_a))
    )
    films = _slabs(film, film_miller, film_a, thickness, vacuum)
    substrates = _slabs(substrate, substrate_miller, substrate_a, thickness, vacuum)
    found = match or first_match(films[0], substrates[0], max_area=max_area)
    touch = (nearest_distance(film, film_a) + nearest_distance(substrate, substrate_a)) / 2
    joined = partial(join, films[0], substrates[0], found, min_bond=0.0)

    def lay(shift: Sequence[float], strain: Strained) -> Atoms:
        apart = joined(gap=3.0, shift=shift, strain=strain)
        gap = 3.0 + _lift(apart, len(substrates[0]), found, touch)
        return joined(gap=gap, shift=shift, strain=strain, vacuum=vacuum)

    return films, substrates, found, lay


def _lift(interface: Atoms, substrate_layers: int, match: LatticeMatch, touch: float) -> float:
    """By how much to lift a film so that its nearest atom is as far from the substrate as that."""
    n_below = substrate_layers * abs(round(np.linalg.det(match.substrate)))
    below, above = interface.positions[:n_below], interface.positions[n_below:]
    flat = [1.0, 1.0, 0.0]
    _, beside = get_distances(below * flat, above * flat, cell=interface.cell, pbc=[1, 1, 0])
    height = above[:, 2] - below[:, [2]]
    near = beside < touch
    return float((np.sqrt(touch**2 - beside[near] ** 2) - height[near]).max())


def _adhesion(
    faces: tuple[str, Face, str, Face],
    relaxed: Sequence[Relaxed],
    shifts: NDArray[np.float64],
    sides: Sequence[_Side | str],
    fmax: float,
) -> Adhesion:
    energies = np.array(
        [r.atoms.get_potential_energy() if r.converged else np.inf for r in relaxed]
    )
    best = int(energies.argmin())
    energy, interface = energies[best], relaxed[best].atoms
    area = float(interface.info["area"])
    above = [float((e - energy) / area * PER_EV_A2) if np.isfinite(e) else None for e in energies]
    registries = tuple(((x, y), e) for (x, y), e in zip(shifts.tolist(), above, strict=True))
    solved = [side for side in sides if isinstance(side, _Side)]
    reasons = [side for side in sides if isinstance(side, str)]
    if not np.isfinite(energy):
        names = [f"registry {i}" for i in range(len(relaxed))]
        reasons.append(str(why_not_converged(relaxed, names, fmax)))
    if reasons:
        return Adhesion(*faces, None, None, None, None, None, interface, registries, reasons[0])
    n_film = int((interface.arrays["layer"] >= solved[1].layers).sum())
    n_substrate = len(interface) - n_film
    works, excesses = [], []
    for film, substrate in (solved[:2], solved[2:]):
        apart = film.alone(n_film) + substrate.alone(n_substrate)
        inside = n_film * film.fit.bulk_energy + n_substrate * substrate.fit.bulk_energy
        faces_apart = film.fit.surface_energy + substrate.fit.surface_energy
        works.append(float((apart - energy) / area * PER_EV_A2))
        excesses.append(float((energy - inside) / area * PER_EV_A2 - faces_apart))
    return Adhesion(
        *faces,
        strained=works[0],
        unstrained=works[1],
        interface_energy=excesses[0],
        unstrained_interface_energy=excesses[1],
        film_surface_energy=solved[2].fit.surface_energy,
        interface=interface,
        registries=registries,
    )
