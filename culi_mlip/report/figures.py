"""The figures of a report. Each function takes plain results and returns a matplotlib figure."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms, units
from ase.data import covalent_radii
from ase.data.colors import jmol_colors
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

COLOURS = {"Cu": "#c26a35", "Li": "#7a6fc9"}
CROWDED = 2000
"""Points from which on a parity plot shows their density."""

INK, ACCENT, SECOND = "#333333", "#1f6f8b", "#c26a35"


def png(figure: Figure) -> bytes:
    """Return a figure as the content of a PNG file."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=130, facecolor="white")
    return buffer.getvalue()


def parity(
    energies: NDArray[np.float64], forces: NDArray[np.float64], stresses: NDArray[np.float64]
) -> Figure:
    """Return parity plots of energy, force and stress.

    Parameters
    ----------
    energies, forces, stresses
        Reference and prediction, shape (n, 2), in eV/atom, eV/Å and eV/Å³. Energies are shown
        as they are, stresses in GPa.
    """
    panels = [
        ("Energy (eV/atom)", energies, 1000, "meV/atom"),
        ("Force component (eV/Å)", forces, 1000, "meV/Å"),
        ("Stress component (GPa)", stresses / units.GPa, 1, "GPa"),
    ]
    figure = Figure(figsize=(11, 3.7), layout="constrained")
    for axes, (title, pairs, factor, unit) in zip(figure.subplots(1, 3), panels, strict=True):
        axes.set_title(title, color=INK, fontsize=11)
        axes.set(xlabel="reference", ylabel="potential")
        if len(pairs) == 0:
            axes.text(0.5, 0.5, "no reference", ha="center", transform=axes.transAxes)
            continue
        low, high = pairs.min(), pairs.max()
        axes.plot([low, high], [low, high], color="0.7", lw=1, zorder=0)
        if len(pairs) < CROWDED:
            axes.scatter(pairs[:, 0], pairs[:, 1], s=7, alpha=0.5, color=ACCENT, lw=0)
        else:
            drawn = axes.hexbin(
                pairs[:, 0], pairs[:, 1], gridsize=60, bins="log", mincnt=1, lw=0.1, cmap="viridis"
            )
            figure.colorbar(drawn, ax=axes, label="how many", shrink=0.7)
        error = np.abs(pairs[:, 1] - pairs[:, 0]).mean() * factor
        axes.text(0.05, 0.92, f"MAE {error:.3g} {unit}", transform=axes.transAxes, color=INK)
        axes.set_box_aspect(1)
    return figure


def calibration(force_errors: NDArray[np.float64]) -> Figure:
    """Return expected against true force errors, of atoms and of tenths of them.

    Parameters
    ----------
    force_errors
        Expected and true length of the force error of each atom in eV/Å, shape (atoms, 2).
    """
    figure = Figure(figsize=(5, 3.9), layout="constrained")
    axes = figure.subplots()
    axes.set(
        xlabel="expected force error (meV/Å)", ylabel="force error (meV/Å)", xscale="log",
        yscale="log",
    )  # fmt: skip
    shown = 1000 * force_errors[(force_errors > 0).all(axis=1)]
    if len(shown):
        axes.scatter(shown[:, 0], shown[:, 1], s=4, alpha=0.25, color=ACCENT, lw=0, label="atoms")
        tenths = np.array_split(shown[shown[:, 0].argsort()], min(10, len(shown)))
        means = np.array([np.sqrt(np.square(tenth).mean(axis=0)) for tenth in tenths])
        axes.plot(
            means[:, 0],
            means[:, 1],
            "o-",
            color=SECOND,
            ms=4,
            lw=1,
            label="tenths (root mean square)",
        )
        ends = [shown[:, 0].min(), shown[:, 0].max()]
        axes.plot(ends, ends, color="0.6", lw=1, ls="--", label="as expected")
        axes.legend(frameon=False, fontsize=9)
    return figure


def learning_curve(epochs: Sequence[Mapping[str, float]]) -> Figure:
    """Return validation errors against the epoch, on a logarithmic scale.

    Parameters
    ----------
    epochs
        Rows of nequip's metrics, as from ``culi_mlip.models.training.learning_curve``.
    """
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    number = [row["epoch"] + 1 for row in epochs]
    for key, label, colour in (
        ("val0_epoch/forces_mae", "force (meV/Å)", ACCENT),
        ("val0_epoch/per_atom_energy_mae", "energy (meV/atom)", SECOND),
    ):
        if all(key in row for row in epochs):
            axes.semilogy(number, [1000 * row[key] for row in epochs], label=label, color=colour)
    axes.set(xlabel="epoch", ylabel="validation MAE")
    axes.legend(frameon=False)
    return figure


