"""What must be in the store after all events of a topic, by the event contract alone.

Imports nothing of the product: the artifact's manifest and the topic are read as the plain JSON that they are, and the
contract (schemas/README.md) is followed literally, one message after another, with dictionaries.
"""

import json
import math
import re
from bisect import bisect_right
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache

import xxhash

REQUIRED = ("incident_id", "region", "occurred_at", "category", "lat", "lon", "origin")
OPTIONAL = ("revision", "status", "received_at", "type_code", "priority", "accuracy_m")
COUNTING = ("public_call", "sensor", "responder")
OUTCOMES = ("counted", "corrected", "duplicate", "repeated", "excluded", "rejected")
PERSON = ("caller_name", "phone")  # those that the scenarios send
HOUR_S, DAY_S = 3600, 86_400
GRACE_S = HOUR_S  # between the end of a horizon and its first judgement; the second comes a late limit later
# Of the artifacts that the scenarios publish (models/artifact.py): no history, a flat profile.
PER_DAY = 5.0  # incidents of a category in the whole region
HALF_LIFE_DAYS = 120.0
JOINS_WITHIN_S = 15  # an artifact is looked for every two seconds, and a batch may be under way
SHRINK_DAYS = 30.0
DISPERSION = 5.0  # size of the negative binomial
MANY = 20  # incidents in a cell and category from which on a score's support is ok


@dataclass(frozen=True)
class Region:
    """One region's spec, as the artifact's manifest says it. Edges in degrees."""

    name: str
    categories: tuple
    horizons: tuple
    timezone: str
    lat_edges: tuple
    lon_edges: tuple
    slide_s: int
    tick_s: int
    late_limit_s: int
    future_limit_s: int
    start_s: int  # the end of the artifact's history: the clock at first
    history_end_s: int  # the same, but 0 where the history is empty: what was first told with an earlier time is in it
    history: tuple = ()  # (cell, category, occurred_s) of what it holds, which no manifest says
    merges: bool = False  # calls that repeat another do not count
    joins_s: float = 0.0  # when its artifact was published, by the machine's clock; 0 before the job began

    @classmethod
    def of(cls, manifest, joins_s=0.0):
        spec, grid = manifest["spec"], manifest["spec"]["grid"]
        per_lat, per_lon = metres_per_degree(grid["south_deg"], grid["rows"] * grid["cell_m"])
        return cls(
            name=spec["region"],
            categories=tuple(spec["categories"]),
            horizons=tuple(f"{seconds // HOUR_S}h" for seconds in spec["horizons_s"]),
            timezone=spec["timezone"],
            lat_edges=tuple(grid["south_deg"] + i * grid["cell_m"] / per_lat for i in range(grid["rows"] + 1)),
            lon_edges=tuple(grid["west_deg"] + i * grid["cell_m"] / per_lon for i in range(grid["cols"] + 1)),
            slide_s=spec["slide_s"],
            tick_s=spec["tick_s"],
            late_limit_s=spec["late_limit_s"],
            future_limit_s=spec["future_limit_s"],
            start_s=manifest["data"]["cutoff_s"],
            history_end_s=manifest["data"]["cutoff_s"] if manifest["data"]["incidents"] else 0,
            merges=spec.get("merge") == "repeated_calls",
            joins_s=joins_s,
        )

    @property
    def cells(self):
        return [f"r{r:03d}c{c:03d}" for r in range(len(self.lat_edges) - 1) for c in range(len(self.lon_edges) - 1)]

    def cell_of(self, lat, lon):
        row = sum(edge <= lat for edge in self.lat_edges) - 1
        col = sum(edge <= lon for edge in self.lon_edges) - 1
        inside = 0 <= row < len(self.lat_edges) - 1 and 0 <= col < len(self.lon_edges) - 1
        return f"r{row:03d}c{col:03d}" if inside else None


def metres_per_degree(south_deg, height_m):
    """Of latitude and longitude at the grid's middle latitude: WGS 84 radii of curvature M and N."""
    a, e2 = 6_378_137.0, 6.694379990141316e-3
    middle = math.radians(south_deg)
    for _ in range(3):
        w = 1 - e2 * math.sin(middle) ** 2
        per_lat = math.radians(a * (1 - e2) / w**1.5)
        middle = math.radians(south_deg + height_m / per_lat / 2)
    w = 1 - e2 * math.sin(middle) ** 2
    return per_lat, math.radians(a / math.sqrt(w) * math.cos(middle))


