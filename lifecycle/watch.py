"""What runs beside a job: judging, the archive and retraining, each by hand, and `watch`, which runs them for good.

Each part of the watch is the command that a person would type, in a process of its own: a fault, a crash or the memory
of one takes neither the others nor the watch along. How they go is in the heartbeat, schemas/records.py.
"""

import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Annotated, NamedTuple

import typer
from rich.console import Console
from rich.table import Table

from lifecycle.gate import read_plan, read_trial, refuse_too_many
from lifecycle.triggers import Outcome, ask_each
from lifecycle.version_commands import Data, data_of, desk_of, gate_app, note_of, open_registry
from models.artifact import champion_of
from models.files.incident_archive import NoDays, known_hours, spans
from models.files.layouts import LAYOUT_HELP, parse_layout
from models.training.region_tasks import DATA_HELP, progress_bars, task_for
from schemas.areas import read_masks
from schemas.errors import ArtifactError, CheckpointError, GateClosed, RiskError, SettingsError
from schemas.files import instant_text
from schemas.limits import LOG_FORMAT, LOG_TIME
from schemas.records import START_IT, Heartbeat, WatchedPart, read_heartbeat, write_heartbeat
from schemas.spec import DAY_S, HOUR_S
from streaming.checkpoint import read_guard
from streaming.settings import Settings, stop_on_signals

# Torch and pyarrow take seconds: what needs them is imported by the command that does.

_LOOK_S, _BEAT_S = 1.0, 60
_RETRY_S = 300  # after a run with a fault
_SMALL = "judge"  # it runs beside the others, which take turns


class Part(NamedTuple):
    """A command that is run again and again."""

    words: tuple[str, ...]
    every_s: int  # from the end of a run without a fault
    longest_s: int  # a run that takes longer is ended


class RunningPart(NamedTuple):
    process: subprocess.Popen[bytes]
    errors: IO[bytes]
    until_s: float  # monotonic


