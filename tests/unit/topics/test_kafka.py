"""Kafka's connection, and the watch that notices when it is away."""

import socket
import struct
import threading
import time
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import SecretStr

from schemas.errors import BrokerError, BrokerUnavailable, SettingsError
from streaming.kafka import KafkaConnection, jaas_quoted, refusal_in, sign_in
from streaming.settings import Settings
from streaming.source_topic import KafkaWatch

CANARY = "numbat8087"
FULL = {"kafka_security": "sasl_ssl", "kafka_username": "scorer", "kafka_password": CANARY}


def read_as_java_does(quoted):
    """What java.io.StreamTokenizer, which Kafka reads a JAAS line with, makes of a text in double quotes.

    Written after its documentation: a quoted string ends at its quote or at a line end; C's escapes are undone.
    Gives (value, what is left behind the closing quote).
    """
    assert quoted[0] == '"'
    value, place = "", 1
    while quoted[place] not in '"\n\r':
        if quoted[place] == "\\":
            place += 1
            octal = ""
            while len(octal) < 3 and quoted[place] in "01234567" and int(octal + quoted[place], 8) <= 0o377:
                octal += quoted[place]
                place += 1
            if octal:
                value += chr(int(octal, 8))
                continue
            value += {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}.get(
                quoted[place], quoted[place]
            )
        else:
            value += quoted[place]
        place += 1
    return value, quoted[place:]


@given(st.text())
@example('a"; org.evil.Module required x="')
@example("back\\slash\\n\\101")
@example("two\nlines\r\n")
def test_java_reads_back_the_password_and_nothing_more(password):
    assert read_as_java_does(jaas_quoted(password)) == (password, '"')


def test_spark_gets_a_module_line_and_the_authority(tmp_path):
    kafka = KafkaConnection("kafka:9092", 's"c', SecretStr("p\\w;"), tmp_path / "ca.pem")
    assert kafka.spark_options() == {
        "kafka.bootstrap.servers": "kafka:9092",
        "kafka.security.protocol": "SASL_SSL",
        "kafka.sasl.mechanism": "SCRAM-SHA-512",
        "kafka.sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required "
        r'username="s\"c" password="p\\w;";',
        "kafka.ssl.truststore.type": "PEM",
        "kafka.ssl.truststore.location": f"{tmp_path}/ca.pem",
    }


def test_plain_text_adds_nothing_and_without_an_authority_of_our_own_the_systems_are_trusted():
    plain = KafkaConnection.of(Settings(kafka_bootstrap="a:1,b:2"))
    assert plain.client_options() == {"bootstrap_servers": ["a:1", "b:2"]}
    assert plain.spark_options() == {"kafka.bootstrap.servers": "a:1,b:2"}
    signed_in = KafkaConnection.of(Settings(**FULL))
    assert not [name for name in signed_in.spark_options() if "truststore" in name]
    assert CANARY not in repr(signed_in)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (FULL | {"kafka_username": ""}, "needs RISK_KAFKA_USERNAME and RISK_KAFKA_PASSWORD"),
        (FULL | {"kafka_password": ""}, "needs RISK_KAFKA_USERNAME and RISK_KAFKA_PASSWORD"),
        *(
            ({name: CANARY}, "RISK_KAFKA_SECURITY=sasl_ssl")
            for name in ("kafka_username", "kafka_password", "kafka_ca")
        ),
    ],
)
def test_signing_in_needs_both_name_and_password_and_tls_and_repeats_none_of_them(given, said):
    with pytest.raises(SettingsError, match=said) as caught:
        KafkaConnection.of(Settings(**given))
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_an_authority_that_is_no_certificate_is_refused(tmp_path, content):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=r"RISK_KAFKA_CA=.*ca\.pem is not a readable PEM file"):
        KafkaConnection.of(Settings(**FULL, kafka_ca=path))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("x\norg.apache.kafka.common.errors.TopicAuthorizationException: Not authorized: [t]\n\tat y", "to read"),
        ("org.apache.kafka.common.errors.GroupAuthorizationException: group g", "to read"),
        ("org.apache.kafka.common.errors.SaslAuthenticationException: failed", "no longer accepts user 'scorer'"),
        ("org.apache.kafka.common.errors.SslAuthenticationException: SSL handshake failed", "certificate"),
        ("org.apache.kafka.common.errors.TimeoutException: Timeout", None),
    ],
)
def test_a_refusal_is_found_in_what_spark_says(said, expected):
    refusal = refusal_in(said, bootstrap="kafka:9092", username="scorer")
    assert (refusal is None) if expected is None else (expected in str(refusal))


