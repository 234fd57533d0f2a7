"""What an agency answers for: `withhold` and `audit`, what is stored and how long (`retention`), and `documents`.

One table says what is stored, how long, why, and who may read it; `retention`, its page, and the documents for
officials are made from it. A document takes the rest from the artifact and the settings. What only the agency knows is
marked, and counted.
"""

import math
import os
import shutil
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
import typer
from rich.console import Console
from rich.markup import escape

from schemas import product_version
from schemas.audit import AuditEvent, head_path, kept_head, parse_record, read_log, record, verify
from schemas.batches import KEEP_DAYS
from schemas.errors import AuditError, BrokerError, RegistryError, SettingsError, needs_extra
from schemas.event import ORIGINS
from schemas.files import exclusive, read_json, replace_file, write_errors
from schemas.limits import OLDEST_SCORES_S
from schemas.records import (
    LONGEST,
    STATE,
    RegionState,
    Withheld,
    read_roster,
    read_withheld,
    roster_path,
    withheld_path,
)
from schemas.spec import DAY_S, DAYS_KEPT, HOUR_S
from streaming.checkpoint import SparkFolder, is_held
from streaming.settings import Settings, environment_names, who_decides

if TYPE_CHECKING:
    from models.artifact import Manifest

TEMPLATES = Path(__file__).parents[1] / "templates"
SUFFIX = ".md.j2"
_TIME = "%Y-%m-%d %H:%M:%SZ"
_SPACES: Mapping[str, Any] = {"trim_blocks": True, "lstrip_blocks": True, "keep_trailing_newline": True}
_MINUTE_S = 60
_AREA_KM2 = 1e-6  # of a square metre
ASIDE = ".aside"  # ends the name of an audit log that was set aside
OURS = "retention"  # what it ends; the rest it only shows
_NEWEST = 2  # artifacts of a region without a pointer: the job takes the one before where the newest is damaged
_NAMED = 20  # items in a record of the audit log
_SPARE_DAYS = 35  # of what only explains, or helps after a loss
_VERSIONS = "*/????????T??????Z-????????"
_LEFT = "the job deletes its own sooner; this ends what retired regions and versions left"


class Kind(NamedTuple):
    """A kind of stored thing. place: a setting; where that is a folder, also the pattern of its items, NAME/PATTERN."""

    what: str
    place: str
    days: int  # since an item was last written; 0: `why` says it
    why: str
    readers: str = "the job's user"
    ended_by: str = OURS

    @property
    def setting(self) -> str:
        return self.place.partition("/")[0]


SET_ASIDE = Kind("counts that a reset set aside", "RISK_CHECKPOINT/old-*", KEEP_DAYS,
                 "a reset by mistake can be taken back by hand")  # fmt: skip
BACK_UPS = Kind("back-ups of all of it, with secrets", "--back-ups", _SPARE_DAYS,
                "older ones bring back what has ended elsewhere", "root")  # fmt: skip
ARTIFACTS = Kind("artifacts, each with such counts and ids", f"RISK_ARTIFACTS/{_VERSIONS}", DAYS_KEPT,
                 "what a score was made of can be looked up; what scores or is tried stays",
                 "the job, the judge")  # fmt: skip
REGISTRY = Kind("versions in the registry, with the same", f"RISK_REGISTRY/{_VERSIONS}", DAYS_KEPT,
                "the way back; champion, challenger and the champion before stay", "who promotes, the job")  # fmt: skip
AUDIT = Kind("audit log: settings, versions, who decided", "RISK_AUDIT", DAYS_KEPT, "the AI Act asks for six months of "
             "logs; set aside whole while no job runs, deleted after as long again",
             "the job's user; decisions: also a token that may see the record")  # fmt: skip
