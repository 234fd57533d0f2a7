"""Forecasts and counts that a job left are judged: twice to the same points, and whatever is damaged is said."""

import dataclasses
import re
from pathlib import Path

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from lifecycle.gate import GatePlan, trial_path, write_trial
from lifecycle.live_judge import TrialJudge, drift_lines, judge_all, judge_of
from lifecycle.shadow import add_hours, judged_hours, read_shadow, shadow_path
from lifecycle.triggers import LEAST_DAYS, asked_path, keep_asked
from models.dispersion import Dispersion
from models.outcomes import Forecast
from schemas.audit import record
from schemas.errors import CheckpointError, SinkUnavailable
from schemas.forecasts import (
    KEEP_S,
    ClosedCounts,
    ClosedFiles,
    ClosedHorizon,
    KeptForecasts,
    closed_folder,
    forecasts_folder,
    last_grace_s,
    outcomes_folder,
)
from schemas.spec import DAY_S
from streaming.settings import Settings
from tests.harness.gate_town import CHALLENGER, CHAMPION, judged_hour, toy_trial, write_hours
from tests.harness.points import points_in, stored_points
from tests.harness.toy import toy_artifact, toy_spec
from tests.unit.schemas.test_files import Disk

SPEC = toy_spec()
TICK_S = 1_764_028_800  # midnight, UTC: drift is judged, too
NOW_S = TICK_S + SPEC.horizons_s[0] + last_grace_s(SPEC)


def forecast(model):
    shape = (SPEC.grid.cells, len(SPEC.categories), len(SPEC.horizons_s))
    means = np.full(shape, 0.5, np.float32)
    dispersion = Dispersion.quadratic(np.ones(shape[1:]))
    return Forecast(model=model, expected=means, usual=means, dispersion=dispersion, usual_dispersion=dispersion)


class World:
    """A checkpoint with a forecast of both versions, and its judge."""

    def __init__(self, folder):
        self.checkpoint, self.artifacts, self.written = folder / "checkpoint", folder / "artifacts", []
        self.judge = TrialJudge(checkpoint=self.checkpoint, artifacts=self.artifacts, store=self.written.append)
        self.files, self.path = ClosedFiles(closed_folder(self.checkpoint)), shadow_path(self.checkpoint, SPEC.region)
        (self.artifacts / SPEC.region).mkdir(parents=True)
        self.keep(forecast(CHAMPION).to_keep())
        self.keep(forecast(CHALLENGER).to_keep(), forecasts_folder)

    def keep(self, kept, folder=outcomes_folder, *, tick_s=TICK_S):
        KeptForecasts(folder(self.checkpoint)).write(kept, SPEC, tick_s)

    def closes(self, tick_s=TICK_S, horizon=0):
        judged_s = tick_s + SPEC.horizons_s[horizon] + last_grace_s(SPEC)
        counts = np.zeros((SPEC.grid.cells, len(SPEC.categories)), np.int32)
        closed = ClosedHorizon(horizon=horizon, tick_s=tick_s, judged_s=judged_s, observed=counts)
        self.files.keep(SPEC, [ClosedCounts.of(closed)])

    def waiting(self):
        return self.files.waiting(SPEC.region)

    def points(self, **closed):
        self.closes(**closed)
        self.judge.judge(SPEC)
        return b"".join(self.written)

    def fields(self, measurement):
        """Of its points, once the hour is judged."""
        points = stored_points([self.points()])
        return [fields for (key, _), fields in points.items() if key.startswith(f"{measurement},")]

    def hours(self):
        return list(read_shadow(self.path))


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_both_are_judged_once_also_when_the_job_repeats_a_batch(world):
    assert world.points().startswith(b"shadow,")
    (hour,) = world.hours()
    assert (hour.champion_version, hour.challenger_version) == (CHAMPION, CHALLENGER)
    assert world.waiting() == []
    world.judge.judge(SPEC)
    assert len(world.written) == 1
    world.points()
    assert world.written[0] == world.written[1]
    assert world.hours() == [hour]


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
        kept = forecast(model).to_keep()
        expected, alone = (np.full_like(kept.expected, of) for of in (mean, raw))
        KeptForecasts(folder(world.checkpoint)).path(SPEC.region, TICK_S).unlink()
        world.keep(dataclasses.replace(kept, expected=expected, raw=alone, following="3600"), folder)
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
    with pytest.raises(SinkUnavailable):
        world.points()
    hours = world.hours()
    world.judge.store = world.written.append
    world.judge.judge(SPEC)
    assert world.written == refused
    assert world.hours() == hours


