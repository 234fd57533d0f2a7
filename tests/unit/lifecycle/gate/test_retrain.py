"""What `retrain` and `gate start` refuse before they train or try, and what is written down of each ask."""

import hashlib
import time
from contextlib import suppress

import msgspec
import numpy as np
import pytest

from incident_risk import main
from lifecycle.archive import ArchiveTable
from lifecycle.gate import end_on_record, read_trial, trial_path, write_trial
from lifecycle.triggers import read_asked
from models.artifact import champion_of, read_artifact
from models.counting.count_state import DayCounts
from models.hyperparameters import Hyperparameters
from schemas.audit import records
from schemas.errors import GateClosed
from schemas.records import Pointer, read_pointer
from tests.harness.gate_town import DAY_S, PLAN, date
from tests.harness.small_town import START_S
from tests.harness.toy import iso

pytestmark = pytest.mark.usefixtures("quick_training")
NONE = np.zeros(0, np.int16)
QUIET = DayCounts(day=0, cell=NONE.astype(np.int32), category=NONE, bin=NONE, count=NONE.astype(np.int32))


def test_a_challenger_with_nothing_new_to_learn_from_is_refused_before_training(town, monkeypatch, capsys):
    """The champion's data end with day 50: without the 14 days that are held out, sixty days end before that."""
    like = town.artifacts / "town" / town.state().champion
    town.command("train", town.task(like=like, until=date(50)), "--out", town.folder / "later")
    town.promote(champion_of(town.folder / "later", "town").folder)
    before = town.state()
    for name, place in town.environment.items():
        monkeypatch.setenv(name, place)
    monkeypatch.setattr("sys.argv", ["risk", "gate", "retrain", "town", "--data", str(town.task()), "--now"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == GateClosed.exit_code
    out, err = capsys.readouterr()
    (line,) = out.splitlines()  # no bars, and the refusal is not here, too
    assert line.startswith("town: a challenger is due: ")
    assert err.count("they have nothing newer than those of the champion") == 1
    assert f"ask again when they reach {date(50 + 14 + 2)}" in err
    assert town.state() == before
    assert town.events()[-1] == "retrain_refused"
    asked = read_asked(town.artifacts, "town")
    assert (asked.outcome, asked.made_s) == ("refused", None)


def test_the_same_data_are_not_learned_from_twice(trial):
    """The trial is over without a promotion, and the file has not grown."""
    tried = read_trial(trial.artifacts, "town").challenger
    (trial.artifacts / "town" / "trial.json").unlink()
    with pytest.raises(GateClosed, match=f"{tried} of town has learned from the same data") as refused:
        trial.retrain("--now")
    assert "gate start town" in refused.value.remedy
    assert trial.events()[-1] == "retrain_refused"
    made = set(trial.state().manifests)
    assert max(made) == tried
    with (trial.folder / "town.csv").open("a", encoding="utf-8") as file:
        file.writelines(f"{iso(START_S + 60 * DAY_S + hour * 3600)},41.01,-86.99,ems\n" for hour in range(40))
    with suppress(GateClosed):  # whether the next one may be tried is another question
        trial.retrain("--now")
    assert len(set(trial.state().manifests) - made) == 1  # their names say the second, and may be alike in that


def test_after_a_challenger_that_did_not_pass_a_drifting_champion_gets_no_other_one_for_days(trial, monkeypatch):
    """Else a challenger every day, which knows as little of the change, would use up a year's four trials in a week."""
    first = read_trial(trial.artifacts, "town")
    end_on_record(trial.artifacts, "town", first, "stop")
    trial.judged(20, better=0, observed=90)  # three times as many as are expected
    made = trial.state().manifests
    told = []  # it knows 44 days: of 61, less 15 that are held out, 2 are new to it, and the plan asks for 10
    for day in range(61, 68):
        monkeypatch.setattr("lifecycle.watch.time.time", lambda day=day: START_S + day * DAY_S + 60.0)
        trial.retrain()
        asked = read_asked(trial.artifacts, "town")
        told.append((asked.outcome, asked.because.partition(" (")[0]))
        assert "observed over expected" in asked.because
    assert told == [
        ("waits", f"a challenger is due, and the newest one did not pass: the next one in {days} days")
        for days in range(8, 1, -1)
    ]
    assert (trial.state().manifests, read_trial(trial.artifacts, "town")) == (made, None)


def test_what_became_of_an_ask_is_written_down(trial):
    asked = read_asked(trial.artifacts, "town")
    assert asked.outcome == "trial started"
    assert asked.made_s == asked.at_s
    assert "its data end" in asked.because
    trial.retrain()
    assert read_asked(trial.artifacts, "town").outcome == "on trial"
    assert read_asked(trial.artifacts, "town").made_s == asked.made_s


@pytest.mark.parametrize("archive", ["an empty folder", "without a day", "with another region"])
def test_on_its_first_days_an_archive_has_nothing_to_learn_from_and_nothing_has_failed(town, archive):
    place = town.folder / "archive"
    if archive == "an empty folder":  # the archive's service has not had its first look yet
        place.mkdir()
    else:
        table = ArchiveTable(str(place), {})
        if archive == "with another region":
            table.append(
                msgspec.structs.replace(champion_of(town.artifacts, "town").spec, region="elsewhere"), [QUIET], "test"
            )
    town.command("gate", "retrain", "town")
    asked = read_asked(town.artifacts, "town")
    assert asked.outcome == "waits"
    assert "nothing to learn from yet" in asked.because
    assert asked.because.endswith("check the path" if archive == "an empty folder" else "the archive's path")


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
