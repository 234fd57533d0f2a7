"""Months of two regions on the events' clock, from drift to promotion: one changes for good, the other does not.

Each hour the versions that score forecast, each day what has become final is judged, and then an operator's timer asks:
for the end of the trial, or for a challenger. Only the incidents and the clock are made up.
"""

from contextlib import suppress
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from benchmarks.cities import BEDS, CHANGE_DAY, START_S, City, World, incidents_of
from lifecycle.live_judge import judged_hour
from lifecycle.shadow import read_shadow, shadow_path
from models.artifact import read_artifact
from models.counting.count_state import horizons_closed_between
from models.features import FeatureEngine
from models.follower import Follower, SequentialFollowing, served_delay_s
from models.following import FollowerState
from models.outcomes import Forecast
from models.scoring import means
from models.training.replay import IncidentHistory, Replay
from schemas.errors import GateClosed
from schemas.forecasts import last_grace_s
from schemas.spec import DAY_S, HOUR_S
from tests.harness.gate_town import PLAN, Town
from tests.harness.made_examples import one_penalty
from tests.harness.toy import iso

pytestmark = pytest.mark.nightly
FIRST, CHANGE, DAYS = 60, 80, 200  # of the first champion's data; of the change; all


class Region(Town):
    """A town whose days go by."""

    def __init__(self, folder, table):
        super().__init__(folder)
        self.table, self.versions, self.kept = table, {}, {}
        (folder / "gate.toml").write_text("auto = true\n" + PLAN)
        (folder / "town.csv").write_text("when,lat,lon,kind\n")
        self.shadow = shadow_path(folder / "checkpoint", "town")
        self.shadow.parent.mkdir(parents=True)
        with pytest.MonkeyPatch.context() as self.patch, one_penalty():
            self.tell(0, FIRST)
            self.command("train", self.task(), "--out", folder / "made")
            self.promote(next((folder / "made" / "town").glob("*/")))
            spec = read_artifact(self.artifacts / "town" / self.state().champion).spec
            self.past = IncidentHistory.of(table, spec, START_S + DAYS * DAY_S)
            self.replay = Replay(self.past)
            for day in range(FIRST, DAYS):
                self.live(day)
        self.hours = list(read_shadow(self.shadow))

    def tell(self, first, stop):
        """The days are over, and their incidents stand in the file."""
        self.patch.setattr("time.time", lambda: START_S + stop * DAY_S + 60.0)
        days = self.table.select(np.isin((self.table.occurred_s - START_S) // DAY_S, np.arange(first, stop)))
        with (self.folder / "town.csv").open("a", encoding="utf-8") as file:
            for at_s, lat, lon, kind in zip(days.occurred_s, days.lat_deg, days.lon_deg, days.category, strict=True):
                file.write(f"{iso(int(at_s))},{lat:.6f},{lon:.6f},{days.categories[kind]}\n")

    def version(self, name):
        """Its artifact, network, features and follower."""
        if name not in self.versions:
            artifact = read_artifact(self.artifacts / "town" / name)
            spec, constants, counts = artifact.spec, artifact.constants, self.past.counts
            learns = {"follower": Follower.of(spec, constants), "state": FollowerState.new(spec)}
            following = SequentialFollowing(**learns, counts=counts, delay_s=served_delay_s(spec.late_limit_s))
            self.versions[name] = artifact, artifact.network(), FeatureEngine(spec, constants), following
        return self.versions[name]

    def forecast(self, name, tick_s):
        artifact, network, engine, following = self.version(name)
        usual, raw = means(engine.compute(self.replay.lead_to(tick_s)).values, network, artifact.spec)
        shown = np.asarray(raw * following.next_factors(tick_s, raw).shown(), np.float32)
        return replace(Forecast.of(name, shown, usual, artifact.constants, of_network=True), raw=raw)

    def live(self, day):
        start_s, trial, spec = START_S + day * DAY_S, self.on_trial(), self.past.spec
        names = [self.state().champion, *([trial.challenger] if trial else [])]
        for tick_s in range(start_s, start_s + DAY_S, HOUR_S):
            self.kept[tick_s] = [self.forecast(name, tick_s) for name in names]
        with self.shadow.open("ab") as file:
            for closed in horizons_closed_between(self.replay.lead_to(start_s + DAY_S), start_s):
                is_final = closed.judged_s - closed.tick_s - HOUR_S == last_grace_s(spec)
                if closed.horizon == 0 and is_final and closed.tick_s in self.kept:
                    champion, challenger = (*self.kept.pop(closed.tick_s), None)[:2]
                    file.write(msgspec.json.encode(judged_hour(champion, challenger, closed, spec)) + b"\n")
        self.tell(day, day + 1)
        with suppress(GateClosed):  # the trial goes on, or the challenger is refused, which is on record
            self.end("a timer") if trial else self.retrain()

    def told(self, event):
        """(day, details) of each on record."""
        log = self.noted()
        return [((told.at.timestamp() - START_S) // DAY_S, told.details) for told in log if told.event == event]

    def gained(self, first, stop=DAYS):
        """Nats an incident by which following betters the network alone on the days [first, stop)."""
        hours = [hour for hour in self.hours if first <= (hour.tick_s - START_S) // DAY_S < stop]
        incidents = sum(sum(hour.observed.values()) for hour in hours)
        return sum(hour.alone - hour.champion for hour in hours) / incidents


def test_a_change_is_followed_until_a_challenger_that_knows_it_is_promoted(tmp_path):
    table = incidents_of(World(side=4, per_day=150.0, days=DAYS, seed=3))
    city = City(table=table, start_s=START_S + (CHANGE - CHANGE_DAY) * DAY_S, trained=None, seed=0)
    region = Region(tmp_path, BEDS["both"].incidents(city, np.random.default_rng(0)))
    _, (seen, asked), *_ = region.told("model_registered")
    assert CHANGE + 7 < seen < CHANGE + 28
    assert "the network alone no longer fits" in asked["because"] or "observed over expected" in asked["because"]
    *_, (promoted, ended) = region.told("trial_ended")
    assert ended["decision"] == "promote"
    assert region.state().champion == ended["challenger"]
    trained = read_artifact(region.artifacts / "town" / ended["challenger"]).manifest.data
    assert trained.cutoff_s > START_S + (CHANGE + 14) * DAY_S
    assert region.gained(CHANGE + 14, promoted) > 0.1
    assert abs(region.gained(promoted)) < 0.2 * region.gained(CHANGE + 14, promoted)  # its network knows the change


def test_where_nothing_changes_no_drift_is_seen_and_following_changes_nothing(tmp_path):
    region = Region(tmp_path, incidents_of(World(side=4, per_day=150.0, days=DAYS, seed=4)))
    _, *made = region.told("model_registered")
    assert made
    assert all(details["because"].startswith("its data end") and ";" not in details["because"] for _, details in made)
    assert abs(region.gained(FIRST)) < 0.002
