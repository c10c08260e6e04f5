"""All properties of a potential beside their references."""

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from ase.calculators.calculator import Calculator

from culi_mlip.dynamics.identity import calculator_digest
from culi_mlip.errors import CuliError
from culi_mlip.files import read_json, write_json, write_text
from culi_mlip.progress import Progress, no_progress
from culi_mlip.properties.adatoms import adsorption
from culi_mlip.properties.elasticity import elastic_constants
from culi_mlip.properties.eos import cohesive_energy, equation_of_state
from culi_mlip.properties.hops import hop
from culi_mlip.properties.hull import convex_hull
from culi_mlip.properties.interfaces import work_of_adhesion
from culi_mlip.properties.output import write_result
from culi_mlip.properties.reconstructions import missing_row
from culi_mlip.properties.surfaces import surface_energies
from culi_mlip.properties.vacancies import vacancy
from culi_mlip.properties.vibrations import phonons
from culi_mlip.records import Record
from culi_mlip.runs import is_finished, recorded_inputs, run_folder
from culi_mlip.structures import distinct_millers

ReferenceKind = Literal["pbe", "gpaw", "experiment"]

INTERFACES = (((1, 1, 0), (1, 1, 1)), ((1, 0, 0), (1, 0, 0)))
"""Faces of lithium and of copper whose adhesion is computed."""


@dataclass(frozen=True)
class Reference:
    """A published value.

    Attributes
    ----------
    quantity, value, unit
        Which, and how much.
    kind
        "pbe", "gpaw" (r2SCAN, by this project's engine) or "experiment".
    method, source
        How it was found, and where it stands.
    """

    quantity: str
    value: float
    unit: str
    kind: str
    method: str
    source: str


@dataclass(frozen=True)
class Score:
    """A property of a potential.

    Attributes
    ----------
    quantity, value, unit
        Which, and how much; None where there is none.
    reference
        The published value, if there is one.
    error
        Of a committee: the standard deviation of its members' values. None of one model.
    withheld
        Why there is no value.
    """

    quantity: str
    value: float | None
    unit: str
    reference: Reference | None
    error: float | None = None
    withheld: str | None = None

    @property
    def deviation(self) -> float | None:
        """From the reference, relative to it."""
        if self.value is None or self.reference is None:
            return None
        return self.value / self.reference.value - 1


class ScorecardInputs(Record):
    """What a scorecard is of, as its folder's record has it."""

    MACHINE: ClassVar = frozenset({"model"})  # a name, which changes when the model is moved

    # Digests; see `culi_mlip.dynamics.identity`.
    calculator: str
    members: list[str] = []
    reference: ReferenceKind
    model: str = ""


def references(kind: ReferenceKind) -> dict[str, Reference]:
    """Return published values of a kind by quantity."""
    text = files("culi_mlip.properties").joinpath("references.csv").read_text(encoding="utf-8")
    found = {}
    for row in csv.DictReader(io.StringIO(text)):
        value = float(row.pop("value"))
        if row["kind"] == kind:
            found[row["quantity"]] = Reference(value=value, **row)
    return found


def scorecard(
    calculator: Calculator,
    out: str | os.PathLike[str],
    *,
    members: Sequence[Calculator] = (),
    reference: ReferenceKind = "pbe",
    model: str = "",
    progress: Progress = no_progress,
) -> list[Score]:
    """Compute properties of copper, lithium and lithium on copper, beside references.

    Each property is kept as soon as it is found; killed, the same call goes on. What a potential
    cannot compute is withheld, with the reason.

    Parameters
    ----------
    calculator
        Any of ASE's.
    out
        The folder, which gets ``card.csv`` and the files of each property.
    members
        Of the committee that the calculator is. Each computes all properties, too; how far they are
        apart is the error.
    reference
        Which published values to compare with.
    model
        Name of the potential, for the record.
    progress
        Called with (properties done, properties in all).

    Raises
    ------
    CuliError
        If the folder holds another scorecard.
    """
    folder = Path(out)
    inputs = ScorecardInputs(
        calculator=calculator_digest(calculator),
        members=[calculator_digest(member) for member in members],
        reference=reference,
        model=model,
    )
    folders = _folders(folder, len(members))
    if not is_finished(folder, inputs):
        with run_folder(folder, "scorecard", inputs):
            for i, (place, one) in enumerate(zip(folders, (calculator, *members), strict=True)):
                _compute(one, place, partial(_part, progress, i, len(folders)))
            write_text(folder / "card.csv", _table(_scores(folders, reference)))
    return _scores(folders, reference)


