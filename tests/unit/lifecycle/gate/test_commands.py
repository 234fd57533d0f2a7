"""The commands of a trial, from the ask for a challenger to its end; those which only read import nothing heavy."""

import hashlib
import os
import threading
import time
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from msgspec import structs

from incident_risk import main
from lifecycle.archive import ArchiveTable
from lifecycle.challenger import HeldOut, abandon_trial, begin, end_trial, start_trial
from lifecycle.gate import (
    GatePlan,
    alone,
    end_on_record,
    ended_trials,
    judge_shadow,
    read_trial,
    trial_path,
    write_trial,
)
from models.artifact import champion_of, read_artifact
from models.counting.count_state import DayCounts
from models.network_kinds import Hyperparameters
from schemas.audit import records
from schemas.errors import ArtifactError, GateClosed, RegistryError, SettingsError
from schemas.records import Pointer
from tests.harness import registries
from tests.harness.gate_town import DAY_S, PLAN, date, toy_trial
from tests.harness.processes import imported_by
from tests.harness.small_town import START_S
from tests.harness.toy import CUTOFF_S, iso, toy_artifact, toy_spec

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
    assert (town.asked().outcome, town.asked().made_s) == ("refused", None)


def test_the_same_data_are_not_learned_from_twice(trial):
    """The trial is over without a promotion, and the file has not grown."""
    tried = trial.on_trial().challenger
    trial_path(trial.artifacts, "town").unlink()
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
    end_on_record(trial.artifacts, "town", trial.on_trial(), "stop")
    trial.judged(20, better=0, observed=90)  # three times as many as are expected
    made = trial.state().manifests
    told = []  # it knows 44 days: of 61, less 15 that are held out, 2 are new to it, and the plan asks for 10
    for day in range(61, 68):
        monkeypatch.setattr("lifecycle.watch.time.time", lambda day=day: START_S + day * DAY_S + 60.0)
        trial.retrain()
        asked = trial.asked()
        told.append((asked.outcome, asked.because.partition(" (")[0]))
        assert "observed over expected" in asked.because
    assert told == [
        ("waits", f"a challenger is due, and the newest one did not pass: the next one in {days} days")
        for days in range(8, 1, -1)
    ]
    assert (trial.state().manifests, trial.on_trial()) == (made, None)


def test_what_became_of_an_ask_is_written_down_and_retraining_waits_for_the_end_of_a_trial(trial):
    asked = trial.asked()
    assert (asked.outcome, asked.made_s) == ("trial started", asked.at_s)
    assert "its data end" in asked.because
    assert "is being tried already" in trial.retrain()
    assert (trial.asked().outcome, trial.asked().made_s) == ("on trial", asked.made_s)


@pytest.mark.parametrize("archive", ["an empty folder", "without a day", "with another region"])
def test_on_its_first_days_an_archive_has_nothing_to_learn_from_and_nothing_has_failed(town, archive):
    place, elsewhere = town.folder / "archive", structs.replace(toy_spec(), region="elsewhere")
    place.mkdir()  # the archive's service has not had its first look yet
    if archive != "an empty folder":
        table = ArchiveTable(str(place), {})
        if archive == "with another region":
            table.append(elsewhere, [QUIET], "test")
    town.command("gate", "retrain", "town")
    asked = town.asked()
    assert asked.outcome == "waits"
    assert "nothing to learn from yet" in asked.because
    assert asked.because.endswith("check the path" if archive == "an empty folder" else "the archive's path")


