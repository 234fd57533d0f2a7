"""The catalogues of schemas/languages, in line with the service's pages: what they say, each with its translation.

`make pages` writes them. A sentence that is new gets an entry without a translation, and one that is gone loses it.
"""

import io
from collections.abc import Iterator
from gettext import NullTranslations
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from models.readiness import ASSUMES
from schemas.frame import ATTRIBUTION_GROUPS
from schemas.languages import FOLDER
from service.page import FOLDER as MAP_FOLDER
from service.page import LIBRARY, PAGES, filled

Sentence = tuple[str | tuple[str, str], str | None]  # or its forms for one and for many; its context
MARKS: dict[str, tuple[int, ...] | None] = {"say": None, "sayMany": (1, 2), "written": None}  # in code
_WIDTH = 120


class _Asked(NullTranslations):
    """Keeps what it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.sentences: dict[Sentence, None] = {}

    def gettext(self, message: str) -> str:
        self.sentences[message, None] = None
        return message


def sentences() -> Iterator[Sentence]:
    """All that the pages say."""
    asked = _Asked()
    for page in PAGES:
        filled(page.read_text(encoding="utf-8"), asked, lang="", head="", title="", hidden="")
    yield from asked.sentences
    yield "Incident risk", None
    for script in sorted(set(MAP_FOLDER.glob("*.js")) - {MAP_FOLDER / LIBRARY}):
        yield from _marked("javascript", script, {"parse_template_string": True})
    yield from ((text, None) for text in (*ATTRIBUTION_GROUPS.values(), ASSUMES))


def _marked(kind: str, path: Path, options: dict[str, object]) -> Iterator[Sentence]:
    with path.open("rb") as file:
        for _, message, _, context in extract(kind, file, MARKS, options=options):
            yield message, context


def catalogue(language: str) -> Catalog:
    """What the pages say, with the translations that the language's file has."""
    path, written = FOLDER / language / "map.po", _Bare(locale=language)
    before = read_po(io.BytesIO(path.read_bytes())) if path.exists() else Catalog(locale=language)
    for message, context in dict.fromkeys(sentences()):
        entry = before.get(message, context)
        written.add(message, entry.string if entry else None, context=context).flags.clear()  # guesses of formats
    return written


class _Bare(Catalog):
    """Without the dates and the program's version in its head, so that the same sentences are the same bytes."""

    @property
    def mime_headers(self) -> list[tuple[str, str]]:
        kind = "text/plain; charset=utf-8"
        return [("Language", str(self.locale)), ("Content-Type", kind), ("Plural-Forms", self.plural_forms)]


def files() -> dict[Path, bytes]:
    """The catalogues of every language: sources, and what gettext reads."""
    written = {}
    for language in sorted(path.name for path in FOLDER.iterdir() if any(path.glob("*.po"))):
        for name, write in (("map.po", _write_po), ("map.mo", write_mo)):
            content = io.BytesIO()
            write(content, catalogue(language))
            written[FOLDER / language / name] = content.getvalue()
    return written


def _write_po(file: io.BytesIO, written: Catalog) -> None:
    written.header_comment, written.fuzzy = "#", False
    write_po(file, written, width=_WIDTH)
