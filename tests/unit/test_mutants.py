"""The page of mutants counts what was noticed, and only a reason makes a survivor accepted."""

import json
from datetime import date

from docs.ages import run_days
from tests.harness.compose_file import ROOT
from tests.mutants.score import function_of, nearest, page_of, unaccepted, when

RUN = {"date": "2026-11-27T22:00:00+00:00", "commit": "abc1234"}


def test_a_mutant_is_known_by_its_function_and_not_by_its_number():
    assert function_of("models.baseline.x_remember__mutmut_12") == "models.baseline.remember"
    assert function_of("models.baseline.x__private__mutmut_1") == "models.baseline._private"
    assert function_of("models.counting.blobs.xǁJournalǁ_fold__mutmut_3") == "models.counting.blobs.Journal._fold"


def test_a_change_is_asked_of_the_tests_that_reach_least_as_long_as_there_is_time():
    reached_by = {"f": {"b::all", "a::f alone", "a::slow of f", "a::both"}, "g": {"b::all", "a::both"}}
    seconds = {"b::all": 0.5, "a::f alone": 0.5, "a::slow of f": 3.0, "a::both": 1.0}
    assert nearest(reached_by, seconds, 3.2) == {"f": ["a::f alone", "a::both", "b::all"], "g": ["b::all", "a::both"]}
    assert nearest(reached_by, seconds, 9.0)["f"] == ["a::f alone", "a::slow of f", "a::both", "b::all"]
    assert nearest({"h": {"a::slow"}}, {"a::slow": 30.0}, 3.2) == {"h": ["a::slow"]}


def test_a_survivor_is_accepted_with_a_reason_for_this_very_change():
    changes = {"a.b.x_f__mutmut_1": "return 1", "a.b.x_f__mutmut_2": "return 2", "a.c.x_f__mutmut_1": "return 1"}
    assert unaccepted(changes, {"a.b.f": {"return 1": "the same", "return 2": ""}}) == [*changes][1:]
    assert unaccepted(changes, {"a.b.f": {"*": "runs at import"}}) == [*changes][2:]


def test_the_page_counts_what_was_run():
    text = page_of(
        {
            "a.b": {"noticed": 8, "accepted": 1, "left": 1, "too slow": 2, "not run": 5},
            "a.c": {"noticed": 10, "left": 0},
            "a.d": {"not run": 3},
            "a.e": {"left": 1},
        },
        [RUN],
        "3.8.1",
    )
    assert "31 changes, 23 were run (74 %). Of these 18 were noticed, 2 were" in text
    assert "and 2 took too long to\nsay**" in text
    assert "- Not noticed: a.b (1 of 17), a.e (1 of 1)\n- Not run: a.b (5 of 17), a.d (3 of 3)\n" in text
    assert [*run_days(text)] == [date(2026, 11, 27)]


def test_the_page_says_when_its_shards_were_run():
    later = {"date": "2026-11-29T01:00:00+00:00", "commit": "def5678"}
    assert when([RUN, later]) == "on 2026-11-27 and until 2026-11-29, of the commits from abc1234 to def5678"


def test_every_accepted_survivor_has_its_reason():
    accepted = json.loads((ROOT / "tests" / "mutants" / "accepted.json").read_text(encoding="utf-8"))
    assert all(len(reason) > 10 for changes in accepted.values() for reason in changes.values())
