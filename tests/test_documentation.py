"""Every name of the package that a page, an example or the changelog writes is there."""

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import culi_mlip

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").glob("*.py")),
]
STATEMENT = re.compile(
    r"^[ \t>]*((?:from culi_mlip[\w.]* import (?:\([^)]*\)|[^(\n]+))|import culi_mlip[\w.]*)", re.M
)
DOTTED = re.compile(r"\bculi_mlip(?:\.[A-Za-z_]\w*)+")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_on_a_page_exist(page):
    text = page.read_text(encoding="utf-8")
    for statement in STATEMENT.findall(text):
        exec(statement, {})  # noqa: S102 (our own pages)
    for name in {name.rstrip(".") for name in DOTTED.findall(text)}:
        assert found(name), f"{page.name} writes {name}"


def found(dotted):
    """Whether a dotted name is a module, or an attribute of one or of a class."""
    parts = dotted.split(".")
    for n in range(len(parts), 0, -1):
        try:
            place = importlib.import_module(".".join(parts[:n]))
        except ImportError:
            continue
        for part in parts[n:]:
            place = getattr(place, part, None)
        return place is not None
    return False


def test_builders_are_where_nequip_configurations_look_for_them():
    from culi_mlip.models import AllegroMLPModel, AllegroModel, AllegroQDIModel, builders

    assert AllegroModel is builders.AllegroModel
    assert AllegroMLPModel is builders.AllegroMLPModel
    assert AllegroQDIModel is builders.AllegroQDIModel


@pytest.mark.parametrize("room", [m.name for m in pkgutil.iter_modules(culi_mlip.__path__)])
def test_all_that_a_room_offers_is_there(room):
    module = importlib.import_module(f"culi_mlip.{room}")
    for name in getattr(module, "__all__", ()):
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing_of_this_name'"):
        module.nothing_of_this_name  # noqa: B018
