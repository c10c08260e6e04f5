"""How a long job tells how far it has come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

Progress = Callable[[int, int], None]
"""Called with (done, total) as a long job advances."""

Step = Callable[[str], Progress]
"""Called with the name of each long step of a job; returns what is called as the step advances."""


def no_progress(done: int, total: int) -> None:
    """Tell nobody."""


@contextmanager
def bars(console: Console | None = None) -> Iterator[Step]:
    """Give a function that starts a progress bar by name and returns what advances it.

    Parameters
    ----------
    console
        Where the bars appear, by default standard error. Where that is no terminal, a line a step
        every 15 seconds replaces them.
    """
    from rich import progress
    from rich.console import Console

    console = console or Console(stderr=True, markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        yield lambda name: _log_step(name, console)
        return
    columns = (
        progress.TextColumn("    {task.description:<26}", markup=False),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TextColumn("left"),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=console) as drawn:

        def step(name: str) -> Progress:
            task = drawn.add_task(name, total=None)

            def advance(done: int, total: int) -> None:
                drawn.update(task, completed=done, total=total)

            return advance

        yield step


def _log_step(name: str, console: Console) -> Progress:
    started = last = time.monotonic()
    reported = 0

    def advance(done: int, total: int) -> None:
        nonlocal last, reported
        now = time.monotonic()
        if done > reported and (now - last >= 15 or done == total):
            last, reported = now, done
            left = (now - started) * (total - done) / done
            console.print(f"    {name}: {done}/{total}, {left:.0f} s left", soft_wrap=True)

    return advance
