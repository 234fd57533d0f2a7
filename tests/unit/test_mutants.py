"""Each change of `make mutants` is asked of the tests that are near to it."""

from tests.mutants import nearest


def test_a_change_is_asked_of_the_tests_that_reach_least_as_long_as_there_is_time():
    reached_by = {"f": {"b::all", "a::f alone", "a::slow of f", "a::both"}, "g": {"b::all", "a::both"}}
    seconds = {"b::all": 0.5, "a::f alone": 0.5, "a::slow of f": 3.0, "a::both": 1.0}
    assert nearest(reached_by, seconds, 3.2) == {"f": ["a::f alone", "a::both", "b::all"], "g": ["b::all", "a::both"]}
    assert nearest(reached_by, seconds, 9.0)["f"] == ["a::f alone", "a::slow of f", "a::both", "b::all"]
    assert nearest({"h": {"a::slow"}}, {"a::slow": 30.0}, 3.2) == {"h": ["a::slow"]}
