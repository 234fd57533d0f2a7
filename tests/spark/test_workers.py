"""What reaches Spark's workers: a task's GPU (a script pretends to be nvidia-smi), roster and artifacts, no secret.

A task that was given a GPU where there is no CUDA scores with the network on the CPU; a device that is lost, before or
while it scores, leaves the baseline.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest
import torch
import trustme
from pyspark.errors import PySparkException

from models.artifact import WEIGHTS
from models.features import FeatureEngine
from models.network import ResidualNetwork
from schemas.errors import ArtifactError, ArtifactsAway, SparkFailed
from schemas.records import Entry
from streaming.artifacts_in_force import load_artifact
from streaming.flow.dataflow import kafka_messages, with_heartbeat
from streaming.flow.score import score_stage
from streaming.flow.workers import Shipment, on_this_worker, shipped_roster
from streaming.kafka import KafkaConnection
from streaming.settings import Settings
from streaming.spark import spark_session
from tests.harness.compose_file import read_compose
from tests.harness.file_job import FileJob
from tests.harness.processes import run_python, stand_in
from tests.harness.random_world import NOW
from tests.harness.region_bench import empty_history
from tests.harness.spark_cluster import ROOT, cluster_environment
from tests.harness.toy import iso, toy_record

SMI = "#!/bin/sh\necho 3\n"  # one GPU, which is not the first


def columns_of(folder, features, *, is_challenger=False):
    """The columns of one row that follows nothing, as Spark gives them to the stage."""
    return [pd.Series([value]) for value in (str(folder), features, is_challenger, 0, None, None)]


# Executors of their own need a process of their own: a run of tests has one session.
DRIVER = """
import json, sys
import torch
import pandas as pd
from pathlib import Path
from models.features import FeatureEngine
from schemas.records import Entry
from streaming.artifacts_in_force import load_artifact
from streaming.flow.workers import Shipment
from pyspark.sql.functions import lit, pandas_udf
from streaming.flow.rows import FIELDS, ScoreColumns, ddl
from streaming.flow.score import score_features, score_stage
from streaming.spark import start_session
from streaming.settings import Settings
from streaming.spark import spark_session

master, folder, cache, log = sys.argv[1:]
session = start_session(Settings(master=master, cache=Path(cache), driver_memory="512m"), Path(log))


def devices(batches):
    import pandas as pd
    import torch
    from pyspark import TaskContext
    from streaming.flow.score import task_device

    list(batches)
    without_cuda, is_available = task_device(), torch.cuda.is_available
    torch.cuda.is_available = lambda: True
    with_cuda = task_device()
    torch.cuda.is_available = is_available  # Spark may give this worker to the next stage
    (address,) = TaskContext.get().resources()["gpu"].addresses
    yield pd.DataFrame({"without_cuda": [without_cuda], "with_cuda": [with_cuda], "address": [address]})


seen = session.range(0, 2, 1, 2).mapInPandas(devices, "without_cuda string, with_cuda string, address string", True)
tasks = [row.asDict() for row in seen.collect()]

