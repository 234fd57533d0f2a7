"""The oracle itself: it takes a store as it must be, and finds each thing that is wrong with another one.

The store is made by the job's own functions, without Kafka, so that each thing wrong stands out.
"""

import copy
import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from models.counting.count_state import horizons_closed_between
from models.features import FeatureEngine
from models.scoring import stored_views
from schemas.decode import decode_messages
from schemas.forecasts import ClosedCounts
from schemas.incidents import Incidents, encode_dead_letter
from streaming.artifacts_in_force import load_artifact
from streaming.flow.intake import take_in
from streaming.flow.publish import keep_forecast, outcome_points, pipeline_line
from streaming.flow.rows import add_up, balanced_ledger
from streaming.sinks.line_protocol import risk_lines, top_lines, unusual_lines
from tests.faults.oracle import DAY_S, HOUR_S, Region, judge, recount
from tests.faults.rules import ROUNDED, TOP, Traces, breaches, outcome_breaches
from tests.faults.scenario import Producer, closing
from tests.faults.stores import WrittenStore
from tests.faults.test_scenarios import scenario_of, story_of
from tests.harness.points import tags_of
from tests.harness.recount import scored_frame
from tests.harness.region import make_region
from tests.harness.toy import iso, toy_messages

REASONS = {
    *("null_value", "too_large", "not_json", "schema", "person_field", "unknown_field", "bad_time"),
    *("unknown_region", "unknown_category", "outside_grid", "future", "late"),
}
TOPIC = "t"


