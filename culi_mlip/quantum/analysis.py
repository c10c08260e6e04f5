"""Whether the weights of a circuit are redundant, trainable, and its function expressive.

The three analyses of Laskaris et al., Comput. Mater. Sci. (2026), supplement A. Where the paper
leaves a definition open, ours is in the docstring.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from culi_mlip.errors import CuliError
from culi_mlip.progress import Progress
from culi_mlip.quantum.circuit import Circuit
from culi_mlip.quantum.layer import QDILayer


@dataclass(frozen=True)
class Redundancy:
    """What ZX calculus leaves of a circuit."""

    # Weights of the circuit; its phases, weights and features.
    n_weights: int
    n_phases: int
    # Spiders with a phase that depends on a weight or a feature, after simplification.
    phases_left: int
    # Independent combinations of weights in these phases, the features given: as many weights
    # would serve as well.
    weights_left: int
    # The ZX diagrams (pyzx graphs).
    before: Any
    after: Any


@dataclass(frozen=True)
class Fisher:
    """Fisher information of a circuit over random weights."""

    # Of the Fisher matrix of each draw of weights, shape (draws, weights), ascending, in units of
    # the mean eigenvalue over all draws (Abbas et al., eq. 4).
    eigenvalues: NDArray[np.float64]
    mean: NDArray[np.float64]  # mean of the Fisher matrices, shape (weights, weights)
    ranks: NDArray[np.int64]  # rank of each, shape (draws,)
    near_zero: float  # share of the eigenvalues that are below `threshold`
    threshold: float  # in units of the mean eigenvalue


@dataclass(frozen=True)
class Spectrum:
    """Fourier coefficients of a circuit over random weights."""

    # Complex, shape (draws, 3**n_features, n_qubits); frequencies 0, 1, -1 of each feature, the
    # last one fastest.
    coefficients: NDArray[np.complex128]
    # Real and imaginary parts of the coefficients of one qubit's function, but for the imaginary
    # part of the constant, which vanishes: 2·3**n_features - 1.
    n_terms: int
    # Of these, how many are larger than `threshold`, shape (draws, n_qubits).
    nonzero: NDArray[np.int64]
    threshold: float  # smallest magnitude that counts


def redundancy(circuit: Circuit) -> Redundancy:
    """Simplify a circuit by ZX calculus (pyzx ``full_reduce``), its angles kept as symbols.

    References
    ----------
    Kissinger and van de Wetering, Phys. Rev. A 102, 022406 (2020).
    """
    import pyzx  # slow to import
    from pyzx.symbolic import Poly, new_var

    drawn = pyzx.Circuit(circuit.n_qubits)
    for gate in circuit.gates:
        if gate.name[0] == "R":
            name = f"w{gate.weight}" if gate.weight is not None else f"x{gate.feature}"
            phase = new_var(name, is_bool=False)
            drawn.add_gate(f"{gate.name[1]}Phase", gate.wires[0], phase=phase)
        else:
            drawn.add_gate(gate.name, *gate.wires)
    before = drawn.to_graph()
    after = before.copy()
    pyzx.full_reduce(after)
    phases = [after.phase(vertex) for vertex in after.vertices()]
    symbolic = [phase for phase in phases if isinstance(phase, Poly) and phase.free_vars()]
    rows = np.zeros((len(symbolic), circuit.n_weights))
    for row, phase in zip(rows, symbolic, strict=True):
        for coefficient, term in phase.terms:
            for variable, _ in term.vars:
                if variable.name[0] == "w":
                    row[int(variable.name[1:])] = float(coefficient)  # type: ignore[arg-type]
    return Redundancy(
        n_weights=circuit.n_weights,
        n_phases=circuit.n_weights + circuit.n_features,
        phases_left=len(symbolic),
        weights_left=int(np.linalg.matrix_rank(rows)),
        before=before,
        after=after,
    )


def fisher_matrices(
    circuit: Circuit, weights: NDArray[np.float64], features: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the Fisher information matrices of weights, shape (draws, n_weights, n_weights).

    F = E_x Σ_y (∂P_y/∂θ)(∂P_y/∂θ)ᵀ / P_y, the paper's eq. 5, where P_y(x, θ) is the probability of
    outcome y when all qubits are measured along the circuit's measurement axis. The derivatives are
    exact, by parameter shift. Weights have the shape (draws, n_weights), the inputs x to average
    over (inputs, n_features).
    """
    layer = QDILayer(circuit).double()
    inputs = torch.as_tensor(features)
    matrices = []
    for draw in torch.as_tensor(weights):
        shifted = draw + math.pi / 2 * torch.eye(circuit.n_weights)[:, None] * torch.tensor(
            [[1.0], [-1.0]]
        )
        plus, minus = (
            torch.stack([_probabilities(layer, row, inputs) for row in shifted[:, side]])
            for side in (0, 1)
        )
        slopes = (plus - minus).flatten(1) / 2
        likely = _probabilities(layer, draw, inputs).flatten().clamp_min(1e-12)
        matrices.append((slopes / likely) @ slopes.T / len(inputs))
    return torch.stack(matrices).numpy()


