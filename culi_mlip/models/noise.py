"""What shots and gate noise of a quantum computer would cost a trained hybrid."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from numpy.typing import NDArray

from culi_mlip.errors import DatasetError, ModelError
from culi_mlip.models.evaluation import Errors, evaluate
from culi_mlip.models.readout import QDIReadout
from culi_mlip.progress import Progress
from culi_mlip.quantum import Circuit, QDILayer
from culi_mlip.quantum.noise import NoisyLayer


@dataclass(frozen=True)
class NoiseErrors:
    """Mean absolute difference that the circuit's noise makes, from the exact circuit.

    Attributes
    ----------
    shots
        Measurements of each circuit; ``None`` is exact.
    depolarising
        Probability of depolarisation of a qubit after each gate on it.
    energy_mae
        In eV/atom.
    force_mae
        Of the force components in eV/Å.
    """

    shots: int | None
    depolarising: float
    energy_mae: float
    force_mae: float


@dataclass(frozen=True)
class PowerLaw:
    """error = prefactor · x**exponent."""

    prefactor: float
    exponent: float

    def at(self, x: float) -> float:
        """Error at x."""
        return float(self.prefactor * x**self.exponent)

    def where(self, error: float) -> float:
        """The x of an error; infinity where no x gives it."""
        if error <= 0 or self.exponent == 0:
            return math.inf
        return float((error / self.prefactor) ** (1 / self.exponent))


def noise_errors(
    frames: Sequence[Atoms],
    calculator: Calculator,
    *,
    shots: Sequence[int] = (100, 1000, 10000, 100000),
    depolarising: Sequence[float] = (1e-4, 1e-3, 1e-2),
    repeats: int = 3,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[NoiseErrors]:
    """Evaluate a hybrid with a noisy circuit, through PennyLane, beside the exact one.

    Forces come from measured gradients (parameter shift), each circuit with as many shots.

    Parameters
    ----------
    frames
        Structures.
    calculator
        A `HybridAllegro` of an Allegro+QDI checkpoint; it is left as it was.
    shots
        Numbers of shots, without gate noise.
    depolarising
        Probabilities of depolarisation, without shot noise.
    repeats
        Measurements of each structure with shots.
    seed
        Seed of the measurements.
    progress
        Called with (evaluations done, evaluations in all).

    Returns
    -------
    list of NoiseErrors
        One a number of shots, then one a probability.

    Raises
    ------
    ModelError
        If the model holds no circuit that can be exchanged, or a number is impossible.
    DatasetError
        If there are no frames.
    """
    if not frames:
        raise DatasetError("no frames to measure the noise on: give at least one")
    if repeats < 1 or seed < 0:
        raise ModelError(f"{repeats} repeats, seed {seed}: give at least 1 and at least 0")
    readout, layer = _hybrid(calculator)
    exact = [_energy_and_forces(atoms, calculator) for atoms in frames]
    rows = [(n, 0.0, repeats) for n in shots] + [(None, p, 1) for p in depolarising]
    total, done = sum(times for *_, times in rows) * len(frames), 0
    result = []
    for n, p, times in rows:
        differences = []
        with _exchanged(readout, NoisyLayer(layer, n, p, seed)):
            for atoms, (energy, forces) in list(zip(frames, exact, strict=True)) * times:
                noisy_energy, noisy_forces = _energy_and_forces(atoms, calculator)
                differences.append(
                    (abs(noisy_energy - energy) / len(atoms), np.abs(noisy_forces - forces).mean())
                )
                done += 1
                if progress:
                    progress(done, total)
        energy_mae, force_mae = np.mean(differences, axis=0)
        result.append(NoiseErrors(n, p, float(energy_mae), float(force_mae)))
    return result


@dataclass(frozen=True)
class NoiseStudy:
    """What noise costs a hybrid, beside the errors that it has anyway.

    Attributes
    ----------
    circuit
        The hybrid's.
    n_frames
        How many frames were evaluated.
    rows
        As from `noise_errors`.
    laws
        Power laws of the errors, named "energy_by_shots", "force_by_depolarising" and so on; None
        where there are too few values for one.
    own
        Errors of the model itself on the same frames.
    """

    circuit: Circuit
    n_frames: int
    rows: list[NoiseErrors]
    laws: dict[str, PowerLaw | None]
    own: Errors

    @property
    def values(self) -> dict[str, Any]:
        """The numbers, as they are written to a file."""
        return {
            "frames": self.n_frames,
            "rows": [asdict(row) for row in self.rows],
            "laws": {name: asdict(law) for name, law in self.laws.items() if law},
            "model_energy_mae": self.own.energy_mae,
            "model_force_mae": self.own.force_mae,
        }


def noise_study(
    frames: Sequence[Atoms],
    calculator: Calculator,
    *,
    most: int = 5,
    shots: Sequence[int] = (100, 1000, 10000, 100000),
    depolarising: Sequence[float] = (1e-4, 1e-3, 1e-2),
    repeats: int = 3,
    seed: int = 0,
    progress: Progress | None = None,
) -> NoiseStudy:
    """Judge a hybrid's noise by its own errors, and fit power laws to it.

    Parameters
    ----------
    frames
        Frames with energies and forces.
    calculator
        A `HybridAllegro` of an Allegro+QDI checkpoint; it is left as it was.
    most
        How many frames are evaluated at most, evenly chosen.
    shots, depolarising, repeats, seed, progress
        As in `noise_errors`.

    Raises
    ------
    ModelError
        As `noise_errors`.
    DatasetError
        If there are no frames, or they have no forces.
    """
    chosen = frames[:: max(1, math.ceil(len(frames) / most))]
    own = evaluate(chosen, calculator).errors[-1]
    if own.force_mae is None:
        raise DatasetError("the frames have no forces, beside which noise is judged: label them")
    rows = noise_errors(
        chosen,
        calculator,
        shots=shots,
        depolarising=depolarising,
        repeats=repeats,
        seed=seed,
        progress=progress,
    )
    parts = {
        "shots": [row for row in rows if row.shots],
        "depolarising": [row for row in rows if not row.shots],
    }
    laws = {
        f"{kind}_by_{name}": power_law(
            [getattr(row, name) for row in part], [getattr(row, f"{kind}_mae") for row in part]
        )
        for name, part in parts.items()
        for kind in ("energy", "force")
    }
    return NoiseStudy(circuit_of(calculator), len(chosen), rows, laws, own)


def circuit_of(calculator: Calculator) -> Circuit:
    """Return the circuit of a hybrid.

    Raises
    ------
    ModelError
        If the model holds none.
    """
    return _hybrid(calculator)[1].circuit


def power_law(x: Sequence[float], errors: Sequence[float]) -> PowerLaw | None:
    """Fit a power law by least squares of the logarithms; ``None`` for fewer than two x."""
    if len(set(x)) < 2 or min(errors) <= 0:
        return None
    exponent, logarithm = np.polyfit(np.log(x), np.log(errors), 1)
    return PowerLaw(float(np.exp(logarithm)), float(exponent))


def _hybrid(calculator: Calculator) -> tuple[QDIReadout, QDILayer]:
    """The readout of a hybrid, and the circuit in it."""
    model = getattr(calculator, "model", None)
    for module in model.modules() if isinstance(model, torch.nn.Module) else ():
        if isinstance(module, QDIReadout) and isinstance(module.quantum, QDILayer):
            return module, module.quantum
    raise ModelError(
        "the model holds no quantum circuit that can be measured: give the run folder or the "
        "checkpoint of an Allegro+QDI model (not another variant, a packaged or a compiled one)"
    )


@contextmanager
def _exchanged(readout: QDIReadout, layer: torch.nn.Module) -> Iterator[None]:
    exact = readout.quantum
    readout.quantum = layer
    try:
        yield
    finally:
        readout.quantum = exact


def _energy_and_forces(atoms: Atoms, calculator: Calculator) -> tuple[float, NDArray[np.float64]]:
    calculator.reset()
    copy = atoms.copy()
    copy.set_constraint()
    copy.calc = calculator
    return float(copy.get_potential_energy()), copy.get_forces()
