"""Random streams of messages, a recount of them in plain Python, and the offline path to their scores."""

import json
import random
import zlib
from collections import Counter
from dataclasses import replace

import numpy as np
import torch

from models.features import FeatureEngine
from models.scoring import score
from schemas.decode import decode_messages
from streaming.rehearse.incident_replay import poison_messages, template_event
from tests.faults.oracle import Expected, Region, region_in
from tests.harness.toy import iso, toy_messages

NOW = 1_700_000_000
REGIONS = ("riverton", "lakeside")
MERGE = {"riverton": "repeated_calls", "lakeside": "none"}
START_S = NOW - 7200  # the clock of their artifacts
HISTORY_END_S = {"riverton": 0, "lakeside": START_S}  # riverton's artifact has an empty history
OUTCOMES = ("consumed", "counted", "corrected", "duplicate", "repeated", "excluded", "rejected")


class RecountedWorld:
    """The recount of tests/faults/oracle.py, which is given one micro-batch after another."""

    def __init__(self, artifacts, known_bad):
        """artifacts: the folder. known_bad: as the function below gives it."""
        manifests = [json.loads(path.read_bytes()) for path in artifacts.glob("*/*/manifest.json")]
        regions = [replace(one, history_end_s=HISTORY_END_S[one.name]) for one in map(Region.of, manifests)]
        self.regions = {region.name: region for region in regions}
        self.expected = Expected({region.name: region.start_s for region in regions}, known_bad=known_bad)

    def batch(self, messages):
        """Take in (value, partition, offset, Kafka time in ms); the ledger of each region."""
        before = {region: Counter(ledger) for region, ledger in self.expected.ledger.items()}
        in_order = sorted(messages, key=lambda message: message[1:3])
        self.expected.take([(*place, value, time_ms) for value, *place, time_ms in in_order], self.regions)
        ledgers = {region: now - before.get(region, Counter()) for region, now in self.expected.ledger.items()}
        return {region: ledger for region, ledger in ledgers.items() if ledger}

    def observed_1h(self, region):
        """(cells, categories)"""
        region = self.regions[region]
        counts = self.expected.moment(region).observed_1h()
        return np.array([[counts[cell, category] for category in region.categories] for cell in region.cells])


def known_bad(spec):
    """Every kind of bad message -> (the region whose ledger has it, the reason)."""
    corpus = poison_messages(template_event(spec, as_of_s=NOW))
    return {poison.value: (region_in(poison.value, {spec.region}), poison.reason) for poison in corpus}


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
            cell = draw.choice([14, draw.randrange(36)])  # a corner of one is busy: its calls repeat each other
            spread = 0.0008 if cell == 14 else 0.004
            lat, lon = (float(axis[cell]) for axis in spec.grid.centres())
            record = {
                "incident_id": f"é{draw.randrange(batches * size // 3)}",
                "region": spec.region,
                "occurred_at": iso(received_s - age_s),
                "category": draw.choice(spec.categories),
                "lat": lat + draw.uniform(-spread, spread),
                "lon": lon + draw.uniform(-spread, spread),
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
