"""The rules of outcomes find each thing that is wrong with those of a store."""

from collections import Counter
from dataclasses import replace
from functools import partial

import pytest

from tests.faults.good_store import good_store, recounted
from tests.faults.outcome_rules import outcome_breaches
from tests.faults.rules import breaches
from tests.faults.test_outcomes import story_of
from tests.harness.points import tags_of


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
    """Points, by hour, then tags."""
    return sorted((key for key in seen.points if key[0].startswith(f"{measurement},")), key=lambda key: key[::-1])


def judged_twice(seen):
    """Where an outcome is that has been judged twice, and the places of both judgements in what was written."""
    key = outcomes_in(seen)[9]
    first, second = [number for number, written in enumerate(seen.written) if written[:2] == key]
    return key, first, second


def lost(seen, measurement):
    del seen.points[outcomes_in(seen, measurement)[9]]


def changed(seen, measurement, name, *, plus=0.0, times=1.0):
    """In the store in the end, and not in what was written."""
    key = outcomes_in(seen, measurement)[9]
    seen.points[key] = {**seen.points[key], name: str(float(seen.points[key][name]) * times + plus)}


def doubled(seen, *, later_s=0, tag=""):
    key, time_s = outcomes_in(seen)[9]
    seen.points[key.replace("outcome,", f"outcome,{tag}"), time_s + later_s] = seen.points[key, time_s]


def second_judgement_lost(seen):
    key, first, second = judged_twice(seen)
    seen.points[key] = seen.written[first][2]
    del seen.written[second]


def first_judgement_lost(seen):
    """What the second one has overwritten."""
    del seen.written[judged_twice(seen)[1]]


def judgements_exchanged(seen):
    _, first, second = judged_twice(seen)
    seen.written[first], seen.written[second] = seen.written[second], seen.written[first]


def judged_of_another_hour(seen):
    """By a forecast that was not the first of its hour."""
    places = [key for key in outcomes_in(seen) if "category=fire,horizon=1h" in key[0]]
    of_another = {name: seen.points[places[15]][name] for name in ("expected", "brier", "log_score")}
    seen.points[places[4]] = {**seen.points[places[4]], **of_another}


def never_was(seen):
    """As if the horizon had never closed: gone everywhere."""
    key = outcomes_in(seen)[9]
    del seen.points[key]
    seen.written[:] = [point for point in seen.written if point[:2] != key]


def all_gone(seen):
    for key in [key for key in seen.points if key[0].startswith("outcome")]:
        del seen.points[key]
    seen.written[:] = [point for point in seen.written if not point[0].startswith("outcome")]


def frame_unseen(seen):
    """What has been written of a whole hour's first frame."""
    tick_s = outcomes_in(seen)[9][1]
    seen.written[:] = [point for point in seen.written if not (point[0].startswith("risk,") and point[1] == tick_s)]


OUTCOME_MUTANTS = {
    "one lost": partial(lost, measurement="outcome"),
    "a district lost": partial(lost, measurement="outcome_area"),
    "a bin of chances lost": partial(lost, measurement="outcome_chance"),
    "one that was never written": never_was,
    "none at all": all_gone,
    "one at another time, too": partial(doubled, later_s=1800),
    "one with another tag, too": partial(doubled, tag="job=2,"),
    "an incident too many": partial(changed, measurement="outcome", name="observed", plus=1),
    "another forecast": partial(changed, measurement="outcome", name="expected", times=1.01),
    "another baseline": partial(changed, measurement="outcome", name="usual", times=1.01),
    "a Brier score a little off": partial(changed, measurement="outcome", name="brier", times=1.01),
    "a log score a little off": partial(changed, measurement="outcome", name="log_score", times=1.01),
    "a hit too many": partial(changed, measurement="outcome", name="hits_10", plus=1),
    "a hit of the best choice too many": partial(changed, measurement="outcome", name="ideal_hits_5", plus=1),
    "another hour of the day": partial(changed, measurement="outcome", name="hour", plus=1),
    "another judgement": partial(changed, measurement="outcome", name="closed_s", plus=-86_400),
    "an incident in another district": partial(changed, measurement="outcome_area", name="observed", plus=1),
    "a cell too many in a bin": partial(changed, measurement="outcome_chance", name="cells", plus=1),
    "another chance said": partial(changed, measurement="outcome_chance", name="said", times=1.01),
    "a cell too many that had one": partial(changed, measurement="outcome_chance", name="came", plus=1),
    "a second judgement lost": second_judgement_lost,
    "a first judgement lost": first_judgement_lost,
    "judgements in the wrong order": judgements_exchanged,
    "a forecast of another hour": judged_of_another_hour,
    "a forecast that nobody saw": frame_unseen,
}


@pytest.fixture(scope="module")
def expected_of_judged(judged):
    return recounted(judged)


@pytest.mark.parametrize("name", OUTCOME_MUTANTS)
def test_of_outcomes_it_finds(name, judged, expected_of_judged):
    mutant = replace(judged, points=dict(judged.points), written=list(judged.written))
    OUTCOME_MUTANTS[name](mutant)
    found = list(outcome_breaches(mutant, expected_of_judged))
    assert found
    assert all(sentence.startswith("I13:") for sentence in found), found
