"""``culi-mlip properties``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from culi_mlip.cli import options
from culi_mlip.cli.results import number, withheld, written
from culi_mlip.cli.trajectories import diffusion, intermixing, rdf

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator

    from culi_mlip.progress import Progress
    from culi_mlip.properties import Barrier


@click.group("properties")
def command() -> None:
    """What a potential says of crystals, surfaces and interfaces.

    Each property is computed at the potential's own lattice constant, printed, and written as JSON,
    PNG and, of its structures, extended XYZ (ASE GUI, OVITO). The potential (--model) is a run
    folder or a model's file, a file of an embedded-atom potential, an engine such as chgnet or emt
    with its default settings, or module:factory.

    \b
    Example:
      culi-mlip properties surface-energy Cu --model run/
      culi-mlip properties adhesion Li 110 Cu 111 --model chgnet
    """


for _of_trajectory in (diffusion, intermixing, rdf):
    command.add_command(_of_trajectory)


class _Face(click.ParamType):
    """A Miller index such as 111, or 1,1,-2 where there is a sign."""

    name = "face"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Return three integers; called by click."""
        if isinstance(value, tuple):
            return value
        parts = value.replace(",", " ").split() if "," in value or " " in value else list(value)
        try:
            index = tuple(int(part) for part in parts)
        except ValueError:
            index = ()
        if len(index) != 3 or not any(index):
            self.fail(f"'{value}' is no face: give three integers, such as 111 or 1,-1,0")
        return index


FACE = _Face()


