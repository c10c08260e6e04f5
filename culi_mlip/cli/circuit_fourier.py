"""``culi-mlip circuit fourier``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from culi_mlip.cli import options

if TYPE_CHECKING:
    from culi_mlip.quantum import Circuit


@click.command("fourier")
@options.circuit
@options.figures_out
@options.draws
@options.seed("the weights")
def fourier(out: Path, draws: int, seed: int, circuit: Circuit) -> None:
    """Fourier coefficients: which functions the circuit can be.

    Real and imaginary parts larger than 0.001 count as nonzero, over weights uniform in [0, 2π).

    \b
    Example:
      culi-mlip circuit fourier --features 2 --qubits 2
    """
    from culi_mlip.cli import console
    from culi_mlip.quantum.analysis import fourier as analyse
    from culi_mlip.report.circuits import fourier_figure

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
    console.compare_with_paper(
        circuit,
        "Fourier coefficients",
        [
            ["terms", str(result.n_terms), "161"],
            ["above 0.001, mean", f"{result.nonzero.mean():.0f}", "127"],
            ["above 0.001, range", f"{result.nonzero.min()} to {result.nonzero.max()}", "–"],
        ],
    )
