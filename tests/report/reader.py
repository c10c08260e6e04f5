"""What a browser makes of a page."""

from html.parser import HTMLParser


class Reader(HTMLParser):
    """Tables as rows of cells, the tags, and the text that a reader sees."""

    def __init__(self, page):
        super().__init__()
        self.tables, self.tags, self.text, self.in_cell = [], [], "", False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self.in_cell = True

    def handle_endtag(self, tag):
        self.in_cell &= tag not in ("td", "th")

    def handle_data(self, data):
        self.text += data
        if self.in_cell:
            self.tables[-1][-1][-1] += data

    def table_with(self, title):
        return next(t for t in self.tables if title in t[0])
