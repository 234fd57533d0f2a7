"""Every sentence has a translation that says the same: its placeholders are those of the original.

That a catalogue has each sentence of the product and no other, and that `.mo` is its `.po`, is in test_readme.py.
"""

import re
from io import BytesIO

import pytest
from babel.messages.pofile import read_po

from schemas.errors import SettingsError
from schemas.languages import FOLDER, LANGUAGES, sentences_of
from service.page import filled

# Placeholders, code, the targets of links; what is bold
PLACEHOLDER = re.compile(r"\{\w*\}|`[^`]+`|\]\([^)]+\)|\*\*")


def placeholders(text):
    """In any order, because languages order them in their own way."""
    return sorted(PLACEHOLDER.findall(text))


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_every_translation_is_there_and_keeps_the_placeholders_of_its_sentence(language):
    entries = [each for each in read_po(BytesIO((FOLDER / language / "map.po").read_bytes())) if each.id]
    assert len(entries) > 10
    for entry in entries:
        forms, original = (entry.string, entry.id[-1]) if entry.pluralizable else ((entry.string,), entry.id)
        assert all(forms), original
        assert not entry.fuzzy, original
        assert [placeholders(form) for form in forms] == [placeholders(original)] * len(forms)


def test_a_language_without_catalogues_is_refused_by_its_name_and_the_known_ones_are_named():
    with pytest.raises(SettingsError, match="the language 'xx' is not known: set RISK_LANGUAGE to one of en, de"):
        sentences_of("xx")


def test_of_a_page_its_texts_and_what_is_read_out_are_said_and_nothing_else():
    page = '<p class="caps" aria-label="map">Sign in <b>4</b>\n</p><i>{{title}}</i>'
    said = filled(page, sentences_of("de"), title="map")
    assert said == '<p class="caps" aria-label="Karte">Anmelden <b>4</b>\n</p><i>map</i>'
