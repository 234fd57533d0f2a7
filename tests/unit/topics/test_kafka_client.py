"""Connection options: what is half given is refused, and what the clients get is what they would read."""

import socket
import threading
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import SecretStr

from schemas.errors import BrokerError, BrokerUnavailable, SettingsError
from streaming.settings import Settings
from streaming.topics.kafka import KafkaConnection, jaas_quoted, refusal_in, sign_in

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


def test_plain_text_is_the_default_and_adds_nothing():
    plain = KafkaConnection.of(Settings(kafka_bootstrap="a:1,b:2"))
    assert plain.client_options() == {"bootstrap_servers": ["a:1", "b:2"]}
    assert plain.spark_options() == {"kafka.bootstrap.servers": "a:1,b:2"}


def test_without_an_authority_of_our_own_the_systems_are_trusted():
    assert not [name for name in KafkaConnection.of(Settings(**FULL)).spark_options() if "truststore" in name]


@pytest.mark.parametrize("missing", ["kafka_username", "kafka_password"])
def test_signing_in_needs_both_name_and_password(missing):
    with pytest.raises(SettingsError, match="needs RISK_KAFKA_USERNAME and RISK_KAFKA_PASSWORD"):
        KafkaConnection.of(Settings(**{**FULL, missing: ""}))


@pytest.mark.parametrize("given", ["kafka_username", "kafka_password", "kafka_ca"])
def test_a_password_without_tls_is_refused_and_not_repeated(given):
    with pytest.raises(SettingsError, match="RISK_KAFKA_SECURITY=sasl_ssl") as caught:
        KafkaConnection.of(Settings(**{given: CANARY}))
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_an_authority_that_is_no_certificate_is_refused(tmp_path, content):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=r"RISK_KAFKA_CA=.*ca\.pem is not a readable PEM file"):
        KafkaConnection.of(Settings(**FULL, kafka_ca=path))


def test_the_password_is_in_no_repr():
    assert CANARY not in repr(KafkaConnection.of(Settings(**FULL)))


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
