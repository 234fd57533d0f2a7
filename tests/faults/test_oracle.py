"""The oracle itself: it takes a store as it must be, and finds each thing that is wrong with another one."""

import copy
import json
import random
import time
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest

from streaming.roster.roster import load_artifact
from tests.faults import run as run_module
from tests.faults.good_store import good_store, region_of, store_after
from tests.faults.injected import SIDES, Injected
from tests.faults.oracle import DAY_S, recount
from tests.faults.rules import ROUNDED, breaches, outcome_breaches, tags_of
from tests.faults.run import shorten
from tests.faults.scenario import Producer, generate, iso
from tests.faults.test_outcomes import story_of
from tests.faults.test_scenarios import SCENARIOS, scenario_of
from tests.faults.witness import Witness
from tests.harness.region import make_region

HOUR_S = 3600
REASONS = {
    *("null_value", "too_large", "not_json", "schema", "person_field", "unknown_field", "bad_time"),
    *("unknown_region", "unknown_category", "outside_grid", "future", "late"),
}


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    return load_artifact(str(make_region("riverton").publish(tmp_path_factory.mktemp("artifact"))))


@pytest.fixture(scope="module")
def good(artifact):
    return good_store(scenario_of("baseline", "event"), artifact)


@pytest.fixture(scope="module")
def region(artifact):
    return region_of(artifact)


def test_a_good_store_has_no_breach(good):
    assert list(breaches(good)) == []


def told_over_days(seed):
    """(value, Kafka time in ms): few incidents, corrected over days, each message also sent again, up to days later."""
    draw, region = random.Random(seed), make_region("riverton")
    sent, clock_s = [], region.start_s
    for _ in range(150):
        clock_s += draw.choice([0, 60, 3 * HOUR_S, 11 * HOUR_S])
        occurred_s = clock_s - draw.choice([0, 1, 23 * HOUR_S, 24 * HOUR_S, draw.randrange(DAY_S)])
        changes = {
            "revision": draw.choice([0, 1, 2, 2, 3]),
            "received_at": iso(clock_s),
            "status": draw.choice(["open", "open", "open", "cancelled"]),
            "origin": draw.choice(["public_call", "public_call", "unknown"]),
        }
        event = region.event(draw.randrange(6), cell=draw.randrange(36), at_s=occurred_s, **changes)
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
    seen = store_after(told_over_days(seed), artifact, region, per_batch=7)
    assert list(breaches(seen)) == []
    expected = recount(seen.messages, seen.regions, [ends for _, ends in sorted(seen.batches.items())])
    ledger = expected.ledger["riverton"]
    assert min(ledger[name] for name in ("counted", "corrected", "duplicate", "excluded", "rejected_late")) > 5
    assert any(one["in_history"] for one in expected.known["riverton"].values()) == has_a_past


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_sends_a_message_for_every_reason(name, region):
    producer = Producer([region])
    sent = [one for action in scenario_of(name, "event").actions for one in producer.messages(action)]
    found = recount([(0, offset, value, time_ms) for offset, (_, value, time_ms) in enumerate(sent)], [region])
    assert {reason for _, reason in found.refused.values()} == REASONS


def test_late_events_are_in_most_seeds_that_send_strays(region):
    late = 0
    seeds = [scenario for scenario in map(generate, range(60)) if any(a.kind == "stray" for a in scenario.actions)]
    for scenario in seeds:
        producer = Producer([region])
        sent = [one for action in scenario.actions for one in producer.messages(action)]
        found = recount([(0, offset, value, time_ms) for offset, (_, value, time_ms) in enumerate(sent)], [region])
        late += "late" in {reason for _, reason in found.refused.values()}
    assert late > len(seeds) / 2


def risk_key(seen, *, number=100):
    return sorted(key for key in seen.points if key[0].startswith("risk,"))[number]


def scaled(name, factor):
    def change(seen):
        fields = seen.points[risk_key(seen)]
        fields[name] = str(float(fields[name]) * factor)

    return change


def set_to(name, value):
    def change(seen):
        seen.points[risk_key(seen)][name] = value

    return change


