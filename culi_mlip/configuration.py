"""YAML in, checked settings out: an unknown key is an error that names the nearest one."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from culi_mlip.errors import RecipeError


class Configuration(BaseModel):
    """Base of all settings that users write."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    MACHINE: ClassVar[frozenset[str]] = frozenset()
    """Settings that say how something is computed but do not change the result."""

    def __reduce__(self) -> tuple[Any, ...]:
        """The same bytes in every process, which pydantic's own set of fields has not."""
        return type(self).model_validate, (self.model_dump(),)

    @model_validator(mode="before")
    @classmethod
    def _name_nearest_key(cls, values: Any) -> Any:
        if isinstance(values, dict):
            for key in values:
                if key not in cls.model_fields:
                    near = difflib.get_close_matches(str(key), cls.model_fields, n=1, cutoff=0.0)
                    hint = f": the nearest valid key is '{near[0]}'" if near else ""
                    raise ValueError(f"unknown key '{key}'{hint}")
        return values


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
