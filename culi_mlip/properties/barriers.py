"""Energy barriers: climbing-image nudged elastic bands whose images are evaluated together."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.geometry import find_mic
from ase.mep import NEB
from ase.optimize import LBFGS
from numpy.typing import NDArray

from culi_mlip.dynamics import relax
from culi_mlip.dynamics.relaxation import Descent, Evaluate, Held, evaluator
from culi_mlip.errors import StructureError
from culi_mlip.progress import Progress, no_progress
from culi_mlip.properties.evaluation import why_not_converged


@dataclass(frozen=True)
class Barrier:
    """A path of least energy between two minima.

    Attributes
    ----------
    forward, reverse
        The largest climb from image to later image, there and back, in eV: energy of the highest
        image above the ends where these are the lowest. None where the band did not converge.
    path
        The images with energies and forces, ends included.
    distances
        Along the path in Å: the root of the summed squares of all atoms' displacements.
    energies
        Of the images above the first in eV.
    withheld
        Why there are no barriers.
    """

    forward: float | None
    reverse: float | None
    path: tuple[Atoms, ...]
    distances: NDArray[np.float64]
    energies: NDArray[np.float64]
    withheld: str | None = None

    @property
    def passes_a_minimum(self) -> bool:
        """Whether an image lies lower than both ends by more than 1 meV: give it as an end."""
        return bool(self.energies.min() < min(self.energies[0], self.energies[-1]) - 1e-3)


def barrier(
    initial: Atoms,
    final: Atoms,
    calculator: Calculator,
    *,
    images: int = 5,
    fmax: float = 0.02,
    steps: int = 500,
    spring: float = 0.1,
    progress: Progress = no_progress,
) -> Barrier:
    """Return the barrier between two structures, which are relaxed to their minima first.

    The band is relaxed by ASE's improved tangents, to five times `fmax` first, then with the
    highest image climbing (Henkelman, Uberuaga and Jónsson, J. Chem. Phys. 113, 9901, 2000).

    Parameters
    ----------
    initial, final
        The same atoms in the same order; constraints are obeyed.
    calculator
        Any of ASE's; one that evaluates many structures at a time is given all images together.
    images
        Between the ends.
    fmax, steps
        Largest force on an image in eV/Å, and the most steps.
    spring
        In eV/Å².
    progress
        Called with (percent done, 100) of the band.

    Raises
    ------
    StructureError
        If the ends are of other atoms or cells, or there is no image between them.
    """
    if initial.get_chemical_symbols() != final.get_chemical_symbols() or not np.allclose(
        initial.cell.array, final.cell.array
    ):
        raise StructureError(
            f"a path from {initial.get_chemical_formula()} to {final.get_chemical_formula()}: both "
            "ends need the same atoms, in the same order, and the same cell"
        )
    if images < 1:
        raise StructureError(f"{images} images: give at least one between the ends")
    final = final.copy()
    apart, _ = find_mic(final.positions - initial.positions, initial.cell, initial.pbc)
    final.positions = initial.positions + apart  # the same, without jumps across cell boundaries
    ends = relax([initial, final], calculator, fmax=fmax, steps=steps, optimizer="lbfgs")
    first, last = (end.atoms for end in ends)
    evaluate = evaluator(calculator, stress=False)
    band = [first, *(first.copy() for _ in range(images)), last]
    neb = NEB(band, k=spring, method="improvedtangent")
    neb.interpolate()
    for image in band[1:-1]:
        image.calc = Held(evaluate)
    withheld = why_not_converged(ends, ["the initial structure", "the final structure"], fmax)
    if not withheld and not _relaxed(neb, evaluate, fmax, steps, progress):
        withheld = f"the band: not below {fmax:g} eV/Å after {steps} steps"
    energies = np.array([image.get_potential_energy() for image in band])
    path = [_frozen(image) for image in band]
    return Barrier(
        None if withheld else _climb(energies),
        None if withheld else _climb(energies[::-1]),
        tuple(path),
        _distances(path),
        energies - energies[0],
        withheld,
    )


def _climb(energies: NDArray[np.float64]) -> float:
    """Largest rise from an image to a later one."""
    return float((energies - np.minimum.accumulate(energies)).max())


def _optimizer(neb: NEB) -> LBFGS:
    """Fewer evaluations than FIRE (0.6 to 0.8), although a band's forces are no gradient."""
    return LBFGS(neb, logfile=None)  # type: ignore[arg-type]  # ASE's names bands nowhere


def _relaxed(neb: NEB, evaluate: Evaluate, fmax: float, steps: int, progress: Progress) -> bool:
    """Relax a band, climbing at the end; say whether it converged."""
    optimizer, descent = _optimizer(neb), Descent(1, fmax, progress)
    for _ in range(steps):
        images = dict(enumerate(neb.images[1:-1]))
        for i, results in evaluate(images).items():
            images[i].calc.hold(images[i], results)
        force = float(np.linalg.norm(neb.get_forces(), axis=1).max())
        descent.reached(0, max(force, 1.01 * fmax) if not neb.climb else force)
        descent.tell()
        if force < (fmax if neb.climb else 5 * fmax):
            if neb.climb:
                return True
            neb.climb = True
            optimizer = _optimizer(neb)
        optimizer.step()
    return False


def _frozen(image: Atoms) -> Atoms:
    """A copy with its energy and forces."""
    frozen = image.copy()
    energy, forces = image.get_potential_energy(), image.get_forces(apply_constraint=False)
    frozen.calc = SinglePointCalculator(frozen, energy=energy, forces=forces)
    return frozen


def _distances(path: list[Atoms]) -> NDArray[np.float64]:
    steps = [np.linalg.norm(after.positions - before.positions) for before, after in pairwise(path)]
    return np.cumsum([0.0, *steps])
