"""Scenarios run one after another on one broker, and what does not hold after each (the numbers: matrix.py)."""

import gc
import time
import warnings
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import RiskError
from streaming.settings import PREFIX, Settings
from tests.faults.matrix import waited_s
from tests.faults.rules import Seen, breaches, decoded
from tests.faults.scenario import CANARY, Scenario
from tests.faults.stores import WrittenStore
from tests.faults.world import FIRST_LOAD, TOKEN, TestBroker, World
from tests.harness.proxy import Proxy
from tests.harness.recount import RecountError, recount
from tests.harness.scorer import read_points


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
        with warnings.catch_warnings():  # kafka-python leaves a socket whose connection was refused to the collector
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


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


def broken(world):
    """What does not hold, as a list of sentences; empty when all is well."""
    seen = seen_of(world)
    return [*world.faults, *_recoveries(world), *breaches(seen), *_secrets(world), *_restarts(world, seen.points)]


def seen_of(world):
    return Seen(
        messages=world.messages(),
        regions=world.producer.regions,
        versions=world.versions,
        batches=world.witness.batches,
        points=world.store.snapshot(),
        ledgers=world.store.ledgers,
        letters=decoded(world.letters.read()),
        written=world.store.written,
        topic=world.topic.name,
        acknowledged=world.acknowledged,
        times_ms=world.witness.times_ms if world.scenario.clock == "wall" else None,
    )


def _recoveries(world):
    for what, seconds in world.recoveries:
        if seconds > waited_s() and what != FIRST_LOAD:
            yield f"I10: {seconds:.0f} s after {what}"


def _secrets(world):
    kept = (path for path in world.scorer.checkpoint.rglob("*") if path.suffix in (".json", ".jsonl", ".log"))
    for path in (world.scorer.folder / "terminal.txt", *kept):
        content = path.read_bytes()
        for canary in (TOKEN, CANARY):
            if canary.encode() in content:
                yield f"I12: {path.name} shows {canary}"


def _restarts(world, points):
    """I6: one calm pass over the topic, without Spark and without a restart, gives the very scores that are stored.

    It also compares each batch's ledger with the one that the job logged.
    """
    calm = world.scorer.folder / "calm.lp"
    ours = {key: value for key, value in world.scorer.environment.items() if key.startswith(PREFIX)}
    try:
        recount(Settings.from_environment(ours), calm)
    except (RiskError, RecountError) as error:
        yield f"I6: the calm pass ended with: {error}"
        return
    wanted = read_points(calm)
    for key in wanted.keys() | {key for key in points if key[0].startswith(("risk", "top", "unusual"))}:
        if points.get(key, {}) != wanted.get(key):
            yield f"I6: {key} is {points.get(key, {})}, in one calm pass {wanted.get(key)}"
            return
