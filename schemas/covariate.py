"""The contract of outside series, such as weather forecasts or the size of events, sent to `covariates.v1`.

A message is one value of one series for one hour, as it was known when it was issued.
"""

import math
from collections.abc import Mapping
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.decode import Messages
from schemas.event import AwareTime, Reason
from schemas.incidents import Rejection
from schemas.limits import MAX_COVARIATE_VALUE
from schemas.refusal import Contract, kept_payload, region_named
from schemas.spec import HOUR_S, Spec

# What is kept of a value; `series` is its place in the spec, `hour` the hour since 1970 that it is for. `issued_s` is
# rounded up to a second, so that no value counts before it was issued.
VALUE = np.dtype([("series", "<i2"), ("hour", "<i8"), ("issued_s", "<i8"), ("value", "<f8")])
_PLACE = [("partition", "<i4"), ("kafka_offset", "<i8"), ("kafka_time_ms", "<i8")]
PLACED_VALUE = np.dtype([*((name, VALUE[name]) for name in VALUE.names or ()), *_PLACE])
Values = npt.NDArray[np.void]  # (n,) of VALUE, or of PLACED_VALUE for values that have a place in the topic
NO_VALUES: Values = np.empty(0, VALUE)


class Covariate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """One value of an outside series. A newer issue replaces an older one for the same hour."""

    region: Annotated[str, msgspec.Meta(description="Slug of a region that this deployment scores")]
    series: Annotated[str, msgspec.Meta(description="Slug of a series that the region's spec names")]
    issued_at: Annotated[
        AwareTime,
        msgspec.Meta(description="When this value was published, never earlier: RFC 3339 with an offset"),
    ]
    valid_at: Annotated[
        AwareTime,
        msgspec.Meta(description="Start of the hour that it is for, a whole hour of UTC: RFC 3339 with an offset"),
    ]
    value: Annotated[
        float, msgspec.Meta(ge=-MAX_COVARIATE_VALUE, le=MAX_COVARIATE_VALUE, description="In the series' own unit")
    ]


COVARIATE = Contract.of(Covariate, "issued_at", "valid_at")


def decode_covariate(value: bytes | None) -> Covariate | tuple[Reason, str]:
    """The value in a message, or why it is refused; a reason never repeats a value."""
    decoded: Covariate | tuple[Reason, str] = COVARIATE.decode(value)
    if isinstance(decoded, Covariate) and not is_for_an_hour(decoded):
        return "bad_time", "valid_at is not a whole hour of UTC"
    return decoded


def is_for_an_hour(covariate: Covariate) -> bool:
    """Whether `valid_at` is a whole hour of UTC."""
    return covariate.valid_at.timestamp() % HOUR_S == 0


def value_of(covariate: Covariate, series: int) -> tuple[int, int, int, float]:
    """The fields of VALUE."""
    issued_s = math.ceil(covariate.issued_at.timestamp())
    return series, int(covariate.valid_at.timestamp()) // HOUR_S, issued_s, covariate.value


def decode_covariates(
    messages: Messages, specs: Mapping[str, Spec]
) -> tuple[dict[str, Values], dict[str, list[Rejection]]]:
    """The values of a slice of the topic and its rejections, by region; '' when they name none of the specs.

    Every message is one or the other. The values are of PLACED_VALUE, in the order of the messages.
    """
    places = {region: {series.name: at for at, series in enumerate(spec.covariates)} for region, spec in specs.items()}
    accepted: dict[str, list[tuple[int | float, ...]]] = {}
    refused: dict[str, list[Rejection]] = {}
    for index, value in enumerate(messages.values):
        decoded = decode_covariate(value)
        region = region_named(value, places)
        if isinstance(decoded, Covariate):
            if not region:
                decoded = ("unknown_region", "no artifact of this deployment has this region")
            elif decoded.series not in places[region]:
                decoded = ("unknown_category", "the region's spec has no such outside series")
        if isinstance(decoded, Covariate):
            row = value_of(decoded, places[region][decoded.series])
            place = (messages.partition[index], messages.kafka_offset[index], messages.kafka_time_ms[index])
            accepted.setdefault(region, []).append((*row, *place))
        else:
            rejection = Rejection.at(messages, index, *decoded, kept_payload(value, decoded[0]))
            refused.setdefault(region, []).append(rejection)
    return {region: np.array(rows, PLACED_VALUE) for region, rows in accepted.items()}, refused


def without_place(values: Values) -> Values:
    """The values as VALUE."""
    values_alone = np.empty(len(values), VALUE)
    for name in VALUE.names or ():
        values_alone[name] = values[name]
    return values_alone
