"""From a trial to a promotion by the commands alone, on a small town; and what else may end it."""

import json

import pytest

from lifecycle.gate.trial import read_trial
from schemas.audit_verify import records
from schemas.errors import GateClosed, RegistryError, SettingsError
from schemas.left_behind.pointer import Pointer, read_pointer
from tests.harness.gate_town import command, date


def test_one_trial_at_a_time(trial):
    assert "is being tried already" in trial.retrain()
    with pytest.raises(GateClosed, match="has a trial of"):
        trial.gate("start", trial.state().challenger, *trial.data, "--because", "again")


def test_a_trial_whose_challenger_was_promoted_by_hand_waits_for_its_end(trial):
    challenger = trial.state().challenger
    words = ["--because", "by hand", "--sync", *trial.options("registry", "artifacts", "audit")]
    command("registry", "promote", "town", challenger, *words)
    said = trial.retrain().replace("\n", " ")
    assert f"waits: the trial of {challenger} is over, as {challenger} scores" in said
    assert "gate end" in said


def test_a_start_that_was_killed_before_its_end_can_be_made_again(trial):
    (trial.artifacts / "town" / "trial.json").unlink()  # written last
    challenger = trial.state().challenger
    assert "is tried beside" in trial.gate("start", challenger, *trial.data, "--because", "again").replace("\n", " ")
    assert read_trial(trial.artifacts, "town").challenger == challenger
    assert trial.state().challenger == challenger


def test_an_end_that_was_killed_after_the_promotion_comes_to_its_end(trial):
    challenger = trial.state().challenger
    trial.judged(30, better=1.0)
    words = ["--because", "as `gate end` does", *trial.options("registry", "artifacts", "audit")]
    command("registry", "promote", "town", challenger, *words)  # and killed: not synchronised, the trial is there
    assert "promote" in trial.gate("end", "--because", "again", "--confirm")
    assert read_pointer(trial.artifacts, "town") == Pointer(champion=challenger)
    assert len(trial.state().before) == 1
    assert read_trial(trial.artifacts, "town") is None


def test_a_trial_beside_a_champion_that_no_longer_scores_is_void(trial):
    path, other = trial.artifacts / "town" / "trial.json", "20200101T000000Z-00000000"
    trial.judged(30, better=1.0)
    path.write_bytes(path.read_bytes().replace(trial.state().champion.encode(), other.encode()))
    before = trial.state()
    with pytest.raises(GateClosed, match="is void"):
        trial.gate("end", "--because", "too late", "--confirm")
    assert trial.state() == before
    assert not path.exists()
    assert trial.events()[-1] == "trial_ended"


def test_status_says_what_it_waits_for(trial):
    trial.judged(5, better=1.0)
    assert "go on: 5 of 10 days; two weekends" in trial.gate("status").replace("\n", " ")
    shown = json.loads(trial.gate("status", "--json"))
    assert shown["decision"] == "go on"
    with pytest.raises(GateClosed, match="goes on"):
        trial.gate("end", "--because", "impatient", "--confirm")


def test_a_better_challenger_is_promoted_only_when_a_person_agrees(trial):
    champion, challenger = trial.state().champion, trial.state().challenger
    trial.judged(30, better=1.0)
    assert json.loads(trial.gate("status", "--json"))["decision"] == "promote"
    with pytest.raises(GateClosed, match="--confirm"):
        trial.gate("end", "--because", "nobody agreed")
    assert trial.state().champion == champion
    assert "promote" in trial.gate("end", "--because", "agreed", "--confirm")
    assert read_pointer(trial.artifacts, "town") == Pointer(champion=challenger)
    assert read_trial(trial.artifacts, "town") is None
    words = ["--because", "a mistake", "--sync"]
    command("registry", "rollback", "town", *words, *trial.options("registry", "artifacts", "audit"))
    assert read_pointer(trial.artifacts, "town") == Pointer(champion=champion)


