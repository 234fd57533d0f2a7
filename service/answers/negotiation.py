"""What a client accepts."""

from starlette.exceptions import HTTPException

from service.answers.written import MEDIA_TYPES, Format

_PLAIN: dict[str, Format] = {media.partition(";")[0]: name for name, media in MEDIA_TYPES.items()}
_ANY: dict[str, Format] = {"*/*": "json", "application/*": "json", "text/*": "csv"}


def format_of(asked: Format | None, accept: str | None) -> Format:
    """The format by the parameter, else by the header Accept, its highest weight first. Raises 406 for neither."""
    if asked:
        return asked
    wanted = [_weighed(part) for part in (accept or "*/*").split(",")]
    for media, weight in sorted(wanted, key=lambda weighed: -weighed[1]):
        name = _PLAIN.get(media) or _ANY.get(media)
        if name and weight > 0:
            return name
    raise HTTPException(406, f"this address speaks {', '.join(_PLAIN)}, not {accept}")


def _weighed(part: str) -> tuple[str, float]:
    media, *parameters = (word.strip().lower() for word in part.split(";"))
    weights = [word.removeprefix("q=") for word in parameters if word.startswith("q=")]
    try:
        return media, float(weights[0]) if weights else 1.0
    except ValueError:
        return media, 0.0
