"""What must hold of the points, ledgers and letters that a scenario leaves behind, each breach in words.

The invariants: tests/faults/promises.py. Pure: tests/faults/test_oracle.py shows each rule what it must find.
"""

import base64
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from tests.faults.frame_rules import frame_breaches, frames_of, top_breaches, version_breaches
from tests.faults.oracle import OUTCOMES, recount
from tests.faults.outcome_rules import outcome_breaches
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
