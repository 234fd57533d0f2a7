"""Replay of an incident file: what is sent and when, decided from a table, a mix and a seed; and the sending.

`plan_replay` decides everything, `messages` turns a plan into bytes, `send_plan` sends them. `poison_messages` are
messages that must be refused, each with the reason that its dead letter has to give: for `--mixed`, the demo and the
tests of the whole chain, what a broken or careless producer sends.
"""

import gzip
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args

import msgspec
import numpy as np
import numpy.typing as npt
import typer
from kafka import KafkaProducer
from kafka.errors import KafkaError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

import schemas
from models.files.incident_files import IncidentTable, read_incidents
from models.files.layouts import LAYOUT_HELP, parse_layout
from models.local_time import local_from_utc, utc_from_local, zone_of
from schemas.errors import BrokerError, DataError
from schemas.event import Event, Status
from schemas.limits import MAX_EVENT_BYTES
from schemas.spec import DAY_S, HOUR_S, SLUG, Spec
from streaming.kafka import KafkaConnection, broker_error, producer_of, topic_faults
from streaming.settings import Settings

# The sample (streaming/sample/NOTICE.md says what it is; `python -m deploy.cut_sample` cuts it).
SAMPLE = Path(__file__).parents[1] / "sample" / "montgomery_storm.csv"
GROUND = SAMPLE.with_name("montgomery_ground.geojson")  # outline, main roads and municipalities, for `serve --streets`
ARTIFACTS = SAMPLE.with_name("artifacts")
REGION = "montgomery"
DEMO_DAY = "2016-07-25"  # a Monday of 580 calls, with a thunderstorm from six in the evening

KINDS = ("incidents", "duplicates", "corrections", "bad")
INCIDENT, DUPLICATE, CORRECTION, BAD = range(len(KINDS))
WEEK_S = 7 * DAY_S
_OPEN, _, _CANCELLED = get_args(Status)
_MOVED, _RECLASSIFIED, _CANCELLATION = range(3)  # kinds of correction
_MOVE_DEG = 0.003  # about 300 m: often into the next cell, never into the next town
_PATIENCE_S = 30.0  # of the producer
_EXAMPLES = Path(schemas.__file__).parent / "examples"
_SWAPPED = "outside_grid--latitude_and_longitude_swapped"  # its reason depends on where the region lies
_IN_EXAMPLES = ("incident_id", "region", "occurred_at", "category", "lat", "lon")  # what is exchanged, by its text


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """Messages added to the incidents. Each number is a share of the incidents, 0..1."""

    duplicates: float = 0.0  # the same bytes again, up to ten minutes later
    corrections: float = 0.0  # revision 1, one to thirty minutes later: moved, another category, or cancelled
    bad: float = 0.0  # messages that the job must refuse
    seed: int = 0


