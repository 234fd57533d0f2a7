"""The demo's last page: what became of every message, and what the evening's calls say of the screen and its forecast.

When the screen first said it, and where; hour by hour what was expected and what came; which share of the night's calls
ten posts reach; what the cells that the forecast put first caught; how long a score took.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from models.artifact import Artifact
from models.comparison import ADDS_NOTHING
from models.counting.count_state import OUTCOMES
from models.evaluation.inside_cells import AREA_SHARES, hits_at
from models.outcomes import AtShare, captured
from models.posts_plan import AskedPlans, Places, Plan, metres_of_places, places_of, usual_week
from models.readiness import (
    FLOOR,
    LEAST_PART,
    Drive,
    Question,
    by_straight_line,
    choose,
    parts_of,
    with_enough,
)
from models.scoring import unraised
from schemas.areas import PlaceNames, cells_in_words
from schemas.errors import PipelineError
from schemas.fine import OVER_ALL, FineShares, squares_of
from schemas.frame import RiskFrame, Unusual
from schemas.grid import Floats, Grid
from schemas.spec import DAY_S, HOUR_S
from streaming.flow.rows import Published
from streaming.rehearse.incident_replay import DEMO_DAY, GROUND, REGION, Message, ReplayPlan, local_text, parse_when

WIDTH = 110  # columns of the page as a file
AREA_SHARE = 0.05
UNITS, MINUTES, SPEED_KMH = 10, 8.0, 40.0  # as `risk posts`
_STORM = f"{DEMO_DAY}T18:00"
_HOURS = range(15, 23)  # of the evening, on the local clock
_NEW_AFTER_S = 4 * HOUR_S  # what was not told for so long is told anew: the longest of the scan's windows
_YEARS_FROM_DAYS, _CENTURY_DAYS = 730, 36_000
_WHAT = "what, and where"


@dataclass(frozen=True, slots=True)
class ShownFrame:
    """What a frame said: of the whole region in its next hour, and where more than usual happened."""

    as_of_s: int
    without_nowcast: float
    expected: float
    unusual: tuple[Unusual, ...]


@dataclass(kw_only=True)
class Evening:
    """What the demo observed: when each message was sent and acknowledged, and what each frame said."""

    plan: ReplayPlan
    artifact: Artifact
    sent_s: list[float] = field(default_factory=list)  # wall clock, in the order of the (only) partition
    acknowledged_s: list[float] = field(default_factory=list)  # the same order
    points: int = 0
    batches: int = 0
    before: RiskFrame | None = None  # the day began
    shown: list[ShownFrame] = field(default_factory=list)

    def on_sent(self, _message: Message) -> None:
        self.sent_s.append(time.time())

    def on_batch(self, published: Published) -> None:
        self.batches += 1
        self.points += published.points
        consumed = sum(summary.ledger["consumed"] for summary in published.summaries.values())
        self.acknowledged_s += [published.acknowledged_s] * consumed
        if frame := published.frames.get(REGION):
            self.before = self.before or frame
            without_nowcast, expected = (
                float(hours[:, :, 0].sum(dtype=float)) for hours in (unraised(frame), frame.expected)
            )
            self.shown.append(ShownFrame(frame.as_of_s, without_nowcast, expected, frame.unusual))

    @property
    def grid(self) -> Grid:
        return self.artifact.spec.grid

    @cached_property
    def storm_s(self) -> int:
        return parse_when(_STORM, self.plan.table.timezone)

    @cached_property
    def names(self) -> PlaceNames:
        """The municipalities in the demo's ground."""
        return PlaceNames(json.loads(GROUND.read_bytes()), self.grid)

    def clock(self, at_s: int) -> str:
        return local_text(at_s, self.plan.table.timezone)[11:]

    def calls_between(self, from_s: int, to_s: int) -> int:
        """Calls of the file."""
        return int(np.diff(np.searchsorted(self.plan.table.occurred_s, [from_s, to_s]))[0])


def report(evening: Evening, ledger: Mapping[str, int], sent_by_kind: Mapping[str, int]) -> RenderableType:
    """The whole page. Raises PipelineError when nothing was scored."""
    if evening.before is None:
        raise PipelineError("the job produced no score", "read the messages above")
    p50, p99 = np.quantile(np.array(evening.acknowledged_s) - np.array(evening.sent_s), [0.5, 0.99])
    last = (
        f"From sent to scored and written: {p50 * 1000:,.0f} ms (median), {p99 * 1000:,.0f} ms for 99 of 100 messages.",
        "These are figures of one evening in one county: another evening gives others.",
    )
    parts = (
        _ledger(evening, ledger, sent_by_kind),
        _first_told(evening),
        _hours(evening),
        _within_reach(evening),
        _hits(evening, evening.before),
        Text("\n".join(last)),
    )
    return Group(*(Padding(part, (0, 0, 1, 0)) for part in parts))