def test_an_old_champion_gets_a_challenger_and_goes_on_scoring_with_the_plans_hash_on_record(tried):
    assert "a challenger is due: its data end" in tried.said
    state, trial = tried.state(), tried.on_trial()
    assert tried.pointer() == Pointer(champion=state.champion, challenger=trial.challenger)
    assert (trial.champion, trial.challenger) == (state.champion, state.challenger)
    assert state.champion != state.challenger
    manifest = read_artifact(tried.artifacts / "town" / trial.challenger).manifest
    assert manifest.data.cutoff_s == START_S + (60 - 14 - 2) * DAY_S  # the plan's days and a day's horizon are held out
    assert manifest.recipe == Hyperparameters(widths=(24, 16), learning_rate=2e-3)  # the champion's, not the default
    assert (manifest.training.epochs, manifest.training.step_minutes) == (1, 1440)  # as well
    assert tried.events()[-3:] == ["trial_started", "model_promoted", "pointer_written"]
    (started,) = [entry for entry in tried.noted() if entry.event == "trial_started"]
    assert started.details["plan_sha256"] == trial.plan_sha256 == hashlib.sha256(PLAN.encode()).hexdigest()


def test_status_says_what_it_waits_for_and_what_is_too_little_to_judge(trial):
    missing = "poor: too few incidents"
    write_trial(trial.artifacts, "town", structs.replace(trial.on_trial(), remarks=(missing,)))
    trial.judged(1, better=1.0, observed=1)
    said = trial.status()
    assert f"not judged before the trial: {missing}" in said
    assert "fewer than 100" in said
    trial.judged(5, better=1.0)
    said, shown = trial.status(), trial.status_json()
    assert "go on: 5 of 10 days; two weekends" in said
    assert "late: the newest judged hour began at 2" in said
    assert (shown["decision"], shown["late"].startswith("the newest judged hour")) == ("go on", True)
    with pytest.raises(GateClosed, match="goes on"):
        trial.end("impatient", "--confirm")
    assert "trial_ended" not in trial.events()


def test_a_fifth_trial_of_a_year_is_refused_before_anything_is_trained(trial):
    now_s = int(time.time())
    for age_days in (30, 20, 10):
        past = structs.replace(trial.on_trial(), started_s=now_s - age_days * DAY_S)
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
    trial_path(trial.artifacts, "town").unlink()  # written last
    challenger = trial.state().challenger
    assert "is tried beside" in trial.start(challenger)
    assert trial.on_trial().challenger == challenger
    assert trial.state().challenger == challenger


@pytest.mark.parametrize("by_the_plan", [False, True])
def test_a_better_challenger_is_promoted_when_a_person_agrees_or_by_the_plan_itself(trial, by_the_plan):
    champion, challenger = trial.state().champion, trial.state().challenger
    plan = structs.replace(trial.on_trial().plan, auto=by_the_plan)
    write_trial(trial.artifacts, "town", structs.replace(trial.on_trial(), plan=plan))
    trial.judged(30, better=1.0)
    assert trial.status_json()["decision"] == "promote"
    if not by_the_plan:
        with pytest.raises(GateClosed, match="--confirm"):
            trial.end("nobody has agreed")
        assert "trial_ended" not in trial.events()
    assert "promote" in trial.end("agreed", *([] if by_the_plan else ["--confirm"]))
    assert trial.pointer() == Pointer(champion=challenger)
    assert trial.on_trial() is None
    trial.command("rollback", "town", "--because", "a mistake")
    assert trial.pointer() == Pointer(champion=champion)


def test_status_says_on_which_days_the_challenger_failed_and_many_such_hours_end_the_trial(trial):
    trial.judged(30, better=1.0, failed=range(48, 60))
    assert f"could not be scored: {date(62)}: 12" in trial.status()
    assert trial.status_json()["decision"] == "promote"
    trial.judged(30, better=1.0, failed=range(48, 96))
    assert "stop: the challenger could not be scored in 48 of 720 hours" in trial.status()
    champion, challenger = trial.state().champion, trial.state().challenger
    assert "stop" in trial.end("by the plan")
    assert (trial.state().champion, trial.state().retired) == (champion, (challenger,))


