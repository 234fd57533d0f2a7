"""`python -m models retrain`: asks whether a region needs a new challenger, and makes one."""

import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from msgspec.structs import replace
from rich.console import Console

from models.artifact.artifact import Artifact
from models.artifact.pointer import champion_of
from models.cli.gate import CHECKPOINT, Checkpoint
from models.cli.options import Epochs, FileLayout, FileOrArchive, MissingDays, StepMinutes
from models.cli.progress import progress_bars
from models.cli.registry import ARTIFACTS, AUDIT, REGISTRY, Artifacts, Audit, By, RegionName, Registry, note_of
from models.gate.held_out import longest_training_s
from models.gate.lifecycle import Desk, registered_artifact, start_trial
from models.gate.plan import GatePlan, read_plan
from models.gate.shadow_day import days_of, read_shadow, shadow_path
from models.gate.trial import read_trial
from models.gate.triggers import triggers
from models.local_time import zone_of
from models.model_registry.lifecycle import register
from models.model_registry.open import open_registry
from models.training.regions import RegionTask
from models.training.replay import IncidentHistory
from models.training.train import table_like
from models.training.train_region import prepare, read_data, train_region
from schemas.spec import DAY_S


# Typer reads a command's options from its parameters.
def retrain_command(
    region: RegionName,
    data: FileOrArchive,
    layout: FileLayout = "",
    missing_days: MissingDays = 0,
    now: Annotated[bool, typer.Option("--now", help="Also when nothing asks for it")] = False,
    plan: Annotated[Path, typer.Option(help="The gate's plan; its hash goes on record")] = Path("gate.toml"),
    epochs: Epochs = 12,
    step_minutes: StepMinutes = 180,
    registry: Registry = REGISTRY,
    artifacts: Artifacts = ARTIFACTS,
    checkpoint: Checkpoint = CHECKPOINT,
    audit: Audit = AUDIT,
    by: By = "",
) -> None:
    """Train a challenger when the champion is old, drifts or lost its skill, and start its trial. Changes no score.

    Run it daily: it does nothing while nothing is due, or while a trial is running.
    """
    rules = read_plan(plan)
    champion = champion_of(artifacts, region)
    if running := read_trial(artifacts, region):
        typer.echo(f"{region}: {running.challenger} is being tried already")
        return
    due = due_reasons(champion, checkpoint, now_s=time.time())
    if not due and not now:
        typer.echo(f"{region}: nothing asks for a new challenger")
        return
    why = "; ".join(due) or "asked for"
    desk = Desk(registry=open_registry(registry), artifacts=artifacts, note=note_of(audit, by, why, registry))
    task = RegionTask(
        data=data,
        layout=layout,
        region=region,
        like=str(champion.folder),
        missing_days=missing_days,
        epochs=epochs,
        step_minutes=step_minutes,
    )
    console = Console(highlight=False)
    console.print(f"{region}: a challenger is due: {why}", soft_wrap=True)
    with tempfile.TemporaryDirectory() as scratch:
        challenger, past = _made(desk, champion, task, rules[0], Path(scratch), console)
        trial, _ = start_trial(desk, champion, challenger, past, rules, int(time.time()))
    console.print(f"{region}: {trial.challenger} is tried beside {trial.champion} from now on", soft_wrap=True)


def due_reasons(champion: Artifact, checkpoint: Path, *, now_s: float) -> list[str]:
    """Why a challenger is due, by the champion's age and the job's judged hours."""
    spec, manifest = champion.spec, champion.manifest
    days = days_of(
        read_shadow(shadow_path(checkpoint, spec.region)),
        horizon=spec.horizon_names[0],
        champion=champion.version,
        challenger=None,
        timezone=spec.timezone,
    )
    verdicts = {row["horizon"]: row["verdict"] for row in manifest.evaluation}
    age_days = (now_s - manifest.data.cutoff_s) / DAY_S
    return triggers(days, age_days=age_days, was_better=verdicts.get(spec.horizon_names[0]) == "better")


def _made(
    desk: Desk, champion: Artifact, task: RegionTask, plan: GatePlan, scratch: Path, console: Console
) -> tuple[Artifact, IncidentHistory]:
    """A registered challenger that has not seen the plan's last days, and all incidents."""
    spec = champion.spec
    incidents, _ = read_data(task, spec)
    end_s = (int(incidents.occurred_s[-1]) + 1) // DAY_S * DAY_S
    until = datetime.fromtimestamp(longest_training_s(end_s, plan, spec.horizons_s), zone_of(spec.timezone))
    with progress_bars(("baseline", "replay", "network", "on all data"), console) as report:
        ready = prepare(replace(task, until=until.date().isoformat()))
        folder, _ = train_region(ready, scratch / "made", report=report)
    version = register(desk.registry, folder, desk.note).version
    table = table_like(incidents, spec, region=spec.region, cutoff_s=end_s)
    challenger = registered_artifact(desk, spec.region, version, scratch / "registered")
    return challenger, IncidentHistory.of(table, spec, end_s)