TABLE = (
    Kind("events, with places", "RISK_TOPIC", 0, "a new checkpoint reads them again; seven days as shipped",
         "user `scorer`", "Kafka"),
    Kind("refused messages, with their bytes", "RISK_DEAD_LETTER_TOPIC", 0, "a producer corrects and sends again; "
         "seven days as shipped", "user `dlq-reader`", "Kafka"),
    Kind("marks of shifts", "RISK_FEEDBACK_TOPIC", 0, "a store that was away takes them later; 30 days as "
         "shipped", "user `feedback`", "Kafka"),
    Kind("counts by cell; for days hashed ids, and places where calls merge", "RISK_CHECKPOINT/spark", DAYS_KEPT,
         "a year and its weeks are weighed; an id until its incident can no longer be corrected", ended_by="the job"),
    Kind("log of batches, and such counts of each day", "RISK_CHECKPOINT/batches/????-??-??", KEEP_DAYS,
         "the archive takes its days from there, also after it stood still", ended_by="the job"),
    Kind("what Spark shuffles: events with places, refused payloads", "TMPDIR/incident-risk-*", 0, "mode 0700; every "
         "end and start of the job empties it, also after a kill", ended_by="the job"),
    Kind("Spark's log, without places and payloads", "RISK_CHECKPOINT/spark.log", _SPARE_DAYS, "explains a failure; "
         "stays while a job runs"),
    SET_ASIDE,
    Kind("forecasts until they are judged", "RISK_CHECKPOINT/outcomes/*/*.npz", 14, _LEFT),
    Kind("the same of trials, and their counts", "RISK_CHECKPOINT/shadow/*/*/*", 14, _LEFT),
    Kind("judged hours of trials", "RISK_CHECKPOINT/shadow/*.jsonl", 90, _LEFT),
    Kind("what followers learned", "RISK_CHECKPOINT/following/*/*", 60, _LEFT),
    Kind("last scores of each region", "RISK_FRAMES/*.frame", _SPARE_DAYS, "replaced every minute; this ends those of "
         "retired regions", "the service"),
    Kind("scores of the last day, one frame an hour", "RISK_FRAMES/hours/*/*", 2, _LEFT, "the service"),
    ARTIFACTS, REGISTRY, AUDIT, BACK_UPS,
    Kind("final counts by cell and five minutes", "RISK_ARCHIVE", 0, "the next model learns from them; five years by "
         "`archive --keep-days 1826`, as shipped", "who trains", "`risk archive`"),
    Kind("scores, outcomes and marks in the store", "INFLUXDB_V2_BUCKET", 0, "30 days, and 400 as hours in "
         "`risk_long`, as shipped; the job's token may not ask: `influx bucket list`", "Grafana's viewers", "InfluxDB"),
    Kind("scores in a file, without RISK_SINK", "RISK_SINK", 0, "no end, for a first look: set `RISK_SINK=influxdb`",
         ended_by="you"),
    Kind("logs, without places and payloads", "the supervisor", 0, "50 MB of each program in compose.yaml", "root",
         "your supervisor"),
)  # fmt: skip


def withhold(
    context: typer.Context,
    because: Annotated[str, typer.Argument(help="Why, in a sentence that every page shows")] = "",
    end: Annotated[bool, typer.Option("--end", help="Show the scores again")] = False,
) -> None:
    """Withhold all scores, on record: the service at once, the job from its next batch on. It goes on counting."""
    settings: Settings = context.obj()
    if end == bool(because.strip()):
        raise SettingsError("nothing to do", 'say why as `withhold "REASON"`, or end it with `withhold --end`')
    reason = "".join(letter if letter.isprintable() else " " for letter in " ".join(because.split()))
    if len(reason) > LONGEST:
        raise SettingsError(f"a reason of {len(reason)} characters", f"give at most {LONGEST}: every page shows it")
    is_new = not settings.frames.is_dir()
    now_s, before, path = time.time(), read_withheld(settings.frames), withheld_path(settings.frames)
    if end and before is None:
        typer.echo(f"scores are not withheld in {settings.frames}")
        return
    details = {"because": reason, "before": before.in_words() if before else "shown", "by": who_decides(settings)}
    event: AuditEvent = "scores_shown_again" if end else "scores_withheld"
    record(settings.audit, event, details, at_s=now_s, checkpoint=settings.checkpoint)
    with write_errors(SettingsError, path, remedy="make the folder writable for who runs `withhold`"):
        if end:
            path.unlink(missing_ok=True)
            typer.echo("scores are shown again, from the job's next minute on")
            return
        withheld = Withheld(since_s=(before and before.since_s) or int(now_s), because=reason)
        replace_file(path, msgspec.json.encode(withheld) + b"\n")
    typer.echo(f"{withheld.in_words()}; `withhold --end` shows them again")
    if is_new:
        typer.echo(f"{settings.frames} is new: job and service must have the same RISK_FRAMES")


