"""The pages of reports: one template, one style, and the one place where text becomes HTML.

Every function here escapes the text that it takes; programs and styles alone are taken as they
are. Pages need no other file and no network.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NewType

from matplotlib.figure import Figure

from culi_mlip.report.figures import png

Html = NewType("Html", str)
"""Text that a browser may obey: nothing in it is from users, or it was escaped."""

STYLE = """
body { font: 16px/1.55 system-ui, sans-serif; color: #222; max-width: 60rem; margin: 2rem auto;
       padding: 0 1rem; }
body.wide { max-width: 70rem }
h1 { font-size: 1.7rem; margin-bottom: .3rem } h2 { font-size: 1.2rem; margin-top: 2.2rem }
h1, h2, h3, p, li, figcaption { overflow-wrap: anywhere }
.caution { background: #fff3d6; border-left: 4px solid #d99a00; padding: .6rem 1rem }
.tiles { display: flex; gap: 1rem; flex-wrap: wrap; margin: 1.2rem 0 }
.tile { background: #f3f5f6; border-radius: .4rem; padding: .7rem 1.1rem; flex: 1 }
.tile b { display: block; font-size: 1.35rem }
table { border-collapse: collapse; margin: .8rem 0 }
td, th { padding: .25rem .9rem; text-align: right; border-bottom: 1px solid #e4e4e4 }
td:first-child, th:first-child { text-align: left }
.remarks { font-size: .9rem }
.remarks td:last-child, .remarks th:last-child { text-align: left }
img { max-width: 100%; height: auto } figure { margin: 1rem 0 }
figcaption { color: #666; font-size: .9rem }
pre { background: #f3f5f6; padding: .8rem 1rem; overflow-x: auto }
.pair { display: flex; gap: 1rem; flex-wrap: wrap } .pair figure { flex: 1; min-width: 17rem }
.scroll { overflow-x: auto }
.hidden { display: none } .view { height: 26rem } .view-info { height: 9rem }
@media (max-width: 40rem) { body { margin: 1rem auto } td, th { padding: .25rem .5rem } }
@media print { body { max-width: none; margin: 0 } .view, .view-info { display: none }
               figure, tr { break-inside: avoid } }
"""


def document(
    title: str, sections: Iterable[Html], *, style: str = STYLE, is_wide: bool = False
) -> str:
    """Return a page, its sections one below the other; a wide one is for tables."""
    wide = " class=wide" if is_wide else ""
    body = "\n".join(sections)
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width'>"
        f"<title>{html.escape(title)}</title><style>{style}</style></head>\n"
        f"<body{wide}>\n{body}\n</body></html>\n"
    )


def heading(text: str, level: int = 2) -> Html:
    """Return a heading of a level from 1."""
    return _element(f"h{level}", text)


def paragraph(text: str, css: str = "") -> Html:
    """Return a paragraph of a class of the style, such as "caution"."""
    return _element("p", text, css)


def code(text: str) -> Html:
    """Return lines of code as they are."""
    return _element("pre", text)


def bullets(texts: Iterable[str]) -> Html:
    """Return a list."""
    return Html(f"<ul>{''.join(_element('li', text) for text in texts)}</ul>")


def table(header: Sequence[str], rows: Sequence[Sequence[Any]], css: str = "") -> Html:
    """Return a table of a class of the style: the last column of "remarks" is text."""
    lines = [
        "".join(_element("th", cell) for cell in header),
        *("".join(_element("td", str(cell)) for cell in row) for row in rows),
    ]
    found = "".join(f"<tr>{line}</tr>" for line in lines)
    return Html(f"<div class=scroll><table{_class(css)}>{found}</table></div>")


def tiles(values: Mapping[str, str]) -> Html:
    """Return values in large letters, with what they are below."""
    shown = "".join(
        f"<div class=tile>{_element('b', value)}{html.escape(name)}</div>"
        for name, value in values.items()
    )
    return Html(f"<div class=tiles>{shown}</div>")


def image(figure: Figure, caption: str) -> Html:
    """Return a figure, its picture within the page."""
    return picture(png(figure), caption)


def picture(content: bytes, caption: str) -> Html:
    """Return a PNG file's picture within the page."""
    data = base64.b64encode(content).decode()
    return Html(
        f"<figure><img alt='{html.escape(caption)}' src='data:image/png;base64,{data}'>"
        f"{_element('figcaption', caption)}</figure>"
    )


def side_by_side(*parts: Html) -> Html:
    """Return figures beside one another."""
    return Html(f"<div class=pair>{''.join(parts)}</div>")


def place(name: str, css: str = "") -> Html:
    """Return an empty place that a program fills, by name."""
    return Html(f"<div id={html.escape(name)}{_class(css)}></div>")


def script(text: str) -> Html:
    """Return a program that runs as it stands; values of users go into it by `json_text` alone."""
    ended = text.replace("</script", "<\\/script")
    return Html(f"<script>{ended}</script>")


def json_text(value: Any) -> str:
    """Return a value as JSON that may stand in a script."""
    return json.dumps(value).replace("<", "\\u003c")


def _element(tag: str, text: str, css: str = "") -> Html:
    return Html(f"<{tag}{_class(css)}>{html.escape(text)}</{tag}>")


def _class(css: str) -> str:
    return f" class={css}" if css else ""
