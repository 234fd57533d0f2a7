"""Outside series through the whole job: a real broker, a process of its own, killed and started again."""

import json
import os
import re
import signal

import msgspec
import pytest

from models.features import features_of
from schemas.spec import CovariateSeries
from tests.harness.region import Region
from tests.harness.toy import iso

START = 1_700_000_000
NOW = START + 600  # the clock of the first events
HOUR = 3600


def forecast(value, hour, **changes):
    fields = {"region": "riverton", "series": "wind", "issued_at": iso(START), "value": value}
    return json.dumps({**fields, "valid_at": iso((NOW // HOUR + hour) * HOUR), **changes}).encode()


def newest(scorer):
    """The fields of the region's newest `pipeline` point."""
    points = {
        at_s: fields for (key, at_s), fields in scorer.points(b"pipeline,").items() if key == "pipeline,region=riverton"
    }
    return {name: float(points[max(points)].get(name, "nan")) for name in WATCHED} if points else {}


WATCHED = ("consumed", "covariates_missing", "covariates_accepted", "covariates_unused", "covariates_rejected")


def expected(scorer):
    """Of the newest tick, by cell, category and horizon."""
    points = {(key, at_s): fields for (key, at_s), fields in scorer.points().items() if key.startswith("risk,")}
    last = max(at_s for _, at_s in points)
    return {key: fields["expected"] for (key, at_s), fields in points.items() if at_s == last}


def cells_of(keys):
    return {re.search(r"cell=(\w+)", key)[1] for key in keys}


@pytest.fixture(scope="module")
def region(new_region):
    plain = new_region("riverton")
    series = (CovariateSeries(name="wind", max_age_hours=24),)
    spec = msgspec.structs.replace(plain.spec, covariates=series)
    return Region(msgspec.structs.replace(spec, features=features_of(spec)), plain.start_s)


@pytest.fixture(scope="module")
def story(new_topic, new_scorer, region):
    incidents, outside = new_topic("windy", partitions=2), new_topic("windy-covariates", partitions=1)
    scorer = new_scorer("windy", incidents, RISK_COVARIATES_TOPIC=outside.name)
    region.publish(scorer.artifacts)
    incidents.send((number % 2, region.event(number, cell=number, at_s=NOW - 9), NOW * 1000) for number in range(9))
    scorer.start()
    seen = {}
    scorer.wait_until(lambda: newest(scorer).get("consumed") == 9)
    seen["before"] = newest(scorer), expected(scorer)
    bad = [forecast(1.0, 0, series="rain"), forecast(1.0, 0, region="atlantis"), b"nothing"]
    outside.send((0, value, NOW * 1000) for value in [*(forecast(2.0, hour) for hour in range(27)), *bad])
    scorer.wait_until(lambda: newest(scorer).get("covariates_accepted") == 27)
    seen["after"] = newest(scorer), expected(scorer)
    scorer.end(signal.SIGKILL)
    outside.send((0, forecast(2.0, hour), NOW * 1000) for hour in range(27))
    incidents.send([(0, region.event(99, cell=3, at_s=NOW - 5), NOW * 1000)])
    scorer.start()
    scorer.wait_until(lambda: newest(scorer).get("consumed") == 10 and newest(scorer)["covariates_unused"] == 27)
    seen["again"] = newest(scorer), expected(scorer)
    scorer.note_children()
    os.killpg(scorer.process.pid, signal.SIGTERM)
    seen["code"] = scorer.end()
    return scorer, outside, seen


def test_a_missing_series_is_said_and_its_values_change_every_cell(story):
    _, _, seen = story
    (before, scores), (after, later) = seen["before"], seen["after"]
    assert (before["covariates_missing"], after["covariates_missing"]) == (1, 0)
    assert scores.keys() == later.keys()
    moved = [key for key in scores if scores[key] != later[key]]  # what moved by less waits for a pause
    assert cells_of(moved) == cells_of(scores)
    assert (after["consumed"], after["covariates_rejected"]) == (9, 1)


def test_after_a_kill_nothing_is_lost_and_a_repeat_changes_nothing(story):
    _, _, seen = story
    again, _ = seen["again"]
    assert (again["covariates_missing"], again["covariates_accepted"]) == (0, 27)


@pytest.mark.fault("F02")
def test_sigterm_to_all_processes_leaves_no_trace(story):
    """Java gets the signal too, and often ends first."""
    scorer, _, seen = story
    assert seen["code"] == 0
    scorer.assert_no_trace()
    ends = ("stopped between two batches", "stopped; the next start repeats")
    assert sum(map(scorer.output.count, ends)) == 1


def test_refused_values_are_dead_letters_of_their_own_topic(story):
    scorer, outside, _ = story
    letters = [letter for letter in scorer.letters() if letter["source_topic"] == outside.name]
    assert {(one["source_offset"], one["reason"], one["region"]) for one in letters} == {
        (27, "unknown_category", "riverton"),
        (28, "unknown_region", None),
        (29, "not_json", None),
    }
    assert len(letters) == len(scorer.letters())


def test_kafkas_offsets_and_the_ledger_of_events_agree(story):
    scorer, _, _ = story
    points = [fields for (key, _), fields in scorer.points().items() if key == "pipeline,region=riverton"]
    assert {float(fields["unaccounted"]) for fields in points} == {0.0}


def test_what_such_a_job_stored_cannot_be_rebuilt_and_that_is_said(story):
    scorer, _, _ = story
    rebuilt = scorer.command("rebuild", "--from", iso(START), "--to", iso(NOW + 60))
    assert rebuilt.returncode == 8
    assert "cannot be rebuilt" in rebuilt.stderr + rebuilt.stdout
