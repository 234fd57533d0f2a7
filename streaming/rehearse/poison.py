"""Messages that must be refused, each with the reason that the dead letter has to give.

For the replay's `--mixed`, the tests of the whole chain and the demo: what a broken or careless producer sends.
"""

import gzip
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import msgspec

import schemas
from schemas.event import Event
from schemas.limits import MAX_EVENT_BYTES
from schemas.spec import Spec

_EXAMPLES = Path(schemas.__file__).parent / "examples"
_SWAPPED = "outside_grid--latitude_and_longitude_swapped"  # its reason depends on where the region lies
_MOVED = ("incident_id", "region", "occurred_at", "category", "lat", "lon")  # fields of the examples, by their texts


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
    texts = {str(good[field]): json.dumps(str(ours[field]))[1:-1] for field in _MOVED}
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
