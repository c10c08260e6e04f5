"""Sheets of structures: which are drawn, under which titles."""

import ase.io
import pytest

from culi_mlip.errors import OutputError
from culi_mlip.report.sheet import show_structures, titles
from culi_mlip.structures import bulk


def test_two_structures_of_one_title_are_told_apart_by_their_ids(tmp_path):
    atoms = [bulk("Cu", a=a) for a in (3.5, 3.6, 3.7)] + [bulk("Li")]
    for frame in atoms:
        frame.info["kind"] = "imported"
    for same in (2, 3):
        found = titles([*atoms[:same], atoms[3]], tmp_path / "frames.xyz")
        assert len(set(found)) == same + 1
        assert [len(title.split(", ")) - 2 for title in found] == [1] * same + [0]


def test_a_twin_is_counted_and_not_drawn(tmp_path):
    cells = [bulk("Cu", a=a) for a in (3.5, 3.6, 3.7)]
    ase.io.write(tmp_path / "some.extxyz", [*cells, cells[1]], format="extxyz")
    shown = show_structures(tmp_path / "some.extxyz", most=2)
    assert (shown.drawn, shown.distinct, shown.repeats, shown.page) == (2, 3, 1, None)
    assert shown.sheet == tmp_path / "some_structures.png"
    assert shown.sheet.read_bytes().startswith(b"\x89PNG")


def test_a_sheet_is_a_png(tmp_path):
    with pytest.raises(OutputError, match=r"give a file that ends in \.png"):
        show_structures(tmp_path, tmp_path / "sheet.pdf")