def md_series(
    log: Mapping[str, NDArray[np.float64]], target: float | None, n_atoms: int, title: str
) -> Figure:
    """Return temperature and energies of a run against time.

    Parameters
    ----------
    log
        Columns of an MD log by name.
    target
        Temperature of the thermostat in K, or None for NVE.
    n_atoms
        Number of atoms, for energies per atom.
    title
        Title of the figure.
    """
    figure = Figure(figsize=(6, 4.2), layout="constrained")
    figure.suptitle(title, fontsize=11, color=INK)
    upper, lower = figure.subplots(2, 1, sharex=True)
    time = log["time_ps"]
    upper.plot(time, log["temperature_K"], color=ACCENT, lw=1)
    if target is not None:
        upper.axhline(target, color="0.6", lw=1, ls="--")
    upper.set_ylabel("temperature (K)")
    for key, label, colour in (
        ("potential_eV", "potential", SECOND),
        ("conserved_eV", "conserved", INK),
    ):
        shifted = 1000 * (log[key] - log[key][0]) / n_atoms
        lower.plot(time, shifted, label=label, color=colour, lw=1)
    lower.set(xlabel="time (ps)", ylabel="energy (meV/atom)")
    lower.legend(frameon=False, fontsize=9)
    return figure


def heights(profiles: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]) -> Figure:
    """Return distributions of the elements along z.

    Parameters
    ----------
    profiles
        Heights (Å) and densities (atoms a frame per Å) by element.
    """
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.subplots()
    for symbol, (height, density) in profiles.items():
        axes.fill_between(
            height, density, step="mid", alpha=0.6, color=COLOURS.get(symbol), label=symbol, lw=0
        )
    axes.set(xlabel="height z (Å)", ylabel="atoms per Å")
    axes.legend(frameon=False)
    return figure


def snapshots(frames: Mapping[str, Atoms]) -> Figure:
    """Return views from the side and from above of some frames, titled by their keys."""
    figure = Figure(figsize=(3.4 * len(frames), 5.6), layout="constrained")
    columns = figure.subplots(2, len(frames), squeeze=False, sharex="row", sharey="row")
    for column, (title, frame) in enumerate(frames.items()):
        atoms = frame.copy()
        atoms.wrap(eps=0.05)  # an atom that vibrates about the edge stays where it was
        columns[0][column].set_title(title, fontsize=10, color=INK)
        for axes, (_, plane, depth, sign) in zip(columns[:, column], _VIEWS, strict=True):
            _draw(axes, atoms, plane, depth, sign)
    return figure


