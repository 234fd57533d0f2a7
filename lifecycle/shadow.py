"""What a shadow has shown: hour by hour as it was judged, written, read and cut here alone, and added up to local days.

<checkpoint>/shadow/<region>.jsonl
"""

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np

from models.comparison import bounds_of
from models.dispersion import Floats
from models.local_time import minute
from schemas.errors import CheckpointError
from schemas.files import open_for_append, replace_file, write_errors
from schemas.forecasts import ClosedFiles, closed_folder, last_grace_s
from schemas.spec import DAY_S, HOUR_S, Spec

ALLOWED_LATE_S = 3 * HOUR_S  # after an hour may be judged; the watch judges every quarter of an hour
LEAST_HOURS = 12  # of a day; one with fewer says too little of its kind and is left out
RECENT_DAYS = 60  # that are kept of each champion, so that one that comes back has its past
_HEAD = re.compile(
    rb'\{"tick_s":(\d+),"horizon":"(\w+)","champion_version":"([^"]+)"'
)  # to pass over a line costs little
_SUMS = ("values", "champion", "challenger", "baseline")
_BY_CATEGORY = ("observed", "champion_expected", "challenger_expected")


class ShadowHour(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
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
    alone: float | None = None  # the champion's network without what was followed; None: nothing was
    alone_expected: Mapping[str, float] | None = None
    is_cut: bool = False  # the feed was silent, or many messages were refused: it says nothing of either


class ShadowDay(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The forecasts for the shortest horizon of one local day, added up. They do not overlap."""

    day: str  # local date, 2026-11-25
    weekday: int  # Monday is 1
    hours: int  # that were judged
    failed: int = 0  # hours that the champion scored and the challenger did not
    cut: int = 0  # hours that are left out because they say nothing
    values: int
    champion: float
    challenger: float
    baseline: float
    observed: Mapping[str, int]
    champion_expected: Mapping[str, float]
    challenger_expected: Mapping[str, float]
    alone: float
    alone_expected: Mapping[str, float]


def shadow_path(checkpoint: Path, region: str) -> Path:
    return checkpoint / "shadow" / f"{region}.jsonl"


def read_shadow(path: Path, *, horizon: str = "", champion: str = "") -> Iterator[ShadowHour]:
    """The judged hours in a file; none without one. With `horizon` or `champion`: only those.

    Raises CheckpointError when a line cannot be read.
    """
    if not path.exists():
        return
    decoder = msgspec.json.Decoder(ShadowHour)
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), start=1):
        if not line.endswith(b"\n"):
            return  # being written now, or cut off by a crash: its batch is repeated
        head = _HEAD.match(line)
        if head and (horizon.encode() not in (b"", head[2]) or champion.encode() not in (b"", head[3])):
            continue
        try:
            yield decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise CheckpointError(f"{path}, line {number} cannot be read ({error})", "restore or delete it") from error


def judged_hours(checkpoint: Path, spec: Spec, champion: str = "") -> Iterator[ShadowHour]:
    """What the job has judged of a region's shortest horizon; with `champion` only beside that version."""
    return read_shadow(shadow_path(checkpoint, spec.region), horizon=spec.horizon_names[0], champion=champion)


def add_hours(checkpoint: Path, spec: Spec, hours: Sequence[ShadowHour]) -> None:
    """Write the hours that are not there yet, and wait for the disk. Raises CheckpointError.

    An hour that is there as cut out stays so: of two lines of an hour the last counts.
    """
    there = {(hour.tick_s, hour.is_cut) for hour in judged_hours(checkpoint, spec)} if hours else set()
    cut_s = {tick_s for tick_s, is_cut in there if is_cut}
    new = [hour for hour in hours if (hour.tick_s, hour.is_cut) not in there and hour.tick_s not in cut_s]
    path, lines = shadow_path(checkpoint, spec.region), b"".join(msgspec.json.encode(hour) + b"\n" for hour in new)
    if not lines:
        return
    with write_errors(CheckpointError, path, remedy="free disk space"), open_for_append(path) as file:
        if file.write(lines) < len(lines):
            raise CheckpointError(f"{path} took only a part of a line", remedy="free disk space")
        os.fsync(file.fileno())


def drop_unneeded(path: Path, *, champions: Collection[str], newest_s: int) -> None:
    """Keep the hours of these champions, and RECENT_DAYS of all: no judgement reads the others again.

    A kill leaves the file of before or of after. Lines that cannot be read stay. Raises CheckpointError.
    """
    oldest_s, wanted = newest_s - RECENT_DAYS * DAY_S, {version.encode() for version in champions}
    with write_errors(CheckpointError, path, remedy="free disk space"):
        lines = path.read_bytes().splitlines(keepends=True)
        heads = ((line, _HEAD.match(line)) for line in lines)
        needed = [line for line, head in heads if not head or int(head[1]) >= oldest_s or head[3] in wanted]
        if len(needed) < len(lines):
            replace_file(path, b"".join(needed))


def days_of(
    hours: Iterable[ShadowHour], spec: Spec, *, champion: str, challenger: str | None, since_s: int | None = None
) -> list[ShadowDay]:
    """The whole local days of these two versions, in order. An hour that is there twice counts as it stands last.

    challenger: None for whichever there was, or none. since_s: when its trial began; hours before do not count, as its
    plan was not on record, and those from then on in which the challenger is missing have failed.

    An hour that is cut out counts neither as judged nor as failed. The newest day may still lack hours and is left out,
    unless it ends with its last hour.
    """
    zone, horizon = ZoneInfo(spec.timezone), spec.horizon_names[0]
    of_champion = (hour for hour in hours if (hour.horizon, hour.champion_version) == (horizon, champion))
    ours = [hour for hour in of_champion if since_s is None or hour.tick_s >= since_s]
    missing = {} if since_s is None else {hour.tick_s: hour for hour in ours}
    newest = missing | {hour.tick_s: hour for hour in ours if challenger in (None, hour.challenger_version)}
    ordered = [newest[tick_s] for tick_s in sorted(newest)]
    days = [list(of_day) for _, of_day in groupby(ordered, key=lambda hour: _local(hour.tick_s, zone).date())]
    if days and _local(days[-1][-1].tick_s + 3600, zone).date() == _local(days[-1][-1].tick_s, zone).date():
        days.pop()
    return [_added_up(of_day, zone, challenger) for of_day in days]


def _added_up(all_hours: Sequence[ShadowHour], zone: ZoneInfo, challenger: str | None) -> ShadowDay:
    first = _local(all_hours[0].tick_s, zone)
    clear = [hour for hour in all_hours if not hour.is_cut]
    hours = [hour for hour in clear if challenger in (None, hour.challenger_version)]

    def by_category(by_hour: list[Mapping[str, float]]) -> dict[str, float]:
        return {category: sum(values[category] for values in by_hour) for category in all_hours[0].observed}

    sums: dict[str, Any] = {name: sum(getattr(hour, name) for hour in hours) for name in _SUMS}
    sums |= {name: by_category([getattr(hour, name) for hour in hours]) for name in _BY_CATEGORY}
    sums["alone"] = sum(hour.champion if hour.alone is None else hour.alone for hour in hours)
    sums["alone_expected"] = by_category([hour.alone_expected or hour.champion_expected for hour in hours])
    return ShadowDay(
        day=first.date().isoformat(),
        weekday=first.isoweekday(),
        hours=len(hours),
        failed=len(clear) - len(hours),
        cut=len(all_hours) - len(clear),
        **sums,
    )


def _local(at_s: int, zone: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(at_s, zone)


def whole_enough(days: Sequence[ShadowDay]) -> list[ShadowDay]:
    return [day for day in days if day.hours >= LEAST_HOURS]


def mean_scores(days: Sequence[ShadowDay], name: str) -> Floats:
    """(days,) mean log score of `champion`, `challenger` or `baseline`, nats per value."""
    return np.array([getattr(day, name) / day.values for day in days])


def observed_over_expected(observed: Floats, expected: Floats, *, alpha: float) -> tuple[float, float, float]:
    """The ratio over all days, and the bounds of its confidence sequence, which err in `alpha` each. (days,) each."""
    apart, per_day = bounds_of(observed - expected, alpha=alpha), float(expected.mean())
    ratio = float(observed.sum() / expected.sum())
    return ratio, 1 + float(apart.lower[-1]) / per_day, 1 + float(apart.upper[-1]) / per_day


def judged_late(checkpoint: Path, spec: Spec, *, since_s: int, now_s: float) -> str:
    """Why nothing newer is judged, and what to do; empty where the judge keeps up. since_s: when the trial began."""
    newest_s = max((hour.tick_s for hour in judged_hours(checkpoint, spec)), default=0)
    waits_since_s = max(newest_s, since_s)
    if now_s <= waits_since_s + spec.horizons_s[0] + last_grace_s(spec) + ALLOWED_LATE_S:
        return ""
    judged = f"the newest judged hour began at {minute(newest_s)} UTC" if newest_s else "no hour is judged"
    if waiting := len(ClosedFiles(closed_folder(checkpoint)).waiting(spec.region)):
        return f"{judged}, and {waiting} files of counts wait: see `risk watch --check`"
    return f"{judged}, and the job has closed no other one: see whether it runs, and RISK_CHECKPOINT"
