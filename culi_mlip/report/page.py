"""Self-contained HTML pages about a quickstart folder, and about a model's errors."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import units
from matplotlib.figure import Figure

from culi_mlip.datasets.card import Card
from culi_mlip.datasets.split import MEANING
from culi_mlip.dynamics.analysis import MDSummary
from culi_mlip.files import read_frames, read_json, write_bytes, write_text
from culi_mlip.models.evaluation import Errors, ErrorsRecord, Evaluation
from culi_mlip.models.files import ModelRecord
from culi_mlip.report import figures, html
from culi_mlip.report.html import Html, heading, image, paragraph


def evaluation_page(evaluation: Evaluation, model: str, frames: str) -> str:
    """Return a self-contained page about a model's errors on labelled frames.

    Parameters
    ----------
    evaluation
        The errors.
    model, frames
        What was evaluated on what.
    """
    return html.document(
        f"Errors of {model}",
        [
            heading(f"Errors of {model}", 1),
            paragraph(f"On the {evaluation.errors[-1].frames} frames of {frames}."),
            errors_table(evaluation.errors),
            image(
                figures.parity(evaluation.energies, evaluation.forces, evaluation.stresses),
                "Predictions against the reference.",
            ),
            *_calibration(evaluation),
        ],
    )


def _calibration(evaluation: Evaluation) -> list[Html]:
    """What the model expects of its own errors, if it does."""
    correlation, outside = evaluation.rank_correlation, evaluation.outside
    if correlation is None:
        return []
    found = [
        heading("Does the model know its errors?"),
        image(
            figures.calibration(evaluation.force_errors),
            "Force errors that the model expects of itself, beside those that it has.",
        ),
        paragraph(f"Spearman's correlation of the two, by atom: {correlation:.2f}."),
    ]
    if outside:
        unlike = f"{sum(outside)} of {len(outside)} frames hold atoms unlike those of the training."
        found.append(paragraph(unlike))
    return found


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
    drawn = _figures(root, MDSummary.read(root / "md/summary.json"))
    for name, figure in drawn.items():
        write_bytes(root / "figures" / f"{name}.png", figures.png(figure))
    page = root / "report.html"
    write_text(page, html.document("Lithium on copper", quickstart_sections(root, drawn)))
    return page


def quickstart_sections(root: Path, drawn: Mapping[str, Figure] | None = None) -> list[Html]:
    """Return the parts of the page about a quickstart folder; see `write_page`."""
    card, model = Card.read(root / "data/card.json"), ModelRecord.read(root / "run/model.json")
    errors = ErrorsRecord.read(root / "evaluation/errors.json").errors
    md = MDSummary.read(root / "md/summary.json")
    return _sections(root, card, model.variant, errors, md, drawn or _figures(root, md))


_NAMES = {"allegro": "Allegro", "mlp": "Allegro+MLP", "qdi": "Allegro+QDI"}


def _sections(
    root: Path,
    card: Card,
    variant: str,
    errors: Sequence[Errors],
    md: MDSummary,
    drawn: Mapping[str, Figure],
) -> list[Html]:
    whole, split = errors[-1], card.split_by
    caution = (
        f"Caution: {card.caution}. Errors below are against that engine, not against DFT or "
        "experiment."
    )
    return [
        heading(f"Lithium on copper: {_NAMES.get(variant, variant)}, end to end", 1),
        paragraph(
            f"{sum(card.frames.values())} structures of Cu, Li and Li on Cu were built and "
            f"labelled, a potential was trained on {card.frames['train']} of them, tested on "
            f"{card.frames['test']} others, and used for molecular dynamics."
        ),
        *([paragraph(caution, "caution")] if card.caution else []),
        html.tiles(
            {
                f"force MAE by {split}": _thousandths(whole.force_mae, " meV/Å"),
                f"energy MAE by {split}": f"{1000 * whole.energy_mae:.1f} meV/atom",
                "energy drift, NVE": f"{1000 * md.nve_drift:+.2f} meV/atom/ps",
                "atoms lost in the MD": str(len(md.lost_atoms)),
            }
        ),
        heading("How good is the potential?"),
        paragraph(f"The split is by {split}: {MEANING[split]}."),
        image(drawn["parity"], f"Predictions against the reference on test frames, by {split}."),
        errors_table(errors),
        *(
            [image(drawn["calibration"], "Force errors that the model expects of itself.")]
            if "calibration" in drawn
            else []
        ),
        image(drawn["learning_curve"], "Validation errors during training."),
        heading("What it was trained on"),
        dataset_table(card),
        *map(paragraph, card.split_missed),
        paragraph(
            "Reference energies fitted before training: "
            + ", ".join(f"{s} {e:.3f} eV" for s, e in card.reference_energies.items())
            + " an atom."
        ),
        heading("Lithium on Cu(100) in motion"),
        image(
            drawn["snapshots"],
            f"First and last frame of {md.nvt_time_ps:g} ps at {md.temperature_K:g} K: "
            "from the side and from above (Cu copper, Li violet).",
        ),
        html.side_by_side(
            image(drawn["nvt"], "Thermostatted run."),
            image(drawn["nve"], "Run without thermostat: the conserved energy shows the drift."),
        ),
        image(drawn["heights"], "Where the atoms were, averaged over the thermostatted run."),
        heading("What next"),
        *_next_steps(root.resolve().name),
    ]


def _figures(root: Path, md: MDSummary) -> dict[str, Figure]:
    pairs = np.load(root / "evaluation/pairs.npz")
    frames = read_frames(root / "md/nvt/trajectory.extxyz")
    logs = {name: log_columns(root / f"md/{name}/log.csv") for name in ("nvt", "nve")}
    expects = "force_errors" in pairs and len(pairs["force_errors"])  # not in older folders
    return {
        "parity": figures.parity(pairs["energies"], pairs["forces"], pairs["stresses"]),
        **({"calibration": figures.calibration(pairs["force_errors"])} if expects else {}),
        "learning_curve": figures.learning_curve(read_json(root / "run/learning_curve.json")),
        "snapshots": figures.snapshots(
            {"start": frames[0], f"after {md.nvt_time_ps:g} ps": frames[-1]}
        ),
        "nvt": figures.md_series(logs["nvt"], md.temperature_K, len(frames[0]), "NVT"),
        "nve": figures.md_series(logs["nve"], None, len(frames[0]), "NVE"),
        "heights": figures.heights(
            {
                symbol: (np.array(profile.height), np.array(profile.density))
                for symbol, profile in md.heights.items()
            }
        ),
    }


def log_columns(path: Path) -> dict[str, Any]:
    """Return the columns of a run's log by name."""
    table = np.genfromtxt(path, delimiter=",", names=True)
    return {name: np.atleast_1d(table[name]) for name in table.dtype.names or ()}


