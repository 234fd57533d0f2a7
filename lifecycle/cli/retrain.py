"""`python -m lifecycle retrain`: asks whether a region needs a new challenger, and makes one."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from lifecycle.cli.gate import desk_of
from lifecycle.cli.options import Data, data_of, note_of
from lifecycle.gate.asked import Outcome
from lifecycle.gate.plan import GatePlan, read_plan
from lifecycle.gate.trial import Trial, read_trial, refuse_too_many
from lifecycle.registry.open import open_registry
from lifecycle.retraining.daily import Asking
from models.artifact.artifact import Artifact
from models.artifact.pointer import champion_of
from models.cli.progress import progress_bars
from models.files.archive import NoDays, hours_known
from models.training.regions import task_for
from schemas.errors import GateClosed, SettingsError
from streaming.settings import Settings

if TYPE_CHECKING:  # as the imports inside the functions: torch takes seconds, and other commands do not need it
    from lifecycle.trials.desk import Desk


def retrain_command(
    context: typer.Context,
    region: Annotated[str, typer.Argument(help="Only this region; without it, all with a champion")] = "",
    data: Data = "",
    now: Annotated[bool, typer.Option("--now", help="Also when nothing asks for it")] = False,
    due: Annotated[
        bool, typer.Option("--due", help="Only regions that were not asked for a day, as `watch` does")
    ] = False,
) -> None:
    """Train a challenger when the champion is old, drifts or lost its skill, and start its trial. Changes no score.

    Run it daily: it does nothing while nothing is due, or while a trial is running.
    """
    if now and due:
        raise SettingsError(
            "--now asks for a challenger that is not due, and --due does not", "leave out one of the two"
        )
    settings: Settings = context.obj()
    read_plan(settings.gate_plan)
    note_of(settings, "")
    console = Console(highlight=False, soft_wrap=True, markup=False)
    asking = Asking(
        artifacts=settings.artifacts,
        ask=_Ask(settings=settings, data=data_of(settings, data), is_asked_for=now, console=console),
        say=console.print,
        now_s=time.time,
    )
    if fault := asking.each(_regions(settings.registry, region), due_alone=due):
        raise fault


def _regions(address: str, region: str) -> list[str]:
    if region:
        return [region]
    registry = open_registry(address)
    return [name for name in registry.regions() if registry.state(name).champion]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ask:
    """One ask. is_asked_for: a person wants a challenger now. Everything is read anew: days may lie between two."""

    settings: Settings
    data: str
    is_asked_for: bool
    console: Console

    def __call__(self, region: str) -> tuple[Outcome, str]:
        from lifecycle.retraining.challenger import due_reasons

        settings, plan = self.settings, read_plan(self.settings.gate_plan)
        champion, now_s = champion_of(settings.artifacts, region), int(time.time())
        if running := read_trial(settings.artifacts, region):
            return _of_trial(running, champion.version)
        try:
            counted = hours_known(task_for(self.data, region).data, champion.spec)
        except NoDays as error:  # a day is final when late reports have come
            return "waits", f"there is nothing to learn from yet: {error}"
        due = due_reasons(champion, settings.checkpoint, counted, now_s=now_s)
        if not due and not self.is_asked_for:
            return "nothing due", "nothing asks for a new challenger"
        why = "; ".join(due) or "asked for"
        desk = desk_of(settings, why)
        try:
            refuse_too_many(settings.artifacts, region, plan[0], now_s)
            if wait := "" if self.is_asked_for else _wait(desk, champion, plan[0], now_s):
                return "waits", f"a challenger is due, and {wait} ({why})"
            self.console.print(f"{region}: a challenger is due: {why}")
            challenger = self._tried(desk, region, plan)
        except GateClosed as error:
            desk.note("retrain_refused", {"region": region, "champion": champion.version, "reason": str(error)})
            raise
        return "trial started", f"{challenger} is tried beside {champion.version} from now on ({why})"

    def _tried(self, desk: "Desk", region: str, plan: tuple[GatePlan, str]) -> str:
        """The version of a new challenger whose trial has started."""
        from lifecycle.retraining.challenger import registered_challenger
        from lifecycle.trials.desk import start_trial

        champion = champion_of(desk.artifacts, region)
        task = task_for(self.data, region)
        with tempfile.TemporaryDirectory() as scratch:
            with progress_bars(("baseline", "replay", "network", "on all data"), self.console) as report:
                challenger, past = registered_challenger(desk, champion, task, plan[0], Path(scratch), report)
            trial, _ = start_trial(desk, champion, challenger, past, plan, time.time)
        for remark in trial.remarks:
            self.console.print(f"{region}: not judged before the trial: {remark}")
        return trial.challenger


def _of_trial(trial: Trial, champion: str) -> tuple[Outcome, str]:
    if champion == trial.champion:
        return "on trial", f"{trial.challenger} is being tried already"
    return (
        "waits",
        f"the trial of {trial.challenger} is over, as {champion} scores: end it, `python -m lifecycle gate end`",
    )


def _wait(desk: "Desk", champion: Artifact, plan: GatePlan, now_s: int) -> str:
    """Why a challenger that is due is not made yet; empty when it is."""
    from lifecycle.retraining.challenger import days_to_wait, days_too_early

    if days := days_to_wait(desk, champion, plan, now_s=now_s):
        return f"the newest one did not pass: the next one in {days} days"
    if days := days_too_early(champion, plan, end_s=now_s):
        return f"there is something new to learn from in {days} days"
    return ""
