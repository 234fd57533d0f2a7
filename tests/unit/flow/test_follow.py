"""Which file of what a follower had learned a forecast uses, and what becomes of its scores."""

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest

from models.artifact import read_artifact
from models.counting.count_state import CountState
from models.dispersion import Dispersion, at_least_one
from models.features import FeatureEngine
from models.following import RegionFactors
from models.nowcast import Nowcast
from models.scoring import stored_views
from models.unusual import spans_of
from schemas.batches import batches_folder, day_of
from schemas.forecasts import OLDEST_S, FollowedChange, FollowerStates, KeptForecasts, forecasts_folder
from schemas.frame import ATTRIBUTION_GROUPS, Surge, Unusual, frame_path, read_frames, write_frames
from schemas.spec import DAY_S, HOUR_S
from streaming.flow.publish import keep_forecast_of_trial
from streaming.flow.rows import ScoreColumns, ScoredRow
from streaming.flow.score import Followed, change_followed, followed_from, score_stage
from streaming.flow.score import follow as asked
from streaming.settings import Settings
from tests.harness.recount import scored_frame
from tests.harness.toy import (
    CUTOFF_S,
    publish_artifact,
    state_of,
    toy_artifact,
    toy_constants,
    toy_frame,
    toy_network,
    toy_spec,
)

SPEC = toy_spec(2, 2)
NOW_S = CUTOFF_S - CUTOFF_S % HOUR_S


@pytest.fixture
def followed(tmp_path):
    """The folder of an artifact with a network, and the files of its follower."""
    history = CountState(SPEC)
    history.advance(CUTOFF_S)
    artifact = publish_artifact(
        tmp_path / "artifacts", spec=SPEC, constants=toy_constants(SPEC), network=toy_network(SPEC), history=history
    )
    return str(artifact), FollowerStates.of(tmp_path, SPEC.region, artifact.name)


def row_of_stage(checkpoint, folder, features, tick_s, *, recent=None, lately=None):
    columns = (folder, features.values.astype("<f4").tobytes(), False, tick_s, recent, lately)
    (scored,) = score_stage(checkpoint)(iter([[pd.Series([value]) for value in columns]]))
    return ScoreColumns(*scored.iloc[0])


@pytest.mark.parametrize(
    ("options", "is_followed"),
    [({}, True), ({"follow": "off"}, False), ({"clock": "event"}, False), ({"master": "spark://host:7077"}, False)],
)
def test_forecasts_follow_where_it_is_on_by_the_clock_of_the_wall_and_a_local_master(options, is_followed):
    assert bool(Settings().model_copy(update=options).follow_in) == is_followed


@pytest.mark.fault("F45")
def test_a_forecast_follows_what_was_learned_by_its_hour_and_nothing_that_is_old(followed):
    folder, states = followed
    assert states.for_forecast(NOW_S) is None
    assert asked(states, folder, NOW_S) == Followed()
    for hour_s in (NOW_S, NOW_S + HOUR_S):
        states.write(hour_s, state_of(SPEC, 2.0).arrays())
    (states.folder / "notes.npz").write_bytes(b"")
    assert states.for_forecast(NOW_S - 1) is None
    assert states.for_forecast(NOW_S + HOUR_S - 60) == states.path(NOW_S)
    last_s = NOW_S + HOUR_S + OLDEST_S
    assert {states.for_forecast(at_s) for at_s in (NOW_S + HOUR_S, last_s)} == {states.path(NOW_S + HOUR_S)}
    assert states.for_forecast(last_s + 60) is None
    late = asked(states, folder, last_s + 60)
    assert (late.factors, late.hour) == (None, "")
    assert late.fault.startswith(f"the newest file, {states.path(NOW_S + HOUR_S)}, is older than three days")


@pytest.mark.fault("F45")
def test_a_folder_that_the_job_may_not_read_is_said_and_the_network_scores_alone(followed, tmp_path):
    folder, _ = followed
    unreadable = FollowerStates(tmp_path / ("x" * 300))  # the system refuses it, as what belongs to another user
    assert asked(unreadable, folder, NOW_S).fault.startswith(f"{unreadable.folder} cannot be read")
    assert followed_from(unreadable.path(NOW_S), folder, NOW_S).fault.startswith(f"{unreadable.path(NOW_S)}: ")


def test_the_factors_come_before_risk_and_interval_and_stand_in_the_attribution(followed):
    folder, states = followed
    states.write(NOW_S, state_of(SPEC, 2.0).arrays())
    artifact = read_artifact(states.folder.parents[2] / "artifacts" / SPEC.region / states.folder.name)
    state = artifact.history()
    features = FeatureEngine(SPEC, artifact.constants).compute(state)
    path = states.path(NOW_S)
    alone = scored_frame(folder, features, state.as_of_s)
    shown = scored_frame(folder, features, state.as_of_s, path)
    factors = followed_from(path, folder, state.as_of_s - state.as_of_s % SPEC.tick_s).factors
    assert factors == pytest.approx(2.0, rel=1e-3)
    np.testing.assert_array_equal(shown.expected, np.float32(alone.expected * factors))
    np.testing.assert_array_equal(shown.usual, alone.usual)
    dispersion = artifact.constants.dispersion_in_cells(of_network=True)
    np.testing.assert_array_equal(shown.risk, at_least_one(shown.expected, dispersion).astype(np.float32))
    np.testing.assert_allclose(shown.attribution[..., [*ATTRIBUTION_GROUPS].index("following")], 2.0, rtol=1e-3)
    assert shown.model == alone.model == artifact.version


