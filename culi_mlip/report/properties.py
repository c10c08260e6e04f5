"""Figures of properties: equations of state, phonons, surfaces, shapes, barriers, registries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase.eos import EquationOfState as Fit
from matplotlib.figure import Figure
from numpy.typing import NDArray

from culi_mlip.properties import (
    Adhesion,
    Adsorption,
    Barrier,
    ConvexHull,
    Diffusion,
    DimerCurve,
    EquationOfState,
    GammaSurface,
    Intermixing,
    Melting,
    Phonons,
    SurfaceEnergy,
    WulffShape,
)
from culi_mlip.properties.surfaces import pymatgen_shape
from culi_mlip.report.figures import ACCENT, COLOURS, INK, SECOND, snapshots


def equation_of_state(found: EquationOfState) -> Figure:
    """Return energies against volume, with the fit."""
    figure = Figure(figsize=(5, 3.7), layout="constrained")
    axes = figure.subplots()
    fit = Fit(found.volumes, found.energies, eos="birchmurnaghan")
    fit.fit(warn=False)
    volumes = np.linspace(found.volumes.min(), found.volumes.max(), 100)
    curve = fit.func(volumes, *fit.eos_parameters)
    axes.plot(volumes, 1000 * (curve - found.energy), color="0.6", lw=1)
    axes.plot(found.volumes, 1000 * (found.energies - found.energy), "o", color=ACCENT, ms=5)
    axes.set(xlabel="volume (Å³/atom)", ylabel="energy (meV/atom)")
    axes.set_title(
        f"{found.symbol}: a = {found.lattice_constant:.4f} Å, B = {found.bulk_modulus:.1f} GPa",
        fontsize=10,
        color=INK,
    )
    return figure


def phonons(found: Phonons) -> Figure:
    """Return bands and density of states."""
    figure = Figure(figsize=(8, 3.8), layout="constrained")
    bands, dos = figure.subplots(1, 2, width_ratios=[4, 1], sharey=True)
    ticks, names = [0.0], [found.bands.ends[0][0]]
    for ends, distances, lines in zip(
        found.bands.ends, found.bands.distances, found.bands.frequencies, strict=True
    ):
        bands.plot(distances, lines, color=ACCENT, lw=1.2)
        if ends[0] != names[-1]:
            names[-1] += f"|{ends[0]}"  # the path jumps
        ticks.append(float(distances[-1]))
        names.append(ends[1])
    bands.set_xticks(ticks, names)
    bands.set(xlim=(0, ticks[-1]), ylabel="frequency (THz)")
    bands.grid(axis="x", color="0.85")
    bands.axhline(0, color="0.6", lw=0.8)
    dos.fill_betweenx(found.dos[0], found.dos[1], color=ACCENT, alpha=0.4, lw=0)
    dos.set(xlabel="states per THz", xlim=(0, None))
    if not found.is_stable:
        bands.set_title(f"imaginary modes, down to {found.lowest:.2f} THz", color=SECOND)
    return figure


def surface_energies(found: Sequence[SurfaceEnergy]) -> Figure:
    """Return the energies of faces, unrelaxed and relaxed."""
    figure = Figure(figsize=(max(4.5, 0.55 * len(found) + 1.5), 3.6), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(found))
    axes.bar(places - 0.2, [f.unrelaxed for f in found], 0.4, color="0.75", label="unrelaxed")
    relaxed = [np.nan if f.relaxed is None else f.relaxed for f in found]
    axes.bar(places + 0.2, relaxed, 0.4, color=ACCENT, label="relaxed")
    axes.set_xticks(places, ["".join(map(str, f.miller)) for f in found])
    axes.set(ylabel="surface energy (J/m²)", title=found[0].symbol)
    axes.legend(frameon=False, fontsize=8, ncols=2)
    axes.margins(y=0.15)
    return figure


def wulff_shape(found: WulffShape) -> Figure:
    """Return the shape, drawn by pymatgen."""
    axes = pymatgen_shape(found.surface_energies).get_plot(bar_on=False, units_in_JPERM2=True)
    figure: Figure = axes.get_figure()
    return figure


def barrier(found: Barrier) -> Figure:
    """Return the energies along the path."""
    figure = Figure(figsize=(5, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(found.distances, found.energies, "o-", color=ACCENT)
    axes.set(xlabel="along the path (Å)", ylabel="energy (eV)")
    if found.forward is not None:
        axes.set_title(f"barrier {found.forward:.3f} eV", fontsize=10, color=INK)
    return figure


def diffusion(found: Diffusion) -> Figure:
    """Return the mean square displacement against time."""
    figure = Figure(figsize=(5, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(found.lags, found.displacements, "o-", ms=4, color=ACCENT)
    axes.set(xlabel="time (ps)", ylabel="mean square displacement (Å²)", xlim=(0, None))
    axes.set_ylim(bottom=0)
    if found.coefficient is not None:
        title = f"D = {found.coefficient:.3g} ± {found.error:.2g} Å²/ps"
        axes.set_title(title, fontsize=10, color=INK)
    return figure


def radial_distribution(
    distances: NDArray[np.float64], density: NDArray[np.float64], pair: tuple[str, str]
) -> Figure:
    """Return g(r)."""
    figure = Figure(figsize=(5, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(distances, density, color=ACCENT)
    axes.axhline(1, color="0.7", lw=0.8)
    axes.set(xlabel="distance (Å)", ylabel=f"g(r), {pair[0]}–{pair[1]}", xlim=(0, distances[-1]))
    return figure


def adhesion(found: Adhesion) -> Figure:
    """Return the relaxed interface."""
    named = (
        f"{_face(found.film, found.film_miller)} on "
        f"{_face(found.substrate, found.substrate_miller)}"
    )
    value = "no value" if found.value is None else f"W = {found.value:.3f} J/m²"
    return snapshots({f"{named}: {value}": found.interface})


def gamma_surface(found: GammaSurface) -> Figure:
    """Return the energies over the cell that film and substrate span together."""
    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.subplots()
    energies = found.energies[found.classes]
    closed = np.pad(energies, ((0, 1), (0, 1)), mode="wrap")
    n = len(energies)
    points = np.array([(i, j) for i in range(n + 1) for j in range(n + 1)]) / n @ found.vectors
    x, y = points.T.reshape(2, n + 1, n + 1)
    drawn = axes.pcolormesh(x, y, closed, shading="gouraud", cmap="viridis")
    figure.colorbar(drawn, ax=axes, label="above the lowest (J/m²)")
    axes.plot(x, y, ".", color="white", ms=2)
    axes.set_aspect("equal")
    axes.set(xlabel="shift (Å)", ylabel="shift (Å)")
    axes.set_title(
        f"{_face(found.film, found.film_miller)} on "
        f"{_face(found.substrate, found.substrate_miller)}",
        fontsize=10,
        color=INK,
    )
    return figure


def adsorption(found: Adsorption) -> Figure:
    """Return energies by site or coverage, relative to the adatom's bulk."""
    figure = Figure(figsize=(5, 3.5), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(found.of_each))
    energies = [np.nan if x.to_bulk is None else x.to_bulk for x in found.of_each]
    axes.bar(places, energies, 0.6, color=[ACCENT if e < 0 else SECOND for e in energies])
    axes.axhline(0, color=INK, lw=0.8)
    axes.set_xticks(places, [x.name for x in found.of_each])
    axes.set(ylabel=f"energy above bulk {found.adatom} (eV)")
    title = f"{found.adatom} on {_face(found.substrate, found.miller)}"
    axes.set_title(title, fontsize=10, color=INK)
    axes.margins(y=0.15)
    return figure


