"""The named tasks of `evaluate`, and whose holidays each has."""

from collections.abc import Mapping
from types import MappingProxyType

COUNTRIES: Mapping[str, str] = MappingProxyType(
    {"chicago-3km-daily": "US-IL", "chicago-1km-hourly": "US-IL", "montgomery-2km-hourly": "US-PA"}
)
