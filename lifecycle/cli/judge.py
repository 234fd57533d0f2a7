"""`python -m lifecycle judge`: judges what the job left of trials, and stores the points."""

import logging
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from schemas.errors import CheckpointError, RiskError
from schemas.files import exclusive, write_errors
from schemas.left_behind.closed_counts import trial_folder
from schemas.left_behind.roster import read_roster, roster_path
from schemas.log_format import LOG_FORMAT, LOG_TIME
from streaming.settings import Settings

if TYPE_CHECKING:
    from lifecycle.trials.judge import TrialJudge


def judge_command(context: typer.Context) -> None:
    """Judge champion and challenger by what came; store what it shows as points.

    It reads what the job left beside its checkpoint, and writes there what the gate and the triggers read.
    """
    from streaming.sinks.sink import open_sink

    settings: Settings = context.obj()
    logging.basicConfig(level=logging.WARNING, format=LOG_FORMAT, datefmt=LOG_TIME)
    console = Console(highlight=False, soft_wrap=True, markup=False)
    with closing(open_sink(settings)) as store:
        if fault := judge_all(judge_of(settings, store.write), console.print):
            raise fault


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