def fisher(
    circuit: Circuit,
    *,
    draws: int = 100,
    inputs: int = 100,
    seed: int = 0,
    threshold: float = 0.1,
) -> Fisher:
    """Return the Fisher spectrum of a circuit.

    Weights are uniform in [0, 2π), inputs normal with mean 0 and variance 1, as in the paper.

    Parameters
    ----------
    circuit
        The circuit.
    draws, inputs
        How many weights to draw, and how many inputs to average over.
    seed
        Seed of both.
    threshold
        Eigenvalues below this, in units of the mean eigenvalue, count as near zero.

    Raises
    ------
    CuliError
        If a number is impossible.

    References
    ----------
    Abbas et al., Nat. Comput. Sci. 1, 403 (2021).
    """
    _check_numbers(threshold, seed, draws=draws, inputs=inputs)
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0, 2 * np.pi, (draws, circuit.n_weights))
    features = rng.normal(size=(inputs, circuit.n_features))
    matrices = fisher_matrices(circuit, weights, features)
    eigenvalues = np.linalg.eigvalsh(matrices)
    ranks = (eigenvalues > 1e-8 * eigenvalues[:, -1:]).sum(axis=1)
    eigenvalues = eigenvalues / eigenvalues.mean()
    return Fisher(
        eigenvalues=eigenvalues,
        mean=matrices.mean(axis=0),
        ranks=ranks,
        near_zero=float((eigenvalues < threshold).mean()),
        threshold=threshold,
    )


def rank_by_depth(
    circuit: Circuit,
    *,
    draws: int = 10,
    seed: int = 0,
    depths: Sequence[int] = (1, 2, 3, 4, 5),
    progress: Progress | None = None,
) -> dict[int, float]:
    """Return the mean rank of the Fisher matrices of a circuit made shallower and deeper.

    The depth is the number of rotation-and-entangler layers in a block; see `fisher`.
    """
    ranks = {}
    for n, depth in enumerate(depths, 1):
        deeper = replace(circuit, depth=depth)
        ranks[depth] = float(fisher(deeper, draws=draws, seed=seed).ranks.mean())
        if progress:
            progress(n, len(depths))
    return ranks


def rank_plateau(ranks: Mapping[int, float]) -> int:
    """Return the least depth whose rank is within 1 % of the largest, of ranks by depth."""
    return min(depth for depth, rank in ranks.items() if rank > 0.99 * max(ranks.values()))


def fourier(
    circuit: Circuit, *, draws: int = 100, seed: int = 0, threshold: float = 1e-3
) -> Spectrum:
    """Return the Fourier coefficients of a circuit at random weights, uniform in [0, 2π).

    A feature that is encoded once has the frequencies -1, 0 and 1. The coefficients c_ω of
    f(x) = Σ_ω c_ω exp(iω·x), the paper's eq. 7, are exact: the values of f at 0, π/2 and π of
    each feature determine them.

    Parameters
    ----------
    circuit
        A circuit with at most 8 features.
    draws
        How many weights to draw.
    seed
        Their seed.
    threshold
        Real and imaginary parts larger than this count as nonzero.

    Raises
    ------
    CuliError
        If the circuit has more than 8 features, or a number is impossible.
    """
    _check_numbers(threshold, seed, draws=draws)
    n = circuit.n_features
    if n > 8:
        raise CuliError(f"Fourier analysis of {n} features has 3**{n} terms: give at most 8")
    layer = QDILayer(circuit).double()
    rng = np.random.default_rng(seed)
    # Values at 0, π/2, π to the factors of 1, cos x, sin x, and these to c₀, c₁, c₋₁.
    to_real = np.array([[0.5, 0, 0.5], [0.5, 0, -0.5], [-0.5, 1, -0.5]])
    to_complex = np.array([[1, 0, 0], [0, 0.5, -0.5j], [0, 0.5, 0.5j]]) @ to_real
    grid = torch.as_tensor(np.indices((3,) * n).reshape(n, -1).T * (math.pi / 2))
    found = []
    for weights in rng.uniform(0, 2 * np.pi, (draws, *circuit.weight_shape)):
        with torch.no_grad():
            layer.weight.copy_(torch.as_tensor(weights))
            values = layer(grid).numpy().reshape(*(3,) * n, -1)
        for axis in range(n):
            values = np.moveaxis(np.tensordot(to_complex, values, (1, axis)), 0, axis)
        found.append(values.reshape(3**n, circuit.n_qubits))
    coefficients = np.array(found)
    parts = np.stack([coefficients.real, coefficients.imag])
    return Spectrum(
        coefficients=coefficients,
        n_terms=2 * 3**n - 1,
        nonzero=(np.abs(parts) > threshold).sum(axis=(0, 2)),
        threshold=threshold,
    )


def _check_numbers(threshold: float, seed: int, **counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise CuliError(f"{count} {name}: give at least 1")
    if seed < 0:
        raise CuliError(f"seed {seed}: give at least 0")
    if not 0 <= threshold < math.inf:
        raise CuliError(f"threshold {threshold}: give a number of at least 0")


def _probabilities(layer: QDILayer, weights: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """Probabilities of all outcomes, shape (inputs, 2**n_qubits)."""
    with torch.no_grad():
        layer.weight.copy_(weights.view_as(layer.weight))
        return layer.probabilities(features)
