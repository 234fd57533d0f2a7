"""Kafka: how our clients reach it and sign in, which topics exist and what we may do there, and the dead letters."""

import contextlib
import math
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import (
    AuthorizationError,
    KafkaConnectionError,
    KafkaError,
    RetriableError,
    SaslAuthenticationFailedError,
    TopicAlreadyExistsError,
)
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector
from pydantic import SecretStr

from schemas.errors import BrokerError, BrokerUnavailable, SettingsError
from schemas.incidents import Rejection, encode_dead_letter
from schemas.spec import DAY_S
from streaming.settings import Settings, certificate_error, tls_context

TIMEOUT_MS = 10_000
# All messages of a batch may be refused: 1.6 million letters at once would need 2 GiB, and perhaps more time than
# `RISK_WRITE_TIMEOUT_S`, after which Kafka's client drops the letters that it has not sent yet.
LETTERS_AT_ONCE = 20_000
RIGHTS = "see docs/reference/security.md for the rights that each user needs"
_HANGS_UP_WITHIN_S = 0.2
_CA = "RISK_KAFKA_CA"
_NO_PASSWORD = SecretStr("")
_MECHANISM = "SCRAM-SHA-512"
# The escapes that Java's StreamTokenizer, which reads a JAAS line, undoes between double quotes.
_JAAS_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r"})
_REFUSAL = re.compile(
    r"org\.apache\.kafka\.common\.errors\.(SslAuthentication|SaslAuthentication|TopicAuthorization|GroupAuthorization)"
    r"Exception: ([^\n]{1,200})"
)
_NOT_ALLOWED, _UNKNOWN = 29, 3  # Kafka's error codes
Right = Literal["READ", "WRITE"]


@dataclass(frozen=True, slots=True)
class KafkaConnection:
    """Where Kafka is, and how to sign in: with a user over TLS, without one in plain text."""

    bootstrap: str  # host:port[,host:port]
    username: str = ""
    password: SecretStr = _NO_PASSWORD
    ca: Path | None = None  # PEM file of the trusted authority; without it the system's are trusted

    @classmethod
    def of(cls, settings: Settings) -> "KafkaConnection":
        """Raises SettingsError when the settings are incomplete, or contain a password that would not be used."""
        user, password, ca = settings.kafka_username, settings.kafka_password, settings.kafka_ca
        if settings.kafka_security == "plaintext":
            if user or password.get_secret_value() or ca:
                fault = "RISK_KAFKA_USERNAME, RISK_KAFKA_PASSWORD and RISK_KAFKA_CA have no effect in plain text"
                raise SettingsError(fault, remedy="set RISK_KAFKA_SECURITY=sasl_ssl, or remove them")
            return cls(settings.kafka_bootstrap)
        if not (user and password.get_secret_value()):
            remedy = "it needs RISK_KAFKA_USERNAME and RISK_KAFKA_PASSWORD"
            raise SettingsError("RISK_KAFKA_SECURITY=sasl_ssl has no user or no password", remedy)
        tls_context(ca, setting=_CA)
        return cls(settings.kafka_bootstrap, user, password, ca)

    @property
    def uses_tls(self) -> bool:
        return bool(self.username)

    def client_options(self) -> dict[str, Any]:
        """Options of kafka-python's clients. They check the name in the certificate by default."""
        options: dict[str, Any] = {"bootstrap_servers": self.bootstrap.split(",")}
        if self.uses_tls:
            options |= {
                "security_protocol": "SASL_SSL",
                "ssl_cafile": str(self.ca) if self.ca else None,
                "sasl_mechanism": _MECHANISM,
                "sasl_plain_username": self.username,
                "sasl_plain_password": self.password.get_secret_value(),
            }
        return options

    def spark_options(self) -> dict[str, str]:
        """Options of Spark's Kafka source. It checks the name in the certificate by default."""
        options = {"kafka.bootstrap.servers": self.bootstrap}
        if self.uses_tls:
            options |= {
                "kafka.security.protocol": "SASL_SSL",
                "kafka.sasl.mechanism": _MECHANISM,
                "kafka.sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required "
                f"username={jaas_quoted(self.username)} password={jaas_quoted(self.password.get_secret_value())};",
            }
        if self.ca:
            options |= {"kafka.ssl.truststore.type": "PEM", "kafka.ssl.truststore.location": str(self.ca)}
        return options


def producer_of(kafka: KafkaConnection, *, patience_s: float, **options: Any) -> KafkaProducer:
    """A producer for which a message is sent when all replicas in sync have it. It gives up after `patience_s`."""
    patience_ms = int(1000 * patience_s)
    return KafkaProducer(
        acks="all",
        bootstrap_timeout_ms=patience_ms,
        max_block_ms=patience_ms,
        request_timeout_ms=patience_ms // 2,
        delivery_timeout_ms=patience_ms,
        **options,
        **kafka.client_options(),
    )


