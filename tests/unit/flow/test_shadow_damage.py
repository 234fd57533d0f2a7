"""Whatever is damaged of a challenger: the points of the map go on, and the hour is judged without it."""

from dataclasses import dataclass

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from models.counting.closed_horizons import ClosedHorizon, last_grace_s
from models.dispersion import Dispersion
from models.gate.asked import asked_path, keep_asked
from models.gate.plan import GatePlan
from models.gate.shadow_day import read_shadow, shadow_path
from models.gate.trial import Trial, trial_path, write_trial
from models.measures.outcomes import Forecast
from schemas.errors import CheckpointError
from schemas.spec import DAY_S
from streaming.flow import publish
from streaming.flow.outcomes import KeptForecasts
from streaming.flow.publish import forecast_of
from streaming.flow.rows import ClosedCounts
from streaming.flow.shadow import Shadow
from tests.harness.points import stored_points
from tests.harness.toy import toy_spec

SPEC = toy_spec()
TICK_S = 1_764_028_800  # midnight, UTC: drift is judged, too
CHAMPION, CHALLENGER = "20260101T000000Z-aaaaaaaa", "20260102T000000Z-bbbbbbbb"


def forecast(model):
    shape = (SPEC.grid.cells, len(SPEC.categories), len(SPEC.horizons_s))
    means = np.full(shape, 0.5, np.float32)
    dispersion = Dispersion.quadratic(np.ones(shape[1:]))
    return Forecast(model=model, expected=means, usual=means, dispersion=dispersion, usual_dispersion=dispersion)


@dataclass
class World:
    shadow: Shadow

    def points(self):
        judged_s = TICK_S + SPEC.horizons_s[0] + last_grace_s(SPEC)
        counts = np.zeros((SPEC.grid.cells, len(SPEC.categories)), np.int32)
        closed = ClosedHorizon(horizon=0, tick_s=TICK_S, judged_s=judged_s, observed=counts)
        return self.shadow.points(SPEC, [ClosedCounts.of(closed)])


@pytest.fixture
def world(tmp_path):
    champion = KeptForecasts(tmp_path / "checkpoint" / "outcomes")
    champion.write(forecast(CHAMPION), SPEC, TICK_S)
    shadow = Shadow(checkpoint=tmp_path / "checkpoint", artifacts=tmp_path / "artifacts", champion=champion)
    shadow.keep(forecast(CHALLENGER), SPEC, TICK_S)
    return World(shadow)


def test_without_damage_both_are_judged(world):
    assert world.points().startswith(b"shadow,")
    (hour,) = read_shadow(shadow_path(world.shadow.checkpoint, SPEC.region))
    assert (hour.champion_version, hour.challenger_version) == (CHAMPION, CHALLENGER)


def test_a_damaged_forecast_of_the_challenger_leaves_the_hour_to_the_champion(world):
    path = world.shadow.checkpoint / "shadow" / "forecasts" / SPEC.region / f"{TICK_S}.npz"
    path.write_bytes(b"garbage")
    assert world.points() == b""
    (hour,) = read_shadow(shadow_path(world.shadow.checkpoint, SPEC.region))
    assert (hour.champion_version, hour.challenger_version) == (CHAMPION, "")


@pytest.mark.parametrize("line", [b"garbage\n", b'{"champion_version": "\xff"}\n'])
def test_a_line_that_cannot_be_read_ends_the_judgement_and_not_the_job(world, caplog, line):
    path = shadow_path(world.shadow.checkpoint, SPEC.region)
    path.write_bytes(line)
    assert world.points().startswith(b"shadow,")
    assert "line 1 cannot be read" in caplog.text


