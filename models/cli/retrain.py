"""`python -m models retrain`: asks whether a region needs a new challenger, and makes one."""

import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from models.artifact.pointer import champion_of
from models.cli.gate import CHECKPOINT, Checkpoint
from models.cli.options import Epochs, FileLayout, FileOrArchive, MissingDays, StepMinutes
from models.cli.progress import progress_bars
from models.cli.registry import ARTIFACTS, AUDIT, REGISTRY, Artifacts, Audit, By, RegionName, Registry, note_of
from models.gate.challenger import days_to_wait, due_reasons, registered_challenger
from models.gate.lifecycle import Desk, start_trial
from models.gate.plan import read_plan
from models.gate.trial import read_trial
from models.model_registry.open import open_registry
from models.training.regions import RegionTask


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
    if not now and (wait := days_to_wait(desk, champion, rules[0], now_s=int(time.time()))):
        typer.echo(
            f"{region}: a challenger is due, and the newest one did not pass: the next one in {wait} days ({why})"
        )
        return
    task = RegionTask(
        data=data,
        layout=layout,
        region=region,
        missing_days=missing_days,
        epochs=epochs,
        step_minutes=step_minutes,
    )
    console = Console(highlight=False)
    console.print(f"{region}: a challenger is due: {why}", soft_wrap=True)
    with tempfile.TemporaryDirectory() as scratch:
        with progress_bars(("baseline", "replay", "network", "on all data"), console) as report:
            challenger, past = registered_challenger(desk, champion, task, rules[0], Path(scratch), report)
        trial, _ = start_trial(desk, champion, challenger, past, rules, int(time.time()))
    console.print(f"{region}: {trial.challenger} is tried beside {trial.champion} from now on", soft_wrap=True)
