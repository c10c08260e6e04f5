"""The template of pages: what is from users is text, wherever it stands."""

import ast
import json
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from culi_mlip.report import html
from tests.report.reader import Reader

EVIL = 'it\'s <script>alert(1)</script> & "so" on'


@pytest.mark.parametrize(
    "made",
    [
        html.heading(EVIL),
        html.paragraph(EVIL),
        html.code(EVIL),
        html.bullets([EVIL]),
        html.table([EVIL], []),
        html.table([], [[EVIL]]),
        html.tiles({"name": EVIL}),
        html.tiles({EVIL: "value"}),
        html.image(Figure((1, 1)), EVIL),
        html.document(EVIL, []),
    ],
)
def test_text_is_text(made):
    read = Reader(made)
    assert EVIL in read.text
    assert "script" not in read.tags


def test_only_the_template_escapes_and_knows_tags():
    for file in Path(html.__file__).parent.glob("*.py"):
        if file.name == "html.py":
            continue
        tree = ast.parse(file.read_text())
        names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import)
                 for alias in node.names}  # fmt: skip
        assert "html" not in names, file.name
        texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
        tags = [text for text in texts if isinstance(text, str) and "</" in text]
        assert not tags, file.name


def test_a_page_has_its_parts_in_their_order_and_needs_nothing_else():
    parts = [html.heading("first", 1), html.paragraph("second", "caution"), html.heading("third")]
    page = html.document("title", parts)
    assert page.startswith("<!doctype html><html lang=en><head><meta charset=utf-8>")
    assert "<title>title</title>" in page
    body = ["<body>", "<h1>first</h1>", "<p class=caution>second</p>", "<h2>third</h2>", "</body>"]
    assert "\n".join(body) in page
    assert html.STYLE in page
    assert "<body class=wide>" in html.document("title", parts, is_wide=True)
    assert html.STYLE not in html.document("title", parts, style="p { margin: 0 }")
    assert not {"link", "script"} & {*Reader(page).tags}


def test_tables_have_a_row_of_titles():
    (found,) = Reader(html.table(["a", "b"], [["c", 1], ["d", 2.5]], css="remarks")).tables
    assert found == [["a", "b"], ["c", "1"], ["d", "2.5"]]


def test_pictures_stand_in_the_page():
    pair = html.side_by_side(*(html.image(Figure((1, 1)), name) for name in ("one", "two")))
    assert pair.count("src='data:image/png;base64,iVBOR") == 2
    assert Reader(pair).text == "onetwo"


def test_values_do_not_end_a_script():
    value = {"name": "</script><script>alert(1)</script><!--"}
    made = html.script(f"show({html.json_text(value)})")
    assert made.count("<") == 2
    assert json.loads(made[len("<script>show(") : -len(")</script>")]) == value
    assert html.script("a = '</script>'") == "<script>a = '<\\/script>'</script>"
