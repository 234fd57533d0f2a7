"""From a trigger to a promotion by the commands alone, on a small town; and what keeps a challenger out."""

import csv
import hashlib
import json
import shutil
from datetime import UTC, datetime

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from models.__main__ import app
from models.artifact.artifact import read_artifact
from models.artifact.pointer import Pointer, champion_of, read_pointer
from models.gate.shadow_day import ShadowHour, shadow_path
from models.gate.trial import read_trial
from models.model_registry.folder import FolderRegistry
from schemas.audit_verify import records, verify
from schemas.errors import GateClosed, RegistryError
from tests.harness.small_town import LAYOUT, START_S
from tests.harness.toy import iso

QUICK = ["--epochs", "1", "--step-minutes", "1440"]
DAY_S = 86_400
PLAN = "least_days = 10\nheld_out_days = 14\ncalibration = 0.5  # a town of sixty days\n"


def write_shifting_town(path):
    """150 incidents a day over 4 x 4 km for 60 days: for the first 25 by night, then by day."""
    random = np.random.default_rng(5)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["when", "lat", "lon", "kind"])
        for day in range(60):
            first_s = START_S + day * DAY_S + (0 if day < 25 else DAY_S // 2)
            for at_s in first_s + random.integers(0, DAY_S // 3, random.poisson(150)):
                place = (41 + 0.036 * random.beta(1, 2), -87 + 0.048 * random.random())
                writer.writerow([iso(at_s), *place, random.choice(["ems", "fire"])])


def command(*words):
    done = CliRunner().invoke(app, [str(word) for word in words])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


def date(day):
    return datetime.fromtimestamp(START_S + day * DAY_S, UTC).date().isoformat()


class Town:
    """A folder with a file of incidents, a registry, the job's folders and a plan."""

    def __init__(self, folder):
        self.folder = folder
        self.data = ["--data", folder / "town.csv", "--layout", LAYOUT]
        places = ("registry", "artifacts", "checkpoint", "audit")
        self.at = {name: ["--" + name, folder / ("audit.jsonl" if name == "audit" else name)] for name in places}
        (folder / "gate.toml").write_text(PLAN)

    def options(self, *names):
        return [word for name in names for word in self.at[name]]

    @property
    def artifacts(self):
        return self.folder / "artifacts"

    def gate(self, what, *words):
        places = ("artifacts", "checkpoint") if what == "status" else ("registry", "artifacts", "audit")
        places += ("checkpoint",) if what == "end" else ()
        plan = ["--plan", self.folder / "gate.toml"] if what == "start" else []
        return command("gate", what, "town", *words, *plan, *self.options(*places))

    def retrain(self, *words):
        places = self.options("registry", "artifacts", "audit", "checkpoint")
        return command("retrain", "town", *self.data, *QUICK, "--plan", self.folder / "gate.toml", *places, *words)

    def state(self):
        return FolderRegistry(self.folder / "registry").state("town")

    def events(self):
        content = (self.folder / "audit.jsonl").read_bytes()
        assert verify(content).faults == []
        return [one.event for one in records(content)]

    def judged(self, days, *, better, observed=30):
        """Hours of so many days after the file's end, as the job would have judged them."""
        trial = read_trial(self.artifacts, "town")
        random, lines = np.random.default_rng(1), []
        for number in range(days * 24):
            score = 100 + random.standard_normal()
            hour = ShadowHour(
                tick_s=START_S + 60 * DAY_S + number * 3600,
                horizon="1h",
                champion_version=read_pointer(self.artifacts, "town").champion,
                challenger_version=trial.challenger if trial else "",
                values=1000,
                champion=score,
                challenger=score - better + 0.1 * random.standard_normal(),
                baseline=score + 1,
                observed={"ems": int(random.poisson(observed)), "fire": int(random.poisson(observed))},
                champion_expected={"ems": 30.0, "fire": 30.0},
                challenger_expected={"ems": float(observed), "fire": float(observed)},
            )
            lines.append(msgspec.json.encode(hour) + b"\n")
        path = shadow_path(self.folder / "checkpoint", "town")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(lines))


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """A town with a champion of its first 25 days."""
    town = Town(tmp_path_factory.mktemp("opened"))
    write_shifting_town(town.folder / "town.csv")
    train = ["train", *town.data, "--region", "town", *QUICK, "--until", date(25), "--out", town.folder / "made"]
    command(*train)
    made = champion_of(town.folder / "made", "town").folder
    command("registry", "register", made, *town.options("registry", "audit"))
    why = ["--because", "the first", "--sync"]
    command("registry", "promote", "town", made.name, *why, *town.options("registry", "artifacts", "audit"))
    return town


@pytest.fixture
def town(opened, tmp_path):
    shutil.copytree(opened.folder, tmp_path, dirs_exist_ok=True)
    return Town(tmp_path)


@pytest.fixture(scope="module")
def tried(opened, tmp_path_factory):
    """The town with a challenger that retraining has made."""
    folder = tmp_path_factory.mktemp("tried")
    shutil.copytree(opened.folder, folder, dirs_exist_ok=True)
    town = Town(folder)
    town.said = town.retrain()
    return town


@pytest.fixture
def trial(tried, tmp_path):
    shutil.copytree(tried.folder, tmp_path, dirs_exist_ok=True)
    return Town(tmp_path)


def test_an_old_champion_gets_a_challenger_and_goes_on_scoring(tried):
    assert "a challenger is due: its data end" in tried.said
    state, trial = tried.state(), read_trial(tried.artifacts, "town")
    assert read_pointer(tried.artifacts, "town") == Pointer(champion=state.champion, challenger=trial.challenger)
    assert (trial.champion, trial.challenger) == (state.champion, state.challenger)
    assert state.champion != state.challenger
    manifest = read_artifact(tried.artifacts / "town" / trial.challenger).manifest
    assert manifest.data.cutoff_s == START_S + (60 - 14 - 2) * DAY_S  # the plan's days and a day's horizon are held out
    assert tried.events()[-3:] == ["trial_started", "model_promoted", "pointer_written"]


def test_the_plans_hash_is_on_record(tried):
    (started,) = [one for one in records((tried.folder / "audit.jsonl").read_bytes()) if one.event == "trial_started"]
    assert started.details["plan_sha256"] == hashlib.sha256(PLAN.encode()).hexdigest()
    assert read_trial(tried.artifacts, "town").plan_sha256 == started.details["plan_sha256"]


def test_one_trial_at_a_time(trial):
    assert "is being tried already" in trial.retrain()
    with pytest.raises(GateClosed, match="has a trial of"):
        trial.gate("start", trial.state().challenger, *trial.data, "--because", "again")


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


def test_without_a_trial_there_is_nothing_to_say(town):
    with pytest.raises(RegistryError, match="has no trial"):
        town.gate("status")


def test_a_challenger_that_has_seen_the_span_or_is_no_newer_is_not_tried(town):
    with pytest.raises(GateClosed, match="no later than the champion's"):
        town.gate("start", town.state().champion, *town.data, "--because", "itself")
    command("train", *town.data, "--region", "town", *QUICK, "--like", town.artifacts / "town" / town.state().champion,
            "--out", town.folder / "new")  # fmt: skip
    made = champion_of(town.folder / "new", "town").folder
    command("registry", "register", made, *town.options("registry", "audit"))
    with pytest.raises(GateClosed, match="0 days are held out"):
        town.gate("start", made.name, *town.data, "--because", "it knows everything")
    assert town.state().challenger is None