def without_tick(seen):
    _, tick_s = risk_key(seen)
    for key in [key for key in seen.points if key[0].startswith("risk,") and key[1] == tick_s]:
        del seen.points[key]


def point_of_no_cell(seen):
    key, time_s = risk_key(seen)
    before = key.split("cell=")[1][:8]
    seen.points[key.replace(before, "r099c099"), time_s] = seen.points[key, time_s]


def tick_too_many(seen):
    key, time_s = risk_key(seen)
    seen.points[key, time_s + 6000] = seen.points[key, time_s]


def ledger(name, value, *, number=2):
    def change(seen):
        seen.ledgers[number][2][name] = value

    return change


def clock_goes_back(seen):
    key = seen.ledgers[-1][0]
    (*_, last) = [fields for name, _, fields in seen.ledgers if name == key]
    last["as_of"] = "1700000000.0"


def consumed_falls(seen):
    _, time_s, fields = copy.deepcopy(seen.ledgers[0])
    seen.ledgers.append((seen.ledgers[0][0], time_s, fields))


def stored_ledger(seen):
    key = max(key for key in seen.points if key[0] == "pipeline,region=riverton")
    seen.points[key]["counted"] = str(float(seen.points[key]["counted"]) + 1)


def letter_of_another_reason(seen):
    seen.letters[0]["reason"] = "late" if seen.letters[0]["reason"] != "late" else "future"


def person_kept(seen):
    next(one for one in seen.letters if one["reason"] == "person_field")["payload_base64"] = "eA=="


def letter_with(**fields):
    def change(seen):
        next(one for one in seen.letters if one["reason"] == "not_json").update(fields)

    return change


def first_of_top(name, value):
    def change(seen):
        key = next(key for key in seen.points if key[0].startswith("top,") and "rank=01" in key[0])
        seen.points[key][name] = value

    return change


def outcome_too_many(seen):
    seen.points["outcome,category=fire,horizon=1h,region=riverton", 1_700_002_800 - 3600] = {"observed": "0"}


