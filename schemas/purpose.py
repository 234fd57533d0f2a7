"""What a model is for: a closed list, and the categories that each purpose forbids, with the reason."""

import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

# How words of a category begin, as patterns of one line in lower case; "_" also stands for "-".
_FOUND = (
    r"arrest|warrant|stops?(_|$)|drugs?(_offen|_law|$)|narcotic|possession|liquor|prostitut|gambl|loiter|vagran|curfew|"
    r"immigra|parole|probation|violations?$"
)
_PROPERTY = r"theft|burglar|larceny|shoplift|fraud|vandal|criminal|trespass|panhandl|homeless|disorderly|suspicious_per"
_VIOLENCE = r"assault|battery$|robber|homicid|stalking|gangs?(_|$)"
_FORBIDDEN: Mapping[str, str] = MappingProxyType(
    {
        "ems_readiness": _PROPERTY,
        "fire": f"{_PROPERTY}|{_VIOLENCE}",
        "road_safety": f"{_PROPERTY}|{_VIOLENCE}",
        "crowd_safety": _PROPERTY,
        "dispatch_staffing": "(?!)",  # nothing else
    }
)
PURPOSES = tuple(_FORBIDDEN)
ANSWERING = "ems_readiness"  # which of them has units that answer most: what it forbids, no standing unit answers


def forbidden(purpose: str, categories: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The categories that one of PURPOSES forbids, each with the reason.

    >>> dict(forbidden("fire", ["battery-fire", "burglary"]))
    {'burglary': 'no unit of fire answers it, so its forecast would serve patrols'}
    """
    for category in categories:
        words = category.replace("-", "_")
        if re.search(rf"(^|_)({_FOUND})", words):
            yield category, "patrols find it, so its counts say where patrols were"
        elif re.search(rf"(^|_)({_FORBIDDEN[purpose]})", words):
            yield category, f"no unit of {purpose} answers it, so its forecast would serve patrols"
