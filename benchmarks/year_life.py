"""A region's life on the events' clock: scored by the hour, judged by the day, retrained, tried, promoted.

Whatever decides is the product's; only time is made up.
"""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.year_world import LAYOUT, START_S, World, expected_hours, incidents_of, write_file
from lifecycle.gate.held_out import compare_held_out
from lifecycle.gate.judge import judge_trial
from lifecycle.gate.judged_hour import judged_hour
from lifecycle.gate.plan import read_plan
from lifecycle.gate.shadow_day import ShadowHour, shadow_path
from lifecycle.gate.trial import Trial, read_trial
from lifecycle.registry.changes import promote, register
from lifecycle.registry.folder import FolderRegistry
from lifecycle.registry.sync import sync
from lifecycle.retraining.challenger import days_to_wait, due_reasons, registered_challenger
from lifecycle.trials.desk import Desk, begin, end_trial, start_trial
from models.artifact.artifact import Artifact, read_artifact
from models.artifact.pointer import champion_of
from models.artifact.untrained import write_untrained
from models.counting.closed_horizons import horizons_closed_between
from models.dispersion import Dispersion
from models.features import FeatureEngine, feature_names
from models.files.archive import KnownHours
from models.files.incident_files import IncidentTable
from models.following.follower import Follower
from models.following.sequential import SequentialFollowing, served_delay_s
from models.following.state import FollowerState
from models.likelihood import log_scores
from models.measures.outcomes import Forecast
from models.network import RiskNetwork
from models.scoring import means
from models.training.regions import RegionTask
from models.training.replay import IncidentHistory, Replay
from models.training.train_region import prepare, train_region
from schemas.audit.log import AuditEvent, Plain
from schemas.errors import GateClosed
from schemas.left_behind.closed_counts import last_grace_s
from schemas.spec import DAY_S, HOUR_S, Spec

