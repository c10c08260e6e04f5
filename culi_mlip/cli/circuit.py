"""``culi-mlip circuit``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
    from culi_mlip.quantum import Circuit
    from culi_mlip.report.circuits import drawing

    circuit = Circuit(**choices)
    gates = [gate._asdict() for gate in circuit.gates]
    _write(out, "draw", circuit, drawing(circuit), {"gates": gates})
    from culi_mlip.cli import console

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
    _write(out, "zx", circuit, zx_diagrams(result), values)
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
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of all that is random.")
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
    _write(out, "fisher", circuit, fisher_figure(result, ranks), values)
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
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the weights.")
def fourier(out: Path, draws: int, seed: int, **choices: Any) -> None:
    """Fourier coefficients: which functions the circuit can be.

    Real and imaginary parts larger than 0.001 count as nonzero, over weights uniform in [0, 2π).

    \b
    Example:
      culi-mlip circuit fourier --features 2 --qubits 2
    """
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
    _write(out, "fourier", circuit, fourier_figure(result), values)
    _compare(
        circuit,
        "Fourier coefficients",
        [
            ["terms", str(result.n_terms), "161"],
            ["above 0.001, mean", f"{result.nonzero.mean():.0f}", "127"],
            ["above 0.001, range", f"{result.nonzero.min()} to {result.nonzero.max()}", "–"],
        ],
    )


@command.command("noise")
@click.argument("model", type=click.Path(path_type=Path), default=Path("run"))
@click.argument("frames", type=click.Path(path_type=Path), default=Path("data/test.extxyz"))
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
@click.option(
    "--max-frames",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Frames to evaluate, evenly spaced in the file.",
)
@click.option(
    "--repeats",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="Measurements of each frame with shots.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the measurements.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("circuit"),
              show_default=True, help="Folder of the figure and the JSON file.")  # fmt: skip
def noise(
    model: Path,
    frames: Path,
    shots: tuple[int, ...],
    depolarising: tuple[float, ...],
    max_frames: int,
    repeats: int,
    seed: int,
    out: Path,
) -> None:
    """What a quantum computer's noise would cost MODEL on FRAMES.

    The circuit is measured through PennyLane instead of evaluated exactly: with a number of shots
    (forces by parameter shift, each circuit with as many), and with depolarising gates. Errors are
    the mean absolute differences from the exact circuit.

    \b
    Example:
      culi-mlip circuit noise run/ data/test.extxyz --shots 1000 --shots 10000
    """
    from dataclasses import asdict

    from culi_mlip.calculator import HybridAllegro
    from culi_mlip.cli import console
    from culi_mlip.models.evaluation import evaluate
    from culi_mlip.models.noise import circuit_of, noise_errors, power_law
    from culi_mlip.models.training import training_frames
    from culi_mlip.report.circuits import noise_figure

    labelled = training_frames(frames)
    chosen = labelled[:: -(-len(labelled) // max_frames)]
    calculator = HybridAllegro(model, device="cpu")
    own = evaluate(chosen, calculator).errors[-1]
    with console.steps() as step:
        rows = noise_errors(
            chosen,
            calculator,
            shots=shots,
            depolarising=depolarising,
            repeats=repeats,
            seed=seed,
            progress=step("Measuring"),
        )
    by_shots = [row for row in rows if row.shots]
    by_noise = [row for row in rows if not row.shots]
    laws = {
        f"{kind}_by_{name}": power_law(
            [getattr(row, name) for row in part], [getattr(row, f"{kind}_mae") for row in part]
        )
        for name, part in (("shots", by_shots), ("depolarising", by_noise))
        for kind in ("energy", "force")
    }
    values = {
        "model": str(model),
        "frames": len(chosen),
        "rows": [asdict(row) for row in rows],
        "laws": {name: asdict(law) for name, law in laws.items() if law},
        "model_energy_mae": own.energy_mae,
        "model_force_mae": own.force_mae,
    }
    _write(out, "noise", circuit_of(calculator), noise_figure(rows, laws, own), values)
    console.table(
        ["noise", "force (meV/Å)", "energy (meV/atom)"],
        [
            [
                f"{row.shots:,} shots" if row.shots else f"depolarising, p = {row.depolarising:g}",
                f"{1000 * row.force_mae:.2f}",
                f"{1000 * row.energy_mae:.3f}",
            ]
            for row in rows
        ]
        + [
            [
                f"the model's own error, {len(chosen)} frames",
                f"{1000 * own.force_mae:.2f}",
                f"{1000 * own.energy_mae:.3f}",
            ]
        ],
    )
    for name, unit in (("shots", "shots"), ("depolarising", "p")):
        law = laws[f"force_by_{name}"]
        if law:
            console.out.print(
                f"Force error = {1000 * law.prefactor:.3g} meV/Å · {unit}^{law.exponent:.2f}; "
                f"as large as the model's own at {unit} = {law.where(own.force_mae):.2g}"
            )


def _compare(circuit: Circuit, title: str, rows: list[list[str]]) -> None:
    """Print ours, and beside the paper's circuit the paper's."""
    from culi_mlip.cli import console
    from culi_mlip.quantum import Circuit

    columns = 3 if circuit == Circuit() else 2
    console.table([title, "ours", "paper"][:columns], [row[:columns] for row in rows])


def _write(out: Path, name: str, circuit: Circuit, figure: Figure, values: dict[str, Any]) -> None:
    from dataclasses import asdict

    from culi_mlip.cli import console
    from culi_mlip.files import write_bytes, write_json
    from culi_mlip.report.figures import png

    write_bytes(out / f"{name}.png", png(figure))
    write_json(out / f"{name}.json", {"circuit": asdict(circuit), **values})
    console.out.print(f"Written: {out / name}.png and {name}.json")
