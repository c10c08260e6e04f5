"""Where a run has left physics: it ends with an error that names step and atom."""

from __future__ import annotations

import numpy as np
from ase import units

from culi_mlip.dynamics.records import Recorder, read_log
from culi_mlip.errors import CuliError, EngineError

MAX_STEP = 0.5
"""Å; an atom that moves further in one time step has met a force that is not integrated."""

MAX_DRIFT = 0.02
"""Of the conserved energy in eV/atom/ps, a hundred times that of a fair time step."""


class Limits:
    """Makes steps of a run, and ends it when atoms fly or the energy is not conserved.

    `temperature` is the highest that was asked for, in K.
    """

    def __init__(self, recorder: Recorder, temperature: float) -> None:
        self.recorder, self.dynamics = recorder, recorder.dynamics
        degrees = recorder.n_degrees
        start = max(temperature, recorder.temperature)
        # Heat of an unrelaxed start, and canonical fluctuations of few degrees of freedom.
        self.hottest = (10 * start + 3000) * (1 + 10 / degrees)
        self.thermal = degrees * units.kB * start
        self._first: float | None = None

    def step(self) -> None:
        """Make one time step.

        Raises
        ------
        CuliError
            If an atom moved too far, the temperature ran away, or a number is not finite.
        EngineError
            If the potential fails.
        """
        before = self.dynamics.atoms.positions.copy()
        step = self.dynamics.nsteps + 1
        try:
            self.dynamics.run(1)
        except Exception as error:  # a potential may fail in any way where atoms have flown
            self._check(step, before, error)
            if isinstance(error, CuliError):
                raise
            raise EngineError(f"step {step} failed ({type(error).__name__}: {error})") from error
        self._check(step, before)

    def check_conservation(self) -> None:
        """Raise a `CuliError` if the conserved energy has changed by more than all heat."""
        if self._first is None:
            self._first = read_log(self.recorder.folder / "log.csv")["conserved_eV"][0]
        change = self.recorder.energies()[2] - self._first
        time_ps = self.dynamics.get_time() / (1000 * units.fs)
        drift = abs(change) / (time_ps * len(self.dynamics.atoms))
        if not (abs(change) < self.thermal or drift < MAX_DRIFT):
            raise CuliError(
                f"the conserved energy has changed by {change:+.3g} eV up to step "
                f"{self.dynamics.nsteps}, more than the heat of all atoms: "
                f"{self._remedy(self.dynamics.nsteps)}"
            )

    def _check(self, step: int, before: np.ndarray, error: Exception | None = None) -> None:
        atoms = self.dynamics.atoms
        moved = np.linalg.norm(atoms.positions - before, axis=1)
        speed = np.linalg.norm(atoms.get_velocities(), axis=1)
        energy = 0.0 if error else atoms.get_potential_energy()
        is_finite = np.isfinite([energy, *moved, *speed]).all()
        temperature = self.recorder.temperature
        if is_finite and moved.max() < MAX_STEP and temperature < self.hottest:
            return
        atom = int(np.argmax(np.where(np.isfinite(speed), moved, np.inf)))
        raise CuliError(
            f"the run diverged at step {step}, where atom {atom} ({atoms.symbols[atom]}) moved by "
            f"{moved[atom]:.2g} Å and the temperature was {temperature:.0f} K: {self._remedy(step)}"
        ) from error

    def _remedy(self, step: int) -> str:
        stride = self.recorder.stride
        return (
            "shorten the time step, or train the potential on such structures; the last good "
            f"frame, of step {(step - 1) // stride * stride}, is in {self.recorder.files[0]}"
        )