def jaas_quoted(text: str) -> str:
    """`text` as a value of a JAAS line."""
    return f'"{text.translate(_JAAS_ESCAPES)}"'


def refuse_unreachable(bootstrap: str) -> None:
    """Raise BrokerUnavailable at once when no address accepts a connection and keeps it open, or has a known name.

    Kafka's clients need ten seconds for this. A load balancer or a forwarded port without a broker behind it accepts
    every connection and closes it. A silent server passes this test: a broker, too, waits for its client to speak.
    """
    unknown = []
    for address in bootstrap.split(","):
        try:
            with socket.create_connection(_host_and_port(address), timeout=5) as connection:
                connection.settimeout(_HANGS_UP_WITHIN_S)
                with contextlib.suppress(TimeoutError):  # it waits, as a broker does
                    if not connection.recv(1):
                        continue
        except ValueError as error:
            raise BrokerError(f"{address!r} is not a Kafka address", remedy="write host:port") from error
        except OSError as error:
            unknown += [address.strip()] if isinstance(error, socket.gaierror) else []
            continue
        return
    if unknown:
        fault = f"no Kafka broker can be reached at {bootstrap}: the name in {', '.join(unknown)} does not resolve"
        raise BrokerUnavailable(fault, "correct RISK_KAFKA_BOOTSTRAP, or what resolves names on this machine")
    remedy = "start one (`risk broker`), or correct RISK_KAFKA_BOOTSTRAP"
    raise BrokerUnavailable(f"no Kafka broker listens at {bootstrap}", remedy)


def _host_and_port(address: str) -> tuple[str, int]:
    """Raises ValueError."""
    host, _, port = address.strip().rpartition(":")
    return host, int(port)


def sign_in(kafka: KafkaConnection) -> None:
    """Connect and sign in once, at the first address that answers. Raises BrokerError when that can never succeed.

    Kafka's clients repeat a refused sign-in until their time limit, and then do not report the reason. Failures that
    may pass, such as a broker that is still starting, are left to those clients.
    """
    refuse_unreachable(kafka.bootstrap)
    if kafka.uses_tls:
        _refuse_untrusted(kafka)
    net = NetworkSelector()
    manager = KafkaConnectionManager(net, **kafka.client_options())

    async def connect(node: str) -> None:
        connection = manager.get_connection(node, timeout_ms=TIMEOUT_MS)
        try:
            await connection
        except KafkaConnectionError as error:
            if kafka.uses_tls and connection.broker_version_data is not None:
                # All steps before the sign-in succeeded. The broker refused it and closed the connection, and the
                # client did not see the refusal.
                raise SaslAuthenticationFailedError(str(error)) from error
            raise

    failure: KafkaError | None = None
    try:
        for broker in manager.cluster.bootstrap_brokers():
            try:
                net.run(connect, broker.node_id)
                return
            except KafkaError as error:
                failure = error
                if isinstance(error, SaslAuthenticationFailedError):
                    break  # all addresses know the same users, and a second refusal may lock the account
    finally:
        manager.close()
        net.close()
    if failure is not None and not isinstance(refusal := broker_error(failure, kafka), BrokerUnavailable):
        raise refusal from failure


def _refuse_untrusted(kafka: KafkaConnection) -> None:
    """Do the TLS handshake here: kafka-python would repeat a failure until its time limit."""
    context = tls_context(kafka.ca, setting=_CA)
    failure: BrokerError = BrokerUnavailable(f"no Kafka broker listens at {kafka.bootstrap} any more")
    for address in kafka.bootstrap.split(","):
        place = f"Kafka at {address.strip()}"
        try:
            return _shake_hands(address, context)
        except ssl.SSLCertVerificationError as error:
            problem, remedy = certificate_error(error.verify_message, address="RISK_KAFKA_BOOTSTRAP", authority=_CA)
            failure = BrokerError(f"the certificate of {place} {problem}", remedy)
        except OSError as error:
            reason = (error.reason if isinstance(error, ssl.SSLError) else error.strerror) or type(error).__name__
            failure = BrokerError(f"{place} does not speak TLS ({reason})", "use the port of its SASL_SSL listener")
    raise failure


