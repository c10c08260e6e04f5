"""One page about finished folders of any kind: datasets, trainings, tunings, runs, scorecards."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from culi_mlip.datasets.card import Card
from culi_mlip.dynamics import energy_drift
from culi_mlip.dynamics.analysis import height_profile
from culi_mlip.errors import CuliError
from culi_mlip.files import read_frames, write_text
from culi_mlip.models.files import ModelRecord
from culi_mlip.models.training import learning_curve
from culi_mlip.progress import Progress, no_progress
from culi_mlip.properties.scorecard import read_scorecard
from culi_mlip.report import figures, scorecard, tuning, viewer
from culi_mlip.report.html import (
    Html,
    document,
    heading,
    image,
    paragraph,
    picture,
    side_by_side,
    table,
    tiles,
)
from culi_mlip.report.page import dataset_table, log_columns, quickstart_sections
from culi_mlip.report.sheet import titles
from culi_mlip.runs import RunRecord, read_run
from culi_mlip.tuning.tune import front_times, load_tuning

MOST_IN_3D = 60
"""Of a folder, that are shown in three dimensions."""


def write_overview(
    folders: Sequence[str | os.PathLike[str]],
    page: str | os.PathLike[str],
    *,
    in_3d: bool = True,
    progress: Progress = no_progress,
) -> Path:
    """Write one self-contained page about finished folders.

    Parameters
    ----------
    folders
        Of ``build-dataset``, ``train``, ``optimize``, ``md``, ``melt-quench``, ``relax``,
        ``properties``, ``scorecard`` or ``quickstart``.
    page
        The HTML file.
    in_3d
        Show structures that turn, which needs chemiscope and makes the page 3 MB larger.
    progress
        Called with (folders read, folders in all).

    Raises
    ------
    CuliError
        If a folder holds nothing that can be shown, or is not finished, or chemiscope is missing.
    """
    chosen = [Path(folder) for folder in folders]
    parts: list[Html] = []
    frames: list[tuple[str, list[Atoms]]] = []
    for i, folder in enumerate(chosen):
        found, structures = _sections(folder)
        parts += found
        if structures:
            frames.append((str(folder), structures))
        progress(i + 1, len(chosen))
    if in_3d and frames:
        parts += [heading("Structures"), viewer.library()]
        for i, (name, structures) in enumerate(frames):
            parts += [heading(name, 3), *_view(structures, name, f"view{i}")]
    title = ", ".join(folder.resolve().name for folder in chosen)
    write_text(page, document(title, parts))
    return Path(page)


_Found = tuple[list[Html], list[Atoms]]


def _sections(folder: Path) -> _Found:
    """What there is to say of a folder, and its structures."""
    if (folder / "study.json").is_file():
        found = load_tuning(folder)
        return tuning.sections([found], [front_times(found)]), []
    record = read_run(folder)
    if record is None:
        return _properties(folder)
    if record.status != "done":
        why = f" ({record.reason})" if record.reason else ""
        raise CuliError(
            f"{folder}: its {record.command} is not finished{why}; run the same command again"
        )
    if record.command not in _KINDS:
        raise CuliError(f"{folder}: nothing is known here of a {record.command}: give another")
    return _KINDS[record.command](folder, record)


def _dataset(folder: Path, record: RunRecord) -> _Found:
    card = Card.read(folder / "card.json")
    frames = [
        atoms
        for part in ("train", "val", "test")
        if (folder / f"{part}.extxyz").exists()
        for atoms in read_frames(folder / f"{part}.extxyz")
    ]
    shown = _some(frames, 24)
    counts = {part: str(n) for part, n in card.frames.items()}
    return [
        heading(f"Dataset {folder}", 1),
        *([paragraph(f"Caution: {card.caution}.", "caution")] if card.caution else []),
        paragraph(f"Labels: {card.engine_title}. Split by {card.split_by}."),
        tiles(counts | {"RMS force component (eV/Å)": f"{card.force_rms:.3f}"}),
        dataset_table(card),
        *map(paragraph, (*card.split_missed, *card.notes)),
        image(
            figures.contact_sheet(list(zip(titles(shown, folder), shown, strict=True))),
            f"{len(shown)} of {len(frames)} structures, from the side and from above.",
        ),
    ], _some(frames, MOST_IN_3D)


def _training(folder: Path, record: RunRecord) -> _Found:
    model = ModelRecord.read(folder / "model.json")
    errors = model.validation
    values = {"energy MAE": f"{1000 * errors.energy_mae_per_atom:.2f} meV/atom"}
    if errors.force_mae is not None:
        values["force MAE"] = f"{1000 * errors.force_mae:.1f} meV/Å"
    values |= {"training frames": str(model.train_frames), "best epoch": str(model.best_epoch + 1)}
    settings = model.settings.model_dump(mode="json")
    rows = [[name, value] for name, value in settings.items() if not isinstance(value, dict)]
    knows = (folder / "uncertainty.json").is_file()
    return [
        heading(f"Training {folder}: {model.variant}", 1),
        *([paragraph(f"Caution: {model.caution}.", "caution")] if model.caution else []),
        paragraph(
            "Errors are those of the best epoch on validation frames. The potential "
            + ("tells" if knows else "does not tell")
            + " its uncertainty."
        ),
        tiles(values),
        image(figures.learning_curve(learning_curve(folder)), "Validation errors by epoch."),
        heading("Settings"),
        table(["setting", "value"], rows),
    ], []


def _dynamics(folder: Path, record: RunRecord) -> _Found:
    frames, log = read_frames(folder / "trajectory.extxyz"), log_columns(folder / "log.csv")
    half = {name: column[len(column) // 2 :] for name, column in log.items()}
    is_md = record.command == "md"
    target = record.inputs["temperature_K"] if record.inputs.get("ensemble") == "nvt" else None
    last, n = frames[-1], len(frames[0])
    symbols = sorted(set(last.symbols))
    # What the energy does once the run has found its temperature; a thermostat's heat is taken out.
    slope = (
        energy_drift(half["time_ps"], half["conserved_eV"], n) if len(half["time_ps"]) > 1 else 0
    )
    drift = f"{1000 * slope:+.3f}"
    parts = [
        heading(f"{'Molecular dynamics' if is_md else 'Melt-quench'} {folder}", 1),
        tiles(
            {
                "atoms": str(n),
                "time (ps)": f"{log['time_ps'][-1]:g}",
                "mean temperature, second half (K)": f"{half['temperature_K'].mean():.0f}",
            }
            | ({"drift (meV/atom/ps)": drift} if is_md else {})
        ),
        paragraph(f"{last.get_chemical_formula()}; " + _described(record.inputs)),
        image(
            figures.snapshots({"first frame": frames[0], "last frame": last}),
            "From the side and from above.",
        ),
        image(figures.md_series(log, target, n, ""), "Temperature and energies."),
    ]
    if not last.pbc[2]:
        profiles = {symbol: height_profile(frames, symbol) for symbol in symbols}
        parts.append(image(figures.heights(profiles), "Where the atoms were."))
    return parts, _some(frames, MOST_IN_3D)


def _relaxations(folder: Path, record: RunRecord) -> _Found:
    with (folder / "relaxed.csv").open(newline="", encoding="utf-8") as lines:
        header, *rows = list(csv.reader(lines))
    converged = sum(row[header.index("converged")] == "True" for row in rows)
    frames = read_frames(folder / "relaxed.extxyz")
    return [
        heading(f"Relaxations {folder}", 1),
        tiles({"structures": str(len(rows)), "converged": str(converged)}),
        table([name.replace("_", " ") for name in header], rows, "remarks"),
    ], _some(frames, MOST_IN_3D)


def _scorecard(folder: Path, record: RunRecord) -> _Found:
    return scorecard.sections(*read_scorecard(folder)), []


def _quickstart(folder: Path, record: RunRecord) -> _Found:
    return quickstart_sections(folder), read_frames(folder / "md/nvt/trajectory.extxyz")[::5]


def _properties(folder: Path) -> _Found:
    """The figures that culi-mlip properties has written."""
    drawn = [file for file in sorted(folder.glob("*.png")) if file.with_suffix(".json").is_file()]
    if not drawn:
        raise CuliError(f"{folder} holds nothing finished: give the folder of a run, or a dataset")
    shown = [picture(file.read_bytes(), file.stem) for file in drawn]
    pairs = [side_by_side(*shown[i : i + 2]) for i in range(0, len(shown), 2)]
    frames = [f for file in sorted(folder.glob("*.extxyz")) for f in read_frames(file)]
    return [heading(f"Properties {folder}", 1), *pairs], _some(frames, MOST_IN_3D)


_KINDS: dict[str, Callable[[Path, RunRecord], _Found]] = {
    "build-dataset": _dataset,
    "train": _training,
    "md": _dynamics,
    "melt-quench": _dynamics,
    "relax": _relaxations,
    "scorecard": _scorecard,
    "quickstart": _quickstart,
}


_TOLD = {"ensemble": "{}", "temperature_K": "{:g} K", "hold": "melted at {:g} K",
         "rate": "cooled at {:g} K/ps", "timestep_fs": "time step {:g} fs",
         "timestep": "time step {:g} fs", "seed": "seed {}", "model": "model {}"}  # fmt: skip
"""What is said of the inputs of a run, by their names in its record."""


def _described(inputs: Mapping[str, Any]) -> str:
    known = [text.format(inputs[name]) for name, text in _TOLD.items() if inputs.get(name)]
    return ", ".join(known) + "."


def _view(frames: Sequence[Atoms], name: str, key: str) -> list[Html]:
    """Structures that turn, with what is known of each."""
    values: dict[str, Sequence[Any]] = {"atoms": [len(atoms) for atoms in frames]}
    for known in ("time_ps", "kind"):
        if all(known in atoms.info for atoms in frames):
            values[known] = [atoms.info[known] for atoms in frames]
    is_small = max(len(atoms) for atoms in frames) <= 30
    return viewer.view(frames, values, name, key, supercell=(3, 3, 1) if is_small else (1, 1, 1))


def _some(frames: Sequence[Atoms], most: int) -> list[Atoms]:
    """At most so many, evenly chosen."""
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(most, len(frames))).round().astype(int))
    return [frames[i] for i in chosen]
