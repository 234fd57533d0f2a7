"""Runs a scenario against the real thing: Kafka, the job in a process of its own, a store over HTTP behind a proxy.

Then it says what does not hold (the numbers: matrix.py).
"""

import contextlib
import gc
import json
import os
import random
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError

from schemas.errors import RiskError
from streaming.kafka import KafkaConnection, ensure_topics
from streaming.rehearse.broker import Secured, free_port, start_broker
from streaming.settings import PREFIX, Settings
from tests.faults.matrix import waited_s
from tests.faults.oracle import DAY_S, Region
from tests.faults.rules import Traces, breaches
from tests.faults.scenario import CANARY, SENT, START_S, Producer, Scenario, closing, moved
from tests.faults.stores import WrittenStore
from tests.faults.witness import Injected, Witness, ends_of, newest
from tests.harness.fork_server import ForkServer
from tests.harness.proxy import Proxy
from tests.harness.recount import RecountError, recount
from tests.harness.region import make_region
from tests.harness.scorer import Topic, make_scorer, read_points

TOKEN = "numbat8087"  # no log may show it
EXPLAINED_BY = {5: "broker", 6: "store"}  # what a fault of that side may end the job with
UNMET_S = 30  # so much longer at most
SENT_EVERY_S = 0.1  # while the broker is away
DEADLINE_S = 240.0
DISTURBED = {"down": {"refuses": True}, "hangs": {"swallows": True}, "slow": {"delay_s": 0.2}}  # settings of a Proxy
FIRST_LOAD = "the first load"  # what comes before the faults
# A second listener that is told to clients as the proxy's address, so that everything they do goes through it.
PROPERTIES = """
listeners=PLAINTEXT://127.0.0.1:{{port}},PROXIED://127.0.0.1:{behind},CONTROLLER://127.0.0.1:{{controller_port}}
advertised.listeners=PLAINTEXT://127.0.0.1:{{port}},PROXIED://127.0.0.1:{proxy}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
"""


