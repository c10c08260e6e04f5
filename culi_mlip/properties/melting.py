"""Melting points by coexistence of crystal and liquid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.constraints import FixAtoms
from ase.md.md import MolecularDynamics
from ase.md.melchionna import MelchionnaNPT
from ase.md.velocitydistribution import Stationary, thermalize_momenta
from numpy.typing import NDArray
from scipy import stats

from culi_mlip.dynamics.checks import check_numbers
from culi_mlip.dynamics.thermostats import VelocityRescaling
from culi_mlip.errors import CuliError
from culi_mlip.progress import Progress, no_progress
from culi_mlip.properties.eos import EquationOfState, equation_of_state
from culi_mlip.properties.evaluation import check_stress
from culi_mlip.structures import bulk

CELLS = {"bcc": (5, 5, 18), "fcc": (4, 4, 14)}
"""Cubic cells of the coexistence: some 900 atoms."""

IN_PLANE = {"bcc": np.array([[1, 1], [1, -1]]), "fcc": np.array([[2, 0], [0, 2]])}
"""Reciprocal vectors of the cubic cell in the plane of the boundary: they tell a crystal."""

TEMPERATURE_BLOCKS = 5
"""Of the second half of a run, whose mean temperatures tell the error of their mean."""

STRIDE = 10
"""Steps between temperatures that are kept."""

SETTLING = 3.0
"""Time in ps after which a phase has forgotten its beginning."""

MELTS = 2.5
"""Melting points at which a crystal melts at once."""

NEAR = 0.03
"""Part of the temperature that a run may begin away from where it ends: the crystal's lattice
constant along the boundary is that of the beginning."""


@dataclass(frozen=True)
class Melting:
    """A melting point; see `melting_point`.

    Attributes
    ----------
    symbol
        The element.
    temperature, error
        In K, with the half width of the 95 % confidence interval of the mean over time; None where
        crystal and liquid did not coexist to the end.
    lattice_constant
        Of the crystal along the boundary, in Å.
    pressure_along, pressure_across
        Mean pressures in GPa along the boundary, where the cell is fixed, and across it.
    times, temperatures, crystalline
        Of the last run: ps, K, and the share of the cell that is crystal.
    trials
        Temperatures in K of all runs: where each started, and its mean.
    final
        The last frame.
    withheld
        Why there is no temperature.
    """

    symbol: str
    temperature: float | None
    error: float | None
    lattice_constant: float
    pressure_along: float
    pressure_across: float
    times: NDArray[np.float64]
    temperatures: NDArray[np.float64]
    crystalline: NDArray[np.float64]
    trials: tuple[tuple[float, float], ...]
    final: Atoms
    withheld: str | None = None


def melting_point(
    symbol: str,
    calculator: Calculator,
    *,
    temperature: float | None = None,
    repeat: tuple[int, int, int] | None = None,
    time: float = 30.0,
    timestep: float = 2.0,
    runs: int = 3,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Melting:
    """Return the melting point of an element at zero pressure, by coexistence.

    Half of a long crystal is melted. Then both halves move without thermostat, at constant enthalpy
    and zero pressure across their boundary: where it is too hot the crystal melts and takes up heat
    until the temperature is that of coexistence (Morris, Wang, Ho and Chan, Phys. Rev. B 49, 3109,
    1994). The next run begins at the temperature where the last one ended.

    Parameters
    ----------
    symbol
        An fcc or bcc element.
    calculator
        Any of ASE's with a stress.
    temperature
        In K to begin with; by default the measured melting point.
    repeat
        Cubic cells, the third across the boundary; by default `CELLS`. Small cells have melting
        points that are off by some percent.
    time, timestep
        Of a coexistence in ps, and of a step in fs.
    runs
        How many at most, until one begins within 3 % of where it ends.
    seed
        Of velocities.
    progress
        Called with (steps done, steps in all).

    Raises
    ------
    EngineError
        If the calculator has no stress.
    CuliError
        If a run is too short for a mean, or atoms fly apart.
    """
    check_stress(calculator, "cells that expand")
    state = equation_of_state(symbol, calculator)
    temperature = _measured(symbol) if temperature is None else temperature
    check_numbers(temperature=temperature, time=time, timestep=timestep)
    n_steps, settling = round(1000 * time / timestep), round(1000 * SETTLING / timestep)
    if n_steps < (least := 2 * TEMPERATURE_BLOCKS * STRIDE):
        raise CuliError(
            f"time {time:g} ps is {n_steps} steps of {timestep:g} fs: give at least {least}, "
            f"{least * timestep / 1000:g} ps"
        )
    done = 0

    def advance() -> None:
        nonlocal done
        done += STRIDE
        progress(min(done, total), total)

    total = runs * (n_steps + 4 * settling)
    cells = CELLS[state.crystal] if repeat is None else repeat
    phases = _Phases(state, calculator, cells, timestep, settling, seed, advance)
    trials: list[tuple[float, float]] = []
    for run in range(runs):
        a = phases.lattice_constant(temperature)
        log, atoms = phases.coexistence(a, temperature, n_steps)
        mean, error = _mean(log.temperatures)
        trials.append((temperature, mean))
        crystalline = float(log.crystalline[len(log.crystalline) // 2 :].mean())
        coexists = 0.1 < crystalline < 0.9
        is_near = coexists and abs(mean / temperature - 1) < NEAR
        if is_near or run == runs - 1:
            break
        temperature = mean if coexists else temperature * (1.1 if crystalline > 0.5 else 0.9)
    progress(total, total)
    withheld = None
    if not coexists:
        what = "froze" if crystalline > 0.5 else "melted"
        withheld = f"the cell {what} at {mean:.0f} K: begin at another temperature, or enlarge it"
    elif not is_near:
        withheld = (
            f"the last run began at {temperature:.0f} K and ended at {mean:.0f} K: more runs, or "
            "begin there"
        )
    along, across = log.pressures[len(log.pressures) // 2 :].mean(axis=0).tolist()
    return Melting(
        symbol,
        None if withheld else mean,
        None if withheld else error,
        a,
        along,
        across,
        log.times,
        log.temperatures,
        log.crystalline,
        tuple(trials),
        atoms,
        withheld,
    )


class _Log(NamedTuple):
    times: NDArray[np.float64]  # ps
    temperatures: NDArray[np.float64]  # K
    crystalline: NDArray[np.float64]  # shares
    pressures: NDArray[np.float64]  # GPa, along and across the boundary


class _Phases:
    """A crystal and its melt, in cells of one size."""

    def __init__(
        self,
        state: EquationOfState,
        calculator: Calculator,
        repeat: tuple[int, int, int],
        timestep: float,
        settling: int,
        seed: int,
        advance: Callable[[], None],
    ) -> None:
        self.state, self.repeat, self.calculator = state, repeat, calculator
        self.timestep, self.settling, self.advance = timestep * units.fs, settling, advance
        self.rng = np.random.default_rng(seed)

    def lattice_constant(self, temperature: float) -> float:
        """Of the crystal at a temperature and zero pressure, in Å."""
        side = max(self.repeat[:2])
        atoms = self._crystal(self.state.lattice_constant, (side, side, side), 2 * temperature)
        run = self._at_zero_pressure(atoms, temperature)
        run.set_fraction_traceless(0)  # stays cubic
        lengths: list[float] = []
        run.attach(lambda: lengths.append(atoms.cell.volume ** (1 / 3) / side), STRIDE)
        self._go(run, self.settling)
        return float(np.mean(lengths[len(lengths) // 2 :]))

    def coexistence(self, a: float, temperature: float, n_steps: int) -> tuple[_Log, Atoms]:
        """Half of a crystal melts; crystal and liquid then share their heat."""
        atoms = self._crystal(a, self.repeat, temperature)
        lower = atoms.positions[:, 2] < atoms.cell[2, 2] / 2
        atoms.set_constraint(FixAtoms(mask=lower))
        for kelvin in (MELTS * temperature, temperature):
            self._go(self._thermostatted(atoms, kelvin), self.settling)
        atoms.set_constraint()
        momenta = atoms.get_momenta()
        thermalize_momenta(atoms, temperature_K=2 * temperature, rng=self.rng)
        momenta[lower] = atoms.get_momenta()[lower]
        atoms.set_momenta(momenta)
        Stationary(atoms)
        across = (0, 0, 1)
        self._go(self._at_zero_pressure(atoms, temperature, across, period=50.0), self.settling)
        run = self._at_zero_pressure(atoms, temperature, across, period=None)
        rows: list[tuple[float, ...]] = []

        def observe() -> None:
            stress = -atoms.get_stress(include_ideal_gas=True) / units.GPa
            share = crystalline_share(atoms, a, self.state.crystal)
            time = run.nsteps * self.timestep / (1000 * units.fs)
            along = (stress[0] + stress[1]) / 2
            rows.append((time, atoms.get_temperature(), share, along, stress[2]))

        run.attach(observe, STRIDE)
        self._go(run, n_steps)
        columns = np.array(rows).T
        return _Log(columns[0], columns[1], columns[2], columns[3:].T), atoms

    def _crystal(self, a: float, repeat: tuple[int, int, int], temperature: float) -> Atoms:
        """A crystal in motion."""
        atoms = bulk(self.state.symbol, a=a, cubic=True, repeat=repeat)
        atoms.calc = self.calculator
        thermalize_momenta(atoms, temperature_K=temperature, rng=self.rng)
        Stationary(atoms)
        return atoms

    def _thermostatted(self, atoms: Atoms, temperature: float) -> MolecularDynamics:
        period = 100.0 * units.fs
        return VelocityRescaling(atoms, self.timestep, temperature, period, self.rng)

    def _at_zero_pressure(
        self,
        atoms: Atoms,
        temperature: float,
        directions: tuple[int, int, int] = (1, 1, 1),
        *,
        period: float | None = 50.0,
    ) -> MelchionnaNPT:
        """At zero pressure in some directions; the thermostat has a period in fs, or is none."""
        stiffness = (150.0 * units.fs) ** 2 * self.state.bulk_modulus * units.GPa
        return MelchionnaNPT(
            atoms,
            self.timestep,
            temperature_K=temperature,
            externalstress=0.0,
            ttime=period and period * units.fs,
            pfactor=stiffness,
            mask=np.array(directions),
        )

    def _go(self, run: MolecularDynamics, n_steps: int) -> None:
        run.attach(self.advance, STRIDE)
        run.run(n_steps)
        if not np.isfinite(run.atoms.positions).all():
            raise CuliError(f"{self.state.symbol} flies apart: give a smaller time step")


def crystalline_share(atoms: Atoms, a: float, crystal: str) -> float:
    """Return which share of a long cell along z is crystal.

    In slices of one cubic cell each, atoms of a crystal stand in phase with the reciprocal lattice
    vectors of `IN_PLANE`; a slice is crystal if the amplitude of their sum is above half of that of
    the slice with the largest, and above that of atoms at random.

    Parameters
    ----------
    atoms
        With the cubic axes of a crystal along x and y.
    a
        Its lattice constant in the plane, in Å.
    crystal
        "fcc" or "bcc".
    """
    slices = max(1, round(atoms.cell[2, 2] / a))
    place = np.floor(atoms.get_scaled_positions()[:, 2] * slices).astype(int) % slices
    phases = np.exp(2j * np.pi / a * atoms.positions[:, :2] @ IN_PLANE[crystal].T)
    counts = np.maximum(np.bincount(place, minlength=slices), 1)
    sums = [[np.abs(phases[place == i, k].sum()) for k in (0, 1)] for i in range(slices)]
    order = np.mean(sums, axis=1) / counts
    return float((order > max(order.max() / 2, 2 / np.sqrt(counts.mean()))).mean())


def _measured(symbol: str) -> float:
    """The melting point of experiment in K, from pymatgen's table."""
    from pymatgen.core import Element

    return float(Element(symbol).melting_point)


def _mean(temperatures: NDArray[np.float64]) -> tuple[float, float]:
    """Mean of the second half, with the half width of its 95 % confidence interval by blocks."""
    half = temperatures[len(temperatures) // 2 :]
    means = [block.mean() for block in np.array_split(half, TEMPERATURE_BLOCKS)]
    width = stats.sem(means) * stats.t.ppf(0.975, TEMPERATURE_BLOCKS - 1)
    return float(half.mean()), float(width)