def errors_table(errors: Sequence[Errors]) -> Html:
    """Return a table of errors by kind of structure."""
    return html.table(
        ["kind", "frames", "energy MAE (meV/atom)", "force MAE (meV/Å)", "stress MAE (GPa)"],
        [
            [
                row.kind,
                row.frames,
                f"{1000 * row.energy_mae:.1f}",
                _thousandths(row.force_mae),
                "–" if row.stress_mae is None else f"{row.stress_mae / units.GPa:.2f}",
            ]
            for row in errors
        ],
    )


def _thousandths(value: float | None, unit: str = "") -> str:
    return "–" if value is None else f"{1000 * value:.1f}{unit}"


def dataset_table(card: Card) -> Html:
    """Return a table of frames by kind of structure and part."""
    rows = [[kind, *counts.values()] for kind, counts in card.frames_by_kind.items()]
    return html.table(
        ["kind", "training", "validation", "test"], [*rows, ["all", *card.frames.values()]]
    )


def _next_steps(name: str) -> list[Html]:
    word = shlex.quote(name)
    return [
        paragraph("The potential is an ASE calculator:"),
        html.code(f"""from culi_mlip.calculator import HybridAllegro
atoms.calc = HybridAllegro("{name}/run")
atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()"""),
        paragraph("Compare the three variants on the same data, or run a longer trajectory:"),
        html.code(f"""culi-mlip train {word}/data --variant mlp --out run-mlp
culi-mlip evaluate run-mlp {word}/data/test.extxyz
culi-mlip md {word}/li_on_cu100.extxyz --model {word}/run --temperature 400 --time 10 --out md"""),
        paragraph(
            "For research, replace the stand-in engine by DFT: copy workflows/quickstart.yaml, "
            "enlarge it, choose the engine, and run culi-mlip build-dataset. Trajectories "
            "(extended XYZ) open in OVITO and in the ASE GUI; logs are CSV."
        ),
    ]
