"""Forecasts and counts that a job left are judged: twice to the same points, and whatever is damaged is said."""

import dataclasses
from dataclasses import dataclass, field
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
from tests.harness.gate_town import CHALLENGER, CHAMPION, judged_hour, toy_trial
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


@dataclass
class World:
    """A checkpoint with a forecast of both versions, and its judge."""

    judge: TrialJudge
    written: list = field(default_factory=list)

    def closes(self, tick_s=TICK_S, horizon=0):
        judged_s = tick_s + SPEC.horizons_s[horizon] + last_grace_s(SPEC)
        counts = np.zeros((SPEC.grid.cells, len(SPEC.categories)), np.int32)
        closed = ClosedHorizon(horizon=horizon, tick_s=tick_s, judged_s=judged_s, observed=counts)
        self.files.keep(SPEC, [ClosedCounts.of(closed)])

    def points(self, **closed):
        self.closes(**closed)
        self.judge.judge(SPEC)
        return b"".join(self.written)

    @property
    def files(self):
        return ClosedFiles(closed_folder(self.judge.checkpoint))

    @property
    def path(self):
        return shadow_path(self.judge.checkpoint, SPEC.region)

    def hours(self):
        return list(read_shadow(self.path))


@pytest.fixture
def world(tmp_path):
    checkpoint, written = tmp_path / "checkpoint", []
    KeptForecasts(outcomes_folder(checkpoint)).write(forecast(CHAMPION).to_keep(), SPEC, TICK_S)
    KeptForecasts(forecasts_folder(checkpoint)).write(forecast(CHALLENGER).to_keep(), SPEC, TICK_S)
    judge = TrialJudge(checkpoint=checkpoint, artifacts=tmp_path / "artifacts", store=written.append)
    return World(judge, written)


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


START_S = 1_764_028_800  # midnight, UTC
OLD, NEW = "20260101T000000Z-abc00000", "20260301T000000Z-def00000"


def hour_of(tick_s, version, draw, horizon="1h"):
    spec = toy_spec()
    return judged_hour(
        tick_s,
        horizon=horizon,
        champion_version=version,
        challenger_version="",
        observed={category: int(draw.poisson(3)) for category in spec.categories},
        champion_expected=dict.fromkeys(spec.categories, 4.0),
        challenger_expected=dict.fromkeys(spec.categories, 4.0),
    )


@pytest.mark.parametrize("days", [LEAST_DAYS - 1, LEAST_DAYS + 6])
def test_drift_is_that_of_the_newest_version_and_of_hours_that_do_not_overlap(days):
    spec, draw = toy_spec(), np.random.default_rng(1)
    before = [hour_of(START_S - hour * 3600, OLD, draw) for hour in range(480, 0, -1)]
    ours = [hour_of(START_S + hour * 3600, NEW, draw) for hour in range(24 * days)]
    longer = [hour_of(each.tick_s, NEW, draw, horizon="4h") for each in ours]
    points = list(points_in(drift_lines(spec, [*before, *ours, *longer]).decode()))
    if days < LEAST_DAYS:
        assert points == []
        return
    by_key = {key: fields for key, _, fields in points}
    assert {time_s for _, time_s, _ in points} == {START_S + (days - 1) * DAY_S}
    assert set(by_key) == {f"drift,category={name},region={spec.region}" for name in ("all", *spec.categories)}
    for name in ("all", *spec.categories):
        came = sum(sum(each.observed.values()) if name == "all" else each.observed[name] for each in ours)
        expected = 4.0 * len(ours) * (len(spec.categories) if name == "all" else 1)
        fields = by_key[f"drift,category={name},region={spec.region}"]
        assert float(fields["ratio"]) == pytest.approx(came / expected)
        assert float(fields["low"]) < float(fields["ratio"]) < float(fields["high"])
        assert fields["champion"] == f'"{NEW}"'


