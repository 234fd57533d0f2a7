"""`python -m lifecycle gate`: a challenger on its way to the map."""

import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from lifecycle.cli.registry import (
    ARTIFACTS,
    AUDIT,
    REGISTRY,
    Artifacts,
    AsJson,
    Audit,
    Because,
    By,
    RegionName,
    Registry,
    Version,
    note_of,
)
from lifecycle.gate.judge import Judgement, judge_trial, promoted_already
from lifecycle.gate.plan import read_plan
from lifecycle.gate.trial import Trial, read_trial, started_within_a_year
from lifecycle.registry.open import open_registry
from models.artifact.pointer import champion_of
from models.cli.options import Covariates, FileLayout, FileOrArchive
from models.training.regions import RegionTask
from schemas.errors import RegistryError, SettingsError
from schemas.left_behind.pointer import read_pointer

if TYPE_CHECKING:  # as the imports inside the functions: torch takes seconds, and `gate status` does not need it
    from lifecycle.gate.held_out import HeldOut

gate_app = typer.Typer(no_args_is_help=True, help="A challenger on its way to the map: compared, tried, judged.")
Checkpoint = Annotated[Path, typer.Option(envvar="RISK_CHECKPOINT", help="Checkpoint folder of the job")]
PlanFile = Annotated[Path, typer.Option("--plan", help="The gate's plan; its hash goes on record")]
CHECKPOINT, PLAN = Path("data/checkpoint"), Path("deploy/gate.toml")


# Typer reads a command's options from its parameters.
@gate_app.command("start")
def start_command(
    region: RegionName,
    version: Version,
    data: FileOrArchive,
    because: Because,
    layout: FileLayout = "",
    covariates: Covariates = "",
    plan: PlanFile = PLAN,
    registry: Registry = REGISTRY,
    artifacts: Artifacts = ARTIFACTS,
    audit: Audit = AUDIT,
    by: By = "",
) -> None:
    """Compare a registered version with the champion on days that neither has learned from, then start its trial.

    Exit code 11 when it may not be tried.
    """
    from lifecycle.retraining.challenger import all_known, with_values
    from lifecycle.trials.desk import Desk, registered_artifact, start_trial

    desk = Desk(registry=open_registry(registry), artifacts=artifacts, note=note_of(audit, by, because, registry))
    rules = read_plan(plan)
    champion = champion_of(artifacts, region)
    if covariates and not champion.spec.covariates:
        raise SettingsError(f"--covariates, and {champion.version} uses no outside series", "leave it out")
    task = RegionTask(data=data, layout=layout, region=region, covariates=covariates)
    past = all_known(champion, with_values(task, champion))
    with tempfile.TemporaryDirectory() as scratch:
        challenger = registered_artifact(desk, region, version, Path(scratch))
        trial, held_out = start_trial(desk, champion, challenger, past, rules, time.time)
    console = Console(highlight=False)
    console.print(_held_out_table(held_out))
    _print_remarks(console, trial)
    console.print(f"{region}: {trial.challenger} is tried beside {trial.champion} from now on", soft_wrap=True)


@gate_app.command("status")
def status_command(
    region: RegionName, artifacts: Artifacts = ARTIFACTS, checkpoint: Checkpoint = CHECKPOINT, as_json: AsJson = False
) -> None:
    """Print what the trial has shown so far, and what the gate waits for."""
    used = len(started_within_a_year(artifacts, region, int(time.time())))
    if read_trial(artifacts, region) is None:
        nothing = msgspec.json.encode({"challenger": None, "trials": used}).decode()
        typer.echo(nothing if as_json else f"{region}: nothing is tried; {used} trials began within 365 days")
        return
    trial, found = _judged(region, artifacts, checkpoint)
    if (pointer := read_pointer(artifacts, region)) and pointer.champion == trial.challenger:
        found = promoted_already(found)
    most = trial.plan.trials_a_year
    if as_json:
        facts = {"challenger": trial.challenger, "remarks": trial.remarks, "trials": used, "trials_a_year": most}
        shown = {**asdict(found), **facts}
        typer.echo(msgspec.json.format(msgspec.json.encode(shown)).decode())
        return
    console = Console(highlight=False)
    console.print(f"{region}: {trial.challenger} beside {trial.champion}, {found.days} days", soft_wrap=True)
    console.print(_calibration_table(found, trial.plan.least_incidents))
    console.print(
        f"log score, challenger - champion: {found.difference:+.3g} nats ({found.low:+.3g} to {found.high:+.3g}), "
        f"margin {found.margin:.3g}",
        soft_wrap=True,
    )
    if found.failed:
        console.print(f"hours in which the challenger could not be scored: {_by_day(found.failed)}", soft_wrap=True)
    if found.cut:
        why = "as the feed was silent or many messages were refused"
        console.print(f"{sum(found.cut.values())} hours are cut out, {why}: {_by_day(found.cut)}", soft_wrap=True)
    _print_remarks(console, trial)
    console.print(f"trials within 365 days, this one included: {used} of {most}")
    console.print(f"[bold]{found.decision}[/bold]: {found.because}", soft_wrap=True)


