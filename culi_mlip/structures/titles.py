"""Short names that tell structures apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from culi_mlip.structures.campaign import Entry, face


def title(entry: Entry, parent: Entry | None = None) -> str:
    """Return a short name that tells structures of a recipe apart.

    Such as "Li on Cu(111), adatom hollow 1 2×2". The parent names what an entry was made from,
    where its own ``how`` does not.
    """
    how = {**(parent.how if parent else {}), **entry.how}
    if "millers" in how:
        faces = map(face, how["symbols"], how["millers"])
        name = " on ".join([*([how["adatom"]] if "adatom" in how else []), *faces])
    else:
        name = entry.atoms.get_chemical_formula()
    details = [entry.kind, *(said(how[key]) for key, said in _DETAILS.items() if key in how)]
    disorder = how.get("disorder", {})
    if "rattled" in disorder:
        copy = f", copy {disorder['copy']}" if "copy" in disorder else ""
        details.append(f"rattled {disorder['rattled']} Å{copy}")
    if "thermal_K" in disorder:
        details.append(f"at {disorder['thermal_K']:g} K")
    return f"{name}, {' '.join(detail for detail in details if detail)}"


def _cells(repeat: Any) -> str:
    if isinstance(repeat, int):
        return f"{repeat} cells" if repeat > 1 else ""
    first, second, *_ = repeat
    return f"{first}×{second}" if (first, second) != (1, 1) else ""


def _strain(strain: Any) -> str:
    if isinstance(strain, float | int):
        return f"{100 * strain:+g} %" if strain else ""
    xx, yy, zz, yz, xz, xy = (100 * strain[i][j] for i, j in _VOIGT)
    return f"sheared ({xx:+.1f} {yy:+.1f} {zz:+.1f} {yz:+.1f} {xz:+.1f} {xy:+.1f}) %"


_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))

_DETAILS: dict[str, Callable[[Any], str]] = {
    "site": str,
    "site_number": str,
    "coordination": "CN {}".format,
    "coverage": "{} ML".format,
    "arrangement": lambda arrangement: arrangement if arrangement != "random" else "",
    "strain": _strain,
    "shift": lambda shift: "shift {:.2f}, {:.2f}".format(*shift),
    "gap": "gap {:g} Å".format,
    "strained": lambda side: f"{side} strained",
    "repeat": _cells,
    "temperature_K": "{:g} K".format,
    "step": "step {}".format,
}
"""What of the making of a structure its title says, and how."""
