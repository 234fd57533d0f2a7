"""How every client of ours reaches Kafka: plainly, or over TLS with a user and a password (SCRAM-SHA-512)."""

import re
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kafka.errors import (
    AuthorizationError,
    KafkaConnectionError,
    KafkaError,
    RetriableError,
    SaslAuthenticationFailedError,
)
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector
from pydantic import SecretStr

from schemas.errors import BrokerError, BrokerUnavailable, SettingsError
from streaming.certificates import fault_of, trusting
from streaming.settings import Settings

TIMEOUT_MS = 10_000
_HANGS_UP_WITHIN_S = 0.2
RIGHTS = "see docs/security.md for the rights each user needs"
_CA = "RISK_KAFKA_CA"
_MAY_PASS = (RetriableError, TimeoutError)
_NO_PASSWORD = SecretStr("")
_MECHANISM = "SCRAM-SHA-512"
# What Java's StreamTokenizer, which reads a JAAS line, undoes between double quotes.
_JAAS_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r"})
_REFUSAL = re.compile(
    r"org\.apache\.kafka\.common\.errors\.(SslAuthentication|SaslAuthentication|TopicAuthorization|GroupAuthorization)"
    r"Exception: ([^\n]{1,200})"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """What a client shows Kafka and asks of it. Without `ca`, the authorities that the system trusts are trusted."""

    protocol: Literal["plaintext", "sasl_ssl"] = "plaintext"
    username: str = ""
    password: SecretStr = _NO_PASSWORD
    ca: Path | None = None

    @classmethod
    def of(cls, settings: Settings) -> "Security":
        """Raises SettingsError when half of what is needed is there: a password must never be for nothing."""
        given = bool(settings.kafka_username or settings.kafka_password.get_secret_value() or settings.kafka_ca)
        if settings.kafka_security == "plaintext":
            if given:
                raise SettingsError(
                    "RISK_KAFKA_USERNAME, RISK_KAFKA_PASSWORD and RISK_KAFKA_CA need RISK_KAFKA_SECURITY=sasl_ssl: "
                    "without it nothing is encrypted and nobody signs in"
                )
            return PLAINTEXT
        if not (settings.kafka_username and settings.kafka_password.get_secret_value()):
            raise SettingsError("RISK_KAFKA_SECURITY=sasl_ssl needs RISK_KAFKA_USERNAME and RISK_KAFKA_PASSWORD")
        trusting(settings.kafka_ca, setting=_CA)
        return cls(
            protocol="sasl_ssl",
            username=settings.kafka_username,
            password=settings.kafka_password,
            ca=settings.kafka_ca,
        )

    def client(self) -> dict[str, Any]:
        """Options of kafka-python's clients. The name in the certificate is checked, by its default."""
        if self.protocol == "plaintext":
            return {}
        return {
            "security_protocol": "SASL_SSL",
            "ssl_cafile": str(self.ca) if self.ca else None,
            "sasl_mechanism": _MECHANISM,
            "sasl_plain_username": self.username,
            "sasl_plain_password": self.password.get_secret_value(),
        }

    def spark(self) -> dict[str, str]:
        """Options of Spark's Kafka source. The name in the certificate is checked, by its default."""
        if self.protocol == "plaintext":
            return {}
        user, password = (jaas_quoted(text) for text in (self.username, self.password.get_secret_value()))
        module = "org.apache.kafka.common.security.scram.ScramLoginModule"
        authorities = {"kafka.ssl.truststore.type": "PEM", "kafka.ssl.truststore.location": str(self.ca)}
        return {
            "kafka.security.protocol": "SASL_SSL",
            "kafka.sasl.mechanism": _MECHANISM,
            "kafka.sasl.jaas.config": f"{module} required username={user} password={password};",
            **(authorities if self.ca else {}),
        }


PLAINTEXT = Security()


def jaas_quoted(text: str) -> str:
    """`text` as a value of a JAAS line."""
    return f'"{text.translate(_JAAS_ESCAPES)}"'


def refuse_unreachable(bootstrap: str) -> None:
    """Raise BrokerUnavailable at once when nobody listens at any address or who does hangs up.

    Kafka's clients take ten seconds for it. A load balancer or a forwarded port without a broker behind it accepts
    every connection and hangs up. One that stays silent is not told from a Kafka, which waits for its client to speak.
    """
    for address in bootstrap.split(","):
        host, _, port = address.strip().rpartition(":")
        try:
            with socket.create_connection((host, int(port)), timeout=5) as connection:
                if _hangs_up(connection):
                    continue
        except ValueError as error:
            raise BrokerError(f"{address!r} is no Kafka address: write host:port") from error
        except OSError:
            continue
        return
    raise BrokerUnavailable(
        f"no Kafka broker listens at {bootstrap}: start one (`broker start`) or set RISK_KAFKA_BOOTSTRAP"
    )


def _hangs_up(connection: socket.socket) -> bool:
    """Raises OSError when it is reset."""
    connection.settimeout(_HANGS_UP_WITHIN_S)
    try:
        return not connection.recv(1)
    except TimeoutError:
        return False


def sign_in(bootstrap: str, security: Security) -> None:
    """Connect once and sign in, at the first address that answers. Raises BrokerError when that can never succeed.

    Kafka's clients repeat a refused sign-in until their time is up and then do not tell the reason. What may pass, as
    a broker that is only just starting, is left to them.
    """
    refuse_unreachable(bootstrap)
    if security.protocol == "sasl_ssl":
        _refuse_untrusted(bootstrap, security)
    net = NetworkSelector()
    manager = KafkaConnectionManager(net, bootstrap_servers=bootstrap, **security.client())

    async def connect(node: str) -> None:
        connection = manager.get_connection(node, timeout_ms=TIMEOUT_MS)
        try:
            await connection
        except KafkaConnectionError as error:
            if security.protocol == "sasl_ssl" and connection.broker_version_data is not None:
                # The broker's answer came with the end of the connection, and the client lost it. All but the
                # sign-in was done by then.
                raise SaslAuthenticationFailedError(str(error)) from error
            raise

    failure: KafkaError | None = None
    try:
        for broker in manager.cluster.bootstrap_brokers():
            try:
                net.run(connect, broker.node_id)
                return
            except SaslAuthenticationFailedError as error:
                failure = error
                break  # the other addresses know the same users: no second refusal, which may lock the account
            except KafkaError as error:
                failure = error
    finally:
        manager.close()
        net.close()
    wanting = _wants_tls(bootstrap, security)
    if wanting or not isinstance(failure, _MAY_PASS):
        raise wanting or _named(failure, bootstrap, security) from failure


def _refuse_untrusted(bootstrap: str, security: Security) -> None:
    """Shake hands as kafka-python does, which would repeat a failure until its time is up."""
    context = trusting(security.ca, setting=_CA)
    failure: BrokerError = BrokerUnavailable(f"no Kafka broker listens at {bootstrap}: it went away just now")
    for address in bootstrap.split(","):
        host, _, port = address.strip().rpartition(":")
        place = f"Kafka at {address.strip()}"
        try:
            with (
                socket.create_connection((host, int(port)), timeout=TIMEOUT_MS / 1000) as plain,
                context.wrap_socket(plain, server_hostname=host),
            ):
                return
        except ssl.SSLCertVerificationError as error:
            fault = fault_of(error.verify_message, address="RISK_KAFKA_BOOTSTRAP", authority=_CA)
            failure = BrokerError(f"the certificate of {place} {fault}")
        except OSError as error:
            said = (error.reason if isinstance(error, ssl.SSLError) else error.strerror) or type(error).__name__
            failure = BrokerError(f"{place} does not speak TLS ({said}): give the port of its SASL_SSL listener")
    raise failure


def explained(error: BaseException, bootstrap: str, security: Security) -> BrokerError:
    """A client's error in words, with the remedy."""
    return _wants_tls(bootstrap, security) or _named(error, bootstrap, security)


def _named(error: BaseException | None, bootstrap: str, security: Security) -> BrokerError:
    said, place = str(error), f"Kafka at {bootstrap}"
    if isinstance(error, SaslAuthenticationFailedError):
        return BrokerError(
            f"{place} does not accept user {security.username!r} with this password: correct RISK_KAFKA_USERNAME or "
            "RISK_KAFKA_PASSWORD"
        )
    if isinstance(error, AuthorizationError):
        return BrokerError(f"{place} does not allow user {security.username!r} to do that ({said}): {RIGHTS}")
    kind = BrokerUnavailable if isinstance(error, _MAY_PASS) else BrokerError
    return kind(f"{place} does not answer as it should ({said}): look at its log")


def refusal_in(spark_said: str, settings: Settings) -> BrokerError | None:
    """Kafka's refusal in what Spark says of its failure, with the remedy; None when it is something else."""
    found = _REFUSAL.search(spark_said)
    if not found:
        return None
    kind, said = found.groups()
    place = f"Kafka at {settings.kafka_bootstrap}"
    if kind == "SslAuthentication":
        return BrokerError(f"{place} shows a certificate that is not trusted ({said}): `doctor` says what is wrong")
    if kind == "SaslAuthentication":
        return BrokerError(f"{place} no longer accepts user {settings.kafka_username!r} ({said}): `doctor` says more")
    return BrokerError(f"{place} no longer allows user {settings.kafka_username!r} to read ({said}): {RIGHTS}")


def _wants_tls(bootstrap: str, security: Security) -> BrokerError | None:
    """The error of a client without TLS whose Kafka speaks it; None when that is not what is wrong."""
    if security.protocol == "plaintext" and _speaks_tls(bootstrap):
        return BrokerError(f"Kafka at {bootstrap} wants TLS: set RISK_KAFKA_SECURITY=sasl_ssl, a user and a password")
    return None


def _speaks_tls(bootstrap: str) -> bool:
    host, _, port = bootstrap.split(",")[0].strip().rpartition(":")
    curious = ssl.create_default_context()
    curious.check_hostname, curious.verify_mode = False, ssl.CERT_NONE  # nothing is sent: this only asks
    try:
        with (
            socket.create_connection((host, int(port)), timeout=TIMEOUT_MS / 1000) as plain,
            curious.wrap_socket(plain),
        ):
            return True
    except (OSError, ValueError):
        return False
