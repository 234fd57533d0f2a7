"""Forecasts and counts that a job left are judged: twice to the same points, and whatever is damaged is said."""

import dataclasses
from pathlib import Path

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from lifecycle.cli.judge import judge_all, judge_of
from lifecycle.gate.trial import trial_path, write_trial
from schemas.errors import CheckpointError, SinkUnavailable
from schemas.left_behind.closed_counts import (
    KEEP_S,
)
from schemas.left_behind.kept_forecasts import KeptForecasts, forecasts_folder, outcomes_folder
from schemas.spec import DAY_S
from streaming.settings import Settings
from tests.harness.judged import CHALLENGER, CHAMPION, toy_trial
from tests.harness.toy import toy_artifact
from tests.unit.disk.test_power_cut import Disk
from tests.unit.lifecycle.trials.conftest import NOW_S, SPEC, TICK_S, forecast


def test_without_damage_both_are_judged_once(world):
    assert world.points().startswith(b"shadow,")
    (hour,) = world.hours()
    assert (hour.champion_version, hour.challenger_version) == (CHAMPION, CHALLENGER)
    assert world.files.waiting(SPEC.region) == []
    world.judge.judge(SPEC)
    assert len(world.written) == 1


@pytest.mark.parametrize("fault", [None, CheckpointError("a damaged file", "delete it"), OSError("no disk")])
def test_what_is_judged_is_learned_but_for_hours_that_say_nothing_and_a_fault_of_it_is_only_said(world, caplog, fault):
    class Teacher:
        def teach(self, spec, closed, cut):
            asked.append((spec, [horizon.tick_s for horizon in closed], cut))
            if fault:
                raise fault
            return b"following 1\n"

    asked, world.judge.teacher = [], Teacher()
    world.judge.cut_hours = lambda spec, newest_s: {newest_s}
    points = world.points()
    assert asked == [(SPEC, [TICK_S], {TICK_S + DAY_S})]
    assert (b"following 1\n" in points, "has not learned an hour" in caplog.text) == (fault is None, bool(fault))
    assert b"shadow," in points


@pytest.mark.parametrize("follow", ["on", "off"])
def test_the_judge_teaches_where_following_is_on(follow):
    assert bool(judge_of(Settings(follow=follow), print).teacher) == (follow == "on")


def test_both_are_judged_as_shown_and_the_champion_s_network_also_alone(world):
    """Nothing came; with a dispersion of 1 a value costs log(1 + expected)."""
    for folder, model, mean, raw in ((outcomes_folder, CHAMPION, 0.5, 1.0), (forecasts_folder, CHALLENGER, 0.25, 2.0)):
        files, kept = KeptForecasts(folder(world.judge.checkpoint)), forecast(model).to_keep()
        files.path(SPEC.region, TICK_S).unlink()
        expected, alone = (np.full_like(kept.expected, of) for of in (mean, raw))
        files.write(dataclasses.replace(kept, expected=expected, raw=alone, following="3600"), SPEC, TICK_S)
    world.points()
    (hour,) = world.hours()
    for name, mean in (("champion", 0.5), ("challenger", 0.25), ("alone", 1.0)):
        assert getattr(hour, name) == pytest.approx(hour.values * np.log1p(mean))
        assert sum(getattr(hour, f"{name}_expected").values()) == pytest.approx(hour.values * mean)


def test_a_store_that_is_away_loses_nothing_and_the_second_try_writes_the_same(world):
    def away(lines):
        refused.append(lines)
        raise SinkUnavailable("no answer", "wait")

    refused, world.judge.store = [], away
    world.closes()
    with pytest.raises(SinkUnavailable):
        world.judge.judge(SPEC)
    hours = world.hours()
    world.judge.store = world.written.append
    world.judge.judge(SPEC)
    assert world.written == refused
    assert world.hours() == hours


def test_a_second_judgement_after_a_kill_knows_no_more_than_the_first_did(world):
    """At midnight drift is told of the version that scored; an hour later another one scores, and is judged as well."""
    world.points()
    (hour,) = world.hours()
    past = [replace(hour, tick_s=TICK_S - number * 3600) for number in range(20 * 24, 0, -1)]
    world.path.write_bytes(b"".join(msgspec.json.encode(each) + b"\n" for each in past))
    KeptForecasts(outcomes_folder(world.judge.checkpoint)).write(forecast(CHALLENGER).to_keep(), SPEC, TICK_S + 3600)

    def killed(lines):
        told.append(lines)
        raise KeyboardInterrupt

    told, world.judge.store = [], killed
    for tick_s in (TICK_S, TICK_S + 3600):
        world.closes(tick_s=tick_s)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            world.judge.judge(SPEC)
    assert b"drift," in told[0]
    assert told[1] == told[0]


def test_what_was_judged_is_on_disk_before_the_counts_are_gone(world, monkeypatch):
    """A power cut in between must not lose the hour."""
    disk, unlink, flushed = Disk(monkeypatch), Path.unlink, []

    def watched(path, **options):
        if path.suffix == ".counts":
            flushed.append(disk.has_all_of(world.path) and world.path.name in disk.names[world.path.parent])
        unlink(path, **options)

    monkeypatch.setattr(Path, "unlink", watched)
    for tick_s in (TICK_S, TICK_S + 3600):
        KeptForecasts(outcomes_folder(world.judge.checkpoint)).write(forecast(CHAMPION).to_keep(), SPEC, tick_s)
        world.points(tick_s=tick_s)
    assert len(world.hours()) == 2
    assert flushed == [True, True]


