"""What is printed is what was said, whatever signs it holds."""

import io

import pytest

from culi_mlip.cli import console

ODD = "data[red]/a[/b] :fire: [1]"


@pytest.fixture
def printed(monkeypatch):
    """What goes to standard output."""
    stream = io.StringIO()
    monkeypatch.setattr(console.out, "_file", stream)
    return stream.getvalue


def test_brackets_and_colons_in_paths_and_tables_are_printed(printed):
    console.out.print(f"Written: {ODD}/x.png")
    console.table(["kind", "of [b]"], [[ODD, "1"]])
    assert f"Written: {ODD}/x.png" in printed()
    assert "of [b]" in printed().splitlines()[1]
    assert printed().splitlines()[2].startswith(ODD)


def test_brackets_and_colons_in_what_happens(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(console.err, "_file", stream)
    console.say(ODD)
    monkeypatch.setattr(console.err, "_force_terminal", True)
    with console.steps() as step:
        step(ODD)(1, 2)
    assert stream.getvalue().count(ODD) >= 2
