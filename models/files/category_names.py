"""Names of categories as people write them, and the slugs that events carry."""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from schemas.errors import DataError

_LATIN = "events name a category by a-z, 0-9, - and _: give a column of codes, or of names in Latin letters"


@lru_cache(maxsize=4096)
def slug(name: str) -> str:
    """`CRIMINAL DAMAGE` -> `criminal_damage`: lower case, accents dropped, runs of anything else become one `_`."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9-]+", "_", plain.lower()).strip("_-")[:63]


def refuse_lost_names(names: Iterable[str]) -> None:
    """Raises DataError for a name whose letters a slug cannot hold, and for two that would be one but for lost letters.

    Names that differ in other signs only (`EMS`, ` ems-`) are one category.
    """
    first: dict[str, str] = {}
    for name in sorted(names):
        if not slug(name) and _letters(name):
            raise DataError(f"the category {name!r} has no letter that a slug can hold", _LATIN)
        other = first.setdefault(slug(name), name)
        if _letters(other) != _letters(name):
            raise DataError(f"the categories {other!r} and {name!r} would both be {slug(name)!r}", _LATIN)


def _letters(name: str) -> str:
    """All letters and digits, in lower case and without accents."""
    plain = unicodedata.normalize("NFKD", name)
    return re.sub(r"[\W_]+", "_", "".join(sign for sign in plain if not unicodedata.combining(sign)).lower()).strip("_")