def test_a_batch_that_the_job_repeats_is_judged_to_the_same_points(world):
    world.points()
    world.points()
    assert world.written[0] == world.written[1]
    assert len(world.hours()) == 1


def test_counts_that_nobody_judges_are_deleted_by_the_job_when_they_are_old(world):
    world.closes()
    world.closes(tick_s=TICK_S + KEEP_S)
    assert len(world.files.waiting(SPEC.region)) == 2
    world.closes(tick_s=TICK_S + KEEP_S + 3600)
    assert len(world.files.waiting(SPEC.region)) == 2
    assert world.files.waiting(SPEC.region)[0].stem == str(NOW_S + KEEP_S)


@pytest.mark.parametrize("content", [b"", b"garbage"])
def test_damaged_counts_are_said_and_taken_away(world, caplog, content):
    world.closes()
    (path,) = world.files.waiting(SPEC.region)
    path.write_bytes(content)
    world.judge.judge(SPEC)
    assert "some hours are not judged" in caplog.text
    assert world.files.waiting(SPEC.region) == world.written == []


def test_a_damaged_forecast_of_the_challenger_leaves_the_hour_to_the_champion(world):
    path = forecasts_folder(world.judge.checkpoint) / SPEC.region / f"{TICK_S}.npz"
    path.write_bytes(b"garbage")
    assert world.points() == b""
    (hour,) = world.hours()
    assert (hour.champion_version, hour.challenger_version) == (CHAMPION, "")


@pytest.mark.parametrize("line", [b"garbage\n", b'{"champion_version": "\xff"}\n'])
def test_judged_hours_that_cannot_be_read_are_a_fault_of_the_region_and_its_counts_wait(world, line):
    world.path.parent.mkdir(parents=True, exist_ok=True)
    world.path.write_bytes(line)
    world.closes()
    with pytest.raises(CheckpointError, match="line 1 cannot be read"):
        world.judge.judge(SPEC)
    assert len(world.files.waiting(SPEC.region)) == 1


def test_an_hour_of_a_silent_feed_is_written_again_as_cut_out_and_once(world):
    world.judge.cut_hours = lambda spec, newest_s: {TICK_S // 3600}
    for _ in range(2):
        world.points()
        assert [hour.is_cut for hour in world.hours()] == [False, True]


def test_a_log_of_batches_that_cannot_be_read_stops_no_judgement(world, caplog):
    def damaged(*_):
        raise CheckpointError("batches.jsonl, line 7 cannot be read", "restore it")

    world.judge.cut_hours = damaged
    assert world.points().startswith(b"shadow,")
    assert "nobody knows in which hours its feed was silent" in caplog.text


def test_a_damaged_trial_is_said_and_the_hours_are_judged(world, caplog):
    path = trial_path(world.judge.artifacts, SPEC.region)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"garbage")
    assert world.points().startswith(b"shadow,")
    assert "trial.json cannot be used" in caplog.text


def test_old_hours_of_other_champions_are_dropped_once_a_day_and_those_of_the_trial_stay(world):
    names = ("20250101T000000Z-cccccccc", "20250201T000000Z-dddddddd", "baseline")
    world.points()
    (hour,) = world.hours()
    old = [
        replace(hour, tick_s=TICK_S - age * DAY_S, champion_version=name, challenger_version="")
        for age in (99, 61, 59)
        for name in (*names, CHAMPION)
    ]
    world.path.write_bytes(b"".join(msgspec.json.encode(each) + b"\n" for each in old))
    trial_path(world.judge.artifacts, SPEC.region).parent.mkdir(parents=True)
    write_trial(world.judge.artifacts, SPEC.region, toy_trial(champion=names[1], started_s=TICK_S))
    world.points()
    stay = [each for each in old if each.tick_s > TICK_S - 60 * DAY_S or each.champion_version in (names[1], CHAMPION)]
    assert world.hours() == [*stay, hour]


def test_only_the_forecasts_that_decide_are_kept_in_the_file(world):
    assert b"horizon=24h" in world.points(horizon=len(SPEC.horizons_s) - 1)
    assert world.hours() == []


def test_a_region_that_cannot_be_judged_keeps_no_other_one_back(world):
    folder = toy_artifact(world.judge.artifacts, SPEC)
    entry = {"version": folder.name, "fingerprint": SPEC.fingerprint()}
    roster = {
        "away": {"folder": str(world.judge.artifacts / "away" / "nowhere"), **entry},
        SPEC.region: {"folder": str(folder), **entry},
    }
    (world.judge.checkpoint / "roster.json").write_bytes(msgspec.json.encode(roster))
    world.closes()
    said = []
    fault = judge_all(world.judge, said.append)
    assert "nowhere" in str(fault)
    assert said == [f"away: {fault}", f"{SPEC.region}: 1 forecasts are judged"]
