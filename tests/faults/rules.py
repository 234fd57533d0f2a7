"""What must hold of the points, ledgers and letters that a scenario leaves behind, each breach in words.

The invariants: tests/faults/matrix.py. Pure: tests/faults/test_oracle.py shows each rule what it must find.
"""

import base64
import json
import math
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from tests.faults.oracle import DISPERSION, MANY, OUTCOMES, quantile, recount
from tests.faults.outcomes import HOUR_S, Judgement, wrong
from tests.harness.points import tags_of

WITH_PAYLOAD = ("not_json", "schema", "unknown_field", "bad_time")  # others: too large, none, or refused by the clock


@dataclass
class Seen:
    """A scenario's traces as plain data. messages: as `recount` takes them. versions: by region, in order."""

    messages: list
    regions: list
    versions: dict
    batches: dict  # number -> {partition: first offset after it}
    points: dict  # (measurement and tags, time in s) -> {field: text}
    ledgers: list  # (measurement and tags, time in s, fields) of `pipeline`, each as it was written
    letters: list  # of the dead-letter topic, decoded
    written: list  # as `written_in` of tests/faults/outcomes.py gives them, of each write in order
    topic: str = ""
    acknowledged: dict = field(default_factory=dict)  # (partition, offset) -> value
    times_ms: dict | None = None  # number of a batch -> its time, where the regions' clocks are the machine's


def decoded(letters):
    return [json.loads(value) for value in letters]


def breaches(seen):
    """What does not hold, as sentences; none when all is well."""
    times_ms = seen.times_ms and [time_ms for _, time_ms in sorted(seen.times_ms.items())]
    expected = recount(seen.messages, seen.regions, [ends for _, ends in sorted(seen.batches.items())], times_ms)
    yield from _acknowledged(seen)
    yield from _plans(seen.batches)
    yield from _written_ledgers(seen.ledgers)
    yield from _final_ledgers(seen.ledgers, expected)
    yield from _dead_letters(seen.letters, expected, seen.messages, seen.topic)
    frames = frames_of(seen.points)
    for (name, tick_s), moment in expected.moments.items():
        written = seen.points.get((f"pipeline,region={name}", tick_s))
        if written is None and not moment.is_due and (name, tick_s) not in frames:
            continue
        yield from _ledger_of_tick(written, name, tick_s, moment, is_wall=times_ms is not None)
        yield from frame_breaches(frames.pop((name, tick_s), {}), tick_s, moment, seen.versions[name])
    yield from version_breaches(frames_of(seen.points), seen.versions)
    for name, tick_s in frames:
        yield f"I7: {name} has scores at {tick_s}, where its clock never was"
    yield from top_breaches(seen.points)
    yield from outcome_breaches(seen, expected)


def _acknowledged(seen):
    there = {(partition, offset): value for partition, offset, value, _ in seen.messages}
    for place, value in seen.acknowledged.items():
        if there.get(place) != value or place not in there:
            yield f"I2: Kafka lost the acknowledged message at {place}"


def _plans(batches):
    """The recount needs to know which batch a message was in."""
    if sorted(batches) != list(range(len(batches))):
        yield f"of the batches only {sorted(batches)} were seen"
    before = {}
    for number, ends in sorted(batches.items()):
        if any(ends.get(partition, 0) < end for partition, end in before.items()):
            yield f"I7: batch {number} ends at {ends}, the one before at {before}"
        before = ends


def _written_ledgers(ledgers):
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


def _final_ledgers(ledgers, expected):
    last = {tags_of(key)["region"].replace("_unassigned", ""): fields for key, _, fields in ledgers}
    for region, ledger in expected.ledger.items():
        yield from _differences(last.get(region, {}), ledger, region or "no region")


def _ledger_of_tick(fields, name, tick_s, moment, *, is_wall):
    """A batch in which nothing comes moves the machine's clock, and is not written again within its tick."""
    if fields is None:
        yield f"I2: {name} has no ledger at {tick_s}"
        return
    yield from _differences(fields, moment.ledger, f"{name} at {tick_s}")
    as_of = float(fields["as_of"])
    if not (tick_s <= as_of <= moment.clock_s if is_wall else as_of == moment.clock_s):
        yield f"I7: {name} at {tick_s}: as_of is {fields['as_of']}, recounted {moment.clock_s}"


def _differences(fields, ledger, where):
    for name in sorted({*ledger, *OUTCOMES, *(name for name in fields if name.startswith("rejected"))}):
        if float(fields.get(name, 0)) != ledger[name]:
            yield f"I1: {where}: {name} is {fields.get(name)}, recounted {ledger[name]}"


