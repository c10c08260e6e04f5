"""``culi-mlip scorecard``."""

from __future__ import annotations

from pathlib import Path

import click

from culi_mlip.cli import options


@click.command("scorecard")
@options.trained_model
@click.option(
    "--reference",
    type=click.Choice(["pbe", "experiment"]),
    default="pbe",
    show_default=True,
    help="Published values to compare with.",
)
@options.out("Folder of the card.", "card")
@options.device
@options.compilation
def command(
    model: Path, reference: str, out: Path, device: str | None, compilation: bool | None
) -> None:
    """Compute properties of Cu, Li and Li on Cu with MODEL, beside published values.

    MODEL is as in culi-mlip properties. The folder gets card.html, card.csv and the files of each
    property. Killed at any moment, the same command continues.

    \b
    Example:
      culi-mlip scorecard run/ --out card/
      culi-mlip scorecard chgnet --reference experiment
    """
    from culi_mlip.cli import console
    from culi_mlip.cli.calculators import open_calculator
    from culi_mlip.files import write_text
    from culi_mlip.properties.scorecard import scorecard
    from culi_mlip.report.scorecard import page

    with console.steps() as step:
        scores = scorecard(
            open_calculator(model, device, compilation, step),
            out,
            reference=reference,  # type: ignore[arg-type]  # click has checked it
            progress=step("Properties"),
        )
    write_text(out / "card.html", page(scores, str(model)))
    console.table(
        ["property", "value", "reference", "deviation"],
        [
            [
                score.quantity,
                "–" if score.value is None else f"{score.value:.4g} {score.unit}",
                f"{score.reference.value:g}" if score.reference else "",
                "" if score.deviation is None else f"{100 * score.deviation:+.1f} %",
            ]
            for score in scores
        ],
    )
    console.out.print(f"Written: {out}/card.html, card.csv")
