"""One self-contained page that shows structures in three dimensions, by chemiscope."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from ase import Atoms

from culi_mlip.errors import CuliError
from culi_mlip.files import write_text
from culi_mlip.report.html import Html, document, json_text, script

_STYLE = """
body { margin: 0; font: 15px system-ui, sans-serif }
#meta, #map { display: none } #structure { height: 80vh; width: 60vh; margin: auto }
#info { height: 18vh }
"""

_PLACES = Html("<div id=meta></div><div id=structure></div><div id=info></div>")

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
    try:
        import chemiscope
    except ImportError as error:
        raise CuliError(
            "the viewer page needs chemiscope: install it with pip install chemiscope"
        ) from error

    page = Path(path)
    dataset = chemiscope.create_input(
        structures=[_upright(atoms) for atoms in frames],
        metadata={"name": page.stem},
        settings={"structure": [_VIEW]},
        properties={
            name: {"target": "structure", "values": list(values)}
            for name, values in properties.items()
        },
    )
    library = resources.files("chemiscope") / "sphinx" / "static" / "chemiscope.min.js"
    load = (
        'Chemiscope.StructureVisualizer.load({ meta: "meta", structure: "structure", '
        f'info: "info" }}, {json_text(dataset)});'
    )
    sections = [_PLACES, script(library.read_text(encoding="utf-8")), script(load)]
    write_text(page, document(page.stem, sections, style=_STYLE))
    return page


def _upright(atoms: Atoms) -> Atoms:
    """Return a copy that is seen from the side: the page looks along z."""
    turned = atoms.copy()
    turned.rotate(-80, "x", rotate_cell=True)
    return turned
