"""The invariants of a finished scenario, each broken one in words. Numbers: docs/reliability.md."""

import json
import math

from schemas.errors import RiskError
from streaming.publish import OF_THE_MACHINE
from streaming.rebuild_job import rebuild_span
from streaming.rebuild_plan import Span
from streaming.settings import PREFIX, Settings
from tests.faults.oracle import OUTCOMES, recount
from tests.faults.scenario import CANARY
from tests.faults.world import TOKEN
from tests.harness.scorer import read_points

RECOVERY_LIMIT_S = 60.0
VALUES = ("expected", "risk", "low", "high", "usual")
SUPPORT = ('"ok"', '"sparse"', '"no_history"')


def broken(world):
    """What does not hold, as a list of sentences; empty when all is well."""
    messages, points = world.messages(), world.store.snapshot()
    regions = world.producer.regions
    expected = recount(messages, regions)
    return [
        *world.faults,
        *(f"I10: {seconds:.0f} s after {what}" for what, seconds in world.recoveries if seconds > RECOVERY_LIMIT_S),
        *_acknowledged(world, messages),
        *_ledgers(points, expected),
        *_dead_letters(world, expected),
        *_frames(world, points, expected),
        *_scores(points),
        *_secrets(world),
        *_restarts(world, points),
    ]


def _acknowledged(world, messages):
    there = {(partition, offset): value for partition, offset, value, _ in messages}
    for place, value in world.acknowledged.items():
        if there.get(place) != value or place not in there:
            yield f"I2: Kafka lost the acknowledged message at {place}"


def _ledgers(points, expected):
    newest = {}
    for (key, time_s), fields in points.items():
        if not key.startswith("pipeline,"):
            continue
        region = key.split("region=")[1].replace("_unassigned", "")
        numbers = {name: float(value) for name, value in fields.items() if not value.startswith('"')}
        if numbers["consumed"] != sum(numbers[name] for name in OUTCOMES):
            yield f"I2: {key} at {time_s} does not balance: {numbers}"
        if time_s >= newest.get(region, (0, {}))[0]:
            newest[region] = time_s, numbers
    for region, ledger in expected.ledger.items():
        stored = newest.get(region, (0, {}))[1]
        for name in {*ledger, *OUTCOMES}:
            if stored.get(name, 0) != ledger[name]:
                yield f"I1: {region or 'no region'}: {name} is {stored.get(name)}, recounted {ledger[name]}"


def _dead_letters(world, expected):
    letters = [json.loads(value) for value in world.letters.read()]
    seen = {(one["source_partition"], one["source_offset"], one["reason"]) for one in letters}
    wanted = {(*place, reason) for place, reason in expected.refused.items()}
    for one in sorted(wanted - seen):
        yield f"I3: no dead letter for {one}"
    for one in sorted(seen - wanted):
        yield f"I3: dead letter {one} for a message that is not to be refused so"
    for one in letters:
        missing = {"source_topic", "source_time", "schema_version", "reason"} - set(one)
        if missing:
            yield f"I3: a dead letter lacks {missing}: {sorted(one)}"
        if one["reason"] == "person_field" and one.get("payload_base64"):
            yield "I12: the payload of a person_field was kept"


def _frames(world, points, expected):
    """The newest frame of each region: complete, of the newest artifact, and it counts what the recount counts."""
    for region in world.producer.regions:
        tick_s = expected.clock_s[region.name] // region.tick_s * region.tick_s
        seen, observed = set(), expected.observed_1h(region)
        for (key, time_s), fields in points.items():
            tags = dict(tag.split("=") for tag in key.split(",")[1:])
            if not key.startswith("risk,") or tags["region"] != region.name:
                continue
            if time_s > tick_s:
                yield f"I7: {key} has a point at {time_s}, after the clock {expected.clock_s[region.name]}"
            if time_s != tick_s:
                continue
            seen.add((tags["cell"], tags["category"], tags["horizon"]))
            counted = observed[tags["cell"], tags["category"]]
            if int(fields["observed_1h"]) != counted:
                yield f"I1: {key}: observed_1h is {fields['observed_1h']}, recounted {counted}"
            if fields["model"] != f'"{world.versions[region.name]}"':
                yield f"I8: {key} was made by {fields['model']}, in force is {world.versions[region.name]}"
        wanted = {(cell, cat, hor) for cell in region.cells for cat in region.categories for hor in region.horizons}
        if seen != wanted:
            yield f"I4: {region.name} at {tick_s}: {len(wanted - seen)} points missing, {len(seen - wanted)} too many"


def _scores(points):
    for (key, time_s), fields in points.items():
        if not key.startswith("risk,"):
            continue
        numbers = {name: float(fields[name]) for name in VALUES}
        if not all(math.isfinite(number) and number >= 0 for number in numbers.values()) or numbers["risk"] > 1:
            yield f"I8: {key} at {time_s}: {numbers}"
        if fields["support"] not in SUPPORT or len(fields["model"]) < 3:
            yield f"I8: {key} at {time_s}: support {fields['support']}, model {fields['model']}"


def _secrets(world):
    for path in (world.scorer.folder / "terminal.txt", world.scorer.checkpoint / "spark.log"):
        content = path.read_bytes()
        for canary in (TOKEN, CANARY):
            if canary.encode() in content:
                yield f"I12: {path.name} shows {canary}"


def _restarts(world, points):
    """I6: one calm pass over the topic, without Spark and without a restart, gives the very points that are stored."""
    calm = world.scorer.folder / "calm.lp"
    ours = {key: value for key, value in world.scorer.environment.items() if key.startswith(PREFIX)}
    settings = Settings.from_environment({**ours, "RISK_SINK": f"file:{calm}"})
    try:
        rebuild_span(settings, Span(from_s=0, to_s=1 << 40), on_batch=lambda *_: None)
    except RiskError as error:
        yield f"I6: the calm pass ended with: {error}"
        return
    wanted = read_points(calm)
    for key in wanted.keys() | {key for key in points if not key[0].startswith("outcome")}:  # not rebuilt
        stored = {name: value for name, value in points.get(key, {}).items() if name not in OF_THE_MACHINE}
        if stored != wanted.get(key):
            yield f"I6: {key} is {stored}, in one calm pass {wanted.get(key)}"
            return
