"""gate.toml: what it may hold, and that its hash is the file's."""

import hashlib

import pytest

from lifecycle.gate.plan import GatePlan, read_plan
from schemas.errors import SettingsError


def test_an_empty_plan_has_the_defaults(tmp_path):
    path = tmp_path / "gate.toml"
    path.write_text("")
    assert read_plan(path) == (GatePlan(), hashlib.sha256(b"").hexdigest())


def test_keys_are_read_and_the_hash_covers_every_byte(tmp_path):
    path = tmp_path / "gate.toml"
    path.write_text("margin = 0.1  # agreed\nauto = true\n")
    plan, digest = read_plan(path)
    assert (plan.margin, plan.auto, plan.alpha) == (0.1, True, 0.05)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "text",
    ["alpha = 0", "alpha = 1.5", "margins = 0.2", "least_days = 90", "least_days = 0", 'auto = "yes"', "alpha", "\xff"],
)
def test_what_cannot_be_meant_is_refused(tmp_path, text):
    path = tmp_path / "gate.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(SettingsError):
        read_plan(path)


def test_a_plan_that_is_missing_is_refused(tmp_path):
    with pytest.raises(SettingsError, match=r"gate\.toml is missing") as refused:
        read_plan(tmp_path / "gate.toml")
    assert refused.value.exit_code == 2
    assert refused.value.remedy == (
        "write it with the keys alpha, margin, least_days, most_days, least_incidents, calibration, held_out_days, "
        "failed_hours, trials_a_year, auto, groups, or set RISK_GATE_PLAN to another file"
    )
