"""A challenger from its making to its end: trained like the champion, compared with it, tried beside it, ended.

What is said of it names no group: it goes on record, and groups stay in their file.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from lifecycle.gate import (
    GatePlan,
    Judgement,
    Trial,
    alone,
    end_on_record,
    promoted_already,
    refuse_another,
    write_trial,
)
from lifecycle.live_judge import judged_hour
from lifecycle.registry import Desk, promote, register, registered_artifact, retire, sync
from lifecycle.shadow import ShadowDay, ShadowHour, days_of, judged_hours, mean_scores, whole_enough
from lifecycle.triggers import ChampionRecord, triggers
from models.artifact import Artifact, Manifest
from models.comparison import Difference, difference_of
from models.evaluation.disparity import Groups, compare_evenness, read_groups
from models.features import FeatureEngine
from models.files.incident_archive import KnownHours, day_text
from models.local_time import zone_of
from models.measures import Floats
from models.network_kinds import DEFAULT, RecipeFile
from models.outcomes import Forecast
from models.scoring import means
from models.training.region_tasks import RegionTask
from models.training.replay import IncidentHistory, Replay
from models.training.train import ReportProgress
from models.training.train_region import prepare, read_data, table_like, train_region
from schemas.errors import GateClosed
from schemas.forecasts import ClosedHorizon
from schemas.grid import Grid
from schemas.spec import DAY_S, HOUR_S


def due_reasons(champion: Artifact, checkpoint: Path, counted: KnownHours, *, now_s: float) -> list[str]:
    """Why a challenger is due, by the champion's age and those of the job's judged hours that say something."""
    spec, manifest = champion.spec, champion.manifest
    hours = [hour for hour in judged_hours(checkpoint, spec) if counted.says_something(hour.tick_s)]
    days = days_of(hours, spec, champion=champion.version, challenger=None)
    verdicts = {row["horizon"]: row["verdict"] for row in manifest.evaluation}
    age_days = (now_s - manifest.data.cutoff_s) / DAY_S
    was_better = verdicts.get(spec.horizon_names[0]) == "better"
    is_trained = manifest.data.incidents > 0
    return triggers(ChampionRecord(days=days, age_days=age_days, is_trained=is_trained, was_better=was_better))


def days_to_wait(desk: Desk, champion: Artifact, plan: GatePlan, *, now_s: int) -> int:
    """Until a challenger has the plan's least days more to learn from than the newest one, if that did not pass.

    Without it a champion that drifts would get a challenger every day that knows as little of the change as the last.
    """
    newest = _newest_tried(desk, champion)
    if newest is None:
        return 0
    known_s = newest.data.cutoff_s
    until_s = longest_training_s(now_s, plan, champion.spec.horizons_s)
    return max(plan.least_days - (until_s - known_s) // DAY_S, 0)


def days_too_early(champion: Artifact, plan: GatePlan, *, end_s: int) -> int:
    """How many days the data must go on after `end_s` for a challenger to learn from newer ones than the champion."""
    until_s = longest_training_s(end_s, plan, champion.spec.horizons_s)
    return max(-(-(champion.manifest.data.cutoff_s - until_s) // DAY_S) + 1, 0)


def registered_challenger(
    desk: Desk, champion: Artifact, task: RegionTask, plan: GatePlan, scratch: Path, report: ReportProgress
) -> tuple[Artifact, IncidentHistory]:
    """A registered challenger that has not seen the plan's last days, and all incidents. `scratch`: an empty folder.

    Raises GateClosed before it trains when the result could not be tried: nothing is newer than what it has learned
    from, or the newest version has learned from the same.
    """
    spec = champion.spec
    if made := champion.manifest.training:  # the challenger is trained as long
        task = replace(task, epochs=made.epochs, step_minutes=made.step_minutes)
    past = all_known(champion, task)
    end_s = past.cutoff_s
    if early := days_too_early(champion, plan, end_s=end_s):
        end, end_of_champions = end_s // DAY_S, champion.manifest.data.cutoff_s // DAY_S
        raise GateClosed(
            f"the data of {spec.region} end {day_text(end)}; without the {plan.held_out_days} days that are held out "
            f"they have nothing newer than those of the champion, which end {day_text(end_of_champions)}",
            remedy=f"ask again when they reach {day_text(end + early)}, or lower held_out_days in the plan",
        )
    Evenness.read(plan.groups, spec.grid)  # a file that cannot be read is said before hours of training
    until_s = longest_training_s(end_s, plan, spec.horizons_s)
    until = datetime.fromtimestamp(until_s, zone_of(spec.timezone))
    ready = dataclasses.replace(
        prepare(replace(task, like=str(champion.folder), until=until.date().isoformat())),
        recipe=recipe_of(champion.manifest),
    )
    newest, learned = _newest_tried(desk, champion), (ready.data_sha256, ready.calendar.sha256, ready.cutoff_s)
    if newest and (newest.data.sha256, newest.data.calendar_sha256, newest.data.cutoff_s) == learned:
        raise GateClosed(
            f"{newest.version} of {spec.region} has learned from the same data until the same day, and does not score",
            remedy="give data with newer days; to try that version, run "
            f"`risk gate start {spec.region}/{newest.version}`",
        )
    folder, _ = train_region(ready, scratch / "made", report=report)
    version = register(desk.registry, folder, desk.note).version
    return registered_artifact(desk.registry, spec.region, version), past


def recipe_of(manifest: Manifest) -> RecipeFile:
    """The recipe that makes the network again: its own, or else the default one with its kind of network."""
    recipe = replace(manifest.recipe or DEFAULT, network=manifest.network)
    return RecipeFile(recipe=recipe, tuned_on=manifest.tuned_on)


def all_known(champion: Artifact, task: RegionTask) -> IncidentHistory:
    """What the task's data say until the end of their last whole day, as the champion counts it."""
    spec = champion.spec
    incidents, _ = read_data(task, spec)
    end_s = (int(incidents.occurred_s[-1]) + 1) // DAY_S * DAY_S
    table = table_like(incidents, spec, region=spec.region, cutoff_s=end_s)
    return IncidentHistory.of(table, spec, end_s)


