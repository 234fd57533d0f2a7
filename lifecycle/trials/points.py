"""The points of trials, followers and posts as line protocol."""

import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

import numpy as np
from msgspec.structs import asdict

from lifecycle.gate.asked import Asked
from lifecycle.gate.judge import judge_hours
from lifecycle.gate.shadow_day import ShadowHour, days_of
from lifecycle.gate.trial import Trial
from lifecycle.gate.triggers import drift_of
from models.dispersion import Floats
from models.following.factors import Parts
from models.following.state import GUARDS, FollowerState
from models.local_time import zone_of
from schemas.audit.log import AuditRecord
from schemas.left_behind.posts_measured import PostsMeasured
from schemas.spec import DAY_S, Spec
from streaming.sinks.line_protocol import point_line

_DECISIONS = {"model_promoted": "made champion", "model_rolled_back": "taken back"}
_WORTH_A_POINT = 1.1  # factor of a cell, or its inverse


def shadow_line(region: str, hour: ShadowHour) -> bytes:
    """An hour's judgement as line protocol at the forecast's own time; log scores are means per value."""
    fields: dict[str, float | int | str] = {
        f"{name}_log_score": getattr(hour, name) / hour.values for name in ("champion", "challenger", "baseline")
    }
    for name in ("observed", "champion_expected", "challenger_expected"):
        fields[name] = sum(getattr(hour, name).values())
    versions = {"champion": hour.champion_version, "challenger": hour.challenger_version}
    return point_line("shadow", {"horizon": hour.horizon, "region": region}, {**fields, **versions}, hour.tick_s)


def gate_line(spec: Spec, trial: Trial, hours: Iterable[ShadowHour]) -> bytes:
    """What the gate says of the days so far, as line protocol at the newest day; nothing before there are bounds.

    A challenger that fails is reported without them.
    """
    so_far = list(hours)
    judgement = judge_hours(trial, spec, so_far)
    bounds = {"difference": judgement.difference, "low": judgement.low, "high": judgement.high}
    if not math.isfinite(judgement.high):
        if judgement.decision == "go on":
            return b""
        bounds = {}
    fields: dict[str, float | int | str] = {
        **bounds,
        "margin": judgement.margin,
        "days": judgement.days,
        "failed_hours": sum(judgement.failed.values()),
        "decision": judgement.decision,
        "because": judgement.because,
        "challenger": trial.challenger,
        "awaited": float(judgement.decision != "go on"),
    }
    return point_line("gate", {"region": spec.region}, fields, day_start(max(hour.tick_s for hour in so_far)))


def drift_lines(spec: Spec, hours: Iterable[ShadowHour]) -> bytes:
    """The observed over expected of the version that scored last, as points at its newest day; see `drift_of`."""
    so_far = list(hours)
    newest = max(so_far, key=lambda hour: hour.tick_s)
    days = days_of(so_far, spec, champion=newest.champion_version, challenger=None)
    return b"".join(
        point_line(
            "drift",
            {"category": drift.name, "region": spec.region},
            {"ratio": drift.ratio, "low": drift.low, "high": drift.high, "champion": newest.champion_version},
            day_start(newest.tick_s),
        )
        for drift in drift_of(days)
        if math.isfinite(drift.high)
    )


def retrain_line(region: str, asked: Asked, now_s: int) -> bytes:
    """What became of a region's last ask, and when one last made a challenger; at `now_s`, the region's clock."""
    fields: dict[str, float | int | str] = {"outcome": asked.outcome, "because": asked.because}
    if asked.made_s is not None:
        fields["made_ago_s"] = float(max(0, now_s - asked.made_s))
    return point_line("retrain", {"region": region}, fields, now_s)


def following_lines(
    spec: Spec, version: str, state: FollowerState, at_s: int, gains: Iterable[tuple[float, int]]
) -> bytes:
    """What a follower knows, as points; cells once a day, those whose factor says something.

    gains: of each category, nats that following gained in the newest hour, and incidents that came in it.
    """
    parts, lines, still = Parts.of(state), [], state.still[GUARDS]
    for place, (category, (gained, came)) in enumerate(zip(spec.categories, gains, strict=True)):
        tags = {"category": category, "region": spec.region}
        fields = {"level": parts.level[place, 0], "as_usual": still[place], "gained": gained, "incidents": float(came)}
        lines.append(point_line("following", tags, {**fields, "model": version}, at_s))
        for hour, factor in enumerate(parts.hours[place]):
            of_hour = {"category": category, "hour": f"{hour:02d}", "region": spec.region}
            lines.append(point_line("following_hour", of_hour, {"factor": factor}, at_s))
        if at_s % DAY_S == 0:
            lines += _cells(spec, category, parts.cells[place], at_s)
    return b"".join(lines)


def _cells(spec: Spec, category: str, factors: Floats, at_s: int) -> Iterator[bytes]:
    ids, geohashes = spec.grid.cell_ids(), spec.grid.geohashes()
    for cell in np.flatnonzero(np.abs(np.log(factors)) > np.log(_WORTH_A_POINT)):
        tags = {"category": category, "cell": ids[cell], "geohash": geohashes[cell], "region": spec.region}
        yield point_line("following_cell", tags, {"factor": factors[cell]}, at_s)


def decided_line(spec: Spec, version: str, audit: Sequence[AuditRecord], now_s: int) -> bytes:
    """Who made the version that scores champion, when and why; nothing where no record says it. At the region's clock.

    audit: the log, in its order.
    """
    for each in reversed(audit):
        of = each.details
        is_champion = of.get("role", "champion") == "champion"
        if each.event in _DECISIONS and is_champion and (of["region"], of["version"]) == (spec.region, version):
            when = each.at.astimezone(zone_of(spec.timezone))
            says = f"{_DECISIONS[each.event]} by {of['by']} on {when:%d %b %Y at %H:%M}: {of['because']}"
            return point_line("decided", {"region": spec.region}, {"champion": version, "says": says}, now_s)
    return b""


def posts_lines(spec: Spec, measured: PostsMeasured, version: str, now_s: int) -> bytes:
    """What posts that follow the model gained, and whether that is said of the version that scores, at `now_s`."""
    when = f"{datetime.fromtimestamp(measured.at_s, zone_of(spec.timezone)):%d %b %Y}"
    is_other = f"of version {measured.version}, not of that which scores: measure again"
    says = f"{when}, {'of the version that scores' if version == measured.version else is_other}"
    lines = b""
    for compared in measured.settings:
        fields = asdict(compared) | {"measured": says}
        tags = {"region": spec.region, "setting": fields.pop("setting")}
        lines += point_line("posts", tags, fields, now_s)
    return lines


def nobody_is_awaited_line(region: str, newest_s: int) -> bytes:
    """A point which says that the trial of the newest judged hour has ended."""
    return point_line("gate", {"region": region}, {"awaited": 0.0}, day_start(newest_s))


def day_start(at_s: int) -> int:
    """Midnight before, UTC."""
    return at_s // DAY_S * DAY_S
