"""The report of an audit: what can be seen in it."""

import csv

import numpy as np
import pytest
from ase import Atoms
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from culi_mlip.datasets.audit import Audit, Finding
from culi_mlip.report import audit as audit_page
from culi_mlip.report.audit import histograms
from culi_mlip.report.figures import ACCENT

SPREADS = {"bulk": 1e-4, "interface": 1.0, "slab": 1e-2}


def finding(kind, energy, force):
    return Finding("s0", kind, "Cu", 1, energy, force, "")


@pytest.mark.parametrize("number", [1, 50])
def test_each_row_can_be_seen_beside_wider_ones(number):
    """Pixels: every row has a bar of several pixels, wherever its values lie."""
    rng = np.random.default_rng(0)
    found = Audit(
        [
            finding(kind, *(spread * rng.normal(size=2)))
            for kind, spread in SPREADS.items()
            for _ in range(number)
        ],
        [],
    )
    figure = histograms(found)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = np.asarray(canvas.buffer_rgba())[::-1, :, :3] / 255
    blue = np.abs(picture - to_rgb(ACCENT)).max(axis=2) < 0.05
    assert len(figure.axes) == 2 * len(SPREADS)
    for axes in figure.axes:
        box = axes.get_window_extent()
        part = blue[int(box.y0) : int(box.y1), int(box.x0) : int(box.x1)]
        assert part.any(axis=0).sum() >= 4, "wide enough"
        assert part.any(axis=1).sum() >= 0.8 * part.shape[0], "and high"


def test_bars_count_what_lies_there():
    """Of a kind with two values, one twice: two bars, one twice as high as the other."""
    values = [("bulk", 0.0, 1.0), ("bulk", 0.0, 1.0), ("bulk", 1.0, 3.0), ("slab", 2.0, 2.0)]
    figure = histograms(Audit([finding(*v) for v in values], []))
    energies = figure.axes[0]
    bars = {
        round(bar.get_x() + bar.get_width() / 2, 1): bar.get_height()
        for bar in energies.patches
        if bar.get_height()
    }
    assert bars == {0.0: 2, 1.0: 1}


def bars_of(axes):
    return {bar.get_x() + bar.get_width() / 2: bar.get_height() for bar in axes.patches}


def test_energies_are_to_the_left_and_forces_to_the_right_of_fit_frames_alone():
    values = [("slab", 0.0, 5.0), ("slab", 2.0, 7.0), ("bulk", 1.0, 6.0), ("", 1.0, 6.0)]
    unfit = Finding("s1", "bulk", "Cu", 1, 90.0, 80.0, "a force is too large")
    figure = histograms(Audit([*(finding(*v) for v in values), unfit], []))
    rows = np.reshape(figure.axes, (3, 2))
    assert [axes.get_ylabel() for axes in rows[:, 0]] == ["all\n(1)", "bulk\n(1)", "slab\n(2)"]
    titles = "energy beyond the elements' (eV/atom)", "largest force component (eV/Å)"
    assert tuple(axes.get_xlabel() for axes in rows[-1]) == titles
    for column, kind, expected in ((0, 2, [0, 2]), (1, 2, [5, 7]), (0, 1, [1]), (1, 1, [6])):
        found = [x for x, height in bars_of(rows[kind, column]).items() if height]
        assert found == pytest.approx(expected, abs=0.06)
    assert len(bars_of(rows[0, 0])) == 40


def test_the_table_and_the_pictures_are_of_the_frames_they_name(tmp_path, monkeypatch):
    """30 frames, every one but the first three unfit: the first 24 of these are drawn."""
    drawn = []
    monkeypatch.setattr(audit_page, "histograms", lambda found: Figure((1, 1)))
    monkeypatch.setattr(
        audit_page,
        "contact_sheet",
        lambda shown, columns: drawn.append((shown, columns)) or Figure((1, 1)),
    )
    reasons = [""] * 3 + ["atoms overlap: 0.5 Å", "energy is <far> off"] * 13 + ["no forces"]
    findings = [Finding(f"s{i}", f"k{i % 2}", f"Cu{i}", i + 1, 0.1 * i, 0.2 * i, reason)
                for i, reason in enumerate(reasons)]  # fmt: skip
    frames = [Atoms("Cu", positions=[[i, 0, 0]]) for i in range(30)]
    page = audit_page.write_audit(Audit(findings, ["of <two> engines"]), frames, tmp_path)
    text = page.read_text()
    assert page == tmp_path / "audit.html"
    ((shown, columns),) = drawn
    assert (len(shown), columns) == (24, 4)
    assert [atoms.positions[0, 0] for _, atoms in shown] == [*range(3, 27)]
    assert shown[1][0] == "4: Cu4\nenergy is <far> off"
    assert "Audit of 30 frames" in text
    for row in (("fit for training", 3), ("atoms overlap", 13), ("energy is &lt;far&gt; off", 13)):
        assert "<tr><td>{}</td><td>{}</td></tr>".format(*row) in text
    assert "<h2>Unfit, the first 24</h2>" in text
    assert "<p class=caution>of &lt;two&gt; engines</p>" in text
    rows = list(csv.DictReader((tmp_path / "audit.csv").open(newline="")))
    assert len(rows) == 30
    assert (rows[4]["kind"], rows[4]["formula"], rows[4]["reason"]) == (
        "k0", "Cu4", "energy is <far> off",
    )  # fmt: skip
    assert (float(rows[4]["energy"]), float(rows[4]["force"])) == pytest.approx((0.4, 0.8))
    audit_page.write_audit(Audit(findings[:5], []), frames, tmp_path)
    assert "<h2>Unfit</h2>" in page.read_text()
