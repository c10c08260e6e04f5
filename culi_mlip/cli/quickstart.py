"""``culi-mlip quickstart``."""

from __future__ import annotations

from pathlib import Path

import click

from culi_mlip.cli import options


@click.command("quickstart")
@options.out("Folder that can be kept, moved and continued.", "quickstart")
@click.option("--quick", is_flag=True, help="A tenth of everything: to see the path.")
def command(out: Path, quick: bool) -> None:
    """Structures, labels, training, test, molecular dynamics and a page: once, end to end.

    Labels come from CHGNet's r2SCAN model, a stand-in for DFT. Killed at any moment, the same
    command continues.

    \b
    Example:
      culi-mlip quickstart --out quickstart/
    """
    from culi_mlip.cli import console
    from culi_mlip.quickstart import quickstart

    with console.steps() as step:
        result = quickstart(out, quick=quick, say=console.say, step=step)
    console.out.print(f"Done. Open {result.page} in a browser.")
