"""The `retention` command: what is stored, how old it is, when it ends and why, who may read it; and the end itself."""

import math
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

import streaming.disk.retention as table
from models.artifact.pointer import candidates_by_region, challenger_of
from schemas.audit.log import parse_record, record
from schemas.errors import AuditError, BrokerError
from schemas.files import write_errors
from schemas.left_behind.frame_file import frame_path
from schemas.left_behind.roster import read_roster, roster_path
from schemas.spec import DAY_S
from streaming.disk.checkpoint import is_held
from streaming.disk.retention import Kept, StoredItem
from streaming.settings import Settings, environment_names
from streaming.topics.kafka import KafkaConnection, topic_days

_NEWEST = 2  # artifacts of a region without a pointer: the job takes the one before where the newest is damaged
_NAMED = 20  # items in a record of the audit log
Stored = tuple[Kept, list[StoredItem], list[StoredItem]]  # a kind, its items, and those that are over; oldest first


def retention(
    context: typer.Context,
    apply: Annotated[bool, typer.Option("--apply", help="Delete what is over, on record in the audit log")] = False,
    back_ups: Annotated[list[Path] | None, typer.Option(help="Folder of a back-up; several may be given")] = None,
) -> None:
    """Show all that is stored: since when, until when, why, who may read it. With --apply, delete what is over.

    Nothing goes that scores or is tried. What Kafka and the store keep, they end themselves.
    """
    settings: Settings = context.obj()
    now_s, console = time.time(), Console(highlight=False, soft_wrap=True)
    stored = list(gathered(settings, back_ups or [Path("backup")], now_s))
    ends = _ends(settings)
    for kept, items, due in stored:
        console.print(*_in_words(kept, items, len(due), ends.get(kept.setting, "")), sep="\n    ")
    count = sum(len(due) for _, _, due in stored)
    if apply and count:
        apply_to(settings, stored, now_s)
    console.print(f"{count} are over" + (apply and count > 0) * f", and gone, on record in {settings.audit}")


def apply_to(settings: Settings, stored: Collection[Stored], now_s: float) -> None:
    """Delete what is over, after a record of it. Raises AuditError when it cannot be recorded or deleted."""
    details = {
        kept.place: f"{len(due)} items, {sum(item.size for item in due)} bytes, the oldest {due[0].days:.0f} days: "
        + ", ".join(str(item.path) for item in due[:_NAMED])
        for kept, _, due in stored
        if due
    }
    remedy = "correct its permissions; what follows it is still there"
    is_over = settings.audit in [item.path for _, _, due in stored for item in due]
    aside = table.aside_path(settings.audit, now_s) if is_over else None
    record(settings.audit, "retention_applied", details, at_s=now_s, checkpoint=settings.checkpoint, aside=aside)
    for kept, item in [(kept, item) for kept, _, due in stored for item in due if item.path != settings.audit]:
        with write_errors(AuditError, item.path, remedy=remedy):
            table.delete(kept, item)


def gathered(settings: Settings, back_ups: Collection[Path], now_s: float) -> Iterator[Stored]:
    """What is on this machine's disks, and of each kind what is over. Raises ArtifactError or RegistryError."""
    used, is_running = in_use(settings), is_held(settings.checkpoint)
    used |= {settings.checkpoint / "spark.log"} if is_running else set()
    for kept in table.TABLE:
        folders = back_ups if kept is table.BACK_UPS else _folders(settings, kept)
        items = [item for folder in folders for item in table.items_in(folder, kept.place.partition("/")[2], now_s)]
        if kept is table.BACK_UPS:
            items = [item for item in items if any(item.path.glob("*.tgz"))]  # as deploy/back-up.sh makes it
        if kept is table.AUDIT:
            items = [_log(item, now_s) for item in items]
            items += table.items_in(settings.audit.parent, f"{settings.audit.name}.*{table.ASIDE}", now_s)
        due = table.over(kept, items, used - {settings.audit} if kept is table.AUDIT and not is_running else used)
        yield kept, items, due


def in_use(settings: Settings) -> set[Path]:
    """What must stay, with all folders that hold it. Raises ArtifactError or RegistryError where it is not known."""
    checkpoint, artifacts = settings.checkpoint, settings.artifacts
    used = {checkpoint / "spark", checkpoint / "batches", artifacts, settings.audit, settings.frames}
    used |= {old for old in checkpoint.glob("old-*") if is_held(old)}
    for region, entry in read_roster(roster_path(checkpoint)).items():
        used |= {Path(folder) for folder in (entry.folder, entry.challenger) if folder}
        used |= {checkpoint / "following" / region / entry.version, frame_path(settings.frames, region)}
    for region, candidates in (candidates_by_region(artifacts) if artifacts.is_dir() else {}).items():
        if candidates.fault:
            raise candidates.fault
        used |= {*candidates.folders[:_NEWEST], challenger_of(artifacts, region) or artifacts}
    for registry in _folders(settings, table.REGISTRY):
        for home in registry.glob("*/"):
            state = table.region_state(home)
            roles = [version for version in (state.champion, state.challenger, *state.before[-1:]) if version]
            used |= {folder / version for version in roles for folder in (home, artifacts / home.name)}
        used.add(registry)
    return used


def _log(log: StoredItem, now_s: float) -> StoredItem:
    """The audit log, as old as its first record."""
    with log.path.open("rb") as file:
        first = parse_record(file.readline().rstrip(b"\n"))
    return StoredItem((now_s - first.at.timestamp()) / DAY_S, log.size, log.path) if first else log


def _folders(settings: Settings, kept: Kept) -> list[Path]:
    """Where things of a kind lie on this machine's disks."""
    value = str(getattr(settings, environment_names().get(kept.setting, ""), "")).removeprefix("file:")
    is_elsewhere = kept.ended_by in ("Kafka", "InfluxDB") or ":" in value or value in ("", "influxdb")
    return [] if is_elsewhere else [Path(value)]


def _ends(settings: Settings) -> dict[str, str]:
    """By setting, when Kafka says that it ends the messages of its topic."""
    names = [kept.setting for kept in table.TABLE if kept.ended_by == "Kafka"]
    topics = {name: topic for name in names if (topic := getattr(settings, environment_names()[name]))}
    try:
        days = topic_days(KafkaConnection.of(settings), topics.values())
    except BrokerError:
        return dict.fromkeys(names, "; it does not answer")
    said = {topic: f", after {of:g} days" if of < math.inf else ", [red]never[/red]" for topic, of in days.items()}
    return {name: said.get(topic, "; it does not tell this user when") for name, topic in topics.items()}


def _in_words(kept: Kept, items: list[StoredItem], count: int, end: str) -> Iterator[str]:
    yield f"[bold]{escape(kept.what)}[/bold] ({escape(kept.place)})"
    if items:
        size = sum(item.size for item in items) / 1e6
        yield f"stored: {len(items)}, {size:,.1f} MB, the oldest {items[0].days:.0f} days old; {count} over"
    limit = f" after {kept.days} days" if kept.days else ""
    yield f"ended{limit} by {kept.ended_by}{end}: {escape(kept.why)}"
    yield f"read by {kept.readers}"
