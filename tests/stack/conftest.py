import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from models.features import feature_names
from models.untrained import write_untrained
from schemas.grid import Grid
from schemas.spec import Spec
from streaming.broker import Broker, start_broker
from streaming.settings import INFLUX_PREFIX, PREFIX, Settings
from streaming.topics import ensure_topics

ROOT = Path(__file__).parents[2]
DEADLINE_S = 240.0
_FIELD = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|[^,]+)')


@pytest.fixture(scope="session")
def jar_cache() -> Path:
    """Where the broker's jars are, or go: the same place as for the commands, so that they are fetched once."""
    if shutil.which("java") is None:
        pytest.skip("the broker needs Java 17 (Debian: openjdk-17-jre-headless)")
    return Settings.from_environment({key: os.environ[key] for key in ("RISK_CACHE",) if key in os.environ}).cache


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory, jar_cache: Path) -> Broker:
    """A real Kafka broker for the whole run: make topics of your own on it."""
    with start_broker(tmp_path_factory.mktemp("broker"), cache=jar_cache, port=0) as broker:
        yield broker


@dataclass
class Topic:
    """A topic of the test's own, on the real broker."""

    bootstrap: str
    name: str
    partitions: int
    client: dict = field(default_factory=dict)  # more options of kafka-python

    def send(self, messages):
        """Send (partition, value, time_ms) in order; gives each one's (partition, offset)."""
        options = {"linger_ms": 20, "max_request_size": 1 << 20, **self.client}
        with KafkaProducer(bootstrap_servers=self.bootstrap, **options) as producer:
            sent = [
                producer.send(self.name, key=b"k", value=value, partition=partition, timestamp_ms=time_ms)
                for partition, value, time_ms in messages
            ]
            producer.flush(timeout=60)
            return [(one.partition, one.offset) for one in (future.get(timeout=10) for future in sent)]

    def read(self):
        """Every message's value, up to the topic's end now."""
        places = [TopicPartition(self.name, number) for number in range(self.partitions)]
        values = []
        with KafkaConsumer(bootstrap_servers=self.bootstrap, auto_offset_reset="earliest", **self.client) as consumer:
            ends = consumer.end_offsets(places)
            consumer.assign(places)
            consumer.seek_to_beginning(*places)
            deadline = time.monotonic() + DEADLINE_S
            while any(consumer.position(place) < ends[place] for place in places):
                assert time.monotonic() < deadline, "the topic cannot be read to its end"
                values += [r.value for records in consumer.poll(timeout_ms=200).values() for r in records]
        return values


@pytest.fixture(scope="session")
def topic_type():
    return Topic


@pytest.fixture(scope="module")
def new_topic(broker) -> Callable[..., Topic]:
    """new_topic(name, partitions=): an empty topic."""

    def make(name: str, *, partitions: int = 1) -> Topic:
        ensure_topics(broker.bootstrap, {name: partitions})
        return Topic(broker.bootstrap, name, partitions)

    return make


def read_points(path):
    """(measurement and tags, time) -> fields as text, later lines over earlier ones, as a store would have them."""
    points = defaultdict(dict)
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    for line in text[: text.rfind("\n") + 1].splitlines():
        key, rest = line.split(" ", 1)
        fields, time_s = rest.rsplit(" ", 1)
        points[key, int(time_s)].update(_FIELD.findall(fields))
    return dict(points)


