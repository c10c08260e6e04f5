"""The rooms import one another in one direction."""

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import culi_mlip
from culi_mlip.records import Record

PACKAGE = Path(culi_mlip.__file__).parent
GROUND = {
    "errors",
    "files",
    "configuration",
    "constraints",
    "devices",
    "moved",
    "process",
    "progress",
    "records",
    "runs",
    "workflows",
}
MAY_IMPORT = {
    "structures": set(),
    "quantum": set(),
    "optimize": set(),
    "dynamics": set(),
    "properties": {"structures", "dynamics"},
    "reference": {"structures", "properties"},
    "datasets": {"structures"},
    "labelling": {"structures", "reference", "datasets", "dynamics", "properties"},
    "models": {"quantum", "datasets"},
    "calculator": {"models"},
    "tuning": {"optimize", "datasets", "models", "calculator", "dynamics"},
    "report": {"structures", "quantum", "datasets", "models", "dynamics", "properties", "tuning"},
}


LIBRARIES = {"ase", "numpy", "torch", "nequip", "optuna"}


def imported_modules(file: Path) -> set[str]:
    """Modules of the package, or names in them, that a file imports, wherever that stands."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in names if name.startswith("culi_mlip.")}


def imported_rooms(file: Path) -> set[str]:
    """Rooms of the package that a file imports."""
    return {name.split(".")[1] for name in imported_modules(file)}


def module_name(file: Path) -> str:
    return ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts)


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


@pytest.mark.parametrize("module", sorted(GROUND))
def test_ground_imports_no_room(module):
    assert not imported_rooms(PACKAGE / f"{module}.py") & {*MAY_IMPORT, "cli", "quickstart"}


def test_nothing_imports_in_a_circle():
    files = {f: imported_modules(f) for f in PACKAGE.rglob("*.py") if f.name != "__init__.py"}
    graph = {module_name(f): found & set(map(module_name, files)) for f, found in files.items()}
    tuple(TopologicalSorter(graph).static_order())  # raises CycleError


@pytest.mark.parametrize(
    ("room", "strangers"),
    [
        ("datasets", ["reference", "labelling", "dynamics", "models", "tuning", "torch", "nequip"]),
        ("optimize", ["tuning", "models", "datasets", "torch", "optuna"]),
        ("structures", ["reference", "datasets", "torch"]),
        ("dynamics", ["models", "reference", "datasets", "torch"]),
        ("cli", ["structures", "datasets", "models", "ase", "numpy", "torch"]),
    ],
)
def test_importing_a_room_loads_no_other(room, strangers):
    names = [name if name in LIBRARIES else f"culi_mlip.{name}" for name in strangers]
    code = f"import sys, culi_mlip.{room}; print([n for n in {names} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


PAGE = PACKAGE.parent / "docs" / "architecture.md"


def rows(heading):
    """First and other cells of a table of the page, names in code alone."""
    section = PAGE.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    table = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[re.findall(r"`([^`]+)`", cell) for cell in row] for row in table[2:]]


def test_page_says_what_imports_what():
    said = {room: set(others) for rooms, others in rows("What imports what") for room in rooms}
    assert said.pop("cli") == {"culi-mlip --help"}
    assert said == MAY_IMPORT


def test_page_names_every_room_and_where_to_begin():
    table = rows("Rooms")
    assert {name.strip("/") for (name,), *_ in table} == {*MAY_IMPORT, "cli"}
    for (room,), _, (first, *more) in table:
        text = (PACKAGE / room / first).read_text()
        for name in more:
            file = PACKAGE / room / name
            assert file.is_file() or re.search(rf"(def|class) {name}\b", text), name
    ground = PAGE.read_text().split("On the ground")[1].split("## ")[0]
    assert {f"{name}.py" for name in GROUND} <= set(re.findall(r"`([^`]+)`", ground))


def test_page_names_every_record_and_its_module():
    for module in pkgutil.walk_packages(culi_mlip.__path__, "culi_mlip."):
        importlib.import_module(module.name)

    def below(kind):
        return {kind, *(found for sub in kind.__subclasses__() for found in below(sub))}

    kinds = {k.__name__: k.__module__ for k in below(Record) if k.__module__[:9] == "culi_mlip"}
    text = PAGE.read_text()
    files = {name for _, names, _ in rows("Settings and records") for name in names}
    written = set(kinds) - {"Record", "TaskOutcome", "Validation", "Heights"}  # parts
    assert files - {"inputs"} == written
    for name in written:
        assert re.search(rf"`{name}`", text)


def test_page_lists_every_file_by_its_own_first_line():
    section = PAGE.read_text().split("## Files\n")[1].split("\n## ")[0]
    said = dict(re.findall(r"\*\*`(\w+)/`\*\*\n\n(.*?)\n(?:\n|$)", section + "\n", re.DOTALL))
    assert said.keys() == MAY_IMPORT.keys()
    for room, lines in said.items():
        files = sorted(f for f in (PACKAGE / room).glob("*.py") if f.name != "__init__.py")
        words = [ast.get_docstring(ast.parse(f.read_text())).splitlines()[0] for f in files]
        assert lines.splitlines() == [
            f"- `{file.name}`: {word}" for file, word in zip(files, words, strict=True)
        ]


def test_files_that_the_page_names_exist():
    text = PAGE.read_text()
    for name in re.findall(r"`([a-z_]+/[a-z_]+\.py)`", text):
        assert (PACKAGE / name).is_file() or (PACKAGE.parent / name).is_file(), name


def test_a_public_constant_is_defined_once():
    """One name, one meaning; only the engines' modules have a ``TITLE`` each."""
    places = {}
    for file in PACKAGE.rglob("*.py"):
        for node in ast.parse(file.read_text()).body:
            targets = node.targets if isinstance(node, ast.Assign) else []
            names = [name.id for target in targets for name in ast.walk(target)
                     if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)]  # fmt: skip
            for name in names:
                if name.isupper() and not name.startswith("_"):
                    places.setdefault(name, []).append(file.relative_to(PACKAGE))
    assert {name for name, files in places.items() if len(files) > 1} == {"TITLE"}