def test_a_second_judgement_after_a_kill_knows_no_more_than_the_first_did(world):
    """At midnight drift is told of the version that scored; an hour later another one scores, and is judged as well."""
    world.points()
    (hour,) = world.hours()
    write_hours(world.path, [replace(hour, tick_s=TICK_S - number * 3600) for number in range(20 * 24, 0, -1)])
    world.keep(forecast(CHALLENGER).to_keep(), tick_s=TICK_S + 3600)

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
        world.keep(forecast(CHAMPION).to_keep(), tick_s=tick_s)
        world.points(tick_s=tick_s)
    assert len(world.hours()) == 2
    assert flushed == [True, True]


def test_counts_that_nobody_judges_are_deleted_by_the_job_when_they_are_old(world):
    for age_s, waiting in ((0, 1), (KEEP_S, 2), (KEEP_S + 3600, 2)):
        world.closes(tick_s=TICK_S + age_s)
        assert len(world.waiting()) == waiting
    assert world.waiting()[0].stem == str(NOW_S + KEEP_S)


@pytest.mark.parametrize("content", [b"", b"garbage"])
def test_damaged_counts_are_said_and_taken_away(world, caplog, content):
    world.closes()
    (path,) = world.waiting()
    path.write_bytes(content)
    world.judge.judge(SPEC)
    assert "some hours are not judged" in caplog.text
    assert world.waiting() == world.written == []


def test_a_damaged_forecast_of_the_challenger_leaves_the_hour_to_the_champion(world):
    path = forecasts_folder(world.checkpoint) / SPEC.region / f"{TICK_S}.npz"
    path.write_bytes(b"garbage")
    assert world.points() == b""
    (hour,) = world.hours()
    assert (hour.champion_version, hour.challenger_version) == (CHAMPION, "")


@pytest.mark.parametrize("line", [b"garbage\n", b'{"champion_version": "\xff"}\n'])
def test_judged_hours_that_cannot_be_read_are_a_fault_of_the_region_and_its_counts_wait(world, line):
    world.path.parent.mkdir(parents=True, exist_ok=True)
    world.path.write_bytes(line)
    with pytest.raises(CheckpointError, match="line 1 cannot be read"):
        world.points()
    assert len(world.waiting()) == 1


