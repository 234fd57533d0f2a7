"""From a trial to a promotion by the commands alone, on a small town; and what else may end it."""

import pytest

from lifecycle.gate.trial import read_trial
from schemas.audit.verify import records
from schemas.errors import GateClosed, RegistryError, SettingsError
from schemas.left_behind.pointer import Pointer, read_pointer
from tests.harness.gate_town import date


def test_retraining_waits_for_the_end_of_a_trial(trial):
    assert "is being tried already" in trial.retrain()


def test_a_trial_whose_challenger_was_promoted_by_hand_waits_for_its_end(trial):
    challenger = trial.state().challenger
    trial.promote(challenger)
    said = trial.retrain().replace("\n", " ")
    assert f"waits: the trial of {challenger} is over, as {challenger} scores" in said
    assert "gate end" in said


def test_two_versions_are_compared_by_what_is_known_and_nothing_changes(trial):
    before, events = trial.state(), trial.events()
    said = trial.compare(before.challenger)
    assert "14 days that neither has learned from" in said
    assert [line.split()[0] for line in said.splitlines()[2:5]] == ["baseline", "champion", "challenger"]
    assert (trial.state(), trial.events()) == (before, events)
    with pytest.raises(RegistryError, match="no version nothing"):
        trial.command("gate", "compare", "town/nothing", "--data", trial.task())


def test_a_start_that_was_killed_before_its_end_can_be_made_again(trial):
    (trial.artifacts / "town" / "trial.json").unlink()  # written last
    challenger = trial.state().challenger
    assert "is tried beside" in trial.start(challenger)
    assert read_trial(trial.artifacts, "town").challenger == challenger
    assert trial.state().challenger == challenger


def test_status_says_what_it_waits_for(trial):
    trial.judged(5, better=1.0)
    assert "go on: 5 of 10 days; two weekends" in trial.status()
    assert "late: the newest judged hour began at 2" in trial.status()
    shown = trial.status_json()
    assert (shown["decision"], shown["late"].startswith("the newest judged hour")) == ("go on", True)
    with pytest.raises(GateClosed, match="goes on"):
        trial.end("impatient", "--confirm")


def test_a_better_challenger_is_promoted_when_a_person_agrees(trial):
    champion, challenger = trial.state().champion, trial.state().challenger
    trial.judged(30, better=1.0)
    assert trial.status_json()["decision"] == "promote"
    assert "promote" in trial.end("agreed", "--confirm")
    assert read_pointer(trial.artifacts, "town") == Pointer(champion=challenger)
    assert read_trial(trial.artifacts, "town") is None
    trial.command("rollback", "town", "--because", "a mistake")
    assert read_pointer(trial.artifacts, "town") == Pointer(champion=champion)


def test_a_plan_may_promote_by_itself(trial):
    path = trial.artifacts / "town" / "trial.json"
    path.write_bytes(path.read_bytes().replace(b'"auto": false', b'"auto": true'))
    trial.judged(30, better=1.0)
    assert "promote" in trial.end("by the plan")


def test_status_says_on_which_days_the_challenger_failed_and_many_such_hours_end_the_trial(trial):
    trial.judged(30, better=1.0, failed=range(48, 60))
    assert f"could not be scored: {date(62)}: 12" in trial.status()
    assert trial.status_json()["decision"] == "promote"
    trial.judged(30, better=1.0, failed=range(48, 96))
    assert "stop: the challenger could not be scored in 48 of 720 hours" in trial.status()
    assert "stop" in trial.end("by the plan")


def test_hours_of_a_silent_feed_say_nothing_and_status_says_how_many_they_are(trial):
    silent = {number for number in range(30 * 24) if number % 24 < 10}
    trial.judged(30, better=1.0, silent=silent)
    assert trial.status_json()["decision"] == "go on"  # it seems to expect too much
    trial.judged(30, better=1.0, silent=silent, cut=silent)
    shown = trial.status_json()
    assert (shown["decision"], sum(shown["cut"].values()), shown["cut"][date(62)]) == ("promote", 300, 10)
    assert "300 hours are cut out, as the feed was silent or many messages were refused" in trial.status()


def test_a_category_with_too_few_incidents_says_how_many_are_needed(trial):
    trial.judged(1, better=1.0, observed=1)
    assert "fewer than 100" in trial.status()


def test_a_person_may_abandon_a_trial_and_says_why(trial):
    champion, challenger = trial.state().champion, trial.state().challenger
    with pytest.raises(SettingsError, match="exclude each other"):
        trial.end("both", "--confirm", "--abandon")
    assert "abandoned" in trial.end("its file lacked the north", "--abandon")  # no day is judged
    assert (trial.state().champion, trial.state().retired) == (champion, (challenger,))
    assert read_pointer(trial.artifacts, "town") == Pointer(champion=champion)
    assert read_trial(trial.artifacts, "town") is None
    ended = [entry for entry in records((trial.folder / "audit.jsonl").read_bytes()) if entry.event == "trial_ended"]
    assert [(entry.details["decision"], entry.details["because"]) for entry in ended] == [
        ("abandoned", "its file lacked the north")
    ]
    with pytest.raises(RegistryError, match="town has no trial"):
        trial.end("again", "--abandon")


def test_without_a_trial_there_is_nothing_to_say(town):
    assert town.status().strip() == "town: nothing is tried; 0 trials began within 365 days"
    assert town.status_json() == {"challenger": None, "trials": 0}
