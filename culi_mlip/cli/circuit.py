"""``culi-mlip circuit``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from culi_mlip.cli import options

if TYPE_CHECKING:
    from culi_mlip.datasets.frames import LabelKeys
    from culi_mlip.models.noise import NoiseStudy
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


@command.command("fisher")
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


@command.command("fourier")
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


@command.command("noise")
@options.trained_model
@options.test_frames
@click.option(
    "--shots",
    type=click.IntRange(1),
    multiple=True,
    metavar="N",
    default=(100, 1000, 10000, 100000),
    show_default=True,
    help="Measurements of each circuit; repeat the option for several.",
)
@click.option(
    "--depolarising",
    type=click.FloatRange(0, 1, min_open=True),
    multiple=True,
    metavar="P",
    default=(1e-4, 1e-3, 1e-2),
    show_default=True,
    help="Probability that a qubit is depolarised after each gate on it.",
)
@options.count("--max-frames", "Frames to evaluate, evenly spaced in the file.", 5)
@options.count("--repeats", "Measurements of each frame with shots.", 3)
@options.seed("the measurements")
@options.figures_out
@options.label_keys
def noise(
    model: Path,
    frames: Path,
    shots: tuple[int, ...],
    depolarising: tuple[float, ...],
    max_frames: int,
    repeats: int,
    seed: int,
    out: Path,
    keys: LabelKeys,
) -> None:
    """What a quantum computer's noise would cost MODEL on FRAMES.

    The circuit is measured through PennyLane instead of evaluated exactly: with a number of shots
    (forces by parameter shift, each circuit with as many), and with depolarising gates. Errors are
    the mean absolute differences from the exact circuit.

    \b
    Example:
      culi-mlip circuit noise run/ data/test.extxyz --shots 1000 --shots 10000
    """
    from culi_mlip.calculator import HybridAllegro
    from culi_mlip.cli import console
    from culi_mlip.datasets.frames import training_frames
    from culi_mlip.models.noise import noise_study
    from culi_mlip.report.circuits import noise_figure

    labelled = training_frames(frames, keys)
    with console.steps() as step:
        study = noise_study(
            labelled,
            HybridAllegro(model, device="cpu", compile=False),
            most=max_frames,
            shots=shots,
            depolarising=depolarising,
            repeats=repeats,
            seed=seed,
            progress=step("Measuring"),
        )
    figure = noise_figure(study.rows, study.laws, study.own)
    values = {"model": str(model), **study.values}
    console.write_results(out, "noise", study.circuit, figure, values)
    _print(study)


def _print(study: NoiseStudy) -> None:
    from culi_mlip.cli import console

    own = study.own
    assert own.force_mae is not None  # noqa: S101 (noise_study looked)
    errors = [
        (
            f"{row.shots:,} shots" if row.shots else f"depolarising, p = {row.depolarising:g}",
            row.force_mae,
            row.energy_mae,
        )
        for row in study.rows
    ]
    name = f"the model's own error, {study.n_frames} frames"
    errors.append((name, own.force_mae, own.energy_mae))
    console.table(
        ["noise", "force (meV/Å)", "energy (meV/atom)"],
        [[name, f"{1000 * force:.2f}", f"{1000 * energy:.3f}"] for name, force, energy in errors],
    )
    for name, unit in (("shots", "shots"), ("depolarising", "p")):
        if law := study.laws[f"force_by_{name}"]:
            console.out.print(
                f"Force error = {1000 * law.prefactor:.3g} meV/Å · {unit}^{law.exponent:.2f}; "
                f"as large as the model's own at {unit} = {law.where(own.force_mae):.2g}"
            )