def test_where_the_baseline_scores_or_the_file_is_broken_nothing_is_followed(followed, tmp_path):
    folder, states = followed
    states.write(NOW_S, state_of(SPEC, 2.0).arrays())
    broken = tmp_path / f"{NOW_S}.npz"
    broken.write_bytes(b"no file of ours")
    without_network = toy_artifact(tmp_path / "damaged", SPEC)
    (without_network / "weights.safetensors").write_bytes(b"")
    for scored_by, path in ((folder, broken), (str(without_network), states.path(NOW_S))):
        artifact = read_artifact(Path(scored_by))
        state = artifact.history()
        features = FeatureEngine(SPEC, artifact.constants).compute(state)
        features.recent[:, 0, 0] += 60
        alone, shown = (scored_frame(scored_by, features, state.as_of_s, file) for file in (None, path))
        assert shown.unusual
        assert shown.digest() == alone.digest()


def test_the_factors_are_those_of_each_tick_from_a_file_that_serves_an_hour(followed):
    folder, states = followed
    state, artifact = state_of(SPEC, 1.0), read_artifact(Path(folder))
    state.hours[0], state.hours[1] = 100.0 * (1 + np.arange(24) / 24), 100.0  # later hours have more
    states.write(NOW_S, state.arrays())
    of_region = RegionFactors.of(SPEC, artifact.constants)
    for tick_s in (NOW_S, NOW_S + 1800):
        now = followed_from(states.path(NOW_S), folder, tick_s)
        np.testing.assert_array_equal(now.factors, of_region.at(state, tick_s).shown().astype(np.float32))
        np.testing.assert_array_equal(now.before, of_region.over_spans(state, spans_of(SPEC, tick_s)))


def test_what_the_stage_says_of_a_row_is_what_a_recount_needs(followed):
    """The hour of the file only where its factors are in the scores; the raw forecast on the hour alone."""
    folder, states = followed
    artifact, checkpoint = read_artifact(Path(folder)), states.folder.parents[2]
    features = FeatureEngine(SPEC, artifact.constants).compute(artifact.history())
    states.write(NOW_S, state_of(SPEC, 2.0).arrays())
    on_the_hour, later = (row_of_stage(checkpoint, folder, features, tick_s) for tick_s in (NOW_S, NOW_S + 60))
    assert (on_the_hour.followed, on_the_hour.unfollowed, later.followed) == (str(NOW_S), None, str(NOW_S))
    assert later.raw is None
    raw, shown = (np.frombuffer(part, "<f4") for part in (on_the_hour.raw, on_the_hour.expected))
    np.testing.assert_allclose(shown, 2 * raw, rtol=1e-3)
    alone = row_of_stage(None, folder, features, NOW_S)
    assert (alone.followed, alone.unfollowed, alone.raw, alone.expected) == (None, None, None, on_the_hour.raw)
    states.path(NOW_S + HOUR_S).write_bytes(b"no file of ours")
    broken = row_of_stage(checkpoint, folder, features, NOW_S + HOUR_S)
    assert (broken.followed, broken.raw, broken.expected) == (None, None, on_the_hour.raw)
    assert broken.unfollowed.startswith(f"{states.path(NOW_S + HOUR_S)}: ")


def test_a_surge_is_in_the_row_of_the_stage_as_in_a_recount_and_the_network_alone_is_kept(followed):
    folder, states = followed
    artifact = read_artifact(Path(folder))
    constants = replace(artifact.constants, nowcast=Nowcast.of(0.7, 0.01, 50.0, 0.3, np.array([1.0, 0.4, 0.0])))
    published = publish_artifact(
        states.folder.parents[2] / "raised",
        spec=SPEC,
        constants=constants,
        network=toy_network(SPEC),
        history=artifact.history(),
        created="20260202T000000Z",
    )
    state = read_artifact(published).history()
    state.levels["pane"].add(np.full(30, NOW_S - 300), np.zeros(30, np.intp), 1)
    features = FeatureEngine(SPEC, read_artifact(published).constants).compute(state)
    of_stage, lately = (states.folder.parents[2], str(published), features), features.lately.pack()
    raised, later = (row_of_stage(*of_stage, tick_s, lately=lately) for tick_s in (NOW_S, NOW_S + 60))
    calm = row_of_stage(*of_stage, NOW_S)
    (surge,) = msgspec.msgpack.decode(raised.surges, type=tuple[Surge, ...])
    assert surge.category == SPEC.categories[0]
    assert surge.factors[0] > 2
    assert (raised.raw, raised.followed, later.raw, calm.surges) == (calm.expected, None, None, None)
    again = scored_frame(str(published), features, NOW_S)
    assert again.surges == (surge,)
    assert again.expected.astype("<f4").tobytes() == raised.expected
    scored = ScoredRow(region=SPEC.region, artifact=str(published), summary=None, scores=raised)
    keep_forecast_of_trial(states.folder, scored, again)
    wide = KeptForecasts(forecasts_folder(states.folder)).read(SPEC, NOW_S).dispersion
    narrow = constants.dispersion_in_cells(of_network=True).r.astype(wide.dtype)
    assert wide[0, 0] < narrow[0, 0]
    assert (wide[1] == narrow[1]).all()
    unwritten = replace(again, surges=())
    assert again.digest() != unwritten.digest()
    write_frames(states.folder, stored_views(again, constants), "wall")
    assert read_frames(frame_path(states.folder, SPEC.region)).by_category.surges == (surge,)


