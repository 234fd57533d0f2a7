"""The parts of the pages, as the service sends them, in its language."""

import html
import json
import re
from functools import cache
from gettext import NullTranslations
from pathlib import Path

FOLDER = Path(__file__).parent
PAGES = (FOLDER / "page.html", FOLDER.with_name("login.html"))
_SLOT = re.compile(r"\{\{(\w+)\}\}")
# What a page of HTML says to people: texts with a letter, and the attributes that are read out.
_SAID = re.compile(r'(?<=>)[^<>{}]*[A-Za-z][^<>{}]*?(?= ?<)|(?<=aria-label=")[^"]+|(?<=aria-roledescription=")[^"]+')


@cache
def part(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def filled(page: str, sentences: NullTranslations, **slots: str) -> str:
    """The HTML in the language of these sentences, with HTML in its slots."""
    said = _SAID.sub(lambda text: html.escape(sentences.gettext(text[0])), page)
    return _SLOT.sub(lambda slot: slots[slot[1]], said)


def catalogue(sentences: NullTranslations) -> str:
    """All of them as data in HTML, for the page's scripts: by sentence, or by `sentence|form`. Nothing for English."""
    entries = vars(sentences).get("_catalog", {})  # gettext has no other way to all of a catalogue
    by_key = {key if isinstance(key, str) else "|".join(map(str, key)): said for key, said in entries.items() if key}
    data = json.dumps(by_key, ensure_ascii=False).replace("<", "\\u003c")  # so that no sentence ends the element
    return f'\n<script type="application/json" id="catalogue">{data}</script>' if by_key else ""
