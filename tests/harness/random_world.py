"""Random streams of messages, a recount of them in plain Python, and the offline path to their scores."""

import json
import random
import zlib
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta

import numpy as np
import torch

from models.features import FeatureEngine
from models.scoring import score
from schemas.decode import decode_messages
from streaming.rehearse.poison import poison_messages, template_event
from tests.harness.toy import toy_messages

NOW = 1_700_000_000
REGIONS = ("riverton", "lakeside")
START_S = NOW - 7200  # the clock of their artifacts
HISTORY_END_S = {"riverton": 0, "lakeside": START_S}  # riverton's artifact has an empty history
OUTCOMES = ("consumed", "counted", "corrected", "duplicate", "excluded", "rejected")


class Recount:
    """The event contract read literally: one message after another, dictionaries, no arrays."""

    def __init__(self, specs, refused_bytes):
        self.specs = specs
        self.refused_bytes = refused_bytes  # messages that are known to be bad -> (region, reason)
        self.clock_s = dict.fromkeys(specs, START_S)
        self.known = {region: {} for region in specs}
        self.totals = defaultdict(Counter)
        self.refused = {}  # (partition, offset) -> (region, reason)

    def batch(self, messages):
        """Take in one micro-batch; the ledger of each region."""
        ledger = defaultdict(Counter)
        accepted = defaultdict(list)
        for value, partition, offset, time_ms in messages:
            region, verdict = self._judge(value, time_ms)
            ledger[region]["consumed"] += 1
            if isinstance(verdict, str):
                self._refuse(ledger, region, verdict, (partition, offset))
            else:
                accepted[region].append(((partition, offset), verdict))
        for region, incidents in accepted.items():
            newest = max(incident["received_s"] for _, incident in incidents)
            self.clock_s[region] = max(self.clock_s[region], int(newest))
            for place, incident in sorted(incidents, key=lambda pair: pair[0]):
                outcome = self._settle(region, incident)
                if outcome == "late":
                    self._refuse(ledger, region, "late", place)
                else:
                    ledger[region][outcome] += 1
        for region, counts in ledger.items():
            self.totals[region] += counts
        return ledger

    def observed_1h(self, region):
        """(cells, categories) from the twelve five-minute panes that end with the clock's."""
        spec = self.specs[region]
        counts = np.zeros((36, len(spec.categories)), int)
        newest = self.clock_s[region] // 300
        for incident in self.known[region].values():
            if incident["counts"] and newest - 11 <= int(incident["occurred_s"]) // 300 <= newest:
                counts[incident["cell"], spec.categories.index(incident["category"])] += 1
        return counts

    def _judge(self, value, time_ms):
        if value in self.refused_bytes:
            return self.refused_bytes[value]
        record = json.loads(value)
        region = record["region"]
        if region not in self.specs:
            return "", "unknown_region"
        spec = self.specs[region]
        occurred_s = datetime.fromisoformat(record["occurred_at"]).timestamp()
        stated = record.get("received_at")
        received_s = datetime.fromisoformat(stated).timestamp() if stated else time_ms / 1000
        centre_lat, centre_lon = spec.grid.centres()
        per_lat, per_lon = spec.grid.metres_per_degree
        north_m = (record["lat"] - centre_lat) * per_lat
        east_m = (record["lon"] - centre_lon) * per_lon
        cell = int(np.argmin(np.maximum(abs(north_m), abs(east_m))))
        if record["category"] not in spec.categories:
            return region, "unknown_category"
        if max(abs(north_m[cell]), abs(east_m[cell])) > spec.grid.cell_m / 2:
            return region, "outside_grid"
        if occurred_s - received_s > 300 or received_s - time_ms / 1000 > 300:
            return region, "future"
        if received_s - occurred_s > 24 * 3600:
            return region, "late"
        return region, {
            "id": record["incident_id"],
            "revision": record.get("revision", 0),
            "occurred_s": occurred_s,
            "received_s": received_s,
            "cell": cell,
            "category": record["category"],
            "origin_counts": record["origin"] in ("public_call", "sensor", "responder"),
            "cancelled": record.get("status") == "cancelled",
        }

    def _settle(self, region, incident):
        known, occurred_s = self.known[region], int(incident["occurred_s"])
        if occurred_s < self.clock_s[region] - 48 * 3600:
            return "late"
        before = known.get(incident["id"])
        if before and before["latest_s"] < self.clock_s[region] - 48 * 3600:
            before = None
        latest_s = max(occurred_s, before["latest_s"] if before else occurred_s)
        if before and incident["revision"] <= before["revision"]:
            before["latest_s"] = latest_s
            return "duplicate"
        in_history = before["in_history"] if before else occurred_s < HISTORY_END_S[region]
        counts = incident["origin_counts"] and not incident["cancelled"] and not in_history
        known[incident["id"]] = {**incident, "latest_s": latest_s, "in_history": in_history, "counts": counts}
        if in_history or not incident["origin_counts"]:
            return "excluded"
        return "counted" if before is None and not incident["cancelled"] else "corrected"

    def _refuse(self, ledger, region, reason, place):
        ledger[region]["rejected"] += 1
        ledger[region][f"rejected_{reason}"] += 1
        self.refused[place] = (region, reason)


