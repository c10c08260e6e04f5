"""The report of an audit: what can be seen in it."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb

from culi_mlip.datasets.audit import Audit, Finding
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
