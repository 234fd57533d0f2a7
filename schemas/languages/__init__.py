"""The languages of the map, the alerts and the public guide: English in the code, each other a folder of catalogues.

They are of GNU gettext: `.po` is what translators write, `.mo`, made from it by `make pages`, what Python reads.
"""

from gettext import GNUTranslations, NullTranslations
from pathlib import Path
from typing import Literal

from schemas.errors import SettingsError

Part = Literal["map", "alerts", "guide"]
PARTS: tuple[Part, ...] = ("map", "alerts", "guide")
ENGLISH = "en"
FOLDER = Path(__file__).parent
LANGUAGES = (ENGLISH, *sorted(path.parent.name for path in FOLDER.glob("*/map.mo")))


def sentences_of(part: Part, language: str) -> NullTranslations:
    """By whose `gettext` a sentence of this part is said in the language.

    Raises SettingsError for a language without catalogues.

    >>> sentences_of("map", "de").gettext("Risk")
    'Risiko'
    """
    if language == ENGLISH:
        return NullTranslations()
    if language not in LANGUAGES:
        remedy = f"set RISK_LANGUAGE to one of {', '.join(LANGUAGES)}"
        raise SettingsError(f"the language {language!r} is not known", remedy)
    with (FOLDER / language / f"{part}.mo").open("rb") as file:
        return GNUTranslations(file)


def figure(english: str, sentences: NullTranslations) -> str:
    """A number that is written in English, with the signs of the language.

    >>> figure("1,234.5", NullTranslations())
    '1,234.5'
    """
    signs = {",": "between thousands", ".": "before decimals"}
    return english.translate({ord(sign): sentences.pgettext(context, sign) for sign, context in signs.items()})