def audit(
    context: typer.Context,
    head: Annotated[str | None, typer.Option(help="A head noted earlier: the log must still contain it")] = None,
    last: Annotated[int, typer.Option(min=0, help="How many of the newest records to print")] = 20,
) -> None:
    """Print the log's newest records, and check that no line was edited, removed or moved. Exit code 10 when one was.

    The log must also contain the head that is kept beside the checkpoint, if that is a head of this file.
    """
    settings: Settings = context.obj()
    log, head_file = settings.audit, head_path(settings.checkpoint)
    own_head = kept_head(settings.checkpoint, log)  # read before the log, which may grow meanwhile
    heads = {name: value for name, value in ((f"the head in {head_file}", own_head), ("the given head", head)) if value}
    compared = f"compared with {' and '.join(heads) or f'no head, as {head_file} has none of this file'}"
    verdict = verify(read_log(log), heads=heads.values())
    console = Console(highlight=False, soft_wrap=True)
    for entry in verdict.records[-last:] if last else ():
        texts = {
            name: value if isinstance(value, str) else msgspec.json.encode(value).decode()
            for name, value in entry.details.items()
        }
        details = ", ".join(f"{name}={text}" for name, text in texts.items() if text != "")
        console.print(escape(f"{entry.sequence} {entry.at:{_TIME}} {entry.event}: {details}"))
    for line in verdict.torn:
        console.print(line)
    if verdict.faults:
        fault = f"the audit log {log} was changed: {'; '.join(verdict.faults)} ({compared})"
        raise AuditError(fault, remedy="restore it from a copy, and find out who can write it")
    if not verdict.records:
        fault = f"the audit log {log} holds no record: it was emptied, or the disk was full at its first ({compared})"
        raise AuditError(fault, remedy="verify a copy, with a head that was noted elsewhere")
    unknown = "" if heads else "; only a head can show whether the last records were removed"
    console.print(
        f"{log}: {len(verdict.records)} records, from {verdict.records[0].at:{_TIME}} to "
        f"{verdict.records[-1].at:{_TIME}}, chain unbroken{unknown}"
    )
    console.print(f"head {verdict.head}")
    console.print(compared + (", found" if heads else ""))
    if head is None:
        only_here = "nothing else shows that last lines are gone"
        why = f"who changes the log may change {head_file} too" if own_head else only_here
        console.print(f"note the head elsewhere, for `--head`: {why}")


@dataclass(frozen=True, slots=True, order=True)
class StoredItem:
    """A file or a folder with all that is in it."""

    days: float  # since any of it was last written
    size: int  # bytes
    path: Path


Stored = tuple[Kind, list[StoredItem], list[StoredItem]]  # a kind, its items, and those that are over; oldest first


def items_in(folder: Path, pattern: str, now_s: float) -> list[StoredItem]:
    """What the pattern finds, the oldest first, without links. pattern: empty for the folder itself."""
    items = []
    for path in folder.glob(pattern) if pattern else [folder]:
        if not path.exists() or path.is_symlink():
            continue
        newest_s, size = 0.0, 0
        for place, _, names in os.walk(path) if path.is_dir() else [(str(path.parent), [], [path.name])]:
            for name in names:
                with suppress(FileNotFoundError):  # a running job replaces files
                    stat = Path(place, name).lstat()
                    newest_s, size = max(newest_s, stat.st_mtime), size + stat.st_size
        items.append(StoredItem((now_s - (newest_s or path.lstat().st_mtime)) / DAY_S, size, path))
    return sorted(items, reverse=True)


def delete(kind: Kind, item: StoredItem) -> None:
    """Of a version first its place in the registry's state and its page, of counts those elsewhere.

    Raises OSError, RiskError.
    """
    if kind is SET_ASIDE:
        elsewhere = SparkFolder.of(item.path)
        for info in elsewhere.listed(deep=True):
            elsewhere.delete(info)
    if kind is REGISTRY:
        home, name = item.path.parent, item.path.name
        with exclusive(home / ".lock"):
            state = region_state(home)
            if name in (state.champion, state.challenger):  # by now
                return
            before, retired = (tuple(each for each in of if each != name) for of in (state.before, state.retired))
            manifests = {each: digest for each, digest in state.manifests.items() if each != name}
            after = msgspec.structs.replace(state, manifests=manifests, before=before, retired=retired)
            replace_file(home / STATE, msgspec.json.format(msgspec.json.encode(after), indent=1))
        shutil.rmtree(home / f"{name}.evaluation", ignore_errors=True)  # first: after a kill the version is still found
    shutil.rmtree(item.path) if item.path.is_dir() else item.path.unlink(missing_ok=True)


