"""Which file of what a follower had learned a forecast uses, and what becomes of its scores."""

import logging
from pathlib import Path

import numpy as np
import pytest

from models.artifact.artifact import read_artifact
from models.counting.count_state import CountState
from models.features import FeatureEngine
from models.likelihood import at_least_one
from schemas.left_behind.follower_states import OLDEST_S, FollowerStates
from schemas.spec import DAY_S, HOUR_S
from streaming.flow.decode import heartbeat_rows
from streaming.flow.follow import factors_at, file_at
from streaming.flow.score import scored_frame
from streaming.roster.following import FollowingWatch
from streaming.roster.roster import Entry
from tests.harness.toy import (
    CUTOFF_S,
    publish_artifact,
    state_of,
    toy_artifact,
    toy_constants,
    toy_network,
    toy_spec,
)

SPEC = toy_spec(2, 2)
NOW_S = CUTOFF_S - CUTOFF_S % HOUR_S


@pytest.fixture
def followed(tmp_path):
    """The folder of an artifact with a network, its entry, and the files of a follower that found twice as many."""
    history = CountState(SPEC)
    history.advance(CUTOFF_S)
    artifact = publish_artifact(
        tmp_path / "artifacts", spec=SPEC, constants=toy_constants(SPEC), network=toy_network(SPEC), history=history
    )
    states = FollowerStates.of(tmp_path, SPEC.region, artifact.name)
    return str(artifact), Entry(str(artifact), artifact.name, SPEC.fingerprint()), states


def test_a_forecast_follows_what_was_learned_by_its_hour_and_nothing_that_is_old():
    files = f"/x/{NOW_S}.npz\n/x/{NOW_S + HOUR_S}.npz"
    assert file_at(files, NOW_S - 1) is None
    assert file_at(files, NOW_S + HOUR_S - 60) == f"/x/{NOW_S}.npz"
    assert file_at(files, NOW_S + HOUR_S) == f"/x/{NOW_S + HOUR_S}.npz"
    assert file_at(files, NOW_S + HOUR_S + OLDEST_S) == f"/x/{NOW_S + HOUR_S}.npz"
    assert file_at(files, NOW_S + HOUR_S + OLDEST_S + 60) is None
    assert file_at("", NOW_S) is None


def test_the_factors_come_before_risk_and_interval_and_stand_in_the_attribution(followed):
    folder, _, states = followed
    states.write(NOW_S, state_of(SPEC, 2.0).arrays())
    artifact = read_artifact(states.folder.parents[2] / "artifacts" / SPEC.region / states.folder.name)
    state = artifact.history()
    features = FeatureEngine(SPEC, artifact.constants).compute(state)
    path = str(states.path(NOW_S))
    alone = scored_frame(folder, features, state.as_of_s)
    shown = scored_frame(folder, features, state.as_of_s, path)
    factors = factors_at(path, folder, state.as_of_s - state.as_of_s % SPEC.tick_s)
    assert factors == pytest.approx(2.0, rel=1e-3)
    np.testing.assert_array_equal(shown.expected, np.float32(alone.expected * factors))
    np.testing.assert_array_equal(shown.usual, alone.usual)
    dispersion = artifact.constants.dispersion_in_cells(of_network=True)
    np.testing.assert_array_equal(shown.risk, at_least_one(shown.expected, dispersion).astype(np.float32))
    np.testing.assert_allclose(shown.attribution[..., -1], 2.0, rtol=1e-3)
    assert shown.model == alone.model == artifact.version


def test_where_the_baseline_scores_or_the_file_is_broken_nothing_is_followed(followed, tmp_path):
    folder, _, states = followed
    states.write(NOW_S, state_of(SPEC, 2.0).arrays())
    broken = tmp_path / f"{NOW_S}.npz"
    broken.write_bytes(b"no file of ours")
    without_network = toy_artifact(tmp_path / "damaged", SPEC)
    (without_network / "weights.safetensors").write_bytes(b"")
    for scored_by, path in ((folder, broken), (str(without_network), states.path(NOW_S))):
        artifact = read_artifact(Path(scored_by))
        state = artifact.history()
        features = FeatureEngine(SPEC, artifact.constants).compute(state)
        alone, shown = (scored_frame(scored_by, features, state.as_of_s, file) for file in (None, str(path)))
        assert shown.digest() == alone.digest()


def test_the_watch_chooses_this_hours_file_and_the_next_and_says_once_which_it_passes_over(followed, caplog):
    folder, entry, states = followed
    for hour_s in (NOW_S - HOUR_S, NOW_S, NOW_S + HOUR_S, NOW_S + 2 * HOUR_S):
        states.write(hour_s, state_of(SPEC, 2.0).arrays())
    watch = FollowingWatch(checkpoint=states.folder.parents[2])
    chosen = watch.chosen({SPEC.region: entry}, NOW_S + 60)[SPEC.region]
    assert chosen.following.splitlines() == [str(states.path(NOW_S)), str(states.path(NOW_S + HOUR_S))]
    (row, _) = heartbeat_rows({SPEC.region: chosen})
    assert (row.following, row.challenger_following, row.artifact) == (chosen.following, None, folder)
    states.path(NOW_S + 2 * HOUR_S).write_bytes(b"no file of ours")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            later = watch.chosen({SPEC.region: entry}, NOW_S + HOUR_S)[SPEC.region]
    assert later.following == str(states.path(NOW_S + HOUR_S))
    assert [record.message.partition(" a file")[0] for record in caplog.records] == [f"region={SPEC.region}"]


def test_files_are_kept_as_long_as_the_log_of_batches(followed):
    _, _, states = followed
    for day in range(50):
        states.write(NOW_S + day * DAY_S, state_of(SPEC, 1.0).arrays())
    first = min(int(path.stem) for path in states.folder.iterdir())
    assert first == NOW_S + 13 * DAY_S  # 35 days of the log, and the one that its first hour follows
