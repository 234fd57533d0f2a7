"""The witness beside a run: what is seen is not lost."""

import json
import socket
import threading
import time

import pytest

from tests.faults.witness import SIDES, Injected, Witness
from tests.harness.proxy import Proxy


class Job:
    """The folders of a scorer that is not there."""

    def __init__(self, folder):
        self.folder, self.checkpoint = folder, folder / "checkpoint"
        self.environment = {"RISK_CHECKPOINT": str(self.checkpoint)}
        for name in ("offsets", "commits"):
            (self.checkpoint / "spark" / name).mkdir(parents=True)

    def plan(self, batch, ends):
        text = 'v1\n{"batchTimestampMs":1700000000000}\n' + json.dumps({"t": ends}) + "\n0\n"
        (self.checkpoint / "spark" / "offsets" / str(batch)).write_text(text, encoding="utf-8")

    def commit(self, batch):
        (self.checkpoint / "spark" / "commits" / str(batch)).write_text("v1\n{}", encoding="utf-8")

    def say(self, line):
        with (self.folder / "terminal.txt").open("a", encoding="utf-8") as terminal:
            terminal.write(line + "\n")

    def health(self, **fields):
        (self.checkpoint / "health.json").write_text(json.dumps(fields), encoding="utf-8")


def test_a_commit_ahead_of_the_store_is_seen_while_it_lasts(tmp_path):
    job, stored = Job(tmp_path), [5]
    witness = Witness(job, "t", lambda: stored[0])
    job.plan(0, {"0": 3, "1": 2})
    job.commit(0)
    witness.look()
    assert (witness.faults, witness.batches) == ([], {0: {0: 3, 1: 2}})
    job.plan(1, {"0": 4, "1": 2})
    job.commit(1)
    witness.look()
    stored[0] = 6
    witness.look()
    assert witness.faults == ["I7: 6 messages are committed, but the store has 5"]


def test_a_fault_that_is_felt_and_not_said_is_silent(tmp_path):
    job = Job(tmp_path)
    witness, hits = Witness(job, "t", lambda: 0), []
    began = time.monotonic()
    quiet = Injected("store_down", hits, began=began, ended=began + 9)
    quiet.judge(witness)
    assert not quiet.was_silent, "it met nothing"
    hits.append(began + 1)
    assert (quiet.hits, quiet.effect_s, quiet.was_silent) == (1, 8, True)


def test_the_time_of_another_fault_is_no_recovery(tmp_path):
    witness, now = Witness(Job(tmp_path), "t", lambda: 0), time.monotonic()
    witness.commits = [now - 5, now + 100]
    slow, down, short = (
        Injected("kafka_slow", [], began=now - 6, ended=now),
        Injected("kafka_down", [], began=now + 3, ended=now + 78),
        Injected("store_down", [], began=now + 70, ended=now + 80),
    )
    for fault in (slow, down):
        fault.judge(witness, [slow, down, short])
    assert (slow.back_s, down.back_s) == (23, 20)
    alone = Injected("kafka_slow", [], began=now - 6, ended=now)
    alone.judge(witness, [alone])
    assert alone.back_s == 100


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda job: job.say("2026-11-25 02:14:00,000 WARNING Kafka does not answer"), "line: 2026"),
        (lambda job: job.say("error: Kafka at x has not answered for 605 s"), "line: error"),
        (lambda job: job.say("error: the store does not answer"), None),
        (lambda job: job.say("2026-11-25 02:14:00,000 INFO reading on"), None),
        (lambda job: job.health(ready=False, reason="Kafka does not answer"), "health: Kafka"),
        (lambda job: job.health(ready=False, reason="starting: no batch has been stored yet"), None),
        (lambda job: job.health(ready=True, reason=""), None),
    ],
)
def test_a_line_of_warning_or_a_health_file_that_is_not_ready_is_a_sign(act, said, tmp_path):
    job = Job(tmp_path)
    witness = Witness(job, "t", lambda: 0)
    job.say("2026-11-25 02:13:00,000 WARNING something before")
    witness.look()
    began = time.monotonic()
    act(job)
    witness.look()
    sign = witness.sign_since(began, SIDES["broker"])
    assert sign.startswith(said) if said else sign is None


@pytest.fixture
def proxy():
    """Before a server that answers each byte with the same one."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=echo, args=(server,), daemon=True).start()
        with Proxy(server.getsockname()[1]) as proxy:
            yield proxy


def echo(server):
    try:
        while True:
            connection, _ = server.accept()
            with connection:
                while byte := connection.recv(1):
                    connection.sendall(byte)
    except OSError:
        return


def ask(connection):
    connection.sendall(b"?")
    answer = connection.recv(1)
    if not answer:
        raise ConnectionError("it has ended")
    return answer


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_cut_meets_what_is_open_and_nothing_that_has_ended(proxy):
    with socket.create_connection(("127.0.0.1", proxy.port)) as connection:
        assert ask(connection) == b"?"
    wait_until(lambda: not proxy.is_in_use)
    proxy.cut()
    assert not proxy.hits
    with socket.create_connection(("127.0.0.1", proxy.port)) as connection:
        assert ask(connection) == b"?"
        proxy.cut()
        assert len(proxy.hits["cut"]) == 1
        connection.settimeout(10)
        with pytest.raises(ConnectionError):
            connection.recv(1)  # at once, not only when something is sent


def test_what_is_refused_or_swallowed_is_a_hit(proxy):
    with socket.create_connection(("127.0.0.1", proxy.port)) as connection:
        assert ask(connection) == b"?"
        proxy.swallows = True
        connection.sendall(b"?")
        wait_until(lambda: len(proxy.hits["swallows"]) == 1)
        proxy.heal()
    proxy.refuses = True
    with socket.create_connection(("127.0.0.1", proxy.port)) as connection, pytest.raises(ConnectionError):
        ask(connection)
    assert proxy.accepted == 2
    assert {fault: len(met) for fault, met in proxy.hits.items() if met} == {"swallows": 1, "refuses": 1}