def test_a_plan_may_promote_by_itself(trial):
    path = trial.artifacts / "town" / "trial.json"
    path.write_bytes(path.read_bytes().replace(b'"auto": false', b'"auto": true'))
    trial.judged(30, better=1.0)
    assert "promote" in trial.gate("end", "--because", "by the plan")


def test_a_worse_one_is_retired_and_never_comes_back(trial):
    champion, challenger = trial.state().champion, trial.state().challenger
    trial.judged(30, better=-50.0)
    assert "stop" in trial.gate("end", "--because", "by the plan")
    assert (trial.state().champion, trial.state().retired) == (champion, (challenger,))
    words = ["--because", "no", *trial.options("registry", "artifacts", "audit")]
    with pytest.raises(RegistryError, match="retired"):
        command("registry", "promote", "town", challenger, *words)


def test_status_says_on_which_days_the_challenger_failed_and_many_such_hours_end_the_trial(trial):
    trial.judged(30, better=1.0, failed=range(48, 60))
    assert f"could not be scored: {date(62)}: 12" in trial.gate("status").replace("\n", " ")
    assert json.loads(trial.gate("status", "--json"))["decision"] == "promote"
    trial.judged(30, better=1.0, failed=range(48, 96))
    assert "stop: the challenger could not be scored in 48 of 720 hours" in trial.gate("status").replace("\n", " ")
    assert "stop" in trial.gate("end", "--because", "by the plan")


def test_hours_of_a_silent_feed_say_nothing_and_status_says_how_many_they_are(trial):
    silent = {number for number in range(30 * 24) if number % 24 < 10}
    trial.judged(30, better=1.0, silent=silent)
    assert json.loads(trial.gate("status", "--json"))["decision"] == "go on"  # it seems to expect too much
    trial.judged(30, better=1.0, silent=silent, cut=silent)
    shown = json.loads(trial.gate("status", "--json"))
    assert (shown["decision"], sum(shown["cut"].values()), shown["cut"][date(62)]) == ("promote", 300, 10)
    assert "300 hours are cut out, as the feed was silent or many messages were refused" in trial.gate("status")


def test_a_category_with_too_few_incidents_says_how_many_are_needed(trial):
    trial.judged(1, better=1.0, observed=1)
    assert "fewer than 100" in trial.gate("status")


def test_a_person_may_abandon_a_trial_and_says_why(trial):
    champion, challenger = trial.state().champion, trial.state().challenger
    with pytest.raises(SettingsError, match="exclude each other"):
        trial.gate("end", "--because", "both", "--confirm", "--abandon")
    assert "abandoned" in trial.gate("end", "--because", "its file lacked the north", "--abandon")  # no day is judged
    assert (trial.state().champion, trial.state().retired) == (champion, (challenger,))
    assert read_pointer(trial.artifacts, "town") == Pointer(champion=champion)
    assert read_trial(trial.artifacts, "town") is None
    ended = [one for one in records((trial.folder / "audit.jsonl").read_bytes()) if one.event == "trial_ended"]
    assert [(one.details["decision"], one.details["because"]) for one in ended] == [
        ("abandoned", "its file lacked the north")
    ]
    with pytest.raises(RegistryError, match="town has no trial"):
        trial.gate("end", "--because", "again", "--abandon")


def test_one_that_was_promoted_before_a_kill_is_not_abandoned(trial):
    words = ["--because", "as `gate end` does", *trial.options("registry", "artifacts", "audit")]
    command("registry", "promote", "town", trial.state().challenger, *words)
    with pytest.raises(GateClosed, match="is the champion already"):
        trial.gate("end", "--because", "no", "--abandon")
    assert read_trial(trial.artifacts, "town") is not None


def test_without_a_trial_there_is_nothing_to_say(town):
    assert town.gate("status").strip() == "town: nothing is tried; 0 trials began within 365 days"
    assert json.loads(town.gate("status", "--json")) == {"challenger": None, "trials": 0}
