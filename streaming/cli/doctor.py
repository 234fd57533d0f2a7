"""The `doctor` command: checks a deployment before the job runs."""

import os
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import typer
from rich.console import Console
from rich.text import Text

from models.artifact import newest_artifacts, read_spec
from schemas.areas import read_masks
from schemas.audit import kept_head, read_log, verify
from schemas.errors import ArtifactError, CheckpointError, RiskError, SettingsError
from schemas.files import make_writable, write_errors
from schemas.records import START_IT, pointer_path, read_heartbeat, read_roster, roster_path
from streaming.artifacts_in_force import latest_history_s, load_artifact, misplaced, next_roster
from streaming.checkpoint import (
    CheckpointGuard,
    changed_settings,
    is_held,
    last_commit,
    only_writer,
    other_layout,
    read_guard,
    refuse_unshared,
)
from streaming.cli.job_commands import refuse_frames
from streaming.jars import java, java_version, missing_jars, needed_jars
from streaming.kafka import KafkaConnection, Right, topic_faults
from streaming.settings import Settings
from streaming.sinks.sink import open_sink

_PACKAGES = ("pyspark", "torch", "pandas", "pyarrow", "kafka-python", "influxdb-client", "msgspec")
_OLD_DATA_DAYS = 90
_MARKS = {"ok": ("ok     ", "green"), "warn": ("note   ", "yellow"), "fail": ("wrong  ", "bold red")}
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))  # of a container
_BESIDE_HEAP = 2 << 30  # bytes that Java beside its heap, this program and its workers may take

