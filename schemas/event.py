"""The event contract: what a producer sends to `incidents.v1`, and why a message is refused."""

from datetime import datetime
from typing import Annotated, Literal, get_args

import msgspec

Origin = Literal["public_call", "sensor", "responder", "officer_initiated", "unknown"]
Status = Literal["open", "closed", "cancelled"]
ORIGINS: tuple[str, ...] = get_args(Origin)

Reason = Literal[
    "null_value",
    "too_large",
    "not_json",
    "schema",
    "person_field",
    "unknown_field",
    "unknown_region",
    "unknown_category",
    "outside_grid",
    "bad_time",
    "future",
    "late",
]
REASONS: tuple[Reason, ...] = get_args(Reason)

AwareTime = Annotated[datetime, msgspec.Meta(tz=True)]


class Event(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """One incident, or a correction of one. The schema is closed: an unknown field is refused.

    >>> from datetime import UTC
    >>> event = Event(incident_id="7", region="mycity", occurred_at=datetime(2026, 3, 14, tzinfo=UTC), category="fire",
    ...               lat=41.5, lon=-87.7, origin="public_call")
    >>> event.revision, event.status
    (0, 'open')
    """

    incident_id: Annotated[
        str,
        msgspec.Meta(min_length=1, max_length=128, description="The producer's id; also the Kafka key"),
    ]
    region: Annotated[str, msgspec.Meta(description="Slug of a region that this deployment scores")]
    occurred_at: Annotated[AwareTime, msgspec.Meta(description="When it happened: RFC 3339 with an offset")]
    category: Annotated[str, msgspec.Meta(description="Slug of one of the region's categories")]
    lat: Annotated[float, msgspec.Meta(ge=-90, le=90, description="Latitude in degrees, WGS 84")]
    lon: Annotated[float, msgspec.Meta(ge=-180, le=180, description="Longitude in degrees, WGS 84")]
    origin: Annotated[
        Origin,
        msgspec.Meta(description="Who reported it; officer-initiated and unknown feed no score by default"),
    ]
    revision: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1, description="A higher revision replaces a lower one")] = 0
    status: Annotated[Status, msgspec.Meta(description="`cancelled` takes the count back")] = "open"
    received_at: Annotated[
        AwareTime | None,
        msgspec.Meta(description="When the centre learned of it; default: Kafka's timestamp"),
    ] = None
    type_code: Annotated[str, msgspec.Meta(max_length=64, description="The centre's own code")] | None = None
    priority: Annotated[int, msgspec.Meta(ge=0, le=9, description="The centre's own priority")] | None = None
    accuracy_m: (
        Annotated[float, msgspec.Meta(ge=0, le=1_000_000, description="Uncertainty of the place, metres")] | None
    ) = None
