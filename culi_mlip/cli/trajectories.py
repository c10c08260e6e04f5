"""The ``culi-mlip properties`` of trajectories."""

from __future__ import annotations

from pathlib import Path

import click

from culi_mlip.cli import options
from culi_mlip.cli.results import withheld, written


@click.command("intermixing")
@options.trajectory
@click.option("--film", default="Li", show_default=True, help="The element above.")
@click.option("--substrate", default="Cu", show_default=True, help="The element below.")
@options.count("--parts", "Of the trajectory.", 10)
@options.out("Folder of the results.", "properties")
def intermixing(trajectory: Path, film: str, substrate: str, parts: int, out: Path) -> None:
    """How sharp the boundary of a film and its substrate is in a TRAJECTORY, as time goes on.

    \b
    Example:
      culi-mlip properties intermixing md/trajectory.extxyz
    """
    from culi_mlip.cli import console
    from culi_mlip.files import read_frames
    from culi_mlip.properties import intermixing as compute
    from culi_mlip.report import properties as figures

    found = compute(read_frames(trajectory), film, substrate, parts=parts)
    console.table(
        ["time (ps)", "width (Å)", "height (Å)", f"{film} below", f"{substrate} above"],
        [
            [f"{t:.2f}", f"{w:.2f}", f"{h:.2f}", f"{low:.1%}", f"{high:.1%}"]
            for t, w, h, (low, high) in zip(
                found.times, found.widths, found.heights, found.crossed, strict=True
            )
        ],
    )
    written(out, f"intermixing-{film}-{substrate}", None, found, figures.intermixing(found))


@click.command("diffusion")
@options.trajectory
@click.option("--symbol", default="Li", show_default=True, help="The element that diffuses.")
@click.option("--interval", type=float, help="Between frames in ps.  [default: as the frames say]")
@click.option(
    "--fit", nargs=2, type=float, default=(1.0, 5.0), show_default=True, help="Times fitted, in ps."
)
@click.option("--in-plane", is_flag=True, help="Along x and y alone, as on a surface.")
@options.out("Folder of the results.", "properties")
def diffusion(
    trajectory: Path,
    symbol: str,
    interval: float | None,
    fit: tuple[float, float],
    in_plane: bool,
    out: Path,
) -> None:
    """Diffusion coefficient of an element in a TRAJECTORY, with its error.

    The drift of the other elements is taken out. The error is the half width of the 95 % confidence
    interval, from ten blocks.

    \b
    Example:
      culi-mlip properties diffusion md/trajectory.extxyz --symbol Li
    """
    from culi_mlip.cli import console
    from culi_mlip.files import read_frames
    from culi_mlip.properties.transport import diffusion_in
    from culi_mlip.report import properties as figures

    found = diffusion_in(
        read_frames(trajectory), symbol, interval=interval, in_plane=in_plane, fit=fit
    )
    if found.coefficient is not None:
        console.out.print(f"D = {found.coefficient:.4g} ± {found.error:.2g} Å²/ps")
    withheld(found.withheld)
    written(out, f"diffusion-{symbol}", None, found, figures.diffusion(found))


@click.command("rdf")
@options.trajectory
@click.option("--pair", nargs=2, default=("Li", "Li"), show_default=True, help="Two elements.")
@click.option("--r-max", type=float, default=10.0, show_default=True, help="In Å.")
@options.out("Folder of the results.", "properties")
def rdf(trajectory: Path, pair: tuple[str, str], r_max: float, out: Path) -> None:
    """Radial distribution of a pair of elements in a TRAJECTORY.

    \b
    Example:
      culi-mlip properties rdf melt/trajectory.extxyz --pair Cu Li
    """
    from culi_mlip.cli import console
    from culi_mlip.files import read_frames
    from culi_mlip.properties import radial_distribution
    from culi_mlip.report import properties as figures

    distances, density = radial_distribution(read_frames(trajectory), pair, r_max=r_max)
    peak = int(density.argmax())
    console.out.print(f"Highest at {distances[peak]:.2f} Å: {density[peak]:.2f}")
    values = {"distances": distances, "density": density}
    figure = figures.radial_distribution(distances, density, pair)
    written(out, f"rdf-{pair[0]}-{pair[1]}", None, values, figure)