def contact_sheet(frames: Sequence[tuple[str, Atoms]], *, columns: int = 6) -> Figure:
    """Return a sheet of structures under their titles, each from the side and from above.

    Narrow cells are repeated in the plane for the picture. At most `columns` structures are in a
    row.
    """
    rows = -(-len(frames) // columns)
    columns = -(-len(frames) // rows)
    panels = [_Panel.of(title, atoms) for title, atoms in frames]
    rows_of_panels = [panels[i : i + columns] for i in range(0, len(panels), columns)]
    heights = [max(p.head + p.height for p in row) + _MARGIN for row in rows_of_panels]
    figure = Figure(figsize=(columns * (_WIDTH + _MARGIN) + _MARGIN, sum(heights) + _MARGIN))
    top = sum(heights)
    for row, height in zip(rows_of_panels, heights, strict=True):
        for i, panel in enumerate(row):
            panel.draw(figure, _MARGIN + i * (_WIDTH + _MARGIN), top)
        top -= height
    return figure


_WIDTH, _TALLEST, _MARGIN, _LINE = 2.6, 4.5, 0.2, 0.15
"""Of a structure with both views, the space around it, and a line of text, in inches."""

_VIEWS = (("side", (0, 2), 1, -1), ("from above", (0, 1), 2, 1))
"""Name, axes to the right and upwards, axis of depth, and which of its ends is near."""


class _Panel(NamedTuple):
    """One structure of a sheet: its title in lines, corners of its views in Å, inches for one Å."""

    title: list[str]
    atoms: Atoms
    corners: list[NDArray[np.float64]]
    scale: float

    @classmethod
    def of(cls, title: str, atoms: Atoms) -> _Panel:
        lines = [part for line in title.splitlines() for part in textwrap.wrap(line, 42)]
        tiled = _tiled(atoms)
        corners = [_corners(tiled, plane) for _, plane, _, _ in _VIEWS]
        widths, heights = np.transpose([high - low for low, high in corners])
        scale = min((_WIDTH - _MARGIN) / widths.sum(), _TALLEST / heights.max())
        return cls(lines, tiled, corners, scale)

    @property
    def head(self) -> float:
        return (len(self.title) + 1.5) * _LINE

    @property
    def height(self) -> float:
        return self.scale * max(float(high[1] - low[1]) for low, high in self.corners)

    def draw(self, figure: Figure, left: float, top: float) -> None:
        width, height = figure.get_size_inches()
        text: dict[str, Any] = {"color": INK, "va": "top"}
        figure.text(left / width, top / height, "\n".join(self.title), fontsize=8, **text)
        top -= (len(self.title) + 0.2) * _LINE
        for (name, plane, depth, sign), (low, high) in zip(_VIEWS, self.corners, strict=True):
            size = self.scale * (high - low)
            figure.text(left / width, top / height, name, fontsize=6.5, alpha=0.8, **text)
            bottom = top - 1.3 * _LINE - size[1]
            axes = figure.add_axes(
                (left / width, bottom / height, size[0] / width, size[1] / height)
            )
            _draw(axes, self.atoms, plane, depth, sign)
            axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
            left += size[0] + _MARGIN


def _corners(atoms: Atoms, plane: tuple[int, int]) -> NDArray[np.float64]:
    """Lower left and upper right of what a view shows in Å, shape (2, 2)."""
    radius = covalent_radii[atoms.numbers].max()
    seen = atoms.positions[:, list(plane)]
    low, high = seen.min(axis=0) - radius, seen.max(axis=0) + radius
    outline = _outline(atoms)
    if plane == (0, 1) and outline is not None:
        low, high = np.minimum(low, outline.min(axis=0)), np.maximum(high, outline.max(axis=0))
    return np.array([low - 0.2, high + 0.2])


def _outline(atoms: Atoms) -> NDArray[np.float64] | None:
    """The cell's corners from above, closed; None if its first two vectors are not in the plane."""
    if not np.allclose(atoms.cell.array[:2, 2], 0):
        return None
    return np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]) @ atoms.cell.array[:2, :2]


def _tiled(atoms: Atoms) -> Atoms:
    """Repeat a structure along its periodic directions to at least 8 Å."""
    lengths = atoms.cell.lengths()
    repeats = [
        max(1, int(np.ceil(8.0 / length))) if periodic and length > 0 else 1
        for length, periodic in zip(lengths, atoms.pbc, strict=True)
    ]
    return atoms * repeats


def _draw(axes: Axes, atoms: Atoms, plane: tuple[int, int], depth: int, sign: int) -> None:
    """Draw atoms as discs, the farther the darker; `sign` says which end of `depth` is near."""
    from matplotlib.collections import EllipseCollection
    from matplotlib.colors import to_rgb

    near = sign * atoms.positions[:, depth]
    order = np.argsort(near)
    diameters = 1.8 * covalent_radii[atoms.numbers[order]]
    light = 1 - 0.5 * np.clip((near.max() - near[order]) / 8.0, 0, 1)
    colours = np.array(
        [to_rgb(COLOURS.get(atom.symbol, jmol_colors[atom.number])) for atom in atoms]
    )[order]
    discs = EllipseCollection(
        diameters,
        diameters,
        0.0,
        units="xy",
        offsets=atoms.positions[order][:, list(plane)],
        offset_transform=axes.transData,
        facecolors=colours * light[:, None],
        edgecolors="white",
        linewidths=0.6,
    )
    axes.add_collection(discs, autolim=False)
    seen = atoms.positions[:, list(plane)]
    outline = _outline(atoms)
    if depth == 2 and outline is not None:
        axes.plot(*outline.T, color=INK, lw=0.6, ls=":")
        seen = np.vstack([seen, outline])
    axes.update_datalim([seen.min(axis=0) - 2, seen.max(axis=0) + 2])
    axes.autoscale_view()
    axes.set_aspect("equal")
    axes.axis("off")
