"""The page of a scorecard: values beside references, light and self-contained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from culi_mlip.properties.scorecard import Score
from culi_mlip.report import html
from culi_mlip.report.figures import ACCENT, INK, SECOND
from culi_mlip.report.html import Html, heading, image, paragraph

EDGE = 50.0
"""Largest deviation that a bar shows, in percent."""


def page(scores: Sequence[Score], model: str) -> str:
    """Return a page about a potential's scores; see `sections`."""
    return html.document(f"Scorecard of {model}", sections(scores, model))


def sections(scores: Sequence[Score], model: str) -> list[Html]:
    """Return the parts of a page about a potential's scores.

    Parameters
    ----------
    scores
        From `culi_mlip.properties.scorecard.scorecard`.
    model
        What was scored.
    """
    compared = [score for score in scores if score.deviation is not None]
    found = [score for score in scores if score.value is not None]
    missing = [score for score in scores if score.value is None]
    spread = any(score.error is not None for score in scores)
    parts = [
        heading(f"Scorecard of {model}", 1),
        paragraph(
            f"{len(found)} properties, {len(compared)} of them beside published values. Each is "
            "computed at the potential's own lattice constant, at 0 K without zero-point motion."
            + (" Errors are standard deviations of the committee's members." if spread else "")
        ),
    ]
    if compared:
        parts += [
            image(deviations(compared), "Deviations from the published values."),
            html.table(
                ["property", "value", "reference", "deviation", "source"],
                [_compared(score) for score in compared],
                "remarks",
            ),
        ]
    others = [score for score in found if score.deviation is None]
    if others:
        parts += [
            heading("Without a published value here"),
            html.table(["property", "value"], [[s.quantity, value_of(s)] for s in others]),
        ]
    if missing:
        reasons = [[score.quantity, score.withheld or ""] for score in missing]
        parts += [heading("Withheld"), html.table(["property", "why"], reasons, "remarks")]
    return parts


def deviations(scores: Sequence[Score]) -> Figure:
    """Return deviations from references as bars, in percent, with values and references.

    Each score has a deviation; bars end at the edge of 50 %.
    """
    values = np.array([100 * (score.deviation or 0.0) for score in scores])
    figure = Figure(figsize=(8.5, 0.28 * len(scores) + 1), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(scores))[::-1]
    errors = [100 * (s.error or 0.0) / abs(s.reference.value) if s.reference else 0 for s in scores]
    colours = [ACCENT if abs(v) <= 10 else SECOND for v in values]
    shown = np.clip(values, -EDGE, EDGE)
    axes.barh(places, shown, color=colours, xerr=errors if any(errors) else None, ecolor=INK)
    axes.set_yticks(places, [score.quantity for score in scores], fontsize=8)
    for place, value, score in zip(places, values, scores, strict=True):
        reference = f"{score.reference.value:g}" if score.reference else ""
        text = f"{value:+.1f} %   {value_of(score)} ({reference})"
        axes.text(1.02, place, text, va="center", fontsize=8, transform=axes.get_yaxis_transform())
    axes.axvline(0, color=INK, lw=0.8)
    axes.axvspan(-10, 10, color="0.93", zorder=0)
    axes.set(xlim=(-EDGE, EDGE), ylim=(-0.8, len(scores) - 0.2))
    axes.set_xlabel("deviation (%); within 10 % grey")
    axes.set_title("deviation, value (reference)", loc="right", fontsize=8)
    return figure


def _compared(score: Score) -> list[str]:
    known = score.reference
    assert known is not None  # noqa: S101 (chosen so)
    return [
        score.quantity,
        value_of(score),
        f"{known.value:g} {known.unit}",
        f"{100 * (score.deviation or 0.0):+.1f} %",
        f"{known.method}: {known.source}",
    ]


def value_of(score: Score) -> str:
    """Return a value with its error and unit."""
    if score.value is None:
        return "–"
    error = "" if score.error is None else f" ± {score.error:.2g}"
    return f"{score.value:.4g}{error} {score.unit}"