def watch_command(
    context: typer.Context,
    without: Annotated[
        list[str] | None, typer.Option(help="Leave out `judge`, `archive` or `retrain`; repeatable")
    ] = None,
    keep_days: Annotated[int | None, typer.Option(min=1, help="As of `archive`: older days are deleted")] = None,
    once: Annotated[str, typer.Option(help="Run one part now, and end: judge, archive or retrain")] = "",
    check: Annotated[bool, typer.Option("--check", help="Only say how it goes: exit code 1 when a part fails")] = False,
) -> None:
    """Judge what the job left every quarter of an hour; once a day archive its final counts, then ask for retraining.

    Run it beside every job. A part that fails keeps no other one back, and is tried again every five minutes.
    """
    if once == "judge":
        return judge(context.obj())
    if once == "archive":
        return archive_command(context, keep_days=keep_days)
    if once == "retrain":
        return retrain(context.obj(), due=True)
    if once:
        raise SettingsError(f"--once {once} names no part", "name judge, archive or retrain")
    environment = dict(os.environ)  # noqa: TID251 - each part takes its settings, and the secrets, as this program does
    settings: Settings = context.obj()
    if check:
        heartbeat = read_heartbeat(settings.checkpoint)
        faults = heartbeat.faults(time.time()) if heartbeat else [f"no watch has run: {START_IT}"]
        typer.echo("\n".join(faults) or "well")
        raise typer.Exit(bool(faults))
    parts = {
        "judge": Part(("watch", "--once", "judge"), HOUR_S // 4, HOUR_S),
        "archive": Part(("watch", "--once", "archive"), DAY_S, 2 * HOUR_S),
        "retrain": Part(("watch", "--once", "retrain"), HOUR_S // 4, DAY_S),  # a region is due once a day
    }
    if keep_days:
        words = (*parts["archive"].words, "--keep-days", str(keep_days))
        parts["archive"] = parts["archive"]._replace(words=words)
    for name in without or ():
        if not parts.pop(name, None):
            raise SettingsError(f"--without {name} names no part that is left", "leave out judge, archive or retrain")
    stop = stop_on_signals("stopping what runs")
    watch = Watch(settings.checkpoint, parts, environment)
    try:
        while not stop.is_set():
            watch.look(time.time())
            stop.wait(_LOOK_S)
    finally:
        watch.end()


@dataclass(slots=True)
class Watch:
    """Runs the parts. A kill of one loses nothing: each is made to be repeated."""

    checkpoint: Path
    parts: Mapping[str, Part]
    environment: Mapping[str, str]
    _went: dict[str, WatchedPart] = field(init=False)
    _runs: dict[str, RunningPart] = field(default_factory=dict)
    _tried_s: dict[str, float] = field(default_factory=dict)
    _beat_s: float = 0.0
    _has_begun: bool = False

    def __post_init__(self) -> None:
        try:
            before = read_heartbeat(self.checkpoint)
        except CheckpointError as error:
            _say(str(error))
            before = None  # it is written again
        self._went = {name: before.parts.get(name, WatchedPart()) if before else WatchedPart() for name in self.parts}
        _say(f"watching {self.checkpoint}: {', '.join(self.parts)}")

    def look(self, now_s: float) -> None:
        """Take in what has ended, start what is due, and write the heartbeat."""
        for name, run in list(self._runs.items()):
            if run.process.poll() is not None:
                del self._runs[name]
                self._ended(name, run, int(now_s))
            elif time.monotonic() > run.until_s:
                run.process.kill()
        for name, part in self.parts.items():
            went = self._went[name]
            since_s, wait_s = (self._tried_s.get(name, 0), _RETRY_S) if went.failing_s else (went.ended_s, part.every_s)
            is_due = abs(now_s - since_s) >= wait_s  # a clock that was set back stops nothing
            takes_turns = name != _SMALL and self._runs.keys() - {_SMALL}  # these need much memory
            is_free = name not in self._runs and not takes_turns
            if is_free and is_due and self._job_has_begun():
                self._start(name, int(now_s))
        if abs(now_s - self._beat_s) >= _BEAT_S:
            self._beat(now_s)

    def end(self) -> None:
        """End what runs, and wait for that."""
        for run in self._runs.values():
            run.process.terminate()
        for run in self._runs.values():
            run.process.wait()

    def _job_has_begun(self) -> bool:
        """Before that there is nothing to do, and a part would fail."""
        if not self._has_begun:
            try:
                self._has_begun = read_guard(self.checkpoint) is not None
            except CheckpointError:
                self._has_begun = True  # the parts say what is wrong
        return self._has_begun

    def _start(self, name: str, now_s: int) -> None:
        self._tried_s[name] = now_s
        part, errors = self.parts[name], tempfile.TemporaryFile()  # noqa: SIM115 - `_ended` closes it
        words = (sys.executable, "-m", "incident_risk", *part.words)
        try:
            process = subprocess.Popen(words, env=self.environment, stdin=subprocess.DEVNULL, stderr=errors)
        except OSError as error:
            self._fails(name, f"it cannot be started ({error.strerror}): give this machine more memory", now_s)
        else:
            self._runs[name] = RunningPart(process, errors, time.monotonic() + part.longest_s)

    def _ended(self, name: str, run: RunningPart, now_s: int) -> None:
        with run.errors:
            run.errors.seek(0)
            said = run.errors.read().decode(errors="replace")
        sys.stderr.write(said)
        code, last = run.process.returncode, said.rstrip().rpartition("\n")[2].strip()
        if code == 0:
            if self._went[name].failing_s:
                _say(f"{name} is well again")
            self._went[name] = WatchedPart(ended_s=now_s)
        elif time.monotonic() > run.until_s:
            hours = self.parts[name].longest_s // HOUR_S
            self._fails(name, f"it was ended after {hours} h: run it by hand, and see what it waits for", now_s)
        elif code < 0:
            self._fails(name, f"signal {-code} ended it, as if memory were short: give this machine more", now_s)
        else:
            fault = last.removeprefix("error: ")[:1000] or f"it ended with exit code {code}: run it by hand"
            self._fails(name, fault, now_s)
        self._beat(now_s)

    def _fails(self, name: str, fault: str, now_s: int) -> None:
        before = self._went[name]
        since_s = before.failing_s or now_s
        self._went[name] = WatchedPart(ended_s=before.ended_s, failing_s=since_s, fault=fault)
        _say(f"{name} has failed, and is tried again in {_RETRY_S // 60} minutes: {fault}")

    def _beat(self, now_s: float) -> None:
        self._beat_s = now_s
        try:
            write_heartbeat(self.checkpoint, Heartbeat(at_s=int(now_s), parts=self._went))
        except CheckpointError as error:
            _say(str(error))  # the file grows old, which its readers say, too


def _say(text: str) -> None:
    sys.stderr.write(f"{instant_text(time.time())} watch: {text}\n")


def judge(settings: Settings) -> None:
    """Judge champion and challenger by what came; store what it shows as points.

    It reads what the job left beside its checkpoint, and writes there what the gate and the triggers read.
    """
    from lifecycle.live_judge import judge_all, judge_of
    from streaming.sinks.sink import open_sink

    logging.basicConfig(level=logging.WARNING, format=LOG_FORMAT, datefmt=LOG_TIME)
    console = Console(highlight=False, soft_wrap=True, markup=False)
    with closing(open_sink(settings)) as store:
        if fault := judge_all(judge_of(settings, store.write), console.print):
            raise fault


_DAYS_A_COMMIT = 100  # of a file: those of ten years at once would take a gigabyte
_MISSING = (
    "missing: the job stood still for more than a day, was begun anew, or `archive` did not run for ten days; "
    "`archive --data FILE` takes them from a file"
)


def archive_command(
    context: typer.Context,
    keep_days: Annotated[int | None, typer.Option(min=1, help="Delete older days; without it, all are kept")] = None,
    data: Annotated[Path | None, typer.Option(help=f"{DATA_HELP}: add its days, and nothing of the stream")] = None,
    layout: Annotated[str, typer.Option(help=f"Of that file: {LAYOUT_HELP}")] = "",
    region: Annotated[str, typer.Option(help="Of that file; the region's artifact gives cells and categories")] = "",
) -> None:
    """Add each region's final days, counted by cell, category and five minutes, to the archive at RISK_ARCHIVE.

    With --data, --layout and --region it adds the whole days of an incident file in place of those. Days that are
    there stay as they are.
    """
    from lifecycle.archive import ArchiveTable, FeedLog, archive_region, regions_of
    from models.artifact import read_spec

    settings: Settings = context.obj()
    console = Console(highlight=False, soft_wrap=True)
    if data or layout or region:
        if keep_days is not None or not (data and layout and region):
            fault = "--data, --layout and --region belong together, without --keep-days"
            raise SettingsError(fault, "give all three of them to add a file, or none")
        return _archive_file(settings, data, layout, region, console)
    table = ArchiveTable(settings.archive, settings.storage_options())
    oldest = int(time.time()) // DAY_S - keep_days if keep_days else 0
    shown = Table(box=None, pad_edge=False, caption=_MISSING)
    for heading in ("region", "written", "incidents", "by hour only", "open", "days in all", "missing"):
        shown.add_column(heading, justify="left" if heading in ("region", "missing") else "right")
    feed, faults = FeedLog(settings.checkpoint), list[RiskError]()
    for name, artifact in regions_of(settings.checkpoint).items():
        try:
            done = archive_region(table, feed, read_spec(artifact), oldest=oldest)
        except (ArtifactError, CheckpointError) as error:  # it must not keep the other regions from the archive
            shown.add_row(name, "failed")
            faults.append(error)
        else:
            totals = (sum(getattr(day, count) for day in done.written) for count in ("incidents", "by_hour", "open"))
            numbers = (f"{number:,}" for number in (len(done.written), *totals, done.days))
            shown.add_row(name, *numbers, ", ".join(done.missing) or "none")
    console.print(shown)
    if keep_days:
        console.print(f"{table.keep_from(oldest):,} rows older than {keep_days} days deleted")
    console.print(f"archive: {settings.archive}, version {table.version}")
    if faults:
        raise faults[0]


def _archive_file(settings: Settings, data: Path, layout: str, region: str, console: Console) -> None:
    from lifecycle.archive import ArchiveTable, file_days
    from models.files.data_report import read_past

    spec = champion_of(settings.artifacts, region).spec
    table = ArchiveTable(settings.archive, settings.storage_options())
    past = read_past(data, parse_layout(layout), now_s=time.time(), masks=read_masks(settings.masks))
    of_file = file_days(past, spec, table.days(region))
    for first in range(0, len(of_file.days), _DAYS_A_COMMIT):
        table.append(spec, of_file.days[first : first + _DAYS_A_COMMIT], "file")
    incidents = sum(counts.incidents for counts in of_file.days)
    console.print(
        f"{region}: {len(of_file.days):,} days with {incidents:,} incidents added; {of_file.outside:,} of the file lie "
        "outside the grid; its first and last day may be partial and are left out"
    )
    if of_file.silent:
        console.print(f"left out, because nothing is recorded for too long: {', '.join(spans(of_file.silent))}")
    console.print(f"archive: {settings.archive}, version {table.version}")


@gate_app.command("retrain")
def retrain_command(
    context: typer.Context,
    region: Annotated[str, typer.Argument(help="Only this region; without it, all with a champion")] = "",
    data: Data = "",
    now: Annotated[bool, typer.Option("--now", help="Also when nothing asks for it")] = False,
) -> None:
    """Train a challenger when the champion is old, drifts, lost its skill or must be followed, and start its trial.

    It changes no score.

    `watch` asks daily. It does nothing while nothing is due, or while a trial is running.
    """
    retrain(context.obj(), region, data, is_asked_for=now)


def retrain(
    settings: Settings, region: str = "", data: str = "", *, is_asked_for: bool = False, due: bool = False
) -> None:
    """Ask for each region with a champion, or for one. due: only regions not asked for a day."""
    read_plan(settings.gate_plan)
    note_of(settings, "")
    console = Console(highlight=False, soft_wrap=True, markup=False)
    registry = open_registry(settings.registry)
    regions = [region] if region else [name for name in registry.regions() if registry.state(name).champion]
    ask = partial(_ask, settings, data_of(settings, data), is_asked_for, console)
    if fault := ask_each(regions, ask, settings.artifacts, say=console.print, now_s=time.time, due_alone=due):
        raise fault


def _ask(settings: Settings, data: str, is_asked_for: bool, console: Console, region: str) -> tuple[Outcome, str]:
    """What becomes of one ask, and why. is_asked_for: a person wants a challenger now."""
    from lifecycle.challenger import days_to_wait, days_too_early, due_reasons, registered_challenger, start_trial

    champion, now_s = champion_of(settings.artifacts, region), int(time.time())
    if running := read_trial(settings.artifacts, region):
        if champion.version == running.champion:
            return "on trial", f"{running.challenger} is being tried already"
        over = f"the trial of {running.challenger} is over, as {champion.version} scores"
        return "waits", f"{over}: end it, `risk gate end`"
    task = task_for(data, region)
    try:
        counted = known_hours(task.data, champion.spec)
    except NoDays as error:  # a day is final when late reports have come
        return "waits", f"there is nothing to learn from yet: {error}"
    due = due_reasons(champion, settings.checkpoint, counted, now_s=now_s)
    if not due and not is_asked_for:
        return "nothing due", "nothing asks for a new challenger"
    why = "; ".join(due) or "asked for"
    desk, plan = desk_of(settings, why), read_plan(settings.gate_plan)
    try:
        refuse_too_many(settings.artifacts, region, plan[0], now_s)
        wait = ""
        if is_asked_for:
            pass
        elif days := days_to_wait(desk, champion, plan[0], now_s=now_s):
            wait = f"the newest one did not pass: the next one in {days} days"
        elif days := days_too_early(champion, plan[0], end_s=now_s):
            wait = f"there is something new to learn from in {days} days"
        if wait:
            return "waits", f"a challenger is due, and {wait} ({why})"
        console.print(f"{region}: a challenger is due: {why}")
        with tempfile.TemporaryDirectory() as scratch:
            with progress_bars(("baseline", "replay", "network", "on all data"), console) as report:
                challenger, past = registered_challenger(desk, champion, task, plan[0], Path(scratch), report)
            trial, _ = start_trial(desk, champion, challenger, past, plan, time.time)
    except GateClosed as error:
        desk.note("retrain_refused", {"region": region, "champion": champion.version, "reason": str(error)})
        raise
    for remark in trial.remarks:
        console.print(f"{region}: not judged before the trial: {remark}")
    return "trial started", f"{trial.challenger} is tried beside {champion.version} from now on ({why})"
