"""Which marks are taken, and the point of each."""

import re
from collections.abc import Mapping

from schemas.event import Reason
from schemas.feedback import Feedback
from schemas.spec import ALL_CATEGORIES, SLUG, Spec
from streaming.sinks.line_protocol import point_line


def fault_of(mark: Feedback, specs: Mapping[str, Spec], now_s: float) -> tuple[Reason, str] | None:
    """Why a well-formed mark is refused; None when it is taken. A reason never repeats a value."""
    spec = specs.get(mark.region)
    if spec is None:
        return "unknown_region", "no artifact scores this region"
    if mark.category not in (ALL_CATEGORIES, *spec.categories):
        return "unknown_category", "the region's spec has no such category"
    if mark.horizon not in spec.horizon_names:
        return "schema", f"horizon is not one of {', '.join(spec.horizon_names)}"
    if not re.fullmatch(SLUG, mark.desk):  # the contract's pattern lets a line break at the end pass
        return "schema", "desk is no slug"
    if mark.cell not in spec.grid.cell_ids():  # each cell has one id, and so one point
        return "outside_grid", "the region's grid has no such cell"
    if mark.at.timestamp() < 0:  # a store knows no time long before
        return "bad_time", "at is before 1970"
    if mark.at.timestamp() > now_s + spec.future_limit_s:
        return "future", f"more than {spec.future_limit_s} s ahead of its arrival"
    return None


def mark_line(mark: Feedback) -> bytes:
    """The mark as line protocol at the time of the scores that are meant; sent again it is the same point."""
    tags = {
        "category": mark.category,
        "cell": mark.cell,
        "desk": mark.desk,
        "horizon": mark.horizon,
        "mark": mark.mark,
        "region": mark.region,
    }
    return point_line("feedback", tags, {"marks": 1}, int(mark.at.timestamp()))