def test_hours_of_a_silent_feed_say_nothing_and_status_says_how_many_they_are(trial):
    silent = {number for number in range(30 * 24) if number % 24 < 10}
    trial.judged(30, better=1.0, silent=silent)
    assert trial.status_json()["decision"] == "go on"  # it seems to expect too much
    trial.judged(30, better=1.0, silent=silent, cut=silent)
    shown = trial.status_json()
    assert (shown["decision"], sum(shown["cut"].values()), shown["cut"][date(62)]) == ("promote", 300, 10)
    assert "300 hours are cut out, as the feed was silent or many messages were refused" in trial.status()


def test_a_person_may_abandon_a_trial_and_says_why(trial):
    champion, challenger = trial.state().champion, trial.state().challenger
    with pytest.raises(SettingsError, match="exclude each other"):
        trial.end("both", "--confirm", "--abandon")
    assert "abandoned" in trial.end("its file lacked the north", "--abandon")  # no day is judged
    assert (trial.state().champion, trial.state().retired) == (champion, (challenger,))
    assert trial.pointer() == Pointer(champion=champion)
    assert trial.on_trial() is None
    (ended,) = [entry.details for entry in trial.noted() if entry.event == "trial_ended"]
    assert (ended["decision"], ended["because"]) == ("abandoned", "its file lacked the north")
    with pytest.raises(RegistryError, match="town has no trial"):
        trial.end("again", "--abandon")


def test_without_a_trial_there_is_nothing_to_say(town):
    assert town.status().strip() == "town: nothing is tried; 0 trials began within 365 days"
    assert town.status_json() == {"challenger": None, "trials": 0}


REGION = "toyville"


class World(registries.Desk):
    """A registry of three versions, each with a day more to learn from than the one before; the first one scores."""

    def __init__(self, folder):
        super().__init__("folder", folder)
        self.registry = self.open()
        self.champion, self.challenger, self.other = (self.trained(day) for day in (1, 2, 3))
        self.promote(self.champion)
        self.sync()

    def trained(self, day):
        cutoff_s, created = CUTOFF_S + day * 86_400, f"202601{day:02d}T000000Z"
        version = toy_artifact(self.made, toy_spec(), cutoff_s=cutoff_s, created=created).name
        self.register(version)
        return version

    def trial(self, challenger="", started_s=1_800_000_000):
        return toy_trial(champion=self.champion, challenger=challenger or self.challenger, started_s=started_s)

    def on_trial(self):
        return read_trial(self.artifacts, REGION)

    def start(self, challenger="", clock=lambda: 1_800_000_000):
        both = (self.champion, challenger or self.challenger)
        sides = [read_artifact(self.made_folder(version)) for version in both]
        return start_trial(self, *sides, None, (GatePlan(), "0" * 64), clock)[0]

    def end(self, decision, *, is_confirmed=False):
        judgement = replace(judge_shadow([], GatePlan(), margin=0.1), decision=decision, because="of its hours")
        return end_trial(self, REGION, self.on_trial(), judgement, is_confirmed=is_confirmed)

    def ended(self):
        """(decision, reason) of each end on record."""
        ended = [entry.details for entry in records(self.audit.read_bytes()) if entry.event == "trial_ended"]
        return [(details["decision"], details.get("reason")) for details in ended]


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


@pytest.mark.parametrize("judged", ["go on", "stop", "undecided", "promote"])
@pytest.mark.parametrize("is_synchronised", [True, False])
def test_a_promotion_by_hand_ends_the_trial_whatever_was_judged(world, judged, is_synchronised):
    begin(world, REGION, world.trial(), held_out_days=28)
    world.promote(world.challenger)
    if is_synchronised:
        world.sync()
    with pytest.raises(GateClosed, match="end its trial without --abandon"):
        abandon_trial(world, REGION, world.on_trial())
    done = world.end(judged)
    assert (done.decision, done.because) == ("promote", "it was promoted already")
    assert world.on_trial() is None
    assert [ended.decision for ended in ended_trials(world.artifacts, REGION)] == ["promote"]
    assert world.ended() == [("promote", "it was promoted already")]
    assert world.pointer() == Pointer(champion=world.challenger)
    assert (world.state().champion, world.state().retired) == (world.challenger, ())