@gate_app.command("end")
def end_command(
    region: RegionName,
    because: Because,
    confirm: Annotated[bool, typer.Option("--confirm", help="A person agrees to the promotion")] = False,
    abandon: Annotated[bool, typer.Option("--abandon", help="Retire the challenger, whatever was judged")] = False,
    registry: Registry = REGISTRY,
    artifacts: Artifacts = ARTIFACTS,
    checkpoint: Checkpoint = CHECKPOINT,
    audit: Audit = AUDIT,
    by: By = "",
) -> None:
    """Do what the trial has decided: promote the challenger, or retire it. Exit code 11 while it goes on."""
    from lifecycle.trials.desk import Desk, abandon_trial, end_trial

    if confirm and abandon:
        raise SettingsError("--confirm and --abandon exclude each other", "give one of them")
    desk = Desk(registry=open_registry(registry), artifacts=artifacts, note=note_of(audit, by, because, registry))
    if abandon:
        abandon_trial(desk, region, _trial_of(region, artifacts))
        typer.echo(f"{region}: abandoned; champion {desk.registry.state(region).champion}")
        return
    trial, found = _judged(region, artifacts, checkpoint)
    done = end_trial(desk, region, trial, found, is_confirmed=confirm)
    typer.echo(f"{region}: {done.decision}: {done.because}; champion {desk.registry.state(region).champion}")


def _judged(region: str, artifacts: Path, checkpoint: Path) -> tuple[Trial, Judgement]:
    trial = _trial_of(region, artifacts)
    return trial, judge_trial(trial, champion_of(artifacts, region).spec, checkpoint)


def _trial_of(region: str, artifacts: Path) -> Trial:
    if trial := read_trial(artifacts, region):
        return trial
    raise RegistryError(f"{region} has no trial", "start one: `python -m lifecycle gate start`")


def _by_day(hours: Mapping[str, int]) -> str:
    return ", ".join(f"{day}: {count}" for day, count in hours.items())


def _print_remarks(console: Console, trial: Trial) -> None:
    for remark in trial.remarks:
        console.print(f"not judged before the trial: {remark}", soft_wrap=True)


def _held_out_table(found: "HeldOut") -> Table:
    table = Table(title=f"{found.days} days that neither has learned from", box=None, padding=(0, 2, 0, 0))
    for heading in ("", "log score, nats"):
        table.add_column(heading)
    for name in ("baseline", "champion", "challenger"):
        table.add_row(name, f"{getattr(found, name):.6f}")
    if found.difference:
        one = found.difference
        table.add_row("challenger - champion", f"{one.mean:+.2g} ({one.low:+.2g} to {one.high:+.2g})")
    table.add_row("margin", f"{found.margin:.2g}")
    return table


def _calibration_table(found: Judgement, least: int) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("category", "observed", "over expected", "champion's"):
        table.add_column(heading, justify="right")
    for one in found.calibration:
        bounds = f"{one.ratio:.3f} ({one.low:.3f} to {one.high:.3f})"
        table.add_row(one.category, f"{one.observed:,}", bounds, f"{one.champion_ratio:.3f}")
    for name in found.too_few:
        table.add_row(name, f"fewer than {least}", "too few to judge", "")
    return table
