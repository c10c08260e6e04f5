"""How a long job tells how far it has come."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called with (done, total) as a long job advances."""

Step = Callable[[str], Progress]
"""Called with the name of each long step of a job; returns what is called as the step advances."""


def no_progress(done: int, total: int) -> None:
    """Tell nobody."""
