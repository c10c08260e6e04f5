"""Progress bars with the time left, tables and written results, in a terminal or in a log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from culi_mlip.progress import Step, bars

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


def steps() -> AbstractContextManager[Step]:
    """Give a function that starts a progress bar by name; see `culi_mlip.progress.bars`."""
    return bars(err)


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
