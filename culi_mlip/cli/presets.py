"""``culi-mlip presets``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click


@click.group("presets")
def command() -> None:
    """Show the presets of `culi-mlip train`.

    \b
    Example:
      culi-mlip presets list
    """


@command.command("list")
def list_() -> None:
    """List the paper's models, Tables 1 to 3, by the names that `train --preset` takes.

    \b
    Example:
      culi-mlip presets list
    """
    from culi_mlip.cli import console
    from culi_mlip.models.presets import PRESETS

    console.table(
        ["preset", *_HEADINGS],
        [
            [name, *(_cell(settings, keys) for keys in _HEADINGS.values())]
            for name, settings in PRESETS.items()
        ],
    )


_HEADINGS = {  # the paper's, over our settings
    "r_max": ("r_max",),
    "lr": ("learning_rate",),
    "batch": ("batch_size",),
    "P": ("polynomial_cutoff_p",),
    "layers": ("num_layers",),
    "edge": ("readout_width",),
    "final": ("further_mlp_widths", "output_mlp_width"),
    "depth": ("circuit.depth",),
    "features": ("circuit.n_features",),
    "epochs": ("epochs",),
}


def _cell(settings: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    nested = {f"circuit.{key}": value for key, value in settings.get("circuit", {}).items()}
    value = next((v for key, v in {**settings, **nested}.items() if key in keys), "–")
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