def convex_hull(found: ConvexHull) -> Figure:
    """Return formation energies of compounds, and the hull."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    known = [c for c in found.compounds if c.formation_energy is not None]
    energies = np.array([c.formation_energy for c in known], dtype=float)
    for c, energy in zip(known, energies, strict=True):
        axes.annotate(c.name.split()[0], (c.fraction, 1000 * energy), (4, 2),
                      textcoords="offset points", fontsize=7, color="0.4")  # fmt: skip
    axes.plot([c.fraction for c in known], 1000 * energies, "o", color=SECOND)
    stable = [
        (0.0, 0.0),
        *((c.fraction, c.formation_energy or 0.0) for c in found.stable),
        (1.0, 0),
    ]
    x, y = np.array(sorted(stable), dtype=float).T
    axes.plot(x, 1000 * y, "o-", color=ACCENT)
    first, second = found.elements
    axes.set(xlabel=f"share of {second} in {first}–{second}", ylabel="formation energy (meV/atom)")
    return figure


def melting(found: Melting) -> Figure:
    """Return temperature and share of crystal in the last coexistence."""
    figure = Figure(figsize=(6, 4.4), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    upper.plot(found.times, found.temperatures, color="0.75", lw=0.8)
    if found.temperature is not None and found.error is not None:
        upper.axhspan(found.temperature - found.error, found.temperature + found.error,
                      color=ACCENT, alpha=0.25, lw=0)  # fmt: skip
        upper.axhline(found.temperature, color=ACCENT)
        title = f"{found.symbol} melts at {found.temperature:.0f} ± {found.error:.0f} K"
        upper.set_title(title, fontsize=10, color=INK)
    upper.set(ylabel="temperature (K)")
    lower.plot(found.times, found.crystalline, color=SECOND)
    lower.set(xlabel="time (ps)", ylabel="crystal", ylim=(0, 1))
    return figure


def intermixing(found: Intermixing) -> Figure:
    """Return the width of a boundary against time, and the profiles of the first and last part."""
    figure = Figure(figsize=(9, 4.4), layout="constrained")
    (upper, first), (lower, last) = figure.subplots(2, 2)
    elements = found.film, found.substrate
    for axes, profile, title in ((first, 0, "first part"), (last, -1, "last part")):
        for density, symbol in zip(found.profiles[profile], elements, strict=True):
            axes.fill_between(
                found.bins, density, step="mid", alpha=0.6, lw=0, color=COLOURS.get(symbol)
            )
        axes.axvline(found.heights[profile], color=INK, lw=0.8, ls="--")
        axes.set_title(title, fontsize=9, color=INK)
        axes.set(ylabel="atoms per Å")
    last.set(xlabel="height z (Å)")
    upper.plot(found.times, found.widths, "o-", color=ACCENT)
    upper.set(ylabel="width, 10 to 90 % (Å)")
    upper.set_ylim(bottom=0)
    below = f"{found.film} below the boundary", f"{found.substrate} above it"
    for share, label, symbol in zip(found.crossed.T, below, elements, strict=True):
        lower.plot(found.times, 100 * share, "o-", label=label, color=COLOURS.get(symbol))
    lower.set(xlabel="time (ps)", ylabel="atoms (%)")
    lower.set_ylim(bottom=0)
    lower.legend(frameon=False, fontsize=8)
    return figure


def dimers(found: Sequence[DimerCurve]) -> Figure:
    """Return energies and forces of two atoms by distance."""
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for curve in found:
        left.plot(curve.distances, curve.energies, label="–".join(curve.pair))
        right.plot(curve.distances, curve.forces, label="–".join(curve.pair))
    well = max(float(-curve.energies.min()) for curve in found)
    left.set(ylim=(-1.3 * well - 0.1, 10), xlabel="distance (Å)", ylabel="energy (eV)")
    right.set_yscale("symlog", linthresh=1)
    right.set(xlabel="distance (Å)", ylabel="repulsion (eV/Å)")
    for axes in (left, right):
        axes.axhline(0, color="0.6", lw=0.8)
    left.legend(frameon=False)
    return figure


def _face(symbol: str, miller: Sequence[int]) -> str:
    return f"{symbol}({''.join(map(str, miller))})"