def broker_error(error: BaseException, kafka: KafkaConnection) -> BrokerError:
    """A client's error as ours, with the remedy; a BrokerUnavailable when it may pass."""
    place, user = f"Kafka at {kafka.bootstrap}", kafka.username
    if not kafka.uses_tls:
        probe = ssl.create_default_context()
        probe.check_hostname, probe.verify_mode = False, ssl.CERT_NONE  # it sends nothing
        with contextlib.suppress(OSError, ValueError):  # it does not speak TLS
            _shake_hands(kafka.bootstrap.split(",")[0], probe)
            remedy = "set RISK_KAFKA_SECURITY=sasl_ssl, a user and a password"
            return BrokerError(f"{place} requires TLS", remedy)
    if isinstance(error, SaslAuthenticationFailedError):
        remedy = "correct RISK_KAFKA_USERNAME or RISK_KAFKA_PASSWORD"
        return BrokerError(f"{place} does not accept user {user!r} with this password", remedy)
    if isinstance(error, AuthorizationError):
        return BrokerError(f"{place} does not allow user {user!r} to do that ({error})", remedy=RIGHTS)
    kind = BrokerUnavailable if isinstance(error, RetriableError | TimeoutError) else BrokerError
    return kind(f"{place} does not answer as expected ({error})", remedy="look at its log")


def _shake_hands(address: str, context: ssl.SSLContext) -> None:
    """Open a TLS connection and close it. Raises OSError, and ValueError for a text that is no address."""
    host, port = _host_and_port(address)
    with (
        socket.create_connection((host, port), timeout=TIMEOUT_MS / 1000) as plain,
        context.wrap_socket(plain, server_hostname=host),
    ):
        pass