def region_state(home: Path) -> RegionState:
    """Of a registry's region. Raises RegistryError."""
    return read_json(home / STATE, RegionState, RegistryError, remedy="restore it from a copy") or RegionState()


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
    for kind, items, due in stored:
        console.print(f"[bold]{escape(kind.what)}[/bold] ({escape(kind.place)})")
        if items:
            size = sum(item.size for item in items) / 1e6
            oldest = f"the oldest {items[0].days:.0f} days old; {len(due)} over"
            console.print(f"    stored: {len(items)}, {size:,.1f} MB, {oldest}")
        limit = f" after {kind.days} days" if kind.days else ""
        console.print(f"    ended{limit} by {kind.ended_by}{ends.get(kind.setting, '')}: {escape(kind.why)}")
        console.print(f"    read by {kind.readers}")
    count = sum(len(due) for _, _, due in stored)
    if apply and count:
        apply_to(settings, stored, now_s)
    console.print(f"{count} are over" + (apply and count > 0) * f", and gone, on record in {settings.audit}")


def apply_to(settings: Settings, stored: Collection[Stored], now_s: float) -> None:
    """Delete what is over, after a record of it. Raises AuditError when it cannot be recorded or deleted."""
    details = {
        kind.place: f"{len(due)} items, {sum(item.size for item in due)} bytes, the oldest {due[0].days:.0f} days: "
        + ", ".join(str(item.path) for item in due[:_NAMED])
        for kind, _, due in stored
        if due
    }
    remedy = "correct its permissions; what follows it is still there"
    is_over = settings.audit in [item.path for _, _, due in stored for item in due]
    stamp = f"{datetime.fromtimestamp(now_s, UTC):%Y%m%dT%H%M%SZ}"
    aside = settings.audit.with_name(f"{settings.audit.name}.{stamp}{ASIDE}") if is_over else None
    record(settings.audit, "retention_applied", details, at_s=now_s, checkpoint=settings.checkpoint, aside=aside)
    for kind, item in [(kind, item) for kind, _, due in stored for item in due if item.path != settings.audit]:
        with write_errors(AuditError, item.path, remedy=remedy):
            delete(kind, item)


def gathered(settings: Settings, back_ups: Collection[Path], now_s: float) -> Iterator[Stored]:
    """What is on this machine's disks, and of each kind what is over. Raises ArtifactError or RegistryError."""
    used, is_running = in_use(settings), is_held(settings.checkpoint)
    used |= {settings.checkpoint / "spark.log"} if is_running else set()
    for kind in TABLE:
        folders = back_ups if kind is BACK_UPS else _folders(settings, kind)
        items = [item for folder in folders for item in items_in(folder, kind.place.partition("/")[2], now_s)]
        if kind is BACK_UPS:
            items = [item for item in items if any(item.path.glob("*.tgz"))]  # as deploy/back-up.sh makes it
        if kind is AUDIT:
            for number, log in enumerate(items):  # as old as its first record
                with log.path.open("rb") as file:
                    first = parse_record(file.readline().rstrip(b"\n"))
                if first:
                    items[number] = replace(log, days=(now_s - first.at.timestamp()) / DAY_S)
            items += items_in(settings.audit.parent, f"{settings.audit.name}.*{ASIDE}", now_s)
        due = [item for item in items if kind.ended_by == OURS and item.days > kind.days]
        in_place = used - {settings.audit} if kind is AUDIT and not is_running else used
        places = [path.resolve() for path in in_place] if due else []
        # But for those that are in use, or hold what is.
        over = [item for item in due if not any(place.is_relative_to(item.path.resolve()) for place in places)]
        yield kind, items, over


def in_use(settings: Settings) -> set[Path]:
    """What must stay, with all folders that hold it. Raises ArtifactError or RegistryError where it is not known."""
    from models.artifact import candidates_by_region, challenger_of  # torch: seconds that `audit` saves
    from schemas.frame import frame_path

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
    for registry in _folders(settings, REGISTRY):
        for home in registry.glob("*/"):
            state = region_state(home)
            roles = [version for version in (state.champion, state.challenger, *state.before[-1:]) if version]
            used |= {folder / version for version in roles for folder in (home, artifacts / home.name)}
        used.add(registry)
    return used


def _folders(settings: Settings, kind: Kind) -> list[Path]:
    """Where things of a kind lie on this machine's disks."""
    value = str(getattr(settings, environment_names().get(kind.setting, ""), "")).removeprefix("file:")
    is_elsewhere = kind.ended_by in ("Kafka", "InfluxDB") or ":" in value or value in ("", "influxdb")
    return [] if is_elsewhere else [Path(value)]


