"""The invariants of a finished scenario, each broken one in words. Numbers: docs/explanation/reliability.md."""

from schemas.errors import RiskError
from streaming.settings import PREFIX, Settings
from tests.faults.actions import FIRST_LOAD
from tests.faults.promises import waited_s
from tests.faults.rules import Seen, breaches, decoded
from tests.faults.scenario import CANARY
from tests.faults.world import TOKEN
from tests.harness.recount import RecountError, recount
from tests.harness.scorer import read_points


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
