"""What long runs ask of a potential: no holes, locality, extensivity, forces that are slopes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.md.velocitydistribution import thermalize_momenta
from ase.md.verlet import VelocityVerlet
from numpy.typing import NDArray

from culi_mlip.dynamics import energy_drift
from culi_mlip.properties.eos import equation_of_state
from culi_mlip.properties.evaluation import energies_of, evaluated
from culi_mlip.structures import bulk, rattled
from culi_mlip.structures.checks import check_symbol

DIMERS = np.arange(0.8, 8.0, 0.02)
"""Distances of two atoms in Å."""


@dataclass(frozen=True)
class DimerCurve:
    """Energy of two atoms by distance.

    Attributes
    ----------
    pair
        Elements.
    distances
        In Å.
    energies
        Above the largest distance, in eV.
    forces
        Along the line between them in eV/Å, positive where they repel each other.
    """

    pair: tuple[str, str]
    distances: NDArray[np.float64]
    energies: NDArray[np.float64]
    forces: NDArray[np.float64]

    @property
    def repulsive_from(self) -> float:
        """The largest distance in Å up to which two atoms repel each other all the way; 0 if not.

        A potential without a hole repels from the shortest distance on.
        """
        attractive = np.flatnonzero(self.forces <= 0)
        end = attractive[0] if len(attractive) else len(self.forces)
        return float(self.distances[end - 1]) if end else 0.0

    @property
    def reach(self) -> float:
        """The largest distance in Å at which they act on each other, by more than 10⁻⁶ eV/Å."""
        return float(self.distances[self._acting[-1]]) if len(self._acting) else 0.0

    @property
    def jump(self) -> float:
        """The largest change of the force in eV/Å from one distance to the next, near `reach`.

        Of the last five steps up to the one on which the force ends: small where a potential goes
        smoothly to zero at its cutoff.
        """
        if not len(self._acting):
            return 0.0
        last = self._acting[-1]
        return float(np.abs(np.diff(self.forces[max(0, last - 4) : last + 2])).max())

    @property
    def _acting(self) -> NDArray[np.int64]:
        return np.flatnonzero(np.abs(self.forces) > 1e-6)

    @property
    def inconsistency(self) -> float:
        """Largest difference of a force and the slope of the energy, over the largest force."""
        slopes = -np.gradient(self.energies, self.distances)[2:-2]
        return float(np.abs(slopes - self.forces[2:-2]).max() / np.abs(self.forces).max())


@dataclass(frozen=True)
class Safety:
    """Checks of a potential for one element; see `safety`.

    Attributes
    ----------
    symbol
        The element.
    dimer
        Of two of its atoms.
    locality
        Distance in Å from a moved atom beyond which no force changes by more than 10⁻⁵ eV/Å;
        infinite if the cell is too small to tell.
    extensivity
        Energy of a cell twice as long less twice the energy, eV/atom.
    rotation
        Largest change of a force, eV/Å, once the crystal and the force are turned.
    slope
        Largest difference of a force component and the slope of the energy, eV/Å.
    drift
        Of the energy without thermostat, eV/atom/ps.
    """

    symbol: str
    dimer: DimerCurve
    locality: float
    extensivity: float
    rotation: float
    slope: float
    drift: float


def dimer_curve(
    pair: tuple[str, str], calculator: Calculator, *, distances: Sequence[float] | None = None
) -> DimerCurve:
    """Return the energy of two atoms by distance.

    Parameters
    ----------
    pair
        Elements.
    calculator
        Any of ASE's.
    distances
        In Å; by default 0.8 to 8 Å.

    Raises
    ------
    StructureError
        If one is no element.
    """
    for symbol in pair:
        check_symbol(symbol)
    lengths = DIMERS if distances is None else np.asarray(distances, dtype=float)
    frames = [Atoms(pair, positions=[[0, 0, 0], [0, 0, r]], cell=[20.0] * 3) for r in lengths]
    found = evaluated(frames, calculator)
    energies = np.array([atoms.get_potential_energy() for atoms in found])
    forces = np.array([atoms.get_forces()[1, 2] for atoms in found])
    return DimerCurve(pair, lengths, energies - energies[-1], forces)


def safety(
    symbol: str,
    calculator: Calculator,
    *,
    a: float | None = None,
    temperature: float = 300.0,
    time: float = 1.0,
    timestep: float = 1.0,
    seed: int = 0,
) -> Safety:
    """Check what long runs ask of a potential, on a crystal of an element.

    Parameters
    ----------
    symbol
        An fcc or bcc element.
    calculator
        Any of ASE's.
    a
        Cubic lattice constant in Å; by default that of `equation_of_state`.
    temperature
        Of the run without thermostat, in K.
    time, timestep
        Of that run, in ps and fs.
    seed
        Of displacements and velocities.
    """
    a = equation_of_state(symbol, calculator).lattice_constant if a is None else a
    atoms = rattled(bulk(symbol, a=a, cubic=True, repeat=(3, 3, 3)), 0.05, seed=seed)
    (reference,) = evaluated([atoms], calculator)
    return Safety(
        symbol,
        dimer_curve((symbol, symbol), calculator),
        _locality(symbol, a, calculator, seed),
        _extensivity(atoms, calculator),
        _rotation(reference, calculator),
        _slope(reference, calculator, seed),
        _drift(reference, calculator, temperature, time, timestep, seed),
    )


def _locality(symbol: str, a: float, calculator: Calculator, seed: int) -> float:
    """How far from a moved atom a force changes, in a long cell."""
    length = int(np.ceil(32.0 / a))
    atoms = rattled(bulk(symbol, a=a, cubic=True, repeat=(length, 2, 2)), 0.05, seed=seed)
    moved = atoms.copy()
    moved.positions[0] += 0.05
    before, after = (found.get_forces() for found in evaluated([atoms, moved], calculator))
    changed = np.flatnonzero(np.abs(after - before).max(axis=1) > 1e-5)
    reach = float(atoms.get_distances(0, changed, mic=True).max()) if len(changed) else 0.0
    return reach if reach < 0.45 * atoms.cell.lengths()[0] else np.inf


def _extensivity(atoms: Atoms, calculator: Calculator) -> float:
    once, twice = energies_of([atoms, atoms.repeat((2, 1, 1))], calculator)
    return float(twice - 2 * once) / len(atoms)


def _rotation(reference: Atoms, calculator: Calculator) -> float:
    turned = reference.copy()
    turned.rotate(37.0, (1, 2, 3), rotate_cell=True)
    (found,) = evaluated([turned], calculator)
    rotation = np.linalg.solve(reference.cell.array, turned.cell.array)
    return float(np.abs(found.get_forces() - reference.get_forces() @ rotation).max())


def _slope(reference: Atoms, calculator: Calculator, seed: int, step: float = 1e-3) -> float:
    """Central differences along three random directions; float32 rounds energies to some 1e-6."""
    forces, differences = reference.get_forces(), []
    for vector in np.random.default_rng(seed).normal(size=(3, *forces.shape)):
        direction = vector / np.linalg.norm(vector)
        ends = [reference.copy(), reference.copy()]
        for end, sign in zip(ends, (1, -1), strict=True):
            end.positions += sign * step * direction
        up, down = energies_of(ends, calculator)
        differences.append(abs((down - up) / (2 * step) - (forces * direction).sum()))
    return float(max(differences))


def _drift(
    atoms: Atoms,
    calculator: Calculator,
    temperature: float,
    time: float,
    timestep: float,
    seed: int,
) -> float:
    """Slope of the energy over a run without thermostat, after a tenth of it."""
    moving = atoms.copy()
    moving.calc = calculator
    thermalize_momenta(moving, temperature_K=2 * temperature, rng=np.random.default_rng(seed))
    run = VelocityVerlet(moving, timestep * units.fs)
    energies: list[float] = []
    run.attach(lambda: energies.append(moving.get_total_energy()))
    run.run(round(1000 * time / timestep))
    skipped = len(energies) // 10
    times = np.arange(len(energies)) * timestep / 1000
    return energy_drift(times[skipped:], energies[skipped:], len(moving))