def read_scorecard(folder: str | os.PathLike[str]) -> tuple[list[Score], str]:
    """Return the scores of a finished scorecard, and the name of its potential.

    Raises
    ------
    CuliError
        If the folder holds none.
    """
    inputs = recorded_inputs(folder, ScorecardInputs)
    if inputs is None:
        raise CuliError(f"{folder} holds no scorecard: make one with culi-mlip scorecard")
    folders = _folders(Path(folder), len(inputs.members))
    return _scores(folders, inputs.reference), inputs.model or inputs.calculator


def _folders(folder: Path, n_members: int) -> list[Path]:
    """Where the values are: of the potential, and of each member of a committee."""
    return [folder, *(folder / f"member-{i}" for i in range(n_members))]


def _part(progress: Progress, i: int, n: int, done: int, total: int) -> None:
    """Tell how far the i-th of n equal parts is."""
    progress(i * total + done, n * total)


_VALUES = "values.json"


def _compute(calculator: Calculator, folder: Path, progress: Progress) -> None:
    """Compute what is not yet in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / _VALUES
    values: dict[str, dict[str, Any]] = read_json(kept) if kept.exists() else {}
    tasks = list(_tasks(calculator, values))
    for i, (name, compute, read) in enumerate(tasks):
        if name not in values:
            values[name] = _attempt(folder, name, compute, read)
            write_json(kept, values)
        progress(i + 1, len(tasks))


_Task = tuple[str, Callable[[], Any], Callable[[Any], dict[str, tuple[float | None, str]]]]


def _tasks(calculator: Calculator, values: dict[str, dict[str, Any]]) -> Iterator[_Task]:
    """Names, what computes each, and what reads values and units from that."""

    def a(symbol: str) -> float | None:
        found = values[f"eos-{symbol}"]["values"].get(f"{symbol} lattice constant")
        return found and found[0]

    def at_rest(function: Callable[..., Any], symbol: str, *arguments: Any) -> Any:
        return function(*arguments, calculator, a=a(symbol))

    def adhesion(film: Any, substrate: Any) -> Any:
        return work_of_adhesion(
            "Li", film, "Cu", substrate, calculator, film_a=a("Li"), substrate_a=a("Cu")
        )

    for s in ("Cu", "Li"):
        faces = distinct_millers()
        yield f"eos-{s}", partial(equation_of_state, s, calculator), partial(_of_eos, s)
        yield f"cohesive-{s}", partial(cohesive_energy, s, calculator), partial(_of_atom, s)
        yield f"elastic-{s}", partial(at_rest, elastic_constants, s, s), partial(_of_elastic, s)
        yield f"phonons-{s}", partial(at_rest, phonons, s, s), partial(_of_phonons, s)
        yield f"vacancy-{s}", partial(at_rest, vacancy, s, s), partial(_of_vacancy, s)
        yield f"surface-energy-{s}", partial(at_rest, surface_energies, s, s, faces), _of_surfaces
    for miller in ((1, 0, 0), (1, 1, 0), (1, 1, 1)):
        face = _digits(miller)
        compute = partial(at_rest, adsorption, "Cu", "Li", "Cu", miller)
        yield f"adsorption-Li-Cu{face}", compute, partial(_of_adsorption, f"Li on Cu({face})")
        compute = partial(at_rest, partial(hop, images=3), "Cu", "Li", "Cu", miller)
        yield f"hop-Li-Cu{face}", compute, partial(_of_hop, f"Li on Cu({face})")
    yield "missing-row", partial(at_rest, missing_row, "Cu", "Cu"), _of_missing_row
    yield "hull-Cu-Li", partial(convex_hull, "Cu", "Li", calculator), _of_hull
    for film, substrate in INTERFACES:
        of, on = _digits(film), _digits(substrate)
        read = partial(_of_adhesion, f"Li({of}) on Cu({on})")
        yield f"adhesion-Li{of}-Cu{on}", partial(adhesion, film, substrate), read


def _attempt(
    folder: Path, name: str, compute: Callable[[], Any], read: Callable[[Any], Any]
) -> dict[str, Any]:
    started = time.monotonic()
    try:
        found = compute()
    except CuliError as error:
        return {"values": {}, "withheld": str(error)}
    write_result(folder, name, found)
    parts = found if isinstance(found, list) else [found]
    reasons = [getattr(part, "withheld", None) for part in parts]
    return {
        "values": read(found),
        "withheld": next(filter(None, reasons), None),
        "seconds": round(time.monotonic() - started, 1),
    }


def _scores(folders: Sequence[Path], reference: ReferenceKind) -> list[Score]:
    published = references(reference)
    values, *of_members = (read_json(folder / _VALUES) for folder in folders)
    scores = []
    for name, found in values.items():
        for quantity, (value, unit) in found["values"].items():
            why = found["withheld"] if value is None else None
            error = _spread([member[name]["values"].get(quantity) for member in of_members])
            scores.append(Score(quantity, value, unit, published.get(quantity), error, why))
        if not found["values"]:
            scores.append(Score(name, None, "", None, None, found["withheld"]))
    return scores


def _spread(of_members: Sequence[tuple[float | None, str] | None]) -> float | None:
    """Standard deviation of the members' values, if there are two or more and each has one."""
    values = [found[0] for found in of_members if found and found[0] is not None]
    is_known = len(values) == len(of_members) > 1
    return float(np.std(values, ddof=1)) if is_known else None


