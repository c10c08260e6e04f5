"""``culi-mlip circuit``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from culi_mlip.cli import options
from culi_mlip.cli.circuit_fisher import fisher
from culi_mlip.cli.circuit_fourier import fourier
from culi_mlip.cli.circuit_noise import noise

if TYPE_CHECKING:
    from culi_mlip.quantum import Circuit


@click.group("circuit")
def command() -> None:
    """Draw the quantum circuit and analyse it, as the paper's supplement A.

    Each analysis writes a figure (PNG) and its numbers (JSON).

    \b
    Example:
      culi-mlip circuit draw
      culi-mlip circuit fisher --depth 2
    """


@command.command("draw")
@options.circuit
@options.figures_out
def draw(circuit: Circuit, out: Path) -> None:
    """Draw the circuit, and list its gates.

    \b
    Example:
      culi-mlip circuit draw --depth 1
    """
    from culi_mlip.cli import console
    from culi_mlip.report.circuits import drawing

    gates = [gate._asdict() for gate in circuit.gates]
    console.write_results(out, "draw", circuit, drawing(circuit), {"gates": gates})
    console.out.print(
        f"{circuit.n_weights} weights, {circuit.n_features} features in {circuit.n_rows} "
        f"row{'s' if circuit.n_rows > 1 else ''}, {len(gates)} gates"
    )


@command.command("zx")
@options.circuit
@options.figures_out
def zx(circuit: Circuit, out: Path) -> None:
    """Look for redundant weights by ZX calculus.

    \b
    Example:
      culi-mlip circuit zx --entangler chain
    """
    from culi_mlip.cli import console
    from culi_mlip.quantum.analysis import redundancy
    from culi_mlip.report.circuits import zx_diagrams

    result = redundancy(circuit)
    values = {
        "n_weights": result.n_weights,
        "weights_left": result.weights_left,
        "n_phases": result.n_phases,
        "phases_left": result.phases_left,
    }
    console.write_results(out, "zx", circuit, zx_diagrams(result), values)
    console.compare_with_paper(
        circuit,
        "after pyzx full_reduce",
        [
            ["independent weights", f"{result.weights_left} of {result.n_weights}", "24 of 24"],
            ["phases, features too", f"{result.phases_left} of {result.n_phases}", "–"],
        ],
    )


for _command in (fisher, fourier, noise):
    command.add_command(_command)
