"""What must hold of the points, ledgers and letters that a scenario leaves behind, each breach in words.

The invariants: tests/faults/matrix.py. Pure: tests/faults/test_oracle.py shows each rule what it must find. How
forecasts came out (I13) takes docs/reference/data-dictionary.md literally, cell by cell, with lists.
"""

import base64
import math
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from tests.faults.oracle import DISPERSION, HOUR_S, MANY, OUTCOMES, quantile, recount
from tests.harness.points import points_in, tags_of

WITH_PAYLOAD = ("not_json", "schema", "unknown_field", "bad_time")  # others: too large, none, or refused by the clock


@dataclass
class Traces:
    """What a scenario leaves, as plain data. messages: as `recount` takes them. versions: by region, in order."""

    messages: list
    regions: list
    versions: dict
    batches: dict  # number -> {partition: first offset after it}
    points: dict  # (measurement and tags, time in s) -> {field: text}
    ledgers: list  # (measurement and tags, time in s, fields) of `pipeline`, each as it was written
    letters: list  # of the dead-letter topic, decoded
    written: list  # as `written_in` gives them, of each write in order
    topic: str = ""
    acknowledged: dict = field(default_factory=dict)  # (partition, offset) -> value
    times_ms: dict | None = None  # number of a batch -> its time, where the regions' clocks are the machine's

    def recounted(self):
        """What the oracle expects of the messages."""
        times_ms = self.times_ms and [time_ms for _, time_ms in sorted(self.times_ms.items())]
        return recount(self.messages, self.regions, [ends for _, ends in sorted(self.batches.items())], times_ms)


def breaches(traces):
    """What does not hold, as sentences; none when all is well."""
    expected = traces.recounted()
    in_topic = {(partition, offset): value for partition, offset, value, _ in traces.messages}
    for place, value in traces.acknowledged.items():
        if in_topic.get(place) != value or place not in in_topic:
            yield f"I2: Kafka lost the acknowledged message at {place}"
    yield from _batch_breaches(traces.batches)
    yield from _ledger_breaches(traces.ledgers)
    newest = {tags_of(key)["region"].replace("_unassigned", ""): fields for key, _, fields in traces.ledgers}
    for region, ledger in expected.ledger.items():
        yield from _other_totals(newest.get(region, {}), ledger, region or "no region")
    yield from _letter_breaches(traces, expected)
    frames = frames_of(traces.points)
    yield from version_breaches(frames, traces.versions)
    for (name, tick_s), moment in expected.moments.items():
        ledger = traces.points.get((f"pipeline,region={name}", tick_s))
        if ledger is None and not moment.is_due and (name, tick_s) not in frames:
            continue
        yield from _tick_breaches(ledger, name, tick_s, moment, is_wall=traces.times_ms is not None)
        yield from frame_breaches(frames.pop((name, tick_s), {}), tick_s, moment, traces.versions[name])
    for name, tick_s in frames:
        yield f"I7: {name} has scores at {tick_s}, where its clock never was"
    yield from top_breaches(traces.points)
    yield from outcome_breaches(traces, expected)


def _batch_breaches(batches):
    """The recount needs to know which batch a message was in."""
    if sorted(batches) != list(range(len(batches))):
        yield f"of the batches only {sorted(batches)} were seen"
    before = {}
    for number, ends in sorted(batches.items()):
        if any(ends.get(partition, 0) < end for partition, end in before.items()):
            yield f"I7: batch {number} ends at {ends}, the one before at {before}"
        before = ends


def _ledger_breaches(ledgers):
    """Every `pipeline` point as it was written, not only what it was overwritten by."""
    before = {}
    for key, time_s, fields in ledgers:
        numbers = {name: float(value) for name, value in fields.items() if not value.startswith('"')}
        if numbers["consumed"] != sum(numbers[name] for name in OUTCOMES):
            yield f"I2: {key} at {time_s} does not balance: {numbers}"
        if numbers.get("unaccounted", 0):
            yield f"I2: {key} at {time_s}: {numbers['unaccounted']:.0f} messages are not in the ledger"
        if numbers.get("write_dropped", 0):
            yield f"I4: {key} at {time_s}: the store dropped {numbers['write_dropped']:.0f} points"
        for name in ("as_of", "consumed"):
            if numbers[name] < before.get(key, numbers)[name]:
                yield f"I7: {key} at {time_s}: {name} goes back from {before[key][name]:.0f} to {numbers[name]:.0f}"
        before[key] = numbers


