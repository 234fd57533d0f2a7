"""A simulated year of two regions: drift seen, challengers made, tried, promoted, and a bad one refused."""

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.year_life import Effort, Happening, Judged, Life
from benchmarks.year_world import World
from lifecycle.gate.shadow_day import days_of
from lifecycle.gate.triggers import drift_of
from schemas.spec import DAY_S, Spec

_WEEK_S = 7 * DAY_S
_SPAN_DAYS = 28  # over which a loss is averaged
_SEEN = ("observed over expected", "following gained")  # in why a challenger is due: that something has changed
_LEAST_HOURS = 72  # of a week, before what is lost in it is a figure
PLAN_TEXT = "auto = true  # no person waits for a simulated year; all else as it is shipped\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Year:
    """How long, how large, and when something changes. Days are counted from the year's first."""

    days: int = 365
    first_days: int = 210  # before the year, that the first champions learn from
    side: int = 8
    per_day: float = 200.0
    change_day: int = 183
    bad_day: int = 250  # from which the quiet region is offered the bad challenger
    effort: Effort = field(default_factory=Effort)
    plan_text: str = PLAN_TEXT

    def worlds(self) -> tuple[World, World]:
        shared: Mapping[str, Any] = {"side": self.side, "per_day": self.per_day, "days": self.first_days + self.days}
        moved = World(name="moved", seed=3, change_day=self.first_days + self.change_day, **shared)
        return moved, World(name="quiet", seed=4, **shared)


def lived(year: Year, world: World, folder: Path, say: Callable[[str], None]) -> Life:
    """The whole year of a region."""
    life = Life(
        world=world, folder=folder, plan_text=year.plan_text, first_days=year.first_days, effort=year.effort, say=say
    )
    life.begin()
    say(f"{world.name}: the first champion is trained")
    is_bad_due = world.change_day is None
    for day in range(year.days):
        life.live(day)
        if is_bad_due and day >= year.bad_day:
            is_bad_due = not life.offer_bad(day)
    return life


def _say(text: str) -> None:
    print(text, flush=True)


def _figures(year: Year, world: World) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        return figures_of(lived(year, world, Path(folder), _say), change_day=world.change_day and year.change_day)


def simulate(year: Year) -> dict[str, Any]:
    """Each region in a process of its own."""
    worlds = year.worlds()
    with ProcessPoolExecutor(max_workers=len(worlds)) as pool:
        figures = pool.map(_figures, [year] * len(worlds), worlds)
        regions = dict(zip((world.name for world in worlds), figures, strict=True))
    return {"days": year.days, "first_days": year.first_days, "regions": regions}


def print_year(results: Mapping[str, Any], console: Console) -> None:
    """What happened, and the losses around it."""
    table = Table(title=f"{results['days']} days of two regions")
    for heading in ("region", "day", "what", "why"):
        table.add_column(heading, justify="right" if heading == "day" else "left")
    for name, region in results["regions"].items():
        for happening in region["happenings"]:
            what = f"{'bad: ' if happening['is_bad'] else ''}{happening['what']}"
            table.add_row(name, str(happening["day"]), what, happening["why"])
    console.print(table)
    for name, region in results["regions"].items():
        figures = ", ".join(f"{what} {value}" for what, value in region["summary"].items() if what != "bad")
        console.print(f"{name}: {figures}", highlight=False, soft_wrap=True)


def figures_of(life: Life, *, change_day: int | None) -> dict[str, Any]:
    """Of one region."""
    start_s = life.midnight_s(0)
    happenings = [replace(happening, why=_reason(happening.why)) for happening in life.happenings]
    return {
        "change_day": change_day,
        "weeks": weeks_of(life.judged, life.spec, start_s),
        "happenings": [asdict(happening) for happening in happenings],
        "summary": summary_of(life.judged, happenings, start_s, change_day),
    }


def _reason(text: str) -> str:
    """Without the version's name, which is another one in each run, and without the remedy."""
    return re.sub(r"^\S+ is not tried: ", "", text).removesuffix(": train another challenger")