def test_an_hour_of_a_silent_feed_is_written_again_as_cut_out_and_once(world):
    world.judge.cut_hours = lambda spec, newest_s: {TICK_S // 3600}
    for _ in range(2):
        world.points()
        assert [hour.is_cut for hour in world.hours()] == [False, True]


def damaged_log_of_batches(*_):
    raise CheckpointError("batches.jsonl, line 7 cannot be read", "restore it")


@pytest.mark.parametrize(
    ("damaged", "said"),
    [
        ("log of batches", "nobody knows in which hours its feed was silent"),
        ("trial", "trial.json cannot be used"),
        ("ask", "retrain.json cannot be used"),
        ("audit log", "nobody knows who chose its version"),
    ],
)
def test_what_cannot_be_read_beside_the_counts_is_said_and_the_hours_are_judged(world, caplog, damaged, said):
    world.judge.audit = world.artifacts if damaged == "audit log" else world.artifacts / "none.jsonl"
    if damaged == "log of batches":
        world.judge.cut_hours = damaged_log_of_batches
    for name, path_of in (("trial", trial_path), ("ask", asked_path)):
        if damaged == name:
            path_of(world.artifacts, SPEC.region).write_bytes(b"{")
    points = world.points()
    assert points.startswith(b"shadow,")
    assert b"decided," not in points
    assert (b"gate," in points) == (damaged != "trial")
    days = [replace(hour, tick_s=TICK_S - number * 3600) for hour in world.hours() for number in range(20 * 24, 0, -1)]
    write_hours(world.path, days)
    assert b"drift," in world.points()  # of what scores, whatever became of a trial
    assert said in caplog.text
    assert ("nobody knows who" in caplog.text) == (damaged == "audit log")  # without a log nothing is wrong


def test_old_hours_of_other_champions_are_dropped_once_a_day_and_those_of_the_trial_stay(world):
    names = ("20250101T000000Z-cccccccc", "20250201T000000Z-dddddddd", "baseline")
    world.points()
    (hour,) = world.hours()
    old = [
        replace(hour, tick_s=TICK_S - age * DAY_S, champion_version=name, challenger_version="")
        for age in (99, 61, 59)
        for name in (*names, CHAMPION)
    ]
    write_hours(world.path, old)
    write_trial(world.artifacts, SPEC.region, toy_trial(champion=names[1], started_s=TICK_S))
    world.points()
    stay = [each for each in old if each.tick_s > TICK_S - 60 * DAY_S or each.champion_version in (names[1], CHAMPION)]
    assert world.hours() == [*stay, hour]


def test_only_the_forecasts_that_decide_are_kept_in_the_file(world):
    assert b"horizon=24h" in world.points(horizon=len(SPEC.horizons_s) - 1)
    assert world.hours() == []


def test_a_region_that_cannot_be_judged_keeps_no_other_one_back(world):
    folder = toy_artifact(world.artifacts, SPEC)
    entry = {"version": folder.name, "fingerprint": SPEC.fingerprint()}
    roster = {
        "away": {"folder": str(world.artifacts / "away" / "nowhere"), **entry},
        SPEC.region: {"folder": str(folder), **entry},
    }
    (world.checkpoint / "roster.json").write_bytes(msgspec.json.encode(roster))
    world.closes()
    said = []
    fault = judge_all(world.judge, said.append)
    assert "nowhere" in str(fault)
    assert said == [f"away: {fault}", f"{SPEC.region}: 1 forecasts are judged"]


def hours_of(numbers, *, version=CHAMPION, seed=1, **changes):
    """Hours after midnight, as judged, of a version without a challenger: it expects four, and about three come."""
    draw, expected = np.random.default_rng(seed), dict.fromkeys(SPEC.categories, 4.0)
    changes = {"challenger_version": "", "champion_expected": expected, "challenger_expected": expected} | changes
    return [
        judged_hour(
            TICK_S + number * 3600,
            champion_version=version,
            observed={category: int(draw.poisson(3)) for category in SPEC.categories},
            **changes,
        )
        for number in numbers
    ]


@pytest.mark.parametrize("days", [LEAST_DAYS - 1, LEAST_DAYS + 6])
def test_drift_is_that_of_the_newest_version_and_of_hours_that_do_not_overlap(days):
    before, ours = hours_of(range(-480, 0)), hours_of(range(24 * days), version=CHALLENGER, seed=2)
    longer = hours_of(range(24 * days), version=CHALLENGER, seed=3, horizon="4h")
    points = list(points_in(drift_lines(SPEC, [*before, *ours, *longer]).decode()))
    if days < LEAST_DAYS:
        assert points == []
        return
    by_key = {key: fields for key, _, fields in points}
    names = {name: [name] for name in SPEC.categories} | {"all": SPEC.categories}
    assert {time_s for _, time_s, _ in points} == {TICK_S + (days - 1) * DAY_S}
    assert set(by_key) == {f"drift,category={name},region={SPEC.region}" for name in names}
    for name, members in names.items():
        came = sum(each.observed[member] for each in ours for member in members)
        fields = by_key[f"drift,category={name},region={SPEC.region}"]
        assert float(fields["ratio"]) == pytest.approx(came / (4.0 * len(ours) * len(members)))
        assert float(fields["low"]) < float(fields["ratio"]) < float(fields["high"])
        assert fields["champion"] == f'"{CHALLENGER}"'


def test_drift_leaves_out_the_hours_of_a_silent_feed(world):
    hours = hours_of(range(24 * 20))
    quiet = {each.tick_s // 3600 for each in hours if each.tick_s // 3600 % 24 < 8}
    nothing = dict.fromkeys(SPEC.categories, 0)
    hours = [replace(each, observed=nothing) if each.tick_s // 3600 in quiet else each for each in hours]
    newest = range(hours[-1].tick_s // 3600 - 71, hours[-1].tick_s // 3600 + 1)
    add_hours(world.checkpoint, SPEC, hours)
    for cut in (quiet - set(newest), quiet & set(newest)):
        world.judge.cut_hours = lambda _, newest_s, cut=cut: cut
        world.judge._cut_out(SPEC, hours[-1].tick_s)
    drift = drift_lines(SPEC, list(judged_hours(world.checkpoint, SPEC)))
    by_key = {key: fields for key, _, fields in points_in(drift.decode())}
    for name in SPEC.categories:
        came = sum(each.observed[name] for each in hours)
        expected = sum(each.champion_expected[name] for each in hours if each.tick_s // 3600 not in quiet)
        assert float(by_key[f"drift,category={name},region={SPEC.region}"]["ratio"]) == pytest.approx(came / expected)


def gate_points(world, hour):
    """What the newest hour leads to."""
    points = points_in(world.judge._points(SPEC, [hour], hour.tick_s).decode())
    return [point for point in points if point[0].startswith("gate,")]


def test_a_judgement_says_whether_a_person_is_awaited_and_the_end_of_the_trial_takes_that_back(world):
    hours = hours_of(range(24 * 3), challenger_version=CHALLENGER)
    add_hours(world.checkpoint, SPEC, hours)
    trial = toy_trial(plan=GatePlan(least_days=3, most_days=3), margin=0.0, started_s=TICK_S)
    write_trial(world.artifacts, SPEC.region, trial)
    ((key, time_s, decided),) = gate_points(world, hours[-1])
    assert (key, time_s) == (f"gate,region={SPEC.region}", TICK_S + 2 * DAY_S)
    assert (decided["decision"], float(decided["awaited"])) == ('"undecided"', 1)
    assert gate_points(world, hours[-2]) == []  # 22:00: no day has ended
    trial_path(world.artifacts, SPEC.region).unlink()
    ((key, time_s, ended),) = gate_points(world, hours[-1])
    assert (key, time_s) == (f"gate,region={SPEC.region}", TICK_S + 2 * DAY_S)
    assert (list(ended), float(ended["awaited"])) == (["awaited"], 0)
    assert gate_points(world, replace(hours[-1], challenger_version="")) == []  # there was no challenger


def test_a_challenger_that_is_never_scored_is_reported_although_nothing_can_be_compared(world):
    hours = hours_of(range(24))
    add_hours(world.checkpoint, SPEC, hours)
    write_trial(world.artifacts, SPEC.region, toy_trial(started_s=TICK_S))
    ((_, _, said),) = gate_points(world, hours[-1])
    assert (said["decision"], float(said["awaited"]), float(said["failed_hours"])) == ('"stop"', 1, 24)
    assert not {"low", "high", "difference"} & set(said)


def test_what_became_of_an_ask_is_told(world):
    keep_asked(world.artifacts, SPEC.region, "trial started", "it is old", now_s=NOW_S - 7200)
    keep_asked(world.artifacts, SPEC.region, "failed", "a day is missing", now_s=NOW_S - 60)
    assert world.fields("retrain") == [
        {"made_ago_s": "7200.0", "outcome": '"failed"', "because": '"a day is missing"'},
    ]


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([("model_promoted", {"because": "better"})], "made champion by eve on .*: better"),
        ([("model_promoted", {"role": "challenger"})], None),
        ([("model_promoted", {"region": "elsewhere"})], None),
        ([("model_promoted", {"version": CHALLENGER})], None),
        (
            [("model_promoted", {}), ("model_rolled_back", {"because": "the other was worse"})],
            "taken back by eve on .*: the other was worse",
        ),
        ([("model_rolled_back", {}), ("model_retired", {"because": "x"})], "taken back by eve on .*: it was time"),
    ],
)
def test_the_newest_record_of_the_audit_log_says_why_a_version_scores(world, tmp_path, events, said):
    world.judge.audit = tmp_path / "audit.jsonl"
    usual = {"region": SPEC.region, "version": CHAMPION, "by": "eve", "because": "it was time"}
    for number, (event, details) in enumerate(events):
        role = {"role": "champion"} if event == "model_promoted" else {}
        record(world.judge.audit, event, usual | role | details, at_s=TICK_S + 60 * number)
    decided = world.fields("decided")
    assert [fields["champion"] for fields in decided] == [f'"{CHAMPION}"'] * bool(said)
    assert all(re.fullmatch(f'"{said}"', fields["says"]) for fields in decided)
