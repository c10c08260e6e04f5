"""Results of properties: as files, as text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator
    from matplotlib.figure import Figure


def written(
    out: Path, name: str, calculator: Calculator | None, result: Any, figure: Figure | None = None
) -> None:
    """Write a result as JSON, its structures and its figure, and say where."""
    from culi_mlip.cli import console
    from culi_mlip.dynamics.identity import calculator_digest
    from culi_mlip.files import write_bytes
    from culi_mlip.properties.output import write_result
    from culi_mlip.report.figures import png

    made_by = {"calculator": calculator_digest(calculator)} if calculator else {}
    files = write_result(out, name, result, **made_by)
    if figure:
        files.append(out / f"{name}.png")
        write_bytes(files[-1], png(figure))
    console.out.print(f"Written: {out}/{', '.join(file.name for file in files)}")


def number(value: float | None) -> str:
    """Return a number as a table has it."""
    return "–" if value is None else f"{value:.3f}"


def withheld(*reasons: str | None) -> None:
    """Say why there are no values; None is no reason."""
    from culi_mlip.cli import console

    for reason in filter(None, reasons):
        console.out.print(f"No value: {reason}")
