import socket
import struct
import threading
import time

import pytest

from schemas.errors import BrokerError, BrokerUnavailable, CheckpointError
from streaming.topics.kafka_watch import KafkaWatch

LONGEST_ABSENCE_S = 600


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """A listener of this machine need not be given a fifth of a second to hang up."""
    monkeypatch.setattr("streaming.topics.kafka._HANGS_UP_WITHIN_S", 0.01)


@pytest.fixture
def listener():
    """A socket with an address of its own, which nobody can connect to until it listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        yield listener


@pytest.fixture
def away(listener):
    return f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def listening(listener, away):
    listener.listen()
    return away


def test_an_absence_and_the_return_are_logged_once(listener, away, caplog):
    watch = KafkaWatch(away, LONGEST_ABSENCE_S)
    caplog.set_level("INFO")
    for now_s in (0, 5, 10, LONGEST_ABSENCE_S - 1):
        watch.look(1000 + now_s)
    assert watch.is_away
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        (
            "WARNING",
            f"Kafka at {away} does not answer, so there are no new scores: start it, or correct "
            "RISK_KAFKA_BOOTSTRAP. Waiting for it for up to 600 s",
        )
    ]
    listener.listen()
    watch.look(1000 + LONGEST_ABSENCE_S + 10)
    assert not watch.is_away
    assert caplog.messages[-1] == f"Kafka at {away} answers again after 610 s"


def test_a_broker_that_stays_away_ends_the_job(away):
    watch = KafkaWatch(away, LONGEST_ABSENCE_S)
    watch.look(1000)
    watch.look(1000 + LONGEST_ABSENCE_S - 1)
    watch.look(1000 + LONGEST_ABSENCE_S)  # too soon after the last look to count
    with pytest.raises(BrokerError, match="has not answered for 605 s: start it"):
        watch.look(1000 + LONGEST_ABSENCE_S + 5)
    watch = KafkaWatch(away, LONGEST_ABSENCE_S)
    watch.look(0)
    with pytest.raises(BrokerError, match="has not answered for 600 s") as ended:
        watch.look(LONGEST_ABSENCE_S)
    assert isinstance(ended.value.__cause__, BrokerUnavailable)


def test_an_absence_is_noticed_while_the_caller_is_busy_and_raised_when_it_asks(away, caplog):
    watch = KafkaWatch(away, longest_s=0.0)
    with watch.looking():
        assert watch.is_away
        assert watch.answer(lambda: "asked", already_set()) is None
        with pytest.raises(BrokerError, match=r"has not answered for \d+ s: start it"):
            watch.answer(lambda: "asked", threading.Event())
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    with pytest.raises(BrokerError, match=r"has not answered for \d+ s: start it"):
        watch.refuse()


def test_a_return_is_noticed_while_the_caller_waits(listener, away, caplog):
    watch = KafkaWatch(away, LONGEST_ABSENCE_S)
    with caplog.at_level("INFO"), watch.looking():
        listener.listen()
        assert watch.answer(lambda: "asked", threading.Event()) == "asked"
    assert not watch.is_away
    assert "answers again after" in caplog.messages[-1]


def test_an_unexpected_error_in_the_thread_is_raised_where_the_caller_asks(monkeypatch, listening):
    watch = KafkaWatch(listening, LONGEST_ABSENCE_S)
    with watch.looking():
        monkeypatch.setattr(KafkaWatch, "look", lambda *_: {}["an error of ours"])
        with pytest.raises(KeyError, match="an error of ours"):
            refused_within(10, watch)


def refused_within(longest_s, watch):
    deadline = time.monotonic() + longest_s
    while time.monotonic() < deadline:
        watch.refuse()
        time.sleep(0.01)


def already_set():
    stop = threading.Event()
    stop.set()
    return stop


def test_a_question_without_an_answer_is_asked_again(listening, caplog):
    tries = []

    def question():
        tries.append(1)
        if len(tries) < 3:
            raise BrokerUnavailable("it hangs")
        return "the topic"

    assert KafkaWatch(listening, LONGEST_ABSENCE_S, pause_s=0.01).answer(question, threading.Event()) == "the topic"
    assert caplog.messages == ["it hangs; asking again"] * 2


def test_a_question_is_not_asked_for_ever(listening):
    def question():
        raise BrokerUnavailable("it hangs")

    with pytest.raises(BrokerUnavailable, match="it hangs"):
        KafkaWatch(listening, longest_s=0.05, pause_s=0.01).answer(question, threading.Event())


def test_a_refusal_is_no_reason_to_ask_again(listening):
    tries = []

    def question():
        tries.append(1)
        raise BrokerError("wrong password")

    with pytest.raises(BrokerError, match="wrong password"):
        KafkaWatch(listening, LONGEST_ABSENCE_S).answer(question, threading.Event())
    assert len(tries) == 1


def test_a_misspelt_address_is_refused_at_once():
    with pytest.raises(BrokerError, match="'kafka' is not a Kafka address: write host:port"):
        KafkaWatch("kafka", LONGEST_ABSENCE_S).look(0)


def test_the_check_runs_every_20_seconds_while_kafka_answers(listening):
    asked, now_s = [], [0.0]

    def check():
        asked.append(now_s[0])
        raise BrokerUnavailable("it has just gone away")

    watch = KafkaWatch(listening, LONGEST_ABSENCE_S, check=check)
    for now_s[0] in range(0, 61, 5):
        watch.look(now_s[0])
        wait_for_answer()
    assert asked == [0, 20, 40, 60]


def wait_for_answer():
    for thread in threading.enumerate():
        if thread.name == "check of the topic":  # other tests of this worker have threads too
            thread.join(timeout=10)


def test_a_silent_kafka_blocks_nobody_and_is_checked_once(listening):
    asked, answered = [], threading.Event()

    def check():
        asked.append((threading.current_thread().name, threading.current_thread().daemon))
        answered.wait(10)

    watch = KafkaWatch(listening, LONGEST_ABSENCE_S, check=check)
    for now_s in range(0, 100, 5):
        watch.look(now_s)
    assert asked == [("check of the topic", True)]  # a daemon: it keeps no job from its end
    answered.set()
    wait_for_answer()
    watch.look(100)
    wait_for_answer()
    assert len(asked) == 2


def test_an_error_of_the_check_ends_the_job(listening):
    def check():
        raise CheckpointError("created again")

    watch = KafkaWatch(listening, LONGEST_ABSENCE_S, check=check)
    watch.look(0)
    wait_for_answer()
    with pytest.raises(CheckpointError, match="created again"):
        watch.look(0.2)


def test_a_broker_that_is_away_is_not_checked(away):
    watch = KafkaWatch(away, LONGEST_ABSENCE_S, check=lambda: pytest.fail("asked"))
    watch.look(0)
    assert watch.is_away


@pytest.mark.parametrize("linger", [struct.pack("ii", 1, 0), struct.pack("ii", 0, 0)], ids=["resets", "closes"])
def test_one_that_accepts_and_hangs_up_is_away(listener, listening, linger, monkeypatch):
    """As a load balancer or a forwarded port does when there is no broker behind it."""
    monkeypatch.undo()

    def accept():
        connection, _ = listener.accept()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        connection.close()

    forwarder = threading.Thread(target=accept)
    forwarder.start()
    watch = KafkaWatch(listening, LONGEST_ABSENCE_S)
    watch.look(0)
    forwarder.join()
    assert watch.is_away
    watch.look(5)  # now it accepts and waits, as Kafka does until its client has spoken
    assert not watch.is_away