def _ledger(evening: Evening, ledger: Mapping[str, int], sent_by_kind: Mapping[str, int]) -> Table:
    sent = ", ".join(f"{count:,} {kind}" for kind, count in sent_by_kind.items() if count)
    table = _table("What became of every message", "", "messages", "")
    table.add_row("sent", f"{sum(sent_by_kind.values()):,}", sent)
    table.add_row("consumed", f"{ledger['consumed']:,}", f"in {evening.batches} batches, {evening.points:,} points")
    for name, meaning in (
        ("counted", "first message about an incident"),
        ("corrected", "moved, reclassified or cancelled"),
        ("duplicate", "sent again, changed nothing"),
        ("repeated", "reports again what another call has reported"),
        ("excluded", "of an origin that feeds no score, or already in the history"),
    ):
        table.add_row(f"  {name}", f"{ledger[name]:,}", meaning)
    reasons = {name.removeprefix("rejected_"): n for name, n in sorted(ledger.items()) if name.startswith("rejected_")}
    table.add_row("  rejected", f"{ledger['rejected']:,}", ", ".join(f"{n} {name}" for name, n in reasons.items()))
    difference = ledger["consumed"] - sum(ledger[name] for name in (*OUTCOMES, "rejected"))
    table.add_row("unaccounted", f"{difference:,}", "must be 0")
    return table


def _first_told(evening: Evening) -> Table:
    """Each kind when it was first told, and how many of the night's calls had come by then."""
    names, night = evening.names, evening.calls_between(evening.storm_s, evening.storm_s + DAY_S)
    table = _table("When the screen first said it, and where", "clock", _WHAT, "calls since 18:00")
    for frame, place in first_told(evening.shown):
        words = Text(f"{place.category} {where(place, evening.grid, names)}: ")
        words.append(f"{place.observed} instead of {place.usual:.2g} in {place.hours} h", style="bold")
        words.append(f", by chance once in {_span(place.days)}")
        came = evening.calls_between(evening.storm_s, max(frame.as_of_s + 1, evening.storm_s))
        table.add_row(evening.clock(frame.as_of_s), words, f"{came} of {night}")
    if not table.row_count:
        table.add_row("", "nothing stood out", "")
    return table


def _span(days: float) -> str:
    """As the map says it."""
    if days >= _CENTURY_DAYS:
        return "100 years or more seldom"
    return f"{days:,.0f} days" if days < _YEARS_FROM_DAYS else f"{days / 365:,.0f} years"


def first_told(shown: Sequence[ShownFrame]) -> Iterator[tuple[ShownFrame, Unusual]]:
    """The first frame in which something unusual of a category was told, and that place; anew after a long pause."""
    last_s: dict[str, int] = {}
    for frame in shown:
        for place in frame.unusual:
            if frame.as_of_s - last_s.get(place.category, -DAY_S) > _NEW_AFTER_S:
                yield frame, place
            last_s[place.category] = frame.as_of_s


def where(place: Unusual, grid: Grid, names: PlaceNames) -> str:
    """As `around Plymouth, Whitpain and 4 more places (r003c019 to r010c026)`; without a name near the cells alone."""
    cells = place.cells(grid)
    if len(cells) == grid.cells:
        return "in the whole county"
    name, ids = names.of_rectangle(cells, place.above), cells_in_words(cells, grid)
    return f"around {name} ({ids})" if name else f"at {ids}"


def _hours(evening: Evening) -> Table:
    """Of the first frame in each hour of the evening, what it expected of the next hour, and what came."""
    table = _table(
        "Calls in the next hour, forecast and come",
        "from",
        "forecast",
        "with the last hour (nowcast)",
        "came",
    )
    for hour in _HOURS:
        begin_s = parse_when(f"{DEMO_DAY}T{hour}:00", evening.plan.table.timezone)
        frame = next((each for each in evening.shown if begin_s <= each.as_of_s < begin_s + HOUR_S), None)
        if frame:
            came = evening.calls_between(frame.as_of_s, frame.as_of_s + HOUR_S)
            numbers = (f"{number:.0f}" for number in (frame.without_nowcast, frame.expected, came))
            table.add_row(evening.clock(frame.as_of_s), *numbers)
    return table


def _within_reach(evening: Evening) -> Text:
    plan, calls = posts_of_the_night(evening)
    near = evening.names.nearest([evening.grid.index_of(post.place) for post in plan.posts])
    posts = ", ".join(
        " · ".join(filter(None, (name, post.place))) + (f" x {post.units}" if post.units != 1 else "")
        for name, post in zip(near, plan.posts, strict=True)
    )
    return Text.assemble(
        (f"Within {MINUTES:g} minutes from ten posts\n", "bold"),
        f"{plan.kept['within']:.0%} of the night's {calls} calls from 18:00 on, at {SPEED_KMH:g} km/h; "
        f"{plan.reached.within:.0%} of a usual week. The posts were chosen from the time before: {posts}.",
    )


