"""A local broker that has ended: its log is named, with its last line, and nobody waits for it."""

import fcntl
import threading

import pytest
from typer.testing import CliRunner

from schemas.errors import BrokerError
from streaming.__main__ import app
from streaming.rehearse.broker import Broker
from streaming.rehearse.rehearsal import Rehearsal
from streaming.settings import Settings

LAST = "ERROR Shutdown broker because all log dirs in data have failed"


@pytest.fixture
def broker(tmp_path):
    (tmp_path / "broker.lock").write_text("1 9092")
    (tmp_path / "broker.log").write_text(f"WARN the disk is nearly full\n{LAST}\n")
    return Broker(folder=tmp_path, pid=1, port=9092)


def test_the_fault_names_the_log_and_its_last_line(broker):
    found = broker.fault()
    assert str(broker.folder / "broker.log") in found.remedy
    assert found.remedy.endswith(LAST)
    (broker.folder / "broker.log").write_text("")
    assert "which is empty" in broker.fault().remedy


def test_a_broker_that_runs_has_none(broker):
    with (broker.folder / "broker.lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert broker.fault() is None


def test_a_rehearsal_ends_at_once_and_says_why(broker):
    """Not after four minutes, and not that the machine was busy."""
    rehearsal = Rehearsal(plan=None, artifacts=None, out=broker.folder, speed=0, longest_s=20)
    finished = threading.Event()
    rehearsal._produce(Settings(), broker, threading.Event(), finished)
    assert finished.is_set()
    assert isinstance(rehearsal._failure, BrokerError)
    assert LAST in str(rehearsal._failure)


def test_status_names_the_log(broker, tmp_path):
    shown = CliRunner().invoke(app, ["broker", "status", "--folder", str(broker.folder)])
    assert (shown.exit_code, LAST in shown.output.replace("\n", " ")) == (1, True), shown.output
    shown = CliRunner().invoke(app, ["broker", "status", "--folder", str(tmp_path / "none")])
    assert (shown.exit_code, "never started here" in shown.output) == (1, True)