def refusal_in(spark_text: str, *, bootstrap: str, username: str) -> BrokerError | None:
    """Kafka's refusal in the text of a Spark error, with the remedy; None when the text contains none."""
    refusal = _REFUSAL.search(spark_text)
    if not refusal:
        return None
    kind, reason = refusal.groups()
    what, remedy = {
        "SslAuthentication": ("shows a certificate that is not trusted", "run `doctor`"),
        "SaslAuthentication": (f"no longer accepts user {username!r}", "run `doctor`"),
    }.get(kind, (f"no longer allows user {username!r} to read", RIGHTS))
    return BrokerError(f"Kafka at {bootstrap} {what} ({reason})", remedy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """A topic as Kafka stores it. `id` stays the same until the topic is deleted (KIP-516)."""

    id: str
    first_offsets: Mapping[int, int]  # by partition: the oldest message that is still stored
    end_offsets: Mapping[int, int]  # by partition: the offset that the next message will have


def ensure_topics(kafka: KafkaConnection, topics: Mapping[str, int]) -> None:
    """Create each missing topic with that many partitions; leave the others as they are."""
    with admin_client(kafka) as admin:
        present = set(admin.list_topics())
        missing = {name: count for name, count in topics.items() if name not in present}
        if missing:
            with contextlib.suppress(TopicAlreadyExistsError):  # another process was faster
                admin.create_topics({name: {"num_partitions": count} for name, count in missing.items()})
            admin.wait_for_topics(list(missing))


def cluster_id(kafka: KafkaConnection) -> str:
    """Identity of the cluster that answers. Raises BrokerError when none does."""
    with admin_client(kafka) as admin:
        return str(admin.describe_cluster()["cluster_id"])


def topic_faults(kafka: KafkaConnection, needed: Mapping[str, Right]) -> dict[str, BrokerError]:
    """By topic, the error that keeps us from using it as needed. Raises BrokerError when Kafka does not answer."""
    with admin_client(kafka) as admin:
        described = {topic["name"]: topic for topic in admin.describe_topics(list(needed))}
    return {name: fault for name, right in needed.items() if (fault := _fault(described[name], right, kafka))}


def _fault(described: Mapping[str, Any], right: Right, kafka: KafkaConnection) -> BrokerError | None:
    name, allowed = described["name"], described.get("authorized_operations")
    if described["error_code"] == _NOT_ALLOWED or (allowed is not None and right not in allowed):
        fault = f"Kafka at {kafka.bootstrap} does not let user {kafka.username!r} {right.lower()} topic {name}"
        return BrokerError(fault, remedy=f"allow it {right} and DESCRIBE there; {RIGHTS}")
    if described["error_code"] == _UNKNOWN:
        remedy = "create it (`broker` does on this machine), or correct the setting that names it"
        return BrokerError(f"Kafka at {kafka.bootstrap} has no topic {name}", remedy)
    return None


def topic_id(kafka: KafkaConnection, name: str) -> str:
    """Identity of a topic. Raises BrokerError when it does not exist, we may not read it, or Kafka does not answer."""
    with admin_client(kafka) as admin:
        (described,) = admin.describe_topics([name])
    if fault := _fault(described, "READ", kafka):
        raise fault
    return str(described["topic_id"])


def describe_topic(kafka: KafkaConnection, name: str) -> Topic:
    """Identity and offsets of an existing topic. Raises BrokerError when Kafka does not answer."""
    with admin_client(kafka) as admin:
        (described,) = admin.describe_topics([name])
        places = [TopicPartition(name, partition["partition_index"]) for partition in described["partitions"]]
        with KafkaConsumer(bootstrap_timeout_ms=TIMEOUT_MS, **kafka.client_options()) as consumer:
            first, end = consumer.beginning_offsets(places), consumer.end_offsets(places)
    return Topic(
        id=str(described["topic_id"]),
        first_offsets={place.partition: first[place] for place in places},
        end_offsets={place.partition: end[place] for place in places},
    )


def topic_days(kafka: KafkaConnection, topics: Iterable[str]) -> dict[str, float]:
    """By topic the days that its messages stay, infinite without an end; without what the user may not ask.

    Raises BrokerError when Kafka does not answer.
    """
    days = {}
    with admin_client(kafka) as admin:
        for topic in topics:
            with contextlib.suppress(KafkaError, KeyError):  # no such topic, or no right DESCRIBE_CONFIGS
                asked = [ConfigResource(ConfigResourceType.TOPIC, topic)]
                configs = admin.describe_configs(asked, config_filter="all")["topic"][topic]
                limit_ms = int(configs["retention.ms"]["value"])
                is_deleted = "delete" in configs["cleanup.policy"]["value"] and limit_ms >= 0
                days[topic] = limit_ms / 1000 / DAY_S if is_deleted else math.inf
    return days


@contextlib.contextmanager
def admin_client(kafka: KafkaConnection) -> Iterator[KafkaAdminClient]:
    """A client for a few questions. Its errors are raised as BrokerError."""
    sign_in(kafka)
    try:
        with KafkaAdminClient(bootstrap_timeout_ms=TIMEOUT_MS, **kafka.client_options()) as admin:
            yield admin
    except (KafkaError, TimeoutError) as error:
        raise broker_error(error, kafka) from error


@dataclass(slots=True)
class DeadLetters:
    """Writes refused messages to the dead-letter topic, with the reason and the place that they were read from.

    source_topic: that they were read from; RISK_TOPIC unless it is given. now_s: any steady clock.
    """

    settings: Settings
    now_s: Callable[[], float] = time.monotonic
    source_topic: str = ""
    _kafka: KafkaConnection = field(init=False)
    _failing_since_s: float | None = field(default=None, init=False)
    _producer: KafkaProducer | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._kafka = KafkaConnection.of(self.settings)
        self.source_topic = self.source_topic or self.settings.topic

    def write(self, refused: Mapping[str, Iterable[Rejection]]) -> None:
        """Send the rejections of each region ('' for none); return when the broker has stored all of them.

        Raises BrokerUnavailable when Kafka cannot store them now; BrokerError when it could not for
        RISK_KAFKA_TIMEOUT_S, or never will. The batch is then repeated, so the topic may contain some of them twice.
        """
        letters = (
            encode_dead_letter(rejection, source_topic=self.source_topic, region=region or None)
            for region, rejections in refused.items()
            for rejection in rejections
        )
        while slice_ := list(islice(letters, LETTERS_AT_ONCE)):
            kafka, topic, began_s = self._kafka, self.settings.dead_letter_topic, self.now_s()
            patience_s = self.settings.write_timeout_s
            try:
                if self._producer is None:
                    refuse_unreachable(kafka.bootstrap)  # the client itself would need its whole time limit for this
                    self._producer = producer_of(kafka, patience_s=patience_s, linger_ms=5)
                sent = [self._producer.send(topic, value=letter) for letter in slice_]
                self._producer.flush(timeout=patience_s + 5)
                for future in sent:
                    future.get()  # it is done
            except AuthorizationError as error:
                raise broker_error(error, kafka) from error
            except (KafkaError, BrokerUnavailable) as error:
                self.close()
                since_s = self._failing_since_s = self._failing_since_s or began_s
                may_pass = isinstance(error, RetriableError | BrokerUnavailable)
                lasts = self.now_s() - since_s >= self.settings.kafka_timeout_s
                kind = BrokerUnavailable if may_pass and not lasts else BrokerError
                place = f"{len(slice_)} dead letters in topic {topic}"
                fault = f"Kafka at {kafka.bootstrap} did not store {place} ({type(error).__name__})"
                raise kind(fault, remedy="create the topic and check the broker; the batch will be repeated") from error
        self._failing_since_s = None

    def close(self) -> None:
        if self._producer is not None:
            with contextlib.suppress(KafkaError):  # letters without an acknowledgement belong to a repeated batch
                self._producer.close(timeout=5)
            self._producer = None
