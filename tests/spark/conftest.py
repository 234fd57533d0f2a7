"""One Spark session for the whole run, and a job in it that a test feeds with files instead of Kafka."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from models.artifact import DataSource, write_artifact
from models.baseline import BaselineConstants
from models.count_state import CountState
from models.features import feature_names
from models.hour_of_week import HOURS
from models.network import ResidualNetwork
from schemas.errors import RiskError
from schemas.grid import Grid
from schemas.spec import DAY_S, Spec
from streaming.batch_log import BatchLog
from streaming.pipeline import RosterWatch, _attend, start_query
from streaming.publish import Published, Publisher
from streaming.session import start_session
from streaming.settings import Settings
from streaming.sinks import ListSink
from streaming.source import with_heartbeat

DEADLINE_S = 240.0
TOP_K = 3
MESSAGES = pa.schema(
    [("value", pa.binary()), ("partition", pa.int32()), ("offset", pa.int64()), ("time_ms", pa.int64())]
)


def toy_spec(region, **changes):
    """6 x 6 cells, 2 categories; every region has a corner of its own."""
    corners = {"riverton": (41.0, -88.0), "lakeside": (44.0, -90.0), "hilltop": (47.0, -93.0)}
    south, west = corners[region]
    fields = {
        "region": region,
        "timezone": "America/Chicago",
        "grid": Grid(south_deg=south, west_deg=west, cell_m=1000, rows=6, cols=6),
        "categories": ("fire", "ems"),
        "features": feature_names(),
    }
    return Spec(**{**fields, **changes})


def random_network(spec, seed):
    """A network that changes every score a little."""
    torch.manual_seed(seed)
    network = ResidualNetwork(
        features=len(spec.features), categories=len(spec.categories), horizons=len(spec.horizons_s)
    )
    torch.nn.init.normal_(network.leave.weight, std=0.2)
    torch.nn.init.normal_(network.category.weight, std=0.2)
    return network.eval()


def exciting_network(spec):
    """A network that adds log(1 + incidents of the cell's newest hour), squashed, and nothing to a quiet cell."""
    network = ResidualNetwork(
        features=len(spec.features), categories=len(spec.categories), horizons=len(spec.horizons_s)
    )
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    with torch.no_grad():
        network.enter.weight[0, spec.features.index("cell_1h")] = 1
        network.middle.weight[0, 0] = 1
        network.leave.weight[:, 0] = 1
    return network.eval()


def publish_artifact(artifacts: Path, spec: Spec, *, created: str, network, history: CountState) -> Path:
    categories = len(spec.categories)
    constants = BaselineConstants(
        half_life_days=np.array(60.0),
        shrink_days=np.array(20.0),
        profile=np.random.default_rng(0).uniform(0.5, 1.5, (categories, HOURS)),
        mean_per_day=np.full(categories, 3.0),
        dispersion=np.full((categories, len(spec.horizons_s)), 2.0),
        first_day=np.array(float(history.as_of_s // DAY_S - 30)),
    )
    source = DataSource(file_name="none", sha256="", layout="none", incidents=0, first_s=0, cutoff_s=history.as_of_s)
    return write_artifact(
        artifacts,
        spec=spec,
        constants=constants,
        network=network,
        history=history,
        card="# made for a test\n",
        data=source,
        created=created,
        seed=0,
        libraries={},
        evaluation=[],
    )


@pytest.fixture(scope="session")
def toy() -> Callable[..., Spec]:
    return toy_spec


@pytest.fixture(scope="session")
def networks():
    """Makers of networks: `random(spec, seed)` and `exciting(spec)`."""
    return {"random": random_network, "exciting": exciting_network}


@pytest.fixture(scope="session")
def publish() -> Callable[..., Path]:
    """publish(artifacts, spec, created=, network=, history=) -> the artifact's folder."""
    return publish_artifact


@pytest.fixture(scope="session")
def session(tmp_path_factory):
    """The job's own session on two cores, with retries."""
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java 17 (Debian: openjdk-17-jre-headless)")
    environment = {name: os.environ[name] for name in ("RISK_CACHE",) if name in os.environ}
    settings = Settings.from_environment(environment)
    settings = settings.model_copy(update={"master": "local[2,4]", "driver_memory": "1g"})
    spark = start_session(settings, tmp_path_factory.mktemp("session") / "spark.log")
    yield spark
    spark.stop()


@dataclass
class Letters:
    """The dead-letter topic as a dictionary: where the message stood -> (its region, the reason)."""

    kept: dict = field(default_factory=dict)

    def write(self, refused):
        for region, rejections in refused.items():
            for one in rejections:
                self.kept[one.partition, one.kafka_offset] = (region, one.reason)

    def close(self):
        """Nothing to release."""


class NoKafka:
    """The messages come from files: there is no broker to look after."""

    is_away = False

    def look(self, now_s):
        pass


@dataclass
class Job:
    """source -> decode -> count -> score -> publish on one checkpoint. A file that is sent is one micro-batch."""

    session: object
    folder: Path
    clock: str = "event"
    sink: ListSink = field(default_factory=ListSink)
    letters: Letters = field(default_factory=Letters)
    published: list[Published] = field(default_factory=list)
    failure: RiskError | None = None
    sent: int = 0
    _files: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    @property
    def artifacts(self) -> Path:
        return self.folder / "artifacts"

    @property
    def settings(self) -> Settings:
        return Settings(
            artifacts=self.artifacts, checkpoint=self.folder / "checkpoint", clock=self.clock, trigger_s=0.05
        )

    def send(self, messages: Sequence[tuple[bytes | None, int, int, int]]) -> None:
        """Hand over (value, partition, offset, time_ms) as the next micro-batch."""
        columns = [list(column) for column in zip(*messages, strict=True)]
        table = pa.table([pa.array(c, f.type) for c, f in zip(columns, MESSAGES, strict=True)], schema=MESSAGES)
        self._files += 1
        unseen = self.folder / f"{self._files:04d}.parquet"
        pq.write_table(table, unseen)
        os.utime(unseen, (self._files, self._files))  # the source reads the oldest file first
        unseen.rename(self._input() / unseen.name)
        self.sent += len(messages)

    def start(self, **overrides) -> None:
        settings = self.settings.model_copy(update=overrides)
        watch = RosterWatch(settings)
        watch.look(time.monotonic())
        files = self.session.readStream.schema("value binary, `partition` int, `offset` bigint, time_ms bigint").option(
            "maxFilesPerTrigger", 1
        )
        messages = with_heartbeat(self.session, files.parquet(str(self._input())))
        log = BatchLog(settings.checkpoint)
        watchers = [log.keep, self.published.append]
        publisher = Publisher(sink=self.sink, dead_letters=self.letters, top_k=TOP_K, watchers=watchers)
        query = start_query(self.session, settings, messages, publisher)
        commits = settings.checkpoint.absolute() / "spark" / "commits"
        self.failure, self._stop = None, threading.Event()

        def attend():
            try:
                _attend(query, publisher, watch, NoKafka(), self._stop, commits)
            except RiskError as error:
                self.failure = error
            finally:
                log.close()

        self._thread = threading.Thread(target=attend)
        self._thread.start()

    def stop(self) -> None:
        """Stop between two batches. Raises what ended the job."""
        self._stop.set()
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive(), "the query did not stop"
        if self.failure is not None:
            raise self.failure

    def wait_for_end(self) -> RiskError:
        """The error that ended the job."""
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive(), "the query still runs"
        assert self.failure is not None
        return self.failure

    @contextmanager
    def running(self, **overrides) -> Iterator["Job"]:
        self.start(**overrides)
        try:
            yield self
        finally:
            self.stop()

    def wait_until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            if self.failure is not None:
                raise self.failure
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.02)

    def consumed(self) -> int:
        """Messages in the newest totals of every region."""
        newest = {region: s for p in list(self.published) for region, s in p.summaries.items()}
        return sum(summary.totals["consumed"] for summary in newest.values())

    def run_through(self, batches, **overrides) -> None:
        """Send the batches, wait until the job has counted all of them, and stop it."""
        for batch in batches:
            self.send(batch)
        with self.running(**overrides):
            self.wait_until(lambda: self.consumed() == self.sent)

    def frames(self, region: str) -> list:
        return [p.frames[region] for p in list(self.published) if region in p.frames]

    def _input(self) -> Path:
        path = self.folder / "input"
        path.mkdir(exist_ok=True)
        return path


@pytest.fixture
def new_job(session, tmp_path) -> Callable[..., Job]:
    """new_job(name, clock=, sink=): a job with folders of its own."""

    def make(name: str = "job", **fields) -> Job:
        folder = tmp_path / name
        folder.mkdir()
        job = Job(session=session, folder=folder, **fields)
        job.artifacts.mkdir()
        return job

    return make