def posts_of_the_night(evening: Evening) -> tuple[Plan, int]:
    """The best ten posts for a usual week, judged on the calls from the storm on; and how many those are."""
    artifact, grid, table = evening.artifact, evening.grid, evening.plan.table
    demand = usual_week(artifact.spec, artifact.constants, artifact.history())
    drive, areas = Drive(minutes=MINUTES, speed_kmh=SPEED_KMH), parts_of(grid)
    places = places_of(demand.cells, grid)
    question = Question(
        expected=demand.expected,
        reach=by_straight_line(grid, metres_of_places(places, grid), drive, artifact.spec.fine),
        units=UNITS,
        shares=artifact.fine.of_category(OVER_ALL) if artifact.fine else None,
        areas=with_enough(areas, demand.expected, demand.has_history, least=LEAST_PART),
        floor=FLOOR,
    )
    posts = choose(question, np.random.default_rng(0))
    inside = grid.locate(table.lat_deg, table.lon_deg)[1]
    calls = table.select(inside & (table.occurred_s >= evening.storm_s))
    asked = AskedPlans(grid=grid, demand=demand, drive=drive, areas=areas, calls=calls)
    plan = Places(name="ten posts", places=places, question=question).plan("", posts, asked, proved_best=False)
    return plan, len(calls)


def _hits(evening: Evening, beforehand: RiskFrame) -> RenderableType:
    """Of the frame from before the day, on the day's real calls."""
    table, start_s = evening.plan.table, beforehand.tick_s
    chosen = (table.occurred_s >= start_s) & (table.occurred_s < start_s + DAY_S)
    cell, inside = evening.grid.locate(table.lat_deg[chosen], table.lon_deg[chosen])
    counts = np.bincount(cell[inside], minlength=evening.grid.cells)
    model, baseline = (hits_of(beforehand, mean, counts) for mean in (beforehand.expected, beforehand.usual))
    active, came = int(_active(beforehand).sum()), int(counts.sum())
    title = f"The day's calls in {AREA_SHARE:.0%} of the area, {model.cells} of {active} cells"
    shown = _table(title, "cells chosen by", "calls inside", "share")
    squares = {}
    if (shares := evening.artifact.fine) is not None:
        by_square = hits_in_squares(beforehand, shares, table.lat_deg[chosen][inside], table.lon_deg[chosen][inside])
        squares[f"model, by squares of {evening.grid.cell_m / beforehand.spec.fine:g} m"] = by_square / came
    for name, share in (
        *squares.items(),
        ("model", model.hit_rate),
        ("baseline", baseline.hit_rate),
        ("chance", model.cells / active),
        ("hindsight (the best possible)", model.ideal_hit_rate),
    ):
        shown.add_row(name, f"{round(share * came):,} of {came:,}", f"{share:.1%}")
    lead = round((model.hit_rate - baseline.hit_rate) * came)
    verdict = (
        ADDS_NOTHING
        if (beforehand.expected == beforehand.usual).all()
        else f"The network's cells held {abs(lead)} calls {'more' if lead > 0 else 'fewer'} than the baseline's"
        if lead
        else "The network's cells held as many calls as the baseline's"
    )
    return Group(
        shown,
        Text(
            "Of the cells with any history, chosen before the day began. Baseline: the usual calls of each cell at "
            f"each hour of the week. {verdict}.",
            style="dim",
        ),
    )


def hits_of(frame: RiskFrame, mean: npt.NDArray[np.float32], counts: npt.NDArray[np.int64]) -> AtShare:
    """What 5 % of the cells with any history catch that `mean` puts first for the longest horizon.

    mean: (cells, categories, horizons). counts: (cells,) incidents of that horizon, also where there is no history.
    """
    active = _active(frame)
    capture = captured(mean[active, :, -1].sum(axis=1, dtype=float)[None], counts[active][None])
    return replace(capture, incidents=float(counts.sum())).at(AREA_SHARE)


def hits_in_squares(frame: RiskFrame, shares: FineShares, lat_deg: Floats, lon_deg: Floats) -> float:
    """How many of the calls lie in the squares, inside cells with any history, that the longest horizon puts first.

    They make up 5 % of the area of these cells; of equal squares at that limit a part counts.
    """
    spec, active = frame.spec, np.flatnonzero(_active(frame)).astype(np.int32)
    score = shares.in_squares(frame.expected[..., -1], active, range(len(spec.categories)))
    cell, _ = spec.grid.locate(lat_deg, lon_deg)
    is_active = np.isin(cell, active)
    square = squares_of(spec.grid, spec.fine, cell, lat_deg, lon_deg)
    at = np.searchsorted(active, cell[is_active]) * spec.fine**2 + square[is_active]
    return float(hits_at(np.asarray(score, np.float64).ravel(), at)[AREA_SHARES.index(AREA_SHARE)])


def _active(frame: RiskFrame) -> npt.NDArray[np.bool_]:
    """(cells,) whether each ever had an incident."""
    return np.asarray((frame.support > 0).any(axis=1))


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=None, pad_edge=False)
    for position, column in enumerate(columns):
        table.add_column(column, justify="right" if position and column not in ("", _WHAT) else "left")
    return table
