"""One self-contained page that shows structures in three dimensions, by chemiscope."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from ase import Atoms

from culi_mlip.errors import CuliError
from culi_mlip.files import write_text
from culi_mlip.report.html import Html, document, json_text, place, script

_VIEW = {"bonds": False, "spaceFilling": True, "unitCell": True, "supercell": [3, 3, 1]}


def write_viewer(
    path: str | os.PathLike[str],
    frames: Sequence[Atoms],
    properties: Mapping[str, Sequence[str | float]],
) -> Path:
    """Write a page that needs no other file and no network.

    Properties are values by name, one for each structure, to be shown beside it.

    Raises
    ------
    CuliError
        If chemiscope is not installed.
    """
    page = Path(path)
    sections = [library(), *view(frames, properties, page.stem)]
    write_text(page, document(page.stem, sections))
    return page


def view(
    frames: Sequence[Atoms],
    properties: Mapping[str, Sequence[str | float]],
    name: str,
    key: str = "view",
    *,
    supercell: Sequence[int] = (3, 3, 1),
) -> list[Html]:
    """Return the sections of structures that turn; `key` is another for each view of a page.

    Raises
    ------
    CuliError
        If chemiscope is not installed.
    """
    dataset = _chemiscope().create_input(
        structures=[_upright(atoms) for atoms in frames],
        metadata={"name": name},
        settings={"structure": [_VIEW | {"supercell": list(supercell)}]},
        properties={
            title: {"target": "structure", "values": list(values)}
            for title, values in properties.items()
        },
    )
    places = {part: f"{key}-{part}" for part in ("meta", "structure", "info")}
    load = f"Chemiscope.StructureVisualizer.load({json_text(places)}, {json_text(dataset)});"
    return [
        place(places["meta"], "hidden"),
        place(places["structure"], "view"),
        place(places["info"], "view-info"),
        script(load),
    ]


def library() -> Html:
    """Return the program that draws all views of a page, to stand before them.

    Raises
    ------
    CuliError
        If chemiscope is not installed.
    """
    file = resources.files(_chemiscope()) / "sphinx" / "static" / "chemiscope.min.js"
    return script(file.read_text(encoding="utf-8"))


def _chemiscope() -> Any:
    try:
        import chemiscope
    except ImportError as error:
        raise CuliError(
            "structures in three dimensions need chemiscope: install it with pip install chemiscope"
        ) from error
    return chemiscope


def _upright(atoms: Atoms) -> Atoms:
    """Return a copy that is seen from the side: the page looks along z."""
    turned = atoms.copy()
    turned.rotate(-80, "x", rotate_cell=True)
    return turned