def test_a_port_that_does_not_speak_tls_is_told_from_an_untrusted_one():
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up():
            with suppress(OSError):  # the listener is closed at the end
                while True:
                    with listener.accept()[0] as connection:
                        connection.recv(1)  # as one that waits for its client's first word

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(BrokerError, match=r"does not speak TLS .*: use the port of its SASL_SSL listener"):
            sign_in(KafkaConnection(f"127.0.0.1:{listener.getsockname()[1]}", "scorer", SecretStr(CANARY)))
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize("others", ["", "127.0.0.1:1,"])
def test_a_name_that_does_not_resolve_is_told_as_such(others):
    with pytest.raises(
        BrokerUnavailable, match=r"the name in nowhere\.invalid:9092 does not resolve: correct RISK_KAFKA"
    ):
        sign_in(KafkaConnection(f"{others}nowhere.invalid:9092"))
    with pytest.raises(BrokerUnavailable, match=r"no Kafka broker listens at 127\.0\.0\.1:1: start one"):
        sign_in(KafkaConnection("127.0.0.1:1"))


LONGEST_ABSENCE_S = 600


@pytest.fixture
def quick(monkeypatch):
    """A listener of this machine need not be given a fifth of a second to hang up."""
    monkeypatch.setattr("streaming.kafka._HANGS_UP_WITHIN_S", 0.01)


@pytest.fixture
def listener(quick):
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
    asked = []
    watch = KafkaWatch(away, LONGEST_ABSENCE_S, check=lambda: asked.append(watch.is_away))
    caplog.set_level("INFO")
    for now_s in (0, 5, 10, LONGEST_ABSENCE_S - 1):
        watch.look(1000 + now_s)
    assert (watch.is_away, asked) == (True, [])  # one that is away is not checked
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


@pytest.mark.parametrize(
    ("looks", "said"),
    [((0, 599, 600, 605), "605 s: start it"), ((0, 600), "600 s: start it")],  # 600 comes too soon after 599 to count
)
def test_a_broker_that_stays_away_ends_the_job(away, looks, said):
    watch = KafkaWatch(away, LONGEST_ABSENCE_S)
    for now_s in looks[:-1]:
        watch.look(1000 + now_s)
    with pytest.raises(BrokerError, match=f"has not answered for {said}") as ended:
        watch.look(1000 + looks[-1])
    assert isinstance(ended.value.__cause__, BrokerUnavailable)


@pytest.fixture
def often(monkeypatch):
    """Kafka is looked for each second."""
    monkeypatch.setattr("streaming.source_topic._EVERY_S", 0.5)


@pytest.mark.usefixtures("often")
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


@pytest.mark.usefixtures("often")
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


@pytest.mark.parametrize(
    ("answers", "longest_s", "ended"),
    [
        ([BrokerUnavailable("it hangs")] * 2, LONGEST_ABSENCE_S, "the topic"),
        ([BrokerUnavailable("it hangs")] * 1000, 0.05, BrokerUnavailable),
        ([BrokerError("wrong password")], LONGEST_ABSENCE_S, BrokerError),  # no reason to ask again
    ],
)
def test_a_question_without_an_answer_is_asked_again_but_not_for_ever(listening, caplog, answers, longest_s, ended):
    tries = []

    def question():
        tries.append(1)
        if len(tries) <= len(answers):
            raise answers[len(tries) - 1]
        return "the topic"

    watch = KafkaWatch(listening, longest_s, pause_s=0.01)
    if ended == "the topic":
        assert watch.answer(question, threading.Event()) == ended
    else:
        with pytest.raises(BrokerError) as raised:
            watch.answer(question, threading.Event())
        assert type(raised.value) is ended
    assert caplog.messages == ["it hangs; asking again"] * (len(tries) - 1)


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
