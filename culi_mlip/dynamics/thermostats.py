"""Thermostats: what they add to ASE's, and their state for runs that continue."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.md.bussi import Bussi
from ase.md.md import MolecularDynamics
from ase.md.nose_hoover_chain import NoseHooverChainNVT, NoseHooverChainThermostat
from numpy.typing import NDArray


class NoseHoover(NoseHooverChainNVT):
    """ASE's Nosé-Hoover chain, with a temperature that may change and atoms that may be held.

    Parameters
    ----------
    atoms
        What moves. Only the degrees of freedom that constraints leave are thermostatted.
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
        damping = period / (np.sqrt(2) * np.pi)  # ω² = 2 · 3N kT / Q, Q = 3N kT τ²
        super().__init__(atoms, timestep, temperature(0), damping)
        self.temperature = temperature
        self._thermostat = NoseHooverChainThermostat(
            num_atoms_global=atoms.get_number_of_degrees_of_freedom() / 3,
            masses=self.masses,
            temperature_K=temperature(0),
            tdamp=damping,
            tloop=4,  # with one, a short period diverges from a start far out of equilibrium
        )

    def step(self) -> None:
        """Move by one time step, at the temperature of its beginning."""
        chain = self._thermostat
        factor = units.kB * self.temperature(self.nsteps) / chain._kT
        if factor != 1.0:  # friction p/Q stays
            chain._kT *= factor
            chain._Q *= factor
            chain._p_eta *= factor
        super().step()

    def _get_forces(self) -> NDArray[np.float64]:
        """With those on held atoms 0: ASE's chain would let their momenta grow unseen."""
        self._update_atoms()
        return np.asarray(self.atoms.get_forces())


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
        return total + dynamics._thermostat.get_thermostat_energy()
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
        chain = dynamics._thermostat
        found |= {"eta": chain._eta, "p_eta": chain._p_eta, "mass": chain._Q, "kT": chain._kT}
        found["momenta"] = dynamics._p
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
        chain = dynamics._thermostat
        chain._eta, chain._p_eta = saved["eta"].copy(), saved["p_eta"].copy()
        chain._Q, chain._kT = saved["mass"].copy(), float(saved["kT"])
        dynamics._q, dynamics._p = saved["positions"].copy(), saved["momenta"].copy()