class BrokerToBreak:
    """A broker whose process can be stopped, killed and frozen; it comes back on the same port with the same data.

    `bootstrap` leads to it directly, `proxied` through `proxy`. `commands`: where its jobs are forked, if anywhere.
    """

    def __init__(self, folder: Path, cache: Path, commands: ForkServer | None = None):
        self.folder, self.cache, self.commands, self.port = folder, cache, commands, 0
        self.proxy = Proxy(free_port()).__enter__()
        properties = PROPERTIES.format(behind=self.proxy.target, proxy=self.proxy.port)
        self._more = Secured(properties=properties, format_options=())
        self.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        self.proxy.__exit__()
        with warnings.catch_warnings():  # kafka-python leaves a socket whose connection was refused to the collector
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()

    @property
    def bootstrap(self):
        return f"127.0.0.1:{self.port}"

    @property
    def proxied(self):
        return f"127.0.0.1:{self.proxy.port}"

    def start(self):
        """Also lets clients of `proxied` in: while the broker is down nobody listens there either."""
        self.broker = start_broker(self.folder, cache=self.cache, port=self.port, secured=self._more)
        self.port = self.broker.port
        self.proxy.open_door()

    def stop(self):
        self.proxy.close_door()
        self.broker.stop()

    def kill(self):
        self.proxy.close_door()
        os.kill(self.broker.pid, signal.SIGKILL)
        self.broker.process.wait(60)

    def freeze(self, seconds):
        os.kill(self.broker.pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(self.broker.pid, signal.SIGCONT)


@dataclass(frozen=True)
class Kill:
    """What there was when the job was dead. forecasts: hours of which one is kept (riverton's)."""

    mark: str
    at_s: int  # the simulated time of what was sent
    offsets: int  # newest batch that was planned
    commits: int  # newest batch that was committed
    is_planned: bool  # whether some of what was sent is in a batch
    forecasts: frozenset


@dataclass
class World:
    """One scenario's topic, job and store. Each `do_KIND` brings about one action and returns when it is done."""

    scenario: object
    folder: Path
    broker: BrokerToBreak
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
    _partition_of: dict = field(default_factory=dict)
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
        self.witness = Witness(self.scorer, self.topic.name, self.store.consumed)
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

    # actions

    def do_send(self, action):
        """produce, correct, cancel, repeat, rubbish, stray"""
        sent = [(self.send(message), message[1]) for message in self.producer.messages(action)]
        self._kafka.flush(timeout=60)
        for future, value in sent:
            where = future.get(timeout=30)
            self.acknowledged[where.partition, where.offset] = value

    def do_settle(self, action):
        """Wait until the job runs and has all of it: what comes next meets it at work, not at its start."""
        self.settle(FIRST_LOAD)

    def do_pause(self, action):
        time.sleep(action.argument)

    def do_kill(self, action):
        """SIGKILL to the job's process group at a mark, while it takes in what is sent here."""
        is_killed = self._kill(action)
        self._start()
        self.settle(f"SIGKILL {action.argument}" if is_killed else "an end before SIGKILL came")

    def _kill(self, action):
        """The job has ended then. Gives whether by SIGKILL."""
        self._ensure_running()
        process, spark = self.scorer.process, self.scorer.checkpoint / "spark"
        died = threading.Event()

        def shoot(*, is_noted=False):
            if not is_noted:
                self.scorer.note_children()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            died.set()

        if action.argument == "in write":
            self.store.before_write = shoot
        elif action.argument == "after write":
            self.store.after_write = shoot
        planned = self._planned()
        self.scorer.note_children()
        self.do_send(action)
        deadline = time.monotonic() + DEADLINE_S
        if action.argument == "now":
            time.sleep(random.Random(action.seed).uniform(0, 2))
            shoot()
        while not died.is_set():
            assert time.monotonic() < deadline, f"the mark {action.argument} was not reached"
            if process.poll() is not None:
                break  # another fault has ended it
            if action.argument == "after offsets" and self._planned() > planned:
                shoot()
            if action.argument == "after keep" and action.at_s in self._forecasts():
                shoot(is_noted=True)  # noting takes as long as what is left until the commit
            if action.argument == "between batches" and newest(spark / "offsets") == newest(spark / "commits") > -1:
                self.scorer.note_children()
                if newest(spark / "offsets") == newest(spark / "commits"):
                    shoot(is_noted=True)
            time.sleep(0.001)
        self.store.before_write = self.store.after_write = None
        code = self.scorer.end()
        if code != -signal.SIGKILL:
            self._note_exit(code)
            return False
        ends = newest(spark / "offsets"), newest(spark / "commits")
        self.kills.append(Kill(action.argument, action.at_s, *ends, self._planned() > planned, self._forecasts()))
        return True

    def _planned(self):
        """Messages up to the end of the newest batch that Spark has planned; most batches of a calm job hold none."""
        spark = self.scorer.checkpoint / "spark"
        return sum(ends_of(spark, newest(spark / "offsets"), self.topic.name).values())

    def _forecasts(self):
        folder = self.scorer.checkpoint / "outcomes" / "riverton"
        return frozenset(int(path.stem) for path in folder.glob("*.npz"))

    def do_restart(self, action):
        self._wait_until(self._is_up, "the job")
        code = self.scorer.end(signal.SIGTERM)
        if code:
            self._note_exit(code)
        self._start()
        self.settle("restart")

    def do_lose_commit(self, action):
        """SIGKILL between two batches, and the newest commit is lost: its batch is repeated."""
        self._wait_until(self._is_up, "the job")
        self._kill(replace(action, argument="between batches"))
        spark = self.scorer.checkpoint / "spark"
        number = newest(spark / "commits")
        (spark / "commits" / str(number)).unlink()
        (spark / "offsets" / str(number + 1)).unlink(missing_ok=True)  # of a batch that was begun as the kill came
        self._start()
        self.settle("SIGKILL between batches and a lost commit")

    def do_broker_restart(self, action):
        self._without_broker(action, self.broker.stop, "broker restart")

    def do_broker_kill(self, action):
        self._without_broker(action, self.broker.kill, "broker SIGKILL")

    def _without_broker(self, action, end_it, what):
        """Events go on coming in meanwhile; what Kafka acknowledged must be there afterwards."""
        with Sender(self, action) as sender:
            injected = self._inject(action.kind, sender.sent_at)
            end_it()
            time.sleep(action.argument)
            self.broker.start()
            back = injected.ended = time.monotonic()
        self.settle(what, since=back)

    def do_broker_freeze(self, action):
        with Sender(self, action) as sender:
            injected = self._inject(action.kind, sender.sent_at)
            self.broker.freeze(action.argument)
            back = injected.ended = time.monotonic()
        self.settle("broker SIGSTOP", since=back)

    def do_kafka_cut(self, action):
        self._cut(action, self.broker.proxy)

    def _disturb(self, action):
        """Kafka or the store is down, hangs or is slow for a while."""
        who, how = action.kind.split("_")
        proxy = self.broker.proxy if who == "kafka" else self.proxy
        self._for_a_while(action, proxy, **DISTURBED[how])
        if how == "down":
            proxy.cut()

    do_kafka_down = do_kafka_hangs = do_kafka_slow = do_store_down = do_store_hangs = do_store_slow = _disturb

    def do_store_503(self, action):
        injected = self._inject(action.kind, self.store.hits)
        self.store.answers += [(503, b'{"code":"unavailable","message":"try later"}', {})] * action.argument
        self._send_until_hit(action, injected)

    def do_store_half(self, action):
        self._break_once(action, "cut_upload_after", action.argument)

    def do_store_loses_answer(self, action):
        self._break_once(action, "loses_answer", True)

    def _break_once(self, action, fault, value):
        injected = self._inject(action.kind, self.proxy.hits[fault])
        setattr(self.proxy, fault, value)
        self._send_until_hit(action, injected)

    def do_cut(self, action):
        self._cut(action, self.proxy)

    def _cut(self, action, proxy):
        """After what is sent here: it makes the job open a connection where it has none."""
        self.do_send(action)
        self._wait_until(lambda: proxy.is_in_use, f"{action.kind} to have something to cut")
        self._inject(action.kind, proxy.hits["cut"])
        proxy.cut()

    def _send_until_hit(self, action, injected):
        self.do_send(action)
        self._wait_until(lambda: injected.hits, f"{action.kind} to meet a write")

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
        version = self.versions["riverton"][-1]
        self._wait_until(
            lambda: any(fields.get("model") == f'"{version}"' for fields in self.store.snapshot().values()),
            f"artifact {version}",
        )
        self.do_send(action)

    # what does not hold

    def broken(self):
        """Sentences; none when all is well."""
        traces, limit_s = self.traces(), waited_s()
        slow = [(what, seconds) for what, seconds in self.recoveries if seconds > limit_s and what != FIRST_LOAD]
        return [
            *self.faults,
            *(f"I10: {seconds:.0f} s after {what}" for what, seconds in slow),
            *breaches(traces),
            *self._secrets(),
            *self._other_scores(traces.points),
        ]

    def traces(self):
        return Traces(
            messages=self.messages(),
            regions=self.producer.regions,
            versions=self.versions,
            batches=self.witness.batches,
            points=self.store.snapshot(),
            ledgers=self.store.ledgers,
            letters=[json.loads(value) for value in self.letters.read()],
            written=self.store.written,
            topic=self.topic.name,
            acknowledged=self.acknowledged,
            times_ms=self.witness.times_ms if self.scenario.clock == "wall" else None,
        )

    def _secrets(self):
        checkpoint = self.scorer.checkpoint
        records = (path for path in checkpoint.rglob("*") if path.suffix in (".json", ".jsonl", ".log"))
        for path in (self.scorer.folder / "terminal.txt", *records):
            content = path.read_bytes()
            for canary in (TOKEN, CANARY):
                if canary.encode() in content:
                    yield f"I12: {path.name} shows {canary}"

    def _other_scores(self, points):
        """I6: one calm pass over the topic, without Spark and without a restart, gives the very scores that are stored.

        It also compares each batch's ledger with the one that the job logged.
        """
        calm = self.scorer.folder / "calm.lp"
        ours = {key: value for key, value in self.scorer.environment.items() if key.startswith(PREFIX)}
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

    # what is in the topic

    def messages(self):
        """(partition, offset, value, Kafka time in ms) of the whole topic, in each partition's order."""
        records = replace(self.topic, partitions=self._partitions).records()
        messages = [(record.partition, record.offset, record.value, record.timestamp) for record in records]
        return sorted(messages, key=lambda message: message[:2])

    def in_topic(self):
        with KafkaConsumer(bootstrap_servers=self.broker.bootstrap) as consumer:
            places = [TopicPartition(self.topic.name, number) for number in range(self._partitions)]
            return sum(consumer.end_offsets(places).values())

    # life

    def send(self, message):
        """The future of one (key, value, Kafka time in ms); the same key goes to the same partition for ever."""
        key, value, time_ms = message
        partition = self._partition_of.setdefault(key, random.Random(key).randrange(self._partitions))
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
        sent = self.in_topic()
        self._wait_until(lambda: self.store.consumed() >= sent and self._is_up(), f"{sent} messages after {what}")
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


class Sender:
    """Sends while it is entered, and waits at the end for Kafka's answers.

    What was acknowledged goes to the world's `acknowledged` and must be in the topic. The rest may be there or not:
    the recount reads the topic. sent_at: monotonic times.
    """

    def __init__(self, world, action):
        self.world, self.action = world, action
        self.sent_at, self._sent = [], []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_sending, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()
        for future, value in self._sent:
            with contextlib.suppress(KafkaError):
                where = future.get(timeout=60)
                self.world.acknowledged[where.partition, where.offset] = value

    def _keep_sending(self):
        """With a memory of its own: what the scenario's other actions send does not depend on how long this takes."""
        producer = Producer(self.world.producer.regions)
        for message in producer.stream(self.action):
            if self._ended.wait(SENT_EVERY_S):
                return
            with contextlib.suppress(KafkaError):
                self._sent.append((self.world.send(message), message[1]))
            self.sent_at.append(time.monotonic())


@contextlib.contextmanager
def world_of(scenario: Scenario, folder: Path, broker: BrokerToBreak) -> Iterator[World]:
    """Its world in `folder`, which must be empty; it has not run."""
    with WrittenStore() as store, Proxy(store.port) as proxy:
        world = World(scenario, folder, broker, store, proxy)
        try:
            yield world
        finally:
            world.close()


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


def run_scenario(scenario: Scenario, folder: Path, broker: BrokerToBreak) -> Outcome:
    """Run it in `folder`, which must be empty; what is broken comes back in words, an error of the run too."""
    began = time.monotonic()
    with world_of(scenario, folder, broker) as world:
        try:
            world.run()
            broken, messages = world.broken(), world.in_topic()
        except Exception as error:
            broken = [*world.faults, *world.witness.faults, f"the run ended with {type(error).__name__}: {error}"]
            messages = 0
    return Outcome(
        broken=tuple(broken),
        seconds=round(time.monotonic() - began, 1),
        starts=world.starts,
        exits=tuple(world.exits),
        recoveries=tuple((what, round(seconds, 1)) for what, seconds in world.recoveries),
        messages=messages,
        injected=tuple(
            (fault.kind, fault.hits, round(fault.effect_s, 1), fault.sign, fault.back_s) for fault in world.injected
        ),
    )
