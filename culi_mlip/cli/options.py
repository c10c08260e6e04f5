"""Options and arguments that several commands share: one wording and one check of each."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Decorator = Callable[[Any], Any]

PATH = click.Path(path_type=Path)

data = click.argument("data", type=PATH, default=Path("data"))
source = click.argument("source", type=PATH, default=Path("data"))
structure = click.argument("structure", type=PATH, required=False)
trained_model = click.argument("model", type=PATH, default=Path("run"))
trajectory = click.argument("trajectory", type=PATH, default=Path("md/trajectory.extxyz"))
test_frames = click.argument("frames", type=PATH, default=Path("data/test.extxyz"))


def count(flag: str, text: str, default: int | None = None) -> Decorator:
    """Return an option that takes a number of things, at least one."""
    kind = click.IntRange(1)
    return click.option(flag, type=kind, default=default, show_default=bool(default), help=text)


def path(flag: str, text: str, metavar: str = "FILE") -> Decorator:
    """Return an option that takes a file or a folder."""
    return click.option(flag, type=PATH, metavar=metavar, help=text)


def out(text: str, default: str | None = None) -> Decorator:
    """Return ``--out``, where results go; a default of None leaves the place to the command."""
    place = Path(default) if default else None
    return click.option("--out", type=PATH, default=place, show_default=bool(default), help=text)


figures_out = out("Folder of the figure and the JSON file.", "circuit")


def seed(of: str, *, default: int | None = 0) -> Decorator:
    """Return ``--seed`` of what is drawn; a default of None leaves it to a file of settings."""
    more = "  [default: 0]" if default is None else ""
    return click.option(
        "--seed",
        type=click.IntRange(0),
        default=default,
        show_default=default is not None,
        help=f"Seed of {of}.{more}",
    )


def engine(text: str, default: str | None = None) -> Decorator:
    """Return ``--engine``, a reference engine or what a command takes in its place."""
    return click.option(
        "--engine", metavar="NAME", default=default, show_default=bool(default), help=text
    )


def settings(of: str) -> Decorator:
    """Return ``--settings``, a YAML file; `of` says what it holds."""
    return path("--settings", f"YAML file with {of}")


engine_digest = click.option(
    "--engine-digest", metavar="DIGEST", help="Take the labels of this engine and settings only."
)
mixed = click.option("--mixed", is_flag=True, help="Mix labels of several engines or settings.")

model = click.option(
    "--model",
    type=PATH,
    default=Path("run"),
    show_default=True,
    help="Run folder, checkpoint, packaged or compiled model.",
)
draws = count("--draws", "Draws of the weights.", 100)
timestep = click.option(
    "--timestep", type=float, default=2.0, show_default=True, help="Time step in fs."
)


class _Device(click.ParamType):
    """A device, checked before the command does anything."""

    name = "device"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the device; called by click."""
        from culi_mlip.devices import check_device

        return check_device(value)


device = click.option(
    "--device",
    type=_Device(),
    metavar="NAME",
    help="cpu, cuda or cuda:N.  [default: cuda if there is one]",
)

compilation = click.option(
    "--compile/--no-compile",
    "compilation",
    default=None,
    help="Compile the model.  [default: once the run has taken as long as that takes]",
)

_LABELS = {
    "energy": "Where frames have their energy (eV), such as REF_energy.",
    "forces": "Where they have their forces (eV/Å).",
    "stress": "Where they have their stress (eV/Å³), or virial (eV) if so named.",
}


def label_keys(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options ``--energy-key``, ``--forces-key``, ``--stress-key`` as `keys`."""

    @functools.wraps(command)
    def with_keys(*args: Any, **kwargs: Any) -> Any:
        from culi_mlip.datasets.frames import LabelKeys

        names = {label: kwargs.pop(f"{label}_key") for label in _LABELS}
        return command(*args, keys=LabelKeys(**names), **kwargs)

    wrapped: Callable[..., Any] = with_keys
    for label, text in reversed(_LABELS.items()):
        more = "  [default: where ASE looks; none: do without]"
        wrapped = click.option(f"--{label}-key", metavar="NAME", help=text + more)(wrapped)
    return wrapped


def circuit(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of a circuit, ``--qubits`` and so on, as `circuit`."""
    from dataclasses import fields

    from culi_mlip.quantum import Circuit

    names = [field.name for field in fields(Circuit)]

    @functools.wraps(command)
    def with_circuit(*args: Any, **kwargs: Any) -> Any:
        given = {name: kwargs.pop(name) for name in names}
        return command(*args, circuit=Circuit(**given), **kwargs)

    wrapped: Callable[..., Any] = with_circuit
    for field in reversed(fields(Circuit)):
        flag = "--" + field.name.removeprefix("n_").replace("_", "-")
        allowed, text = field.metadata["allowed"], field.metadata["help"]
        kind = int if isinstance(allowed, range) else click.Choice(allowed)
        option = click.option(
            flag, field.name, type=kind, default=field.default, show_default=True, help=text
        )
        wrapped = option(wrapped)
    return wrapped