artifact = load_artifact(folder)
features = FeatureEngine(artifact.spec, artifact.constants).compute(artifact.history()).values.tobytes()
Shipment.of(session.sparkContext).send({"riverton": Entry(folder, artifact.version, "")})
frame = session.createDataFrame([(folder, bytearray(features))], "folder string, features binary")
score_udf = pandas_udf(score_stage(None), returnType=ddl(ScoreColumns))
of_a_champion = lit(False), lit(0).cast("bigint"), lit(None).cast("binary"), lit(None).cast("binary")
(row,) = frame.select(score_udf("folder", "features", *of_a_champion).alias("scores")).collect()
torch.set_num_threads(1)
model, scores = score_features(artifact, artifact.network, features)
equal = all(bytes(row.scores[name]) == getattr(scores, name).astype("<f4").tobytes() for name in FIELDS)
print("RESULT", json.dumps({"tasks": tasks, "model": row.scores.model, "expected": model, "equal": equal}))
session.stop()
"""


@pytest.fixture
def folder(tmp_path, toy, publish):
    """Of an artifact with a network that changes scores."""
    return publish(tmp_path, toy("riverton"), history=empty_history(toy("riverton")))


@pytest.mark.nightly
@pytest.mark.fault("F37")
def test_a_task_takes_the_gpu_that_our_settings_give_it_and_the_cpu_where_there_is_no_cuda(tmp_path, folder, jar_cache):
    settings = tmp_path / "conf"
    shutil.copytree(ROOT / "deploy" / "gpu", settings)
    defaults = settings / "spark-defaults.conf"
    defaults.write_text(defaults.read_text().replace("/etc/spark", str(settings)))
    environment = {**cluster_environment(tmp_path), "PYSPARK_PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": ""}
    environment |= {"PATH": stand_in("nvidia-smi", tmp_path / "bin", SMI), "SPARK_CONF_DIR": str(settings)}
    master = read_compose("compose.gpu.yaml")["services"]["scorer"]["environment"]["RISK_MASTER"]
    ran = run_python("-c", DRIVER, master, folder, jar_cache, tmp_path / "log", cwd=tmp_path, env=environment)
    assert ran.returncode == 0, ran.stderr[-3000:]
    (line,) = [line for line in ran.stdout.splitlines() if line.startswith("RESULT ")]
    result = json.loads(line.removeprefix("RESULT "))
    assert [task["address"] for task in result["tasks"]] == ["3", "3"]  # two share it
    for task in result["tasks"]:
        assert task["with_cuda"] == f"cuda:{task['address']}"
        assert task["without_cuda"] == "cpu"
    assert (result["model"], result["equal"]) == (folder.name, True)
    assert result["expected"] == folder.name


def lost(*_, **__):
    raise RuntimeError("CUDA error: device-side assert triggered")


def features_of(folder):
    artifact = load_artifact(str(folder))
    return FeatureEngine(artifact.spec, artifact.constants).compute(artifact.history()).values.tobytes()


@pytest.mark.parametrize(
    ("lost_in", "why"),
    [
        pytest.param((torch.nn.Module, "to"), "RuntimeError", marks=pytest.mark.fault("F37")),
        pytest.param((ResidualNetwork, "forward"), "RuntimeError", marks=pytest.mark.fault("F37")),
        pytest.param(None, "network unusable", marks=pytest.mark.fault("F30")),
    ],
    ids=["to", "forward", "damaged"],
)
def test_a_device_that_is_lost_or_a_damaged_network_leaves_the_baseline_and_the_score_says_so(
    lost_in, why, folder, monkeypatch
):
    if lost_in is None:
        weights = (folder / WEIGHTS).read_bytes()
        (folder / WEIGHTS).write_bytes(weights[:-1] + b"\x7f")
    features = features_of(folder)
    if lost_in:
        monkeypatch.setattr(*lost_in, lost)
    (rows,) = score_stage(None)(iter([columns_of(folder, features)]))
    (row,) = rows.itertuples()
    assert row.model == f"baseline:{why}"
    assert row.expected == row.usual


def cannot_be_read(folder, monkeypatch):
    (folder / "baseline.npz").write_bytes(b"rubbish")
    return ArtifactError


def fails_as_nobody_foresaw(folder, monkeypatch):
    monkeypatch.setattr(ResidualNetwork, "forward", lambda *_: 1 / 0)
    return ZeroDivisionError


@pytest.mark.parametrize("fault", [cannot_be_read, fails_as_nobody_foresaw])
def test_a_challenger_that_fails_gives_no_scores_and_a_champion_that_does_ends_the_job(
    folder, monkeypatch, fault, caplog
):
    features = features_of(folder)
    load_artifact.__init__(load_artifact._read)  # another process has not read it yet
    error = fault(folder, monkeypatch)
    (rows,) = score_stage(None)(iter([columns_of(folder, features, is_challenger=True)]))
    assert rows.isna().all(axis=None)
    assert error.__name__ in caplog.text
    with pytest.raises(error):
        list(score_stage(None)(iter([columns_of(folder, features)])))


class Session:
    """What Shipment needs of Spark: a folder in which files arrive, each once."""

    def __init__(self, root):
        self.root = root
        root.mkdir()

    def addFile(self, path):
        assert not (self.root / Path(path).name).exists()
        shutil.copy(path, self.root)

    def shipment(self):
        return Shipment(self, self.root.with_name("shipped"))


@pytest.fixture
def spark(tmp_path, monkeypatch):
    monkeypatch.setattr("pyspark.SparkFiles._is_running_on_worker", True)
    monkeypatch.setattr("pyspark.SparkFiles._root_directory", str(tmp_path / "files"))
    return Session(tmp_path / "files")


def folder_of(home, version, *, region="riverton", content="weights"):
    folder = home / region / version
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(content)
    return str(folder)


def roster_of(folder, challenger=""):
    return {"riverton": Entry(folder, Path(folder).name, "spec", challenger)}


def test_a_worker_has_the_newest_roster_and_a_copy_of_its_artifacts(spark, tmp_path):
    first, second = folder_of(tmp_path, "v1"), folder_of(tmp_path, "v2", content="others")
    shipment = spark.shipment()
    shipment.send(roster_of(first))
    assert shipped_roster() == roster_of(first)
    shipment.send(roster_of(second, challenger=first))
    assert shipped_roster() == roster_of(second, challenger=first)
    shutil.rmtree(tmp_path / "riverton")
    homes = [Path(on_this_worker(folder)) for folder in (first, second, first)]
    assert [(home / "manifest.json").read_text() for home in homes] == ["weights", "others", "weights"]
    assert [(home.parent.name, home.name) for home in homes[:2]] == [("riverton", "v1"), ("riverton", "v2")]
    assert homes[0].is_relative_to(spark.root)


def test_the_same_roster_is_sent_once(spark, tmp_path):
    shipment, folder = spark.shipment(), folder_of(tmp_path, "v1")
    for _ in range(3):
        shipment.send(roster_of(folder))
    assert len(list(spark.root.iterdir())) == 2  # the artifact, the roster
    spark.shipment().send(roster_of(folder))  # of the next query of the spark
    assert len(list(spark.root.iterdir())) == 3
    assert shipped_roster() == roster_of(folder)


def test_a_roster_whose_artifact_is_still_on_its_way_is_not_in_force(spark, tmp_path):
    first, second = folder_of(tmp_path, "v1"), folder_of(tmp_path, "v2")
    shipment = spark.shipment()
    shipment.send(roster_of(first))
    known = set(spark.root.iterdir())
    shipment.send(roster_of(second))
    (late,) = [path for path in set(spark.root.iterdir()) - known if path.suffix == ".zip"]
    late.unlink()
    assert shipped_roster() == roster_of(first)


def test_without_a_roster_nothing_is_counted(spark):
    with pytest.raises(SparkFailed, match="no roster"):
        shipped_roster()


def test_a_folder_that_is_gone_is_named_and_sent_when_it_is_back(spark, tmp_path):
    shipment, gone = spark.shipment(), str(tmp_path / "riverton" / "v1")
    with pytest.raises(ArtifactsAway, match="v1 cannot be read"):
        shipment.send(roster_of(gone))
    folder_of(tmp_path, "v1")
    shipment.send(roster_of(gone))
    assert shipped_roster() == roster_of(gone)


def test_outside_of_a_worker_a_folder_is_where_it_is(tmp_path):
    assert on_this_worker(str(tmp_path / "v1")) == str(tmp_path / "v1")


PAYLOAD = b"zebrafinch7731"
JOB = """
import os, signal, sys
from pathlib import Path
from streaming.spark import spark_session
from tests.harness.file_job import FileJob