def lost(judged: Sequence[Judged], side: str) -> float | None:
    """Nats an incident by which the log score is worse than that of the known process; None with too few hours."""
    hours = [judgement for judgement in judged if side != "challenger" or judgement.hour.challenger_version]
    if len(hours) < _LEAST_HOURS:
        return None
    incidents = sum(sum(judgement.hour.observed.values()) for judgement in hours)
    return round(sum(getattr(judgement.hour, side) - judgement.known for judgement in hours) / incidents, 4)


def weeks_of(judged: Sequence[Judged], spec: Spec, start_s: int) -> list[dict[str, Any]]:
    """Losses and observed over expected of each whole week, and the champion's drift as it stood at its end."""
    weeks = []
    for number in range((judged[-1].hour.tick_s - start_s) // _WEEK_S):
        first_s = start_s + number * _WEEK_S
        week = [judgement for judgement in judged if first_s <= judgement.hour.tick_s < first_s + _WEEK_S]
        so_far = [judgement.hour for judgement in judged if judgement.hour.tick_s < first_s + _WEEK_S]
        days = days_of(so_far, spec, champion=so_far[-1].champion_version, challenger=None)  # of the champion until now
        drift = drift_of(days)
        observed = sum(sum(judgement.hour.observed.values()) for judgement in week)
        expected = sum(sum((judgement.hour.alone_expected or {}).values()) for judgement in week)
        bounds = {name: round(getattr(drift[0], name), 3) if drift else None for name in ("ratio", "low", "high")}
        losses = {side: lost(week, side) for side in ("baseline", "alone", "champion", "challenger")}
        weeks.append({"day": 7 * number, **losses, "observed_over_expected": round(observed / expected, 3), **bounds})
    return weeks


def summary_of(
    judged: Sequence[Judged], happenings: Sequence[Happening], start_s: int, change_day: int | None
) -> dict[str, Any]:
    """Counts of what happened; where something changed, when it was seen and mended, and the losses around it."""
    own = [happening for happening in happenings if not happening.is_bad]
    what = Counter(happening.what for happening in own)
    ended = {"promoted": what["promote"], "other_ends": what["stop"] + what["undecided"]}
    counts = {
        "challengers": what["trial"] + what["refused"],
        "refused": what["refused"],
        **ended,
        "on_trial": what["trial"] - sum(ended.values()),
        "lost_first": lost(_between(judged, start_s, 0, _SPAN_DAYS), "champion"),
        "lost_last": lost(judged[-24 * _SPAN_DAYS :], "champion"),
    }
    if change_day is None:
        bad = [{"day": bad.day, "what": bad.what, "why": bad.why} for bad in happenings if bad.is_bad]
        return {**counts, "bad": bad}
    due = [after for after in own if after.what == "due" and after.day >= change_day]
    seen_day = next((asked.day for asked in due if any(sign in asked.why for sign in _SEEN)), None)
    later = [] if seen_day is None else [after for after in own if after.day > seen_day]
    promoted = next((after.day for after in later if after.what == "promote"), None)
    until = promoted if promoted is not None else len(judged) // 24
    return {
        **counts,
        "drift_seen_day": seen_day,
        "promoted_day": promoted,
        "lost_before": lost(_between(judged, start_s, change_day - _SPAN_DAYS, change_day), "champion"),
        "lost_between": lost(_between(judged, start_s, change_day, until), "champion"),
        "lost_between_alone": lost(_between(judged, start_s, change_day, until), "alone"),
        "lost_by_week": [
            [
                lost(_between(judged, start_s, change_day + 7 * week, change_day + 7 * week + 7), side)
                for week in range(8)
            ]
            for side in ("champion", "alone")
        ],
        "lost_after": lost(_between(judged, start_s, until + 1, until + 1 + _SPAN_DAYS), "champion"),
    }


def _between(judged: Sequence[Judged], start_s: int, first: int, stop: int) -> list[Judged]:
    """The hours of the year's days [first, stop)."""
    ticks = np.array([judgement.hour.tick_s for judgement in judged])
    places = np.searchsorted(ticks, [start_s + first * DAY_S, start_s + stop * DAY_S])
    return list(judged[places[0] : places[1]])
