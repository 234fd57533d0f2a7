"""A small town with a registry, the job's folders and a plan, on which the gate's commands are typed.

A trial, and hours and days as the judge leaves them, are alike for both versions, where a test changes nothing.
"""

import csv
import json
from datetime import UTC, datetime

import msgspec
import numpy as np
from msgspec.structs import replace
from typer.testing import CliRunner

from incident_risk import app
from lifecycle.gate import GatePlan, Trial, read_trial, write_trial
from lifecycle.registry import FolderRegistry
from lifecycle.shadow import ShadowDay, ShadowHour, shadow_path
from lifecycle.triggers import read_asked
from models.artifact import read_artifact
from schemas.audit import records, verify
from schemas.records import read_pointer
from tests.harness.small_town import LAYOUT, START_S, task_file
from tests.harness.toy import iso

CHAMPION, CHALLENGER = "20260101T000000Z-aaaaaaaa", "20260102T000000Z-bbbbbbbb"
SUMS = {
    "values": 1000,
    "champion": 100.0,
    "challenger": 100.0,
    "baseline": 101.0,
    "observed": {"ems": 30, "fire": 30},
    "champion_expected": {"ems": 30.0, "fire": 30.0},
    "challenger_expected": {"ems": 30.0, "fire": 30.0},
}


def judged_hour(tick_s, **changes):
    versions = {"champion_version": CHAMPION, "challenger_version": CHALLENGER}
    return ShadowHour(tick_s=tick_s, **{"horizon": "1h", **versions, **SUMS, **changes})


def write_hours(path, hours):
    """As the judge writes them, in place of those that are there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(msgspec.json.encode(hour) + b"\n" for hour in hours))


def judged_day(number=0, **changes):
    """The day with that number of a month that begins on a Monday; after 28 days the next month begins."""
    date = f"2026-{3 + number // 28:02d}-{1 + number % 28:02d}"
    sums = {**SUMS, **changes}
    alone = {"alone": sums["champion"], "alone_expected": sums["champion_expected"]}
    return ShadowDay(**{"day": date, "weekday": number % 7 + 1, "hours": 24, **alone, **sums})


def toy_trial(**changes):
    fields = {"champion": CHAMPION, "challenger": CHALLENGER, "plan": GatePlan(), "plan_sha256": "0" * 64}
    return Trial(**{**fields, "margin": 0.1, "started_s": 1_800_000_000, **changes})


QUICK = {"epochs": 1, "step_minutes": 1440}
DAY_S = 86_400
PLACES = {
    "RISK_REGISTRY": "registry",
    "RISK_ARTIFACTS": "artifacts",
    "RISK_CHECKPOINT": "checkpoint",
    "RISK_AUDIT": "audit.jsonl",
    "RISK_ARCHIVE": "archive",
    "RISK_GATE_PLAN": "gate.toml",
}
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


def command(*words, **environment):
    """What the command printed; the error that it raised is raised, also that of a word that it does not take."""
    ran = CliRunner().invoke(app, [str(word) for word in words], env=environment)
    if ran.exception and not isinstance(ran.exception, SystemExit):
        raise ran.exception
    assert ran.exit_code == 0, ran.output
    return ran.output


def date(day):
    return datetime.fromtimestamp(START_S + day * DAY_S, UTC).date().isoformat()


class Town:
    """A folder with a file of incidents, a registry, the job's folders and a plan."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "gate.toml").write_text(PLAN)

    @property
    def environment(self):
        return {name: str(self.folder / place) for name, place in PLACES.items()}

    def command(self, *words):
        return command(*words, **self.environment)

    def task(self, **fields):
        """A file of the task of the town's data."""
        data = {"region": "town", "data": self.folder / "town.csv", "layout": LAYOUT}
        return task_file(self.folder / "task.toml", **data, **QUICK | fields)

    @property
    def artifacts(self):
        return self.folder / "artifacts"

    def start(self, version, **fields):
        """`gate start` of a folder, or of the name of a version."""
        words = (self._what(version), "--data", self.task(**fields), "--because", "a test")
        return self.command("gate", "start", *words).replace("\n", " ")

    def compare(self, version):
        return self.command("gate", "compare", self._what(version), "--data", self.task())

    def status(self):
        return self.command("gate", "status", "town").replace("\n", " ")

    def status_json(self):
        return json.loads(self.command("gate", "status", "town", "--json"))

    def end(self, because, *words):
        return self.command("gate", "end", "town", "--because", because, *words)

    def promote(self, version):
        """Of a folder, or of the name of a version."""
        return self.command("promote", self._what(version), "--because", "by hand")

    @staticmethod
    def _what(version):
        return version if "/" in str(version) else f"town/{version}"

    def retrain(self, *words, **fields):
        return self.command("gate", "retrain", "town", "--data", self.task(**fields), *words)

    def state(self):
        return FolderRegistry(self.folder / "registry").state("town")

    def on_trial(self):
        return read_trial(self.artifacts, "town")

    def pointer(self):
        return read_pointer(self.artifacts, "town")

    def asked(self):
        """What became of the last ask for a challenger."""
        return read_asked(self.artifacts, "town")

    def both(self):
        """The artifacts of champion and challenger."""
        state = self.state()
        return [read_artifact(self.artifacts / "town" / name) for name in (state.champion, state.challenger)]

    def noted(self):
        """The records of the audit log, which must be unbroken."""
        content = (self.folder / "audit.jsonl").read_bytes()
        assert verify(content).faults == []
        return list(records(content))

    def events(self):
        return [entry.event for entry in self.noted()]

    def judged(self, days, *, better, observed=30, failed=(), silent=(), cut=()):
        """Hours of so many days after the file's end, as the job would have judged them, since a trial began there.

        Nothing was observed in those that were silent.
        """
        trial, first_s = self.on_trial(), START_S + 60 * DAY_S
        if trial:
            write_trial(self.artifacts, "town", replace(trial, started_s=first_s))
        random, hours = np.random.default_rng(1), []
        for number in range(days * 24):
            score = 100 + random.standard_normal()
            hour = judged_hour(
                first_s + number * 3600,
                champion_version=self.pointer().champion,
                challenger_version=trial.challenger if trial and number not in failed else "",
                champion=score,
                challenger=score - better + 0.1 * random.standard_normal(),
                baseline=score + 1,
                observed={name: 0 if number in silent else int(random.poisson(observed)) for name in ("ems", "fire")},
                challenger_expected={"ems": float(observed), "fire": float(observed)},
                is_cut=number in cut,
            )
            hours.append(hour)
        write_hours(shadow_path(self.folder / "checkpoint", "town"), hours)
