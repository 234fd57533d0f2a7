"""What is sent: new incidents only, or repeats, corrections, cancellations and rubbish too, in simulated time."""

import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from benchmarks.plan import bench_specs
from benchmarks.synthetic import synthetic_events
from streaming.rehearse.poison import poison_messages, template_event

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


def main(orders: TrafficOrders) -> None:
    from benchmarks.sending import send_open_loop  # librdkafka, which the tests of `messages` do without

    sent: Counter[str] = Counter()
    send_open_loop(orders.bootstrap, orders.topic, messages(orders, time.time() + 0.5, sent), log=Path(orders.log))
    Path(orders.kinds).write_bytes(msgspec.json.encode(sent))


if __name__ == "__main__":
    main(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=TrafficOrders))
