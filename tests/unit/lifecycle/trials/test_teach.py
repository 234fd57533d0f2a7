"""A follower that learns from the job's files gives what it gives offline, to the last bit, also after a kill."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from lifecycle.live_judge import Teacher
from models.artifact import read_artifact
from models.dispersion import Dispersion, log_scores
from models.follower import Follower, Parts, SequentialFollowing, served_delay_s
from models.following import FollowerState
from models.outcomes import Forecast
from schemas.errors import CheckpointError
from schemas.forecasts import (
    ClosedHorizon,
    FollowerStates,
    KeptForecasts,
    forecasts_folder,
    last_grace_s,
    outcomes_folder,
    read_follower_state,
)
from schemas.spec import DAY_S, HOUR_S
from streaming.flow.score import Followed, follow, followed_from
from tests.harness.killed_step import every_kill
from tests.harness.points import points_in, tags_of
from tests.harness.toy import state_of, toy_artifact, toy_spec

SPEC = toy_spec(2, 2, timezone="America/Chicago")
START_S = 20_000 * DAY_S
HOURS = 5 * 24
SHAPE = (SPEC.grid.cells, len(SPEC.categories), len(SPEC.horizons_s))
SPANS = [span_s // HOUR_S for span_s in SPEC.horizons_s]


class Town:
    """Twice as many incidents come as a network forecasts."""

    def __init__(self, folder):
        self.checkpoint, self.artifacts = folder / "checkpoint", folder / "artifacts"
        self.artifact = read_artifact(toy_artifact(self.artifacts, SPEC, cutoff_s=START_S))
        random = np.random.default_rng(5)
        self.raw = random.gamma(8, 0.05, (HOURS, *SHAPE)).astype(np.float32) * np.array(SPANS, np.float32)
        self.came = random.poisson(2 * self.raw[:, :, :, 0]).astype(np.int32)
        self.teacher = Teacher(checkpoint=self.checkpoint, artifacts=self.artifacts)
        self.states = FollowerStates.of(self.checkpoint, SPEC.region, self.artifact.version)
        self.follower = Follower.of(SPEC, self.artifact.constants)

    def counts(self, tick_s, stop_s):
        first, stop = ((at_s - START_S) // HOUR_S for at_s in (tick_s, stop_s))
        return self.came[first:stop].sum(axis=0, dtype=np.int32)

    def closed_at(self, judged_s):
        """The last judgements that are due then."""
        end_s = judged_s - last_grace_s(SPEC)
        for horizon, span_s in enumerate(SPEC.horizons_s):
            if (tick_s := end_s - span_s) >= START_S:
                came = self.counts(tick_s, end_s)
                yield ClosedHorizon(horizon=horizon, tick_s=tick_s, judged_s=judged_s, observed=came)

    def keep(self, version, raw, tick_s, *, shown=None, following="", folder=outcomes_folder, spec=SPEC):
        """The job keeps what a version forecasts: `raw`, where nothing else is shown."""
        expected = raw if shown is None else shown
        kept = Forecast.of(version, expected, raw, self.artifact.constants, of_network=True).to_keep()
        if shown is not None:
            kept = replace(kept, raw=raw, following=following)
        KeptForecasts(folder(self.checkpoint)).write(kept, spec, tick_s)

    def hour(self, number, surge=1):
        """The job keeps its forecast, of which a surge is a factor, and the judge learns. Gives what it followed."""
        tick_s, raw = START_S + number * HOUR_S, self.raw[number]
        path = self.states.newest(tick_s)
        found = followed_from(path, str(self.artifact.folder), tick_s) if path else Followed()
        factors = np.ones(SHAPE, np.float32) if found.factors is None else found.factors
        shown = raw * factors * np.float32(surge) if found.hour or surge != 1 else None
        self.keep(self.artifact.version, raw, tick_s, shown=shown, following=found.hour)
        if closed := list(self.closed_at(tick_s)):
            self.teacher.teach(SPEC, closed)
        return factors

    def live(self, hours, *, first=0, tried=None):
        """Until so many hours are over. tried: a challenger, which forecasts half as much."""
        for number in range(first, hours):
            if tried:
                self.keep(tried.version, self.raw[number] / 2, START_S + number * HOUR_S, folder=forecasts_folder)
            self.hour(number)

    def taught(self, hours):
        """The points of what is learned after so many hours."""
        return points_in(self.teacher.teach(SPEC, list(self.closed_at(START_S + hours * HOUR_S))).decode())

    def learned(self, hours):
        """What is known for the hour after so many."""
        return FollowerState.checked(read_follower_state(self.states.newest(START_S + hours * HOUR_S)), SPEC)

    def offline(self):
        following = SequentialFollowing(
            follower=self.follower,
            counts=self.counts,
            delay_s=served_delay_s(SPEC.late_limit_s),
            state=FollowerState.new(SPEC),
        )
        ticks = [START_S + number * HOUR_S for number in range(HOURS)]
        return [following.next_factors(*pair).shown().astype(np.float32) for pair in zip(ticks, self.raw, strict=True)]


@pytest.fixture
def town(tmp_path):
    return Town(tmp_path)


def challenger_of(town):
    return read_artifact(toy_artifact(town.artifacts, SPEC, cutoff_s=START_S, created="20250301T000000Z"))


def test_by_files_and_offline_the_factors_are_the_same_bits_and_not_one(town):
    online, offline = [town.hour(number) for number in range(HOURS)], town.offline()
    for number, (by_files, in_memory) in enumerate(zip(online, offline, strict=True)):
        np.testing.assert_array_equal(by_files, in_memory, err_msg=f"hour {number}")
    assert (online[0] == 1).all()
    assert online[-1].mean() > 1.3


def test_followers_learn_from_the_network_alone_so_that_no_surge_is_learned_twice(town):
    surges = np.where(np.random.default_rng(1).random(HOURS) < 0.2, 3, 1)
    surges[0] = 3  # nothing is followed yet
    online, offline = [town.hour(number, surges[number]) for number in range(HOURS)], town.offline()
    np.testing.assert_array_equal(online, offline)


def test_an_hour_that_is_judged_again_after_a_kill_is_learned_once(town):
    town.live(60)
    before = {path: path.read_bytes() for path in town.states.folder.iterdir()}
    town.taught(59)
    assert {path: path.read_bytes() for path in town.states.folder.iterdir()} == before


def test_hours_that_say_nothing_are_not_learned_from(town):
    every = range(START_S // HOUR_S, START_S // HOUR_S + HOURS)
    town.hour(0)
    town.teacher.teach(SPEC, list(town.closed_at(START_S + last_grace_s(SPEC) + HOUR_S)), cut=every)
    assert town.states.newest(START_S + HOURS * HOUR_S) is None


def test_of_a_day_with_one_hour_that_says_nothing_the_day_is_not_learned_nor_what_the_baseline_scored(town):
    for model, tick_s in ((town.artifact.version, START_S), ("baseline:network unusable", START_S + HOUR_S)):
        town.keep(model, town.raw[0], tick_s)
    judged_s = START_S + 2 * DAY_S + 2 * HOUR_S
    day, hour = (
        ClosedHorizon(horizon=horizon, tick_s=tick_s, judged_s=judged_s, observed=town.came[0])
        for horizon, tick_s in ((2, START_S), (0, START_S + HOUR_S))
    )
    assert town.teacher.teach(SPEC, [day], cut=[START_S // HOUR_S + 13]) == b""
    assert town.teacher.teach(SPEC, [hour]) == b""
    assert town.states.newest(judged_s + DAY_S) is None
    assert town.teacher.teach(SPEC, [day], cut=[START_S // HOUR_S + 24]) != b""


def test_a_damaged_state_names_its_file_and_the_way_out(town):
    town.live(40)
    path = town.states.newest(START_S + 40 * HOUR_S)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(CheckpointError, match=f"{path.name}.*delete the folder"):
        town.hour(40)


@pytest.mark.fault("F45")
def test_after_its_folder_was_deleted_following_begins_anew_and_learns_within_a_day(town):
    for number in range(90):
        if number == 60:
            shutil.rmtree(town.states.folder)
        factors = town.hour(number)
        if number == 61:
            assert (factors == 1).all()
    assert min(int(path.stem) for path in town.states.folder.glob("*.npz")) == START_S + 61 * HOUR_S
    assert factors.mean() > 1


@pytest.mark.fault("F45")
def test_a_fault_of_another_version_s_follower_does_not_keep_that_which_scored_from_learning(town, caplog):
    other = challenger_of(town)
    town.live(40, tried=other)
    path = FollowerStates.of(town.checkpoint, SPEC.region, other.version).newest(START_S + 40 * HOUR_S)
    path.write_bytes(b"no file of ours")
    town.live(41, first=40, tried=other)
    assert town.states.path(START_S + 41 * HOUR_S).exists()
    assert str(path) in caplog.text


def test_a_challenger_s_change_can_be_said_on_the_day_on_which_it_is_promoted(town):
    other = challenger_of(town)
    states = FollowerStates.of(town.checkpoint, SPEC.region, other.version)
    for days in range(6):
        states.write(START_S - days * DAY_S, state_of(SPEC, 2.0).arrays())
    town.live(30, tried=other)
    assert states.change(START_S + 30 * HOUR_S).says == "all hours x 2.0"


def test_what_was_learned_a_month_before_its_version_scores_again_has_aged(town):
    long_ago_s = START_S - 30 * DAY_S
    town.states.write(long_ago_s, state_of(SPEC, 2.0).arrays())
    town.live(28)
    assert town.learned(28).level[0] == pytest.approx(2e4 * 0.5 ** (31.125 / 5), rel=0.05)


def test_with_a_late_limit_of_no_whole_hours_forecasts_find_the_file(town):
    spec = toy_spec(2, 2, timezone=SPEC.timezone, late_limit_s=5400)
    town.keep(town.artifact.version, town.raw[0], START_S, spec=spec)
    judged_s = START_S + HOUR_S + last_grace_s(spec)
    closed = ClosedHorizon(horizon=0, tick_s=START_S, judged_s=judged_s, observed=town.came[0])
    town.teacher.teach(spec, [closed])
    first_s = START_S + served_delay_s(spec.late_limit_s) + HOUR_S  # by which the offline follower has learned it
    ticks = range(START_S, START_S + DAY_S, HOUR_S)
    assert [town.states.for_forecast(at_s) is not None for at_s in ticks] == [at_s >= first_s for at_s in ticks]


@pytest.mark.fault("F45")
def test_a_kill_at_any_step_leaves_what_a_run_without_it_leaves(town, tmp_path):
    town.live(30)
    before = tmp_path / "before"
    shutil.copytree(town.states.folder, before)
    closed = list(town.closed_at(START_S + 30 * HOUR_S))
    points = town.teacher.teach(SPEC, closed)
    whole = {path.name: path.read_bytes() for path in town.states.folder.iterdir()}

    def reset():
        shutil.rmtree(town.states.folder)
        shutil.copytree(before, town.states.folder)

    reset()
    steps = 0
    for _ in every_kill(lambda: town.teacher.teach(SPEC, closed), below=town.states.folder):
        steps += 1
        assert town.teacher.teach(SPEC, closed) == points
        assert {path.name: path.read_bytes() for path in town.states.folder.glob("[!.]*")} == whole
        reset()
    assert steps > 2


def test_the_points_say_what_was_learned_and_what_it_gained(town):
    town.live(HOURS)
    at_s = START_S + HOURS * HOUR_S
    points = [(key.split(",")[0], tags_of(key), fields) for key, time_s, fields in town.taught(HOURS) if time_s == at_s]
    (shortest,) = (horizon for horizon in town.closed_at(at_s) if horizon.horizon == 0)
    state = town.learned(HOURS + 1)
    kept = KeptForecasts(outcomes_folder(town.checkpoint)).read(SPEC, shortest.tick_s)
    dispersion = town.artifact.constants.dispersion_in_cells(of_network=True)
    for place, category in enumerate(SPEC.categories):
        raw, shown, came = kept.raw[:, place, 0], kept.expected[:, place, 0], shortest.observed[:, place]
        of_first = Dispersion(r=dispersion.r[..., place, 0], power=dispersion.power[..., place, 0])
        gained = (log_scores(raw, came, of_first) - log_scores(shown, came, of_first)).sum()
        (point,) = (fields for name, tags, fields in points if name == "following" and tags["category"] == category)
        assert float(point["gained"]) == pytest.approx(gained, rel=1e-3, abs=1e-3)
        assert float(point["incidents"]) == came.sum()
        assert float(point["level"]) == pytest.approx(Parts.of(state).level[place, 0])
        assert point["model"] == f'"{town.artifact.version}"'
    hours = {(tags["category"], tags["hour"]) for name, tags, _ in points if name == "following_hour"}
    assert hours == {(category, f"{hour:02d}") for category in SPEC.categories for hour in range(24)}


def test_cells_that_are_followed_are_stored_once_a_day(town):
    state = state_of(SPEC, 1.0)
    state.cells[0], state.cells[1] = np.array([[80.0, 100, 100, 120], [100] * 4]), 100.0
    for days, number in enumerate((HOURS - 1, HOURS)):  # the last one is midnight
        town.states.write(START_S + (number + 1) * HOUR_S, state.arrays())
        town.live(number, first=days * (HOURS - 1))
        points = town.taught(number)
        cells = [(tags_of(key)["cell"], float(fields["factor"])) for key, _, fields in points if "_cell" in key]
        assert [cell for cell, _ in cells] == [SPEC.grid.cell_ids()[place] for place in (0, 3)][: 2 * days]
    assert [factor for _, factor in cells] == pytest.approx([0.8, 1.2], rel=0.02)


def test_the_points_are_of_the_version_that_scored_last(town):
    other = challenger_of(town)
    for number in range(60):
        if number >= 30:
            town.keep(other.version, town.raw[number], START_S + number * HOUR_S)
        town.hour(number)
    assert {fields["model"] for _, _, fields in town.taught(59) if "model" in fields} == {f'"{other.version}"'}


def test_a_promoted_challenger_brings_what_its_own_follower_had_learned(town):
    challenger = challenger_of(town)
    town.live(60, tried=challenger)
    of_its_own = FollowerStates.of(town.checkpoint, SPEC.region, challenger.version)
    at_s = START_S + 60 * HOUR_S
    first, then = (
        follow(states, str(town.artifact.folder), at_s).factors.mean() for states in (town.states, of_its_own)
    )
    assert then - 1 > 1.4 * (first - 1) > 0
