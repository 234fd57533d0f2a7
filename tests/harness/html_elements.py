"""What a parser of HTML finds in a page that is checked."""

from html.parser import HTMLParser


class Elements(HTMLParser):
    """found: every element with its attributes. cells: the text of each cell of a table."""

    def __init__(self, page):
        super().__init__()
        self.found, self.cells, self._cell = [], [], None
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag in ("td", "th"):
            self._cell = ""

    def handle_data(self, data):
        if self._cell is not None:
            self._cell += data

    def handle_endtag(self, tag):
        if tag in ("td", "th") and self._cell is not None:
            self.cells.append(self._cell.strip())
            self._cell = None