_PURE_CHANCE = 1e6  # size of a negative binomial that is as good as Poisson


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """What happened to a region's models at the end of a day. Days are counted from the year's first."""

    day: int
    what: str  # due, refused, trial, promote, stop, undecided
    why: str
    is_bad: bool = False  # of the challenger that was made to be bad


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """An hour as the job judges it, and the log score of the known process, nats, all values added up."""

    hour: ShadowHour
    known: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How challengers are trained."""

    epochs: int = 2
    step_minutes: int = 720


@dataclass(slots=True)
class _Side:
    """An artifact that scores."""

    artifact: Artifact
    network: RiskNetwork | None
    engine: FeatureEngine
    following: SequentialFollowing

    @classmethod
    def of(cls, artifact: Artifact, past: IncidentHistory) -> "_Side":
        spec, constants = artifact.spec, artifact.constants
        following = SequentialFollowing(
            follower=Follower.of(spec, constants),
            counts=past.counts,
            delay_s=served_delay_s(spec.late_limit_s),
            state=FollowerState.new(spec),
        )
        return cls(artifact, artifact.network(), FeatureEngine(spec, constants), following)


@dataclass
class Life:
    """One region. `first_days` of its world lie before the year; its first champion learns from them."""

    world: World
    folder: Path
    plan_text: str  # gate.toml
    first_days: int
    effort: Effort
    say: Callable[[str], None]
    happenings: list[Happening] = field(default_factory=list)
    judged: list[Judged] = field(default_factory=list)
    records: list[tuple[str, Mapping[str, Plain]]] = field(default_factory=list)  # of the audit log

    def __post_init__(self) -> None:
        (self.folder / "gate.toml").write_text(self.plan_text)
        self.plan = read_plan(self.folder / "gate.toml")
        self.table = incidents_of(self.world)
        self.known = dict(expected_hours(self.world, self.table))
        self.spec = Spec(
            region=self.world.name,
            timezone="UTC",
            grid=self.world.grid,
            categories=self.table.categories,
            features=feature_names(),
        )
        end_s = START_S + self.world.days * DAY_S
        self.past = IncidentHistory.of(self.table, self.spec, end_s)
        self.replay = Replay(self.past)
        self.desk = Desk(
            registry=FolderRegistry(self.folder / "registry"), artifacts=self.folder / "artifacts", note=self._note
        )
        self.checkpoint = self.folder / "checkpoint"
        shadow_path(self.checkpoint, self.spec.region).parent.mkdir(parents=True)
        self.kept: dict[int, tuple[Forecast, Forecast | None]] = {}
        self.sides: dict[str, _Side] = {}

    def _note(self, event: AuditEvent, details: Mapping[str, Plain]) -> None:
        self.records.append((event, details))

    def midnight_s(self, day: int) -> int:
        """At which a day of the year begins."""
        return START_S + (self.first_days + day) * DAY_S

    def begin(self) -> None:
        """Train the first champion, and promote it."""
        region, start_s = self.spec.region, self.midnight_s(0)
        like = write_untrained(
            self.folder / "like", self.spec, per_day=self.world.per_day, cutoff_s=START_S, created="20240101T000000Z"
        )
        with tempfile.TemporaryDirectory() as scratch:
            task = self._task(self.table, start_s, Path(scratch))
            until = datetime.fromtimestamp(start_s, UTC).date().isoformat()
            ready = prepare(msgspec.structs.replace(task, like=str(like), until=until))
            made, _ = train_region(ready, Path(scratch) / "made", report=lambda what, share: None)
            version = register(self.desk.registry, made, self._note).version
        promote(self.desk.registry, region, version, "champion", self._note)
        sync(self.desk.registry, self.desk.artifacts, region, self._note)
        self.replay.lead_to(start_s)

    def live(self, day: int) -> None:
        """A day of the year: score its hours, judge what is final, and then do what an operator's timer does."""
        start_s, end_s = self.midnight_s(day), self.midnight_s(day + 1)
        trial = read_trial(self.desk.artifacts, self.spec.region)
        champion = self._side(champion_of(self.desk.artifacts, self.spec.region).version)
        challenger = self._side(trial.challenger) if trial else None
        for tick_s in range(start_s, end_s, HOUR_S):
            beside = self._forecast(challenger, tick_s) if challenger else None
            self.kept[tick_s] = self._forecast(champion, tick_s), beside
        self.replay.lead_to(end_s)
        self._judge(start_s)
        if trial:
            self._ask_the_gate(trial, day)
        else:
            self._ask_the_triggers(champion.artifact, day)

    def _side(self, version: str) -> _Side:
        if version not in self.sides:
            artifact = read_artifact(self.desk.artifacts / self.spec.region / version)
            self.sides[version] = _Side.of(artifact, self.past)
        return self.sides[version]

    def _forecast(self, side: _Side, tick_s: int) -> Forecast:
        values = side.engine.compute(self.replay.lead_to(tick_s)).values
        usual, raw, _ = means(values, side.network, self.spec)
        constants, of_network = side.artifact.constants, side.network is not None
        factors = side.following.next_factors(tick_s, raw if of_network else None).shown()
        shown = np.asarray(raw * factors, np.float32) if of_network else raw
        return replace(Forecast.of(side.artifact.version, shown, usual, constants, of_network=of_network), raw=raw)

    def _judge(self, before_s: int) -> None:
        """As the job does, when late reports can no longer come."""
        chance = Dispersion.quadratic(np.full(len(self.spec.categories), _PURE_CHANCE))
        with shadow_path(self.checkpoint, self.spec.region).open("ab") as file:
            for closed in horizons_closed_between(self.replay.state, before_s):
                is_final = closed.judged_s - closed.tick_s - HOUR_S == last_grace_s(self.spec)
                if closed.horizon != 0 or not is_final or closed.tick_s not in self.kept:
                    continue
                hour = judged_hour(*self.kept.pop(closed.tick_s), closed, self.spec)
                mean = self.known[closed.tick_s].astype(np.float64)
                known = log_scores(mean, closed.observed, chance)
                self.judged.append(Judged(hour=hour, known=float(known.sum())))
                file.write(msgspec.json.encode(hour) + b"\n")

    def _ask_the_gate(self, trial: Trial, day: int) -> None:
        judgement = judge_trial(trial, self.spec, self.checkpoint)
        if judgement.decision == "go on":
            return
        is_bad = self.happenings[-1].is_bad
        end_trial(self.desk, self.spec.region, trial, judgement, is_confirmed=False)
        self._happens(Happening(day=day, what=judgement.decision, why=judgement.because, is_bad=is_bad))

    def _ask_the_triggers(self, champion: Artifact, day: int) -> None:
        now_s = self.midnight_s(day + 1)
        due = due_reasons(champion, self.checkpoint, KnownHours(), now_s=now_s)
        if not due or days_to_wait(self.desk, champion, self.plan[0], now_s=now_s):
            return
        self._happens(Happening(day=day, what="due", why="; ".join(due)))
        with tempfile.TemporaryDirectory() as scratch:
            try:
                challenger, past = self._made(champion, self.table, now_s, Path(scratch))
                _, held_out = start_trial(self.desk, champion, challenger, past, self.plan, lambda: now_s)
            except GateClosed as error:
                self._happens(Happening(day=day, what="refused", why=str(error)))
                return
        self._happens(Happening(day=day, what="trial", why=f"margin {held_out.margin:.2g}"))

    def offer_bad(self, day: int) -> bool:
        """Offer a challenger that learned from hours that were shuffled; refused, it is let into a trial by force.

        Whether it was a day for it: none while a trial is running.
        """
        if read_trial(self.desk.artifacts, self.spec.region):
            return False
        champion, now_s = champion_of(self.desk.artifacts, self.spec.region), self.midnight_s(day + 1)
        with tempfile.TemporaryDirectory() as scratch:
            challenger, _ = self._made(champion, shuffled(self.table, self.world.seed), now_s, Path(scratch))
            past = replace(self.past, cutoff_s=now_s)
            try:
                start_trial(self.desk, champion, challenger, past, self.plan, lambda: now_s)
            except GateClosed as error:
                self._happens(Happening(day=day, what="refused", why=str(error), is_bad=True))
            held_out = compare_held_out(champion, challenger, past, self.plan[0])
        trial = Trial(
            champion=champion.version,
            challenger=challenger.version,
            plan=self.plan[0],
            plan_sha256=self.plan[1],
            margin=held_out.margin,
            started_s=now_s,
        )
        begin(self.desk, self.spec.region, trial, held_out_days=held_out.days)
        self._happens(Happening(day=day, what="trial", why="by force", is_bad=True))
        return True

    def _made(
        self, champion: Artifact, table: IncidentTable, now_s: int, scratch: Path
    ) -> tuple[Artifact, IncidentHistory]:
        task = self._task(table, now_s, scratch)
        return registered_challenger(self.desk, champion, task, self.plan[0], scratch, lambda what, share: None)

    def _task(self, table: IncidentTable, now_s: int, scratch: Path) -> RegionTask:
        """Training on what is known at `now_s`, from a file."""
        path = write_file(table.select(table.occurred_s < now_s), scratch / "known.csv")
        return RegionTask(
            data=str(path),
            layout=LAYOUT,
            region=self.spec.region,
            epochs=self.effort.epochs,
            step_minutes=self.effort.step_minutes,
        )

    def _happens(self, one: Happening) -> None:
        self.happenings.append(one)
        self.say(f"{self.spec.region}, day {one.day}: {'bad ' if one.is_bad else ''}{one.what}: {one.why}")


def shuffled(table: IncidentTable, seed: int) -> IncidentTable:
    """The same incidents on the same days at hours drawn evenly: what a wrong time zone or a batch import makes."""
    drawn = table.occurred_s // DAY_S * DAY_S + np.random.default_rng(seed).integers(0, DAY_S, len(table))
    order = np.argsort(drawn, kind="stable")
    return replace(table.select(order), occurred_s=drawn[order])
