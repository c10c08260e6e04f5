"""Who made labels: what a dataset writes down of the engines that its labels are from."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

from culi_mlip.configuration import Configuration
from culi_mlip.records import Record, Update


class Engine(Protocol):
    """What a store asks of a reference engine, as from `culi_mlip.reference.get_engine`."""

    @property
    def name(self) -> str:
        """Name in the registry of engines."""

    @property
    def title(self) -> str:
        """What its labels are called in reports."""

    @property
    def is_dft(self) -> bool:
        """Whether its labels may be called DFT."""

    @property
    def caution(self) -> str | None:
        """What to say wherever its labels are shown."""

    @property
    def settings(self) -> Configuration:
        """All values that the labels depend on."""

    @property
    def digest(self) -> str:
        """Short hash: labels with the same digest may be mixed."""


def _titled(source: dict[str, Any]) -> dict[str, Any]:
    """Version 0 had names and settings alone."""
    title, is_dft = _TITLES.get(source["name"], (source["name"], False))
    settings = source["settings"]
    is_dft, title = settings.get("is_dft", is_dft), title.format(**settings)
    caution = None if is_dft else f"labels are from {title}, a stand-in for DFT"
    return {**source, "title": title, "is_dft": is_dft, "caution": caution}


_TITLES = {  # those of version 0
    "ase": ("the ASE calculator {calculator}", False),
    "chgnet": ("CHGNet's r2SCAN model", False),
    "cp2k": ("CP2K", True),
    "gpaw": ("GPAW", True),
    "vasp": ("VASP", True),
    "emt": ("ASE's effective medium theory", False),
    "imported": ("{code}", True),
}


class LabelSource(Record):
    """An engine as a store has it, under its digest; fields as of `Engine`."""

    UPDATES: ClassVar[tuple[Update, ...]] = (_titled,)

    name: str
    title: str
    is_dft: bool
    caution: str | None
    settings: dict[str, Any]

    @classmethod
    def of_engine(cls, engine: Engine) -> LabelSource:
        """Return what is to be written down of an engine."""
        return cls(
            name=engine.name,
            title=engine.title,
            is_dft=engine.is_dft,
            caution=engine.caution,
            settings=engine.settings.model_dump(mode="json"),
        )
