"""From a trigger to a trial by the commands alone, on a small town; and what keeps a challenger out."""

import hashlib
import time

import msgspec
import pytest

from lifecycle.gate.trial import end_on_record, read_trial, trial_path, write_trial
from models.artifact.artifact import read_artifact
from models.artifact.pointer import champion_of
from models.hyperparameters import Hyperparameters
from schemas.audit.verify import records
from schemas.errors import GateClosed
from schemas.left_behind.pointer import Pointer, read_pointer
from tests.harness.gate_town import DAY_S, PLAN
from tests.harness.small_town import START_S

pytestmark = pytest.mark.usefixtures("quick_training")


def test_an_old_champion_gets_a_challenger_and_goes_on_scoring(tried):
    assert "a challenger is due: its data end" in tried.said
    state, trial = tried.state(), read_trial(tried.artifacts, "town")
    assert read_pointer(tried.artifacts, "town") == Pointer(champion=state.champion, challenger=trial.challenger)
    assert (trial.champion, trial.challenger) == (state.champion, state.challenger)
    assert state.champion != state.challenger
    manifest = read_artifact(tried.artifacts / "town" / trial.challenger).manifest
    assert manifest.data.cutoff_s == START_S + (60 - 14 - 2) * DAY_S  # the plan's days and a day's horizon are held out
    assert manifest.recipe == Hyperparameters(widths=(24, 16), learning_rate=2e-3)  # the champion's, not the default
    assert (manifest.training.epochs, manifest.training.step_minutes) == (1, 1440)  # as well
    assert tried.events()[-3:] == ["trial_started", "model_promoted", "pointer_written"]


def test_the_plans_hash_is_on_record(tried):
    entries = records((tried.folder / "audit.jsonl").read_bytes())
    (started,) = [entry for entry in entries if entry.event == "trial_started"]
    assert started.details["plan_sha256"] == hashlib.sha256(PLAN.encode()).hexdigest()
    assert read_trial(tried.artifacts, "town").plan_sha256 == started.details["plan_sha256"]


def test_what_could_not_be_judged_before_the_trial_is_said(trial):
    missing = "poor: too few incidents"
    tried = msgspec.structs.replace(read_trial(trial.artifacts, "town"), remarks=(missing,))
    write_trial(trial.artifacts, "town", tried)
    assert f"not judged before the trial: {missing}" in trial.status()


def test_a_fifth_trial_of_a_year_is_refused_before_anything_is_trained(trial):
    now_s = int(time.time())
    for age_days in (30, 20, 10):
        past = msgspec.structs.replace(read_trial(trial.artifacts, "town"), started_s=now_s - age_days * DAY_S)
        running = trial_path(trial.artifacts, "town").read_bytes()
        end_on_record(trial.artifacts, "town", past, "stop")
        trial_path(trial.artifacts, "town").write_bytes(running)
    assert "trials within 365 days, this one included: 4 of 4" in trial.status()
    assert trial.status_json()["trials"] == 4
    trial.end("enough", "--abandon")
    versions = trial.state().manifests
    with pytest.raises(GateClosed, match="the plan allows 4"):
        trial.retrain("--now")
    with pytest.raises(GateClosed, match="the plan allows 4"):
        trial.start(trial.state().champion)
    assert trial.state().manifests == versions


def test_a_challenger_that_has_seen_the_span_or_is_no_newer_is_not_tried(town):
    with pytest.raises(GateClosed, match="no later than the champion's"):
        town.start(town.state().champion)
    like = town.artifacts / "town" / town.state().champion
    town.command("train", town.task(like=like), "--out", town.folder / "new")
    made = champion_of(town.folder / "new", "town").folder
    with pytest.raises(GateClosed, match="0 days are held out"):
        town.start(made)
    assert made.name in town.state().manifests
    assert town.state().challenger is None