class Deadly(list):
    def append(self, published):  # what is published stands in a batch that has not ended
        if published.summaries:
            os.killpg(0, signal.SIGKILL)


folder, cache = map(Path, sys.argv[1:])
settings = FileJob(session=None, folder=folder).settings
settings = settings.with_options(cache=cache, master="local[1,4]", shuffle_partitions=2)
with spark_session(settings) as session:
    job = FileJob(session=session, folder=folder, published=Deadly())
    job.start()
    raise job.wait_for_end()  # else this test would not say why
"""


def content(*folders):
    """Of all files in them. Other tests remove theirs meanwhile, folders too: `os.walk` passes over those."""
    whole = b""
    for folder in folders:
        for path in (Path(parent, name) for parent, _, names in os.walk(folder) for name in names):
            with suppress(OSError):
                whole += path.read_bytes() if path.is_file() and path.stat().st_size < 1_000_000 else b""
    return whole


def no_session(*_, **__):
    """What is left behind goes before Java starts, which this one never does."""
    raise PySparkException("as if Java were missing")


@pytest.fixture
def temporary():
    """A folder with a short name: that of a socket in it has 107 characters at most."""
    with tempfile.TemporaryDirectory(prefix="r-") as name:
        yield Path(name)


@pytest.mark.jvm
def test_a_killed_job_leaves_nothing_that_others_can_read_and_the_next_start_clears_it(
    tmp_path, toy, publish, jar_cache, temporary, monkeypatch
):
    spec, folder = toy("riverton"), tmp_path / "job"
    job = FileJob(session=None, folder=folder)
    job.artifacts.mkdir(parents=True)
    publish(job.artifacts, spec, history=empty_history(spec))
    call = toy_record(region="riverton", occurred_at=iso(NOW), category="ems", lat=41.01, lon=-87.99)
    refused = b'{"region": "riverton", ' + PAYLOAD
    job.send([(json.dumps(call).encode(), 0, 0, NOW * 1000), (refused, 0, 1, NOW * 1000)])
    environment = {**os.environ, "TMPDIR": str(temporary)}
    process = subprocess.Popen([sys.executable, "-c", JOB, folder, jar_cache], env=environment, process_group=0)
    assert process.wait(240) == -signal.SIGKILL
    (scratch,) = temporary.glob("incident-risk-*")
    assert (scratch.stat().st_mode & 0o777, scratch.stat().st_uid) == (0o700, os.getuid())
    assert PAYLOAD in content(scratch)  # else this test would show nothing
    usual = Path("/tmp")  # noqa: S108 - where Java puts it otherwise, whatever TMPDIR says
    outside = content(*(folder for name in ("blockmgr-*", "spark-*") for folder in usual.glob(name)))
    assert PAYLOAD not in outside
    before = set(scratch.rglob("*"))
    assert {".so", ".sock", ".data"} <= {path.suffix for path in before}
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr("streaming.spark.start_session", no_session)
    with pytest.raises(SparkFailed), spark_session(job.settings.with_options(master="local[1,4]")):
        pass
    assert not before & set(scratch.rglob("*"))


PASSWORD = r"""numbat"8087\ ; '$HOME' = #"""


