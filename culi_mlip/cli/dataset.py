"""``culi-mlip dataset``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from culi_mlip.cli import options

if TYPE_CHECKING:
    from culi_mlip.datasets.frames import LabelKeys


@click.group("dataset")
def command() -> None:
    """What a dataset holds, and the files that are made of it.

    \b
    Example:
      culi-mlip dataset status data/
      culi-mlip dataset audit data/
      culi-mlip dataset split data/ --by parent
      culi-mlip dataset export data/ --out frames.extxyz
      culi-mlip dataset card data/
    """


@command.command("status")
@options.data
@click.option("--check", is_flag=True, help="Read every row and look for what is wrong.")
def status(data: Path, check: bool) -> None:
    """Count the structures of DATA by kind and state; say why some failed."""
    from collections import Counter

    from culi_mlip.cli import console
    from culi_mlip.datasets import open_store
    from culi_mlip.datasets.store import STATES
    from culi_mlip.errors import DatasetError

    store = open_store(data)
    counts = store.counts()
    rows = [[kind, *(str(n[state]) for state in STATES)] for kind, n in sorted(counts.items())]
    totals = [str(sum(n[state] for n in counts.values())) for state in STATES]
    console.table(["kind", *STATES], [*rows, ["all", *totals]])
    for digest, number in store.digests().items():
        source = store.engines[digest]
        name = f"{source.title} (imported)" if source.name == "imported" else source.name
        console.out.print(f"{number} labels of {name}, settings {digest}", markup=False)
    for host, number in store.hosts().items():
        console.out.print(f"{number} labels made on {host}")
    for reason, number in Counter(store.failures().values()).most_common(5):
        console.out.print(f"{number} failed: {reason}")
    for note, number in store.notes().items():
        console.out.print(f"{number} labels: {note}")
    if check:
        wrong = store.check()
        if wrong:
            raise DatasetError(f"{store.path}: {'; '.join(wrong[:5])} ({len(wrong)} in all)")
        console.out.print("Nothing is wrong in the store.")


@command.command("audit")
@options.source
@options.out("Folder of the report.", "audit")
@options.settings("thresholds.  [default: those of the dataset's recipe]")
@options.label_keys
def audit_command(source: Path, out: Path, settings: Path | None, keys: LabelKeys) -> None:
    """Look for frames that should not be trained on, in a dataset or in a structure file.

    The folder gets audit.html (histograms by kind, and a picture of each frame that is unfit) and
    audit.csv, a row a frame. --settings takes max_force (eV/Å), min_bond (in sums of covalent
    radii) and energy_spreads (robust spreads of the energy per atom).

    \b
    Example:
      culi-mlip dataset audit data/
      culi-mlip dataset audit frames.xyz --energy-key REF_energy --forces-key REF_forces
    """
    from culi_mlip.cli import console
    from culi_mlip.configuration import parse, read_yaml
    from culi_mlip.datasets import AuditSettings
    from culi_mlip.report.audit import report_audit

    thresholds = None
    if settings:
        thresholds = parse(AuditSettings, read_yaml(settings), f"settings {settings}")
    found, page = report_audit(source, out, settings=thresholds, keys=keys)
    console.table(
        ["", "frames"],
        [["fit", str(len(found.kept))], *([r, str(n)] for r, n in found.reasons.items())],
    )
    for note in found.notes:
        console.out.print(note)
    console.out.print(f"Report: {page}")


@command.command("split")
@options.data
@click.option("--val", type=float, default=0.1, show_default=True, help="Share of validation.")
@click.option("--test", type=float, default=0.1, show_default=True, help="Share of test.")
@click.option(
    "--by",
    type=click.Choice(["trajectory", "parent", "frame"]),
    default="parent",
    show_default=True,
    help="What is kept whole.",
)
@options.seed("the split")
@options.engine_digest
@options.mixed
def split_command(
    data: Path,
    val: float,
    test: float,
    by: Literal["trajectory", "parent", "frame"],
    seed: int,
    engine_digest: str | None,
    mixed: bool,
) -> None:
    """Split the labelled frames of DATA anew; show what a random split would hide.

    Writes train, val and test.extxyz and the dataset card; a later build-dataset keeps this
    split and extends it. By parent, an ideal structure stays with all that was made from it, so
    that test frames are of structures that training never saw. The errors are those of a quick
    model of energies, cross-validated with each way of grouping: where the random one is far below
    the others, test frames of a random split are near-copies of training frames.
    """
    from culi_mlip.cli import console
    from culi_mlip.configuration import parse
    from culi_mlip.datasets import export_parts
    from culi_mlip.datasets.leakage import leakage_by_split
    from culi_mlip.datasets.split import Split
    from culi_mlip.runs import locked

    split = parse(Split, {"val": val, "test": test, "by": by}, "split")
    with locked(data):
        built = export_parts(
            data, split=split, seed=seed, engine_digest=engine_digest, mixed=mixed, chosen=True
        )
    names = {"frame": "frame (random)"}
    console.table(
        ["split by", "groups", "energy error (meV/atom)"],
        [
            [names.get(row.by, row.by), str(row.n_groups), f"{1000 * row.error:.2f}"]
            for row in leakage_by_split(data, engine_digest=engine_digest, seed=seed)
        ],
    )
    for sentence in built.card.split_missed:
        console.out.print(sentence, markup=False)
    frames = built.card.frames
    console.out.print(", ".join(f"{n} {part}" for part, n in frames.items()) + f" frames: {data}")


@command.command("export")
@options.data
@options.out("Extended XYZ file.  [default: DATA/all.extxyz]")
@options.engine_digest
@options.mixed
def export_command(data: Path, out: Path | None, engine_digest: str | None, mixed: bool) -> None:
    """Write all labelled frames of DATA to one extended XYZ file, as they are."""
    from culi_mlip.cli import console
    from culi_mlip.datasets import export_frames

    out = out or data / "all.extxyz"
    number = export_frames(data, out, engine_digest=engine_digest, mixed=mixed)
    console.out.print(f"{number} frames: {out}")


@command.command("card")
@options.data
def card_command(data: Path) -> None:
    """Print the dataset card of DATA, in Markdown; card.json is for machines."""
    from culi_mlip.errors import DatasetError
    from culi_mlip.files import read_text

    path = data / "card.md"
    if not path.is_file():
        raise DatasetError(f"{data} holds no dataset card: run culi-mlip dataset split {data}")
    click.echo(read_text(path))
