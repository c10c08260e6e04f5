"""The report of an audit: histograms by kind, and pictures of what is unfit."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from ase import Atoms
from matplotlib.figure import Figure

from culi_mlip.datasets import open_store
from culi_mlip.datasets.audit import Audit, AuditSettings, Finding, audit
from culi_mlip.datasets.export import audit_settings_of
from culi_mlip.datasets.frames import LabelKeys, labelled_frames, unread_labels
from culi_mlip.files import write_text
from culi_mlip.report.figures import ACCENT, INK, contact_sheet
from culi_mlip.report.html import document, heading, image, paragraph, table

MOST_PICTURES = 24
BINS = 40
_ENERGY, _FORCE = (Finding._fields.index(name) for name in ("energy", "force"))


def report_audit(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    settings: AuditSettings | None = None,
    keys: LabelKeys | None = None,
) -> tuple[Audit, Path]:
    """Audit a dataset or a structure file, and write the page ``audit.html`` and ``audit.csv``.

    The labelled frames of a dataset's folder are read one at a time. Thresholds are by default
    those that a dataset was split with; keys are names of a file's labels.

    Raises
    ------
    DatasetError
        If the source has no labelled frame, or no frame has what `keys` names.
    StructureError
        If a file cannot be read.
    """
    is_dataset = Path(source).is_dir()
    read = [] if is_dataset else labelled_frames(source, keys)
    if settings is None and is_dataset:
        settings = audit_settings_of(source)

    def frames() -> Iterable[Atoms]:
        return open_store(source).frames() if is_dataset else read

    found = audit(frames(), settings)
    if hint := unread_labels(read, keys):
        found.notes.append(f"{source}: {hint}.")
    return found, write_audit(found, frames(), out)


def write_audit(found: Audit, frames: Iterable[Atoms], out: str | os.PathLike[str]) -> Path:
    """Write ``audit.html`` and ``audit.csv``, of frames that are read once; return the page."""
    folder = Path(out)
    shown: list[tuple[str, Atoms]] = []
    for i, atoms in enumerate(frames):
        if i in found.dropped and len(shown) < MOST_PICTURES:
            shown.append((f"{i}: {found.findings[i].formula}\n{found.dropped[i]}", atoms))
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([*Finding._fields])
    writer.writerows(found.findings)
    write_text(folder / "audit.csv", text.getvalue())
    page = folder / "audit.html"
    write_text(page, _page(found, shown))
    return page


def histograms(found: Audit) -> Figure:
    """Return histograms of energies and largest forces of each kind of structure.

    All kinds have the same bins, so that the bars of each can be seen beside the others'.
    """
    kinds = sorted({finding.kind for finding in found.findings})
    figure = Figure(figsize=(9, 1.1 + 1.3 * len(kinds)), layout="constrained")
    grid = figure.subplots(len(kinds), 2, squeeze=False, sharex="col")
    fit = [f for f in found.findings if not f.reason]
    bins = [np.histogram_bin_edges([f[at] for f in fit], BINS) for at in (_ENERGY, _FORCE)]
    for row, kind in zip(grid, kinds, strict=True):
        members = [f for f in fit if f.kind == kind]
        for axes, edges, at in zip(row, bins, (_ENERGY, _FORCE), strict=True):
            axes.hist([f[at] for f in members], bins=edges, color=ACCENT)
            axes.set_yticks([])
        row[0].set_ylabel(f"{kind or 'all'}\n({len(members)})", color=INK, rotation=0, ha="right")
    grid[-1][0].set_xlabel("energy beyond the elements' (eV/atom)")
    grid[-1][1].set_xlabel("largest force component (eV/Å)")
    return figure


def _page(found: Audit, shown: list[tuple[str, Atoms]]) -> str:
    reasons = [["fit for training", len(found.kept)], *map(list, found.reasons.items())]
    sections = [
        heading(f"Audit of {len(found.findings)} frames", 1),
        table(["", "frames"], reasons),
        *(paragraph(note, "caution") for note in found.notes),
        image(histograms(found), "Frames that are fit, by kind."),
    ]
    if shown:
        sections.append(heading(f"Unfit{f', the first {len(shown)}' * (len(shown) > 23)}"))
        sections.append(image(contact_sheet(shown, columns=4), "From the side and from above."))
    return document("Audit", sections)
