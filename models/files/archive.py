"""The archive of final counts: a Delta table with a row for each region, day, cell, category and bin that has any.

A day without incidents has one row with a count of 0, so that it is not a missing day.
"""

from datetime import date
from typing import Any

import msgspec

from schemas.errors import SettingsError
from schemas.grid import Grid
from schemas.spec import Spec

EPOCH = date(1970, 1, 1).toordinal()


class Meaning(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a row's cell and count mean: two rows can be put together only if this is the same."""

    grid: Grid
    timezone: str
    counted_origins: tuple[str, ...]

    @classmethod
    def of(cls, spec: Spec) -> "Meaning":
        return cls(grid=spec.grid, timezone=spec.timezone, counted_origins=spec.counted_origins)

    def text(self) -> str:
        """As the table has it: equal texts for equal meanings, and enough to draw the cells in later years."""
        return msgspec.json.encode(self, order="deterministic").decode()


def delta() -> Any:
    """The library of Delta tables, an extra. Raises SettingsError when it is not installed."""
    try:
        import deltalake
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"{error.name} is not installed", remedy="pip install 'incident-risk-scorer[archive]'"
        ) from error
    return deltalake


def day_number(day: date) -> int:
    """Days since 1970."""
    return day.toordinal() - EPOCH


def day_text(day: int) -> str:
    return date.fromordinal(EPOCH + day).isoformat()
