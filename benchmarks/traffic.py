"""What is sent, and how: new incidents, or repeats, corrections, cancellations and rubbish too, in simulated time.

librdkafka sends, so that the sender is not what is measured: topics filled before the clock starts, and an open loop,
in which each message has an intended time, and what is late is counted as late. A sender that waits for its system
would send less when the system is slow, and hide it.
"""

import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Event
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from models.features import feature_names
from schemas.grid import Grid
from schemas.spec import Spec
from streaming.rehearse.incident_replay import poison_messages, template_event

CATEGORIES = ("ems", "fire", "traffic", "other")
SIDE = 48  # cells of 1 km
STEP_S = 0.1  # the simulated clock moves so often
KINDS = ("new", "repeat", "correction", "cancellation", "rubbish")
SHARES = (0.82, 0.06, 0.06, 0.03, 0.03)
OUTCOME = {
    "new": "counted",
    "repeat": "duplicate",
    "correction": "corrected",
    "cancellation": "corrected",
    "rubbish": "rejected",
}
COLUMNS = 4  # of the log: partition, offset, intended and real time of sending in epoch seconds, as float64
Timed = tuple[float, bytes, bytes | None]  # intended epoch seconds, key, value
_REMEMBERED = 20_000  # incidents that may still be repeated or corrected: the newest ones
_CHUNK = 10_000
_EVENT = (
    b'{"incident_id":"synthetic-%012d","region":"%s","occurred_at":"%sZ","category":"%s","lat":%.6f,"lon":%.6f,'
    b'"origin":"public_call","revision":0,"status":"open","received_at":"%sZ","type_code":"%s","priority":%d}'
)
_SHORTEST_SLEEP_S = 0.001  # wakes a thousand times a second at most; what is late by it is late
_WRITE_EVERY = 2_000
_POLL_EVERY = 5_000


def bench_spec(region: str, side: int = SIDE) -> Spec:
    """A region of side x side cells of 1 km, 4 categories, 3 horizons."""
    grid = Grid(south_deg=41.6, west_deg=-88.0, cell_m=1000.0, rows=side, cols=side)
    return Spec(region=region, timezone="America/Chicago", grid=grid, categories=CATEGORIES, features=feature_names())


def bench_specs(regions: int) -> list[Spec]:
    return [bench_spec(f"bench-{number}") for number in range(1, regions + 1)]


def synthetic_events(specs: Sequence[Spec], n: int, *, seed: int, as_of_s: int) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) of `n` new incidents of the regions in turn, about 280 bytes each.

    They occurred in the hour before `as_of_s`, were received within a minute (not after as_of_s), and
    lie around the grid's middle as a town does. Ids are unique within one seed.
    """
    random = np.random.default_rng(seed)
    first = seed * 10_000_000_000
    regions = []
    for spec in specs:
        lat, lon = (axis.tolist() for axis in spec.grid.corners())
        box = (lat[0], lon[0], lat[-1] - lat[0], lon[-1] - lon[0])
        regions.append((spec.region.encode(), list(map(str.encode, spec.categories)), *box))
    for start in range(0, n, _CHUNK):
        size = min(_CHUNK, n - start)
        row, col = np.clip(random.normal(0.5, 0.18, (2, size)), 0.001, 0.999).tolist()
        occurred = as_of_s - random.integers(0, 3600, size)
        received = np.minimum(occurred + random.integers(1, 60, size), as_of_s)
        occurred_text = np.datetime_as_string(occurred.astype("datetime64[s]")).astype("S").tolist()
        received_text = np.datetime_as_string((received * 1000).astype("datetime64[ms]")).astype("S").tolist()
        category = random.integers(0, 64, size).tolist()
        kind = random.integers(0, 100, size).tolist()
        for i in range(size):
            region, categories, south, west, height, width = regions[(start + i) % len(regions)]
            number = first + start + i
            yield (
                b"synthetic-%012d" % number,
                _EVENT
                % (
                    number,
                    region,
                    occurred_text[i],
                    categories[category[i] % len(categories)],
                    south + row[i] * height,
                    west + col[i] * width,
                    received_text[i],
                    b"CALL-TYPE-%02d" % kind[i],
                    1 + kind[i] % 5,
                ),
            )


class TrafficOrders(msgspec.Struct, frozen=True, kw_only=True):
    bootstrap: str
    topic: str
    regions: int
    rate_per_s: float
    seconds: float
    is_mixed: bool  # else only new incidents
    speed: float  # simulated seconds in a real one
    simulated_begin_s: int
    seed: int
    log: str  # see COLUMNS
    kinds: str  # file that gets how many of each kind were sent


def messages(orders: TrafficOrders, begin_s: float, sent: Counter[str]) -> Iterator[Timed]:
    """All messages in turn; `sent` counts, by kind, those before the one that is being taken."""
    random = np.random.default_rng(orders.seed)
    recent: list[dict[str, Any]] = []
    specs = bench_specs(orders.regions)
    per_step = round(orders.rate_per_s * STEP_S)
    for step in range(round(orders.seconds / STEP_S)):
        now_s = step * STEP_S
        as_of_s = orders.simulated_begin_s + int(now_s * orders.speed)
        fresh = synthetic_events(specs, per_step, seed=step + 1, as_of_s=as_of_s)
        if not orders.is_mixed:
            for number, event in enumerate(fresh):
                yield begin_s + now_s + number / orders.rate_per_s, *event
            sent["new"] += per_step
            continue
        rubbish = poison_messages(template_event(specs[step % len(specs)], as_of_s=as_of_s))
        received_at = np.datetime_as_string(np.datetime64(as_of_s, "s")) + "Z"
        for number, kind in enumerate(random.choice(KINDS, per_step, p=SHARES).tolist()):
            if kind == "rubbish":
                bad = rubbish[int(random.integers(len(rubbish)))]
                key, value = b"rubbish", bad.value
            else:
                if kind == "new" or len(recent) < _REMEMBERED // 10:
                    kind = "new"
                    record = msgspec.json.decode(next(fresh)[1])
                    slot = len(recent)
                    if slot < _REMEMBERED:
                        recent.append(record)
                    else:
                        slot = sent["new"] % _REMEMBERED
                        recent[slot] = record
                else:
                    slot = int(random.integers(len(recent)))
                    if kind != "repeat":
                        recent[slot] = _revised(recent[slot], kind, received_at, random)
                    record = recent[slot]
                key, value = record["incident_id"].encode(), msgspec.json.encode(record)
            yield begin_s + now_s + number / orders.rate_per_s, key, value
            sent[kind] += 1


def _revised(record: dict[str, Any], kind: str, received_at: str, random: np.random.Generator) -> dict[str, Any]:
    """The next revision: the place moved a little towards the grid's middle, or the incident taken back."""
    after = {**record, "revision": record["revision"] + 1, "received_at": received_at}
    if kind == "cancellation":
        return {**after, "status": "cancelled"}
    lat, lon = bench_specs(1)[0].grid.centres()
    share = float(random.uniform(0, 0.1))
    return {
        **after,
        "status": "open",
        "lat": record["lat"] + share * (float(lat.mean()) - record["lat"]),
        "lon": record["lon"] + share * (float(lon.mean()) - record["lon"]),
    }


