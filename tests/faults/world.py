"""Runs a scenario against the real thing: Kafka, the job in a process of its own, a store over HTTP behind a proxy."""

import json
import random
import signal
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from streaming.topics.kafka import KafkaConnection, ensure_topics
from tests.faults.actions import DEADLINE_S, Actions
from tests.faults.breakable_broker import TestBroker
from tests.faults.injected import Injected
from tests.faults.offsets import newest
from tests.faults.oracle_region import Region
from tests.faults.promises import waited_s
from tests.faults.scenario import DAY_S, SENT, START_S, Producer, closing, moved
from tests.faults.witness import Witness
from tests.faults.written_store import WrittenStore
from tests.harness.proxy import Proxy
from tests.harness.region import make_region
from tests.harness.scorer import make_scorer
from tests.harness.topic import Topic

TOKEN = "numbat8087"  # no log may show it
EXPLAINED_BY = {5: "broker", 6: "store"}  # what a fault of that side may end the job with
UNMET_S = 30  # so much longer at most


@dataclass
class World(Actions):
    """One scenario's topic, job and store."""

    scenario: object
    folder: Path
    broker: TestBroker
    store: WrittenStore
    proxy: Proxy
    acknowledged: dict = field(default_factory=dict)  # (partition, offset) -> value, as Kafka confirmed it
    starts: int = 0
    exits: list = field(default_factory=list)  # exit codes that no signal of ours explains
    recoveries: list = field(default_factory=list)  # (what, seconds until all that had been sent was in the store)
    faults: list = field(default_factory=list)  # invariants that did not hold while it ran
    injected: list = field(default_factory=list)
    kills: list = field(default_factory=list)  # `Kill`s, those that came before another fault had ended the job
    versions: dict = field(default_factory=dict)  # by region, those of its artifacts that were in force, in order
    _place: dict = field(default_factory=dict)
    _timers: list = field(default_factory=list)
    _partitions: int = 1
    _commit_at_start: int = -1
    _region_start_s: int = START_S

    def __post_init__(self):
        if self.scenario.clock == "wall":
            by_s = int(time.time()) - 60 - closing(self.scenario).at_s
            # Two days before the first event: what was counted yesterday is in `usual` today.
            self.scenario, self._region_start_s = moved(self.scenario, by_s), START_S + by_s - 2 * DAY_S
        name = f"s{self.scenario.seed}-{int(time.time() * 1000)}"
        self._partitions = self.scenario.partitions
        ensure_topics(KafkaConnection(self.broker.bootstrap), {name: self._partitions, f"{name}.dlq": 1})
        self.topic = Topic(self.broker.bootstrap, name, self._partitions)
        self.letters = Topic(self.broker.bootstrap, f"{name}.dlq", 1)
        self.scorer = make_scorer(
            self.folder,
            self.topic,
            self.letters,
            commands=self.broker.commands,
            RISK_CACHE=str(self.broker.cache),
            RISK_KAFKA_BOOTSTRAP=self.broker.proxied,
            RISK_SINK="influxdb",
            INFLUXDB_V2_URL=f"http://127.0.0.1:{self.proxy.port}",
            INFLUXDB_V2_TOKEN=TOKEN,
            RISK_WRITE_TIMEOUT_S=str(self.scenario.write_timeout_s),
            RISK_MAX_EVENTS_PER_BATCH=str(self.scenario.per_batch),
            RISK_CLOCK=self.scenario.clock,
        )
        self.producer = Producer([self._publish("riverton", 41.0)])
        self.witness = Witness(self.scorer, self.topic.name, self.consumed)
        self._kafka = self._connect()

    def run(self):
        with self.witness:
            self._start()
            for action in self.scenario.actions:
                getattr(self, "do_send" if action.kind in SENT else f"do_{action.kind}")(action)
            self.do_send(closing(self.scenario))
            self.settle("the end")
            if code := self.scorer.end(signal.SIGTERM):
                self.faults.append(f"I9: told to stop when all was well, the job ended with code {code}")
        self.faults += self.witness.faults
        for fault in self.injected:
            if (fault.back_s or 0) > waited_s():
                self.faults.append(f"I10: {fault.back_s:.0f} s from the end of {fault.kind} to the next commit")
            if fault.was_silent:
                self.faults.append(f"I9: {fault.kind} was felt for {fault.effect_s:.0f} s, and nothing was said of it")

    def close(self):
        for timer in self._timers:
            timer.cancel()
        self.broker.proxy.heal()
        self.scorer.clean_up()
        self._kafka.close(timeout=5)

    # what is in the store and in the topic

    def consumed(self):
        last = {key: float(fields["consumed"]) for key, _, fields in list(self.store.ledgers)}
        return int(sum(last.values()))

    def messages(self):
        """(partition, offset, value, Kafka time in ms) of the whole topic, in each partition's order."""
        records = replace(self.topic, partitions=self._partitions).records()
        found = [(record.partition, record.offset, record.value, record.timestamp) for record in records]
        return sorted(found, key=lambda record: record[:2])

    def in_topic(self):
        with KafkaConsumer(bootstrap_servers=self.broker.bootstrap) as consumer:
            places = [TopicPartition(self.topic.name, number) for number in range(self._partitions)]
            return sum(consumer.end_offsets(places).values())

    # life

    def send(self, message):
        """The future of one (key, value, Kafka time in ms); the same key goes to the same partition for ever."""
        key, value, time_ms = message
        partition = self._place.setdefault(key, random.Random(key).randrange(self._partitions))
        return self._kafka.send(
            self.topic.name, key=key.encode(), value=value, partition=partition, timestamp_ms=time_ms
        )

    def settle(self, what, *, since=None):
        """Wait until all that is in the topic is in the store, starting the job again as a supervisor would.

        since: monotonic time at which the fault ended, where that is not when this is called.
        """
        while any(timer.is_alive() for timer in self._timers):
            self._ensure_running()  # one that ended of a fault before must meet this one, too
            time.sleep(0.05)
        self._timers.clear()
        began = time.monotonic() if since is None else since
        expected = self.in_topic()
        self._wait_until(lambda: self.consumed() >= expected and self._is_up(), f"{expected} messages after {what}")
        self.recoveries.append((what, time.monotonic() - began))
        for fault in self.injected:
            fault.judge(self.witness, self.injected)

    def _wait_until(self, condition, what):
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain for {what}:\n{self.scorer.output[-3000:]}"
            self._ensure_running()
            time.sleep(0.05)

    def _ensure_running(self):
        code = self.scorer.process.poll()
        if code is not None:
            self._note_exit(self.scorer.end())
            time.sleep(1)
            self._start()

    def _note_exit(self, code):
        self.exits.append(code)
        self.witness.note_exit(code)
        if not any(fault.side == EXPLAINED_BY.get(code) and not fault.is_judged for fault in self.injected):
            self.faults.append(
                f"I9: the job ended with code {code}, which no fault explains:\n{self.scorer.output[-1500:]}"
            )

    def _start(self):
        self._commit_at_start = newest(self.scorer.checkpoint / "spark" / "commits")
        self.scorer.start()
        self.starts += 1

    def _is_up(self):
        """It has committed a batch since it was started."""
        return newest(self.scorer.checkpoint / "spark" / "commits") > self._commit_at_start

    def _inject(self, kind, log):
        self.injected.append(Injected(kind, log))
        return self.injected[-1]

    def _for_a_while(self, action, proxy, **fault):
        """The proxy with this fault, and without it again when its time is over; another one that came since stays.

        On a slow machine a batch may take as long as the fault: it then lasts until it has met something.
        """
        injected = self._inject(action.kind, proxy.hits[next(iter(fault))])
        for name, value in fault.items():
            setattr(proxy, name, value)

        def end():
            while not injected.hits and time.monotonic() < injected.began + action.argument + UNMET_S:
                time.sleep(0.05)
            injected.ended = time.monotonic()
            proxy.heal(*fault)

        timer = threading.Timer(action.argument, end)
        timer.start()
        self._timers.append(timer)

    def _publish(self, name, south_deg, **created):
        began_s = int(time.time()) if self.starts else 0
        region = make_region(name, south_deg=south_deg, start_s=self._region_start_s, merge=self.scenario.merge)
        folder = region.publish(self.scorer.artifacts, **created)
        self.versions.setdefault(name, []).append(folder.name)
        return Region.of(json.loads((folder / "manifest.json").read_bytes()), began_s)

    def _connect(self):
        return KafkaProducer(
            bootstrap_servers=self.broker.bootstrap,
            acks="all",
            max_in_flight_requests_per_connection=1,
            linger_ms=5,
            request_timeout_ms=20_000,
        )
