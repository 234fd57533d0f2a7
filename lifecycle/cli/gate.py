"""`python -m lifecycle gate`: a challenger on its way to the map."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from lifecycle.cli.options import (
    AsJson,
    Because,
    Data,
    FolderOrVersion,
    RegionName,
    data_of,
    note_of,
    region_and_version,
    registered_version,
)
from lifecycle.gate.judge import Judgement, judge_trial, promoted_already
from lifecycle.gate.judged_late import judged_late
from lifecycle.gate.plan import read_plan
from lifecycle.gate.trial import Trial, read_trial, started_within_a_year
from lifecycle.registry.copying import registered_artifact
from lifecycle.registry.open import open_registry
from models.artifact.artifact import read_artifact
from models.artifact.manifest import MANIFEST
from models.artifact.pointer import champion_of
from models.training.regions import task_for
from schemas.errors import GateClosed, RegistryError, SettingsError
from schemas.left_behind.pointer import read_pointer
from streaming.settings import Settings

if TYPE_CHECKING:  # as the imports inside the functions: torch takes seconds, and `gate status` does not need it
    from lifecycle.gate.held_out import HeldOut
    from lifecycle.trials.desk import Desk
    from models.artifact.artifact import Artifact
    from models.training.replay import IncidentHistory

gate_app = typer.Typer(no_args_is_help=True, help="A challenger on its way to the map: compared, tried, judged.")


def desk_of(settings: Settings, because: str) -> "Desk":
    """Where the versions are kept and served, with what writes changes down."""
    from lifecycle.trials.desk import Desk

    note = note_of(settings, because)
    return Desk(registry=open_registry(settings.registry), artifacts=settings.artifacts, note=note)


@gate_app.command("start")
def start_command(context: typer.Context, version: FolderOrVersion, because: Because, data: Data = "") -> None:
    """Compare a version with the champion on days that neither has learned from, then start its trial.

    Exit code 11 when it may not be tried.
    """
    from lifecycle.trials.desk import start_trial

    settings: Settings = context.obj()
    desk, plan = desk_of(settings, because), read_plan(settings.gate_plan)
    region, name = registered_version(desk.registry, version, desk.note)
    champion = champion_of(settings.artifacts, region)
    past = _past_of(champion, data_of(settings, data))
    challenger = registered_artifact(desk.registry, region, name)
    trial, held_out = start_trial(desk, champion, challenger, past, plan, time.time)
    console = Console(highlight=False)
    console.print(_held_out_table(held_out))
    _print_remarks(console, trial)
    console.print(f"{region}: {trial.challenger} is tried beside {trial.champion} from now on", soft_wrap=True)


def _past_of(champion: "Artifact", data: str) -> "IncidentHistory":
    """All that `data` has of the champion's region."""
    from lifecycle.retraining.challenger import all_known

    return all_known(champion, task_for(data, champion.spec.region))


@gate_app.command("compare")
def compare_command(context: typer.Context, version: FolderOrVersion, data: Data = "") -> None:
    """Compare a version with the champion on days that neither has learned from. It changes nothing.

    Exit code 11 when they cannot be compared.
    """
    from lifecycle.gate.held_out import compare_held_out

    settings, folder = context.obj(), Path(version)
    rules, _ = read_plan(settings.gate_plan)
    if (folder / MANIFEST).is_file():
        artifact = read_artifact(folder)
    else:
        artifact = registered_artifact(open_registry(settings.registry), *region_and_version(version))
    champion = champion_of(settings.artifacts, artifact.spec.region)
    if artifact.spec.fingerprint() != champion.spec.fingerprint():
        fault = f"{artifact.version} has another spec than the champion {champion.version}"
        raise GateClosed(fault, "train it with --like the champion's folder")
    held_out = compare_held_out(champion, artifact, _past_of(champion, data_of(settings, data)), rules)
    console = Console(highlight=False, soft_wrap=True, markup=False)
    if held_out.difference:
        console.print(_held_out_table(held_out))
    for remark in held_out.remarks:
        console.print(f"not judged: {remark}")
    for fault in held_out.faults:
        console.print(f"against it: {fault}")


@gate_app.command("status")
def status_command(context: typer.Context, region: RegionName, as_json: AsJson = False) -> None:
    """Print what the trial has shown so far, and what the gate waits for."""
    settings: Settings = context.obj()
    artifacts = settings.artifacts
    now_s = time.time()
    used = len(started_within_a_year(artifacts, region, int(now_s)))
    if read_trial(artifacts, region) is None:
        nothing = msgspec.json.encode({"challenger": None, "trials": used}).decode()
        typer.echo(nothing if as_json else f"{region}: nothing is tried; {used} trials began within 365 days")
        return
    trial, judgement = _judged(settings, region)
    if (pointer := read_pointer(artifacts, region)) and pointer.champion == trial.challenger:
        judgement = promoted_already(judgement)
    spec = champion_of(artifacts, region).spec
    late = judged_late(settings.checkpoint, spec, since_s=trial.started_s, now_s=now_s)
    if as_json:
        of_trial = {"challenger": trial.challenger, "remarks": trial.remarks, "late": late}
        limits = {"trials": used, "trials_a_year": trial.plan.trials_a_year}
        typer.echo(msgspec.json.format(msgspec.json.encode({**asdict(judgement), **of_trial, **limits})).decode())
        return
    _print_status(region, trial, judgement, late, used)


