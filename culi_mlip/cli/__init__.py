"""The ``culi-mlip`` command. Commands import what they need when they run: help is instant."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from culi_mlip import __version__
from culi_mlip.errors import CuliError

_COMMANDS = {
    "build-dataset": "build_dataset",
    "dataset": "dataset",
    "label": "label",
    "structures": "structures",
    "train": "train",
    "presets": "presets",
    "optimize": "optimize",
    "circuit": "circuit",
    "evaluate": "evaluate",
    "compile": "compile",
    "export": "export",
    "md": "md",
    "relax": "relax",
    "properties": "properties",
    "scorecard": "scorecard",
    "report": "report",
    "melt-quench": "melt_quench",
    "quickstart": "quickstart",
    "info": "info",
}
"""Module of each command, in the order of the help page."""


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        module = importlib.import_module(f"culi_mlip.cli.{_COMMANDS[name]}")
        return module.command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="culi-mlip")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def group(debug: bool) -> None:
    """Machine-learned potentials for lithium on copper.

    \b
    culi-mlip quickstart                        everything once, in about 15 minutes
    culi-mlip build-dataset recipe.yaml         structures, labels, split
    culi-mlip dataset status data/              what it holds
    culi-mlip structures show data/             pictures of structures
    culi-mlip train data/ --variant qdi         a potential
    culi-mlip optimize data/ --variant qdi      its hyperparameters, for error and speed
    culi-mlip circuit fisher                    the quantum layer's analyses
    culi-mlip evaluate run/ data/test.extxyz    its errors
    culi-mlip compile run/                      the potential as machine code
    culi-mlip export lammps run/ slab.xyz       files for LAMMPS with pair_allegro
    culi-mlip md slab.xyz --model run/          molecular dynamics
    culi-mlip relax *.xyz --model run/          many structures at once
    culi-mlip properties adhesion --model run/  and surface energies, phonons, diffusion, …
    culi-mlip scorecard run/                    all properties beside published values
    culi-mlip report data/ run/ md/             one page about any finished folders
    culi-mlip melt-quench interface.xyz         melt, cool and choose frames
    culi-mlip info                              versions, devices, engines, what is missing
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; an error that a user can mend is one line and exit code 2."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        code: Any = group.main(arguments, prog_name="culi-mlip", standalone_mode=False)
    except (CuliError, click.ClickException) as error:
        if "--debug" in arguments:
            raise
        _complain(error)
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        click.echo("Interrupted: run the same command again to continue.", err=True)
        sys.exit(130)
    sys.exit(code or 0)


def _complain(error: Exception) -> None:
    message = error.format_message() if isinstance(error, click.ClickException) else str(error)
    if isinstance(error, click.UsageError) and error.ctx is not None:
        message += f" See `{error.ctx.command_path} --help`."
    click.echo(f"Error: {' '.join(message.split())}", err=True)