def test_what_is_usual_of_the_last_hours_follows_too_and_a_recount_finds_the_same(followed):
    folder, states = followed
    artifact = read_artifact(Path(folder))
    state = artifact.history()
    features = FeatureEngine(SPEC, artifact.constants).compute(state)
    recent = features.recent.copy()
    recent[:, 0, 0] += 60
    tick_s = state.as_of_s - state.as_of_s % SPEC.tick_s
    states.write(tick_s - tick_s % HOUR_S, state_of(SPEC, 2.0).arrays())
    counts = recent.astype("<i4").tobytes()
    rows = (
        row_of_stage(checkpoint, folder, features, tick_s, recent=counts)
        for checkpoint in (None, states.folder.parents[2])
    )
    (alone, *_), (shown, *_) = (msgspec.msgpack.decode(row.unusual, type=tuple[Unusual, ...]) for row in rows)
    assert (alone.row, alone.col, alone.rows, alone.category) == (0, 0, 1, SPEC.categories[0])
    assert shown.usual == pytest.approx(2 * alone.usual, rel=2e-2)
    assert alone.usual > 0
    again = scored_frame(folder, replace(features, recent=recent), state.as_of_s, states.newest(tick_s))
    assert again.unusual[0] == shown
    assert again.digest() != scored_frame(folder, features, state.as_of_s, states.newest(tick_s)).digest()


@pytest.mark.parametrize(("around_the_baseline", "around_the_network", "is_told"), [(3, 0.02, True), (0.02, 3, False)])
def test_how_far_counts_lie_around_what_is_usual_is_said_by_the_baseline(
    tmp_path, around_the_baseline, around_the_network, is_told
):
    """Five calls in an hour, where one a day is usual, are unusual where counts lie close to that."""
    history = CountState(SPEC)
    history.advance(CUTOFF_S)
    times_s, places = np.meshgrid(CUTOFF_S - DAY_S * np.arange(1, 101), np.arange(SPEC.grid.cells * 2))
    for level in history.levels.values():
        level.add(times_s.ravel(), places.ravel(), 1)
    of_baseline, of_network = (
        Dispersion.quadratic(np.full((len(SPEC.categories), len(SPEC.horizons_s)), float(r)))
        for r in (around_the_baseline, around_the_network)
    )
    constants = toy_constants(SPEC, dispersion=of_baseline, network_dispersion=of_network)
    folder = publish_artifact(tmp_path, spec=SPEC, constants=constants, network=toy_network(SPEC), history=history)
    features = FeatureEngine(SPEC, constants).compute(history)
    features.recent[:, 0, 0] += 5
    frame = scored_frame(str(folder), features, CUTOFF_S)
    assert frame.model == folder.name
    assert bool(frame.unusual) == is_told


def test_files_are_kept_as_long_as_the_log_of_batches_however_long_the_job_stood_still(followed, tmp_path):
    """Its days are kept by number."""
    _, states = followed
    (batches_folder(tmp_path) / day_of(1000 * (NOW_S + 3 * DAY_S))).mkdir(parents=True)
    for day in range(50):
        states.write(NOW_S + day * DAY_S, state_of(SPEC, 1.0).arrays())
    kept = sorted(int(path.stem) for path in states.folder.iterdir())
    # The log's first batch may have scored a tick of the day before, which begins with the file before it.
    assert kept == [NOW_S + day * DAY_S for day in range(1, 50)]


def test_a_change_is_said_from_the_hour_before_its_file_until_that_is_old(followed, tmp_path):
    _, states = followed
    said = FollowedChange(NOW_S, NOW_S - 5 * DAY_S, "05 to 08 h x 1.9")
    states.write(NOW_S, state_of(SPEC, 1.0).arrays())
    states.say(said)
    asked_at = (NOW_S - HOUR_S - 1, NOW_S - HOUR_S, NOW_S + OLDEST_S, NOW_S + OLDEST_S + 1)
    assert [states.change(at_s) for at_s in asked_at] == [None, said, said, None]
    assert [said.in_words(zone).split(":")[0] for zone in ("UTC", "Asia/Tokyo")] == ["since 9 Nov", "since 10 Nov"]
    states.say(None)
    assert states.change(NOW_S) is None
    (states.folder / "change.json").write_bytes(b"{")
    assert change_followed(tmp_path, toy_frame(SPEC, model=states.folder.name, as_of_s=NOW_S)) is None