def expected_ledger(sent: Mapping[str, int]) -> dict[str, int]:
    """What the job's ledger must say of what was sent."""
    ledger = Counter({"consumed": sum(sent.values())})
    for kind, count in sent.items():
        ledger[OUTCOME[kind]] += count
    return dict(ledger)


def sent_so_far(log: Path) -> npt.NDArray[np.float64]:
    """(messages, COLUMNS), in the order of their acknowledgement. Whole rows only: the last may be being written."""
    data = np.fromfile(log, np.float64) if log.exists() else np.empty(0)
    return data[: len(data) // COLUMNS * COLUMNS].reshape(-1, COLUMNS)


def count_sent(log: Path) -> int:
    return log.stat().st_size // (8 * COLUMNS) if log.exists() else 0


def send_open_loop(bootstrap: str, topic: str, messages: Iterable[Timed], *, log: Path) -> None:
    """Send each message at its time until they end or SIGTERM comes; a row per acknowledged message goes to `log`.

    Exits with a message when Kafka did not take one.
    """
    from confluent_kafka import KafkaError, Message, Producer  # of the extra `bench`

    stop, failures, rows = Event(), list[KafkaError](), list[tuple[int, int, float, float]]()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    producer = Producer(
        {"bootstrap.servers": bootstrap, "linger.ms": 5, "queue.buffering.max.messages": 1_000_000, "acks": "all"}
    )
    with log.open("wb", buffering=0) as file:

        def write() -> None:
            file.write(np.array(rows, np.float64).tobytes())
            rows.clear()

        for intended_s, key, value in messages:
            ahead_s = intended_s - time.time()
            if ahead_s > 0:
                producer.poll(0)
                if len(rows) >= _WRITE_EVERY:
                    write()
                time.sleep(max(ahead_s, _SHORTEST_SLEEP_S))
            if stop.is_set():
                break

            def acknowledged(
                error: KafkaError | None, message: Message, intended_s: float = intended_s, sent_s: float = time.time()
            ) -> None:
                if error is not None:
                    failures.append(error)
                else:
                    rows.append((message.partition(), message.offset(), intended_s, sent_s))

            producer.produce(topic, value=value, key=key, on_delivery=acknowledged)
        left = producer.flush(60)
        write()
    if failures or left:
        sys.exit(f"Kafka did not take {len(failures) + left} messages: {failures[:1]}")


def load_topic(bootstrap: str, topic: str, events: Iterable[tuple[bytes, bytes]]) -> float:
    """Send all events, wait until each is acknowledged; the mean size of a value in bytes.

    Raises RuntimeError when the broker did not take one.
    """
    from confluent_kafka import KafkaError, Producer

    failures: list[KafkaError] = []

    def delivered(error: KafkaError | None, _: object) -> None:
        if error is not None:
            failures.append(error)

    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "linger.ms": 50,
            "batch.size": 1_000_000,
            "queue.buffering.max.messages": 200_000,
        }
    )
    size = count = 0
    for key, value in events:
        while True:
            try:
                producer.produce(topic, value=value, key=key, on_delivery=delivered)
                break
            except BufferError:
                producer.poll(0.05)
        size, count = size + len(value), count + 1
        if count % _POLL_EVERY == 0:
            producer.poll(0)
    left = producer.flush(60)
    if failures or left:
        raise RuntimeError(f"{len(failures) + left} of {count} events were not taken by {topic}: {failures[:1]}")
    return size / count


def main(orders: TrafficOrders) -> None:
    sent: Counter[str] = Counter()
    send_open_loop(orders.bootstrap, orders.topic, messages(orders, time.time() + 0.5, sent), log=Path(orders.log))
    Path(orders.kinds).write_bytes(msgspec.json.encode(sent))


if __name__ == "__main__":
    main(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=TrafficOrders))
