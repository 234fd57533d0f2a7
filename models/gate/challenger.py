"""Why a region needs a challenger, and how one is made: trained like the champion, without the newest days."""

import tempfile
from datetime import datetime
from pathlib import Path

from msgspec.structs import replace

from models.artifact.artifact import Artifact
from models.gate.held_out import longest_training_s
from models.gate.lifecycle import Desk, registered_artifact
from models.gate.plan import GatePlan
from models.gate.shadow_day import days_of, judged_hours
from models.gate.triggers import triggers
from models.local_time import zone_of
from models.model_registry.lifecycle import register
from models.training.regions import RegionTask
from models.training.replay import IncidentHistory
from models.training.train import ReportProgress, table_like
from models.training.train_region import prepare, read_data, train_region
from schemas.spec import DAY_S


def due_reasons(champion: Artifact, checkpoint: Path, *, now_s: float) -> list[str]:
    """Why a challenger is due, by the champion's age and the job's judged hours."""
    spec, manifest = champion.spec, champion.manifest
    days = days_of(judged_hours(checkpoint, spec), spec, champion=champion.version, challenger=None)
    verdicts = {row["horizon"]: row["verdict"] for row in manifest.evaluation}
    age_days = (now_s - manifest.data.cutoff_s) / DAY_S
    return triggers(days, age_days=age_days, was_better=verdicts.get(spec.horizon_names[0]) == "better")


def days_to_wait(desk: Desk, champion: Artifact, plan: GatePlan, *, now_s: int) -> int:
    """Until a challenger has the plan's least days more to learn from than the newest one, if that did not pass.

    Without it a champion that drifts would get a challenger every day that knows as little of the change as the last.
    """
    region = champion.spec.region
    newest = max(desk.registry.state(region).manifests)  # versions begin with the time of their making
    if newest == champion.version:
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        known_s = registered_artifact(desk, region, newest, Path(scratch)).manifest.data.cutoff_s
    until_s = longest_training_s(now_s, plan, champion.spec.horizons_s)
    return max(plan.least_days - (until_s - known_s) // DAY_S, 0)


def registered_challenger(
    desk: Desk, champion: Artifact, task: RegionTask, plan: GatePlan, scratch: Path, report: ReportProgress
) -> tuple[Artifact, IncidentHistory]:
    """A registered challenger that has not seen the plan's last days, and all incidents. `scratch`: an empty folder."""
    spec = champion.spec
    incidents, _ = read_data(task, spec)
    end_s = (int(incidents.occurred_s[-1]) + 1) // DAY_S * DAY_S
    until = datetime.fromtimestamp(longest_training_s(end_s, plan, spec.horizons_s), zone_of(spec.timezone))
    ready = prepare(replace(task, like=str(champion.folder), until=until.date().isoformat()))
    folder, _ = train_region(ready, scratch / "made", report=report)
    version = register(desk.registry, folder, desk.note).version
    table = table_like(incidents, spec, region=spec.region, cutoff_s=end_s)
    challenger = registered_artifact(desk, spec.region, version, scratch / "registered")
    return challenger, IncidentHistory.of(table, spec, end_s)