def _print_status(region: str, trial: Trial, judgement: Judgement, late: str, used: int) -> None:
    """late: why nothing newer is judged. used: trials within a year."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{region}: {trial.challenger} beside {trial.champion}, {judgement.days} days")
    console.print(_calibration_table(judgement, trial.plan.least_incidents))
    bounds = f"{judgement.low:+.3g} to {judgement.high:+.3g}"
    console.print(
        f"log score, challenger - champion: {judgement.difference:+.3g} nats ({bounds}), margin {judgement.margin:.3g}"
    )
    if judgement.failed:
        console.print(f"hours in which the challenger could not be scored: {_by_day(judgement.failed)}")
    if judgement.cut:
        why = "as the feed was silent or many messages were refused"
        console.print(f"{sum(judgement.cut.values())} hours are cut out, {why}: {_by_day(judgement.cut)}")
    _print_remarks(console, trial)
    console.print(f"trials within 365 days, this one included: {used} of {trial.plan.trials_a_year}")
    if late:
        console.print(f"[bold]late[/bold]: {late}")
    console.print(f"[bold]{judgement.decision}[/bold]: {judgement.because}")


@gate_app.command("end")
def end_command(
    context: typer.Context,
    region: RegionName,
    because: Because,
    confirm: Annotated[bool, typer.Option("--confirm", help="A person agrees to the promotion")] = False,
    abandon: Annotated[bool, typer.Option("--abandon", help="Retire the challenger, whatever was judged")] = False,
) -> None:
    """Do what the trial has decided: promote the challenger, or retire it. Exit code 11 while it goes on."""
    from lifecycle.trials.desk import abandon_trial, end_trial

    if confirm and abandon:
        raise SettingsError("--confirm and --abandon exclude each other", "give one of them")
    settings: Settings = context.obj()
    desk = desk_of(settings, because)
    if abandon:
        abandon_trial(desk, region, _trial_of(region, settings.artifacts))
        typer.echo(f"{region}: abandoned; champion {desk.registry.state(region).champion}")
        return
    trial, judgement = _judged(settings, region)
    judgement = end_trial(desk, region, trial, judgement, is_confirmed=confirm)
    champion = desk.registry.state(region).champion
    typer.echo(f"{region}: {judgement.decision}: {judgement.because}; champion {champion}")


def _judged(settings: Settings, region: str) -> tuple[Trial, Judgement]:
    trial = _trial_of(region, settings.artifacts)
    return trial, judge_trial(trial, champion_of(settings.artifacts, region).spec, settings.checkpoint)


def _trial_of(region: str, artifacts: Path) -> Trial:
    if trial := read_trial(artifacts, region):
        return trial
    raise RegistryError(f"{region} has no trial", "start one: `python -m lifecycle gate start`")


def _by_day(hours: Mapping[str, int]) -> str:
    return ", ".join(f"{day}: {count}" for day, count in hours.items())


def _print_remarks(console: Console, trial: Trial) -> None:
    for remark in trial.remarks:
        console.print(f"not judged before the trial: {remark}", soft_wrap=True)


def _held_out_table(held_out: "HeldOut") -> Table:
    table = Table(title=f"{held_out.days} days that neither has learned from", box=None, padding=(0, 2, 0, 0))
    for heading in ("", "log score, nats"):
        table.add_column(heading)
    for name in ("baseline", "champion", "challenger"):
        table.add_row(name, f"{getattr(held_out, name):.6f}")
    if apart := held_out.difference:
        table.add_row("challenger - champion", f"{apart.mean:+.2g} ({apart.low:+.2g} to {apart.high:+.2g})")
    table.add_row("margin", f"{held_out.margin:.2g}")
    return table


def _calibration_table(judgement: Judgement, least: int) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("category", "observed", "over expected", "champion's"):
        table.add_column(heading, justify="right")
    for total in judgement.calibration:
        bounds = f"{total.ratio:.3f} ({total.low:.3f} to {total.high:.3f})"
        table.add_row(total.category, f"{total.observed:,}", bounds, f"{total.champion_ratio:.3f}")
    for name in judgement.too_few:
        table.add_row(name, f"fewer than {least}", "too few to judge", "")
    return table