Grade = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check. `remedy` is empty when there is nothing to do."""

    what: str
    seen: str
    grade: Grade = "ok"
    remedy: str = ""

    @classmethod
    def of(cls, what: str, error: RiskError) -> "Finding":
        return cls(what, error.message, "fail", error.remedy)


def doctor(context: typer.Context) -> None:
    """Check Java, packages, Kafka, topics, store, artifacts and checkpoint. Exit code 1 when something is wrong."""
    settings: Settings = context.obj()
    console = Console(highlight=False)
    with console.status("checking ..."):
        findings = list(examine(settings, now_s=time.time()))
    for finding in findings:
        line = Text.assemble(_MARKS[finding.grade], (finding.what, "bold"), ": ", finding.seen)
        line.append(f"\n       {finding.remedy}" if finding.remedy else "")
        console.print(line, soft_wrap=not console.is_terminal)
    wrong = sum(finding.grade == "fail" for finding in findings)
    if wrong:
        console.print(f"\n{wrong} {'fault' if wrong == 1 else 'faults'} to repair before `run` can work")
        raise typer.Exit(1)
    console.print("\nready to run")


def examine(settings: Settings, *, now_s: float) -> Iterator[Finding]:
    """All findings, one after another. A check that fails does not stop the next one."""
    checks = (  # generators: each runs in the loop below
        ("Java", _java()),
        ("memory", _memory(settings)),
        ("packages", _packages()),
        ("Kafka connector", _connector(settings)),
        ("Kafka", _kafka(settings)),
        ("store", _store(settings)),
        ("artifacts", _artifacts(settings, now_s)),
        ("frames", _frames(settings)),
        ("audit log", _audit(settings)),
        ("metrics", _metrics(settings)),
        ("checkpoint", _counts(settings)),
        ("checkpoint", _guarded(settings)),
        ("Spark's state", _state(settings)),
        ("watch", _watch(settings, now_s)),
    )
    for what, findings in checks:
        try:
            yield from findings
        except RiskError as error:
            yield Finding.of(what, error)


def _java() -> Iterator[Finding]:
    yield Finding("Java", f"version {java_version()}, {java()}")


def _memory(settings: Settings) -> Iterator[Finding]:
    heap = int(settings.driver_memory[:-1]) << {"m": 20, "g": 30}[settings.driver_memory[-1]]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in _LIMITS:
        with suppress(OSError, ValueError):  # no container, or `max`
            memory = min(memory, int(limit.read_text(encoding="utf-8")))
    seen = f"the driver's heap is {settings.driver_memory} of {memory / (1 << 30):.1f} GiB"
    if heap + _BESIDE_HEAP <= memory:
        yield Finding("memory", seen)
        return
    remedy = f"set RISK_DRIVER_MEMORY lower: all beside it may need {_BESIDE_HEAP >> 30} GiB; or give more memory"
    yield Finding("memory", seen, "fail" if heap >= memory else "warn", remedy)


def _packages() -> Iterator[Finding]:
    yield Finding("packages", ", ".join(f"{name} {version(name)}" for name in _PACKAGES))


def _connector(settings: Settings) -> Iterator[Finding]:
    cache = settings.cache
    if missing_jars(cache, needed_jars(settings.checkpoint, settings.spark_state)):
        remedy = "nothing: the first start fetches it (10 MB) and needs the network for that"
        yield Finding("Kafka connector", f"not in {cache} yet", "warn", remedy)
    else:
        yield Finding("Kafka connector", f"in {cache}")


def _kafka(settings: Settings) -> Iterator[Finding]:
    needed: dict[str, Right] = {settings.topic: "READ", settings.dead_letter_topic: "WRITE"}
    kafka = KafkaConnection.of(settings)
    faults = topic_faults(kafka, needed)
    how = f"over TLS, to user {kafka.username}" if kafka.uses_tls else "in plain text"
    yield Finding("Kafka", f"answers at {settings.kafka_bootstrap} {how}")
    for topic, right in needed.items():
        if fault := faults.get(topic):
            yield Finding.of("topic", fault)
        else:
            yield Finding("topic", f"{topic} exists, and we may {right.lower()} it")


def _store(settings: Settings) -> Iterator[Finding]:
    if settings.sink.startswith("file:") and is_held(settings.checkpoint):
        yield Finding("store", f"{settings.sink} is not tried: the job that runs now writes it")
        return
    with closing(open_sink(settings)) as sink:
        sink.check()
    if settings.sink != "influxdb":
        yield Finding("store", f"{settings.sink} can be written")
        return
    place = f"{settings.influx_url}, bucket {settings.influx_bucket}"
    if settings.influx_token.get_secret_value():
        yield Finding("store", f"{place} can be written")
    else:
        remedy = "let the store require a token, and set INFLUXDB_V2_TOKEN"
        yield Finding("store", f"{place} can be written without a token: by anybody", "warn", remedy)


def _frames(settings: Settings) -> Iterator[Finding]:
    refuse_frames(settings.frames)
    yield Finding("frames", f"{settings.frames} can be written")


def _audit(settings: Settings) -> Iterator[Finding]:
    remedy = "name a file in a folder that you may write"
    with write_errors(SettingsError, f"RISK_AUDIT={settings.audit}", remedy=remedy):
        make_writable(settings.audit.parent)
    head, content = kept_head(settings.checkpoint, settings.audit), b""
    if settings.audit.exists():
        content = read_log(settings.audit)
    if faults := verify(content, heads=[head] if head else []).faults:
        yield Finding("audit log", f"{settings.audit} was changed: {faults[0]}", "warn", "look at it with `audit`")
    else:
        yield Finding("audit log", f"{settings.audit} can be written")


def _metrics(settings: Settings) -> Iterator[Finding]:
    from streaming.watchers import served  # pyarrow: time that other commands save

    if settings.metrics and not is_held(settings.checkpoint):  # by the job, which listens there
        with served(settings.metrics, lambda: False, lambda: None):
            yield Finding("metrics", f"{settings.metrics} is free")


def _artifacts(settings: Settings, now_s: float) -> Iterator[Finding]:
    if not newest_artifacts(settings.artifacts):
        remedy = "train a model with `risk train`, or correct RISK_ARTIFACTS"
        yield Finding("artifacts", f"{settings.artifacts} is empty", "fail", remedy)
    before, artifacts = read_roster(roster_path(settings.checkpoint)), settings.artifacts.absolute()
    masked, latest_s = read_masks(settings.masks).digest, latest_history_s(settings.clock, now_s)
    roster, refused = next_roster(before, artifacts, latest_s=latest_s, masked=masked)
    if stray := misplaced(roster, artifacts):
        yield Finding.of("artifacts", stray)
    for each in refused:
        region, name = Path(each.folder).parts[-2:]
        is_named = pointer_path(artifacts, region).exists()  # then all that is looked at was promoted
        grade: Grade = "warn" if region in roster and not is_named else "fail"
        yield Finding(f"artifact {region}", f"{name} is refused: {each.error.message}", grade, each.error.remedy)
    for region, entry in roster.items():
        artifact = load_artifact(entry.folder)
        days = (now_s - artifact.manifest.data.cutoff_s) / 86_400
        age = f"data end {days:.0f} days ago" if artifact.manifest.data.incidents else f"untrained, {days:.0f} days old"
        result = f"version {artifact.version}, spec {artifact.spec.fingerprint()}, {age}"
        finding = Finding(f"artifact {region}", result)
        if artifact.network_fault:
            fault = f"{result}; no network: {artifact.network_fault}"
            finding = replace(finding, seen=fault, grade="warn", remedy="copy the artifact again")
        elif days > _OLD_DATA_DAYS and settings.clock == "wall":
            finding = replace(finding, grade="warn", remedy="the data are old, so train with newer incidents")
        yield finding


def _counts(settings: Settings) -> Iterator[Finding]:
    checkpoint = settings.checkpoint
    if is_held(checkpoint):
        yield Finding("checkpoint", f"{checkpoint} is in use by a job that runs now")
    else:
        with write_errors(CheckpointError, f"RISK_CHECKPOINT={checkpoint}"), only_writer(checkpoint):
            make_writable(checkpoint)
    roster = read_roster(roster_path(checkpoint))
    if not roster:
        yield Finding("checkpoint", f"{checkpoint} is new: counting starts from the artifacts' history")
        return
    available = newest_artifacts(settings.artifacts)
    for region, entry in roster.items():
        specs = set()
        for folder in available.get(region, []):
            with suppress(ArtifactError):  # `_artifacts` reports those that are damaged or still being copied
                specs.add(read_spec(folder).fingerprint())
        finding = Finding(f"checkpoint {region}", f"counts are for spec {entry.fingerprint}")
        if entry.fingerprint not in specs:
            remedy = "bring back an artifact of that spec, train `--like` it, or for a new spec `checkpoint --reset`"
            result = f"{finding.seen}, artifacts are for {', '.join(sorted(specs)) or 'none'}"
            finding = replace(finding, seen=result, grade="fail", remedy=remedy)
        yield finding


def _guarded(settings: Settings) -> Iterator[Finding]:
    guard = read_guard(settings.checkpoint)
    if guard and last_commit(settings.checkpoint):
        if layout := other_layout(guard):
            remedy = "go back to the version that wrote them, or start again with `checkpoint --reset`"
            yield Finding("checkpoint layout", layout, "fail", remedy)
        if changed := changed_settings(guard, CheckpointGuard.of(settings, guard.topic_id)):
            remedy = "set the old values, or start again with `checkpoint --reset`"
            yield Finding("checkpoint", "; ".join(changed), "fail", remedy)
        else:
            yield Finding("checkpoint", f"reads {guard.topic}, {guard.clock} clock")


def _state(settings: Settings) -> Iterator[Finding]:
    if settings.spark_state:
        refuse_unshared(settings.spark_state)
        yield Finding("Spark's state", f"{settings.spark_state} can be written")


def _watch(settings: Settings, now_s: float) -> Iterator[Finding]:
    heartbeat = read_heartbeat(settings.checkpoint)
    faults = heartbeat.faults(now_s) if heartbeat else ["none has run yet"]
    for fault in faults:
        yield Finding("watch", fault, "warn", START_IT if heartbeat is None else "see its log")
    if not faults:
        yield Finding("watch", "judges, archives and asks for retraining beside the job")
