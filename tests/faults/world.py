"""Runs a scenario against the real thing: Kafka, the job in a process of its own, a store over HTTP behind a proxy."""

import contextlib
import json
import os
import random
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition

from streaming.broker import Secured, free_port, start_broker, stop_broker
from streaming.kafka_client import PLAINTEXT
from streaming.topics import ensure_topics
from tests.faults.oracle import Region
from tests.faults.scenario import Producer
from tests.harness.proxy import Proxy
from tests.harness.recording_store import RecordingStore
from tests.harness.region import make_region
from tests.harness.scorer import make_scorer
from tests.harness.topic import Topic

DEADLINE_S = 240.0
TOKEN = "numbat8087"  # no log may show it
FAILURES = (5, 6, 7)  # broker, store, the job itself: what a fault may end the job with


# A second listener that is told to clients as the proxy's address, so that everything they do goes through it.
PROPERTIES = """
listeners=PLAINTEXT://127.0.0.1:{{port}},PROXIED://127.0.0.1:{behind},CONTROLLER://127.0.0.1:{{controller_port}}
advertised.listeners=PLAINTEXT://127.0.0.1:{{port}},PROXIED://127.0.0.1:{proxy}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
"""


class TestBroker:
    """A broker whose process can be stopped, killed and frozen; it comes back on the same port with the same data.

    `bootstrap` leads to it directly, `proxied` through `proxy`.
    """

    __test__ = False

    def __init__(self, folder: Path, cache: Path):
        self.folder, self.cache, self.port = folder, cache, 0
        self.proxy = Proxy(free_port()).__enter__()
        properties = PROPERTIES.format(behind=self.proxy.target, proxy=self.proxy.port)
        self._more = Secured(properties=properties, format_options=(), security=PLAINTEXT)
        self.start()

    @property
    def bootstrap(self):
        return f"127.0.0.1:{self.port}"

    @property
    def proxied(self):
        return f"127.0.0.1:{self.proxy.port}"

    def start(self):
        self.broker = start_broker(self.folder, cache=self.cache, port=self.port, secured=self._more)
        self.port = self.broker.port

    def close(self):
        self.stop()
        self.proxy.__exit__()

    def stop(self):
        stop_broker(self.folder)
        self._reap()

    def kill(self):
        os.kill(self.broker.pid, signal.SIGKILL)
        self._reap()

    def freeze(self, seconds):
        os.kill(self.broker.pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(self.broker.pid, signal.SIGCONT)

    def _reap(self):
        self.broker.process.wait(60)


@dataclass
class World:
    """One scenario's topic, job and store. Every method brings about one action and returns when it is done."""

    scenario: object
    folder: Path
    broker: TestBroker
    store: RecordingStore
    proxy: Proxy
    acknowledged: dict = field(default_factory=dict)  # (partition, offset) -> value, as Kafka confirmed it
    starts: int = 0
    exits: list = field(default_factory=list)  # exit codes that no signal of ours explains
    recoveries: list = field(default_factory=list)  # (what, seconds until all that had been sent was in the store)
    faults: list = field(default_factory=list)  # invariants that did not hold while it ran
    versions: dict = field(default_factory=dict)
    _place: dict = field(default_factory=dict)
    _timers: list = field(default_factory=list)
    _partitions: int = 1
    _commit_at_start: int = -1

    def __post_init__(self):
        name = f"s{self.scenario.seed}-{int(time.time() * 1000)}"
        self._partitions = self.scenario.partitions
        ensure_topics(self.broker.bootstrap, {name: self._partitions, f"{name}.dlq": 1})
        self.topic = Topic(self.broker.bootstrap, name, self._partitions)
        self.letters = Topic(self.broker.bootstrap, f"{name}.dlq", 1)
        self.scorer = make_scorer(
            self.folder,
            self.topic,
            self.letters,
            RISK_CACHE=str(self.broker.cache),
            RISK_KAFKA_BOOTSTRAP=self.broker.proxied,
            RISK_SINK="influxdb",
            INFLUXDB_V2_URL=f"http://127.0.0.1:{self.proxy.port}",
            INFLUXDB_V2_TOKEN=TOKEN,
            RISK_WRITE_TIMEOUT_S=str(self.scenario.write_timeout_s),
            RISK_MAX_EVENTS_PER_BATCH=str(self.scenario.per_batch),
        )
        self.producer = Producer([self._publish("riverton", 41.0)])
        self._kafka = self._connect()

    def run(self):
        self._start()
        for action in self.scenario.actions:
            getattr(self, f"do_{action.kind}", self.do_send)(action)
        self.settle("the end")
        self.exits += [code for code in [self.scorer.end(signal.SIGTERM)] if code]

    def close(self):
        for timer in self._timers:
            timer.cancel()
        self.broker.proxy.heal()
        self.scorer.clean_up()
        self._kafka.close(timeout=5)

    # what is in the store and in the topic

    def consumed(self):
        newest = {}
        for (key, time_s), fields in self.store.snapshot().items():
            if key.startswith("pipeline,") and time_s >= newest.get(key, (0,))[0]:
                newest[key] = time_s, float(fields["consumed"])
        return int(sum(consumed for _, consumed in newest.values()))

    def messages(self):
        """(partition, offset, value, Kafka time in ms) of the whole topic, in each partition's order."""
        places = [TopicPartition(self.topic.name, number) for number in range(self._partitions)]
        found = []
        with KafkaConsumer(bootstrap_servers=self.broker.bootstrap, auto_offset_reset="earliest") as consumer:
            ends = consumer.end_offsets(places)
            consumer.assign(places)
            consumer.seek_to_beginning(*places)
            deadline = time.monotonic() + DEADLINE_S
            while any(consumer.position(place) < ends[place] for place in places):
                assert time.monotonic() < deadline, "the topic cannot be read to its end"
                for records in consumer.poll(timeout_ms=200).values():
                    found += [(one.partition, one.offset, one.value, one.timestamp) for one in records]
        return sorted(found, key=lambda one: one[:2])

    def in_topic(self):
        with KafkaConsumer(bootstrap_servers=self.broker.bootstrap) as consumer:
            places = [TopicPartition(self.topic.name, number) for number in range(self._partitions)]
            return sum(consumer.end_offsets(places).values())

    # actions

    def do_send(self, action):
        """produce, correct, cancel, repeat, rubbish, stray"""
        sent = []
        for key, value, time_ms in self.producer.messages(action):
            partition = self._place.setdefault(key, random.Random(key).randrange(self._partitions))
            future = self._kafka.send(
                self.topic.name, key=key.encode(), value=value, partition=partition, timestamp_ms=time_ms
            )
            sent.append((future, value))
        self._kafka.flush(timeout=60)
        for future, value in sent:
            where = future.get(timeout=30)
            self.acknowledged[where.partition, where.offset] = value

    def do_settle(self, action):
        """Wait until the job runs and has all of it: what comes next meets it at work, not at its start."""
        self.settle("the first load")

    def do_pause(self, action):
        time.sleep(action.argument)

    def do_kill(self, action):
        """SIGKILL to the job's process group at a mark, while it takes in what is sent here."""
        self._ensure_running()
        process, spark = self.scorer.process, self.scorer.checkpoint / "spark"
        died = threading.Event()

        def shoot():
            self.scorer.note_children()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            died.set()

        if action.argument == "in write":
            self.store.before_write = shoot
        elif action.argument == "after write":
            self.store.after_write = shoot
        offsets = newest(spark / "offsets")
        self.do_send(action)
        deadline = time.monotonic() + DEADLINE_S
        if action.argument == "now":
            time.sleep(random.Random(action.seed).uniform(0, 2))
            shoot()
        while not died.is_set():
            assert time.monotonic() < deadline, f"the mark {action.argument} was not reached"
            if process.poll() is not None:
                break  # another fault has ended it
            if action.argument == "after offsets" and newest(spark / "offsets") > offsets:
                shoot()
            if action.argument == "between batches" and newest(spark / "offsets") == newest(spark / "commits") > -1:
                shoot()
            time.sleep(0.001)
        self.store.before_write = self.store.after_write = None
        code = self.scorer.end()
        if code != -signal.SIGKILL:
            self._note_exit(code)
        self._look_at_commits()
        self._start()
        self.settle(f"SIGKILL {action.argument}")

    def do_restart(self, action):
        self._wait_until(self._is_up, "the job")
        code = self.scorer.end(signal.SIGTERM)
        if code:
            self._note_exit(code)
        self._look_at_commits()
        self._start()
        self.settle("restart")

    def do_broker_restart(self, action):
        self.broker.stop()
        time.sleep(action.argument)
        self.broker.start()
        self.settle("broker restart")

    def do_broker_kill(self, action):
        self.broker.kill()
        time.sleep(action.argument)
        self.broker.start()
        self.settle("broker SIGKILL")

    def do_broker_freeze(self, action):
        self.broker.freeze(action.argument)
        self.settle("broker SIGSTOP")

    def do_kafka_cut(self, action):
        self.broker.proxy.cut()
        self.do_send(action)

    def do_kafka_down(self, action):
        self.broker.proxy.refuses = True
        self.broker.proxy.cut()
        self._heal_after(action.argument, self.broker.proxy)

    def do_kafka_hangs(self, action):
        self.broker.proxy.swallows = True
        self._heal_after(action.argument, self.broker.proxy)

    def do_kafka_slow(self, action):
        self.broker.proxy.delay_s = 0.2
        self._heal_after(action.argument, self.broker.proxy)

    def do_store_down(self, action):
        self.proxy.refuses = True
        self.proxy.cut()
        self._heal_after(action.argument, self.proxy)

    def do_store_hangs(self, action):
        self.proxy.swallows = True
        self._heal_after(action.argument, self.proxy)

    def do_store_slow(self, action):
        self.proxy.delay_s = 0.2
        self._heal_after(action.argument, self.proxy)

    def do_store_503(self, action):
        self.store.answers += [(503, b'{"code":"unavailable","message":"try later"}', {})] * action.argument
        self.do_send(action)

    def do_store_half(self, action):
        self.proxy.cut_upload_after = action.argument
        self.do_send(action)

    def do_store_loses_answer(self, action):
        self.proxy.loses_answer = True
        self.do_send(action)

    def do_cut(self, action):
        self.proxy.cut()
        self.do_send(action)

    def do_add_region(self, action):
        region = self._publish("lakeside", 44.0)
        self._wait_until(lambda: any("region=lakeside" in key for key, _ in self.store.snapshot()), "the new region")
        self.producer.regions.append(region)
        self.do_send(action)

    def do_add_partitions(self, action):
        self._partitions += action.argument
        with KafkaAdminClient(bootstrap_servers=self.broker.bootstrap) as admin:
            admin.create_partitions({self.topic.name: self._partitions})
        self._kafka.close(timeout=30)
        self._kafka = self._connect()
        self.do_send(action)

    def do_swap_artifact(self, action):
        self._publish("riverton", 41.0, created="20260201T000000Z")
        version = self.versions["riverton"]
        self._wait_until(
            lambda: any(fields.get("model") == f'"{version}"' for fields in self.store.snapshot().values()),
            f"artifact {version}",
        )
        self.do_send(action)

    # life

    def settle(self, what):
        """Wait until all that is in the topic is in the store, starting the job again as a supervisor would."""
        for timer in self._timers:
            timer.join()
        self._timers.clear()
        began = time.monotonic()
        expected = self.in_topic()
        self._wait_until(lambda: self.consumed() >= expected and self._is_up(), f"{expected} messages after {what}")
        self.recoveries.append((what, time.monotonic() - began))

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
        if code not in FAILURES:
            self.faults.append(f"I9: the job ended with code {code}:\n{self.scorer.output[-1500:]}")
        self._look_at_commits()

    def _start(self):
        self._commit_at_start = newest(self.scorer.checkpoint / "spark" / "commits")
        self.scorer.start()
        self.starts += 1

    def _is_up(self):
        """It has committed a batch since it was started."""
        return newest(self.scorer.checkpoint / "spark" / "commits") > self._commit_at_start

    def _look_at_commits(self):
        """I7: what is committed has been stored before."""
        committed, stored = sum(committed_offsets(self.scorer.checkpoint / "spark", self.topic.name)), self.consumed()
        if committed > stored:
            self.faults.append(f"I7: {committed} messages are committed, but the store has {stored}")

    def _heal_after(self, seconds, proxy):
        timer = threading.Timer(seconds, proxy.heal)
        timer.start()
        self._timers.append(timer)

    def _publish(self, name, south_deg, **created):
        folder = make_region(name, south_deg=south_deg).publish(self.scorer.artifacts, **created)
        self.versions[name] = folder.name
        return Region.of(json.loads((folder / "manifest.json").read_bytes()))

    def _connect(self):
        return KafkaProducer(
            bootstrap_servers=self.broker.bootstrap,
            acks="all",
            max_in_flight_requests_per_connection=1,
            linger_ms=5,
            request_timeout_ms=20_000,
        )


def newest(folder):
    """The highest batch number in a folder of Spark's checkpoint; -1 without one."""
    with contextlib.suppress(FileNotFoundError):
        return max((int(path.name) for path in folder.iterdir() if path.name.isdigit()), default=-1)
    return -1


def committed_offsets(spark, topic):
    """By partition, the first offset after the newest committed batch."""
    batch = newest(spark / "commits")
    if batch < 0:
        return []
    for line in (spark / "offsets" / str(batch)).read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(ValueError):
            found = json.loads(line)
            if isinstance(found, dict) and topic in found:
                return list(found[topic].values())
    return []
