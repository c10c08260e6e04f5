"""``culi-mlip info``."""

from __future__ import annotations

import click


@click.command("info")
def command() -> None:
    """Print versions, devices, engines and caches, and what is missing.

    \b
    Example:
      culi-mlip info
    """
    from culi_mlip.cli import console
    from culi_mlip.installation import facts

    for title, rows in facts().items():
        console.out.print(title)
        width = max(len(name) for name, _ in rows)
        for name, value in rows:
            console.out.print(f"  {name:<{width}}  {value}")
