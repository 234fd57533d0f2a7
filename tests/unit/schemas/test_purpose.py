"""Which categories each purpose forbids: what patrols find for all, and what no unit of it answers."""

import pytest

from schemas.spec import PURPOSES, forbidden

CALLED = ["ems", "fire", "traffic", "battery-fire", "drug_overdose", "water_rescue", "stopped_vehicle", "storm_damage"]
FOUND = ["drug_arrest", "warrant", "traffic_stop", "stop_and_search", "narcotics", "drugs", "weapons_violation"]
PROPERTY, VIOLENCE = ["theft", "motor_vehicle_theft", "burglary", "criminal-damage"], ["assault", "battery", "robbery"]
PROPERTY += ["trespassing", "panhandling", "homeless-camp", "disorderly_conduct", "suspicious_person"]


@pytest.mark.parametrize("purpose", PURPOSES)
def test_no_purpose_forbids_what_units_are_called_to(purpose):
    assert list(forbidden(purpose, CALLED)) == []


@pytest.mark.parametrize("purpose", PURPOSES)
def test_every_purpose_forbids_what_patrols_find_with_that_reason(purpose):
    pairs = dict(forbidden(purpose, [*FOUND, "ems"]))
    assert list(pairs) == FOUND
    assert set(pairs.values()) == {"patrols find it, so its counts say where patrols were"}


@pytest.mark.parametrize(
    ("purpose", "categories"),
    [
        ("ems_readiness", PROPERTY),
        ("fire", PROPERTY + VIOLENCE),
        ("road_safety", PROPERTY + VIOLENCE),
        ("crowd_safety", PROPERTY),
        ("dispatch_staffing", []),
    ],
)
def test_a_purpose_forbids_what_none_of_its_units_answers(purpose, categories):
    assert [category for category, _ in forbidden(purpose, PROPERTY + VIOLENCE)] == categories