MIXED = Mix(duplicates=0.06, corrections=0.04, bad=0.03, seed=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayPlan:
    """The messages of a replay in the order of sending. Arrays of messages are (m,), arrays of incidents (n,)."""

    table: IncidentTable
    region: str
    position: npt.NDArray[np.int64]  # (n,) the incident's position in `table`
    occurred_s: npt.NDArray[np.int64]  # (n,) shifted event time, epoch seconds UTC
    received_ms: npt.NDArray[np.int64]  # (n,) when the dispatch centre would have received it
    change: npt.NDArray[np.int8]  # (n,) what a correction of it would change
    send_ms: npt.NDArray[np.int64]  # (m,) simulated time of sending; Kafka's timestamp
    kind: npt.NDArray[np.int8]  # (m,) position in KINDS
    subject: npt.NDArray[np.int64]  # (m,) which of the n incidents, or which of the bad messages

    def __len__(self) -> int:
        return len(self.send_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    key: bytes
    value: bytes | None
    send_ms: int
    kind: int


Due = Callable[[int], float]  # when to send, seconds from now, by the simulated time of sending in milliseconds


class _SentEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    """An event; fields at their default are left out of the JSON."""


def plan_replay(
    table: IncidentTable,
    *,
    region: str,
    mix: Mix,
    weeks: int = 0,
    from_s: int | None = None,
    to_s: int | None = None,
) -> ReplayPlan:
    """Plan the incidents with from_s <= occurred < to_s (epoch seconds UTC, before the shift), moved by `weeks`.

    The same arguments give the same plan. Raises DataError when there is no incident in the span.
    """
    if not re.fullmatch(SLUG, region):
        raise DataError(f"region {region!r} is not a slug", "use a-z, 0-9, - and _, as the artifact's region does")
    if from_s is not None and to_s is not None and from_s >= to_s:
        raise DataError("--from is not before --to", "exchange them, or give a later --to")
    chosen = np.ones(len(table), bool)
    if from_s is not None:
        chosen &= table.occurred_s >= from_s
    if to_s is not None:
        chosen &= table.occurred_s < to_s
    if not chosen.any():
        first, last = (local_text(int(table.occurred_s[end]), table.timezone) for end in (0, -1))
        remedy = f"the file has {first} to {last} ({table.timezone})"
        raise DataError("no incident lies between --from and --to", remedy)
    position, n = np.flatnonzero(chosen), int(chosen.sum())
    random = np.random.default_rng(mix.seed)
    occurred_s = shifted(table.occurred_s[position], table.timezone, days=7 * weeks)
    received_ms = occurred_s * 1000 + np.minimum(2_000 + random.exponential(20_000, n), 240_000).astype(np.int64)
    again = np.sort(random.permutation(n)[: round(mix.duplicates * n)])
    corrected = np.sort(random.permutation(n)[: round(mix.corrections * n)])
    bad = round(mix.bad * n)
    send_ms = np.concatenate(
        [
            received_ms,
            received_ms[again] + random.integers(1_000, 600_000, len(again)),
            received_ms[corrected] + random.integers(60_000, 1_800_000, len(corrected)),
            random.integers(received_ms.min(), received_ms.max() + 1, bad),
        ]
    )
    order = np.argsort(send_ms, kind="stable")
    kind = np.repeat(np.arange(len(KINDS), dtype=np.int8), (n, len(again), len(corrected), bad))
    return ReplayPlan(
        table=table,
        region=region,
        position=position,
        occurred_s=occurred_s,
        received_ms=received_ms,
        change=random.integers(0, 3, n).astype(np.int8),
        send_ms=send_ms[order],
        kind=kind[order],
        subject=np.concatenate([np.arange(n), again, corrected, np.arange(bad)])[order],
    )


def shifted(utc_s: npt.NDArray[np.int64], timezone: str, *, days: int) -> npt.NDArray[np.int64]:
    """The instants `days` later on the local clock: the hour stays the same across a change of summer time."""
    if days == 0:
        return utc_s
    moved, _ = utc_from_local(local_from_utc(utc_s, timezone) + days * DAY_S, timezone)
    return moved


def weeks_until(last_s: int, *, now_s: int, timezone: str) -> int:
    """The most whole weeks by which `last_s` can move without passing `now_s`; negative when it lies in the future."""
    last, now = local_from_utc(np.array([last_s, now_s], np.int64), timezone).tolist()
    return int((now - last) // WEEK_S)


def messages(plan: ReplayPlan) -> Iterator[Message]:
    """The plan's messages in the order of sending."""
    poisons = poison_messages(_event(plan, 0))
    for send_ms, kind, subject in zip(plan.send_ms.tolist(), plan.kind.tolist(), plan.subject.tolist(), strict=True):
        if kind == BAD:
            # 37 shares no factor with the number of kinds, so that few bad messages are still of many kinds
            value = poisons[subject * 37 % len(poisons)].value
            yield Message(key=f"bad-{subject:07d}".encode(), value=value, send_ms=send_ms, kind=kind)
            continue
        event = _event(plan, subject)
        if kind == CORRECTION:
            event = _corrected(plan, event, subject, received_ms=send_ms)
        key = event.incident_id.encode()
        yield Message(key=key, value=msgspec.json.encode(event), send_ms=send_ms, kind=kind)


def _event(plan: ReplayPlan, subject: int) -> _SentEvent:
    table, position = plan.table, int(plan.position[subject])
    return _SentEvent(
        incident_id=table.incident_id(position),
        region=plan.region,
        occurred_at=datetime.fromtimestamp(int(plan.occurred_s[subject]), UTC),
        category=table.categories[table.category[position]],
        lat=float(table.lat_deg[position]),
        lon=float(table.lon_deg[position]),
        origin="public_call",
        received_at=_instant(int(plan.received_ms[subject])),
    )


def _corrected(plan: ReplayPlan, event: _SentEvent, subject: int, *, received_ms: int) -> _SentEvent:
    categories = plan.table.categories
    changes: dict[str, Any] = {"revision": 1, "received_at": _instant(received_ms)}
    change = int(plan.change[subject])
    if change == _RECLASSIFIED and len(categories) > 1:
        changes["category"] = categories[(categories.index(event.category) + 1) % len(categories)]
    elif change == _CANCELLATION:
        changes["status"] = _CANCELLED
    else:
        changes["lat"] = event.lat + (_MOVE_DEG if event.lat < 0 else -_MOVE_DEG)
    return msgspec.structs.replace(event, **changes)


def _instant(epoch_ms: int) -> datetime:
    return datetime.fromtimestamp(epoch_ms // 1000, UTC) + timedelta(milliseconds=epoch_ms % 1000)


def parse_when(text: str, timezone: str) -> int:
    """Epoch seconds of an ISO 8601 date or time; without an offset it is local time. Raises DataError otherwise."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise DataError(f"{text!r} is no date or time", "write 2016-01-23 or 2016-01-23T18:30") from error
    return int((when if when.tzinfo else when.replace(tzinfo=zone_of(timezone))).timestamp())


def local_text(epoch_s: int, timezone: str) -> str:
    """`2016-01-23 18:30` on the local clock."""
    return datetime.fromtimestamp(epoch_s, zone_of(timezone)).strftime("%Y-%m-%d %H:%M")


def send_messages(
    planned: Iterable[Message], producer: KafkaProducer, *, topic: str, on_sent: Callable[[Message], None]
) -> Mapping[str, int]:
    """Send all and wait for every acknowledgement; messages by kind. Raises BrokerError at the first failure."""
    failures: list[BaseException] = []
    sent: Counter[str] = Counter()
    try:
        for message in planned:
            future = producer.send(topic, key=message.key, value=message.value, timestamp_ms=message.send_ms)
            future.add_errback(failures.append)
            if failures:
                break
            sent[KINDS[message.kind]] += 1
            on_sent(message)
        producer.flush(timeout=60)
    except KafkaError as error:
        failures.append(error)
    if failures:
        raise BrokerError(
            f"Kafka did not accept a message for topic {topic!r} ({failures[0]})", "check that the broker still runs"
        ) from failures[0]
    return {name: sent[name] for name in KINDS}


def send_plan(
    plan: ReplayPlan,
    kafka: KafkaConnection,
    topic: str,
    *,
    due_s: Due | None,
    on_sent: Callable[[Message], None] = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Mapping[str, int]:
    """Send each message when it is due, or all at once; messages by kind, all acknowledged."""
    if faults := topic_faults(kafka, {topic: "WRITE"}):
        raise faults[topic]
    try:
        producer = producer_of(kafka, patience_s=_PATIENCE_S, linger_ms=5, batch_size=65_536)
    except KafkaError as error:
        raise broker_error(error, kafka) from error
    try:
        planned = paced(messages(plan), due_s, clock=time.monotonic, sleep=sleep)
        return send_messages(planned, producer, topic=topic, on_sent=on_sent)
    finally:
        producer.close(timeout=5)


def at_speed(plan: ReplayPlan, speed: float) -> Due | None:
    """At so many times real time; 0: as fast as possible."""
    first_ms = int(plan.send_ms[0])
    return (lambda send_ms: (send_ms - first_ms) / 1000 / speed) if speed > 0 else None


def paced(
    planned: Iterable[Message], due_s: Due | None, *, clock: Callable[[], float], sleep: Callable[[float], None]
) -> Iterator[Message]:
    """Each message when it is due by `clock` (seconds), counted from the first; without `due_s` nothing waits.

    Open loop: a message waits for its own time, however long the messages before it took.
    """
    start_s = clock() if due_s else 0.0
    for message in planned:
        if due_s:
            wait_s = start_s + due_s(message.send_ms) - clock()
            if wait_s > 0:
                sleep(wait_s)
        yield message


class Poison(NamedTuple):
    """One message to be refused. `value` None is a Kafka tombstone."""

    name: str
    reason: str
    value: bytes | None


def template_event(spec: Spec, *, as_of_s: int) -> Event:
    """A valid event in the middle of the spec's grid, just received at `as_of_s`."""
    lat, lon = spec.grid.centres()
    middle = spec.grid.cells // 2
    return Event(
        incident_id="template-1",
        region=spec.region,
        occurred_at=datetime.fromtimestamp(as_of_s - 60, UTC),
        category=spec.categories[0],
        lat=round(float(lat[middle]), 6),
        lon=round(float(lon[middle]), 6),
        origin="public_call",
        received_at=datetime.fromtimestamp(as_of_s, UTC),
    )


def poison_messages(template: Event) -> tuple[Poison, ...]:
    """Some 120 kinds of bad message, each one step away from `template`: the contract's bad examples, and more.

    `template` must be an event that its region accepts, with `received_at`; send them with a Kafka timestamp that is
    not before it.
    """
    return (*_examples(template), *_of_no_file(template))


def _examples(template: Event) -> Iterator[Poison]:
    """The bad examples, with the template's id, region, category, place and time in place of the good example's."""
    good = json.loads((_EXAMPLES / "good" / "new_incident.json").read_bytes())
    ours = msgspec.to_builtins(template)
    texts = {str(good[field]): json.dumps(str(ours[field]))[1:-1] for field in _IN_EXAMPLES}
    pattern = re.compile(rf"(?<![\w.-])({'|'.join(map(re.escape, texts))})(?![\w.])")
    for path in sorted((_EXAMPLES / "bad").glob("*.json")):
        if path.stem == _SWAPPED:
            continue
        value = pattern.sub(lambda found: texts[found[0]], path.read_text(encoding="utf-8"))
        yield Poison(path.stem, path.stem.partition("--")[0], value.encode())


def _of_no_file(template: Event) -> Iterator[Poison]:
    """Messages that hold nothing, too much, bytes that are no text, or times near the template's."""
    text = msgspec.json.encode(template)
    yield Poison("tombstone", "null_value", None)
    yield Poison("one byte too large", "too_large", text[:-1] + b" " * (MAX_EVENT_BYTES + 1 - len(text)) + b"}")
    yield Poison("giant", "too_large", msgspec.json.encode(msgspec.structs.replace(template, incident_id="x" * 65_536)))
    yield Poison("control character unescaped", "not_json", text.replace(b'"public_call"', b'"public\x01call"'))
    yield Poison("UTF-16", "not_json", text.decode().encode("utf-16"))
    yield Poison("byte order mark", "not_json", b"\xef\xbb\xbf" + text)
    yield Poison("bytes FF FE in a text", "not_json", text.replace(b'"public_call"', b'"public\xff\xfecall"'))
    yield Poison("overlong UTF-8", "not_json", text.replace(b'"public_call"', b'"public\xc0\x80call"'))
    yield Poison("gzip", "not_json", gzip.compress(text, mtime=0))
    yield Poison("nested 2000 deep", "not_json", b"[" * 2000 + b"]" * 2000)
    yield Poison("zero bytes", "not_json", bytes(64))
    received = template.received_at or template.occurred_at
    ahead = msgspec.structs.replace(template, occurred_at=received + timedelta(hours=1))
    yield Poison("one hour ahead", "future", msgspec.json.encode(ahead))
    old = msgspec.structs.replace(template, occurred_at=received - timedelta(days=8))
    yield Poison("eight days old", "late", msgspec.json.encode(old))


_File = Annotated[Path, typer.Argument(help="Incident file: .csv, .csv.gz, or .zip with one .csv", show_default=False)]
_From = Annotated[str | None, typer.Option("--from", help="First local date or time to send; default: the first")]
_To = Annotated[str | None, typer.Option("--to", help="End of the span, not included; default: after the last")]
_Speed = Annotated[float, typer.Option(min=0, help="Times real time; 0: as fast as possible")]
_Now = Annotated[bool, typer.Option("--now", help="Move the times by whole weeks, so that they end in the last week")]
_Mixed = Annotated[
    bool, typer.Option("--mixed", help="Add repeats, corrections and messages to be refused, as the demo does")
]


def replay(  # the parameters are the command's options: typer reads them from this signature
    context: typer.Context,
    file: _File,
    layout: Annotated[str, typer.Option(help=LAYOUT_HELP)],
    region: Annotated[str, typer.Option(help="Region of the events, a slug as in the artifact")],
    from_: _From = None,
    to: _To = None,
    speed: _Speed = 60.0,
    now: _Now = False,
    mixed: _Mixed = False,
) -> None:
    """Send an incident file to Kafka as if its incidents happened again. Run the job with RISK_CLOCK=event."""
    settings: Settings = context.obj()
    console = Console(highlight=False, soft_wrap=True)
    with console.status(f"reading {file} ..."):
        table = read_incidents(file, parse_layout(layout))
    zone = table.timezone
    from_s, to_s = (None if when is None else parse_when(when, zone) for when in (from_, to))
    last_s = int(table.occurred_s[-1])
    last_s = last_s if to_s is None else min(to_s, last_s)
    weeks = weeks_until(last_s, now_s=int(time.time()), timezone=zone) if now else 0
    mix = MIXED if mixed else Mix()
    plan = plan_replay(table, region=region, mix=mix, weeks=weeks, from_s=from_s, to_s=to_s)
    started = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("replay", total=len(plan))

        def show(message: Message) -> None:
            progress.update(task, advance=1, description=local_text(message.send_ms // 1000, zone))

        try:
            due_s = at_speed(plan, speed)
            counts = send_plan(plan, KafkaConnection.of(settings), settings.topic, due_s=due_s, on_sent=show)
        except KeyboardInterrupt:
            progress.stop()
            console.print(f"interrupted: {progress.tasks[task].completed:,.0f} of {len(plan):,} messages were sent")
            raise typer.Exit(130) from None
    kinds = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    first, last = (local_text(int(plan.send_ms[end]) // 1000, zone) for end in (0, -1))
    console.print(
        f"sent {sum(counts.values()):,} messages in {time.monotonic() - started:.1f} s ({kinds}); simulated time "
        f"{first} to {last} {zone}, {weeks:+d} weeks"
    )
    if settings.clock == "wall" and time.time() - plan.send_ms[-1] / 1000 > HOUR_S:
        console.print(
            "These times are in the past. A job on the wall clock scores the present, and refuses events as `late` "
            "when they are older than two days (by default). To score these times, run the job with RISK_CLOCK=event"
        )
