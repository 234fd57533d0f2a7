"""The feedback contract: what a shift says of a cell's scores, sent to `feedback.v1`. No field is about a person."""

from typing import Annotated, Literal, get_args

import msgspec

from schemas.event import AwareTime, Reason
from schemas.grid import CELL_ID
from schemas.refusal import Contract
from schemas.spec import ALL_CATEGORIES, SLUG

Mark = Literal["useful", "not_useful", "acted_on"]
MARKS: tuple[Mark, ...] = get_args(Mark)


class Feedback(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One mark. A desk has one of each kind for a cell, category, horizon and time: a repeat changes nothing."""

    region: Annotated[str, msgspec.Meta(description="Slug of a region that this deployment scores")]
    cell: Annotated[str, msgspec.Meta(pattern=CELL_ID, description="Cell id, as on the map: r012c034")]
    at: Annotated[AwareTime, msgspec.Meta(description="Time of the scores that are meant: RFC 3339 with an offset")]
    mark: Annotated[Mark, msgspec.Meta(description="What the shift says of them")]
    desk: Annotated[str, msgspec.Meta(pattern=SLUG, description="Slug of a desk or unit; never of a person")]
    category: Annotated[str, msgspec.Meta(description="Slug of a category, or `all`")] = ALL_CATEGORIES
    horizon: Annotated[str, msgspec.Meta(pattern=r"^\d{1,3}h$", description="As `4h`")] = "4h"


FEEDBACK = Contract.of(Feedback, "at")


def decode_feedback(value: bytes | None) -> Feedback | tuple[Reason, str]:
    """The mark in a message, or why it is refused; a reason never repeats a value."""
    decoded: Feedback | tuple[Reason, str] = FEEDBACK.decode(value)
    return decoded
