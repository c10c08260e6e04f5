"""``culi-mlip circuit fisher``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from culi_mlip.cli import options

if TYPE_CHECKING:
    from culi_mlip.quantum import Circuit


@click.command("fisher")
@options.circuit
@options.figures_out
@options.draws
@options.seed("weights and inputs")
def fisher(out: Path, draws: int, seed: int, circuit: Circuit) -> None:
    """Fisher information: how much each weight matters.

    Over weights uniform in [0, 2π), averaged over 100 normal inputs, and for a single one; the
    outcomes are those of measuring all qubits. Eigenvalues are in units of their mean; below 0.1
    they count as near zero.

    \b
    Example:
      culi-mlip circuit fisher
    """
    from culi_mlip.cli import console
    from culi_mlip.quantum.analysis import fisher as analyse
    from culi_mlip.quantum.analysis import rank_by_depth, rank_plateau
    from culi_mlip.report.circuits import fisher_figure

    with console.steps() as step:
        progress = step("Fisher matrices")
        result = analyse(circuit, draws=draws, seed=seed)
        single = analyse(circuit, draws=draws, inputs=1, seed=seed)
        ranks = rank_by_depth(circuit, draws=max(1, draws // 10), seed=seed, progress=progress)
    plateau = rank_plateau(ranks)
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
    console.compare_with_paper(
        circuit,
        "Fisher information",
        [
            ["near zero, averaged over inputs", f"{result.near_zero:.0%}", "78%"],
            ["near zero, a single input", f"{single.near_zero:.0%}", "–"],
            *[[f"mean rank at depth {depth}", f"{rank:.1f}", "–"] for depth, rank in ranks.items()],
            ["rank's plateau (99%)", f"from depth {plateau} on", "within 3 layers, Fig. 4(c)"],
        ],
    )
    console.out.print(f"Eigenvalues in units of their mean: {below}.")
