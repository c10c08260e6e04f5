"""YAML in, checked settings out: an unknown key is an error that names the nearest one."""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from culi_mlip.errors import RecipeError


def check_keys(given: dict[Any, Any], valid: dict[str, Any]) -> None:
    """Check that keys are known.

    Raises
    ------
    ValueError
        If one is not; it names the nearest valid key.
    """
    for key in given:
        if key not in valid:
            near = difflib.get_close_matches(str(key), valid, n=1, cutoff=0.0)
            hint = f": the nearest valid key is '{near[0]}'" if near else ""
            raise ValueError(f"unknown key '{key}'{hint}")


class Configuration(BaseModel):
    """Base of all settings that users write."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    MACHINE: ClassVar[frozenset[str]] = frozenset()
    """Settings that say how something is computed but do not change the result."""

    FIRST: ClassVar[frozenset[str]] = frozenset()
    """Settings that identities hold at their defaults, too: those of the first digests."""

    def __getitem__(self, name: str) -> Any:
        """Return a setting by its name, as from a dictionary."""
        return getattr(self, name)

    def identity(self, without: Collection[str] = ()) -> dict[str, Any]:
        """Return what tells settings apart, as plain values; those of `without` do not count.

        These are the settings that differ from their defaults. A setting that is added with a
        default leaves the identities that exist as they are.
        """
        left_out = {*without, *self.MACHINE}
        plain = self.model_dump(mode="json")
        identity = {}
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if name in left_out:
                continue
            if name in self.FIRST:
                identity[name] = plain[name]
            elif value != field.get_default(call_default_factory=True):
                identity[name] = _identity(value, plain[name])
        return identity

    def __reduce__(self) -> tuple[Any, ...]:
        """The same bytes in every process, which pydantic's own set of fields has not."""
        return type(self).model_validate, (self.model_dump(),)

    @model_validator(mode="before")
    @classmethod
    def _name_nearest_key(cls, values: Any) -> Any:
        if isinstance(values, dict):
            check_keys(values, cls.model_fields)
        return values


def _identity(value: Any, plain: Any) -> Any:
    """What tells a value of a setting apart."""
    if isinstance(value, Configuration):
        return value.identity()
    if isinstance(value, list | tuple):
        return [_identity(part, other) for part, other in zip(value, plain, strict=True)]
    if isinstance(value, dict):
        parts = zip(value.values(), plain.items(), strict=True)  # plain keys are text
        return {key: _identity(part, other) for part, (key, other) in parts}
    if is_dataclass(value):
        differing = [f.name for f in fields(value) if getattr(value, f.name) != f.default]
        return {name: plain[name] for name in differing}
    return plain


AnyConfiguration = TypeVar("AnyConfiguration", bound=Configuration)


def read_yaml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises
    ------
    RecipeError
        If the file is missing, not YAML, or not a mapping.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecipeError(f"{path} does not exist: give the path of a YAML file") from error
    except IsADirectoryError as error:
        raise RecipeError(f"{path} is a folder: give the path of a YAML file") from error
    except Exception as error:  # a date of month 13 is a ValueError, a thousand brackets recursion
        raise RecipeError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise RecipeError(f"{path} holds no mapping of keys to values: write `key: value` lines")
    return content


_PLAIN = {  # pydantic's words that say nothing to a reader of YAML
    "union_tag_not_found": "key {discriminator} is missing",
    "union_tag_invalid": "{discriminator} {tag!r} is unknown: choose one of {expected_tags}",
    "tuple_type": "give a list, in brackets",
    "too_short": "give a list of at least {min_length}",
}


def parse(kind: type[AnyConfiguration], content: Any, name: str) -> AnyConfiguration:
    """Check settings; `name` stands before each complaint.

    Raises
    ------
    RecipeError
        If a key is unknown or missing, or a value is of the wrong type or out of range.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        message = message[0].lower() + message[1:]
        if first["type"] in _PLAIN:
            message = _PLAIN[first["type"]].format(**first.get("ctx", {}))
        raise RecipeError(f"{name}, {place + ': ' if place else ''}{message}") from error
