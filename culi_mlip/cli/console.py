"""Progress bars with the time left, tables and written results, in a terminal or in a log."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.table import Table

from culi_mlip.progress import Progress, Step

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from culi_mlip.quantum import Circuit

_PLAIN: dict[str, Any] = {  # paths and reasons hold brackets and colons that mean nothing
    "markup": False,
    "emoji": False,
    "highlight": False,
    "soft_wrap": True,
}
out = Console(**_PLAIN)
err = Console(stderr=True, **_PLAIN)


@contextmanager
def steps() -> Iterator[Step]:
    """Give a function that starts a progress bar by name and returns what advances it.

    Where standard error is no terminal, a line a step every 15 seconds replaces the bars.
    """
    if not err.is_terminal:
        yield _log_step
        return
    columns = (
        TextColumn("    {task.description:<26}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=err) as bars:

        def step(name: str) -> Progress:
            task = bars.add_task(name, total=None)

            def advance(done: int, total: int) -> None:
                bars.update(task, completed=done, total=total)

            return advance

        yield step


def say(text: str) -> None:
    """Print what happens, above the progress bars."""
    err.print(text)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; the first column is left-aligned."""
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for i, name in enumerate(header):
        grid.add_column(name, justify="left" if i == 0 else "right", no_wrap=True)
    for row in rows:
        grid.add_row(*row)
    # A name cut short is worse than a line that the terminal wraps.
    needed = Measurement.get(out, out.options.update(max_width=1000), grid).maximum
    out.width = max(out.width, needed)
    out.print(grid)


def write_results(
    folder: Path, name: str, circuit: Circuit, figure: Figure, values: Mapping[str, Any]
) -> None:
    """Write the figure and the numbers of a circuit's analysis, and say where."""
    from culi_mlip.files import write_bytes, write_json
    from culi_mlip.report.figures import png

    write_bytes(folder / f"{name}.png", png(figure))
    write_json(folder / f"{name}.json", {"circuit": asdict(circuit), **values})
    out.print(f"Written: {folder / name}.png and {name}.json")


def compare_with_paper(circuit: Circuit, title: str, rows: Sequence[Sequence[str]]) -> None:
    """Print a table of our numbers, and beside the paper's circuit the paper's."""
    from culi_mlip.quantum import Circuit

    columns = 3 if circuit == Circuit() else 2
    table([title, "ours", "paper"][:columns], [row[:columns] for row in rows])


def _log_step(name: str) -> Progress:
    started = last = time.monotonic()
    reported = 0

    def advance(done: int, total: int) -> None:
        nonlocal last, reported
        now = time.monotonic()
        if done > reported and (now - last >= 15 or done == total):
            last, reported = now, done
            left = (now - started) * (total - done) / done
            say(f"    {name}: {done}/{total}, {left:.0f} s left")

    return advance
