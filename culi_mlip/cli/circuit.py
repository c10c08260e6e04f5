"""``culi-mlip circuit``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from culi_mlip.cli.circuit_noise import noise

if TYPE_CHECKING:
    from culi_mlip.quantum import Circuit

Command = TypeVar("Command", bound=Callable[..., Any])


@click.group("circuit")
def command() -> None:
    """Draw the quantum circuit and analyse it, as the paper's supplement A.

    Each analysis writes a figure (PNG) and its numbers (JSON).

    \b
    Example:
      culi-mlip circuit draw
      culi-mlip circuit fisher --depth 2
    """


def _circuit_options(function: Command) -> Command:
    """Options that say which circuit; all analyses have them."""
    axes = click.Choice(["X", "Y", "Z"])
    options = [
        click.option("--qubits", "n_qubits", type=int, default=4, show_default=True,
                     help="Number of qubits."),
        click.option("--features", "n_features", type=int, default=4, show_default=True,
                     help="Number of features."),
        click.option("--depth", type=int, default=3, show_default=True,
                     help="Rotation-and-entangler layers in a block."),
        click.option("--encoding", type=axes, default="Z", show_default=True,
                     help="Axis of the rotations by features."),
        click.option("--variational", type=axes, default="X", show_default=True,
                     help="Axis of the rotations by weights."),
        click.option("--entangler", type=click.Choice(["ring", "chain", "all"]), default="ring",
                     show_default=True, help="Which pairs are entangled."),
        click.option("--entangling-gate", type=click.Choice(["CNOT", "CZ"]), default="CNOT",
                     show_default=True, help="How they are entangled."),
        click.option("--measurement", type=axes, default="Y", show_default=True,
                     help="Pauli operator that is measured."),
        click.option("--out", type=click.Path(path_type=Path), default=Path("circuit"),
                     show_default=True, help="Folder of the figure and the JSON file."),
    ]  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


@command.command("draw")
@_circuit_options
def draw(out: Path, **choices: Any) -> None:
    """Draw the circuit, and list its gates.

    \b
    Example:
      culi-mlip circuit draw --depth 1
    """
    from culi_mlip.cli import console
    from culi_mlip.quantum import Circuit
    from culi_mlip.report.circuits import drawing

    circuit = Circuit(**choices)
    gates = [gate._asdict() for gate in circuit.gates]
    console.write_results(out, "draw", circuit, drawing(circuit), {"gates": gates})
    console.out.print(
        f"{circuit.n_weights} weights, {circuit.n_features} features in {circuit.n_rows} "
        f"row{'s' if circuit.n_rows > 1 else ''}, {len(gates)} gates"
    )


@command.command("zx")
@_circuit_options
def zx(out: Path, **choices: Any) -> None:
    """Look for redundant weights by ZX calculus.

    \b
    Example:
      culi-mlip circuit zx --entangler chain
    """
    from culi_mlip.cli import console
    from culi_mlip.quantum import Circuit
    from culi_mlip.quantum.analysis import redundancy
    from culi_mlip.report.circuits import zx_diagrams

    circuit = Circuit(**choices)
    result = redundancy(circuit)
    values = {
        "n_weights": result.n_weights,
        "weights_left": result.weights_left,
        "n_phases": result.n_phases,
        "phases_left": result.phases_left,
    }
    console.write_results(out, "zx", circuit, zx_diagrams(result), values)
    _compare(
        circuit,
        "after pyzx full_reduce",
        [
            ["independent weights", f"{result.weights_left} of {result.n_weights}", "24 of 24"],
            ["phases, features too", f"{result.phases_left} of {result.n_phases}", "–"],
        ],
    )


@command.command("fisher")
@_circuit_options
@click.option("--draws", type=click.IntRange(1), default=100, show_default=True,
              help="Draws of the weights.")  # fmt: skip
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Seed of all that is random.",
)
def fisher(out: Path, draws: int, seed: int, **choices: Any) -> None:
    """Fisher information: how much each weight matters.

    Over weights uniform in [0, 2π), averaged over 100 normal inputs, and for a single one; the
    outcomes are those of measuring all qubits. Eigenvalues are in units of their mean; below 0.1
    they count as near zero.

    \b
    Example:
      culi-mlip circuit fisher
    """
    from dataclasses import replace

    from culi_mlip.cli import console
    from culi_mlip.quantum import Circuit
    from culi_mlip.quantum.analysis import fisher as analyse
    from culi_mlip.report.circuits import fisher_figure

    circuit = Circuit(**choices)
    ranks: dict[int, float] = {}
    with console.steps() as step:
        progress = step("Fisher matrices")
        result = analyse(circuit, draws=draws, seed=seed)
        single = analyse(circuit, draws=draws, inputs=1, seed=seed)
        for depth in range(1, 6):
            progress(depth, 6)
            deeper = replace(circuit, depth=depth)
            ranks[depth] = float(analyse(deeper, draws=max(1, draws // 10), seed=seed).ranks.mean())
        progress(6, 6)
    plateau = min(depth for depth, rank in ranks.items() if rank > 0.99 * max(ranks.values()))
    values = {
        "definition": "F = E_x sum_y dP_y dP_y^T / P_y, y the outcomes of measuring all qubits; "
        "eigenvalues in units of their mean",
        "threshold": result.threshold,
        "near_zero": result.near_zero,
        "near_zero_single_input": single.near_zero,
        "eigenvalues": result.eigenvalues,
        "mean": result.mean,
        "rank_by_depth": ranks,
        "rank_plateau_from_depth": plateau,
    }
    console.write_results(out, "fisher", circuit, fisher_figure(result, ranks), values)
    below = ", ".join(
        f"{(result.eigenvalues < limit).mean():.0%} below {limit:g}" for limit in (0.01, 0.1, 0.5)
    )
    _compare(
        circuit,
        "Fisher information",
        [
            [
                "near zero, averaged over inputs",
                f"{result.near_zero:.0%}",
                "78%",
            ],
            ["near zero, a single input", f"{single.near_zero:.0%}", "–"],
            *[[f"mean rank at depth {depth}", f"{rank:.1f}", "–"] for depth, rank in ranks.items()],
            ["rank's plateau (99%)", f"from depth {plateau} on", "within 3 layers, Fig. 4(c)"],
        ],
    )
    console.out.print(f"Eigenvalues in units of their mean: {below}.")


@command.command("fourier")
@_circuit_options
@click.option("--draws", type=click.IntRange(1), default=100, show_default=True,
              help="Draws of the weights.")  # fmt: skip
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the weights."
)
def fourier(out: Path, draws: int, seed: int, **choices: Any) -> None:
    """Fourier coefficients: which functions the circuit can be.

    Real and imaginary parts larger than 0.001 count as nonzero, over weights uniform in [0, 2π).

    \b
    Example:
      culi-mlip circuit fourier --features 2 --qubits 2
    """
    from culi_mlip.cli import console
    from culi_mlip.quantum import Circuit
    from culi_mlip.quantum.analysis import fourier as analyse
    from culi_mlip.report.circuits import fourier_figure

    circuit = Circuit(**choices)
    result = analyse(circuit, draws=draws, seed=seed)
    spread = result.coefficients.std(axis=0)
    values = {
        "n_terms": result.n_terms,
        "threshold": result.threshold,
        "nonzero_mean": result.nonzero.mean(),
        "nonzero_least": result.nonzero.min(),
        "nonzero_most": result.nonzero.max(),
        "mean_abs": abs(result.coefficients).mean(axis=0),
        "standard_deviation": spread,
    }
    console.write_results(out, "fourier", circuit, fourier_figure(result), values)
    _compare(
        circuit,
        "Fourier coefficients",
        [
            ["terms", str(result.n_terms), "161"],
            ["above 0.001, mean", f"{result.nonzero.mean():.0f}", "127"],
            ["above 0.001, range", f"{result.nonzero.min()} to {result.nonzero.max()}", "–"],
        ],
    )


command.add_command(noise)


def _compare(circuit: Circuit, title: str, rows: list[list[str]]) -> None:
    """Print ours, and beside the paper's circuit the paper's."""
    from culi_mlip.cli import console
    from culi_mlip.quantum import Circuit

    columns = 3 if circuit == Circuit() else 2
    console.table([title, "ours", "paper"][:columns], [row[:columns] for row in rows])
