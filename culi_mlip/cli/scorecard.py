"""``culi-mlip scorecard``."""

from __future__ import annotations

from pathlib import Path

import click

from culi_mlip.cli import options


@click.command("scorecard")
@click.argument("models", type=options.PATH, nargs=-1)
@click.option(
    "--reference",
    type=click.Choice(["pbe", "gpaw", "experiment"]),
    default="pbe",
    show_default=True,
    help="Published values to compare with.",
)
@options.out("Folder of the card.", "card")
@options.device
@options.compilation
def command(
    models: tuple[Path, ...],
    reference: str,
    out: Path,
    device: str | None,
    compilation: bool | None,
) -> None:
    """Compute properties of Cu, Li and Li on Cu with MODELS, beside published values.

    A model is one as in culi-mlip properties, by default run. Several runs are a committee, whose
    members' spread is the error of each value. The folder gets card.html, card.csv, card.png and
    the files of each property. Killed at any moment, the same command continues.

    \b
    Example:
      culi-mlip scorecard run/ --out card/
      culi-mlip scorecard run-0/ run-1/ run-2/ --out card/
      culi-mlip scorecard chgnet --reference experiment
    """
    from culi_mlip.cli import console
    from culi_mlip.cli.calculators import open_committee
    from culi_mlip.files import write_bytes, write_text
    from culi_mlip.properties.scorecard import scorecard
    from culi_mlip.report.figures import png
    from culi_mlip.report.scorecard import deviations, page, value_of

    models = models or (Path("run"),)
    name = ", ".join(map(str, models))
    with console.steps() as step:
        calculator, members = open_committee(models, device, compilation, step)
        scores = scorecard(
            calculator,
            out,
            members=members,
            model=name,
            reference=reference,  # type: ignore[arg-type]  # click has checked it
            progress=step("Properties"),
        )
    write_text(out / "card.html", page(scores, name))
    if compared := [score for score in scores if score.deviation is not None]:
        write_bytes(out / "card.png", png(deviations(compared)))
    console.table(
        ["property", "value", "reference", "deviation"],
        [
            [
                score.quantity,
                value_of(score),
                f"{score.reference.value:g}" if score.reference else "",
                "" if score.deviation is None else f"{100 * score.deviation:+.1f} %",
            ]
            for score in scores
        ],
    )
    console.out.print(f"Written: {out}/card.html, card.csv")
