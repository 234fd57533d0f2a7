"""In a city of equal cells the shipped model does not chase what visits discover, unless that is counted."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from incident_risk import app
from models.artifact import champion_of
from models.evaluation.feedback_loop import (
    POLICIES,
    SOFTER,
    CityModel,
    EqualCity,
    errors_of,
    last_errors,
    learned_shares,
)
from schemas.decode import decode_messages
from schemas.incidents import COUNTED_ORIGIN

SEEDS, DAYS = 2, 30


@pytest.fixture(scope="module")
def model():
    return CityModel.of(champion_of(Path("streaming/sample/artifacts"), "montgomery"))


@pytest.fixture(scope="module")
def errors(model):
    """By (policy, whether it is followed) the mean and the 95th percentile of the errors."""
    return {
        (policy.name, policy.is_followed): last_errors(
            np.stack([learned_shares(model, policy, days=DAYS, seed=seed) for seed in range(SEEDS)])
        )
        for policy in POLICIES
    }


@pytest.mark.parametrize("is_followed", [False, True])
def test_discovered_incidents_move_no_forecast_unless_they_are_counted(errors, is_followed):
    assert errors["default", is_followed][1] <= 0.1
    assert errors["naive", is_followed][0] >= 0.3
    assert errors["unequal reports", is_followed][0] >= 0.1
    assert all(policy.holds(*errors[policy.name, policy.is_followed]) for policy in POLICIES)
    assert errors["naive", True] != errors["naive", False]  # what follows has learned something


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: f"{policy.name}, {policy.is_followed}")
def test_what_each_policy_is_held_to_can_be_broken(policy):
    (other,) = (error for error in ((0.0, 0.0), (0.9, 0.9)) if not policy.holds(*error))
    assert policy.holds(0.9 - other[0], 0.9 - other[1])


def test_a_policy_that_visits_at_all_by_a_counting_forecast_is_a_loop(model):
    shares = learned_shares(model, SOFTER, days=DAYS, seed=0)
    assert errors_of(shares[0]) < 1e-6 < 0.1 < errors_of(shares[-1])


def test_a_visit_discovers_what_nobody_called_about(model):
    reporting = np.repeat([0.5, 1.0], 8)
    city = EqualCity(spec=model.spec, category_shares=np.full(3, 1 / 3), reporting=reporting)
    random = np.random.default_rng(0)
    days = [city.messages(day, np.array([0, 15]), random) for day in range(200)]
    decoded = [decode_messages(day, {"montgomery": model.spec}) for day in days]
    assert not any(of_day.rejections for of_day in decoded)
    cells = np.concatenate([of_day.incidents["montgomery"].cell for of_day in decoded])
    flags = np.concatenate([of_day.incidents["montgomery"].flags for of_day in decoded])
    per_day = np.bincount(cells, minlength=16) / len(days)
    assert per_day[[0, 15]] == pytest.approx([10, 10], rel=0.1)
    assert per_day[1:8] == pytest.approx(np.full(7, 0.5), rel=0.4)
    assert per_day[8:15] == pytest.approx(np.full(7, 1.0), rel=0.4)
    assert set(cells[flags & COUNTED_ORIGIN == 0]) == {0, 15}


def test_the_command_prints_what_holds_and_what_does_not_and_draws_it(tmp_path):
    words = ["simulate-feedback", "--out", str(tmp_path), "--seeds", "1", "--days", "3"]
    ran = CliRunner().invoke(app, words, env={"COLUMNS": "80"})
    assert ran.exit_code == 1  # three days of one city are too few
    rows = [line.split() for line in ran.output.splitlines()]
    assert ["default", "not", "counted"] in [row[:3] for row in rows if row[-1:] == ["broken"]]
    assert sum(row[-2:] == ["not", "removed"] for row in rows) == 2
    assert (tmp_path / "feedback.png").read_bytes().startswith(b"\x89PNG")
