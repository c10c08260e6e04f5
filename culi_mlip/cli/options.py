"""Options that several commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

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


class Device(click.ParamType):
    """A device, checked before the command does anything."""

    name = "device"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the device; called by click."""
        from culi_mlip.devices import check_device

        return check_device(value)


device = click.option(
    "--device",
    type=Device(),
    metavar="NAME",
    help="cpu, cuda or cuda:N.  [default: cuda if there is one]",
)
