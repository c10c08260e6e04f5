"""Records: what culi_mlip writes down for itself, each one typed and versioned."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

from pydantic import ConfigDict, ValidationError

from culi_mlip.configuration import Configuration
from culi_mlip.errors import CuliError
from culi_mlip.files import read_json, write_json

Update = Callable[[dict[str, Any]], dict[str, Any]]
"""Makes the content of a record of one version that of the next."""


AnyRecord = TypeVar("AnyRecord", bound="Record")


class Record(Configuration):
    """Base of all records.

    A field that is added needs a default: what records mean that lack it. Any other change of a
    record is a new version, with a function in `UPDATES` that brings the last one up to it.
    """

    model_config = ConfigDict(allow_inf_nan=True, arbitrary_types_allowed=True)

    UPDATES: ClassVar[tuple[Update, ...]] = ()
    """Functions from each version to the next; the first version is 0 and writes no number."""

    REMEDY: ClassVar[str] = "remove it, or choose another folder, to start anew"
    """What to do about a damaged one."""

    def plain(self, mode: str = "json") -> dict[str, Any]:
        """Return the content as it is written, with its version.

        The mode is pydantic's: "json" for plain values, "python" for values as they are.
        """
        version = {"version": len(self.UPDATES)} if self.UPDATES else {}
        return version | self.model_dump(mode=mode)

    @classmethod
    def of(cls: type[AnyRecord], content: Any, name: str) -> AnyRecord:
        """Return the record with a content as from `plain`, of whatever version.

        Raises
        ------
        CuliError
            If it is damaged, or of a newer version of culi_mlip.
        """
        values = dict(content) if isinstance(content, Mapping) else content
        version = values.pop("version", 0) if isinstance(values, dict) else 0
        if not isinstance(version, int) or version > len(cls.UPDATES):
            raise CuliError(
                f"{name} is of a newer version of culi_mlip ({version}, this one knows "
                f"{len(cls.UPDATES)}): update culi_mlip"
            )
        try:
            for update in cls.UPDATES[version:]:
                values = update(values)
            return cls.model_validate(values)
        except (KeyError, TypeError, AttributeError) as error:
            raise CuliError(f"{name} is damaged ({error!r}): {cls.REMEDY}") from error
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            reason = first["msg"].removeprefix("Value error, ")
            what = f"it has no {place}" if first["type"] == "missing" else f"{place} {reason}"
            raise CuliError(f"{name} is damaged ({what.strip()}): {cls.REMEDY}") from error

    @classmethod
    def read(cls: type[AnyRecord], path: str | os.PathLike[str]) -> AnyRecord:
        """Read the record in a JSON file.

        Raises
        ------
        CuliError
            If the file is missing or damaged, or of a newer version of culi_mlip.
        """
        return cls.of(read_json(path), str(path))

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the record to a JSON file, in one step."""
        write_json(path, self.plain())
