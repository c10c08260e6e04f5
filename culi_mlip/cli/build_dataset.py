"""``culi-mlip build-dataset``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from culi_mlip.datasets import Recipe


@click.command("build-dataset")
@click.argument("recipe", type=click.Path(path_type=Path), required=False)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("data"),
    show_default=True,
    help="Folder of the dataset.",
)
@click.option("--dry-run", is_flag=True,
              help="Count, draw and write the structures; label nothing.")  # fmt: skip
def command(recipe: Path | None, out: Path, dry_run: bool) -> None:
    """Build structures, label them, audit and split them.

    RECIPE is a YAML file; without one, the quickstart's recipe is used. Killed at any moment,
    the same command continues. The folder gets store.db (an ASE database), train.extxyz,
    val.extxyz, test.extxyz and a dataset card.

    \b
    Example:
      culi-mlip build-dataset workflows/quickstart.yaml --out data/
      culi-mlip build-dataset workflows/cu_li_paper.yaml --dry-run
    """
    from culi_mlip.cli import console
    from culi_mlip.datasets import build_dataset, load_recipe
    from culi_mlip.workflows import workflow

    whole = load_recipe(recipe or workflow("quickstart.yaml"))
    if dry_run:
        _dry_run(whole, out)
        return
    with console.steps() as step:
        built = build_dataset(whole, out, step=step)
    card = built.card
    console.table(
        ["kind", "train", "val", "test"],
        [
            [kind, *(str(n) for n in counts.values())]
            for kind, counts in [*card["frames_by_kind"].items(), ("all", card["frames"])]
        ],
    )
    if card["caution"]:
        console.out.print(f"Caution: {card['caution']}.")
    console.out.print(f"Dataset card: {built.folder / 'card.md'}")


def _dry_run(recipe: Recipe, out: Path) -> None:
    from culi_mlip.cli import console
    from culi_mlip.datasets.preview import preview, title
    from culi_mlip.files import write_bytes
    from culi_mlip.report.figures import contact_sheet, png

    with console.steps() as step:
        found = preview(recipe, out, progress=step("Building structures"))
    published = bool(recipe.published)
    console.table(
        ["kind", "structures", "distinct", "atoms", *(["published"] if published else [])],
        [
            [
                row.kind,
                str(row.structures),
                str(row.distinct),
                f"{row.atoms[0]} to {row.atoms[1]}",
                *([str(row.published or "–")] if published else []),
            ]
            for row in found.counts
        ],
    )
    if recipe.sampling:
        console.out.print("Short molecular dynamics adds its frames to these.")
    sheet = out / "contact_sheet.png"
    write_bytes(sheet, png(contact_sheet([(title(e), e.atoms) for e in found.examples])))
    console.out.print(f"Structures: {found.structures}")
    console.out.print(f"Table: {found.table}")
    console.out.print(f"Contact sheet: {sheet}")
