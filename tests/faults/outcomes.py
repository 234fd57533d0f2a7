"""How forecasts came out, recounted: what `outcome`, `outcome_area` and `outcome_chance` must say, and what is wrong.

Imports nothing of the product: it takes docs/reference/data-dictionary.md literally, cell by cell, with lists.
"""

import math
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from tests.harness.points import points_in

HOUR_S = 3600
GRACE_S = HOUR_S  # between the end of a horizon and its first judgement; the second comes a late limit later
PERCENTS = (5, 10)
CHANCES = (0, 1, 5, 20, 50)  # percent: where the bins begin
BANDS = 4  # districts are the fields of a board of at most 4 x 4, laid over the grid
SUMS, LAWS = 1e-6, 1e-4  # shares by which a sum, and what follows from the distribution, may be off: of 32 bits
STEP = 1e-6  # in which a stored score is written where it is small


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A forecast for one category and horizon, and what had come of it when it was judged. Tuples are by cell."""

    region: str
    category: str
    horizon: str
    tick_s: int  # when the forecast was made
    due_s: int  # when the judgement was due
    model: str
    rows: int
    cols: int
    timezone: str
    size: float  # of the negative binomial
    expected: tuple
    usual: tuple
    came: tuple
    has_history: tuple  # whether any incident of the cell was on record when the forecast was made

    @property
    def place(self):
        return self.region, self.category, self.horizon, self.tick_s

    @property
    def tags(self):
        return f"horizon={self.horizon},region={self.region}"


def due_between(tick_s, width_s, late_limit_s, before_s, now_s):
    """When the judgements were due that a clock going from `before_s` to `now_s` brings."""
    end_s = tick_s + width_s
    return [due_s for due_s in (end_s + GRACE_S, end_s + late_limit_s + GRACE_S) if before_s < due_s <= now_s]


def written_in(text):
    """(measurement and tags, time in s, fields) of the lines that outcomes are recounted from and judged by.

    The rest of a store's lines is many times as much: scores are taken at whole hours only.
    """
    for key, time_s, fields in points_in(text):
        if key.startswith("outcome") or (key.startswith(("risk,", "top,")) and time_s % HOUR_S == 0):
            yield key, time_s, fields


def wrong(points, written, judgements, off=0.0):
    """What is wrong with the outcomes of a store, as sentences; none when each that is due is there, and no other.

    points: (measurement and tags, time in s) -> {field: text}, as a store has them in the end. written: of each write,
    in order (`written_in`). judgements: all that were due, in order. off: share by which their means were rounded.
    """
    of_place = defaultdict(list)
    for judgement in judgements:
        of_place[judgement.place].append(judgement)
    wanted, may_be = {}, {}
    for ones in of_place.values():
        must, may = points_of(ones[-1], off)
        wanted |= must
        may_be |= may
    stored = {key: fields for key, fields in points.items() if key[0].startswith("outcome")}
    for key in sorted(wanted.keys() - stored.keys()):
        yield f"{key} is due, and is not there"
    for key in sorted(stored.keys() - wanted.keys() - may_be.keys()):
        yield f"{key} is there, and is not due"
    for key in sorted(stored.keys() & (wanted.keys() | may_be.keys())):
        yield from _differences(stored[key], wanted.get(key) or may_be[key], f"{key}")
    yield from _wrong_as_written(written, of_place, off)


def _wrong_as_written(written, of_place, off):
    """Of each point all that was written: the one judgement and then the other, whatever overwrote what."""
    versions = defaultdict(list)
    for key, time_s, fields in written:
        if key.startswith("outcome"):
            versions[key, time_s].append(fields)
    for ones in of_place.values():
        due = [points_of(judgement, off) for judgement in ones]
        for key in sorted(set().union(*(must.keys() | may.keys() for must, may in due))):
            fitting = [
                [number for number, (must, may) in enumerate(due) if _fits(fields, must.get(key) or may.get(key))]
                for fields in versions.pop(key, [])
            ]
            if not all(fitting):
                yield f"{key}: what was written at the {fitting.index([]) + 1}. time is no judgement that was due"
                continue
            if not _is_in_order(fitting):
                yield f"{key}: judgements were written in the order {fitting}"
            for number, (must, _) in enumerate(due):
                if key in must and not any(number in numbers for numbers in fitting):
                    yield f"{key}: the judgement that was due at {ones[number].due_s} was never written"
    for key in versions:
        yield f"{key} was written, and was never due"


def _is_in_order(fitting):
    """Whether the judgements can have been written one after another, where one may fit several."""
    now = 0
    for numbers in fitting:
        later = [number for number in numbers if number >= now]
        if not later:
            return False
        now = min(later)
    return True


def _fits(fields, wanted):
    return wanted is not None and not any(_differences(fields, wanted, ""))


def _differences(fields, wanted, where):
    for name in sorted(fields.keys() ^ wanted.keys()):
        yield f"{where}: {name} is {fields.get(name)}, recounted {wanted.get(name)}"
    for name in sorted(fields.keys() & wanted.keys()):
        value, right = fields[name], wanted[name]
        if value != right if isinstance(right, str) else not right[0] <= float(value) <= right[1]:
            yield f"{where}: {name} is {value}, recounted {right}"


@lru_cache(maxsize=4096)
def points_of(judgement, off=0.0):
    """({point: {field: text, or (least, most)}}, the same of those that may be there or not, as `off` decides)."""
    one = judgement
    must = {(f"outcome,category={one.category},{one.tags}", one.tick_s): _figures(one, off)}
    for district, cells in _districts(one.rows, one.cols).items():
        low, high = _sum([one.expected[cell] for cell in cells], off)
        came = sum(one.came[cell] for cell in cells)
        key = f"outcome_area,category={one.category},district={district:02d},{one.tags}"
        must[key, one.tick_s] = {"expected": (low, high), "observed": (came, came)}
    may = {}
    for least, (sure, fields) in _chances(one, off).items():
        key = f"outcome_chance,category={one.category},chance={least:02d},{one.tags}"
        (must if sure else may)[key, one.tick_s] = fields
    return must, may


def _figures(one, off):
    began = datetime.fromtimestamp(one.tick_s, ZoneInfo(one.timezone))
    exact = {"observed": sum(one.came), "closed_s": one.due_s, "weekday": began.isoweekday(), "hour": began.hour}
    area = [cell for cell, has in enumerate(one.has_history) if has or not any(one.has_history)]
    most = {percent: max(1, round(percent / 100 * len(area))) for percent in PERCENTS}
    for percent, cells in most.items():
        exact[f"ideal_hits_{percent}"] = sum(sorted(one.came[cell] for cell in area)[-cells:])
    figures = {name: (value, value) for name, value in exact.items()}
    figures |= {"expected": _sum(one.expected, off), "usual": _sum(one.usual, off), "model": f'"{one.model}"'}
    for prefix, means in (("", one.expected), ("baseline_", one.usual)):
        pairs = list(zip(means, one.came, strict=True))
        figures[f"{prefix}brier"] = _mean([_brier(*_around(mean, off), count, one.size) for mean, count in pairs])
        figures[f"{prefix}log_score"] = _mean([_log(*_around(mean, off), count, one.size) for mean, count in pairs])
        for percent, cells in most.items():
            figures[f"{prefix}hits_{percent}"] = _hits([pairs[cell] for cell in area], cells, off)
    return figures


def _around(mean, off):
    """Between what a mean that was rounded can have been."""
    return (max(mean * (1 - off) - STEP, 1e-12), mean * (1 + off) + STEP) if off else (mean, mean)


def _sum(means, off):
    lows, highs = zip(*(_around(mean, off) for mean in means), strict=True)
    return sum(lows) * (1 - SUMS), sum(highs) * (1 + SUMS)


def _mean(spans):
    lows, highs = zip(*spans, strict=True)
    return sum(lows) / len(spans) * (1 - LAWS), sum(highs) / len(spans) * (1 + LAWS)


def _chance(mean, size):
    """Of at least one."""
    return 1 - (1 + mean / size) ** -size


def _brier(low, high, count, size):
    ends = [(_chance(mean, size) - (count > 0)) ** 2 for mean in (low, high)]
    return min(ends), max(ends)


def _log(low, high, count, size):
    """Negative log likelihood; it is least where the mean is the count."""
    ends = [-_log_likelihood(count, mean, size) for mean in (low, high)]
    least = -_log_likelihood(count, count, size) if low < count < high else min(ends)
    return least, max(ends)


def _log_likelihood(count, mean, size):
    ways = math.lgamma(count + size) - math.lgamma(size) - math.lgamma(count + 1)
    return ways - size * math.log1p(mean / size) + count * math.log(mean / (size + mean))


def _hits(pairs, most, off):
    """Incidents in the `most` cells of the highest mean. Cells of equal means share their places.

    Rounded means that are near the last place may be in either order.
    """
    last = sorted((mean for mean, _ in pairs), reverse=True)[most - 1]
    low, high = (last - 2 * off * last - 2 * STEP, last + 2 * off * last + 2 * STEP) if off else (last, last)
    above = [count for mean, count in pairs if mean > high]
    near = sorted(count for mean, count in pairs if low <= mean <= high)
    places = most - len(above)
    if not off:
        shared = sum(above) + places * sum(near) / len(near)
        return shared - 1e-9, shared + 1e-9
    return sum(above) + sum(near[:places]), sum(above) + sum(near[len(near) - places :])


def _districts(rows, cols):
    """Number of a district, from 1 in the south-west -> its cells."""
    bands, pieces, found = min(BANDS, rows), min(BANDS, cols), defaultdict(list)
    for row in range(rows):
        for col in range(cols):
            found[row * bands // rows * pieces + col * pieces // cols + 1].append(row * cols + col)
    return found


def _chances(one, off):
    """Where a bin begins, in percent -> (whether a cell surely is in it, fields)."""
    found = {}
    spans = [[_chance(mean, one.size) for mean in _around(mean, off or LAWS)] for mean in one.expected]
    for least, end in zip(CHANCES, (*CHANCES[1:], 200), strict=True):
        sure = [cell for cell, (low, high) in enumerate(spans) if low >= least / 100 and high < end / 100]
        may = [cell for cell, (low, high) in enumerate(spans) if high >= least / 100 and low < end / 100]
        if may:
            said = sum(spans[cell][0] for cell in sure) * (1 - LAWS), sum(spans[cell][1] for cell in may) * (1 + LAWS)
            came = tuple(sum(one.came[cell] > 0 for cell in cells) for cells in (sure, may))
            found[least] = bool(sure), {"cells": (len(sure), len(may)), "said": said, "came": came}
    return found