def test_drift_leaves_out_the_hours_of_a_silent_feed(tmp_path):
    spec, draw = toy_spec(), np.random.default_rng(4)
    hours = [hour_of(START_S + hour * 3600, NEW, draw) for hour in range(24 * 20)]
    quiet = {each.tick_s // 3600 for each in hours if each.tick_s // 3600 % 24 < 8}
    nothing = dict.fromkeys(spec.categories, 0)
    hours = [replace(each, observed=nothing) if each.tick_s // 3600 in quiet else each for each in hours]
    newest = range(hours[-1].tick_s // 3600 - 71, hours[-1].tick_s // 3600 + 1)
    judge = TrialJudge(checkpoint=tmp_path, artifacts=tmp_path, store=print)
    add_hours(tmp_path, spec, hours)
    for cut in ({hour for hour in quiet if hour not in newest}, {hour for hour in quiet if hour in newest}):
        judge.cut_hours = lambda _, newest_s, cut=cut: cut
        judge._cut_out(spec, hours[-1].tick_s)
    by_key = {key: fields for key, _, fields in points_in(drift_lines(spec, judged_hours(tmp_path, spec)).decode())}
    for name in spec.categories:
        came = sum(each.observed[name] for each in hours)
        expected = sum(each.champion_expected[name] for each in hours if each.tick_s // 3600 not in quiet)
        assert float(by_key[f"drift,category={name},region={spec.region}"]["ratio"]) == pytest.approx(came / expected)


def put(judge, spec, trial):
    (judge.artifacts / spec.region).mkdir(parents=True)
    write_trial(judge.artifacts, spec.region, trial)


def gate_points(judge, spec, hour):
    """What the newest hour leads to."""
    points = points_in(judge._points(spec, [hour], hour.tick_s).decode())
    return [point for point in points if point[0].startswith("gate,")]


def test_a_judgement_says_whether_a_person_is_awaited_and_the_end_of_the_trial_takes_that_back(tmp_path):
    spec, draw = toy_spec(), np.random.default_rng(2)
    hours = [replace(hour_of(START_S + hour * 3600, OLD, draw), challenger_version=NEW) for hour in range(24 * 3)]
    plan = GatePlan(least_days=3, most_days=3)
    trial = toy_trial(champion=OLD, challenger=NEW, plan=plan, margin=0.0, started_s=START_S)
    judge = TrialJudge(checkpoint=tmp_path, artifacts=tmp_path / "artifacts", store=print)
    add_hours(tmp_path, spec, hours)
    put(judge, spec, trial)
    ((key, time_s, decided),) = gate_points(judge, spec, hours[-1])
    assert (key, time_s) == (f"gate,region={spec.region}", START_S + 2 * DAY_S)
    assert (decided["decision"], float(decided["awaited"])) == ('"undecided"', 1)
    assert gate_points(judge, spec, hours[-2]) == []  # 22:00: no day has ended
    trial_path(judge.artifacts, spec.region).unlink()
    ((key, time_s, ended),) = gate_points(judge, spec, hours[-1])
    assert (key, time_s) == (f"gate,region={spec.region}", START_S + 2 * DAY_S)
    assert (list(ended), float(ended["awaited"])) == (["awaited"], 0)
    assert gate_points(judge, spec, replace(hours[-1], challenger_version="")) == []  # there was no challenger


def test_a_challenger_that_is_never_scored_is_reported_although_nothing_can_be_compared(tmp_path):
    spec, draw = toy_spec(), np.random.default_rng(3)
    hours = [hour_of(START_S + hour * 3600, OLD, draw) for hour in range(24)]
    trial = toy_trial(champion=OLD, challenger=NEW, started_s=START_S)
    judge = TrialJudge(checkpoint=tmp_path, artifacts=tmp_path / "artifacts", store=print)
    add_hours(tmp_path, spec, hours)
    put(judge, spec, trial)
    ((_, _, said),) = gate_points(judge, spec, hours[-1])
    assert (said["decision"], float(said["awaited"]), float(said["failed_hours"])) == ('"stop"', 1, 24)
    assert not {"low", "high", "difference"} & set(said)


def test_what_became_of_an_ask_is_told_unless_it_cannot_be_read(world, caplog):
    path = asked_path(world.judge.artifacts, SPEC.region)
    path.parent.mkdir(parents=True)
    keep_asked(world.judge.artifacts, SPEC.region, "trial started", "it is old", now_s=NOW_S - 7200)
    keep_asked(world.judge.artifacts, SPEC.region, "failed", "a day is missing", now_s=NOW_S - 60)
    (fields,) = (fields for (key, _), fields in stored_points([world.points()]).items() if key.startswith("retrain,"))
    assert fields == {
        "made_ago_s": "7200.0",
        "outcome": '"failed"',
        "because": '"a day is missing"',
    }
    path.write_bytes(b"{")
    assert world.points().startswith(b"shadow,")
    assert "retrain.json cannot be used" in caplog.text


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([("model_promoted", {"role": "champion", "because": "better"})], "made champion by eve on "),
        ([("model_promoted", {"role": "challenger"})], None),
        ([("model_promoted", {"role": "champion", "region": "elsewhere"})], None),
        ([("model_promoted", {"role": "champion", "version": CHALLENGER})], None),
        (
            [("model_promoted", {"role": "champion"}), ("model_rolled_back", {"because": "the other was worse"})],
            "taken back by eve on ",
        ),
        ([("model_rolled_back", {}), ("model_retired", {})], "taken back by eve on "),
    ],
)
def test_the_newest_record_of_the_audit_log_says_why_a_version_scores(world, tmp_path, events, said):
    audit = tmp_path / "audit.jsonl"
    usual = {"region": SPEC.region, "version": CHAMPION, "by": "eve", "because": "it was time"}
    for number, (event, details) in enumerate(events):
        record(audit, event, usual | details, at_s=TICK_S + 60 * number)
    world.judge.audit = audit
    decided = [fields for (key, _), fields in stored_points([world.points()]).items() if key.startswith("decided,")]
    if said is None:
        assert decided == []
        return
    (fields,) = decided
    assert fields["champion"] == f'"{CHAMPION}"'
    because = ({**usual, **details}["because"] for event, details in reversed(events) if event != "model_retired")
    assert fields["says"].startswith(f'"{said}')
    assert fields["says"].endswith(f': {next(because)}"')


@pytest.mark.parametrize("is_there", [False, True])
def test_a_log_that_is_not_there_or_cannot_be_read_ends_no_judgement(world, tmp_path, caplog, is_there):
    world.judge.audit = tmp_path if is_there else tmp_path / "none.jsonl"
    points = world.points()
    assert b"shadow," in points
    assert b"gate," in points
    assert b"decided," not in points
    assert ("cannot be read" in caplog.text) == is_there
