"""`python -m lifecycle judge`: judges what the job left of trials, and stores the points."""

import logging
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from schemas.errors import CheckpointError, RiskError
from schemas.files import exclusive, write_errors
from schemas.left_behind.closed_counts import trial_folder
from schemas.left_behind.roster import read_roster, roster_path
from schemas.log_format import LOG_FORMAT, LOG_TIME
from streaming.cli.process import stop_on_signals
from streaming.settings import Settings

if TYPE_CHECKING:
    from lifecycle.trials.judge import TrialJudge

_MINUTE_S = 60


def judge_command(
    context: typer.Context,
    every: Annotated[float | None, typer.Option(min=0, help="Minutes between two runs; without it, one run")] = None,
) -> None:
    """Judge champion and challenger by what came; store the points `shadow`, `gate`, `drift` and `retrain`.

    It reads what the job left beside its checkpoint, and writes there what the gate and the triggers read.
    """
    from streaming.sinks.sink import open_sink

    settings: Settings = context.obj()
    logging.basicConfig(level=logging.WARNING, format=LOG_FORMAT, datefmt=LOG_TIME)
    console = Console(highlight=False, soft_wrap=True, markup=False)
    with closing(open_sink(settings)) as store:
        judge = judge_of(settings, store.write)
        if every is None:
            if fault := judge_all(judge, console.print):
                raise fault
            return
        stop = stop_on_signals()
        while not stop.is_set():
            if fault := judge_all(judge, console.print):
                console.print(f"{time.strftime('%FT%TZ', time.gmtime())} {fault}")
            stop.wait(every * _MINUTE_S)


def judge_of(settings: Settings, store: Callable[[bytes], object]) -> "TrialJudge":
    """The judge of a job's settings. store: as in `TrialJudge`."""
    from lifecycle.archive.feed import LiveFeed
    from lifecycle.trials.judge import TrialJudge  # torch: seconds that other commands save
    from lifecycle.trials.teach import Teacher

    checkpoint, artifacts, feed = settings.checkpoint, settings.artifacts, LiveFeed(settings.checkpoint)
    teacher = Teacher(checkpoint=checkpoint, artifacts=artifacts) if settings.follow == "on" else None
    return TrialJudge(
        checkpoint=checkpoint,
        artifacts=artifacts,
        store=store,
        cut_hours=feed.cut_hours,
        audit=settings.audit,
        teacher=teacher,
    )


def judge_all(judge: "TrialJudge", say: Callable[[str], None]) -> RiskError | None:
    """Judge every region of the job's roster. Gives the first fault; a fault of one region keeps no other one back."""
    from models.artifact.artifact import read_spec

    first: RiskError | None = None
    folder = trial_folder(judge.checkpoint)
    try:
        roster = read_roster(roster_path(judge.checkpoint))
        with write_errors(CheckpointError, folder), exclusive(folder / ".lock"):
            for region, entry in sorted(roster.items()):
                try:
                    if number := judge.judge(read_spec(Path(entry.folder))):
                        say(f"{region}: {number} forecasts are judged")
                except RiskError as error:
                    first = first or error
                    say(f"{region}: {error}")
    except RiskError as error:
        return first or error
    return first
