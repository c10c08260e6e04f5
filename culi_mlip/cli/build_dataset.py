"""``culi-mlip build-dataset``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("build-dataset")
@click.argument("recipe", type=click.Path(path_type=Path), required=False)
@click.option("--out", type=click.Path(path_type=Path), default=Path("data"), show_default=True,
              help="Folder of the dataset.")  # fmt: skip
def command(recipe: Path | None, out: Path) -> None:
    """Build structures, label them, audit and split them.

    RECIPE is a YAML file; without one, the quickstart's recipe is used. Killed at any moment,
    the same command continues. The folder gets store.db (an ASE database), train.extxyz,
    val.extxyz, test.extxyz and a dataset card.

    \b
    Example:
      culi-mlip build-dataset workflows/quickstart.yaml --out data/
    """
    from culi_mlip.cli import console
    from culi_mlip.datasets import build_dataset, load_recipe
    from culi_mlip.workflows import workflow

    with console.steps() as step:
        built = build_dataset(load_recipe(recipe or workflow("quickstart.yaml")), out, step=step)
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