def _dead_letters(letters, expected, messages, topic):
    seen = {(letter["source_partition"], letter["source_offset"], letter["reason"]) for letter in letters}
    wanted = {(*place, reason) for place, (_, reason) in expected.refused.items()}
    for place in sorted(wanted - seen):
        yield f"I3: no dead letter for {place}"
    for place in sorted(seen - wanted):
        yield f"I3: dead letter {place} for a message that is not to be refused so"
    sent = {(partition, offset): (value, time_ms) for partition, offset, value, time_ms in messages}
    for letter in letters:
        place = letter["source_partition"], letter["source_offset"]
        value, time_ms = sent.get(place, (None, 0))
        at = datetime.fromtimestamp(time_ms // 1000, UTC) + timedelta(milliseconds=time_ms % 1000)
        version, of_topic = letter.get("schema_version"), letter.get("source_topic")
        if (version, of_topic) != (1, topic):
            yield f"I3: the dead letter of {place} is of version {version}, {of_topic}"
        if datetime.fromisoformat(letter["source_time"]) != at:
            yield f"I3: the dead letter of {place} has the time {letter['source_time']}, the message {at}"
        kept = letter["payload_base64"]
        if letter["reason"] == "person_field" and kept:
            yield "I12: the payload of a person_field was kept"
        if kept is not None and base64.b64decode(kept) != value:
            yield f"I3: the dead letter of {place} has another payload than the message"
        if kept is None and letter["reason"] in WITH_PAYLOAD:
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
            yield from _sum(fields, [frame.get((cell, kind, horizon)) for kind in region.categories], name)
            continue
        yield from _score(fields, name)
        if place not in per_day:
            continue
        if float(fields["observed_1h"]) != observed[place]:
            yield f"I1: {name}: observed_1h is {fields['observed_1h']}, recounted {observed[place]}"
        if fields["support"] != (support := _support(remembered[place])):
            yield f"I8: {name}: support is {fields['support']}, recounted {support}"
        usual = per_day[place] / 24 * int(horizon.removesuffix("h"))
        if not _equal(float(fields["usual"]), usual):
            yield f"I1: {name}: usual is {fields['usual']}, recounted {usual:.6g}"


def version_breaches(frames, versions):
    """I7, I8: a newer artifact takes over and stays."""
    for name, made in versions.items():
        order = {f'"{version}"': number for number, version in enumerate(made)}
        models = [min(one["model"] for one in frames[place].values()) for place in sorted(frames) if place[0] == name]
        in_force = [order.get(model, -1) for model in models]
        if in_force != sorted(in_force) or in_force[-1:] != [len(made) - 1]:
            yield f"I8: {name} was made by {models}, one after another; in force at last is {made[-1]}"


def _support(remembered):
    return SUPPORT[(remembered > 0) + (remembered >= MANY)]


def _score(fields, name):
    """Within itself: the network corrects what is usual, and the rest follows from the mean. I6 knows the mean."""
    expected, risk, low, high, usual = (float(fields[value]) for value in VALUES)
    if not all(math.isfinite(value) and value >= 0 for value in (expected, risk, low, high, usual)) or risk > 1:
        yield f"I8: {name}: not a score: {fields}"
        return
    if not usual / LIMIT * (1 - ROUNDED) - 1e-6 <= expected <= usual * LIMIT * (1 + ROUNDED) + 1e-6:
        yield f"I8: {name}: expected {expected} is no correction of usual {usual}"
    if not _equal(risk, 1 - (1 + expected / DISPERSION) ** -DISPERSION, 2 * ROUNDED):  # of two that were rounded
        yield f"I8: {name}: risk {risk} with expected {expected}"
    yield from _interval(expected, low, high, name)


def _interval(expected, low, high, name, size=DISPERSION):
    for value, share in ((low, 0.05), (high, 0.95)):
        ends = (quantile(expected * (1 + side * ROUNDED), share, size) for side in (-1, 1))
        if not next(ends) <= value <= next(ends):
            yield f"I8: {name}: {value} is not the {share} quantile with expected {expected}"
    if low > high:
        yield f"I8: {name}: low {low} above high {high}"


def _sum(fields, parts, name):
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
    yield from _interval(sums["expected"], float(fields["low"]), float(fields["high"]), name, size)


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


def outcome_breaches(seen, expected):
    """I13: each outcome that is due, and no other one. A forecast is the first frame of a whole hour, as written then.

    Only tests/faults/test_scenarios.py plays for long enough that any is due; everywhere else there must be none.
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