def test_an_hour_of_a_silent_feed_is_written_again_as_cut_out_and_once(world):
    world.shadow.cut_hours = lambda spec, newest_s: {TICK_S // 3600}
    world.points()
    hours = list(read_shadow(shadow_path(world.shadow.checkpoint, SPEC.region)))
    assert [one.is_cut for one in hours] == [False, True]
    world.shadow._cut_out(SPEC, TICK_S)
    assert list(read_shadow(shadow_path(world.shadow.checkpoint, SPEC.region))) == hours


def test_a_log_of_batches_that_cannot_be_read_stops_no_judgement(world, caplog):
    def damaged(*_):
        raise CheckpointError("batches.jsonl, line 7 cannot be read", "restore it")

    world.shadow.cut_hours = damaged
    assert world.points().startswith(b"shadow,")
    assert "nobody knows in which hours its feed was silent" in caplog.text


def test_a_damaged_trial_ends_the_judgement_and_not_the_job(world, caplog):
    path = trial_path(world.shadow.artifacts, SPEC.region)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"garbage")
    assert world.points().startswith(b"shadow,")
    assert "trial.json cannot be used" in caplog.text


def test_when_triggers_were_asked_is_told_unless_it_cannot_be_read(world, caplog):
    now_s = TICK_S + SPEC.horizons_s[0] + last_grace_s(SPEC)
    path = asked_path(world.shadow.artifacts, SPEC.region)
    path.parent.mkdir(parents=True)
    keep_asked(world.shadow.artifacts, SPEC.region, "trial started", "it is old", now_s=now_s - 7200)
    keep_asked(world.shadow.artifacts, SPEC.region, "failed", "a day is missing", now_s=now_s - 60)
    (fields,) = (fields for (key, _), fields in stored_points([world.points()]).items() if key.startswith("retrain,"))
    assert fields == {
        "asked_ago_s": "7200.0",
        "made_ago_s": "7200.0",
        "outcome": '"failed"',
        "because": '"a day is missing"',
    }
    path.write_bytes(b"{")
    assert world.points().startswith(b"shadow,")
    assert "nobody knows when its triggers were asked" in caplog.text


def test_a_challenger_whose_folder_went_after_scoring_is_left_out(tmp_path):
    assert forecast_of({"artifact": str(tmp_path / "town" / CHALLENGER)}) is None


def test_artifacts_that_are_away_stop_no_judgement(world, monkeypatch):
    def away(*_):
        raise OSError(116, "Stale file handle")

    monkeypatch.setattr("streaming.flow.shadow.read_trial", away)
    monkeypatch.setattr(publish, "load_artifact", away)
    assert world.points().startswith(b"shadow,")
    assert forecast_of({"artifact": "anywhere"}) is None


def test_old_hours_of_other_champions_are_dropped_once_a_day_and_those_of_the_trial_stay(world):
    names = ("20250101T000000Z-cccccccc", "20250201T000000Z-dddddddd", "baseline")
    path = shadow_path(world.shadow.checkpoint, SPEC.region)
    world.points()
    (one,) = read_shadow(path)
    old = [
        replace(one, tick_s=TICK_S - age * DAY_S, champion_version=name, challenger_version="")
        for age in (99, 61, 59)
        for name in (*names, CHAMPION)
    ]
    path.write_bytes(b"".join(msgspec.json.encode(each) + b"\n" for each in old))
    trial = Trial(
        champion=names[1], challenger=CHALLENGER, plan=GatePlan(), plan_sha256="0" * 64, margin=0.1, started_s=TICK_S
    )
    trial_path(world.shadow.artifacts, SPEC.region).parent.mkdir(parents=True)
    write_trial(world.shadow.artifacts, SPEC.region, trial)
    world.points()
    stay = [each for each in old if each.tick_s > TICK_S - 60 * DAY_S or each.champion_version in (names[1], CHAMPION)]
    assert list(read_shadow(path)) == [*stay, one]


def test_only_the_forecasts_that_decide_are_kept_in_the_file(world):
    judged_s = TICK_S + SPEC.horizons_s[-1] + last_grace_s(SPEC)
    counts = np.zeros((SPEC.grid.cells, len(SPEC.categories)), np.int32)
    longest = ClosedHorizon(horizon=len(SPEC.horizons_s) - 1, tick_s=TICK_S, judged_s=judged_s, observed=counts)
    assert b"horizon=24h" in world.shadow.points(SPEC, [ClosedCounts.of(longest)])
    assert list(read_shadow(shadow_path(world.shadow.checkpoint, SPEC.region))) == []
