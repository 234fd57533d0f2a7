"""Instants as text: those of the command line, and those that are written."""

from datetime import UTC, datetime

from schemas.errors import SettingsError

STAMP = "%Y%m%dT%H%M%SZ"  # in names of files, and of versions at their beginning


def instant_ms(text: str, *, option: str, now_s: float) -> int:
    """Epoch milliseconds of `earliest`, `latest`, or a time with an offset. Raises SettingsError."""
    if text in ("earliest", "latest"):
        return 0 if text == "earliest" else int(now_s * 1000)
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        remedy = "write earliest, latest, or a time like 2026-11-25T06:00:00Z"
        raise SettingsError(f"{option} {text} is not a time", remedy) from error
    if when.tzinfo is None:
        raise SettingsError(f"{option} {text} has no offset", remedy="add Z for UTC, or an offset like -06:00")
    return int(when.timestamp() * 1000)


def instant_text(epoch_s: float) -> str:
    """The instant in the form that `instant_ms` reads."""
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def stamp(epoch_s: float) -> str:
    """`20261101T040000Z`."""
    return datetime.fromtimestamp(epoch_s, UTC).strftime(STAMP)
