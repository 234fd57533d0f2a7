"""What a shadow has shown: hour by hour as it was judged, and added up to local days."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np

from models.counting.closed_horizons import ClosedHorizon
from models.measures.cube import Floats
from models.measures.outcomes import Forecast, log_scores
from schemas.errors import CheckpointError
from schemas.spec import Spec

LEAST_HOURS = 12  # of a day; one with fewer says too little of its kind and is left out
_HEAD = re.compile(rb'\{"tick_s":\d+,"horizon":"(\w+)"')  # of a line: to pass over it costs little
_SUMS = ("values", "champion", "challenger", "baseline")
_BY_CATEGORY = ("observed", "champion_expected", "challenger_expected")


class ShadowHour(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A forecast made at `tick_s` for one horizon by both, after late reports.

    Sums over cells and categories: of log scores in nats, smaller is better; by category of incidents.
    """

    tick_s: int
    horizon: str  # 1h
    champion_version: str
    challenger_version: str  # empty: there was none, and its figures are the champion's
    values: int  # cells x categories
    champion: float
    challenger: float
    baseline: float  # the champion's own
    observed: Mapping[str, int]
    champion_expected: Mapping[str, float]
    challenger_expected: Mapping[str, float]


class ShadowDay(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The forecasts for the shortest horizon of one local day, added up. They do not overlap."""

    day: str  # local date, 2026-11-25
    weekday: int  # Monday is 1
    hours: int  # that were judged
    values: int
    champion: float
    challenger: float
    baseline: float
    observed: Mapping[str, int]
    champion_expected: Mapping[str, float]
    challenger_expected: Mapping[str, float]


def judged_hour(champion: Forecast, challenger: Forecast | None, closed: ClosedHorizon, spec: Spec) -> ShadowHour:
    """The forecasts against what was observed, and the champion's baseline."""
    h, observed = closed.horizon, closed.observed
    beside = challenger or champion
    sums: dict[str, Any] = {
        name: float(log_scores(mean[:, :, h], observed, dispersion[:, h]).sum())
        for name, mean, dispersion in (
            ("champion", champion.expected, champion.dispersion),
            ("challenger", beside.expected, beside.dispersion),
            ("baseline", champion.usual, champion.dispersion),
        )
    }
    for name, values in (
        ("observed", observed.sum(axis=0)),
        ("champion_expected", champion.expected[:, :, h].sum(axis=0, dtype=float)),
        ("challenger_expected", beside.expected[:, :, h].sum(axis=0, dtype=float)),
    ):
        sums[name] = dict(zip(spec.categories, values.tolist(), strict=True))
    return ShadowHour(
        tick_s=closed.tick_s,
        horizon=spec.horizon_names[h],
        champion_version=champion.model,
        challenger_version=challenger.model if challenger else "",
        values=observed.size,
        **sums,
    )


def shadow_path(checkpoint: Path, region: str) -> Path:
    return checkpoint / "shadow" / f"{region}.jsonl"


def read_shadow(path: Path, *, horizon: str = "", version: str = "") -> Iterator[ShadowHour]:
    """The judged hours in a file; none without one. With `horizon` or `version`: only those that name it.

    Raises CheckpointError when a line cannot be read.
    """
    if not path.exists():
        return
    decoder = msgspec.json.Decoder(ShadowHour)
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), start=1):
        if not line.endswith(b"\n"):
            return  # being written now, or cut off by a crash: its batch is repeated
        head = _HEAD.match(line)
        if head and (horizon.encode() not in (b"", head[1]) or version.encode() not in line):
            continue
        try:
            yield decoder.decode(line)
        except msgspec.DecodeError as error:
            raise CheckpointError(f"{path}, line {number} cannot be read ({error})", "restore or delete it") from error


def judged_hours(checkpoint: Path, spec: Spec, version: str = "") -> Iterator[ShadowHour]:
    """What the job has judged of a region's shortest horizon; with `version` only lines that name it."""
    return read_shadow(shadow_path(checkpoint, spec.region), horizon=spec.horizon_names[0], version=version)


def days_of(hours: Iterable[ShadowHour], spec: Spec, *, champion: str, challenger: str | None) -> list[ShadowDay]:
    """The whole local days of these two versions, in order. An hour that is there twice counts as it stands last.

    challenger: None for whichever there was, or none.

    The newest day may still lack hours and is left out, unless it ends with its last hour.
    """
    zone, horizon = ZoneInfo(spec.timezone), spec.horizon_names[0]
    newest = {
        one.tick_s: one
        for one in hours
        if (one.horizon, one.champion_version) == (horizon, champion) and challenger in (None, one.challenger_version)
    }
    ordered = [newest[tick_s] for tick_s in sorted(newest)]
    days = [list(its) for _, its in groupby(ordered, key=lambda one: _local(one.tick_s, zone).date())]
    if days and _local(days[-1][-1].tick_s + 3600, zone).date() == _local(days[-1][-1].tick_s, zone).date():
        days.pop()
    return [_added_up(its, zone) for its in days]


def _added_up(hours: Sequence[ShadowHour], zone: ZoneInfo) -> ShadowDay:
    first = _local(hours[0].tick_s, zone)
    sums: dict[str, Any] = {name: sum(getattr(one, name) for one in hours) for name in _SUMS}
    for name in _BY_CATEGORY:
        by_hour = [getattr(one, name) for one in hours]
        sums[name] = {category: sum(values[category] for values in by_hour) for category in hours[0].observed}
    return ShadowDay(day=first.date().isoformat(), weekday=first.isoweekday(), hours=len(hours), **sums)


def _local(at_s: int, zone: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(at_s, UTC).astimezone(zone)


def whole_enough(days: Sequence[ShadowDay]) -> list[ShadowDay]:
    return [day for day in days if day.hours >= LEAST_HOURS]


def mean_scores(days: Sequence[ShadowDay], name: str) -> Floats:
    """(days,) mean log score of `champion`, `challenger` or `baseline`, nats per value."""
    return np.array([getattr(day, name) / day.values for day in days], np.float64)
