"""Scenarios run one after another on one broker."""

import time
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.faults.breakable_broker import TestBroker
from tests.faults.invariants import broken
from tests.faults.scenario import Scenario
from tests.faults.world import World
from tests.faults.written_store import WrittenStore
from tests.harness.proxy import Proxy


@dataclass(frozen=True)
class Outcome:
    """What a scenario led to. `recoveries`: (fault, seconds until all that had been sent was in the store).

    injected: (fault, what it met, seconds that it was felt, what the job said of it, seconds until the next commit
    after it) of faults of broker and store.
    """

    broken: Sequence[str]
    seconds: float
    starts: int
    exits: Sequence[int]
    recoveries: Sequence[tuple[str, float]]
    messages: int
    injected: Sequence[tuple[str, int, float, str | None, float | None]] = ()


@contextmanager
def broker_to_break(folder: Path, cache: Path, commands=None):
    broker = TestBroker(folder, cache, commands)
    try:
        yield broker
    finally:
        broker.close()


def run_scenario(scenario: Scenario, folder: Path, broker: TestBroker) -> Outcome:
    """Run it in `folder`, which must be empty; what is broken comes back in words, an error of the run too."""
    began = time.monotonic()
    with WrittenStore() as store, Proxy(store.port) as proxy:
        world = World(scenario, folder, broker, store, proxy)
        try:
            world.run()
            found, messages = broken(world), world.in_topic()
        except Exception as error:
            found = [*world.faults, *world.witness.faults, f"the run ended with {type(error).__name__}: {error}"]
            messages = 0
        finally:
            world.close()
    return Outcome(
        broken=tuple(found),
        seconds=round(time.monotonic() - began, 1),
        starts=world.starts,
        exits=tuple(world.exits),
        recoveries=tuple((what, round(seconds, 1)) for what, seconds in world.recoveries),
        messages=messages,
        injected=tuple(
            (fault.kind, fault.hits, round(fault.effect_s, 1), fault.sign, fault.back_s) for fault in world.injected
        ),
    )
