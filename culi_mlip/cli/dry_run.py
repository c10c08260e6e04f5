"""What ``culi-mlip build-dataset --dry-run`` prints and writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from culi_mlip.labelling import Preview, Recipe


def show_plan(recipe: Recipe, out: Path, seconds: Mapping[str, float], cores: int) -> Preview:
    """Count, draw and write a recipe's structures, and count what is to be computed."""
    from culi_mlip.cli import console
    from culi_mlip.datasets.lattice_constants import listed
    from culi_mlip.labelling.preview import preview
    from culi_mlip.report.sheet import write_sheet
    from culi_mlip.structures.titles import title

    with console.steps() as step:
        found = preview(recipe, out, progress=step("Building structures"))
    if found.lattice_constants:
        console.out.print(f"Lattice constants: {listed(found.lattice_constants)}.", markup=False)
    _print_counts(found, has_published=bool(recipe.published))
    _print_work(found, recipe, seconds, cores)
    sheet = out / "contact_sheet.png"
    write_sheet(sheet, [(title(entry), entry.atoms) for entry in found.examples])
    console.out.print(f"Structures: {found.structures}")
    console.out.print(f"Table: {found.table}")
    console.out.print(f"Contact sheet: {sheet}")
    return found


def _print_counts(found: Preview, *, has_published: bool) -> None:
    from culi_mlip.cli import console

    columns = ["kind", "structures", "distinct", "atoms", "published"]
    rows = [
        [
            row.kind,
            str(row.structures),
            str(row.distinct),
            f"{row.atoms[0]} to {row.atoms[1]}",
            str(row.published or "–"),
        ]
        for row in found.counts
    ]
    n = len(columns) if has_published else len(columns) - 1
    console.table(columns[:n], [row[:n] for row in rows])


def _print_work(found: Preview, recipe: Recipe, seconds: Mapping[str, float], cores: int) -> None:
    from culi_mlip.cli import console
    from culi_mlip.labelling.preview import core_hours

    columns = ["task", "of", "structures", "steps", "frames", "published"]
    rows = [
        [w.task, w.kind, *map(str, (w.structures, w.steps, w.frames, w.published or "–"))]
        for w in found.work
    ]
    more = "--step-seconds tells their cost"
    if seconds:
        hours = core_hours(found.work, seconds, cores)
        columns.append("core-hours")
        rows = [[*row, f"{cost:,.0f}"] for row, cost in zip(rows, hours, strict=True)]
        more = f"{sum(hours):,.0f} core-hours"
    console.table(columns, rows)
    steps = sum(w.steps for w in found.work)
    console.out.print(f"{steps:,} steps (energy with forces) of {recipe.engine.name}: {more}.")
    if recipe.relaxation:
        n = recipe.relaxation.expected_steps
        console.out.print(f"Relaxations are expected to need {n} steps each.")