def iso(epoch_s):
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=epoch_s)).isoformat()


def known_bad(spec):
    """Every kind of bad message -> (the region whose ledger has it, the reason)."""
    by_spec = {"unknown_category", "outside_grid", "future", "late"}  # reasons that only a region's spec can give
    printable = "schema--id_with_a_control_character"
    corpus = poison_messages(template_event(spec, as_of_s=NOW))
    judged_by_spec = {one.value for one in corpus if one.reason in by_spec or one.name == printable}
    return {one.value: (spec.region if one.value in judged_by_spec else "", one.reason) for one in corpus}


def random_batches(specs, *, seed, batches, size):
    """Micro-batches of (value, partition, Kafka offset, Kafka time): all that a careless world sends, out of order."""
    draw = random.Random(seed)
    bad = list(known_bad(specs["riverton"]))
    offsets = Counter()
    clock_s, sent = NOW, []
    for _ in range(batches):
        clock_s += draw.choice([0, 7, 299, 301, 1800, 7200])
        batch = []
        for _ in range(size):
            received_s = clock_s - draw.choice([0, 0, 0, 5, 120, 3600]) + draw.randrange(1000) / 1000
            if draw.random() < 0.02:
                received_s -= 60 * 3600  # a backlog of days ago: plausible in itself, but behind the region's clock
            age_s = draw.choice([0, 1, 30, 600, 3000, 7200, 20 * 3600, -299, -300, -301, 86_399, 86_400, 86_401])
            spec = specs[draw.choice(REGIONS)]
            cell = draw.randrange(36)
            lat, lon = (float(axis[cell]) for axis in spec.grid.centres())
            record = {
                "incident_id": f"é{draw.randrange(batches * size // 3)}",
                "region": spec.region,
                "occurred_at": iso(received_s - age_s),
                "category": draw.choice(spec.categories),
                "lat": lat + draw.uniform(-0.004, 0.004),
                "lon": lon + draw.uniform(-0.004, 0.004),
                "origin": draw.choice(["public_call", "public_call", "sensor", "responder", "officer_initiated"]),
                "revision": draw.choice([0, 0, 1, 2, 3]),
                "status": draw.choice(["open", "open", "closed", "cancelled"]),
                "received_at": iso(received_s),
            }
            match draw.randrange(40):
                case 0:
                    record["region"] = "atlantis"
                case 1:
                    record["category"] = "flood"
                case 2:
                    record["lat"] += 1
                case 3:
                    record["received_at"] = iso(received_s + 400)  # ahead of its own arrival
                case 4 | 5 | 6 | 7:
                    del record["received_at"]
                case 8 | 9:
                    del record["status"], record["revision"]
            value = json.dumps(record).encode()
            time_ms = int(received_s * 1000) + draw.randrange(2000)
            key = record["incident_id"]
            if draw.random() < 0.15:
                value, time_ms, key = draw.choice(bad), NOW * 1000, "bad"
            for _ in range(draw.choice([1, 1, 1, 2])):  # a producer's retry repeats the bytes
                partition = zlib.crc32(key.encode()) % 3
                batch.append((value, partition, offsets[partition], time_ms))
                offsets[partition] += 1
        draw.shuffle(batch)  # partitions arrive interleaved, and a file has no order
        sent.append(batch)
    return sent


def offline(batches, artifacts):
    """(Features, Scores) of each region after each micro-batch, by the path that training takes: no Spark."""
    torch.set_num_threads(1)
    specs = {region: artifact.spec for region, artifact in artifacts.items()}
    states = {region: artifact.history() for region, artifact in artifacts.items()}
    engines = {region: FeatureEngine(artifact.spec, artifact.constants) for region, artifact in artifacts.items()}
    after = []
    for batch in batches:
        values, partition, offset, time_ms = zip(*sorted(batch, key=lambda message: message[1:3]), strict=True)
        decoded = decode_messages(toy_messages(values, time_ms, partition=partition, offset=offset), specs)
        scored = {}
        for region, incidents in decoded.incidents.items():
            states[region].apply(incidents, int(incidents.received_ms.max()) // 1000)
            features = engines[region].compute(states[region])
            artifact = artifacts[region]
            scored[region] = features, score(features.values, artifact.network(), artifact.constants, artifact.spec)
        after.append(scored)
    return after
