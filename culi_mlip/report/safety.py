"""The page that says whether a potential is sound: dimers, locality, conservation."""

from __future__ import annotations

from collections.abc import Sequence

from culi_mlip.properties import DimerCurve, Safety
from culi_mlip.report import html, properties
from culi_mlip.report.html import heading, image, paragraph

LIMITS = {
    "extensivity": 1e-5,
    "rotation": 1e-3,
    "slope": 1e-3,
    "drift": 1e-4,
    "jump": 0.02,
}
"""Largest values of a sound potential: eV/atom, eV/Å, eV/Å, eV/atom/ps, eV/Å."""

SHORTEST = 0.8
"""Distance in Å from which on two atoms repel each other."""


def page(found: Sequence[Safety], dimers: Sequence[DimerCurve], model: str) -> str:
    """Return a page about a potential's soundness.

    Parameters
    ----------
    found
        Checks of elements.
    dimers
        Of all pairs of elements.
    model
        What was checked.
    """
    rows = checks(found, dimers)
    failed = [row for row in rows if row[-1] != "yes"]
    verdict = (
        f"{len(failed)} of {len(rows)} checks find a fault."
        if failed
        else f"All {len(rows)} checks are passed."
    )
    return html.document(
        f"Is {model} sound?",
        [
            heading(f"Is {model} sound?", 1),
            paragraph(verdict, "caution" if failed else ""),
            html.table(["check", "of", "value", "limit", "passed"], rows, "remarks"),
            image(
                properties.dimers(dimers),
                "Two atoms by distance: energy above that of free atoms, and repulsion.",
            ),
            heading("What is checked"),
            html.bullets(
                [
                    "Repulsion: two atoms repel each other from 0.8 Å on, so that none fall into "
                    "one another.",
                    "Cutoff: forces go smoothly to zero where atoms cease to act on each other.",
                    "Locality: how far from a moved atom forces change by 10⁻⁵ eV/Å.",
                    "Extensivity: a cell twice as long has twice the energy.",
                    "Rotation: forces turn with the crystal.",
                    "Slope: forces are derivatives of the energy.",
                    "Drift: of the energy of a crystal in motion without thermostat.",
                ]
            ),
        ],
    )


def checks(found: Sequence[Safety], dimers: Sequence[DimerCurve]) -> list[list[str]]:
    """Return rows of what was checked, of which elements, value, limit, and whether it passed."""
    rows = []
    for curve in dimers:
        pair = "–".join(curve.pair)
        start = float(curve.distances[0])
        repels = f"{start:g} to {curve.repulsive_from:.2f} Å" if curve.repulsive_from else "not"
        is_sound = curve.repulsive_from > 0 and start <= SHORTEST
        rows.append(["repulsion", pair, repels, f"from {SHORTEST} Å", _passed(is_sound)])
        value = f"{curve.jump:.1e} eV/Å at {curve.reach:.2f} Å"
        limit = LIMITS["jump"]
        rows.append(["cutoff", pair, value, f"{limit:g} eV/Å", _passed(curve.jump < limit)])
    units = {"extensivity": "eV/atom", "rotation": "eV/Å", "slope": "eV/Å", "drift": "eV/atom/ps"}
    for one in found:
        is_local = one.locality < float("inf")
        reach = f"{one.locality:.1f} Å" if is_local else "beyond the cell"
        rows.append(["locality", one.symbol, reach, "within 14 Å", _passed(is_local)])
        for name, unit in units.items():
            value, limit = abs(getattr(one, name)), LIMITS[name]
            row = [name, one.symbol, f"{value:.1e} {unit}", f"{limit:g} {unit}"]
            rows.append([*row, _passed(value < limit)])
    return rows


def _passed(is_so: bool) -> str:
    return "yes" if is_so else "no"