def _newest_tried(desk: Desk, champion: Artifact) -> Manifest | None:
    """The manifest of the newest version; None when that is the champion. Versions begin with their time."""
    region = champion.spec.region
    newest = max(desk.registry.state(region).manifests, default=champion.version)
    if newest == champion.version:
        return None
    return registered_artifact(desk.registry, region, newest).manifest


Numbers = npt.NDArray[np.number]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evenness:
    """What the groups of one region had of the forecasts of both, moment by moment, all categories together."""

    groups: Groups
    moments_s: list[int] = field(default_factory=list)
    sums: list[Floats] = field(default_factory=list)  # of each moment, (3, groups): came, challenger, champion

    @classmethod
    def read(cls, path: str, grid: Grid) -> Self | None:
        """None without a file. Raises SettingsError for one without two groups in the grid."""
        return cls(groups=read_groups(Path(path), grid)) if path else None

    def add(self, tick_s: int, came: Numbers, challenger: Numbers, champion: Numbers) -> None:
        """(cells, categories) each."""
        self.moments_s.append(tick_s)
        self.sums.append(
            np.stack([self.groups.members @ of.sum(axis=1, dtype=float) for of in (came, challenger, champion)])
        )

    def judged(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """What speaks against the challenger, and what could not be compared."""
        apart = compare_evenness(self.groups, self.moments_s, np.stack(self.sums), np.random.default_rng(0))
        if apart is None:
            return (), ("the groups of the plan have too few incidents, cells or days to be compared",)
        if apart.low <= 0:
            return (), ()
        more = f"{apart.model:.3g} in place of {apart.rival:.3g}, {apart.low:+.2g} to {apart.high:+.2g}"
        return (f"observed over expected differs more between groups (by a factor of {more})",), ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """What the span has shown. Log scores: means of days, nats per value.

    `faults` keep the challenger out; `remarks` say what could not be judged.
    """

    days: int
    champion: float
    challenger: float
    baseline: float
    difference: Difference | None  # challenger - champion; None when there is too little
    margin: float  # what a challenger may lose of the champion's skill over the baseline
    faults: tuple[str, ...]
    remarks: tuple[str, ...] = ()


def unsound(champion: Artifact, challenger: Artifact) -> tuple[str, ...]:
    """Why the challenger cannot be tried at all."""
    faults = []
    if challenger.network_fault:
        faults.append(f"it has no network: {challenger.network_fault}")
    if challenger.spec.fingerprint() != champion.spec.fingerprint():
        faults.append("its spec is another one; train it with --like the champion's folder")
    if challenger.manifest.data.cutoff_s <= champion.manifest.data.cutoff_s:
        faults.append("its data end no later than the champion's")
    return tuple(faults)


def held_out_from_s(champion: Artifact, challenger: Artifact) -> int:
    """Where the span may begin: no forecast of it lies within the longest horizon of what either has learned from."""
    newest_s = max(champion.manifest.data.cutoff_s, challenger.manifest.data.cutoff_s)
    return -(-(newest_s + max(champion.spec.horizons_s)) // HOUR_S) * HOUR_S


def compare_held_out(champion: Artifact, challenger: Artifact, past: IncidentHistory, plan: GatePlan) -> HeldOut:
    """Compare hourly forecasts from `held_out_from_s` to the history's end: the scores of the shortest horizon."""
    spec, replay, start_s = past.spec, Replay(past), held_out_from_s(champion, challenger)
    sides = [(one, one.network(), FeatureEngine(spec, one.constants)) for one in (challenger, champion)]
    groups, hours, shortest_s = Evenness.read(plan.groups, spec.grid), list[ShadowHour](), spec.horizons_s[0]
    last_s = (past.cutoff_s - shortest_s) // HOUR_S * HOUR_S  # of the hours whose shortest horizon the history holds
    for tick_s in past.clear_of_cuts(range(start_s, last_s + 1, HOUR_S), shortest_s):
        state, forecasts = replay.lead_to(tick_s), list[Forecast]()
        for artifact, network, engine in sides:  # from the same counts
            usual, expected = means(engine.compute(state).values, network, spec)
            of_network = network is not None
            forecasts.append(Forecast.of(artifact.version, expected, usual, artifact.constants, of_network=of_network))
        new, old = forecasts
        observed = past.counts(tick_s, tick_s + shortest_s)
        closed = ClosedHorizon(horizon=0, tick_s=tick_s, judged_s=past.cutoff_s, observed=observed)
        hours.append(judged_hour(old, new, closed, spec))
        if groups:
            groups.add(tick_s, observed, new.expected[:, :, 0], old.expected[:, :, 0])
    days = whole_enough(days_of(hours, spec, champion=champion.version, challenger=challenger.version))
    if len(days) < plan.least_days:
        fault = f"{len(days)} days are held out, and the plan asks for {plan.least_days}: train until an earlier day"
        return HeldOut(days=len(days), champion=0, challenger=0, baseline=0, difference=None, margin=0, faults=(fault,))
    judged = judge_held_out(days, plan)
    faults, remarks = groups.judged() if groups else ((), ())
    return dataclasses.replace(judged, faults=(*judged.faults, *faults), remarks=remarks)


def judge_held_out(days: Sequence[ShadowDay], plan: GatePlan) -> HeldOut:
    """Judge the challenger by the days of the span."""
    baseline, champion, challenger = (
        float(mean_scores(days, name).mean()) for name in ("baseline", "champion", "challenger")
    )
    apart, margin = _difference(days, "champion"), max(plan.margin * (baseline - champion), 0.0)
    return HeldOut(
        days=len(days),
        champion=champion,
        challenger=challenger,
        baseline=baseline,
        difference=apart,
        margin=margin,
        faults=tuple(faults_of(apart, margin, days, plan)),
    )


def _difference(days: Sequence[ShadowDay], beside: str) -> Difference:
    """How far the challenger's log scores are apart from those of `champion` or `baseline`."""
    apart = mean_scores(days, "challenger") - mean_scores(days, beside)
    incidents = sum(sum(day.observed.values()) for day in days)
    return difference_of(apart[None], np.arange(len(days)), np.random.default_rng(0), judged=incidents)


def faults_of(apart: Difference, margin: float, days: Sequence[ShadowDay], plan: GatePlan) -> Iterator[str]:
    """What speaks against a trial: worse than the champion or the baseline, or totals that are off."""
    if apart.low > 0:
        yield "its log score is worse"
    elif apart.high >= margin:
        yield f"its log score may be worse by {apart.high:.2g} nats, and the margin is {margin:.2g}"
    if _difference(days, "baseline").low > 0:
        yield "its log score is worse than the baseline's"
    for category in days[0].observed:
        observed = sum(day.observed[category] for day in days)
        if observed < plan.least_incidents:
            continue
        ratio, before = (
            observed / sum(getattr(day, name)[category] for day in days)
            for name in ("challenger_expected", "champion_expected")
        )
        beyond = abs(np.log(ratio)) - np.log1p(plan.calibration)
        # It would not pass its trial either: off, and worse than the champion, or off by more than chance
        if beyond > 0 and (abs(np.log(ratio)) > abs(np.log(before)) or beyond > 2 / np.sqrt(observed)):
            yield f"observed over expected is {ratio:.2f} in {category}"


def longest_training_s(end_s: int, plan: GatePlan, horizons_s: Sequence[int]) -> int:
    """Until when a challenger may learn, so that the plan's days before `end_s` are held out."""
    return (end_s - plan.held_out_days * DAY_S - max(horizons_s)) // DAY_S * DAY_S


def start_trial(
    desk: Desk,
    champion: Artifact,
    challenger: Artifact,
    past: IncidentHistory,
    plan: tuple[GatePlan, str],
    clock: Callable[[], float],
) -> tuple[Trial, HeldOut]:
    """Compare both on the held-out span and, if nothing speaks against it, start the trial.

    It begins after the comparison, which may take minutes: the job cannot have scored the challenger before.

    clock: epoch seconds. plan: with the sha256 of its file, which is on record before the job scores the challenger.
    Raises GateClosed when a trial is running, the plan's number of trials is used up, or the challenger may not be
    tried.
    """
    rules, digest = plan
    region = champion.spec.region
    refuse_another(desk.artifacts, region, rules, int(clock()))
    if faults := unsound(champion, challenger):
        raise GateClosed(f"{challenger.version} cannot be tried: {'; '.join(faults)}", "train another challenger")
    held_out = compare_held_out(champion, challenger, past, rules)
    if held_out.faults:
        faults = held_out.faults
        raise GateClosed(f"{challenger.version} is not tried: {'; '.join(faults)}", "train another challenger")
    with alone(desk.artifacts, region):
        trial = Trial(
            champion=champion.version,
            challenger=challenger.version,
            plan=rules,
            plan_sha256=digest,
            margin=held_out.margin,
            started_s=int(clock()),
            remarks=held_out.remarks,
        )
        refuse_another(desk.artifacts, region, rules, trial.started_s)
        begin(desk, region, trial, held_out_days=held_out.days)
    return trial, held_out


def begin(desk: Desk, region: str, trial: Trial, *, held_out_days: int) -> None:
    """Put a trial on record and into force. Asks nothing: `start_trial` does.

    Raises ArtifactError when the challenger cannot be brought to the job: then there is no trial.
    """
    facts = {
        "region": region,
        "champion": trial.champion,
        "challenger": trial.challenger,
        "plan_sha256": trial.plan_sha256,
        "remarks": "; ".join(trial.remarks),
    }
    desk.note("trial_started", {**facts, "margin": trial.margin, "held_out_days": held_out_days})
    promote(desk.registry, region, trial.challenger, "challenger", desk.note)
    if fault := sync(desk.registry, desk.artifacts, region, desk.note).fault:
        raise fault
    write_trial(desk.artifacts, region, trial)  # last: after a kill before it the next call starts a trial anew


def end_trial(desk: Desk, region: str, trial: Trial, judgement: Judgement, *, is_confirmed: bool) -> Judgement:
    """Do what the judgement says: promote the challenger, or retire it. Gives the judgement that was carried out.

    Of a challenger that is the champion already, only the trial ends. Raises GateClosed while the trial goes on, and
    for a promotion that neither a person nor the plan has confirmed.
    """
    facts = {"region": region, "challenger": trial.challenger}
    if (champion := desk.registry.state(region).champion) not in (trial.champion, trial.challenger):
        desk.note("trial_ended", {**facts, "decision": "void"})
        end_on_record(desk.artifacts, region, trial, "void")
        fault = (
            f"the trial of {trial.challenger} is void: {champion} scores now, and it was compared with {trial.champion}"
        )
        raise GateClosed(fault, "start another trial")
    if champion == trial.challenger:
        judgement = promoted_already(judgement)
    elif judgement.decision == "go on":
        raise GateClosed(f"the trial of {trial.challenger} goes on: {judgement.because}", "ask again tomorrow")
    elif judgement.decision == "promote" and not (is_confirmed or trial.plan.auto):
        raise GateClosed(f"{trial.challenger} may be promoted: {judgement.because}", "confirm it with --confirm")
    facts |= {"decision": judgement.decision, "reason": judgement.because}
    figures = {"days": judgement.days, "failed_hours": sum(judgement.failed.values())}
    desk.note("trial_ended", {**facts, **figures, "difference": judgement.difference, "high": judgement.high})
    _close(desk, region, trial, judgement.decision)
    return judgement


def abandon_trial(desk: Desk, region: str, trial: Trial) -> None:
    """End a trial without a judgement: the challenger is retired. Raises GateClosed when it was promoted already."""
    if desk.registry.state(region).champion == trial.challenger:
        raise GateClosed(f"{trial.challenger} is the champion already", "end its trial without --abandon")
    desk.note("trial_ended", {"region": region, "challenger": trial.challenger, "decision": "abandoned"})
    _close(desk, region, trial, "abandoned")


def _close(desk: Desk, region: str, trial: Trial, decision: str) -> None:
    if decision == "promote":
        promote(desk.registry, region, trial.challenger, "champion", desk.note)
    else:
        retire(desk.registry, region, trial.challenger, desk.note)
    sync(desk.registry, desk.artifacts, region, desk.note)
    end_on_record(desk.artifacts, region, trial, decision)