def neighbours(cell):
    """The cell itself and the eight around it, also those beyond the grid."""
    row, col = int(cell[1:4]), int(cell[5:8])
    return [f"r{r:03d}c{c:03d}" for r in range(row - 1, row + 2) for c in range(col - 1, col + 2)]


@dataclass(frozen=True)
class Moment:
    """A region after the last batch of a tick. counting: (cell, category, occurred_s) of each incident that counts."""

    region: Region
    clock_s: int
    ledger: Counter
    counting: tuple
    is_due: bool = True  # False while a region that was just published may not have been taken over

    def observed_1h(self):
        """(cell, category) -> incidents in the twelve panes that end with the clock's."""
        slide_s = self.region.slide_s
        newest = self.clock_s // slide_s
        return self._count(lambda occurred_s: newest - 3600 // slide_s < occurred_s // slide_s <= newest)

    def remembered(self):
        """(cell, category) -> incidents up to the clock's day."""
        return self._count(lambda occurred_s: occurred_s // DAY_S <= self.clock_s // DAY_S)

    def per_day(self):
        """(cell, category) -> the long-memory rate: finished days, each cell shrunk to its neighbours, these to all."""
        region, today = self.region, self.clock_s // DAY_S
        weights = {day: 0.5 ** ((today - 1 - day) / HALF_LIFE_DAYS) for day in range(region.start_s // DAY_S, today)}
        days, counts, cells = sum(weights.values()), Counter(), region.cells
        for cell, category, occurred_s in self.counting:
            counts[cell, category] += weights.get(occurred_s // DAY_S, 0)
        rates = {}
        for category in region.categories:
            whole = (sum(counts[cell, category] for cell in cells) + PER_DAY) / (days + 1)
            for cell in cells:
                near = [other for other in neighbours(cell) if other in cells]
                around = sum(counts[other, category] for other in near) + 30 * whole / len(cells)
                mixed = SHRINK_DAYS * around / (len(near) * days + 30)
                rates[cell, category] = (counts[cell, category] + mixed) / (days + SHRINK_DAYS)
        return rates

    def _count(self, is_within):
        return Counter((cell, category) for cell, category, occurred_s in self.counting if is_within(occurred_s))


@dataclass(frozen=True)
class Judged:
    """What had come in a horizon, all categories, when a judgement of it was due. came: by (cell, category)."""

    region: Region
    horizon: str
    tick_s: int  # when the horizon began: a whole hour
    due_s: int
    came: Counter


def due_between(tick_s, width_s, late_limit_s, before_s, now_s):
    """When the judgements were due that a clock going from `before_s` to `now_s` brings."""
    end_s = tick_s + width_s
    return [due_s for due_s in (end_s + GRACE_S, end_s + late_limit_s + GRACE_S) if before_s < due_s <= now_s]


@dataclass
class Expected:
    """The recount: clock and ledger per region ('' for messages of none), refusals, what counts, and all moments.

    judged: what came in each horizon that began at a moment of a whole hour, when a batch's clock had passed the time
    at which its judgement was due.
    """

    clock_s: dict
    ledger: dict = field(default_factory=lambda: defaultdict(Counter))
    refused: dict = field(default_factory=dict)  # (partition, offset) -> (region or '', reason)
    known: dict = field(default_factory=lambda: defaultdict(dict))  # region -> id -> what is known
    moments: dict = field(default_factory=dict)  # (region, tick in s) -> Moment
    judged: list = field(default_factory=list)
    known_bad: dict = field(default_factory=dict)  # value -> (region or '', reason), of what `judge` cannot tell

    def moment(self, region, *, is_due=True):
        counting = [
            (incident["cell"], incident["category"], incident["occurred_s"])
            for incident in self.known[region.name].values()
            if incident["counts"] and not incident["repeats"]
        ]
        counting += region.history
        return Moment(region, self.clock_s[region.name], Counter(self.ledger[region.name]), tuple(counting), is_due)

    def take(self, messages, regions, now_s=None):
        """One batch: (partition, offset, value or None, Kafka time in ms), in each partition's order.

        now_s: the batch's own time where the regions' clocks are the machine's; None where they are the events'.
        """
        before_s = dict(self.clock_s)
        if now_s is not None:
            for name, region in regions.items():
                if now_s >= region.joins_s:
                    self.clock_s[name] = max(self.clock_s[name], now_s)
        accepted = []
        for partition, offset, value, time_ms in messages:
            name, verdict = self.known_bad.get(value) or judge(value, time_ms, regions)
            self.ledger[name]["consumed"] += 1
            if isinstance(verdict, str):
                self._refuse(name, verdict, (partition, offset))
                continue
            if now_s is None:
                self.clock_s[name] = max(self.clock_s[name], math.floor(verdict["received_s"]))
            accepted.append((name, verdict, (partition, offset)))
        settled = []
        for name, incident, place in accepted:
            outcome = settle(self.known[name], incident, self.clock_s[name], regions[name])
            if outcome == "late":
                self._refuse(name, outcome, place)
            else:
                settled.append((name, incident["id"], outcome))
        for name, region in regions.items():
            if region.merges:
                mark_repeats(self.known[name], self.clock_s[name] - region.late_limit_s - DAY_S)
        for name, key, outcome in settled:
            is_repeat = self.known[name][key]["repeats"] and outcome in ("counted", "corrected")
            self.ledger[name]["repeated" if is_repeat else outcome] += 1
        for region in regions.values():
            if now_s is not None and now_s < region.joins_s:
                continue
            self._judge_horizons(region, before_s[region.name])
            tick_s = self.clock_s[region.name] // region.tick_s * region.tick_s
            is_due = now_s is None or now_s >= region.joins_s + JOINS_WITHIN_S
            self.moments[region.name, tick_s] = self.moment(region, is_due=is_due)

    def _judge_horizons(self, region, before_s):
        """Those whose judgements became due as the region's clock went on from `before_s`."""
        counting, now_s = self.moment(region).counting, self.clock_s[region.name]
        for tick_s in [tick_s for name, tick_s in self.moments if name == region.name and tick_s % HOUR_S == 0]:
            for horizon in region.horizons:
                width_s = HOUR_S * int(horizon.removesuffix("h"))
                for due_s in due_between(tick_s, width_s, region.late_limit_s, before_s, now_s):
                    came = Counter((cell, kind) for cell, kind, at_s in counting if tick_s <= at_s < tick_s + width_s)
                    self.judged.append(Judged(region, horizon, tick_s, due_s, came))

    def _refuse(self, name, reason, place):
        self.ledger[name]["rejected"] += 1
        self.ledger[name][f"rejected_{reason}"] += 1
        self.refused[place] = (name, reason)


def recount(messages, regions, batches=(), times_ms=None):
    """`messages`: (partition, offset, value or None, Kafka time in ms) of the topic, in each partition's order.

    batches: {partition: first offset after it} of each batch, in order; what is beyond the last is one more batch.
    times_ms: of each batch, where the regions' clocks are the machine's; None where they are the events'.
    """
    expected = Expected({region.name: region.start_s for region in regions})
    by_name = {region.name: region for region in regions}
    of_batches = [[] for _ in range(len(batches) + 1)]
    for message in messages:
        partition, offset = message[:2]
        of_batches[bisect_right([batch.get(partition, 0) for batch in batches], offset)].append(message)
    if not of_batches[-1]:
        of_batches.pop()
    times_s = [None] * len(of_batches)
    if times_ms is not None:  # beyond the last batch it is the last one's time that is known
        times_s = [time_ms // 1000 for time_ms in [*times_ms, *times_ms[-1:]][: len(of_batches)]]
    for of_batch, now_s in zip(of_batches, times_s, strict=True):
        expected.take(of_batch, by_name, now_s)
    return expected


@cache
def quantile(mean, share, size=DISPERSION):
    """Smallest count that is not exceeded with probability `share`, by adding up the negative binomial."""
    count, chance = 0, (size / (size + mean)) ** size
    total = chance
    while total < share:
        count += 1
        chance *= (size + count - 1) / count * mean / (size + mean)
        total += chance
    return count


def region_in(value, regions):
    """The region that a refused message names, if it is one of `regions`; else ''. Of bytes that are no JSON object it
    must be the only one that is named.
    """
    named = None
    if value is not None and len(value) <= 8192:
        with suppress(ValueError, RecursionError):
            record = json.loads(value.decode("utf-8"))
            named = [record.get("region")] if isinstance(record, dict) else None
    if named is None:
        texts = re.findall(rb'"region"\s*:\s*"([a-z0-9_-]+)"', (value or b"")[:8192])
        named = list({text.decode() for text in texts})
    return named[0] if len(named) == 1 and isinstance(named[0], str) and named[0] in regions else ""


def judge(value, time_ms, regions):
    """(region or '', reason) of a message that is refused; (region, incident) of one that is not."""
    if value is None:
        return "", "null_value"
    name = region_in(value, regions)
    if len(value) > 8192:
        return name, "too_large"
    try:
        record = json.loads(value.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return name, "not_json"
    if not isinstance(record, dict):
        return name, "schema"
    if any(name in PERSON for name in record):
        return name, "person_field"
    if set(record) - set(REQUIRED) - set(OPTIONAL):
        return name, "unknown_field"
    times = [record[name] for name in ("occurred_at", "received_at") if record.get(name) is not None]
    if any(not isinstance(text, str) or datetime.fromisoformat(text).tzinfo is None for text in times):
        return name, "bad_time"
    if set(REQUIRED) - set(record) or not all(isinstance(record[name], int | float) for name in ("lat", "lon")):
        return name, "schema"
    region = regions.get(record["region"])
    if region is None:
        return "", "unknown_region"
    if record["category"] not in region.categories:
        return region.name, "unknown_category"
    cell = region.cell_of(record["lat"], record["lon"])
    if cell is None:
        return region.name, "outside_grid"
    occurred_s = datetime.fromisoformat(record["occurred_at"]).timestamp()
    stated = record.get("received_at")
    received_s = datetime.fromisoformat(stated).timestamp() if stated else time_ms / 1000
    if occurred_s - received_s > region.future_limit_s or received_s - time_ms / 1000 > region.future_limit_s:
        return region.name, "future"
    if received_s - occurred_s > region.late_limit_s:
        return region.name, "late"
    return region.name, {
        "id": record["incident_id"],
        "revision": record.get("revision", 0),
        "occurred_s": math.floor(occurred_s),
        "received_s": received_s,
        "cell": cell,
        "place": (round(record["lat"] * 1e7), round(record["lon"] * 1e7)),
        "category": record["category"],
        "origin_counts": record["origin"] in COUNTING,
        "cancelled": record.get("status") == "cancelled",
    }


def settle(known, incident, clock_s, region):
    """The outcome of an event at the region's clock, given what is known of the region's incidents; which it changes.

    An incident is known until a day and the limit for late ones have passed since the latest time in its messages. One
    that was first told with a time that the artifact's history reaches to is counted there, and stays so.
    """
    since_s = clock_s - region.late_limit_s - DAY_S
    if incident["occurred_s"] < since_s:
        return "late"
    before = known.get(incident["id"])
    if before is not None and before["latest_s"] < since_s:
        known[incident["id"], len(known)] = before  # forgotten: what it counts stays
        before = None
    latest_s = max(incident["occurred_s"], before["latest_s"] if before else incident["occurred_s"])
    if before is not None and incident["revision"] <= before["revision"]:
        before["latest_s"] = latest_s
        return "duplicate"
    in_history = before["in_history"] if before else incident["occurred_s"] < region.history_end_s
    counts = incident["origin_counts"] and not incident["cancelled"] and not in_history
    known[incident["id"]] = {
        **{**incident, "latest_s": latest_s, "in_history": in_history},
        **{"counts": counts, "repeats": False},
    }
    if in_history or not incident["origin_counts"]:
        return "excluded"
    return "counted" if before is None and not incident["cancelled"] else "corrected"


def _no_constant(name):
    raise ValueError(name)


def mark_repeats(known, since_s):
    """Which incidents repeat an earlier one: of their category, at most 200 m away and 15 minutes before.

    In one second the id with the smaller hash is the earlier one. Once the clock has left an incident's time behind,
    it stays what it is. What was forgotten and whose id is used again is asked no more.
    """
    live = [incident for key, incident in known.items() if isinstance(key, str) and incident["counts"]]
    order = {each["id"]: (each["occurred_s"], xxhash.xxh3_64_intdigest(each["id"].encode())) for each in live}
    for call in live:
        if call["occurred_s"] >= since_s:
            call["repeats"] = any(
                order[other["id"]] < order[call["id"]]
                and call["occurred_s"] - other["occurred_s"] <= 900
                and other["category"] == call["category"]
                and metres(other["place"], call["place"]) <= 200
                for other in live
            )


def metres(one, other):
    """Between two places in steps of 1e-7 degrees, along the great circle of a sphere: the angle of two vectors."""
    (lat, lon), (other_lat, other_lon) = ([math.radians(steps / 1e7) for steps in place] for place in (one, other))
    north = math.cos(lat) * math.sin(other_lat) - math.sin(lat) * math.cos(other_lat) * math.cos(other_lon - lon)
    east = math.cos(other_lat) * math.sin(other_lon - lon)
    up = math.sin(lat) * math.sin(other_lat) + math.cos(lat) * math.cos(other_lat) * math.cos(other_lon - lon)
    return 6_371_008.8 * math.atan2(math.hypot(north, east), up)
