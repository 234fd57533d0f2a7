"""The commands of a job: `run`, and those on what it leaves: `health`, and `checkpoint`, which also resets it.

`prepare` fetches what it needs before; `executor` and `driver` become its pods on Kubernetes.
"""

import logging
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.status import Status
from rich.table import Table

from schemas.audit import record
from schemas.errors import SettingsError, SparkFailed
from schemas.files import instant_ms, instant_text, make_writable, stamp, write_errors
from schemas.limits import LOG_FORMAT, LOG_TIME
from schemas.records import health_path, read_roster, roster_path
from streaming.checkpoint import (
    begin_ms,
    last_commit,
    only_writer,
    progress_text,
    read_guard,
    read_until,
    reset_text,
    set_aside,
    unfinished_reset,
)
from streaming.jars import fetch_jars, java_version, missing_jars, needed_jars
from streaming.job_health import in_words, read_health, watch_in_words
from streaming.settings import Settings, stop_on_signals

if TYPE_CHECKING:
    from streaming.flow.rows import Published

log = logging.getLogger(__name__)
_EVERY_S = 30.0  # without a terminal, a line this often
_BACKEND = "org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend"
_EXECUTOR_OPTIONS = {  # option of the backend -> the variable in which Spark tells it
    "--driver-url": "SPARK_DRIVER_URL",
    "--executor-id": "SPARK_EXECUTOR_ID",
    "--cores": "SPARK_EXECUTOR_CORES",
    "--app-id": "SPARK_APPLICATION_ID",
    "--hostname": "SPARK_EXECUTOR_POD_IP",
    "--resourceProfileId": "SPARK_RESOURCE_PROFILE_ID",
    "--podName": "SPARK_EXECUTOR_POD_NAME",
}
_JAVA_OPTION = "SPARK_JAVA_OPT_"  # and a number: their order
_errors = Console(stderr=True)


def run(context: typer.Context) -> None:
    """Score incidents from Kafka until told to stop (Ctrl-C or SIGTERM)."""
    from streaming.job import run as run_pipeline  # pyspark and torch: seconds that other commands save
    from streaming.watchers import FrameWatch

    settings: Settings = context.obj()
    log_from(settings.log_level)
    stop = stop_on_signals()
    refuse_frames(settings.frames)
    frames = FrameWatch(folder=settings.frames, clock=settings.clock, artifacts=settings.artifacts)
    with ProgressLine(_errors) as progress:
        is_clean = run_pipeline(settings, stop=stop, watchers=[progress.show, frames.show])
    _errors.print(progress.closing_line(is_clean=is_clean), highlight=False, soft_wrap=True)


def log_from(level: str) -> None:
    """Log our lines of `level` (info, warning, error) or above, and those of libraries only when they are critical."""
    logging.basicConfig(
        level=logging.CRITICAL,  # kafka repeats every lost connection and py4j traces every error; ours says it once
        format="%(message)s" if _errors.is_terminal else LOG_FORMAT,
        datefmt=None if _errors.is_terminal else LOG_TIME,
        handlers=[RichHandler(console=_errors, show_path=False) if _errors.is_terminal else logging.StreamHandler()],
    )
    logging.getLogger("streaming").setLevel(level.upper())


def refuse_frames(folder: Path) -> None:
    """Raises SettingsError where no frames can be written."""
    remedy = "set RISK_FRAMES to a folder that you may write"
    with write_errors(SettingsError, f"RISK_FRAMES={folder}", remedy=remedy):
        make_writable(folder)


class ProgressLine:
    """A spinner with the newest batch's figures on a terminal; elsewhere a plain line every 30 seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = Status("starting Spark, then a first batch (10 to 40 s) ...", console=console)
        self._totals: Counter[str] = Counter()
        self._points = 0
        self._logged_s = 0.0

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def show(self, published: "Published") -> None:
        for summary in published.summaries.values():
            self._totals.update(summary.ledger)
        self._points += published.points
        clocks = {s.as_of_s for region, s in published.summaries.items() if region}
        as_of = datetime.fromtimestamp(max(clocks), UTC).strftime("%Y-%m-%d %H:%M:%SZ") if clocks else "-"
        took = f"{published.seconds * 1000:.0f} ms a batch"
        line = f"as of {as_of}: {self._counts()}, {self._points:,} points, {took}"
        if self._console.is_terminal:
            self._status.update(line)
        elif published.done_s - self._logged_s >= _EVERY_S:
            self._logged_s = published.done_s
            log.info("%s", line)

    def closing_line(self, *, is_clean: bool) -> str:
        how = "stopped between two batches" if is_clean else "stopped; the next start repeats the last batch"
        return f"{how}: {self._counts()}, {self._points:,} points written"

    def _counts(self) -> str:
        reasons = [name for name in sorted(self._totals) if name.startswith("rejected_") and self._totals[name]]
        names = [name for name in self._totals if name != "consumed" and not name.startswith("rejected_")]
        outcomes = ", ".join(f"{self._totals[name]:,} {name}" for name in names if self._totals[name])
        because = ", ".join(f"{self._totals[name]:,} {name.removeprefix('rejected_')}" for name in reasons)
        return f"{self._totals['consumed']:,} events ({outcomes or 'none yet'}{f': {because}' if because else ''})"


def health(context: typer.Context) -> None:
    """Show whether the job's scores can be relied on now, or why not. Exit code 0 when ready, 1 when not."""
    settings: Settings = context.obj()
    now = datetime.now(UTC)
    report, reason = read_health(settings.checkpoint, now)
    for line in in_words(report, reason, now):
        typer.echo(line)
    for line in watch_in_words(settings.checkpoint, now):
        typer.echo(line)
    if reason:
        raise typer.Exit(1)