def _table(scores: Sequence[Score]) -> str:
    with io.StringIO(newline="") as text:
        table = csv.writer(text)
        table.writerow(["quantity", "value", "error", "unit", "reference", "deviation", "method",
                        "source", "withheld"])  # fmt: skip
        for score in scores:
            known = score.reference
            table.writerow(
                [
                    score.quantity,
                    "" if score.value is None else f"{score.value:.6g}",
                    "" if score.error is None else f"{score.error:.3g}",
                    score.unit,
                    known.value if known else "",
                    "" if score.deviation is None else f"{score.deviation:.4f}",
                    known.method if known else "",
                    known.source if known else "",
                    score.withheld or "",
                ]
            )
        return text.getvalue()


def _of_eos(s: str, found: Any) -> dict[str, Any]:
    return {
        f"{s} lattice constant": (found.lattice_constant, "Å"),
        f"{s} bulk modulus": (found.bulk_modulus, "GPa"),
    }


def _of_atom(s: str, found: float) -> dict[str, Any]:
    return {f"{s} cohesive energy": (found, "eV/atom")}


def _of_elastic(s: str, found: Any) -> dict[str, Any]:
    c = found.tensor
    return {
        f"{s} {name}": (float(c[i, j]), "GPa")
        for name, i, j in (("C11", 0, 0), ("C12", 0, 1), ("C44", 3, 3))
    }


def _of_phonons(s: str, found: Any) -> dict[str, Any]:
    highest = max(float(modes.max()) for modes in found.frequencies.values())
    return {
        f"{s} highest phonon": (highest, "THz"),
        f"{s} lowest phonon": (found.lowest, "THz"),
    }


def _of_vacancy(s: str, found: Any) -> dict[str, Any]:
    hop = found.migration
    return {
        f"{s} vacancy formation": (found.formation, "eV"),
        f"{s} vacancy migration": (hop.forward if hop else None, "eV"),
    }


def _of_surfaces(found: Any) -> dict[str, Any]:
    return {f"{x.symbol}({_digits(x.miller)}) surface energy": (x.relaxed, "J/m²") for x in found}


def _of_adsorption(name: str, found: Any) -> dict[str, Any]:
    values = {f"{name}, {site.name}": (site.to_bulk, "eV") for site in found.of_each}
    return values | {f"{name}, nucleation overpotential": (found.nucleation_overpotential, "V")}


def _of_hop(name: str, found: Any) -> dict[str, Any]:
    return {f"{name}, hop": (found.forward, "eV")}


def _of_missing_row(found: Any) -> dict[str, Any]:
    return {
        "Cu(100), missing row": (found.clean, "eV a (2×1) cell"),
        "Li on Cu(100), missing row against c(2×2)": (found.covered, "eV"),
    }


def _of_hull(found: Any) -> dict[str, Any]:
    energies = [c.formation_energy for c in found.compounds if c.formation_energy is not None]
    lowest = min(energies, default=None)
    return {"Cu-Li compounds, lowest formation energy": (lowest, "eV/atom")}


def _of_adhesion(name: str, found: Any) -> dict[str, Any]:
    return {
        f"{name}, work of adhesion": (found.strained, "J/m²"),
        f"{name}, interface energy": (found.interface_energy, "J/m²"),
    }


def _digits(miller: Sequence[int]) -> str:
    return "".join(map(str, miller))