def _of_potential(bar: str = "") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command ``--model``, ``--out``, and the options of a model, as `calculator` and `out`.

    One that takes long is given the progress bar of a name, as `progress`.
    """

    def with_options(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def with_calculator(
            *args: Any, model: Path, device: str | None, compilation: bool | None, **kwargs: Any
        ) -> Any:
            from culi_mlip.cli import console
            from culi_mlip.cli.calculators import open_calculator

            with console.steps() as step:
                calculator = open_calculator(model, device, compilation, step)
                if bar:
                    kwargs["progress"] = step(bar)
                return command(*args, calculator=calculator, **kwargs)

        wrapped: Callable[..., Any] = with_calculator
        for option in (
            options.compilation,
            options.device,
            options.out("Folder of the results.", "properties"),
            options.model,
        ):
            wrapped = option(wrapped)
        return wrapped

    return with_options


symbol = click.argument("symbol", default="Cu")


@command.command("eos")
@symbol
@_of_potential()
def eos(symbol: str, calculator: Calculator, out: Path) -> None:
    """Equation of state of the element SYMBOL.

    \b
    Example:
      culi-mlip properties eos Li --model run/
    """
    from culi_mlip.cli import console
    from culi_mlip.properties import cohesive_energy, equation_of_state
    from culi_mlip.report import properties as figures

    found = equation_of_state(symbol, calculator)
    cohesive = cohesive_energy(symbol, calculator, energy=found.energy)
    console.table(
        [f"{symbol}, {found.crystal}", ""],
        [
            ["lattice constant (Å)", f"{found.lattice_constant:.4f}"],
            ["bulk modulus (GPa)", f"{found.bulk_modulus:.1f}"],
            ["energy (eV/atom)", f"{found.energy:.4f}"],
            ["below the free atom (eV)", f"{cohesive:.4f}"],
        ],
    )
    written(out, f"eos-{symbol}", calculator, found, figures.equation_of_state(found))


@command.command("elastic")
@symbol
@_of_potential("Strained cells")
def elastic(symbol: str, calculator: Calculator, out: Path, progress: Progress) -> None:
    """Elastic constants of the element SYMBOL, from stresses.

    \b
    Example:
      culi-mlip properties elastic Cu --model run/
    """
    from culi_mlip.cli import console
    from culi_mlip.properties import elastic_constants

    found = elastic_constants(symbol, calculator, progress=progress)
    values = {
        "C11 (GPa)": found.tensor[0, 0],
        "C12 (GPa)": found.tensor[0, 1],
        "C44 (GPa)": found.tensor[3, 3],
        "bulk modulus (GPa)": found.bulk_modulus,
        "shear modulus (GPa)": found.shear_modulus,
        "Young's modulus (GPa)": found.youngs_modulus,
    }
    rows = [[name, f"{value:.1f}"] for name, value in values.items()]
    rows += [["Poisson's ratio", f"{found.poisson_ratio:.3f}"]]
    rows += [["Zener's ratio", f"{found.zener_ratio:.2f}"]]
    console.table([symbol, ""], rows)
    if not found.is_stable:
        console.out.print("Caution: some strains lower the energy; the crystal is not stable.")
    written(out, f"elastic-{symbol}", calculator, found)


@command.command("phonons")
@symbol
@options.count("--mesh", "Wave vectors along each reciprocal vector.", 20)
@_of_potential("Displaced cells")
def phonons(symbol: str, mesh: int, calculator: Calculator, out: Path, progress: Progress) -> None:
    """Phonon bands, density of states and thermal properties of the element SYMBOL.

    \b
    Example:
      culi-mlip properties phonons Cu --model run/
    """
    from culi_mlip.cli import console
    from culi_mlip.properties import phonons as compute
    from culi_mlip.report import properties as figures

    found = compute(symbol, calculator, mesh=mesh, progress=progress)
    console.table(
        [f"{symbol}, frequencies", "THz"],
        [[name, " ".join(f"{f:.2f}" for f in modes)] for name, modes in found.frequencies.items()],
    )
    if not found.is_stable:
        console.out.print(f"Caution: imaginary modes, down to {found.lowest:.2f} THz.")
    written(out, f"phonons-{symbol}", calculator, found, figures.phonons(found))


@command.command("vacancy")
@symbol
@_of_potential("Barrier")
def vacancy(symbol: str, calculator: Calculator, out: Path, progress: Progress) -> None:
    """Formation energy of a vacancy in the element SYMBOL, and the barrier of its hop.

    \b
    Example:
      culi-mlip properties vacancy Li --model run/
    """
    from culi_mlip.cli import console
    from culi_mlip.properties import vacancy as compute
    from culi_mlip.report import properties as figures

    found = compute(symbol, calculator, progress=progress)
    hop = found.migration
    console.table(
        [f"{symbol}, vacancy", "eV"],
        [
            ["formation, unrelaxed", f"{found.unrelaxed:.3f}"],
            ["formation", number(found.formation)],
            ["migration", number(hop.forward if hop else None)],
        ],
    )
    withheld(found.withheld, hop.withheld if hop else None)
    figure = figures.barrier(hop) if hop else None
    written(out, f"vacancy-{symbol}", calculator, found, figure)


@command.command("surface-energy")
@symbol
@click.argument("faces", type=FACE, nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All 13 faces with indices up to 3.")
@_of_potential("Slabs")
def surface_energy(
    symbol: str,
    faces: tuple[tuple[int, ...], ...],
    everything: bool,
    calculator: Calculator,
    out: Path,
    progress: Progress,
) -> None:
    """Surface energies of FACES of the element SYMBOL, fitted to slabs of several thicknesses.

    FACES are Miller indices; by default 111, 100 and 110.

    \b
    Example:
      culi-mlip properties surface-energy Cu 111 100 --model run/
      culi-mlip properties surface-energy Li --all
    """
    from culi_mlip.cli import console
    from culi_mlip.properties import surface_energies
    from culi_mlip.report import properties as figures
    from culi_mlip.structures import distinct_millers

    wanted = distinct_millers() if everything else faces or ((1, 1, 1), (1, 0, 0), (1, 1, 0))
    found = surface_energies(symbol, wanted, calculator, progress=progress)
    console.table(
        [f"{symbol}, surface energy (J/m²)", "unrelaxed", "relaxed", "layers"],
        [
            [
                "".join(map(str, f.miller)),
                f"{f.unrelaxed:.3f}",
                number(f.relaxed),
                " ".join(str(layers) for layers, *_ in f.convergence),
            ]
            for f in found
        ],
    )
    withheld(*(f.withheld for f in found))
    written(out, f"surface-energy-{symbol}", calculator, found, figures.surface_energies(found))


@command.command("wulff")
@symbol
@_of_potential("Slabs")
def wulff(symbol: str, calculator: Calculator, out: Path, progress: Progress) -> None:
    """Equilibrium shape of a crystal of SYMBOL, of all 13 faces with indices up to 3.

    \b
    Example:
      culi-mlip properties wulff Cu --model run/
    """
    from culi_mlip.cli import console
    from culi_mlip.properties import surface_energies, wulff_shape
    from culi_mlip.report import properties as figures
    from culi_mlip.structures import distinct_millers

    energies = surface_energies(symbol, distinct_millers(), calculator, progress=progress)
    withheld(*(f.withheld for f in energies))
    found = wulff_shape(symbol, {f.miller: f.relaxed for f in energies if f.relaxed is not None})
    console.table(
        [f"{symbol}, face", "J/m²", "of the surface"],
        [
            ["".join(map(str, face)), f"{found.surface_energies[face]:.3f}", f"{share:.1%}"]
            for face, share in sorted(found.area_fractions.items(), key=lambda item: -item[1])
            if share > 0
        ],
    )
    console.out.print(f"Mean over the shape: {found.weighted_energy:.3f} J/m²")
    written(out, f"wulff-{symbol}", calculator, found, figures.wulff_shape(found))


@command.command("adhesion")
@click.argument("film", default="Li")
@click.argument("film_face", type=FACE, default="110")
@click.argument("substrate", default="Cu")
@click.argument("substrate_face", type=FACE, default="111")
@click.option("--thickness", type=float, default=10.0, show_default=True, help="Of both in Å.")
@_of_potential("Interfaces and slabs")
def adhesion(
    film: str,
    film_face: tuple[int, ...],
    substrate: str,
    substrate_face: tuple[int, ...],
    thickness: float,
    calculator: Calculator,
    out: Path,
    progress: Progress,
) -> None:
    """Work of adhesion of a FILM on a SUBSTRATE, by face, relaxed from each registry.

    By strained slabs the strain of coherency cancels; by free ones the elastic energy of the film
    is in the value.

    \b
    Example:
      culi-mlip properties adhesion Li 110 Cu 111 --model run/
    """
    from culi_mlip.cli import console
    from culi_mlip.properties import work_of_adhesion
    from culi_mlip.report import properties as figures

    found = work_of_adhesion(
        film,
        film_face,
        substrate,
        substrate_face,
        calculator,
        thickness=thickness,
        progress=progress,
    )
    name = f"{film}({_digits(film_face)}) on "
    name += f"{substrate}({_digits(substrate_face)})"
    console.table(
        [name, "strained slabs", "free slabs"],
        [
            ["work of adhesion (J/m²)", number(found.strained), number(found.unstrained)],
            [
                "interface energy (J/m²)",
                number(found.interface_energy),
                number(found.unstrained_interface_energy),
            ],
        ],
    )
    if found.wets is not None:
        verdict = "wets" if found.wets else f"contact angle {found.contact_angle:.0f}°"
        gamma = found.film_surface_energy
        console.out.print(f"{film}({_digits(film_face)}): γ = {gamma:.3f} J/m²; {verdict}")
    withheld(found.withheld)
    title = f"adhesion-{film}{_digits(film_face)}"
    title += f"-{substrate}{_digits(substrate_face)}"
    written(out, title, calculator, found, figures.adhesion(found))


@command.command("gamma-surface")
@click.argument("film", default="Li")
@click.argument("film_face", type=FACE, default="110")
@click.argument("substrate", default="Cu")
@click.argument("substrate_face", type=FACE, default="111")
@options.count("--grid", "Registries along each vector of the common lattice.", 6)
@_of_potential("Registries")
def gamma_surface(
    film: str,
    film_face: tuple[int, ...],
    substrate: str,
    substrate_face: tuple[int, ...],
    grid: int,
    calculator: Calculator,
    out: Path,
    progress: Progress,
) -> None:
    """Energy of a FILM on a SUBSTRATE by registry, and its relaxed minimum.

    \b
    Example:
      culi-mlip properties gamma-surface Li 110 Cu 111 --model run/
    """
    from culi_mlip.cli import console
    from culi_mlip.properties import gamma_surface as compute
    from culi_mlip.report import properties as figures

    found = compute(
        film, film_face, substrate, substrate_face, calculator, grid=grid, progress=progress
    )
    name = f"{film}{_digits(film_face)}-{substrate}{_digits(substrate_face)}"
    console.table(
        [f"{name}, shift", "J/m²"],
        [
            [f"{x:.3f} {y:.3f}", f"{energy:.4f}"]
            for (x, y), energy in zip(found.shifts.tolist(), found.energies, strict=True)
        ],
    )
    relaxed = "not relaxed" if found.relaxed is None else f"{found.relaxed:+.4f} J/m²"
    console.out.print(
        f"Highest over lowest {number(found.corrugation)} J/m²; "
        f"the lowest, once free in all directions: {relaxed}"
    )
    withheld(found.withheld)
    figure = figures.gamma_surface(found)
    written(out, f"gamma-surface-{name}", calculator, found, figure)


@command.command("adsorption")
@click.argument("adatom", default="Li")
@click.argument("substrate", default="Cu")
@click.argument("substrate_face", type=FACE, default="100")
@click.option(
    "--coverage",
    "coverages",
    type=float,
    multiple=True,
    help="In monolayers; may be repeated.",
)
@_of_potential("Sites")
def adsorption(
    adatom: str,
    substrate: str,
    substrate_face: tuple[int, ...],
    coverages: tuple[float, ...],
    calculator: Calculator,
    out: Path,
    progress: Progress,
) -> None:
    """Energy of an ADATOM on a face of a SUBSTRATE, at each distinct site, or by coverage.

    Energies are relative to the adatom's bulk, and to its free atom; negative ones are bound.

    \b
    Example:
      culi-mlip properties adsorption Li Cu 111 --model run/
      culi-mlip properties adsorption Li Cu 100 --coverage 0.25 --coverage 0.5 --coverage 1
    """
    from culi_mlip.cli import console
    from culi_mlip.properties import adsorption as compute
    from culi_mlip.properties import coverage_series
    from culi_mlip.report import properties as figures

    face, name = substrate_face, f"{adatom}-{substrate}{_digits(substrate_face)}"
    if coverages:
        found = coverage_series(
            adatom, substrate, face, calculator, coverages=coverages, progress=progress
        )
        name += "-coverage"
    else:
        found = compute(adatom, substrate, face, calculator, progress=progress)
    console.table(
        [f"{adatom} on {substrate}({_digits(face)})", "to bulk (eV)", "to atom (eV)", "moved (Å)"],
        [[x.name, number(x.to_bulk), number(x.to_atom), f"{x.moved:.2f}"] for x in found.of_each],
    )
    if found.nucleation_overpotential is not None:
        what = f"Thermodynamic nucleation overpotential: {found.nucleation_overpotential:.3f} V"
        console.out.print(what)
    withheld(*(x.withheld for x in found.of_each))
    written(out, f"adsorption-{name}", calculator, found, figures.adsorption(found))


@command.command("barrier")
@click.argument("initial", type=options.PATH)
@click.argument("final", type=options.PATH)
@options.count("--images", "Between the ends.", 5)
@_of_potential("Band")
def barrier(
    initial: Path, final: Path, images: int, calculator: Calculator, out: Path, progress: Progress
) -> None:
    """Energy barrier between the structures INITIAL and FINAL, which are relaxed first.

    Both hold the same atoms in the same order; constraints are obeyed.

    \b
    Example:
      culi-mlip properties barrier before.xyz after.xyz --model run/
    """
    from culi_mlip.files import read_frames
    from culi_mlip.properties import barrier as compute

    first, last = (read_frames(path)[-1] for path in (initial, final))
    found = compute(first, last, calculator, images=images, progress=progress)
    _barrier(found, ("forward", "reverse"), out, "barrier", calculator)


@command.command("hop")
@click.argument("adatom", default="Li")
@click.argument("substrate", default="Cu")
@click.argument("substrate_face", type=FACE, default="100")
@click.option("--step", "down", is_flag=True, help="Down a step, from its edge to its foot.")
@_of_potential("Band")
def hop(
    adatom: str,
    substrate: str,
    substrate_face: tuple[int, ...],
    down: bool,
    calculator: Calculator,
    out: Path,
    progress: Progress,
) -> None:
    """Barrier of an ADATOM's hop on a face of a SUBSTRATE, from place to place or down a step.

    \b
    Example:
      culi-mlip properties hop Li Cu 100 --model run/
      culi-mlip properties hop Cu Cu 111 --step
    """
    from culi_mlip.properties import hop as on_terrace
    from culi_mlip.properties import step_hop

    compute = step_hop if down else on_terrace
    found = compute(adatom, substrate, substrate_face, calculator, progress=progress)
    name = f"{'step-' if down else ''}hop-{adatom}-{substrate}{_digits(substrate_face)}"
    _barrier(found, ("down", "up") if down else ("forward", "reverse"), out, name, calculator)


@command.command("missing-row")
@click.argument("substrate", default="Cu")
@click.argument("adatom", default="Li")
@_of_potential("Faces")
def missing_row(
    substrate: str, adatom: str, calculator: Calculator, out: Path, progress: Progress
) -> None:
    """Energy of a (100) face without every other row, bare or with an ADATOM in its place.

    Relative to the ideal face: a SUBSTRATE with a negative one reconstructs.

    \b
    Example:
      culi-mlip properties missing-row Cu Li --model run/
    """
    from culi_mlip.cli import console
    from culi_mlip.properties import missing_row as compute
    from culi_mlip.report.figures import snapshots

    found = compute(substrate, calculator, adatom=adatom, progress=progress)
    console.table(
        [f"{substrate}(100), missing row against the ideal face", "eV"],
        [
            ["bare, a (2×1) cell", number(found.clean)],
            [f"with half a monolayer of {adatom}, an atom", number(found.covered)],
        ],
    )
    withheld(found.withheld)
    titles = "ideal", "missing row", f"c(2×2) {adatom}", f"filled by {adatom}"
    figure = snapshots(dict(zip(titles, found.structures, strict=True)))
    written(out, f"missing-row-{substrate}-{adatom}", calculator, found, figure)


@command.command("hull")
@click.argument("first", default="Cu")
@click.argument("second", default="Li")
@_of_potential("Compounds")
def hull(first: str, second: str, calculator: Calculator, out: Path, progress: Progress) -> None:
    """Ordered compounds of two elements: formation energies, and which are stable.

    \b
    Example:
      culi-mlip properties hull Cu Li --model run/
    """
    from culi_mlip.cli import console
    from culi_mlip.properties import convex_hull
    from culi_mlip.report import properties as figures

    found = convex_hull(first, second, calculator, progress=progress)
    console.table(
        ["compound", f"share of {second}", "formation (eV/atom)", "above the hull"],
        [
            [c.name, f"{c.fraction:.3f}", number(c.formation_energy), number(c.above_hull)]
            for c in found.compounds
        ],
    )
    withheld(*(c.withheld for c in found.compounds))
    written(out, f"hull-{first}-{second}", calculator, found, figures.convex_hull(found))


@command.command("melting")
@click.argument("symbol", default="Li")
@click.option("--temperature", type=float, help="To begin with, in K.  [default: as measured]")
@click.option("--time", type=float, default=30.0, show_default=True, help="Of a run in ps.")
@options.timestep
@options.count("--runs", "At most, each from where the last ended.", 3)
@options.seed("velocities")
@_of_potential("Steps")
def melting(
    symbol: str,
    temperature: float | None,
    time: float,
    timestep: float,
    runs: int,
    seed: int,
    calculator: Calculator,
    out: Path,
    progress: Progress,
) -> None:
    """Melting point of the element SYMBOL, by coexistence of crystal and liquid.

    \b
    Example:
      culi-mlip properties melting Li --model run/
    """
    from culi_mlip.cli import console
    from culi_mlip.properties import melting_point
    from culi_mlip.report import properties as figures

    found = melting_point(
        symbol,
        calculator,
        temperature=temperature,
        time=time,
        timestep=timestep,
        runs=runs,
        seed=seed,
        progress=progress,
    )
    if found.temperature is not None:
        console.out.print(f"{symbol} melts at {found.temperature:.0f} ± {found.error:.0f} K")
    withheld(found.withheld)
    written(out, f"melting-{symbol}", calculator, found, figures.melting(found))


@command.command("safety")
@click.argument("symbols", nargs=-1)
@_of_potential("Elements")
def safety(symbols: tuple[str, ...], calculator: Calculator, out: Path, progress: Progress) -> None:
    """Is the potential sound? Dimers, locality, extensivity, forces as slopes, conservation.

    SYMBOLS are elements, by default Cu and Li; one page is written.

    \b
    Example:
      culi-mlip properties safety --model run/
    """
    from itertools import combinations_with_replacement

    from culi_mlip.cli import console
    from culi_mlip.files import write_text
    from culi_mlip.properties import dimer_curve
    from culi_mlip.properties import safety as compute
    from culi_mlip.report import properties as figures
    from culi_mlip.report.safety import checks, page

    elements = symbols or ("Cu", "Li")
    found = []
    for i, symbol in enumerate(elements):
        found.append(compute(symbol, calculator))
        progress(i + 1, len(elements))
    pairs = combinations_with_replacement(elements, 2)
    dimers = [dimer_curve((first, second), calculator) for first, second in pairs]
    console.table(["check", "of", "value", "limit", "passed"], checks(found, dimers))
    name = str(click.get_current_context().params["model"])
    written(out, "safety", calculator, [*found, *dimers], figures.dimers(dimers))
    write_text(out / "safety.html", page(found, dimers, name))
    console.out.print(f"Written: {out}/safety.html")


def _barrier(
    found: Barrier, names: tuple[str, str], out: Path, name: str, calculator: Calculator
) -> None:
    from culi_mlip.cli import console
    from culi_mlip.report import properties as figures

    heights = found.forward, found.reverse
    console.table(["barrier", "eV"], [[n, number(e)] for n, e in zip(names, heights, strict=True)])
    if found.passes_a_minimum:
        console.out.print("Caution: an image lies lower than both ends, which are not the minima.")
    withheld(found.withheld)
    written(out, name, calculator, found, figures.barrier(found))


def _digits(face: tuple[int, ...]) -> str:
    return "".join(map(str, face))
