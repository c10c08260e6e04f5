"""ASE's SQLite database, without its surprises: text that looks like a number, slow searches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ase.db.sqlite import SQLite3Database

# ASE's own tables are searched by key alone: with these, a row is found by its id or its value.
INDICES = (
    "CREATE INDEX IF NOT EXISTS culi_value ON text_key_values(key, value, id)",
    "CREATE INDEX IF NOT EXISTS culi_text ON text_key_values(id, key, value)",
    *(
        f"CREATE INDEX IF NOT EXISTS culi_{table} ON {table}(id)"
        for table in ("keys", "species", "number_key_values")
    ),
)


class _Text(str):
    """Text that ASE does not take for a number or truth: a host may be named 1e5."""

    def __int__(self) -> int:
        raise ValueError

    __float__ = __index__ = __int__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Text) and str.__eq__(self, other)

    __hash__ = str.__hash__


class Database(SQLite3Database):
    """ASE's, which refuses text that looks like a number: its queries would not find it."""

    def update(  # noqa: D102 (as ASE's)
        self,
        id: int,  # noqa: A002
        atoms: Any = None,
        data: Any = None,
        **columns: Any,
    ) -> Any:
        return super().update(id, atoms, data=data, **_texts(columns))

    def _write(self, atoms: Any, columns: Any, data: Any, id: Any = None) -> Any:  # noqa: A002
        return super()._write(atoms, _texts(columns), data, id)


def _texts(columns: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _Text(v) if isinstance(v, str) else v for key, v in columns.items()}
