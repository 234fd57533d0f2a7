"""Scenarios: from one seed a whole list of actions, made before anything runs, so that it can be printed and shortened.

Pure: no clock, no file, no product code. In the manner of Materialize's Zippy and RisingWave's recovery tests.
"""

import itertools
import json
import random
from dataclasses import dataclass, replace
from datetime import datetime

from tests.faults.oracle import DAY_S
from tests.harness.toy import iso

START_S = 1_700_000_000
GENERATOR = 4  # grows when a seed comes to mean something else: docs/explanation/reliability.md counts its runs apart
ORIGINS = ("public_call", "public_call", "sensor", "responder", "officer_initiated", "unknown")
CANARY = "zebrafinch7731"  # stands in payloads; no log may show it

# kind -> (how often, choices of its argument, most times in one scenario)
KINDS = {
    "produce": (10, (5, 20, 60), 99),
    "correct": (4, (3, 10), 99),
    "cancel": (2, (2, 5), 99),
    "repeat": (3, (3, 15), 99),
    "rubbish": (3, (3, 12), 99),
    "stray": (2, (4, 8), 99),
    "pause": (2, (1, 4), 3),
    "kill": (5, ("now", "between batches", "after offsets", "in write", "after write"), 2),
    "restart": (1, (None,), 1),
    "broker_restart": (1, (1, 4), 1),
    "broker_kill": (1, (1, 4), 1),
    "broker_freeze": (1, (3, 8, 75), 1),
    "kafka_cut": (1, (None,), 2),
    "kafka_down": (1, (2, 9, 75), 1),
    "kafka_hangs": (1, (3, 8, 75), 1),
    "kafka_slow": (1, (3, 6), 1),
    "store_down": (2, (2, 9), 2),
    "store_hangs": (1, (3, 8), 1),
    "store_slow": (1, (3, 6), 1),
    "store_503": (2, (1, 3), 2),
    "store_half": (1, (700, 5000), 2),
    "store_loses_answer": (1, (None,), 2),
    "cut": (1, (None,), 2),
    "add_region": (1, (None,), 1),
    "add_partitions": (1, (1, 2), 1),
    "swap_artifact": (1, (None,), 1),
}
SENT = ("produce", "correct", "cancel", "repeat", "rubbish", "stray")  # kinds of messages
COSTLY = ("kill", "restart", "broker_restart", "broker_kill", "broker_freeze")


@dataclass(frozen=True)
class Action:
    """One step. `at_s`: the simulated time; `seed`: of its own draws, so that dropping another one changes nothing."""

    kind: str
    argument: object
    at_s: int
    seed: int

    def __str__(self):
        argument = "" if self.argument is None else f" {self.argument}"
        return f"+{self.at_s - START_S:>5} s  {self.kind}{argument}"


@dataclass(frozen=True)
class Scenario:
    seed: int
    partitions: int
    write_timeout_s: int
    per_batch: int
    actions: tuple
    clock: str = "event"  # RISK_CLOCK
    merge: str = "none"  # or repeated_calls: what its regions' specs say

    def __str__(self):
        head = (
            f"seed {self.seed}: {self.clock} clock, {self.partitions} partitions, at most {self.per_batch} events a "
            f"batch, a write is tried for {self.write_timeout_s} s"
        )
        return "\n".join([head, *(f"  {number:>2}  {action}" for number, action in enumerate(self.actions))])


def generate(seed):
    """The scenario of a seed: the same on every machine."""
    draw = random.Random(seed)
    at_s, used, actions = START_S + 60, dict.fromkeys(KINDS, 0), []
    for number in range(draw.randrange(9, 16)):
        room = [
            kind
            for kind, (_, _, most) in KINDS.items()
            if used[kind] < most and not (kind in COSTLY and sum(used[other] for other in COSTLY) >= 3)
        ]
        kind = "produce" if number == 0 else draw.choices(room, [KINDS[one][0] for one in room])[0]
        used[kind] += 1
        at_s += draw.choice([0, 7, 61, 240, 301])
        actions.append(Action(kind, draw.choice(KINDS[kind][1]), at_s, draw.getrandbits(32)))
    return Scenario(
        seed=seed,
        partitions=draw.choice([1, 2, 3]),
        write_timeout_s=draw.choice([4, 20]),
        per_batch=draw.choice([15, 60, 1_600_000]),
        actions=tuple(actions),
        clock=draw.choice(["event", "wall"]),
    )