def checkpoint(
    context: typer.Context,
    reset: Annotated[
        str | None,
        typer.Option(help="Start again at this moment of the topic: `earliest`, `latest`, or 2026-11-25T06:00:00Z"),
    ] = None,
) -> None:
    """Print what the job has read and counted so far: topic, clock, artifacts and offsets.

    After a reset, counts come from the artifacts' history and the events since that moment.
    """
    settings: Settings = context.obj()
    if reset is None:
        table = Table(box=None, show_header=False, pad_edge=False)
        for row in _progress(settings):
            table.add_row(*row)
        Console(highlight=False).print(table)
        return
    now_s = time.time()
    from_ms = instant_ms(reset, option="--reset", now_s=now_s)
    with only_writer(settings.checkpoint):
        details = {"checkpoint": str(settings.checkpoint.absolute()), "from": reset}
        record(settings.audit, "checkpoint_reset", details, at_s=now_s, checkpoint=settings.checkpoint)
        old = set_aside(settings.checkpoint, stamp(now_s), from_ms=from_ms)
        health_path(settings.checkpoint).unlink(missing_ok=True)  # it describes the job before
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"the next run starts at {reset} of {settings.topic}; {reset_text(old)}")


def _progress(settings: Settings) -> Iterator[tuple[str, str]]:
    folder = settings.checkpoint
    yield "folder", str(folder)
    if unfinished := unfinished_reset(folder):
        yield "reset", f"interrupted ({unfinished.name}): the next `run` or `checkpoint --reset` finishes it"
    if guard := read_guard(folder):
        yield "topic", f"{guard.topic} (id {guard.topic_id})"
        yield "clock", guard.clock
        yield "state partitions", str(guard.shuffle_partitions)
        yield "written by", f"Spark {guard.spark}, counts in layout {guard.state_layout}"
        shown = settings.shown()
        others = [
            f"{name} was {was or 'not set'}, now {shown[name] or 'not set'}"
            for name, was in guard.settings.items()
            if name in shown and was != shown[name]
        ]
        yield "last run", "; ".join(others) or "had the present settings"
    from_ms = begin_ms(folder)
    if from_ms is not None:
        yield "starts at", instant_text(from_ms / 1000)
    for region, entry in read_roster(roster_path(folder)).items():
        yield f"region {region}", f"artifact {entry.version}, spec {entry.fingerprint}"
    commit = last_commit(folder)
    age = f", {time.time() - commit[1]:,.0f} s ago" if commit else ""
    yield "last batch", progress_text(commit) + age
    if commit:
        read = ", ".join(f"{partition}: {offset:,}" for partition, offset in sorted(read_until(folder).items()))
        yield "read up to", f"offset by partition {read}"


def prepare(context: typer.Context) -> None:
    """Fetch Spark's jars. Later starts need no network."""
    settings: Settings = context.obj()
    console = Console(highlight=False)
    java_version()
    groups = needed_jars(settings.checkpoint, settings.spark_state)
    missing = len(missing_jars(settings.cache, groups))
    with console.status(f"fetching {missing} jars ..." if missing else "looking for jars ..."):
        jars = fetch_jars(settings.cache, groups)
    console.print(f"{len(jars)} jars in {settings.cache.expanduser()}", soft_wrap=True)


def executor_command(environment: Mapping[str, str], jars: Path) -> list[str]:
    """The words that start Java as the executor that Spark's driver described in the pod's `environment`.

    Raises SparkFailed when a variable is missing: then it was not Spark that started the container.
    """
    _refuse_missing(environment, (*_EXECUTOR_OPTIONS.values(), "SPARK_EXECUTOR_MEMORY"))
    numbered = sorted(
        (int(name.removeprefix(_JAVA_OPTION)), option)
        for name, option in environment.items()
        if name.startswith(_JAVA_OPTION)
    )
    return [
        "java",
        *(option for _, option in numbered),
        f"-Xmx{environment['SPARK_EXECUTOR_MEMORY']}",
        *("-cp", f"{jars}/*"),
        _BACKEND,
        *(word for option, name in _EXECUTOR_OPTIONS.items() for word in (option, environment[name])),
    ]


def driver_command(environment: Mapping[str, str], arguments: Sequence[str]) -> list[str]:
    """The words that start the program that `spark-submit --deploy-mode cluster`, or an operator, has named.

    Raises SparkFailed when the address that the pod listens at is not in its `environment`.
    """
    _refuse_missing(environment, ["SPARK_DRIVER_BIND_ADDRESS"])
    address = f"spark.driver.bindAddress={environment['SPARK_DRIVER_BIND_ADDRESS']}"
    return ["spark-submit", "--conf", address, "--deploy-mode", "client", *arguments]


def _refuse_missing(environment: Mapping[str, str], names: Sequence[str]) -> None:
    if missing := [name for name in names if not environment.get(name)]:
        fault = f"{', '.join(missing)} is not in the environment"
        raise SparkFailed(fault, remedy="leave this command to Spark on Kubernetes, which starts the pods")


def become(context: typer.Context, arguments: Annotated[list[str] | None, typer.Argument()] = None) -> None:
    """Become the pod that Spark on Kubernetes, or an operator of it, has started: an executor or a driver."""
    environment = os.environ  # noqa: TID251 - what Spark told the pod
    words = (
        executor_command(environment, Path(str(files("pyspark"))) / "jars")
        if context.info_name == "executor"
        else driver_command(environment, arguments or [])
    )
    os.execvp(words[0], words)  # noqa: S606 - without a shell