@dataclass
class Scorer:
    """`python -m streaming run` as an operator starts it, with folders and topics of its own."""

    folder: Path
    topic: Topic
    dead_letters: Topic
    environment: dict
    process: subprocess.Popen | None = None
    children: list = field(default_factory=list)

    @property
    def artifacts(self):
        return self.folder / "artifacts"

    @property
    def checkpoint(self):
        return self.folder / "checkpoint"

    @property
    def output(self):
        """What the process has written on the terminal, standard output and error together."""
        return (self.folder / "terminal.txt").read_text(encoding="utf-8", errors="replace")

    def start(self, *command, **environment):
        """Start it in a process group of its own. `environment`: more settings."""
        command = [sys.executable, *(command or ("-m", "streaming", "run"))]
        with (self.folder / "terminal.txt").open("ab") as terminal:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**self.environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=terminal,
                stderr=subprocess.STDOUT,
                process_group=0,
            )

    def wait_until(self, condition, *, poll_s=0.05):
        """Poll `condition`; the process has to live on meanwhile."""
        deadline = time.monotonic() + DEADLINE_S
        while not (found := condition()):
            assert self.process.poll() is None, f"the scorer ended too early:\n{self.output[-3000:]}"
            assert time.monotonic() < deadline, f"waited in vain:\n{self.output[-3000:]}"
            time.sleep(poll_s)
        self.note_children()
        return found

    def note_children(self):
        try:
            self.children += psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return

    def points(self):
        return read_points(self.folder / "scores.lp")

    def totals(self):
        """Newest ledger totals of each region, from the stored points."""
        newest = {}
        for (key, time_s), fields in self.points().items():
            measurement, *tags = key.split(",")
            region = dict(tag.split("=") for tag in tags)["region"]
            if measurement == "pipeline" and time_s >= newest.get(region, (0,))[0]:
                newest[region] = time_s, fields
        return {
            region: {name: int(float(value)) for name, value in fields.items() if name in LEDGER or "rejected" in name}
            for region, (_, fields) in newest.items()
        }

    def consumed(self):
        return sum(totals["consumed"] for totals in self.totals().values())

    def letters(self):
        return [json.loads(value) for value in self.dead_letters.read()]

    def end(self, number=None):
        """Wait for the process, after a signal if one is given, and for all it started. Gives its exit code.

        SIGKILL goes to the whole process group, as when a machine goes down; others to the process alone.
        """
        self.note_children()
        if number == signal.SIGKILL:
            os.killpg(self.process.pid, number)
        elif number is not None:
            self.process.send_signal(number)
        code = self.process.wait(DEADLINE_S)
        _, alive = psutil.wait_procs(self.children, timeout=60)
        assert not alive, f"left behind: {alive}"
        self.children.clear()
        return code

    def clean_up(self):
        if self.process is not None and self.process.poll() is None:
            self.end(signal.SIGKILL)


LEDGER = ("consumed", "counted", "corrected", "duplicate", "excluded", "rejected")


@pytest.fixture(scope="module")
def new_scorer(broker, jar_cache, new_topic, tmp_path_factory):
    """new_scorer(name, topic, **settings): a scorer that is not started, on the clock of the events, into a file."""
    made = []

    def make(name, topic, **settings):
        folder = tmp_path_factory.mktemp(name)
        dead_letters = new_topic(f"{topic.name}.{name}.dlq")
        ours = {k: v for k, v in os.environ.items() if not k.startswith((PREFIX, INFLUX_PREFIX))}
        environment = {
            "RISK_KAFKA_BOOTSTRAP": broker.bootstrap,
            "RISK_TOPIC": topic.name,
            "RISK_DEAD_LETTER_TOPIC": dead_letters.name,
            "RISK_ARTIFACTS": str(folder / "artifacts"),
            "RISK_CHECKPOINT": str(folder / "checkpoint"),
            "RISK_SINK": f"file:{folder / 'scores.lp'}",
            "RISK_CLOCK": "event",
            "RISK_CACHE": str(jar_cache),
            "RISK_MASTER": "local[2,4]",
            "RISK_DRIVER_MEMORY": "1g",
            **settings,
        }
        scorer = Scorer(folder=folder, topic=topic, dead_letters=dead_letters, environment={**ours, **environment})
        scorer.artifacts.mkdir()
        made.append(scorer)
        return scorer

    yield make
    for scorer in made:
        scorer.clean_up()


@dataclass(frozen=True)
class Region:
    """A region of 6 x 6 cells without history, whose clock starts at `start_s`."""

    spec: Spec
    start_s: int

    def publish(self, artifacts, *, created="20260101T000000Z"):
        return write_untrained(artifacts, self.spec, per_day=5, cutoff_s=self.start_s, created=created)

    def event(self, number, *, cell, at_s, **changes):
        """A valid event, as bytes."""
        lat, lon = self.spec.grid.centres()
        record = {
            "incident_id": f"{self.spec.region}-{number}",
            "region": self.spec.region,
            "occurred_at": datetime.fromtimestamp(at_s, UTC).isoformat(),
            "category": self.spec.categories[number % len(self.spec.categories)],
            "lat": float(lat[cell]),
            "lon": float(lon[cell]),
            "origin": "public_call",
        }
        return json.dumps({**record, **changes}).encode()


@pytest.fixture(scope="session")
def new_region():
    """new_region(name, south_deg=, categories=)."""

    def make(name, *, south_deg=41.0, categories=("fire", "ems")):
        grid = Grid(south_deg=south_deg, west_deg=-88.0, cell_m=1000, rows=6, cols=6)
        spec = Spec(region=name, timezone="America/Chicago", grid=grid, categories=categories, features=feature_names())
        return Region(spec, 1_700_000_000)

    return make
