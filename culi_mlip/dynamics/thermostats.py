"""Thermostats that heat what moves, and their state for runs that continue."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.md.bussi import Bussi
from ase.md.md import MolecularDynamics
from ase.md.nose_hoover_chain import NoseHooverChainThermostat
from ase.md.verlet import VelocityVerlet

from culi_mlip.dynamics.velocities import degrees_of_freedom


class VelocityRescaling(Bussi):
    """ASE's stochastic velocity rescaling of the degrees of freedom that carry heat.

    Parameters
    ----------
    atoms
        What moves, with its velocities.
    timestep
        In ASE's unit of time.
    temperature_K
        Of the thermostat.
    taut
        Its relaxation time in ASE's unit of time.
    rng
        What it draws from.

    References
    ----------
    Bussi, Donadio, Parrinello, J. Chem. Phys. 126, 014101 (2007), equation A7.
    """

    def __init__(
        self,
        atoms: Atoms,
        timestep: float,
        temperature_K: float,  # noqa: N803 (as in ASE)
        taut: float,
        rng: np.random.Generator,
    ) -> None:
        super().__init__(atoms, timestep, temperature_K, taut, rng)
        self.ndof = degrees_of_freedom(atoms)  # ASE counts the centre of mass, which stays
        self.target_kinetic_energy = 0.5 * self.temp * self.ndof


class NoseHoover(VelocityVerlet):
    """Velocity Verlet between two half steps of ASE's Nosé-Hoover chain.

    The temperature may change, and constraints are obeyed as in other runs.

    Parameters
    ----------
    atoms
        What moves, with its velocities. Only the degrees of freedom that carry heat are
        thermostatted.
    timestep
        In ASE's unit of time.
    temperature
        Of the thermostat in K, by the number of steps done.
    period
        Of the temperature's oscillation in ASE's unit of time; the masses of the chain follow the
        temperature, so that it stays.

    References
    ----------
    Martyna, Klein, Tuckerman, J. Chem. Phys. 97, 2635 (1992).
    """

    def __init__(
        self,
        atoms: Atoms,
        timestep: float,
        temperature: Callable[[int], float],
        period: float,
    ) -> None:
        super().__init__(atoms, timestep)
        self.temperature = temperature
        self.chain = NoseHooverChainThermostat(
            num_atoms_global=degrees_of_freedom(atoms) / 3,  # type: ignore[arg-type]
            masses=self.masses,
            temperature_K=temperature(0),
            tdamp=period / (np.sqrt(2) * np.pi),  # ω² = 2 · 3N kT / Q, Q = 3N kT τ²
            tloop=4,  # with one, a short period diverges from a start far out of equilibrium
        )

    def step(self, forces: Any = None) -> Any:
        """Move by one time step, at the temperature of its beginning."""
        factor = units.kB * self.temperature(self.nsteps) / self.chain._kT
        if factor != 1.0:  # friction p/Q stays
            self.chain._kT *= factor
            self.chain._Q *= factor
            self.chain._p_eta *= factor
        self._exchange()
        forces = super().step(forces)
        self._exchange()
        return forces

    def _exchange(self) -> None:
        """Exchange heat with the chain for half a step."""
        momenta = self.chain.integrate_nhc(self.atoms.get_momenta(), self.dt / 2)
        self.atoms.set_momenta(momenta, apply_constraint=False)


def conserved_energy(dynamics: MolecularDynamics, total: float) -> float:
    """Return what a thermostat conserves at constant temperature, eV.

    Parameters
    ----------
    dynamics
        The run.
    total
        Potential and kinetic energy, eV.
    """
    if isinstance(dynamics, NoseHoover):
        return total + dynamics.chain.get_thermostat_energy()
    return total - float(getattr(dynamics, "transferred_energy", 0.0))


def state(dynamics: MolecularDynamics, rng: np.random.Generator) -> dict[str, Any]:
    """Return all that a run needs to continue to the last bit, as arrays and text."""
    atoms = dynamics.atoms
    found: dict[str, Any] = {
        "positions": atoms.positions,
        "momenta": atoms.get_momenta(),
        "step": dynamics.nsteps,
        "rng": json.dumps(rng.bit_generator.state),
    }
    if isinstance(dynamics, Bussi):
        found["transferred_energy"] = dynamics.transferred_energy
    if isinstance(dynamics, NoseHoover):
        chain = dynamics.chain
        found |= {"eta": chain._eta, "p_eta": chain._p_eta, "mass": chain._Q, "kT": chain._kT}
    return found


def set_state(
    dynamics: MolecularDynamics, rng: np.random.Generator, saved: Mapping[str, Any]
) -> None:
    """Continue from a state."""
    dynamics.atoms.positions = saved["positions"]
    dynamics.atoms.set_momenta(saved["momenta"], apply_constraint=False)
    dynamics.nsteps = int(saved["step"])
    rng.bit_generator.state = json.loads(str(saved["rng"]))
    if isinstance(dynamics, Bussi):
        dynamics.transferred_energy = float(saved["transferred_energy"])
    if isinstance(dynamics, NoseHoover):
        chain = dynamics.chain
        chain._eta, chain._p_eta = saved["eta"].copy(), saved["p_eta"].copy()
        chain._Q, chain._kT = saved["mass"].copy(), float(saved["kT"])
