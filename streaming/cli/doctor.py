"""The `doctor` command: checks of a deployment before it runs. Each finding says what is wrong and what to do."""

import re
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import typer
from rich.console import Console
from rich.table import Table

from models.artifact.artifact import newest_artifacts, read_spec
from schemas.errors import ArtifactError, RiskError
from streaming.disk.guard import Guard, changed_settings, other_layout, read_guard
from streaming.disk.locks import is_held
from streaming.disk.spark_files import last_commit
from streaming.job.jars import java
from streaming.roster.roster import load_artifact, misplaced, next_roster, read_roster
from streaming.roster.watch import latest_history_s
from streaming.settings import Settings
from streaming.sinks.open import open_sink
from streaming.topics.admin import needed_rights, topic_faults
from streaming.topics.client import PLAINTEXT, KafkaConnection

_OLDEST_JAVA = 17
_PACKAGES = ("pyspark", "torch", "pandas", "pyarrow", "kafka-python", "influxdb-client", "msgspec")
_OLD_DATA_DAYS = 90
_MARKS = {"ok": "[green]ok[/green]", "warn": "[yellow]note[/yellow]", "fail": "[bold red]wrong[/bold red]"}

Grade = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a check saw. `remedy` is empty when there is nothing to do."""

    what: str
    grade: Grade
    seen: str
    remedy: str = ""


def doctor(context: typer.Context) -> None:
    """Check Java, packages, Kafka, topics, store, artifacts and checkpoint. Exit code 1 when something is wrong."""
    settings: Settings = context.obj
    console = Console(highlight=False)
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("", "what", "seen", "to do"):
        table.add_column(column, overflow="fold")
    with console.status("looking ..."):
        findings = list(examine(settings, now_s=time.time()))
    for finding in findings:
        table.add_row(_MARKS[finding.grade], finding.what, finding.seen, finding.remedy)
    console.print(table)
    wrong = sum(finding.grade == "fail" for finding in findings)
    if wrong:
        console.print(f"\n{wrong} thing(s) to mend before `run` can work")
        raise typer.Exit(1)
    console.print("\nready to run")


def examine(settings: Settings, *, now_s: float) -> Iterator[Finding]:
    """All findings, one after another, so that a slow check does not hold back the ones before it."""
    checks: tuple[tuple[str, Callable[[], Iterator[Finding]]], ...] = (
        ("Java", _java),
        ("packages", _packages),
        ("Kafka connector", lambda: _connector(settings)),
        ("Kafka", lambda: _kafka(settings)),
        ("store", lambda: _store(settings)),
        ("artifacts", lambda: _artifacts(settings, now_s)),
        ("checkpoint", lambda: _counts(settings)),
        ("checkpoint", lambda: _guarded(settings)),
    )
    for what, check in checks:
        try:
            yield from check()
        except RiskError as error:
            yield Finding(what=what, grade="fail", seen=error.message, remedy=error.remedy)


def _java() -> Iterator[Finding]:
    said = subprocess.run([java(), "-version"], capture_output=True, text=True, check=False, timeout=30).stderr
    found = re.search(r'version "(\d+)', said)
    number = int(found[1]) if found else 0
    good = number >= _OLDEST_JAVA
    yield Finding(
        what="Java",
        grade="ok" if good else "fail",
        seen=f"version {number}",
        remedy="" if good else f"install Java {_OLDEST_JAVA} (Debian: openjdk-17-jre-headless)",
    )


def _packages() -> Iterator[Finding]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            yield Finding(what="packages", grade="fail", seen=f"{name} is missing", remedy=f"pip install {name}")
    yield Finding(what="packages", grade="ok", seen=", ".join(f"{name} {number}" for name, number in found.items()))


def _connector(settings: Settings) -> Iterator[Finding]:
    jars = list((settings.cache.expanduser() / "ivy").rglob("*spark-sql-kafka-0-10*.jar"))
    yield Finding(
        what="Kafka connector",
        grade="ok" if jars else "warn",
        seen=f"in {settings.cache}" if jars else f"not in {settings.cache} yet",
        remedy="" if jars else "nothing: the first start fetches it (60 MB) and needs the network for that",
    )


def _kafka(settings: Settings) -> Iterator[Finding]:
    needed = needed_rights(topic=settings.topic, dead_letter_topic=settings.dead_letter_topic)
    kafka = KafkaConnection.of(settings)
    faults = topic_faults(kafka, needed)
    how = "in plain text" if kafka.security == PLAINTEXT else f"over TLS, to user {kafka.security.username}"
    yield Finding(what="Kafka", grade="ok", seen=f"answers at {settings.kafka_bootstrap} {how}")
    for topic, right in needed.items():
        if fault := faults.get(topic):
            yield Finding(what="topic", grade="fail", seen=fault.message, remedy=fault.remedy)
        else:
            yield Finding(what="topic", grade="ok", seen=f"{topic} exists, and we may {right.lower()} it")


def _store(settings: Settings) -> Iterator[Finding]:
    if settings.sink.startswith("file:") and is_held(settings.checkpoint):
        yield Finding(what="store", grade="ok", seen=f"{settings.sink} is not tried: the job that runs now writes it")
        return
    sink = open_sink(settings)
    try:
        sink.check()
    finally:
        sink.close()
    place = f"{settings.influx_url}, bucket {settings.influx_bucket}" if settings.sink == "influxdb" else settings.sink
    tokenless = settings.sink == "influxdb" and not settings.influx_token.get_secret_value()
    seen = f"{place} may be written" + (" without a token: by anybody" if tokenless else "")
    yield Finding(
        what="store",
        grade="warn" if tokenless else "ok",
        seen=seen,
        remedy="let it ask for one, and give ours as INFLUXDB_V2_TOKEN" if tokenless else "",
    )


def _artifacts(settings: Settings, now_s: float) -> Iterator[Finding]:
    regions = newest_artifacts(settings.artifacts)
    if not regions:
        yield Finding(
            what="artifacts",
            grade="fail",
            seen=f"{settings.artifacts} is empty",
            remedy="train one with `python -m models train`, or correct RISK_ARTIFACTS",
        )
    before, artifacts = read_roster(settings.checkpoint / "roster.json"), settings.artifacts.absolute()
    roster, refused = next_roster(before, artifacts, latest_s=latest_history_s(settings.clock, now_s))
    if stray := misplaced(roster, artifacts):
        yield Finding(what="artifacts", grade="fail", seen=stray.message, remedy=stray.remedy)
    for each in refused:
        region, version = Path(each.folder).parts[-2:]
        grade: Grade = "warn" if region in roster else "fail"
        seen = f"{version} is refused: {each.error.message}"
        yield Finding(what=f"artifact {region}", grade=grade, seen=seen, remedy=each.error.remedy)
    for region, entry in roster.items():
        artifact = load_artifact(entry.folder)
        days = (now_s - artifact.manifest.data.cutoff_s) / 86_400
        old = days > _OLD_DATA_DAYS and settings.clock == "wall"
        seen = f"version {artifact.version}, spec {artifact.spec.fingerprint()}, data end {days:.0f} days ago"
        remedy = "train again with newer incidents: the map rests on old habits" if old else ""
        if artifact.network_fault:
            old, seen, remedy = True, f"{seen}; no network: {artifact.network_fault}", "copy the artifact again"
        yield Finding(what=f"artifact {region}", grade="warn" if old else "ok", seen=seen, remedy=remedy)


def _counts(settings: Settings) -> Iterator[Finding]:
    folder = settings.checkpoint
    if is_held(folder):
        yield Finding(what="checkpoint", grade="ok", seen=f"{folder} is in use by a job that runs now")
    roster = read_roster(folder / "roster.json")
    if not roster:
        yield Finding(
            what="checkpoint", grade="ok", seen=f"{folder} is new: counting starts from the artifacts' history"
        )
        return
    available = newest_artifacts(settings.artifacts)
    for region, entry in roster.items():
        specs = _fingerprints(available.get(region, []))
        good = entry.fingerprint in specs
        yield Finding(
            what=f"checkpoint {region}",
            grade="ok" if good else "fail",
            seen=f"counts are for spec {entry.fingerprint}" + ("" if good else f", artifacts are for {sorted(specs)}"),
            remedy=""
            if good
            else "bring back an artifact of that spec, train `--like` it, or start with a new RISK_CHECKPOINT",
        )


def _fingerprints(folders: Sequence[Path]) -> set[str]:
    """Of the specs that can be read: what is damaged, or still being copied, is the artifacts' own finding."""
    found = set()
    for folder in folders:
        with suppress(ArtifactError):
            found.add(read_spec(folder).fingerprint())
    return found


def _guarded(settings: Settings) -> Iterator[Finding]:
    guard = read_guard(settings.checkpoint)
    if guard and last_commit(settings.checkpoint):
        if layout := other_layout(guard):
            remedy = "go back to the version that wrote them, or begin anew with `checkpoint reset`"
            yield Finding(what="checkpoint layout", grade="fail", seen=layout, remedy=remedy)
        changed = changed_settings(guard, Guard.of(settings, guard.topic_id))
        yield Finding(
            what="checkpoint",
            grade="fail" if changed else "ok",
            seen="; ".join(changed) or f"reads {guard.topic}, {guard.clock} clock",
            remedy="set back, or begin anew with `checkpoint reset`" if changed else "",
        )
