"""What commands refuse at once, log, and do on a signal; and the words that start Java in a pod."""

import signal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from incident_risk import app
from schemas.errors import ArtifactError, DataError, SettingsError, SparkFailed
from streaming.cli.job_commands import driver_command, executor_command
from streaming.settings import stop_on_signals
from tests.harness.processes import run_python
from tests.harness.small_town import LAYOUT

ROOT = Path(__file__).parents[3]
TOWN = ("--layout", LAYOUT, "--region", "town")


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "town.csv"
    path.write_text("when,lat,lon,kind\n" + "".join(f"2026-01-{day:02d},41.0,-87.0,ems\n" for day in range(1, 29)))
    return path


def run(*words, **environment):
    return CliRunner().invoke(app, [str(word) for word in words], env=environment)


def train(data, *options):
    return run("train", "--data", data, *TOWN, *options)


@pytest.mark.parametrize("out", ["/proc/nowhere", "a file"])
def test_a_folder_that_cannot_be_written_is_refused_before_training(data, tmp_path, out):
    (tmp_path / "a file").touch()
    ran = train(data, "--out", tmp_path / out)
    assert isinstance(ran.exception, ArtifactError)
    assert "cannot be written" in str(ran.exception)
    assert "incidents" not in ran.output


def test_a_folder_of_frames_that_cannot_be_written_is_refused_before_the_start(tmp_path):
    audit = tmp_path / "audit.jsonl"
    ran = run("run", RISK_AUDIT=str(audit), RISK_FRAMES="/proc/nowhere")
    assert isinstance(ran.exception, SettingsError)
    assert "RISK_FRAMES=/proc/nowhere cannot be written" in str(ran.exception)
    assert not audit.exists()


@pytest.mark.parametrize("instant", ["yesterday", "2026-13-01T00:00:00Z", "2026-01-01T00:00:00"])
def test_a_time_that_is_none_is_a_wrong_setting(tmp_path, instant):
    folders = {"RISK_CHECKPOINT": str(tmp_path / "checkpoint"), "RISK_AUDIT": str(tmp_path / "audit.jsonl")}
    ran = run("checkpoint", "--reset", instant, **folders)
    assert isinstance(ran.exception, SettingsError)
    assert f"--reset {instant}" in str(ran.exception)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        ("train", SettingsError, "nothing to train on"),
        ("train --data town.csv", SettingsError, "nothing to train on"),
        ("train tasks.toml --until 2026-01-23", SettingsError, "tasks.toml and options of one region"),
        ("train tasks.toml --cell-m 500", SettingsError, "tasks.toml and options of one region"),
        ("train --data a.csv --region a --master spark://a:7077", SettingsError, "one worker needs no Spark"),
        (f"replay TOWN {' '.join(TOWN)} --speed -1", SystemExit, "--speed"),
        (f"replay TOWN {' '.join(TOWN)} --from 2026-01-05 --to 2026-01-04", DataError, "--from is not before --to"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_a_file_of_tasks_or_kafka_is_asked(data, words, error, said):
    nowhere = {"RISK_KAFKA_BOOTSTRAP": "127.0.0.1:1", "RISK_AUDIT": ""}
    ran = run(*(data if word == "TOWN" else word for word in words.split()), **nowhere)
    assert isinstance(ran.exception, error)
    assert said in str(ran.exception) + ran.output


LOGS = """
import logging
from streaming.cli.job_commands import log_from
for least in ("info", "warning", "error"):
    log_from(least)
    for name in ("streaming.job", "kafka.conn"):
        for level in ("info", "warning", "error"):
            getattr(logging.getLogger(name), level)(f"{name} {least}: {level}")
"""


def test_lines_below_the_level_are_left_out_and_those_of_others():
    ran = run_python("-c", LOGS, cwd=ROOT)
    lines = [line.partition("streaming.job ")[2] for line in ran.stderr.splitlines()]
    wanted = {"info": ["info", "warning", "error"], "warning": ["warning", "error"], "error": ["error"]}
    assert lines == [f"{least}: {level}" for least, levels in wanted.items() for level in levels]


SIGNAL_WHILE_THE_EVENT_IS_LOCKED = """
import signal, sys
from streaming.settings import stop_on_signals
stop = stop_on_signals()
with stop._cond:
    signal.raise_signal(signal.{name})
sys.exit(0 if stop.wait(5) else 9)
"""


@pytest.fixture
def handlers():
    """What was there before is there again afterwards."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_is_a_wish_that_is_acknowledged_and_the_second_interrupts(first, second, capfd):
    stop = stop_on_signals()
    signal.raise_signal(first)
    assert stop.wait(5)
    assert "stopping" in capfd.readouterr().err
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(second)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_in_the_middle_of_waiting_for_one_does_not_wait_for_itself(name):
    """In a process of its own: the fault would be one that never ends."""
    program = SIGNAL_WHILE_THE_EVENT_IS_LOCKED.format(name=name)
    ran = run_python("-c", program, cwd=ROOT, timeout=20)
    assert ran.returncode == 0, ran.stderr


POD = {
    "SPARK_DRIVER_URL": "spark://CoarseGrainedScheduler@10.0.0.1:7078",
    "SPARK_EXECUTOR_ID": "7",
    "SPARK_EXECUTOR_CORES": "1",
    "SPARK_APPLICATION_ID": "spark-1",
    "SPARK_EXECUTOR_POD_IP": "10.0.0.2",
    "SPARK_RESOURCE_PROFILE_ID": "0",
    "SPARK_EXECUTOR_POD_NAME": "executor-7",
    "SPARK_EXECUTOR_MEMORY": "1024m",
}


def test_options_of_java_keep_their_order_also_beyond_ten(tmp_path):
    options = {f"SPARK_JAVA_OPT_{number}": f"-Done=value {number}" for number in reversed(range(12))}
    words = executor_command(POD | options, tmp_path)
    assert words[1:13] == [f"-Done=value {number}" for number in range(12)]
    assert words[13:16] == ["-Xmx1024m", "-cp", f"{tmp_path}/*"]


@pytest.mark.parametrize("name", POD)
def test_a_variable_that_is_missing_is_named(name, tmp_path):
    with pytest.raises(SparkFailed, match=rf"^{name} is not in the environment: leave this command to Spark"):
        executor_command({key: value for key, value in POD.items() if key != name}, tmp_path)


def test_a_driver_submits_what_it_was_given_in_its_own_pod():
    words = driver_command({"SPARK_DRIVER_BIND_ADDRESS": "10.0.0.1"}, ["--class", "a.B", "local:///main.py", "run"])
    assert words[:5] == ["spark-submit", "--conf", "spark.driver.bindAddress=10.0.0.1", "--deploy-mode", "client"]
    assert words[5:] == ["--class", "a.B", "local:///main.py", "run"]
    with pytest.raises(SparkFailed, match="SPARK_DRIVER_BIND_ADDRESS is not in the environment"):
        driver_command({}, [])
