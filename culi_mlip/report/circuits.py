"""Figures of a circuit and of its analyses, in the form of the paper's Figs. 1, 3 and 4."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from culi_mlip.models.evaluation import Errors
from culi_mlip.models.noise import NoiseErrors, PowerLaw
from culi_mlip.quantum import Circuit
from culi_mlip.quantum.analysis import Fisher, Redundancy, Spectrum
from culi_mlip.report.figures import ACCENT, INK, SECOND


def drawing(circuit: Circuit) -> Figure:
    """Return PennyLane's drawing of a circuit, angles by name."""
    import pennylane as qml

    features, weights = np.zeros(circuit.n_features), np.zeros(circuit.weight_shape)
    figure, _ = qml.draw_mpl(circuit.qnode(), style="black_white", decimals=None)(features, weights)
    figure.set_layout_engine("none")
    return figure


def zx_diagrams(result: Redundancy) -> Figure:
    """Return a circuit's ZX diagram before and after simplification (the paper's Fig. 3)."""
    figure = Figure(figsize=(11, 5.4), layout="constrained")
    for axes, graph, title in zip(
        figure.subplots(2, 1),
        (result.before, result.after),
        (
            f"as it is: {result.n_phases} phases",
            f"simplified: {result.phases_left} phases, "
            f"{result.weights_left} of {result.n_weights} weights",
        ),
        strict=True,
    ):
        _draw_graph(axes, graph)
        axes.set_title(title, fontsize=10, color=INK, loc="left")
    return figure


def fisher_figure(result: Fisher, ranks: Mapping[int, float]) -> Figure:
    """Return the Fisher spectrum, the mean matrix, the rank by depth (the paper's Fig. 4a to c)."""
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    spectrum, matrix, plateau = figure.subplots(1, 3)
    values = result.eigenvalues.ravel()
    spectrum.hist(values, bins=40, weights=np.full(len(values), 100 / len(values)), color=ACCENT)
    spectrum.set(xlabel="eigenvalue / mean eigenvalue", ylabel="share (%)")
    spectrum.set_title(f"{result.near_zero:.0%} below {result.threshold:g}", fontsize=10)
    image = matrix.imshow(result.mean, cmap="viridis")
    matrix.set_title("mean Fisher matrix", fontsize=10)
    matrix.set_xlabel("weight")
    figure.colorbar(image, ax=matrix, shrink=0.85)
    plateau.plot(list(ranks), list(ranks.values()), "o-", color=SECOND)
    plateau.set(xlabel="depth of a block", ylabel="mean rank", xticks=list(ranks))
    plateau.set_ylim(bottom=0)
    return figure


def fourier_figure(result: Spectrum) -> Figure:
    """Return the coefficients of the first qubit in the complex plane, one panel each part."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    first = result.coefficients[:, :, 0]
    index = np.arange(first.shape[1])
    panels = figure.subplots(2, 1, sharex=True)
    for axes, values, name in zip(panels, (first.real, first.imag), ("Re", "Im"), strict=True):
        axes.plot(index, np.abs(values).T, ".", ms=1.5, color=ACCENT, alpha=0.25)
        axes.axhline(result.threshold, color=SECOND, lw=0.8)
        axes.set(yscale="log", ylim=(1e-6, 1), ylabel=f"|{name} c|")
    panels[1].set_xlabel("coefficient (frequencies 0, 1, -1 of each feature, the last one fastest)")
    panels[0].set_title(
        f"{result.nonzero.mean():.0f} of {result.n_terms} parts above {result.threshold:g}, "
        f"mean of {len(result.coefficients)} draws of the weights",
        fontsize=10,
    )
    return figure


def noise_figure(
    rows: Sequence[NoiseErrors], laws: Mapping[str, PowerLaw | None], own: Errors
) -> Figure:
    """Return errors against the number of shots, and against the depolarising probability.

    Rows and laws are those of `culi_mlip.models.noise.NoiseStudy`. Errors of the model itself are
    horizontal lines.
    """
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    for axes, name, title in zip(
        figure.subplots(1, 2, sharey=True),
        ("shots", "depolarising"),
        ("shots of each circuit", "depolarising probability of each gate"),
        strict=True,
    ):
        part = [row for row in rows if (row.shots is not None) == (name == "shots")]
        axes.set_xlabel(title)
        for kind, unit, colour in (("force", "meV/Å", ACCENT), ("energy", "meV/atom", SECOND)):
            axes.axhline(1000 * getattr(own, f"{kind}_mae"), color=colour, lw=0.8, ls=":")
            if not part:
                continue
            x = [getattr(row, name) for row in part]
            errors = [1000 * getattr(row, f"{kind}_mae") for row in part]
            law = laws[f"{kind}_by_{name}"]
            label = f"{kind} ({unit})"
            if law:
                label += f", exponent {law.exponent:.2f}"
                axes.plot(x, [1000 * law.at(value) for value in x], color=colour, lw=0.8)
            axes.loglog(x, errors, "o", color=colour, label=label)
        axes.legend(frameon=False, fontsize=8)
        axes.set_title("dotted: the model's own error", fontsize=9, color=INK, loc="left")
    return figure


def _draw_graph(axes: Any, graph: Any) -> None:
    """Draw a ZX diagram: Z spiders green, X spiders red, Hadamard edges dashed."""
    from pyzx.utils import EdgeType, VertexType

    place = {v: (graph.row(v), -graph.qubit(v)) for v in graph.vertices()}
    for edge in graph.edges():
        ends = np.array([place[v] for v in graph.edge_st(edge)])
        dashed = graph.edge_type(edge) == EdgeType.HADAMARD
        axes.plot(*ends.T, color="#4a7fd0" if dashed else INK, lw=0.7, ls="--" if dashed else "-")
    colours = {VertexType.Z: "#9fd8a4", VertexType.X: "#e58b88", VertexType.BOUNDARY: "#333333"}
    for v, (x, y) in place.items():
        kind = graph.type(v)
        axes.plot(x, y, "o", ms=4 if kind == VertexType.BOUNDARY else 9,
                  color=colours.get(kind, "0.6"), mec=INK, mew=0.5)  # fmt: skip
        if graph.phase(v) != 0:
            axes.annotate(str(graph.phase(v)), (x, y), fontsize=5, ha="center", va="center")
    axes.axis("off")
