"""What must hold of the outcomes that a scenario leaves behind."""

from tests.faults.frame_rules import ROUNDED, frames_first_written, frames_of
from tests.faults.oracle import DISPERSION
from tests.faults.outcomes import HOUR_S, Judgement, wrong


def outcome_breaches(seen, expected):
    """I13: each outcome that is due, and no other one. A forecast is the first frame of a whole hour, as written then.

    Only tests/faults/test_outcomes.py plays for long enough that any is due; everywhere else there must be none.
    """
    forecasts = frames_first_written(seen.written)
    for place in frames_of(seen.points):
        if place[1] % HOUR_S == 0 and place not in forecasts:
            yield f"I13: nobody saw the first frame of {place}"
    judgements = [
        judgement
        for judged in expected.judged
        if (frame := forecasts.get((judged.region.name, judged.tick_s)))  # else I4 has said so
        for judgement in judgements_of(judged, frame)
    ]
    for sentence in wrong(seen.points, seen.written, judgements, off=ROUNDED):
        yield f"I13: {sentence}"


def judgements_of(judged, frame):
    """One for each category. frame: (cell, category, horizon) -> fields of `risk`."""
    region = judged.region
    for category in region.categories:
        fields = [frame.get((cell, category, judged.horizon)) for cell in region.cells]
        if not all(fields):
            continue  # I4 has said so
        yield Judgement(
            region=region.name,
            category=category,
            horizon=judged.horizon,
            tick_s=judged.tick_s,
            due_s=judged.due_s,
            model=fields[0]["model"].strip('"'),
            rows=len(region.lat_edges) - 1,
            cols=len(region.lon_edges) - 1,
            timezone=region.timezone,
            size=DISPERSION,
            expected=tuple(float(row["expected"]) for row in fields),
            usual=tuple(float(row["usual"]) for row in fields),
            came=tuple(judged.came[cell, category] for cell in region.cells),
            has_history=tuple(
                any(frame[cell, name, judged.horizon]["support"] != '"no_history"' for name in region.categories)
                for cell in region.cells
            ),
        )