def _ends(settings: Settings) -> dict[str, str]:
    """By setting, when Kafka says that it ends the messages of its topic."""
    from streaming.kafka import KafkaConnection, topic_days  # Kafka's client: time that `withhold` saves

    names = [kind.setting for kind in TABLE if kind.ended_by == "Kafka"]
    topics = {name: topic for name in names if (topic := getattr(settings, environment_names()[name]))}
    try:
        days = topic_days(KafkaConnection.of(settings), topics.values())
    except BrokerError:
        return dict.fromkeys(names, "; it does not answer")
    ends = {}
    for name, topic in topics.items():
        limit = days.get(topic)
        after = f", after {limit:g} days" if limit is not None and limit < math.inf else ", [red]never[/red]"
        ends[name] = "; it does not tell this user when" if limit is None else after
    return ends


def facts_of(manifest: "Manifest", now_s: float) -> Mapping[str, Any]:
    """By the names that the templates use."""
    from models.files.layouts import LAYOUTS, OWNERS_TERMS
    from models.training.train_region import VERDICTS

    spec, data = manifest.spec, manifest.data
    hidden = [origin for origin in ORIGINS if origin not in spec.counted_origins]
    return {
        "region": spec.region,
        "cell_m": spec.grid.cell_m,
        "square_m": spec.grid.cell_m / spec.fine if spec.fine > 1 else 0,
        "cells": spec.grid.cells,
        "area_km2": spec.grid.cells * spec.grid.cell_m**2 * _AREA_KM2,
        "categories": _words(spec.categories),
        "purpose": spec.purpose,
        "masked": spec.masked,
        "counted": _words(spec.counted_origins),
        "not_counted": _words(hidden),
        "answered_by": _words(spec.answered_by),
        "horizons": _words(spec.horizon_names),
        "late_h": spec.late_limit_s / HOUR_S,
        "stale_min": OLDEST_SCORES_S // 60,
        "incidents": data.incidents,
        "first": _date(data.first_s),
        "cutoff": _date(data.cutoff_s),
        "data_age_days": int((now_s - data.cutoff_s) // DAY_S),
        "tick": "minute" if spec.tick_s == _MINUTE_S else f"{spec.tick_s} s",
        "file": data.file_name,
        "sha256": data.sha256,
        "terms": LAYOUTS[data.layout].notice if data.layout in LAYOUTS else OWNERS_TERMS,
        "version": manifest.version,
        "network": manifest.network,
        "product": product_version(),
        "results": [(row["horizon"], VERDICTS[str(row["verdict"])], _plain(row)) for row in manifest.evaluation],
        "kept": [kind for kind in TABLE if kind.ended_by != "you"],
        "made": _date(now_s),
    }


def documents_of(facts: Mapping[str, Any]) -> Iterator[tuple[str, str, Sequence[str]]]:
    """Each document: its file's name, its text in Markdown, and what it asks of the agency.

    Raises SettingsError without Jinja.
    """
    with needs_extra("evaluate"):
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    environment = Environment(  # noqa: S701 - it writes Markdown, of texts that are checked
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, **_SPACES
    )
    for name in sorted(path.name for path in TEMPLATES.glob(f"*{SUFFIX}")):
        asked: list[str] = []

        def agency(what: str, asked: list[str] = asked) -> str:
            """Mark what the agency has to write."""
            asked.append(what)
            return f"**[the agency: {what}]**"

        text = environment.get_template(name).render(facts, agency=agency)
        yield f"{name.removesuffix(SUFFIX)}.md", text, asked


def _plain(row: Mapping[str, str | float]) -> str:
    """For a reader who knows no score. row: of the manifest's evaluation."""
    if row["verdict"] == "tie":
        return "as good as that count, and no better"
    if row["verdict"] not in ("better", "worse"):
        return "not known"
    gain = abs(100 * float(row["difference"]) / float(row["baseline_log_score"]))
    return f"{row['verdict']} than that count, by {gain:.2f}% of the score that is measured"


def _words(names: Sequence[str]) -> str:
    return ", ".join(name.replace("_", " ") for name in names)


def _date(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).date().isoformat()


def documents(
    context: typer.Context,
    region: Annotated[str, typer.Option(help="Whose documents")],
    out: Annotated[Path, typer.Option(help="Folder for them")] = Path("out/documents"),
) -> None:
    """Write a guide for the public, a datasheet with a transparency record, and a draft of both impact assessments.

    What only the agency knows is marked, and nothing claims compliance. The model card lies beside the artifact.
    """
    from models.artifact import champion_of

    settings: Settings = context.obj()
    artifact = champion_of(settings.artifacts, region)
    for name, text, asked in documents_of(facts_of(artifact.manifest, time.time())):
        with write_errors(SettingsError, out / name, remedy="name another folder with --out"):
            out.mkdir(parents=True, exist_ok=True)
            replace_file(out / name, text.encode())
        typer.echo(f"{out / name}: {len(asked)} answers are left to the agency")