MUTANTS = {
    "a score doubled": (scaled("expected", 2), "I8:"),
    "a usual doubled": (scaled("usual", 2), "I1:"),
    "a risk a little off": (scaled("risk", 1.01), "I8:"),
    "a score that is no number": (set_to("expected", "nan"), "I8:"),
    "a score below zero": (set_to("low", "-1"), "I8:"),
    "low above high": (set_to("low", "9"), "I8:"),
    "high too high": (set_to("high", "9"), "I8:"),
    "an incident too few in observed_1h": (set_to("observed_1h", "7"), "I1:"),
    "another support": (set_to("support", '"ok"'), "I8:"),
    "another model in the frame": (set_to("model", '"baseline:RuntimeError"'), "I8:"),
    "a tick missing": (without_tick, "I4:"),
    "a point missing": (lambda seen: seen.points.pop(risk_key(seen)), "I4:"),
    "a point of no cell": (point_of_no_cell, "I4:"),
    "a tick that never was": (tick_too_many, "I7:"),
    "a top of another cell": (first_of_top("risk", "0"), "I8:"),
    "a part that does not multiply to the score": (first_of_top("by_here", "9"), "I8:"),
    "an unbalanced ledger that was overwritten": (ledger("counted", "1.0"), "I2:"),
    "dropped points": (ledger("write_dropped", "99.0"), "I4:"),
    "messages that no ledger has": (ledger("unaccounted", "2.0"), "I2:"),
    "a clock going back": (clock_goes_back, "I7:"),
    "consumed falling": (consumed_falls, "I7:"),
    "a stored ledger off by one": (stored_ledger, "I1:"),
    "a missing dead letter": (lambda seen: seen.letters.pop(), "I3:"),
    "a dead letter too many": (lambda seen: seen.letters.append({**seen.letters[0], "source_offset": 0}), "I3:"),
    "a dead letter for another reason": (letter_of_another_reason, "I3:"),
    "a person's payload kept": (person_kept, "I12:"),
    "a payload of another message": (letter_with(payload_base64="eA=="), "I3:"),
    "a payload lost": (letter_with(payload_base64=None), "I3:"),
    "a dead letter of another time": (letter_with(source_time="2023-11-14T00:00:00Z"), "I3:"),
    "a dead letter of another topic": (letter_with(source_topic="other"), "I3:"),
    "an outcome that is not due": (outcome_too_many, "I13:"),
    "an acknowledged message lost": (lambda seen: seen.messages.pop(), "I2: Kafka lost"),
    "offsets going back": (lambda seen: seen.batches.update({2: {0: 1}}), "I7:"),
    "a batch that nobody saw": (lambda seen: seen.batches.pop(1), "of the batches only"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_it_finds(name, good):
    change, said = MUTANTS[name]
    mutant = copy.deepcopy(good)
    change(mutant)
    assert [sentence for sentence in breaches(mutant) if sentence.startswith(said)]


@pytest.fixture(scope="module")
def judged(artifact):
    """A store after 49 hours of few events: horizons of each length close, most of the short ones are judged twice."""
    return good_store(story_of("kills"), artifact, per_batch=6)


def test_a_good_store_of_49_hours_has_no_breach_and_hundreds_of_outcomes(judged):
    assert list(breaches(judged)) == []
    found = Counter(key.split(",")[0] for key, _ in judged.points if key.startswith("outcome"))
    assert found["outcome"] == (28 + 28 + 25) * len(judged.regions[0].categories)  # a day's last three end too late
    assert found["outcome_area"] == 16 * found["outcome"]
    assert found["outcome_chance"] >= found["outcome"]
    written = Counter(tags_of(key)["horizon"] for key, _, _ in judged.written if key.startswith("outcome,"))
    assert written == {"1h": (28 + 24) * 2, "4h": (28 + 21) * 2, "24h": (25 + 1) * 2}  # the first and the second time


def outcomes_in(seen, measurement="outcome"):
    """Points, by hour, then tags; the tenth has been judged twice."""
    return sorted((key for key in seen.points if key[0].startswith(f"{measurement},")), key=lambda key: key[::-1])


def outcome_lost(measurement):
    def change(seen):
        del seen.points[outcomes_in(seen, measurement)[9]]

    return change


def outcome_changed(measurement, name, by):
    """In the store in the end, and not in what was written."""

    def change(seen):
        key = outcomes_in(seen, measurement)[9]
        seen.points[key] = {**seen.points[key], name: str(by(float(seen.points[key][name])))}

    return change


def outcome_doubled(seen):
    key, time_s = outcomes_in(seen)[9]
    seen.points[key, time_s + 1800] = seen.points[key, time_s]


def outcome_under_another_tag(seen):
    key, time_s = outcomes_in(seen)[9]
    seen.points[key.replace("outcome,", "outcome,job=2,"), time_s] = seen.points[key, time_s]


def judged_once(seen):
    """The second judgement never came."""
    key = outcomes_in(seen)[9]
    first, second = [one for one in seen.written if one[:2] == key]
    seen.written.remove(second)
    seen.points[key] = first[2]


def first_judgement_lost(seen):
    """What the second one has overwritten."""
    key = outcomes_in(seen)[9]
    seen.written.remove(next(one for one in seen.written if one[:2] == key))


def judgements_exchanged(seen):
    key = outcomes_in(seen)[9]
    one, other = [number for number, written in enumerate(seen.written) if written[:2] == key]
    seen.written[one], seen.written[other] = seen.written[other], seen.written[one]


def judged_of_another_hour(seen):
    """By a forecast that was not the first of its hour."""
    places = [key for key in outcomes_in(seen) if "category=fire,horizon=1h" in key[0]]
    one, other = places[4], places[15]
    for name in ("expected", "brier", "log_score"):
        seen.points[one] = {**seen.points[one], name: seen.points[other][name]}


def outcome_never_was(seen):
    """As if the horizon had never closed: gone everywhere."""
    key = outcomes_in(seen)[9]
    del seen.points[key]
    seen.written[:] = [one for one in seen.written if one[:2] != key]


def all_outcomes_gone(seen):
    for key in [key for key in seen.points if key[0].startswith("outcome")]:
        del seen.points[key]
    seen.written[:] = [one for one in seen.written if not one[0].startswith("outcome")]


def frame_unseen(seen):
    """What has been written of a whole hour's first frame."""
    tick_s = outcomes_in(seen)[9][1]
    seen.written[:] = [one for one in seen.written if not (one[0].startswith("risk,") and one[1] == tick_s)]


OUTCOME_MUTANTS = {
    "one lost": outcome_lost("outcome"),
    "a district lost": outcome_lost("outcome_area"),
    "a bin of chances lost": outcome_lost("outcome_chance"),
    "one that was never written": outcome_never_was,
    "none at all": all_outcomes_gone,
    "one at another time, too": outcome_doubled,
    "one with another tag, too": outcome_under_another_tag,
    "an incident too many": outcome_changed("outcome", "observed", lambda value: value + 1),
    "another forecast": outcome_changed("outcome", "expected", lambda value: value * 1.01),
    "another baseline": outcome_changed("outcome", "usual", lambda value: value * 1.01),
    "a Brier score a little off": outcome_changed("outcome", "brier", lambda value: value * 1.01),
    "a log score a little off": outcome_changed("outcome", "log_score", lambda value: value * 1.01),
    "a hit too many": outcome_changed("outcome", "hits_10", lambda value: value + 1),
    "a hit of the best choice too many": outcome_changed("outcome", "ideal_hits_5", lambda value: value + 1),
    "another hour of the day": outcome_changed("outcome", "hour", lambda value: value + 1),
    "another judgement": outcome_changed("outcome", "closed_s", lambda value: value - 86_400),
    "an incident in another district": outcome_changed("outcome_area", "observed", lambda value: value + 1),
    "a cell too many in a bin": outcome_changed("outcome_chance", "cells", lambda value: value + 1),
    "another chance said": outcome_changed("outcome_chance", "said", lambda value: value * 1.01),
    "a cell too many that had one": outcome_changed("outcome_chance", "came", lambda value: value + 1),
    "a second judgement lost": judged_once,
    "a first judgement lost": first_judgement_lost,
    "judgements in the wrong order": judgements_exchanged,
    "a forecast of another hour": judged_of_another_hour,
    "a forecast that nobody saw": frame_unseen,
}


@pytest.fixture(scope="module")
def expected_of_judged(judged):
    return recount(judged.messages, judged.regions, [ends for _, ends in sorted(judged.batches.items())])


@pytest.mark.parametrize("name", OUTCOME_MUTANTS)
def test_of_outcomes_it_finds(name, judged, expected_of_judged):
    mutant = replace(judged, points=dict(judged.points), written=list(judged.written))
    OUTCOME_MUTANTS[name](mutant)
    found = list(outcome_breaches(mutant, expected_of_judged))
    assert found
    assert all(sentence.startswith("I13:") for sentence in found), found


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
    expected = recount(good.messages, good.regions, [ends for _, ends in sorted(good.batches.items())])
    _, last = max(expected.moments.items(), key=lambda item: item[0][1])
    assert len(last.counting) > 60
    for number, (cell, category, _) in enumerate(last.counting):
        without = replace(last, counting=last.counting[:number] + last.counting[number + 1 :])
        usual, observed = last.per_day()[cell, category], last.observed_1h()
        assert without.per_day()[cell, category] < usual * (1 - 2 * ROUNDED) or without.observed_1h() != observed


class Job:
    """The folders of a scorer that is not there."""

    def __init__(self, folder):
        self.folder, self.checkpoint = folder, folder / "checkpoint"
        self.environment = {"RISK_CHECKPOINT": str(self.checkpoint)}
        for name in ("offsets", "commits"):
            (self.checkpoint / "spark" / name).mkdir(parents=True)

    def plan(self, batch, ends):
        text = 'v1\n{"batchTimestampMs":1700000000000}\n' + json.dumps({"t": ends}) + "\n0\n"
        (self.checkpoint / "spark" / "offsets" / str(batch)).write_text(text, encoding="utf-8")

    def commit(self, batch):
        (self.checkpoint / "spark" / "commits" / str(batch)).write_text("v1\n{}", encoding="utf-8")

    def say(self, line):
        with (self.folder / "terminal.txt").open("a", encoding="utf-8") as terminal:
            terminal.write(line + "\n")

    def health(self, **fields):
        (self.checkpoint / "health.json").write_text(json.dumps(fields), encoding="utf-8")


def test_a_commit_ahead_of_the_store_is_seen_while_it_lasts(tmp_path):
    job, stored = Job(tmp_path), [5]
    witness = Witness(job, "t", lambda: stored[0])
    job.plan(0, {"0": 3, "1": 2})
    job.commit(0)
    witness.look()
    assert (witness.faults, witness.batches) == ([], {0: {0: 3, 1: 2}})
    job.plan(1, {"0": 4, "1": 2})
    job.commit(1)
    witness.look()
    stored[0] = 6
    witness.look()
    assert witness.faults == ["I7: 6 messages are committed, but the store has 5"]


def test_a_fault_that_is_felt_and_not_said_is_silent(tmp_path):
    job = Job(tmp_path)
    witness, hits = Witness(job, "t", lambda: 0), []
    began = time.monotonic()
    quiet = Injected("store_down", hits, began=began, ended=began + 9)
    quiet.judge(witness)
    assert not quiet.was_silent, "it met nothing"
    hits.append(began + 1)
    assert (quiet.hits, quiet.effect_s, quiet.was_silent) == (1, 8, True)


def test_the_time_of_another_fault_is_no_recovery(tmp_path):
    witness, now = Witness(Job(tmp_path), "t", lambda: 0), time.monotonic()
    witness.commits = [now - 5, now + 100]
    slow, down, short = (
        Injected("kafka_slow", [], began=now - 6, ended=now),
        Injected("kafka_down", [], began=now + 3, ended=now + 78),
        Injected("store_down", [], began=now + 70, ended=now + 80),
    )
    for one in (slow, down):
        one.judge(witness, [slow, down, short])
    assert (slow.back_s, down.back_s) == (23, 20)
    alone = Injected("kafka_slow", [], began=now - 6, ended=now)
    alone.judge(witness, [alone])
    assert alone.back_s == 100


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda job: job.say("2026-11-25 02:14:00,000 WARNING Kafka does not answer"), "line: 2026"),
        (lambda job: job.say("error: Kafka at x has not answered for 605 s"), "line: error"),
        (lambda job: job.say("error: the store does not answer"), None),
        (lambda job: job.say("2026-11-25 02:14:00,000 INFO reading on"), None),
        (lambda job: job.health(ready=False, reason="Kafka does not answer"), "health: Kafka"),
        (lambda job: job.health(ready=False, reason="starting: no batch has been stored yet"), None),
        (lambda job: job.health(ready=True, reason=""), None),
    ],
)
def test_a_line_of_warning_or_a_health_file_that_is_not_ready_is_a_sign(act, said, tmp_path):
    job = Job(tmp_path)
    witness = Witness(job, "t", lambda: 0)
    job.say("2026-11-25 02:13:00,000 WARNING something before")
    witness.look()
    began = time.monotonic()
    act(job)
    witness.look()
    sign = witness.sign_since(began, SIDES["broker"])
    assert sign.startswith(said) if said else sign is None


def test_a_failing_scenario_is_shortened_to_what_it_needs_to_fail():
    scenario = generate(17)
    needed = [scenario.actions[0], scenario.actions[-2]]

    def fails(one):
        return all(action in one.actions for action in needed)

    short = shorten(scenario, fails)
    assert list(short.actions) == needed
    assert (short.seed, short.partitions, short.per_batch) == (17, scenario.partitions, scenario.per_batch)


def test_a_scenario_that_needs_all_of_itself_stays_whole():
    scenario = generate(3)
    assert shorten(scenario, lambda one: one == scenario) == scenario


def test_a_crash_of_a_run_is_an_outcome_and_does_not_end_the_others(monkeypatch, tmp_path):
    class Falling:
        faults, witness, exits, recoveries, injected, starts = ["I7: before"], SimpleNamespace(faults=[]), [], [], [], 1

        def __init__(self, *_):
            self.closed = False

        def run(self):
            raise KeyError("partition")

        def close(self):
            pass

    monkeypatch.setattr(run_module, "World", Falling)
    outcome = run_module.run_scenario(generate(1), tmp_path, None)
    assert outcome.broken == ("I7: before", "the run ended with KeyError: 'partition'")
