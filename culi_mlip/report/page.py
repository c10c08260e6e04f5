"""One self-contained HTML page about a quickstart folder."""

from __future__ import annotations

import base64
import html
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import units
from matplotlib.figure import Figure

from culi_mlip.datasets.split import MEANING
from culi_mlip.files import read_frames, read_json, write_bytes, write_text
from culi_mlip.report import figures

STYLE = """
body { font: 16px/1.55 system-ui, sans-serif; color: #222; max-width: 60rem; margin: 2rem auto;
       padding: 0 1rem; }
h1 { font-size: 1.7rem; margin-bottom: .3rem } h2 { font-size: 1.2rem; margin-top: 2.2rem }
.caution { background: #fff3d6; border-left: 4px solid #d99a00; padding: .6rem 1rem }
.tiles { display: flex; gap: 1rem; flex-wrap: wrap; margin: 1.2rem 0 }
.tile { background: #f3f5f6; border-radius: .4rem; padding: .7rem 1.1rem; flex: 1 }
.tile b { display: block; font-size: 1.35rem }
table { border-collapse: collapse; margin: .8rem 0 }
td, th { padding: .25rem .9rem; text-align: right; border-bottom: 1px solid #e4e4e4 }
td:first-child, th:first-child { text-align: left }
img { max-width: 100%; height: auto } figure { margin: 1rem 0 }
figcaption { color: #666; font-size: .9rem }
pre { background: #f3f5f6; padding: .8rem 1rem; overflow-x: auto } .pair { display: flex; gap: 1rem;
       flex-wrap: wrap } .pair figure { flex: 1; min-width: 20rem }
"""


def write_page(folder: str | os.PathLike[str]) -> Path:
    """Write ``report.html`` and its figures as PNG into a quickstart folder.

    Parameters
    ----------
    folder
        Holds ``data/card.json``, ``run/model.json``, ``run/learning_curve.json``,
        ``evaluation/``, ``md/nvt`` and ``md/nve``.

    Returns
    -------
    Path
        The page; it needs no other file.
    """
    root = Path(folder)
    card, model = read_json(root / "data/card.json"), read_json(root / "run/model.json")
    evaluation, md = read_json(root / "evaluation/errors.json"), read_json(root / "md/summary.json")
    drawn = _figures(root, md)
    for name, figure in drawn.items():
        write_bytes(root / "figures" / f"{name}.png", figures.png(figure))
    whole, split, variant = evaluation[-1], card["split_by"], str(model["variant"])
    sections = [
        f"<h1>Lithium on copper: {html.escape(_NAMES.get(variant, variant))}, end to end</h1>",
        f"<p>{sum(card['frames'].values())} structures of Cu, Li and Li on Cu were built and "
        f"labelled, a potential was trained on {card['frames']['train']} of them, tested on "
        f"{card['frames']['test']} others, and used for molecular dynamics.</p>",
        f"<p class=caution>Caution: {html.escape(card['caution'])}. Errors below are against that "
        "engine, not against DFT or experiment.</p>"
        if card["caution"]
        else "",
        _tiles(
            {
                f"force MAE by {split}": _thousandths(whole["force_mae"], " meV/Å"),
                f"energy MAE by {split}": f"{1000 * whole['energy_mae']:.1f} meV/atom",
                "energy drift, NVE": f"{1000 * md['nve_drift']:+.2f} meV/atom/ps",
                "atoms lost in the MD": str(len(md["lost_atoms"])),
            }
        ),
        "<h2>How good is the potential?</h2>",
        f"<p>The split is by {split}: {html.escape(MEANING[split])}.</p>",
        image(drawn["parity"], f"Predictions against the reference on test frames, by {split}."),
        _errors_table(evaluation),
        image(drawn["learning_curve"], "Validation errors during training."),
        "<h2>What it was trained on</h2>",
        _dataset_table(card),
        *(f"<p>{html.escape(sentence)}</p>" for sentence in card["split_missed"]),
        _reference_line(card),
        "<h2>Lithium on Cu(100) in motion</h2>",
        image(
            drawn["snapshots"],
            f"First and last frame of {md['nvt_time_ps']:g} ps at {md['temperature_K']:g} K: "
            "from the side and from above (Cu copper, Li violet).",
        ),
        "<div class=pair>",
        image(drawn["nvt"], "Thermostatted run."),
        image(drawn["nve"], "Run without thermostat: the conserved energy shows the drift."),
        "</div>",
        image(drawn["heights"], "Where the atoms were, averaged over the thermostatted run."),
        "<h2>What next</h2>",
        _next_steps(root.resolve().name),
    ]
    page = root / "report.html"
    write_text(
        page,
        "<!doctype html><html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width'><title>Lithium on copper</title>"
        f"<style>{STYLE}</style><body>{''.join(sections)}</body></html>\n",
    )
    return page


