"""A local broker that has ended: its log is named, with its last line, and nobody waits for it."""

import subprocess
import threading

import pytest

from schemas.errors import BrokerError
from streaming.rehearse.broker import Broker
from streaming.rehearse.rehearsal import Rehearsal
from streaming.settings import Settings

LAST = "ERROR Shutdown broker because all log dirs in data have failed"


@pytest.fixture
def broker(tmp_path):
    (tmp_path / "broker.log").write_text(f"WARN the disk is nearly full\n{LAST}\n")
    process = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE)
    yield Broker(folder=tmp_path, port=9092, process=process)
    process.communicate()


def test_the_fault_names_the_log_and_its_last_line(broker):
    assert broker.fault() is None, "it runs"
    broker.stop()
    ended = broker.fault()
    assert str(broker.folder / "broker.log") in ended.remedy
    assert ended.remedy.endswith(LAST)
    (broker.folder / "broker.log").write_text("")
    assert "which is empty" in broker.fault().remedy


def test_a_rehearsal_ends_at_once_and_says_why(broker):
    """Not after four minutes, and not that the machine was busy."""
    broker.stop()
    rehearsal = Rehearsal(plan=None, artifacts=None, out=broker.folder, speed=0, longest_s=20)
    finished = threading.Event()
    rehearsal._produce(Settings(), broker, threading.Event(), finished)
    assert finished.is_set()
    assert isinstance(rehearsal._failure, BrokerError)
    assert LAST in str(rehearsal._failure)
