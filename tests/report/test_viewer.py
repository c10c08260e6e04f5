"""The page in three dimensions: which structures, which values, which way is up."""

import json
import re

import numpy as np
import pytest

from culi_mlip.report.viewer import write_viewer
from culi_mlip.structures import bulk, slab

pytest.importorskip("chemiscope")


def test_structures_stand_upright_with_their_own_values(tmp_path):
    base = slab("Cu", (1, 1, 1), thickness=5)
    frames = [base, bulk("Li")]
    values = {"name": ["a </script> slab", "a crystal"], "atoms": [3, 1]}
    before = base.positions.copy()
    page = write_viewer(tmp_path / "so<m>e.html", frames, values)
    np.testing.assert_array_equal(base.positions, before)
    text = page.read_text(encoding="utf-8")
    found = re.search(r'"info": "view-info"\}, (\{.*\})\);</script>', text)
    dataset = json.loads(found.group(1))
    assert dataset["meta"]["name"] == "so<m>e"
    assert "<title>so&lt;m&gt;e</title>" in text
    assert dataset["properties"]["name"]["values"] == values["name"]
    assert dataset["properties"]["atoms"]["values"] == [3, 1]
    shown = dataset["structures"]
    assert [one["names"] for one in shown] == [["Cu"] * len(base), ["Li"]]
    # The page looks along z with y upwards: heights of the slab are heights of the picture.
    heights = np.array(shown[0]["y"])
    assert np.argsort(heights).tolist() == np.argsort(base.positions[:, 2]).tolist()
    assert np.ptp(heights) > 0.9 * np.ptp(base.positions[:, 2])
    assert shown[0]["x"] == pytest.approx(base.positions[:, 0])
    cell = np.reshape(shown[0]["cell"], (3, 3))
    assert cell[2, 1] == pytest.approx(base.cell[2, 2] * np.sin(np.radians(80)))
    assert text.count("</script>") == 2, "no other end of a script"
