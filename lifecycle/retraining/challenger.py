"""Why a region needs a challenger, and how one is made: trained like the champion, without the newest days."""

import dataclasses
from datetime import datetime
from pathlib import Path

from msgspec.structs import replace

from lifecycle.gate.evenness import Evenness
from lifecycle.gate.held_out import longest_training_s
from lifecycle.gate.plan import GatePlan
from lifecycle.gate.shadow_day import days_of, judged_hours
from lifecycle.gate.triggers import ChampionRecord, triggers
from lifecycle.registry.changes import register
from lifecycle.registry.copying import registered_artifact
from lifecycle.trials.desk import Desk
from models.artifact.artifact import Artifact
from models.artifact.manifest import Manifest
from models.files.archive import KnownHours, day_text
from models.hyperparameters import DEFAULT, RecipeFile
from models.local_time import zone_of
from models.training.region_spec import table_like
from models.training.regions import RegionTask
from models.training.replay import IncidentHistory
from models.training.train import ReportProgress
from models.training.train_region import PreparedTask, prepare, read_data, train_region
from schemas.errors import GateClosed
from schemas.spec import DAY_S


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
    task = as_long_as(champion, task)
    past = all_known(champion, task)
    end_s = past.cutoff_s
    if early := days_too_early(champion, plan, end_s=end_s):
        end, learned = end_s // DAY_S, champion.manifest.data.cutoff_s // DAY_S
        raise GateClosed(
            f"the data of {spec.region} end {day_text(end)}; without the {plan.held_out_days} days that are held out "
            f"they have nothing newer than those of the champion, which end {day_text(learned)}",
            remedy=f"ask again when they reach {day_text(end + early)}, or lower held_out_days in the plan",
        )
    Evenness.read(plan.groups, spec.grid)  # a file that cannot be read is said before hours of training
    until_s = longest_training_s(end_s, plan, spec.horizons_s)
    until = datetime.fromtimestamp(until_s, zone_of(spec.timezone))
    ready = dataclasses.replace(
        prepare(replace(task, like=str(champion.folder), until=until.date().isoformat())),
        recipe=recipe_of(champion.manifest),
    )
    _refuse_the_same_again(desk, champion, ready)
    folder, _ = train_region(ready, scratch / "made", report=report)
    version = register(desk.registry, folder, desk.note).version
    return registered_artifact(desk.registry, spec.region, version), past


def recipe_of(manifest: Manifest) -> RecipeFile:
    """The recipe that makes the network again: its own, or else the default one with its kind of network."""
    recipe = replace(manifest.recipe or DEFAULT, network=manifest.network)
    return RecipeFile(recipe=recipe, tuned_on=manifest.tuned_on)


def as_long_as(champion: Artifact, task: RegionTask) -> RegionTask:
    """The task with the epochs and moments of the champion's training, if its manifest says them."""
    made = champion.manifest.training
    return replace(task, epochs=made.epochs, step_minutes=made.step_minutes) if made else task


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


def _refuse_the_same_again(desk: Desk, champion: Artifact, ready: PreparedTask) -> None:
    newest, learned = _newest_tried(desk, champion), (ready.data_sha256, ready.calendar.sha256, ready.cutoff_s)
    if newest and (newest.data.sha256, newest.data.calendar_sha256, newest.data.cutoff_s) == learned:
        region = champion.spec.region
        raise GateClosed(
            f"{newest.version} of {region} has learned from the same data until the same day, and does not score",
            remedy="give data with newer days; to try that version, run "
            f"`python -m lifecycle gate start {region}/{newest.version}`",
        )
