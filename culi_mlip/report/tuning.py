"""The report of tunings: Pareto fronts as figure and page, table of all trials, best settings."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import yaml
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from optuna.trial import FrozenTrial

from culi_mlip.errors import CuliError
from culi_mlip.files import write_bytes, write_text
from culi_mlip.report.figures import png
from culi_mlip.report.html import Html, bullets, document, heading, paragraph, table
from culi_mlip.tuning.records import FrontTime, TrialJob
from culi_mlip.tuning.tune import Tuning
from culi_mlip.tuning.worker import trial_folder

Timings = Mapping[int, FrontTime]

_COLOURS = ("#1b6ca8", "#d1495b", "#3d8b37", "#8e5ea2", "#e08e0b")


def write_report(
    tunings: Sequence[Tuning], timings: Sequence[Timings], out: str | os.PathLike[str]
) -> Path:
    """Write ``pareto.png``, ``report.html``, ``trials.csv`` and ``best/*.yaml``; return the page.

    Tunings are drawn side by side. Timings are those of each front's models in one sitting, by
    slot.

    Raises
    ------
    CuliError
        If the tunings are of different errors.
    """
    if len({tuning.error for tuning in tunings}) > 1:
        errors = " and ".join(sorted({tuning.error for tuning in tunings}))
        raise CuliError(f"these tunings are of {errors}: report them apart")
    folder = Path(out)
    write_bytes(folder / "pareto.png", png(pareto_figure(tunings)))
    write_text(folder / "trials.csv", _csv(tunings))
    for tuning in tunings:
        for title, trial in best_trials(tuning).items():
            job = TrialJob.read(trial_folder(tuning.folder, trial) / "job.json")
            name = f"{tuning.study.study_name}-{title.replace(' ', '-')}.yaml"
            settings = job.settings.model_dump(mode="json")
            write_text(folder / "best" / name, yaml.safe_dump(settings, sort_keys=False))
    page = folder / "report.html"
    write_text(page, _page(tunings, timings))
    return page


def best_trials(tuning: Tuning) -> dict[str, FrozenTrial]:
    """Return the most accurate, the fastest and the best balanced trial of the front.

    Balanced is the nearest to the ideal point (the least error and the least time of the front) of
    those between the other two, both objectives on a logarithmic scale from 0 to 1 on the front.
    Models whose folder is on another machine are left out.
    """
    front = [t for t in tuning.front if (trial_folder(tuning.folder, t) / "job.json").exists()]
    if not front:
        return {}
    found = {"most accurate": front[0], "fastest": front[-1]}
    if len(front) > 2:
        points = np.log([t.values for t in front])
        scaled = (points - points.min(axis=0)) / np.ptp(points, axis=0)
        found["balanced"] = front[1 + int(np.linalg.norm(scaled[1:-1], axis=1).argmin())]
    return found


def front_table(tuning: Tuning, timings: Timings) -> tuple[list[str], list[list[str]]]:
    """Return titles and rows: the front, then the untuned model if it is not on it."""
    titles = ["trial", _milli(tuning.error), "inference (s)", "one sitting (s)", "weights"]
    rest = [t for t in tuning.trials[:1] if t.values and t not in tuning.front]
    rows = [_row(trial, timings) for trial in [*tuning.front, *rest]]
    return [*titles, "settings"], rows


def pareto_figure(tunings: Sequence[Tuning]) -> Figure:
    """Draw all trials and the fronts of tunings, inference time over error."""
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    for tuning, colour in zip(tunings, _COLOURS, strict=False):
        done = np.array([t.values for t in tuning.trials if t.values]).reshape(-1, 2)
        front = np.array([t.values for t in tuning.front]).reshape(-1, 2)
        axes.scatter(1000 * done[:, 0], done[:, 1], s=14, color=colour, alpha=0.35, linewidths=0)
        axes.step(
            1000 * front[:, 0], front[:, 1], where="post", color=colour, marker="o",
            label=f"{tuning.study.study_name}, {len(done)} trials",
        )  # fmt: skip
        untuned = [t.values for t in tuning.trials[:1] if t.values]
        if untuned:
            axes.plot(1000 * untuned[0][0], untuned[0][1], "*", color=colour, markersize=14,
                      markeredgecolor="black", linestyle="none")  # fmt: skip
    axes.plot([], [], "*", color="white", markeredgecolor="black", markersize=12, linestyle="none",
              label="untuned")  # fmt: skip
    axes.set(
        xscale="log", yscale="log", xlabel=f"Validation {_milli(tunings[0].error)}",
        ylabel="Inference time, whole test set (s)",
    )  # fmt: skip
    for axis in (axes.xaxis, axes.yaxis):  # numbers rather than powers of ten
        axis.set_major_locator(LogLocator(subs=(1, 2, 3, 4, 6)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.legend(frameon=False)
    axes.grid(alpha=0.25, which="both")
    return figure


def _milli(error: str) -> str:
    """An error's name with a thousandth of its unit: values are shown times 1000."""
    return error.replace("(eV", "(meV")


def _row(trial: FrozenTrial, timings: Timings) -> list[str]:
    slot = trial.user_attrs["slot"]
    again = timings.get(slot)
    return [
        str(slot) if slot else "0 (untuned)",
        f"{1000 * trial.values[0]:.1f}",
        f"{trial.values[1]:.3f}",
        f"{again.inference_seconds:.3f}" if again else "–",
        f"{trial.user_attrs['parameters']:,}",
        _settings(trial),
    ]


def _settings(trial: FrozenTrial) -> str:
    values = {k: f"{v:.3g}" if isinstance(v, float) else v for k, v in trial.params.items()}
    return ", ".join(f"{key}={value}" for key, value in values.items())


def _csv(tunings: Sequence[Tuning]) -> str:
    """All trials, one a line; a failed one has its reason."""
    rows = []
    for tuning in tunings:
        front = {t.number for t in tuning.front}
        for trial in tuning.trials:
            attributes = {k: v for k, v in trial.user_attrs.items() if k != "owner"}
            rows.append(
                {
                    "study": tuning.study.study_name,
                    **attributes,
                    "on_front": trial.number in front,
                    **trial.params,
                }
            )
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _page(tunings: Sequence[Tuning], timings: Sequence[Timings]) -> str:
    return document("Tuning of potentials", sections(tunings, timings), is_wide=True)


def sections(tunings: Sequence[Tuning], timings: Sequence[Timings]) -> list[Html]:
    """Return the parts of a page about tunings, with an interactive figure; see `write_report`."""
    chart = Html(_interactive(tunings).to_html(full_html=False, include_plotlyjs=True))
    parts = [heading("Error and inference time", 1), chart]
    for tuning, timing in zip(tunings, timings, strict=True):
        failures = [t for t in tuning.trials if t.values is None]
        parts += [
            heading(tuning.study.study_name),
            paragraph(
                f"{len(tuning.trials)} trials, {len(failures)} failed. Inference time is that of "
                "energies, forces and neighbour lists of the whole test set, median of repeats"
                + "".join(f", on {hardware}" for hardware in _hardware(tuning))
                + "; “one sitting” was measured for all models of the front in turns, at the end."
            ),
            table(*front_table(tuning, timing), css="remarks"),
        ]
        if failures:
            reasons = sorted({str(t.user_attrs.get("failure")) for t in failures})
            parts += [paragraph("Failures:"), bullets(reasons)]
    return parts


def _interactive(tunings: Sequence[Tuning]) -> go.Figure:
    figure = go.Figure()
    for tuning, colour in zip(tunings, _COLOURS, strict=False):
        name = tuning.study.study_name
        series = (
            (name, [t for t in tuning.trials if t.values], "markers", {"size": 6, "opacity": 0.5}),
            (f"{name}, untuned", [t for t in tuning.trials[:1] if t.values], "markers",
             {"size": 15, "symbol": "star"}),
            (f"{name}, front", tuning.front, "lines+markers", {"size": 10}),
        )  # fmt: skip
        for label, trials, mode, marker in series:
            figure.add_scatter(
                x=[1000 * t.values[0] for t in trials],
                y=[t.values[1] for t in trials],
                text=[f"trial {t.user_attrs['slot']}<br>" + _settings(t).replace(", ", "<br>")
                      for t in trials],
                mode=mode, name=label, marker={"color": colour, **marker},
                line={"shape": "hv", "color": colour},
            )  # fmt: skip
    numbers = [digit * 10.0**power for power in range(-4, 5) for digit in (1, 2, 3, 4, 6)]
    figure.update_layout(
        xaxis={"title": f"Validation {_milli(tunings[0].error)}", "type": "log",
               "tickvals": numbers},
        yaxis={"title": "Inference time, whole test set (s)", "type": "log", "tickvals": numbers},
        template="simple_white", height=560,
    )  # fmt: skip
    return figure


def _hardware(tuning: Tuning) -> list[str]:
    return sorted({t.user_attrs["hardware"] for t in tuning.trials if "hardware" in t.user_attrs})
