"""One Spark session for the whole run, toy regions, and jobs that a test feeds with files instead of Kafka."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from models.dispersion import Dispersion
from models.local_time import DAY_BLOCKS, HOURS
from schemas.spec import DAY_S, Spec
from streaming.flow import count
from streaming.settings import Settings
from streaming.spark import start_session
from tests.harness.file_job import FileJob
from tests.harness.random_world import HISTORY_END_S, MERGE, REGIONS, START_S, random_batches
from tests.harness.region import opinionated
from tests.harness.region_bench import Bench, empty_history
from tests.harness.toy import CREATED, publish_artifact, toy_constants, toy_grid, toy_spec

MORE_BATCHES = 12


def region_spec(region, **changes):
    """6 x 6 cells; every region has a corner of its own."""
    corners = {"riverton": (41.0, -88.0), "lakeside": (44.0, -90.0), "hilltop": (47.0, -93.0)}
    south, west = corners[region]
    grid = toy_grid(6, 6, south_deg=south, west_deg=west)
    return toy_spec(**{"region": region, "timezone": "America/Chicago", "grid": grid, **changes})


def publish_swinging(artifacts, spec, *, history, seed=1, network=None, created=CREATED) -> Path:
    """An artifact whose baseline differs by hour, day and cell; its network is drawn when none is given."""
    categories = len(spec.categories)
    constants = toy_constants(
        spec,
        shrink_days=np.full(categories, 20.0),
        profile=np.random.default_rng(0).uniform(0.5, 1.5, (categories, HOURS)),
        day_lift=np.random.default_rng(1).uniform(0.5, 1.5, (spec.grid.cells, categories, DAY_BLOCKS)),
        mean_per_day=np.full(categories, 3.0),
        dispersion=Dispersion.quadratic(np.full((categories, len(spec.horizons_s)), 2.0)),
        first_day=np.array(float(history.as_of_s // DAY_S - 30)),
    )
    network = network or opinionated(spec, seed=seed)
    return publish_artifact(
        artifacts, spec=spec, constants=constants, network=network, history=history, created=created
    )


@pytest.fixture(scope="session")
def toy() -> Callable[..., Spec]:
    return region_spec


@pytest.fixture(scope="session")
def publish() -> Callable[..., Path]:
    """publish(artifacts, spec, history=, seed= of its network or network=, created=) -> the artifact's folder."""
    return publish_swinging


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


@pytest.fixture(scope="session")
def new_job(session, tmp_path_factory) -> Callable[..., FileJob]:
    """new_job(name, clock=, sink=): a job with folders of its own."""

    def make(name: str = "job", **fields) -> FileJob:
        job = FileJob(session=session, folder=tmp_path_factory.mktemp(name), **fields)
        job.artifacts.mkdir()
        return job

    return make


@pytest.fixture(scope="session")
def world(toy):
    specs = {region: toy(region, merge=MERGE[region]) for region in REGIONS}
    return specs, random_batches(specs, seed=11, batches=7, size=90)


@pytest.fixture(scope="session")
def random_job(new_job, world, publish):
    """random_job(name, sink=): a job whose two regions have random networks, and one of them a history."""

    def make(name, **fields):
        job = new_job(name, **fields)
        for spec in world[0].values():
            history = empty_history(spec, START_S)
            if HISTORY_END_S[spec.region]:
                history.levels["day"].add(np.full(50, START_S - 9 * DAY_S), np.arange(50) % 7, 1)
            publish(job.artifacts, spec, seed=3, history=history)
        return job

    return make


def connections(session):
    """How many Spark's Java has open."""
    java = psutil.Process(session.sparkContext._jvm.java.lang.ProcessHandle.current().pid())
    return sum(connection.status != psutil.CONN_LISTEN for connection in java.net_connections(kind="all"))


@pytest.fixture(scope="session")
def undisturbed(random_job, world, session):
    """A job with random regions that has taken in all batches of the world, in one life.

    Its `after_two`: a job as it was after the first two of them. Its `opened`: connections that Java had more after
    `MORE_BATCHES` further ones.
    """
    job = random_job("undisturbed")
    with job.running():
        for number, batch in enumerate(world[1]):
            job.send(batch)
            if number == 1:
                job.wait_until(lambda: job.consumed() == job.sent)
                job.after_two = FileJob(session=job.session, folder=job.folder)
                job.after_two.sink.writes += job.sink.writes
                job.after_two.letters.kept |= job.letters.kept
                job.wait_until(lambda: len(job.published) >= 3)
                before, first = connections(session), len(job.published)
        job.wait_until(lambda: job.consumed() == job.sent and len(job.published) >= first + MORE_BATCHES)
        job.opened = connections(session) - before
    return job


@pytest.fixture
def new_bench(publish):
    """new_bench(folder, spec, clock="wall"): a bench whose region has a random network and no history."""

    def make(folder, spec, *, clock="wall"):
        bench = Bench(folder, clock=clock)
        publish(bench.artifacts, spec, history=empty_history(spec))
        bench.look()
        return bench

    return make


@pytest.fixture
def empty_cache():
    count._LIVE.clear()
    count._REPORTED.clear()
