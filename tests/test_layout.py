"""The rooms import one another in one direction."""

import ast
from pathlib import Path

import pytest

import culi_mlip

PACKAGE = Path(culi_mlip.__file__).parent
GROUND = {
    "errors",
    "files",
    "configuration",
    "constraints",
    "devices",
    "process",
    "runs",
    "workflows",
}
MAY_IMPORT = {
    "structures": set(),
    "quantum": set(),
    "reference": {"structures"},
    "dynamics": set(),
    "datasets": {"structures", "reference", "dynamics"},
    "models": {"quantum", "datasets"},
    "calculator": {"models"},
    "optimize": {"datasets", "models", "calculator", "dynamics"},  # its core none, see below
    "report": {"quantum", "datasets", "models", "optimize"},  # the results of their analyses
}


def imported_rooms(file: Path) -> set[str]:
    """Rooms of the package that a file imports, wherever the import stands."""
    rooms = set()
    for node in ast.walk(ast.parse(file.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            if node.module == "culi_mlip":
                names = [f"culi_mlip.{alias.name}" for alias in node.names]
        rooms |= {n.split(".")[1] for n in names if n.startswith("culi_mlip.")}
    return rooms


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_room_imports_only_what_stands_before_it(room):
    files = list((PACKAGE / room).rglob("*.py"))
    assert files
    for file in files:
        strangers = imported_rooms(file) - MAY_IMPORT[room] - GROUND - {room, "__version__"}
        assert not strangers, f"{file.relative_to(PACKAGE)} imports {strangers}"


def test_every_room_is_known():
    rooms = {p.parent.name for p in PACKAGE.glob("*/__init__.py")}
    assert rooms == {*MAY_IMPORT, "cli"}


@pytest.mark.parametrize(
    "module", ["space", "surrogates", "hypervolume", "infill", "samo_cobra", "sampler", "study"]
)
def test_core_of_optimize_stands_on_the_ground(module):
    file = PACKAGE / "optimize" / f"{module}.py"
    assert imported_rooms(file) <= {"errors", "optimize"}
