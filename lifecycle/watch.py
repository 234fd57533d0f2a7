"""`python -m lifecycle watch`: judges what a job left, archives its counts and asks for retraining, again and again.

Each of these parts is the command that a person would type, in a process of its own: a fault, a crash or the memory of
one takes neither the others nor the watch along. How they go is in the heartbeat, schemas/left_behind/heartbeat.py.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Annotated, NamedTuple

import typer

from schemas.errors import CheckpointError, SettingsError
from schemas.instants import instant_text
from schemas.left_behind.heartbeat import START_IT, Heartbeat, WatchedPart, read_heartbeat, write_heartbeat
from schemas.spec import DAY_S, HOUR_S
from streaming.cli.process import stop_on_signals
from streaming.disk.guard import read_guard
from streaming.settings import Settings

_LOOK_S, _BEAT_S = 1.0, 60
_RETRY_S = 300  # after a run with a fault


class Part(NamedTuple):
    """A command that is run again and again."""

    words: tuple[str, ...]
    every_s: int  # from the end of a run without a fault
    longest_s: int  # a run that takes longer is ended
    memory: str  # parts that need much of it take turns


@dataclass(slots=True)
class RunningPart:
    """A part that runs now."""

    process: subprocess.Popen[bytes]
    errors: IO[bytes]
    until_s: float  # monotonic
    is_too_long: bool = False


def watch_command(
    context: typer.Context,
    without: Annotated[
        list[str] | None, typer.Option(help="Leave out `judge`, `archive` or `retrain`; repeatable")
    ] = None,
    keep_days: Annotated[int | None, typer.Option(min=1, help="As of `archive`: older days are deleted")] = None,
    check: Annotated[bool, typer.Option("--check", help="Only say how it goes: exit code 1 when a part fails")] = False,
) -> None:
    """Judge what the job left every quarter of an hour; once a day archive its final counts, then ask for retraining.

    Run it beside every job. A part that fails keeps no other one back, and is tried again every five minutes.
    """
    environment = dict(os.environ)  # noqa: TID251 - each part takes its settings, and the secrets, as this program does
    settings: Settings = context.obj()
    if check:
        heartbeat = read_heartbeat(settings.checkpoint)
        faults = heartbeat.faults(time.time()) if heartbeat else [f"no watch has run: {START_IT}"]
        typer.echo("\n".join(faults) or "well")
        raise typer.Exit(bool(faults))
    parts = {
        "judge": Part(("judge",), HOUR_S // 4, HOUR_S, "little"),
        "archive": Part(("archive",), DAY_S, 2 * HOUR_S, "much"),
        "retrain": Part(("retrain", "--due"), HOUR_S // 4, DAY_S, "much"),  # a region is due once a day
    }
    if keep_days:
        parts["archive"] = parts["archive"]._replace(words=("archive", "--keep-days", str(keep_days)))
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
    _unwritten: str = ""

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
                run.is_too_long = True
                run.process.kill()
        for name, part in self.parts.items():
            others = [self.parts[other].memory for other in self._runs]
            is_free = name not in self._runs and not (part.memory == "much" and "much" in others)
            if is_free and self._is_due(name, now_s) and self._job_has_begun():
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

    def _is_due(self, name: str, now_s: float) -> bool:
        went = self._went[name]
        if went.failing_s:
            return abs(now_s - self._tried_s.get(name, 0)) >= _RETRY_S
        return abs(now_s - went.ended_s) >= self.parts[name].every_s  # a clock that was set back stops nothing

    def _start(self, name: str, now_s: int) -> None:
        self._tried_s[name] = now_s
        part, errors = self.parts[name], tempfile.TemporaryFile()  # noqa: SIM115 - `_ended` closes it
        words = (sys.executable, "-m", "lifecycle", *part.words)
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
        code, lines = run.process.returncode, said.split("\n")
        if run.is_too_long:
            hours = self.parts[name].longest_s // HOUR_S
            self._fails(name, f"it was ended after {hours} h: run it by hand, and see what it waits for", now_s)
        elif code:
            last = next((line.strip() for line in reversed(lines) if line.strip()), "")
            by = f"exit code {code}" if code > 0 else f"signal {-code}, as if memory were short"
            self._fails(
                name, last.removeprefix("error: ")[:1000] or f"{by} ended it: run it by hand, it says why", now_s
            )
        else:
            if self._went[name].failing_s:
                _say(f"{name} is well again")
            self._went[name] = WatchedPart(ended_s=now_s)
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
            self._unwritten = ""
        except CheckpointError as error:  # the file grows old, which its readers say
            if str(error) != self._unwritten:
                _say(str(error))
            self._unwritten = str(error)


def _say(text: str) -> None:
    sys.stderr.write(f"{instant_text(time.time())} watch: {text}\n")
