"""What is printed is what was said, whatever signs it holds."""

import io
import json

import click
import numpy as np
import pytest
import rich.progress
from matplotlib.figure import Figure

from culi_mlip import cli, progress
from culi_mlip.cli import console
from culi_mlip.errors import CuliError
from culi_mlip.quantum import Circuit

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


def test_a_log_has_a_line_every_15_seconds_and_at_the_end_with_the_time_left(monkeypatch):
    """2 of 10 in 20 s: 80 s are left; nothing is said twice, nor more often."""
    printed, clock = io.StringIO(), [100.0]
    monkeypatch.setattr(console.err, "_file", printed)
    monkeypatch.setattr(console.err, "_force_terminal", False)
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with console.steps() as step:
        advance = step("Labels")
        for seconds, done in ((14, 1), (20, 2), (34, 3), (36, 4), (60, 4), (61, 10), (80, 10)):
            clock[0] = 100.0 + seconds
            advance(done, 10)
    assert [line.strip() for line in printed.getvalue().splitlines()] == [
        "Labels: 2/10, 80 s left",
        "Labels: 4/10, 54 s left",
        "Labels: 10/10, 0 s left",
    ]


def test_bars_are_as_long_as_what_is_done(monkeypatch):
    bars = []
    monkeypatch.setattr(console.err, "_force_terminal", True)
    monkeypatch.setattr(console.err, "_file", io.StringIO())
    add_task = rich.progress.Progress.add_task

    def record(self, *arguments, **options):
        bars.append(self)
        return add_task(self, *arguments, **options)

    monkeypatch.setattr(rich.progress.Progress, "add_task", record)
    with console.steps() as step:
        first, second = step("one"), step("two")
        first(1, 7)
        first(3, 7)
        second(5, 11)
    found = [(task.description, task.completed, task.total) for task in bars[0].tasks]
    assert found == [("one", 3, 7), ("two", 5, 11)]


def test_columns_of_a_table_but_the_first_end_under_their_titles(printed, monkeypatch):
    monkeypatch.setattr(console.out, "width", 20)
    console.table(["kind", "number of them"], [["a", "1"], ["a long name of a kind", "23"]])
    lines = [line.rstrip() for line in printed().splitlines()]
    assert lines == [
        "kind                   number of them",
        "a                                   1",
        "a long name of a kind              23",
    ]


def test_results_of_a_circuit_are_written_under_one_name(printed, tmp_path):
    figure, circuit = Figure((1, 1)), Circuit(n_qubits=3, depth=2)
    console.write_results(tmp_path, "some", circuit, figure, {"x": np.float64(1.5)})
    content = json.loads((tmp_path / "some.json").read_text())
    assert content["x"] == 1.5
    assert (content["circuit"]["n_qubits"], content["circuit"]["depth"]) == (3, 2)
    assert (tmp_path / "some.png").read_bytes().startswith(b"\x89PNG")
    assert f"Written: {tmp_path}/some.png and some.json" in printed()


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (CuliError("a\n  b"), 2, "Error: a b\n"),
        (click.UsageError("no"), 2, "Error: no\n"),
        (KeyboardInterrupt(), 130, "Interrupted: run the same command again to continue.\n"),
        (click.Abort(), 130, "Interrupted: run the same command again to continue.\n"),
        (None, 0, ""),
    ],
    ids=["ours", "usage", "interrupt", "abort", "well"],
)
def test_how_a_command_ends_is_its_code_and_one_line(monkeypatch, capsys, raised, code, said):
    def ends(*_, **__):
        if raised:
            raise raised

    monkeypatch.setattr(cli.group, "main", ends)
    with pytest.raises(SystemExit) as ended:
        cli.main(["train"])
    assert ended.value.code == code
    assert capsys.readouterr().err == said
    if code == 2:
        with pytest.raises(type(raised)):
            cli.main(["--debug", "train"])


def test_commands_are_listed_in_the_order_of_the_work():
    names = cli.group.list_commands(None)
    assert names[0] == "build-dataset"
    order = ["build-dataset", "train", "optimize", "evaluate", "md", "melt-quench", "quickstart"]
    assert [name for name in names if name in order] == order
    for name in names:
        assert cli.group.get_command(None, name).name == name
    assert cli.group.get_command(None, "none") is None