def traces_of(messages, artifact, region, per_batch):
    """Of one region and partition after these messages: (value or None, Kafka time in ms), so many in a batch."""
    messages = [(0, offset, value, time_ms) for offset, (value, time_ms) in enumerate(messages)]
    store, letters, batches, spec = WrittenStore(), [], {}, artifact.spec
    state, engine = artifact.history(), FeatureEngine(spec, artifact.constants)
    totals, unassigned, judged_s = {}, {}, None

    def put_aside(rejections, region):
        letters.extend(json.loads(encode_dead_letter(each, source_topic=TOPIC, region=region)) for each in rejections)

    def write_ledger(region, frame, totals):
        line = pipeline_line(region, frame.tick_s, frame.as_of_s, totals, {"write_dropped": 0}, model=frame.model)
        store.take(line.decode())

    with TemporaryDirectory() as name:
        checkpoint, folder = Path(name), str(artifact.folder)
        for start in range(0, len(messages), per_batch):
            _, offsets, values, times_ms = zip(*messages[start : start + per_batch], strict=True)
            batches[len(batches)] = {0: offsets[-1] + 1}
            decoded = decode_messages(toy_messages(values, times_ms, offset=offsets), {spec.region: spec})
            incidents = Incidents.concatenate([*decoded.incidents.values()])
            refused = decoded.rejections.get(spec.region, [])
            as_of_s = max(state.as_of_s, int(incidents.received_ms.max(initial=0)) // 1000)
            consumed = len(incidents) + len(refused)
            _, rejections, ledger = take_in(state, incidents, refused, as_of_s=as_of_s, consumed=consumed)
            totals = add_up(totals, ledger)
            frame = scored_frame(folder, engine.compute(state), state.as_of_s)
            closed = [] if judged_s is None else horizons_closed_between(state, judged_s)
            judged_s = state.as_of_s
            lines = [risk_lines(view) + top_lines(view, TOP) for view in stored_views(frame, artifact.constants)]
            lines += [unusual_lines(frame), outcome_points(checkpoint, spec, list(map(ClosedCounts.of, closed)))]
            store.take(b"".join(lines).decode())
            write_ledger(spec.region, frame, totals)
            keep_forecast(checkpoint, frame, folder)
            put_aside(rejections, spec.region)
            if others := decoded.rejections.get("", []):
                put_aside(others, None)
                unassigned = add_up(unassigned, balanced_ledger(len(others), {}, others))
                write_ledger("", frame, unassigned)
    return Traces(
        messages=messages,
        regions=[region],
        versions={"riverton": [artifact.version]},
        batches=batches,
        points=store.snapshot(),
        ledgers=store.ledgers,
        letters=letters,
        written=store.written,
        topic=TOPIC,
        acknowledged={(partition, offset): value for partition, offset, value, _ in messages},
    )


def traces_of_scenario(scenario, artifact, region, per_batch):
    producer = Producer([region])
    sent = [message for action in (*scenario.actions, closing(scenario)) for message in producer.messages(action)]
    return traces_of([(value, time_ms) for _, value, time_ms in sent], artifact, region, per_batch)


def region_of(artifact):
    return Region.of(json.loads((artifact.folder / "manifest.json").read_bytes()))


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    return load_artifact(str(make_region("riverton").publish(tmp_path_factory.mktemp("artifact"))))


@pytest.fixture(scope="module")
def region(artifact):
    return region_of(artifact)


@pytest.fixture(scope="module")
def good(artifact, region):
    return traces_of_scenario(scenario_of("baseline", "event"), artifact, region, per_batch=60)


def test_a_good_store_has_no_breach(good):
    assert list(breaches(good)) == []


def told_over_days(
    seed, *, steps=(0, 60, 3 * HOUR_S, 11 * HOUR_S), cells=36, ids=6, ago=(0, 1, 23 * HOUR_S, 24 * HOUR_S, None)
):
    """(value, Kafka time in ms): few incidents, corrected over days, each message also sent again, up to days later."""
    draw, region = random.Random(seed), make_region("riverton")
    sent, clock_s = [], region.start_s
    for _ in range(150):
        clock_s += draw.choice(steps)
        within_a_day = draw.randrange(DAY_S)
        occurred_s = clock_s - draw.choice([within_a_day if age_s is None else age_s for age_s in ago])
        changes = {
            "revision": draw.choice([0, 1, 2, 2, 3]),
            "received_at": iso(clock_s),
            "status": draw.choice(["open", "open", "open", "cancelled"]),
            "origin": draw.choice(["public_call", "public_call", "unknown"]),
        }
        event = region.event(draw.randrange(ids), cell=draw.randrange(cells), at_s=occurred_s, **changes)
        sent.append((event, clock_s * 1000))
        if draw.random() < 0.5:
            sent.append(draw.choice(sent[-20:]))
    return sent


def with_a_past(folder):
    """An artifact whose history holds incidents of its last day, and the oracle's region with the same ones."""
    made, draw = make_region("riverton"), random.Random(5)
    past = [(draw.randrange(36), draw.randrange(2), made.start_s - draw.randrange(20 * HOUR_S)) for _ in range(60)]
    artifact = load_artifact(str(made.publish(folder, past=past)))
    region = region_of(artifact)
    named = tuple((region.cells[cell], region.categories[category], at_s) for cell, category, at_s in past)
    return artifact, replace(region, history=named)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("has_a_past", [False, True])
def test_a_store_is_good_also_where_incidents_are_corrected_and_told_again_up_to_the_edge_of_the_memory(
    seed, has_a_past, artifact, region, tmp_path
):
    if has_a_past:
        artifact, region = with_a_past(tmp_path)
    traces = traces_of(told_over_days(seed), artifact, region, per_batch=7)
    assert list(breaches(traces)) == []
    expected = traces.recounted()
    ledger = expected.ledger["riverton"]
    assert min(ledger[name] for name in ("counted", "corrected", "duplicate", "excluded", "rejected_late")) > 5
    assert any(incident["in_history"] for incident in expected.known["riverton"].values()) == has_a_past


@pytest.mark.parametrize("seed", range(3))
def test_a_store_is_good_also_where_repeated_calls_are_merged(seed, tmp_path):
    """Few places, and a clock that creeps, so that calls repeat others, and are moved away from them and back."""
    made = make_region("riverton", merge="repeated_calls")
    artifact = load_artifact(str(made.publish(tmp_path)))
    sent = told_over_days(seed, steps=(0, 60, 300, 600, 3 * HOUR_S), cells=2, ids=30, ago=(0, 1, 60, 300, 1200))
    traces = traces_of(sent, artifact, region_of(artifact), per_batch=7)
    assert list(breaches(traces)) == []
    ledger = traces.recounted().ledger["riverton"]
    assert min(ledger[name] for name in ("counted", "corrected", "duplicate", "repeated")) > 0, ledger
    unmerged = recount(traces.messages, [replace(region_of(artifact), merges=False)])
    assert unmerged.ledger["riverton"]["repeated"] == 0


def refused_in(scenario, region):
    """(value, Kafka time in ms) of each message of the scenario that is refused, and why."""
    producer = Producer([region])
    sent = [message for action in scenario.actions for message in producer.messages(action)]
    expected = recount([(0, offset, value, time_ms) for offset, (_, value, time_ms) in enumerate(sent)], [region])
    return [(sent[offset][1:], reason) for (_, offset), (_, reason) in expected.refused.items()]


def is_refused_by_the_clock(message, region):
    """Whether the message itself is valid, so that only the clock of its region can refuse it."""
    _, verdict = judge(*message, {region.name: region})
    return not isinstance(verdict, str)


@pytest.mark.parametrize("name", ["baseline", "kills_and_outages"])
def test_every_scenario_sends_a_message_for_every_reason_and_a_backlog_that_only_the_clock_refuses(name, region):
    """All of them begin with what the baseline sends."""
    refused = refused_in(scenario_of(name, "event"), region)
    assert {reason for _, reason in refused} == REASONS
    by_the_clock = [json.loads(message[0]) for message, _ in refused if is_refused_by_the_clock(message, region)]
    assert any(record.get("received_at") for record in by_the_clock)


def risk_key(traces, category="fire"):
    return sorted(key for key in traces.points if key[0].startswith(f"risk,category={category},"))[100]


def scaled(traces, name, factor, category="fire"):
    fields = traces.points[risk_key(traces, category)]
    fields[name] = str(float(fields[name]) * factor)


def set_to(traces, name, value, category="fire"):
    traces.points[risk_key(traces, category)][name] = value


def without_tick(traces):
    _, tick_s = risk_key(traces)
    for key in [key for key in traces.points if key[0].startswith("risk,") and key[1] == tick_s]:
        del traces.points[key]


def point_of_no_cell(traces):
    key, time_s = risk_key(traces)
    before = key.split("cell=")[1][:8]
    traces.points[key.replace(before, "r099c099"), time_s] = traces.points[key, time_s]


def tick_too_many(traces):
    key, time_s = risk_key(traces)
    traces.points[key, time_s + 6000] = traces.points[key, time_s]


def in_a_ledger(traces, name, value):
    traces.ledgers[2][2][name] = value


def clock_goes_back(traces):
    key = traces.ledgers[-1][0]
    (*_, last) = [fields for name, _, fields in traces.ledgers if name == key]
    last["as_of"] = "1700000000.0"


def stored_ledger(traces):
    key = max(key for key in traces.points if key[0] == "pipeline,region=riverton")
    traces.points[key]["counted"] = str(float(traces.points[key]["counted"]) + 1)


def letter_of_another_reason(traces):
    traces.letters[0]["reason"] = "late" if traces.letters[0]["reason"] != "late" else "future"


def in_a_letter(traces, reason, name, value):
    next(letter for letter in traces.letters if letter["reason"] == reason)[name] = value


def time_of_the_centre(traces):
    """As if `received_at` were Kafka's time, in the letter of an event that the region's clock refused."""
    region, sent = traces.regions[0], {message[:2]: message[2:] for message in traces.messages}
    for letter in traces.letters:
        message = sent[letter["source_partition"], letter["source_offset"]]
        if is_refused_by_the_clock(message, region) and (stated := json.loads(message[0]).get("received_at")):
            letter["source_time"] = stated


def first_of_top(traces, name, value):
    key = next(key for key in traces.points if key[0].startswith("top,") and "rank=01" in key[0])
    traces.points[key][name] = value


def outcome_too_many(traces):
    traces.points["outcome,category=fire,horizon=1h,region=riverton", 1_700_002_800 - 3600] = {"observed": "0"}


MUTANTS = {
    "a score doubled": ("I8:", scaled, "expected", 2),
    "a usual doubled": ("I1:", scaled, "usual", 2),
    "a risk a little off": ("I8:", scaled, "risk", 1.01),
    "a score that is no number": ("I8:", set_to, "expected", "nan"),
    "a score below zero": ("I8:", set_to, "low", "-1"),
    "low above high": ("I8:", set_to, "low", "9"),
    "high too high": ("I8:", set_to, "high", "9"),
    "an incident too few in observed_1h": ("I1:", set_to, "observed_1h", "7"),
    "another support": ("I8:", set_to, "support", '"ok"'),
    "another model in the frame": ("I8:", first_of_top, "model", '"baseline:RuntimeError"'),
    "a sum that does not add up": ("I8:", scaled, "expected", 1.01, "all"),
    "a sum of another usual": ("I8:", scaled, "usual", 1.01, "all"),
    "a sum that saw other incidents": ("I8:", set_to, "observed_1h", "7", "all"),
    "a chance of any that is off": ("I8:", scaled, "risk", 1.01, "all"),
    "a sum with another interval": ("I8:", set_to, "high", "9", "all"),
    "a sum with another support": ("I8:", set_to, "support", '"ok"', "all"),
    "a sum missing": ("I4:", lambda traces: traces.points.pop(risk_key(traces, "all"))),
    "a tick missing": ("I4:", without_tick),
    "a point missing": ("I4:", lambda traces: traces.points.pop(risk_key(traces))),
    "a point of no cell": ("I4:", point_of_no_cell),
    "a tick that never was": ("I7:", tick_too_many),
    "a top of another cell": ("I8:", first_of_top, "risk", "0"),
    "a part that does not multiply to the score": ("I8:", first_of_top, "by_here", "9"),
    "an unbalanced ledger that was overwritten": ("I2:", in_a_ledger, "counted", "1.0"),
    "dropped points": ("I4:", in_a_ledger, "write_dropped", "99.0"),
    "messages that no ledger has": ("I2:", in_a_ledger, "unaccounted", "2.0"),
    "a clock going back": ("I7:", clock_goes_back),
    "consumed falling": ("I7:", lambda traces: traces.ledgers.append(copy.deepcopy(traces.ledgers[0]))),
    "a stored ledger off by one": ("I1:", stored_ledger),
    "a missing dead letter": ("I3:", lambda traces: traces.letters.pop()),
    "a dead letter too many": ("I3:", lambda traces: traces.letters.append({**traces.letters[0], "source_offset": 0})),
    "a dead letter for another reason": ("I3:", letter_of_another_reason),
    "a person's payload kept": ("I12:", in_a_letter, "person_field", "payload_base64", "eA=="),
    "a payload of another message": ("I3:", in_a_letter, "not_json", "payload_base64", "eA=="),
    "a payload lost": ("I3:", in_a_letter, "not_json", "payload_base64", None),
    "a dead letter of another time": ("I3:", in_a_letter, "not_json", "source_time", "2023-11-14T00:00:00Z"),
    "a dead letter with the centre's time": ("I3:", time_of_the_centre),
    "a dead letter of another topic": ("I3:", in_a_letter, "not_json", "source_topic", "other"),
    "an outcome that is not due": ("I13:", outcome_too_many),
    "an acknowledged message lost": ("I2: Kafka lost", lambda traces: traces.messages.pop()),
    "offsets going back": ("I7:", lambda traces: traces.batches.update({2: {0: 1}})),
    "a batch that nobody saw": ("of the batches only", lambda traces: traces.batches.pop(1)),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_it_finds(name, good):
    invariant, change, *values = MUTANTS[name]
    mutant = copy.deepcopy(good)
    change(mutant, *values)
    assert any(sentence.startswith(invariant) for sentence in breaches(mutant))


def test_on_the_machines_clock_a_region_ticks_from_when_it_was_published(region):
    """Three batches: before that, ten seconds after it, and a minute after it."""
    joined_s = 1_800_000_000
    late = replace(region, name="lakeside", joins_s=joined_s)
    times_s = [joined_s - 60, joined_s + 10, joined_s + 60]
    batches = [{0: 0}, {0: 0}, {0: 0}]
    expected = recount([], [region, late], batches, [1000 * at_s for at_s in times_s])
    ticks = {
        name: sorted(tick_s for one, tick_s in expected.moments if one == name) for name in ("riverton", "lakeside")
    }
    minutes = [at_s // 60 * 60 for at_s in times_s]
    assert ticks == {"riverton": minutes, "lakeside": minutes[1:]}
    assert [expected.moments["lakeside", tick_s].is_due for tick_s in minutes[1:]] == [False, True]
    assert all(expected.moments["riverton", tick_s].is_due for tick_s in minutes)


def test_each_counted_incident_leaves_a_trace_that_is_judged(good):
    expected = good.recounted()
    _, last = max(expected.moments.items(), key=lambda item: item[0][1])
    assert len(last.counting) > 60
    for number, (cell, category, _) in enumerate(last.counting):
        without = replace(last, counting=last.counting[:number] + last.counting[number + 1 :])
        usual, observed = last.per_day()[cell, category], last.observed_1h()
        assert without.per_day()[cell, category] < usual * (1 - 2 * ROUNDED) or without.observed_1h() != observed


@pytest.fixture(scope="module")
def judged(artifact, region):
    """A store after 49 hours of few events: horizons of each length close, most of the short ones are judged twice."""
    return traces_of_scenario(story_of("kills"), artifact, region, per_batch=6)


def test_a_good_store_of_49_hours_has_no_breach_and_hundreds_of_outcomes(judged):
    assert list(breaches(judged)) == []
    stored = Counter(key.split(",")[0] for key, _ in judged.points if key.startswith("outcome"))
    assert stored["outcome"] == (28 + 28 + 25) * len(judged.regions[0].categories)  # a day's last three end too late
    assert stored["outcome_area"] == 16 * stored["outcome"]
    assert stored["outcome_chance"] >= stored["outcome"]
    written = Counter(tags_of(key)["horizon"] for key, _, _ in judged.written if key.startswith("outcome,"))
    assert written == {"1h": (28 + 24) * 2, "4h": (28 + 21) * 2, "24h": (25 + 1) * 2}  # the first and the second time


def outcomes_in(traces, measurement="outcome"):
    """Points, by hour, then tags."""
    return sorted((key for key in traces.points if key[0].startswith(f"{measurement},")), key=lambda key: key[::-1])


def judged_twice(traces):
    """Where an outcome is that has been judged twice, and the places of both judgements in what was written."""
    key = outcomes_in(traces)[9]
    first, second = [number for number, written in enumerate(traces.written) if written[:2] == key]
    return key, first, second


def lost(traces, measurement):
    del traces.points[outcomes_in(traces, measurement)[9]]


def changed(traces, measurement, name, times, plus=0.0):
    """In the store in the end, and not in what was written."""
    key = outcomes_in(traces, measurement)[9]
    traces.points[key] = {**traces.points[key], name: str(float(traces.points[key][name]) * times + plus)}


def doubled(traces, later_s, tag=""):
    key, time_s = outcomes_in(traces)[9]
    traces.points[key.replace("outcome,", f"outcome,{tag}"), time_s + later_s] = traces.points[key, time_s]


def second_judgement_lost(traces):
    key, first, second = judged_twice(traces)
    traces.points[key] = traces.written[first][2]
    del traces.written[second]


def first_judgement_lost(traces):
    """What the second one has overwritten."""
    del traces.written[judged_twice(traces)[1]]


def judgements_exchanged(traces):
    _, first, second = judged_twice(traces)
    traces.written[first], traces.written[second] = traces.written[second], traces.written[first]


def judged_of_another_hour(traces):
    """By a forecast that was not the first of its hour."""
    places = [key for key in outcomes_in(traces) if "category=fire,horizon=1h" in key[0]]
    of_another = {name: traces.points[places[15]][name] for name in ("expected", "brier", "log_score")}
    traces.points[places[4]] = {**traces.points[places[4]], **of_another}


def never_was(traces):
    """As if the horizon had never closed: gone everywhere."""
    key = outcomes_in(traces)[9]
    del traces.points[key]
    traces.written[:] = [point for point in traces.written if point[:2] != key]


def all_gone(traces):
    for key in [key for key in traces.points if key[0].startswith("outcome")]:
        del traces.points[key]
    traces.written[:] = [point for point in traces.written if not point[0].startswith("outcome")]


def frame_unseen(traces):
    """What has been written of a whole hour's first frame."""
    tick_s = outcomes_in(traces)[9][1]
    traces.written[:] = [point for point in traces.written if not (point[0].startswith("risk,") and point[1] == tick_s)]


OUTCOME_MUTANTS = {
    "one lost": (lost, "outcome"),
    "a district lost": (lost, "outcome_area"),
    "a bin of chances lost": (lost, "outcome_chance"),
    "one that was never written": (never_was,),
    "none at all": (all_gone,),
    "one at another time, too": (doubled, 1800),
    "one with another tag, too": (doubled, 0, "job=2,"),
    "an incident too many": (changed, "outcome", "observed", 1, 1),
    "another forecast": (changed, "outcome", "expected", 1.01),
    "another baseline": (changed, "outcome", "usual", 1.01),
    "a Brier score a little off": (changed, "outcome", "brier", 1.01),
    "a log score a little off": (changed, "outcome", "log_score", 1.01),
    "a hit too many": (changed, "outcome", "hits_10", 1, 1),
    "a hit of the best choice too many": (changed, "outcome", "ideal_hits_5", 1, 1),
    "another hour of the day": (changed, "outcome", "hour", 1, 1),
    "another judgement": (changed, "outcome", "closed_s", 1, -86_400),
    "an incident in another district": (changed, "outcome_area", "observed", 1, 1),
    "a cell too many in a bin": (changed, "outcome_chance", "cells", 1, 1),
    "another chance said": (changed, "outcome_chance", "said", 1.01),
    "a cell too many that had one": (changed, "outcome_chance", "came", 1, 1),
    "a second judgement lost": (second_judgement_lost,),
    "a first judgement lost": (first_judgement_lost,),
    "judgements in the wrong order": (judgements_exchanged,),
    "a forecast of another hour": (judged_of_another_hour,),
    "a forecast that nobody saw": (frame_unseen,),
}


@pytest.fixture(scope="module")
def expected_of_judged(judged):
    return judged.recounted()


@pytest.mark.parametrize("name", OUTCOME_MUTANTS)
def test_of_outcomes_it_finds(name, judged, expected_of_judged):
    change, *values = OUTCOME_MUTANTS[name]
    mutant = replace(judged, points=dict(judged.points), written=list(judged.written))
    change(mutant, *values)
    sentences = list(outcome_breaches(mutant, expected_of_judged))
    assert sentences
    assert all(sentence.startswith("I13:") for sentence in sentences), sentences