def _tick_breaches(fields, name, tick_s, moment, *, is_wall):
    """A batch in which nothing comes moves the machine's clock, and is not written again within its tick."""
    if fields is None:
        yield f"I2: {name} has no ledger at {tick_s}"
        return
    yield from _other_totals(fields, moment.ledger, f"{name} at {tick_s}")
    as_of = float(fields["as_of"])
    if not (tick_s <= as_of <= moment.clock_s if is_wall else as_of == moment.clock_s):
        yield f"I7: {name} at {tick_s}: as_of is {fields['as_of']}, recounted {moment.clock_s}"


def _other_totals(fields, ledger, where):
    for name in sorted({*ledger, *OUTCOMES, *(name for name in fields if name.startswith("rejected"))}):
        if float(fields.get(name, 0)) != ledger[name]:
            yield f"I1: {where}: {name} is {fields.get(name)}, recounted {ledger[name]}"


def _letter_breaches(traces, expected):
    places = {(letter["source_partition"], letter["source_offset"], letter["reason"]) for letter in traces.letters}
    wanted = {(*place, reason) for place, (_, reason) in expected.refused.items()}
    for place in sorted(wanted - places):
        yield f"I3: no dead letter for {place}"
    for place in sorted(places - wanted):
        yield f"I3: dead letter {place} for a message that is not to be refused so"
    sent = {(partition, offset): (value, time_ms) for partition, offset, value, time_ms in traces.messages}
    for letter in traces.letters:
        place = letter["source_partition"], letter["source_offset"]
        value, time_ms = sent.get(place, (None, 0))
        at = datetime.fromtimestamp(time_ms // 1000, UTC) + timedelta(milliseconds=time_ms % 1000)
        version, of_topic = letter.get("schema_version"), letter.get("source_topic")
        if (version, of_topic) != (1, traces.topic):
            yield f"I3: the dead letter of {place} is of version {version}, {of_topic}"
        if datetime.fromisoformat(letter["source_time"]) != at:
            yield f"I3: the dead letter of {place} has the time {letter['source_time']}, the message {at}"
        payload = letter["payload_base64"]
        if letter["reason"] == "person_field" and payload:
            yield "I12: the payload of a person_field was kept"
        if payload is not None and base64.b64decode(payload) != value:
            yield f"I3: the dead letter of {place} has another payload than the message"
        if payload is None and letter["reason"] in WITH_PAYLOAD:
            yield f"I3: the dead letter of {place} ({letter['reason']}) has no payload"


VALUES = ("expected", "risk", "low", "high", "usual")
MADE_BY = ("here", "next_door", "level", "memory", "time", "network")
ALL = "all"  # the series over all categories
SUPPORT = ('"no_history"', '"sparse"', '"ok"')
TOP = 10  # ranks of a category and horizon
LIMIT = math.exp(2)  # by which a network may correct what is usual
ROUNDED = 6e-4  # four significant digits are written


def frames_of(points):
    """(region, tick in s) -> {(cell, category, horizon): fields} of the `risk` points, and the `model` of `top`."""
    frames, models = defaultdict(dict), defaultdict(set)
    for (key, time_s), fields in points.items():
        tags = tags_of(key)
        if key.startswith("top,"):
            models[tags["region"], time_s, tags["category"], tags["horizon"]].add(fields["model"])
        elif key.startswith("risk,"):
            frames[tags["region"], time_s][tags["cell"], tags["category"], tags["horizon"]] = fields
    return {
        (region, time_s): {
            (cell, *kind): fields | {"model": " and ".join(sorted(models[region, time_s, *kind]))}
            for (cell, *kind), fields in frame.items()
        }
        for (region, time_s), frame in frames.items()
    }


def frames_first_written(written):
    """As `frames_of`, whatever has overwritten them since."""
    first = {}
    for key, time_s, fields in written:
        first.setdefault((key, time_s), fields)
    return frames_of(first)


def frame_breaches(frame, tick_s, moment, versions):
    """Every tick's frame: complete, by one model that was in force, and each score as recounted."""
    region = moment.region
    kinds = (*region.categories, ALL)
    wanted = {(cell, kind, hor) for cell in region.cells for kind in kinds for hor in region.horizons}
    where = f"{region.name} at {tick_s}"
    if missing := wanted - set(frame):
        yield f"I4: {where}: {len(missing)} points missing, as {min(missing)}"
    if more := set(frame) - wanted:
        yield f"I4: {where}: {len(more)} points too many, as {min(more)}"
    models = {fields["model"] for fields in frame.values()}
    if len(models) > 1 or not models <= {f'"{version}"' for version in versions}:
        yield f"I8: {where} was made by {sorted(models)}, published are {versions}"
    observed, remembered, per_day = moment.observed_1h(), moment.remembered(), moment.per_day()
    for (cell, category, horizon), fields in frame.items():
        place, name = (cell, category), f"{where}, {cell} {category} {horizon}"
        if category == ALL:
            yield from _sum_breaches(fields, [frame.get((cell, kind, horizon)) for kind in region.categories], name)
            continue
        yield from _score_breaches(fields, name)
        if place not in per_day:
            continue
        if float(fields["observed_1h"]) != observed[place]:
            yield f"I1: {name}: observed_1h is {fields['observed_1h']}, recounted {observed[place]}"
        support = SUPPORT[(remembered[place] > 0) + (remembered[place] >= MANY)]
        if fields["support"] != support:
            yield f"I8: {name}: support is {fields['support']}, recounted {support}"
        usual = per_day[place] / 24 * int(horizon.removesuffix("h"))
        if not _equal(float(fields["usual"]), usual):
            yield f"I1: {name}: usual is {fields['usual']}, recounted {usual:.6g}"


def version_breaches(frames, versions):
    """I7, I8: a newer artifact takes over and stays."""
    for name, made in versions.items():
        order = {f'"{version}"': number for number, version in enumerate(made)}
        models = [min(row["model"] for row in frames[place].values()) for place in sorted(frames) if place[0] == name]
        in_force = [order.get(model, -1) for model in models]
        if in_force != sorted(in_force) or in_force[-1:] != [len(made) - 1]:
            yield f"I8: {name} was made by {models}, one after another; in force at last is {made[-1]}"


def _score_breaches(fields, name):
    """Within itself: the network corrects what is usual, and the rest follows from the mean. I6 knows the mean."""
    expected, risk, low, high, usual = (float(fields[value]) for value in VALUES)
    if not all(math.isfinite(value) and value >= 0 for value in (expected, risk, low, high, usual)) or risk > 1:
        yield f"I8: {name}: not a score: {fields}"
        return
    if not usual / LIMIT * (1 - ROUNDED) - 1e-6 <= expected <= usual * LIMIT * (1 + ROUNDED) + 1e-6:
        yield f"I8: {name}: expected {expected} is no correction of usual {usual}"
    if not _equal(risk, 1 - (1 + expected / DISPERSION) ** -DISPERSION, 2 * ROUNDED):  # of two that were rounded
        yield f"I8: {name}: risk {risk} with expected {expected}"
    yield from _interval_breaches(expected, low, high, name)


def _interval_breaches(expected, low, high, name, size=DISPERSION):
    for value, share in ((low, 0.05), (high, 0.95)):
        ends = (quantile(expected * (1 + side * ROUNDED), share, size) for side in (-1, 1))
        if not next(ends) <= value <= next(ends):
            yield f"I8: {name}: {value} is not the {share} quantile with expected {expected}"
    if low > high:
        yield f"I8: {name}: low {low} above high {high}"


def _sum_breaches(fields, parts, name):
    """Of all categories: what adds up adds up, and the rest is that of independent counts."""
    if not all(parts):
        return  # I4 has said so
    sums = {value: sum(float(part[value]) for part in parts) for value in ("expected", "usual", "observed_1h")}
    for value, wanted in sums.items():
        if abs(float(fields[value]) - wanted) > 2 * ROUNDED * wanted + 1e-6 * len(parts):
            yield f"I8: {name}: {value} is {fields[value]}, the categories add up to {wanted}"
    none = math.prod(1 - float(part["risk"]) for part in parts)
    if not _equal(float(fields["risk"]), 1 - none, 2 * ROUNDED):
        yield f"I8: {name}: risk {fields['risk']}, of the categories together {1 - none}"
    if fields["support"] != (best := max((part["support"] for part in parts), key=SUPPORT.index)):
        yield f"I8: {name}: support is {fields['support']}, the best of the categories is {best}"
    spread = sum(float(part["expected"]) ** 2 for part in parts) / DISPERSION
    size = sums["expected"] ** 2 / spread if spread else 1.0
    yield from _interval_breaches(sums["expected"], float(fields["low"]), float(fields["high"]), name, size)


def _equal(value, wanted, share=ROUNDED):
    """Four significant digits are written, in steps of 1e-6 below 0.001."""
    return abs(value - wanted) <= share * wanted + 1e-6


def top_breaches(points):
    """I8: `top` is the frame of its tick, sorted."""
    listed, risks = defaultdict(dict), defaultdict(list)
    for (key, time_s), fields in points.items():
        if not key.startswith(("top,", "risk,")):
            continue
        tags = tags_of(key)
        place = tags["region"], time_s, tags["category"], tags["horizon"]
        if key.startswith("top,"):
            listed[place][tags["rank"]] = float(fields["risk"])
            if tags["category"] == ALL:
                continue
            made = math.prod([float(fields["usual"]), *(float(fields[f"by_{name}"]) for name in MADE_BY)])
            if not _equal(made, float(fields["expected"]), 8 * ROUNDED):  # of seven that were rounded, and the eighth
                yield f"I8: {place}, rank {tags['rank']}: usual times what made it is {made}: {fields}"
        else:
            risks[place].append(float(fields["risk"]))
    for place, wanted in risks.items():
        if [risk for _, risk in sorted(listed[place].items())] != sorted(wanted, reverse=True)[:TOP]:
            yield f"I8: top of {place} is {listed[place]}, the highest risks are {sorted(wanted, reverse=True)[:TOP]}"


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


def written_in(text):
    """(measurement and tags, time in s, fields) of the lines that outcomes are recounted from and judged by.

    The rest of a store's lines is many times as much: scores are taken at whole hours only.
    """
    for key, time_s, fields in points_in(text):
        if key.startswith("outcome") or (key.startswith(("risk,", "top,")) and time_s % HOUR_S == 0):
            yield key, time_s, fields


def outcome_breaches(traces, expected):
    """I13: each outcome that is due, and no other one. A forecast is the first frame of a whole hour, as written then.

    Only tests/faults/test_scenarios.py plays for long enough that any is due; everywhere else there must be none.
    """
    forecasts = frames_first_written(traces.written)
    for place in frames_of(traces.points):
        if place[1] % HOUR_S == 0 and place not in forecasts:
            yield f"I13: nobody saw the first frame of {place}"
    judgements = [
        judgement
        for judged in expected.judged
        if (frame := forecasts.get((judged.region.name, judged.tick_s)))  # else I4 has said so
        for judgement in judgements_of(judged, frame)
    ]
    for sentence in wrong_outcomes(traces.points, traces.written, judgements, off=ROUNDED):
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


def wrong_outcomes(points, written, judgements, off=0.0):
    """What is wrong with the outcomes of a store, as sentences; none when each that is due is there, and no other.

    points: (measurement and tags, time in s) -> {field: text}, as a store has them in the end. written: of each write,
    in order (`written_in`). judgements: all that were due, in order. off: share by which their means were rounded.
    """
    of_place = defaultdict(list)
    for judgement in judgements:
        of_place[judgement.place].append(judgement)
    wanted, may_be = {}, {}
    for *_, newest in of_place.values():
        must, may = points_of(newest, off)
        wanted |= must
        may_be |= may
    stored = {key: fields for key, fields in points.items() if key[0].startswith("outcome")}
    for key in sorted(wanted.keys() - stored.keys()):
        yield f"{key} is due, and is not there"
    for key in sorted(stored.keys() - wanted.keys() - may_be.keys()):
        yield f"{key} is there, and is not due"
    for key in sorted(stored.keys() & (wanted.keys() | may_be.keys())):
        for difference in _other_fields(stored[key], wanted.get(key) or may_be[key]):
            yield f"{key}: {difference}"
    versions = defaultdict(list)  # all that was written of a point: one judgement, then another may overwrite it
    for key, time_s, fields in written:
        if key.startswith("outcome"):
            versions[key, time_s].append(fields)
    for of_one_place in of_place.values():
        due = [points_of(judgement, off) for judgement in of_one_place]
        for key in sorted(set().union(*(must.keys() | may.keys() for must, may in due))):
            fitting = [  # of each write the numbers of the judgements that it can be
                [
                    number
                    for number, (must, may) in enumerate(due)
                    if (point := must.get(key) or may.get(key)) and not any(_other_fields(fields, point))
                ]
                for fields in versions.pop(key, [])
            ]
            if not all(fitting):
                yield f"{key}: what was written at the {fitting.index([]) + 1}. time is no judgement that was due"
                continue
            if not _is_in_order(fitting):
                yield f"{key}: judgements were written in the order {fitting}"
            for number, (must, _) in enumerate(due):
                if key in must and not any(number in numbers for numbers in fitting):
                    yield f"{key}: the judgement that was due at {of_one_place[number].due_s} was never written"
    for key in versions:
        yield f"{key} was written, and was never due"


def _is_in_order(fitting):
    """Whether the judgements can have been written one after another, where a write may fit several."""
    newest = 0
    for numbers in fitting:
        later = [number for number in numbers if number >= newest]
        if not later:
            return False
        newest = min(later)
    return True


def _other_fields(fields, wanted):
    for name in sorted(fields.keys() ^ wanted.keys()):
        yield f"{name} is {fields.get(name)}, recounted {wanted.get(name)}"
    for name in sorted(fields.keys() & wanted.keys()):
        value, right = fields[name], wanted[name]
        if value != right if isinstance(right, str) else not right[0] <= float(value) <= right[1]:
            yield f"{name} is {value}, recounted {right}"


@lru_cache(maxsize=4096)
def points_of(judgement, off=0.0):
    """({point: {field: text, or (least, most)}}, the same of those that may be there or not, as `off` decides)."""
    must, may = {}, {}
    tags = f"horizon={judgement.horizon},region={judgement.region}"
    outcome = f"outcome,category={judgement.category},{tags}"
    must[outcome, judgement.tick_s] = _figures(judgement, off)
    bands, pieces, districts = min(BANDS, judgement.rows), min(BANDS, judgement.cols), defaultdict(list)
    for row in range(judgement.rows):
        for col in range(judgement.cols):  # numbered from 1 in the south-west
            number = row * bands // judgement.rows * pieces + col * pieces // judgement.cols + 1
            districts[number].append(row * judgement.cols + col)
    for district, cells in districts.items():
        came = sum(judgement.came[cell] for cell in cells)
        key = f"outcome_area,category={judgement.category},district={district:02d},{tags}"
        expected = _sum_within([judgement.expected[cell] for cell in cells], off)
        must[key, judgement.tick_s] = {"expected": expected, "observed": (came, came)}
    spans = [[_chance(mean, judgement.size) for mean in _around(mean, off or LAWS)] for mean in judgement.expected]
    for least, end in zip(CHANCES, (*CHANCES[1:], 200), strict=True):
        sure = [cell for cell, (low, high) in enumerate(spans) if low >= least / 100 and high < end / 100]
        perhaps = [cell for cell, (low, high) in enumerate(spans) if high >= least / 100 and low < end / 100]
        if perhaps:
            chances = sum(spans[cell][0] for cell in sure), sum(spans[cell][1] for cell in perhaps)
            key = f"outcome_chance,category={judgement.category},chance={least:02d},{tags}"
            (must if sure else may)[key, judgement.tick_s] = {
                "cells": (len(sure), len(perhaps)),
                "said": (chances[0] * (1 - LAWS), chances[1] * (1 + LAWS)),
                "came": tuple(sum(judgement.came[cell] > 0 for cell in cells) for cells in (sure, perhaps)),
            }
    return must, may


def _figures(judgement, off):
    began, came = datetime.fromtimestamp(judgement.tick_s, ZoneInfo(judgement.timezone)), judgement.came
    exact = {"observed": sum(came), "closed_s": judgement.due_s, "weekday": began.isoweekday(), "hour": began.hour}
    area = [cell for cell, has in enumerate(judgement.has_history) if has or not any(judgement.has_history)]
    most = {percent: max(1, round(percent / 100 * len(area))) for percent in PERCENTS}
    for percent, cells in most.items():
        exact[f"ideal_hits_{percent}"] = sum(sorted(came[cell] for cell in area)[-cells:])
    figures = {name: (value, value) for name, value in exact.items()}
    figures["model"] = f'"{judgement.model}"'
    for name, prefix, means in (("expected", "", judgement.expected), ("usual", "baseline_", judgement.usual)):
        pairs = list(zip(means, came, strict=True))
        figures[name] = _sum_within(means, off)
        for score, loss in (("brier", _brier), ("log_score", _log_score)):
            lows, highs = zip(*(loss(*_around(mean, off), count, judgement.size) for mean, count in pairs), strict=True)
            ends = sum(lows) / len(pairs) * (1 - LAWS), sum(highs) / len(pairs) * (1 + LAWS)
            figures[f"{prefix}{score}"] = ends
        for percent, cells in most.items():
            figures[f"{prefix}hits_{percent}"] = _hits([pairs[cell] for cell in area], cells, off)
    return figures


def _around(mean, off):
    """Between what a mean that was rounded can have been."""
    return (max(mean * (1 - off) - STEP, 1e-12), mean * (1 + off) + STEP) if off else (mean, mean)


def _sum_within(means, off):
    lows, highs = zip(*(_around(mean, off) for mean in means), strict=True)
    return sum(lows) * (1 - SUMS), sum(highs) * (1 + SUMS)


def _chance(mean, size):
    """Of at least one."""
    return 1 - (1 + mean / size) ** -size


def _brier(low, high, count, size):
    ends = [(_chance(mean, size) - (count > 0)) ** 2 for mean in (low, high)]
    return min(ends), max(ends)


def _log_score(low, high, count, size):
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
