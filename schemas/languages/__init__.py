"""The languages of the service's pages: English in the code, each other a folder with a catalogue.

It is of GNU gettext: `.po` is what translators write, `.mo`, made from it by `make pages`, what Python reads.
"""

from gettext import GNUTranslations, NullTranslations
from pathlib import Path

from schemas.errors import SettingsError

ENGLISH = "en"
FOLDER = Path(__file__).parent
LANGUAGES = (ENGLISH, *sorted(path.parent.name for path in FOLDER.glob("*/map.mo")))


def sentences_of(language: str) -> NullTranslations:
    """By whose `gettext` a sentence of the pages is said in the language.

    Raises SettingsError for a language without a catalogue.

    >>> sentences_of("de").gettext("Risk")
    'Risiko'
    """
    if language == ENGLISH:
        return NullTranslations()
    if language not in LANGUAGES:
        remedy = f"set RISK_LANGUAGE to one of {', '.join(LANGUAGES)}"
        raise SettingsError(f"the language {language!r} is not known", remedy)
    with (FOLDER / language / "map.mo").open("rb") as file:
        return GNUTranslations(file)