_NAMES = {"allegro": "Allegro", "mlp": "Allegro+MLP", "qdi": "Allegro+QDI"}


def _figures(root: Path, md: Mapping[str, Any]) -> dict[str, Figure]:
    pairs = np.load(root / "evaluation/pairs.npz")
    frames = read_frames(root / "md/nvt/trajectory.extxyz")
    logs = {name: _columns(root / f"md/{name}/log.csv") for name in ("nvt", "nve")}
    return {
        "parity": figures.parity(pairs["energies"], pairs["forces"], pairs["stresses"]),
        "learning_curve": figures.learning_curve(read_json(root / "run/learning_curve.json")),
        "snapshots": figures.snapshots(
            {"start": frames[0], f"after {md['nvt_time_ps']:g} ps": frames[-1]}
        ),
        "nvt": figures.md_series(logs["nvt"], md["temperature_K"], len(frames[0]), "NVT"),
        "nve": figures.md_series(logs["nve"], None, len(frames[0]), "NVE"),
        "heights": figures.heights(
            {
                symbol: (np.array(profile["height"]), np.array(profile["density"]))
                for symbol, profile in md["heights"].items()
            }
        ),
    }


def _columns(path: Path) -> dict[str, Any]:
    table = np.genfromtxt(path, delimiter=",", names=True)
    return {name: np.atleast_1d(table[name]) for name in table.dtype.names or ()}


def image(figure: Figure, caption: str) -> str:
    """Return a figure in HTML, its picture within."""
    data = base64.b64encode(figures.png(figure)).decode()
    text = html.escape(caption)
    return (
        f"<figure><img alt='{text}' src='data:image/png;base64,{data}'>"
        f"<figcaption>{text}</figcaption></figure>"
    )


def _tiles(values: Mapping[str, str]) -> str:
    tiles = "".join(f"<div class=tile><b>{v}</b>{k}</div>" for k, v in values.items())
    return f"<div class=tiles>{tiles}</div>"


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a table in HTML."""
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _errors_table(errors: Sequence[Mapping[str, Any]]) -> str:
    return table(
        ["kind", "frames", "energy MAE (meV/atom)", "force MAE (meV/Å)", "stress MAE (GPa)"],
        [
            [
                row["kind"],
                row["frames"],
                f"{1000 * row['energy_mae']:.1f}",
                _thousandths(row["force_mae"]),
                "–" if row["stress_mae"] is None else f"{row['stress_mae'] / units.GPa:.2f}",
            ]
            for row in errors
        ],
    )


def _thousandths(value: float | None, unit: str = "") -> str:
    return "–" if value is None else f"{1000 * value:.1f}{unit}"


def _dataset_table(card: Mapping[str, Any]) -> str:
    rows = [[kind, *counts.values()] for kind, counts in card["frames_by_kind"].items()]
    return table(
        ["kind", "training", "validation", "test"], [*rows, ["all", *card["frames"].values()]]
    )


def _reference_line(card: Mapping[str, Any]) -> str:
    energies = ", ".join(f"{s} {e:.3f} eV" for s, e in card["reference_energies"].items())
    return f"<p>Reference energies fitted before training: {html.escape(energies)} an atom.</p>"


def _next_steps(name: str) -> str:
    text, word = html.escape(name), html.escape(shlex.quote(name))
    return f"""<p>The potential is an ASE calculator:</p>
<pre>from culi_mlip.calculator import HybridAllegro
atoms.calc = HybridAllegro("{text}/run")
atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()</pre>
<p>Compare the three variants on the same data, or run a longer trajectory:</p>
<pre>culi-mlip train {word}/data --variant mlp --out run-mlp
culi-mlip evaluate run-mlp {word}/data/test.extxyz
culi-mlip md {word}/li_on_cu100.extxyz --model {word}/run --temperature 400 --time 10 --out md</pre>
<p>For research, replace the stand-in engine by DFT: copy workflows/quickstart.yaml, enlarge it,
choose the engine, and run culi-mlip build-dataset. Trajectories (extended XYZ) open in OVITO and
in the ASE GUI; logs are CSV.</p>"""
