"""The job as an operator starts it, its topics, and what it has stored."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition

from streaming.kafka import KafkaConnection, ensure_topics
from streaming.settings import INFLUX_PREFIX, PREFIX
from tests.harness.fork_server import ForkServer
from tests.harness.points import stored_points, tags_of

ROOT = Path(__file__).parents[2]
DEADLINE_S = 240.0
OPERATORS = ("-m", "incident_risk", "run")  # what an operator gives to Python
TRACE = ("Traceback", "Py4J", "at org.apache")
LEDGER = ("consumed", "counted", "corrected", "duplicate", "repeated", "excluded", "rejected")


def read_points(path, beginning=b""):
    """`stored_points` of the whole lines of a file that begin so. The file may not be there yet."""
    content = path.read_bytes() if path.exists() else b""
    lines = content[: content.rfind(b"\n") + 1].splitlines(keepends=True)
    return stored_points([b"".join(line for line in lines if line.startswith(beginning))])


@dataclass
class Topic:
    """A topic of the test's own, on the real broker."""

    bootstrap: str
    name: str
    partitions: int
    client: dict = field(default_factory=dict)  # more options of kafka-python

    def send(self, messages):
        """Send (partition, value, time_ms) in order; gives each one's (partition, offset)."""
        options = {"bootstrap_servers": self.bootstrap, "linger_ms": 20, "max_request_size": 1 << 20, **self.client}
        with KafkaProducer(**options) as producer:
            sent = [
                producer.send(self.name, key=b"k", value=value, partition=partition, timestamp_ms=time_ms)
                for partition, value, time_ms in messages
            ]
            producer.flush(timeout=60)
            return [(record.partition, record.offset) for record in (future.get(timeout=10) for future in sent)]

    def read(self):
        """Every message's value, up to the topic's end now."""
        return [record.value for record in self.records()]

    def records(self):
        """Every message, in each partition's order."""
        places = [TopicPartition(self.name, number) for number in range(self.partitions)]
        records = []
        options = {"bootstrap_servers": self.bootstrap, "auto_offset_reset": "earliest", **self.client}
        with KafkaConsumer(**options) as consumer:
            ends = consumer.end_offsets(places)
            consumer.assign(places)
            consumer.seek_to_beginning(*places)
            deadline = time.monotonic() + DEADLINE_S
            while any(consumer.position(place) < ends[place] for place in places):
                assert time.monotonic() < deadline, "the topic cannot be read to its end"
                records += itertools.chain.from_iterable(consumer.poll(timeout_ms=200).values())
        return records


def make_anew(topic):
    """Delete the topic and create another one of its name."""
    with KafkaAdminClient(bootstrap_servers=topic.bootstrap) as admin:
        admin.delete_topics([topic.name])
        deadline = time.monotonic() + 60
        while topic.name in admin.list_topics():
            assert time.monotonic() < deadline, "Kafka does not delete the topic"
            time.sleep(0.2)
    ensure_topics(KafkaConnection(topic.bootstrap), {topic.name: topic.partitions})


def delete_up_to(topic, offset):
    """Delete what stands before the offset of partition 0."""
    with KafkaAdminClient(bootstrap_servers=topic.bootstrap) as admin:
        admin.delete_records({TopicPartition(topic.name, 0): offset})


@dataclass
class Scorer:
    """`risk run`, with folders and topics of its own."""

    folder: Path
    topic: Topic
    dead_letters: Topic
    environment: dict
    commands: ForkServer | None = None
    process: subprocess.Popen | None = None
    _read: dict = field(default_factory=dict)  # beginning of lines -> (bytes of the file, its points)
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
        """Start it in a process group of its own. command: arguments of Python; environment: more settings.

        Without either it is forked, where there is a fork server, and has its imports already.
        """
        with (self.folder / "terminal.txt").open("ab") as terminal:
            if self.commands is not None and not command and not environment:
                out = (terminal, terminal)
                self.process = self.commands.popen(
                    "incident_risk", "run", out=out, env=self.environment, process_group=0
                )
                return
            self.process = subprocess.Popen(
                [sys.executable, *(command or OPERATORS)],
                cwd=ROOT,
                env={**self.environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=terminal,
                stderr=subprocess.STDOUT,
                process_group=0,
            )

    def command(self, *words, **environment):
        """`risk WORDS` with its settings and others, to its end. It may not start Java."""
        return self.commands.run("incident_risk", *words, env={**self.environment, **environment})

    def assert_refused(self, code, said, **environment):
        """A start ends with this code and says this."""
        ran = self.command("run", **environment)
        assert "Traceback" not in ran.stderr
        assert (ran.returncode, said in ran.stderr) == (code, True), ran.stderr

    def assert_ended(self, code, *said):
        """It ends with this code, and the one error that it tells says this."""
        ended, output = self.end(), self.output
        errors = [line for line in output.splitlines() if line.startswith("error:")]
        assert (ended, len(errors)) == (code, 1), output
        assert [words for words in said if words not in errors[0]] == [], errors[0]
        if code != 7:  # Java's own end, of which Spark tells
            self.assert_no_trace()

    def assert_no_trace(self):
        assert not [word for word in TRACE if word in self.output], self.output

    def wait_until(self, condition):
        """Poll `condition`; the process has to live on meanwhile."""
        deadline = time.monotonic() + DEADLINE_S
        while not (answer := condition()):
            assert self.process.poll() is None, f"the scorer ended too early:\n{self.output[-3000:]}"
            assert time.monotonic() < deadline, f"waited in vain:\n{self.output[-3000:]}"
            time.sleep(0.05)
        self.note_children()
        return answer

    def note_children(self):
        try:
            self.children += psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return

    def points(self, beginning=b""):
        """The stored points, those whose line begins so; whoever asks again and again has them read only when new."""
        path = self.folder / "scores.lp"
        size = path.stat().st_size if path.exists() else 0
        if self._read.get(beginning, (0,))[0] != size:
            self._read[beginning] = size, read_points(path, beginning)
        return self._read[beginning][1] if size else {}

    def totals(self):
        """Newest ledger totals of each region, from the stored points."""
        newest = {}
        for (key, time_s), fields in self.points(b"pipeline,").items():
            region = tags_of(key)["region"]
            if time_s >= newest.get(region, (0,))[0]:
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


def make_scorer(folder, topic, dead_letters, *, commands=None, **settings):
    """A scorer that is not started, on the clock of the events, into a file. `settings`: more, and other ones."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith((PREFIX, INFLUX_PREFIX))}
    environment = {
        "RISK_KAFKA_BOOTSTRAP": topic.bootstrap,
        "RISK_TOPIC": topic.name,
        "RISK_DEAD_LETTER_TOPIC": dead_letters.name,
        "RISK_ARTIFACTS": str(folder / "artifacts"),
        "RISK_CHECKPOINT": str(folder / "checkpoint"),
        "RISK_AUDIT": str(folder / "audit.jsonl"),
        "RISK_FRAMES": str(folder / "frames"),
        "RISK_SINK": f"file:{folder / 'scores.lp'}",
        "RISK_CLOCK": "event",
        "RISK_MASTER": "local[2,4]",
        "RISK_DRIVER_MEMORY": "1g",
        **settings,
    }
    scorer = Scorer(folder, topic, dead_letters, environment={**ours, **environment}, commands=commands)
    scorer.artifacts.mkdir()
    return scorer
