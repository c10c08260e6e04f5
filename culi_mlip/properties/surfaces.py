"""Surface energies, fitted to slabs of several thicknesses, and the shape of crystals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from numpy.typing import NDArray

from culi_mlip.dynamics import Relaxed, relax
from culi_mlip.errors import StructureError
from culi_mlip.progress import Progress, no_progress
from culi_mlip.properties.eos import equation_of_state
from culi_mlip.properties.evaluation import PER_EV_A2, energies_of, why_not_converged
from culi_mlip.structures import slab

THICKNESSES = (16.0, 20.0, 24.0)
"""Of the slabs in Å, which cutoffs of 6 to 7 Å reach neither across nor from face to face."""

FMAX, STEPS = 0.002, 500
"""Largest force in eV/Å once a slab is relaxed, and the most steps."""

Face = tuple[int, int, int]


@dataclass(frozen=True)
class SlabFit:
    """Energies of slabs of one face, E = N e + 2 γ A: a line over the number of atoms N.

    The bulk energy e comes from the slabs, so that no error of it grows with thickness (Fiorentini
    and Methfessel, J. Phys.: Condens. Matter 8, 6525, 1996).

    Attributes
    ----------
    surface_energy
        γ in J/m².
    bulk_energy
        e in eV/atom.
    of_each
        (E - N e)/2A of each slab in J/m²: how far they are from the line.
    """

    surface_energy: float
    bulk_energy: float
    of_each: NDArray[np.float64]


@dataclass(frozen=True)
class SurfaceEnergy:
    """The energy of a face of an fcc or bcc element.

    Attributes
    ----------
    symbol, miller
        Element and face.
    lattice_constant
        Of the slabs, in Å.
    unrelaxed, relaxed
        In J/m²; `relaxed` is None where a slab did not relax.
    convergence
        How far each slab is from the line of all, thinnest first: (layers, unrelaxed, relaxed),
        in J/m².
    slabs
        As they are relaxed.
    withheld
        Why there is no relaxed value.
    """

    symbol: str
    miller: Face
    lattice_constant: float
    unrelaxed: float
    relaxed: float | None
    convergence: tuple[tuple[int, float, float | None], ...]
    slabs: tuple[Atoms, ...]
    withheld: str | None = None


def surface_energy(
    symbol: str,
    miller: Sequence[int],
    calculator: Calculator,
    *,
    a: float | None = None,
    thicknesses: Sequence[float] = THICKNESSES,
    vacuum: float = 12.0,
    fmax: float = FMAX,
    steps: int = STEPS,
    progress: Progress = no_progress,
) -> SurfaceEnergy:
    """Return the energy of a face; see `surface_energies`.

    Examples
    --------
    >>> from ase.calculators.emt import EMT
    >>> found = surface_energy("Cu", (1, 1, 1), EMT())
    >>> round(found.unrelaxed, 2), round(found.relaxed, 2)
    (1.04, 1.04)
    """
    (found,) = surface_energies(
        symbol,
        [miller],
        calculator,
        a=a,
        thicknesses=thicknesses,
        vacuum=vacuum,
        fmax=fmax,
        steps=steps,
        progress=progress,
    )
    return found


def surface_energies(
    symbol: str,
    millers: Sequence[Sequence[int]],
    calculator: Calculator,
    *,
    a: float | None = None,
    thicknesses: Sequence[float] = THICKNESSES,
    vacuum: float = 12.0,
    fmax: float = FMAX,
    steps: int = STEPS,
    progress: Progress = no_progress,
) -> list[SurfaceEnergy]:
    """Return the energies of faces, of slabs with primitive surface cells that are free to relax.

    A primitive cell cannot reconstruct.

    Parameters
    ----------
    symbol
        An fcc or bcc element.
    millers
        Miller indices of the faces, such as those of `culi_mlip.structures.distinct_millers`.
    calculator
        Any of ASE's; one that evaluates many structures at a time is given all slabs together.
    a
        Cubic lattice constant in Å; by default that of `equation_of_state`. At another one the
        slabs are strained, and their energies no line.
    thicknesses
        Of the slabs in Å, at least two.
    vacuum
        Empty space on each side in Å.
    fmax, steps
        Largest force in eV/Å once a slab is relaxed, and the most steps.
    progress
        Called with (percent done, 100) of the relaxation.

    Raises
    ------
    StructureError
        If a face or a thickness cannot be used.
    """
    a = equation_of_state(symbol, calculator).lattice_constant if a is None else a
    make = partial(slab, symbol, a=a, vacuum=vacuum, free_layers=None)
    series = [
        slabs_of([make(miller, thickness=t) for t in sorted(thicknesses)], partial(make, miller))
        for miller in millers
    ]
    unrelaxed = iter(energies_of([atoms for slabs in series for atoms in slabs], calculator))
    relaxed = _relaxed(series, calculator, fmax=fmax, steps=steps, progress=progress)
    found = []
    for miller, slabs, ends in zip(millers, series, relaxed, strict=True):
        before = slab_fit(slabs, [next(unrelaxed) for _ in slabs])
        after, frames, withheld = fit_of_relaxed(ends, fmax)
        spread = after.of_each.tolist() if after else [None] * len(slabs)
        found.append(
            SurfaceEnergy(
                symbol,
                face(miller),
                a,
                before.surface_energy,
                after.surface_energy if after else None,
                tuple(zip(map(len, slabs), before.of_each.tolist(), spread, strict=True)),
                frames,
                withheld,
            )
        )
    return found


def _relaxed(
    series: Sequence[Sequence[Atoms]], calculator: Calculator, *, progress: Progress, **options: Any
) -> list[list[Relaxed]]:
    """Relax slabs of each face, the thicker ones from how the faces of the thinnest relaxed."""

    def part(first: int, share: int) -> Progress:
        return lambda done, total: progress(first + share * done // total, 100)

    options["optimizer"] = "lbfgs"
    thinnest = [slabs[0] for slabs in series]
    found = [[one] for one in relax(thinnest, calculator, progress=part(0, 50), **options)]
    thicker = [
        _as(slabs[0], ends[0].atoms, thick)
        for slabs, ends in zip(series, found, strict=True)
        for thick in slabs[1:]
    ]
    others = iter(relax(thicker, calculator, progress=part(50, 50), **options))
    for slabs, ends in zip(series, found, strict=True):
        ends += [next(others) for _ in slabs[1:]]
    return found


def _as(thin: Atoms, relaxed: Atoms, thick: Atoms) -> Atoms:
    """Return a thicker slab, its faces displaced as those of a thin one, one atom a layer."""
    moved = relaxed.positions - thin.positions
    half = len(thin) // 2
    started = thick.copy()
    started.positions[:half] += moved[:half]
    started.positions[-half:] += moved[-half:]
    return started


def face(miller: Sequence[int]) -> Face:
    """Return a Miller index as a tuple."""
    h, k, l = (int(i) for i in miller)  # noqa: E741
    return h, k, l


def slabs_of(slabs: list[Atoms], make: Callable[..., Atoms]) -> list[Atoms]:
    """Return slabs of different numbers of layers: where two are the same, one is made thicker."""
    if len(slabs) < 2:
        raise StructureError("a surface energy needs slabs of two thicknesses: give one more")
    for i in range(1, len(slabs)):
        if len(slabs[i]) <= len(slabs[i - 1]):
            thickness = np.ptp(slabs[i - 1].positions[:, 2])
            step = thickness / (len(slabs[i - 1]) - 1)
            slabs[i] = make(thickness=thickness + step)
    return slabs


def slab_fit(slabs: Sequence[Atoms], energies: Sequence[float]) -> SlabFit:
    """Return the line through energies of slabs (eV) with one surface cell."""
    sizes = np.array([len(atoms) for atoms in slabs])
    area = float(np.linalg.norm(np.cross(*slabs[0].cell.array[:2])))
    per_atom, rest = np.polyfit(sizes, energies, 1)
    of_each = (np.asarray(energies) - sizes * per_atom) / (2 * area) * PER_EV_A2
    return SlabFit(float(rest / (2 * area) * PER_EV_A2), float(per_atom), of_each)


def fit_of_relaxed(
    found: Sequence[Relaxed], fmax: float
) -> tuple[SlabFit | None, tuple[Atoms, ...], str | None]:
    """Return the fit of relaxed slabs, the slabs, and why there is no fit if there is none."""
    frames = tuple(relaxed.atoms for relaxed in found)
    names = [f"slab of {len(atoms)} layers" for atoms in frames]
    if why := why_not_converged(found, names, fmax):
        return None, frames, why
    return slab_fit(frames, [atoms.get_potential_energy() for atoms in frames]), frames, None


@dataclass(frozen=True)
class WulffShape:
    """The shape of a crystal with the least surface energy.

    Attributes
    ----------
    symbol
        The element.
    surface_energies
        By face, in J/m².
    area_fractions
        By face, of all that are equivalent.
    weighted_energy
        Mean over the surface in J/m².
    anisotropy
        Standard deviation over the mean of the energies, weighted by area.
    shape_factor
        Surface over volume^(2/3); 4.84 of a sphere.
    """

    symbol: str
    surface_energies: Mapping[Face, float]
    area_fractions: Mapping[Face, float]
    weighted_energy: float
    anisotropy: float
    shape_factor: float


def wulff_shape(symbol: str, surface_energies: Mapping[Face, float]) -> WulffShape:
    """Return the shape of a cubic crystal from its surface energies (pymatgen).

    Parameters
    ----------
    symbol
        The element.
    surface_energies
        In J/m², by face, one of each family.

    Raises
    ------
    StructureError
        If there are none, or one is not positive.
    """
    shape = pymatgen_shape(surface_energies)
    fractions = {face(index): float(x) for index, x in shape.area_fraction_dict.items()}
    return WulffShape(
        symbol,
        dict(surface_energies),
        fractions,
        float(shape.weighted_surface_energy),
        float(shape.anisotropy),
        float(shape.shape_factor),
    )


def pymatgen_shape(surface_energies: Mapping[Face, float]) -> Any:
    """Return pymatgen's shape of a cubic crystal, which draws itself.

    Raises
    ------
    StructureError
        If there are no energies, or one is not positive.
    """
    from pymatgen.analysis.wulff import WulffShape as Shape
    from pymatgen.core import Lattice

    if not surface_energies or not all(energy > 0 for energy in surface_energies.values()):
        raise StructureError(
            f"surface energies {dict(surface_energies)}: give positive ones, of a face at least"
        )
    return Shape(Lattice.cubic(1.0), list(surface_energies), list(surface_energies.values()))