@pytest.mark.fault("F43")
def test_sparks_plans_and_settings_hide_the_jaas_line(session, tmp_path, tmp_path_factory, capsys):
    """Spark's own pages and logs are made of these texts; the pages themselves are switched off."""
    authority = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(authority)
    user = {"RISK_KAFKA_USERNAME": "scorer", "RISK_KAFKA_PASSWORD": PASSWORD, "RISK_KAFKA_CA": str(authority)}
    settings = Settings.from_environment({**user, "RISK_KAFKA_SECURITY": "sasl_ssl", "RISK_CHECKPOINT": str(tmp_path)})
    assert "numbat" in KafkaConnection.of(settings).spark_options()["kafka.sasl.jaas.config"]
    messages = with_heartbeat(session, kafka_messages(settings, session))
    messages.explain("formatted")
    messages.explain(True)
    said, plan = capsys.readouterr(), messages._jdf.queryExecution().toString()
    assert "StreamingRelation" in said.out
    assert "StreamingRelation" in plan
    shown = session.sparkContext.getConf().toDebugString()
    assert "spark.ui.enabled=false" in shown
    (log,) = tmp_path_factory.getbasetemp().glob("session[0-9]*/spark.log")
    assert "numbat" not in said.out + said.err + plan + shown + log.read_text(encoding="utf-8", errors="replace")


@pytest.mark.parametrize(
    ("stage", "loaded"), [("", []), ("count", ["libarrow"]), ("score", ["libarrow", "libtorch_cpu"])]
)
def test_the_daemon_has_loaded_what_the_workers_of_its_stage_need_before_it_forks_one(stage, loaded):
    command, environment = [sys.executable, "-m", "streaming.flow.worker_daemon"], {**os.environ, "RISK_STAGE": stage}
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as daemon:
        assert len(daemon.stdout.read(4)) == 4  # its port: from now on it forks
        mapped = Path(f"/proc/{daemon.pid}/maps").read_text()
        daemon.stdin.close()
    assert [library for library in ("libarrow", "libtorch_cpu") if f"/{library}." in mapped] == loaded
