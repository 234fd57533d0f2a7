"""Events whose clock leaps by whole hours, so that a run of minutes holds hours of forecasts."""

import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from benchmarks.plan import bench_specs
from benchmarks.sent_log import paced
from benchmarks.synthetic import synthetic_events
from schemas.spec import HOUR_S, Spec

_WITHIN_S = 30  # all events of an hour lie in its first minute: whatever a batch takes, it ends in such a minute


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    bootstrap: str
    topic: str
    regions: int
    rate_per_s: float
    seconds: float
    per_hour: int  # events between two leaps
    first_s: int  # the first whole hour
    begin_s: float  # epoch seconds at which the first event is sent
    log: str  # see open_loop


def leaping_events(specs: Sequence[Spec], per_hour: int, *, first_s: int) -> Iterator[tuple[bytes, bytes]]:
    """Without end, (key, value): `per_hour` events in the first minute of every hour from `first_s` on."""
    for as_of_s in itertools.count(first_s + 59, HOUR_S):
        yield from synthetic_events(specs, per_hour, seed=as_of_s // HOUR_S, as_of_s=as_of_s, spread_s=_WITHIN_S)


def main(orders: Orders) -> None:
    from benchmarks.open_loop import send_open_loop  # librdkafka, which the tests do without

    events = leaping_events(bench_specs(orders.regions), orders.per_hour, first_s=orders.first_s)
    timed = paced(events, [(orders.rate_per_s, orders.seconds)], orders.begin_s)
    send_open_loop(orders.bootstrap, orders.topic, timed, log=Path(orders.log))


if __name__ == "__main__":
    main(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Orders))