def closing(scenario):
    """One more event for each region.

    On the events' clock it is of the next day (UTC): what a region has counted is in `usual` only then.
    """
    newest_s = max(action.at_s for action in scenario.actions)
    at_s = newest_s + 60 if scenario.clock == "wall" else (newest_s // DAY_S + 1) * DAY_S + 600
    return Action("close", None, at_s, seed=scenario.seed)


def moved(scenario, by_s):
    """The scenario later by `by_s`: on the wall clock, events have to be of these hours."""
    actions = tuple(replace(action, at_s=action.at_s + by_s) for action in scenario.actions)
    return replace(scenario, actions=actions)


class Producer:
    """What a careless producer sends for each action: pure, but it remembers its incidents."""

    def __init__(self, regions):
        self.regions = list(regions)  # oracle.Region of those that are known to the scorer
        self.sent = []  # records, newest revision of each incident last
        self.bytes_sent = []

    def messages(self, action):
        """(key, value, Kafka time in ms) of an action, in order."""
        draw = random.Random(action.seed)
        made = []
        for record in self._records(action, draw):
            made.append(self._message(record, len(made), action, draw))
        self.bytes_sent += made
        return made

    def stream(self, action):
        """Events without end, as `messages` gives them."""
        draw = random.Random(action.seed)
        for number in itertools.count():
            yield self._message(self._event(action, draw, number), number, action, draw)

    def _message(self, record, number, action, draw):
        value = record if isinstance(record, bytes | None) else json.dumps(record).encode()
        key = record["incident_id"] if isinstance(record, dict) and "incident_id" in record else f"{number}"
        return key, value, action.at_s * 1000 + draw.randrange(1000)

    def _records(self, action, draw):
        count = action.argument if isinstance(action.argument, int) else 6
        match action.kind:
            case "correct" | "cancel" if self.sent:
                for _ in range(count):
                    record = self._correction(action, draw)
                    self.sent.append(record)
                    yield record
            case "repeat":
                for key, value, _ in draw.choices(self.bytes_sent, k=count) if self.bytes_sent else []:
                    yield value if value is None or key.isdigit() else json.loads(value)
            case "close":
                for number, region in enumerate(self.regions):
                    where = {"region": region.name, "category": region.categories[0], **place(region, draw)}
                    yield {**self._event(action, draw, number), **where, "occurred_at": iso(action.at_s)}
            case "rubbish" | "stray" if action.argument == "each":
                make = rubbish if action.kind == "rubbish" else strays
                for number in range(len(make(self._event(action, draw, 0)))):
                    yield make(self._event(action, draw, number))[number]
            case "rubbish":
                yield from (draw.choice(rubbish(self._event(action, draw, number))) for number in range(count))
            case "stray":
                yield from (draw.choice(strays(self._event(action, draw, number))) for number in range(count))
            case _:
                for number in range(min(count, 60)):
                    record = self._event(action, draw, number)
                    self.sent.append(record)
                    yield record

    def _event(self, action, draw, number):
        region = draw.choice(self.regions)
        occurred_s = action.at_s - draw.choice([0, 1, 30, 299, 300, 301, 1500, 5000, 20 * 3600])
        record = {
            "incident_id": f"{action.seed:08x}-{number}é",
            "region": region.name,
            "occurred_at": iso(occurred_s + draw.choice([0, 0.25, 0.999])),
            "category": draw.choice(region.categories),
            **place(region, draw),
            "origin": draw.choice(ORIGINS),
            "type_code": CANARY,
        }
        if draw.random() < 0.3:
            record["received_at"] = iso(action.at_s)
        return record

    def _correction(self, action, draw):
        before = draw.choice(self.sent)
        newest = max(one.get("revision", 0) for one in self.sent if one["incident_id"] == before["incident_id"])
        region = next(one for one in self.regions if one.name == before["region"])
        record = {**before, "revision": newest + draw.choice([0, 1, 1, 1, 3])}
        if action.kind == "cancel":
            return {**record, "status": "cancelled"}
        return {**record, **place(region, draw), "category": draw.choice(region.categories), "status": "open"}


def place(region, draw):
    """A point inside a cell of the region, also on the edges that belong to it."""
    row, col = draw.randrange(len(region.lat_edges) - 1), draw.randrange(len(region.lon_edges) - 1)
    inner = draw.choice([0.02, 0.5, 0.98])
    south, north = region.lat_edges[row : row + 2]
    west, east = region.lon_edges[col : col + 2]
    return {"lat": south + (north - south) * inner, "lon": west + (east - west) * inner}


def rubbish(event):
    """Messages that are refused before their region's spec is asked."""
    text = json.dumps(event).encode()
    return [
        None,
        b"",
        text[: len(text) // 2],
        text + text,
        b"[" * 3000,
        b"\xff\xfe" + text,
        b"null",
        b"[" + text + b"]",
        b" " * 9000,
        text.replace(b'"public_call"', b'"public\x01call"') if b"public_call" in text else b"\x00",
        {**event, "lat": "41.0"},
        {**event, "caller_name": CANARY},
        {**event, "weather": CANARY},
        {**event, "region": "atlantis"},
        {**event, "occurred_at": "2023-11-14T22:13:20"},
        {key: value for key, value in event.items() if key != "origin"},
    ]


def strays(event):
    """Events of a region that its spec refuses."""
    when = datetime.fromisoformat(event["occurred_at"]).timestamp()
    return [
        {**event, "category": "flood"},
        {**event, "lat": event["lat"] + 3},
        {**event, "occurred_at": iso(when + 40 * DAY_S)},
        {**event, "occurred_at": "2099-12-31T23:59:59Z"},
        {**event, "occurred_at": iso(when - 3 * DAY_S)},
        {**event, "occurred_at": iso(when - 2 * DAY_S)},
        {**event, "occurred_at": iso(when - DAY_S - 1), "received_at": iso(when)},
        {**event, "received_at": iso(when + 30 * 3600)},
        # Of a backlog sent days later: fresh when it was received, so only the clock of the region can refuse it.
        {**event, "occurred_at": iso(when - 3 * DAY_S), "received_at": iso(when - 3 * DAY_S + 60)},
    ]