def test_a_trial_beside_a_champion_that_no_longer_scores_is_void(world):
    begin(world, REGION, world.trial(), held_out_days=28)
    world.promote(world.other)
    before = world.state()
    with pytest.raises(GateClosed, match=f"is void: {world.other} scores now"):
        world.end("promote", is_confirmed=True)
    assert world.state() == before
    assert world.on_trial() is None
    assert world.ended() == [("void", None)]


def test_without_its_challenger_in_the_jobs_folder_no_trial_begins(world):
    (world.folder / "registry" / REGION / world.challenger / "baseline.npz").write_bytes(b"damaged")
    with pytest.raises(ArtifactError, match=r"baseline\.npz is damaged"):
        begin(world, REGION, world.trial(), held_out_days=28)
    assert world.on_trial() is None
    assert world.pointer() == Pointer(champion=world.champion)


@pytest.fixture
def while_comparing(monkeypatch):
    """while_comparing(act): each comparison calls that with the challenger, and nothing speaks against it."""

    def replaced(act):
        def compared(champion, challenger, past, plan):
            act(challenger.version)
            return HeldOut(days=28, champion=1.0, challenger=1.0, baseline=2.0, difference=None, margin=0.1, faults=())

        monkeypatch.setattr("lifecycle.challenger.compare_held_out", compared)

    return replaced


def test_of_two_starts_the_one_that_compares_longer_is_refused(world, while_comparing):
    """The other one's trial stays, and counts."""

    def other_starts(challenger):
        if challenger == world.challenger:
            assert world.start(world.other).challenger == world.other

    while_comparing(other_starts)
    with pytest.raises(GateClosed, match=f"has a trial of {world.other}"):
        world.start()
    assert world.on_trial().challenger == world.other
    assert world.state().challenger == world.other


def test_the_years_limit_is_asked_again_after_the_comparison(world, while_comparing):
    def four_end(challenger):
        for number in range(4):
            end_on_record(world.artifacts, REGION, world.trial(started_s=1_800_000_000 - 1 - number), "stop")

    while_comparing(four_end)
    with pytest.raises(GateClosed, match="the plan allows 4"):
        world.start()
    assert world.on_trial() is None
    assert world.state().challenger is None


def test_a_trial_begins_when_the_comparison_has_ended(world, while_comparing):
    clock = [1_800_000_000]
    while_comparing(lambda _: clock.append(1_800_000_900))
    assert world.start(clock=lambda: clock[-1]).started_s == 1_800_000_900


def test_a_start_waits_while_another_one_begins(world, while_comparing):
    is_compared, faults = threading.Event(), []

    def start():
        try:
            world.start()
        except GateClosed as error:
            faults.append(str(error))

    while_comparing(lambda _: is_compared.set())
    second = threading.Thread(target=start)
    with alone(world.artifacts, REGION):
        second.start()
        assert is_compared.wait(60)
        time.sleep(0.3)  # a start that does not wait would have written its trial by now
        assert world.on_trial() is None
        write_trial(world.artifacts, REGION, world.trial(world.other))
    second.join(60)
    (fault,) = faults
    assert f"has a trial of {world.other}" in fault
    assert world.on_trial().challenger == world.other


def test_help_the_list_of_versions_and_the_state_of_a_trial_import_nothing_heavy(trial):
    trial.judged(12, better=1.0)
    commands = [["--help"], ["gate", "retrain", "--help"], ["gate", "--help"], ["versions"], ["gate", "status", "town"]]
    heavy = {"torch", "pyspark", "scipy", "pandas", "pyarrow", "sklearn", "matplotlib"}
    said, imported = imported_by(commands, heavy, env=os.environ | trial.environment)
    for words in ("A challenger on its way to the map", trial.state().challenger, "trials within 365 days"):
        assert words in said
    assert imported == []
