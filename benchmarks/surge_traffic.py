"""What the surge sends: new incidents at the ordered rates, then at the last one until SIGTERM."""

import itertools
import sys
import time
from pathlib import Path

import msgspec

from benchmarks.open_loop import send_open_loop
from benchmarks.plan import bench_specs
from benchmarks.sent_log import paced
from benchmarks.synthetic import synthetic_events

_ENDLESS = 10**9


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    bootstrap: str
    topic: str
    regions: int
    rates: list[tuple[float, float]]  # events per second, seconds
    then_per_s: float
    seed: int
    begin_s: float  # epoch seconds of the first event
    log: str  # see open_loop


def main(orders: Orders) -> None:
    events = synthetic_events(bench_specs(orders.regions), _ENDLESS, seed=orders.seed, as_of_s=int(time.time()))
    rates = itertools.chain(orders.rates, itertools.repeat((orders.then_per_s, 1.0)))
    send_open_loop(orders.bootstrap, orders.topic, paced(events, rates, orders.begin_s), log=Path(orders.log))


if __name__ == "__main__":
    main(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Orders))
