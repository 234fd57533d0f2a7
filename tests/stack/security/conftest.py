"""A broker that lets nobody in without TLS, a password and a right. Users and rights: docs/reference/security.md."""

import re
import shlex
import time
from argparse import ArgumentParser
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ResourcePattern,
    ResourceType,
    UserScramCredentialUpsertion,
)
from pydantic import SecretStr

from streaming.rehearse.broker import HOST, Secured, free_port, start_broker
from streaming.topics.kafka import KafkaConnection, ensure_topics
from tests.harness.topic import Topic

ROOT = Path(__file__).parents[3]
EVENTS, DEAD_LETTERS = "incidents.v1", "incidents.v1.dlq"
PASSWORDS = {"producer-site": "site", "scorer": r"""numbat"8087\ ; '$HOME' = #""", "dlq-reader": "reader"}
# Two listeners, so that a client can meet a certificate that has run out. Only the broker itself is on the third.
PROPERTIES = """
listeners=SASL_SSL://{host}:{{port}},EXPIRED://{host}:{expired_port},CONTROLLER://{host}:{{controller_port}}
advertised.listeners=SASL_SSL://{host}:{{port}},EXPIRED://{host}:{expired_port}
listener.security.protocol.map=SASL_SSL:SASL_SSL,EXPIRED:SASL_SSL,CONTROLLER:PLAINTEXT
inter.broker.listener.name=SASL_SSL
sasl.enabled.mechanisms=SCRAM-SHA-512
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={jaas}
listener.name.expired.scram-sha-512.sasl.jaas.config={jaas}
ssl.keystore.type=PEM
ssl.keystore.location={folder}/valid.pem
ssl.truststore.type=PEM
ssl.truststore.location={folder}/ca.pem
listener.name.expired.ssl.keystore.type=PEM
listener.name.expired.ssl.keystore.location={folder}/expired.pem
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=false
super.users=User:admin;User:ANONYMOUS
"""


@dataclass
class SecuredKafka:
    """The broker, its users, and who may do what on it."""

    bootstrap: str
    expired_bootstrap: str
    folder: Path
    admin: KafkaConnection

    def user(self, name):
        return replace(self.admin, username=name, password=SecretStr(PASSWORDS[name]))

    def settings(self, name="scorer", **changes):
        """Environment of a client that signs in as `name`."""
        return {
            "RISK_KAFKA_BOOTSTRAP": self.bootstrap,
            "RISK_KAFKA_SECURITY": "sasl_ssl",
            "RISK_KAFKA_USERNAME": name,
            "RISK_KAFKA_PASSWORD": PASSWORDS[name],
            "RISK_KAFKA_CA": str(self.admin.ca),
            "RISK_TOPIC": EVENTS,
            "RISK_DEAD_LETTER_TOPIC": DEAD_LETTERS,
            **changes,
        }

    def ask(self):
        return KafkaAdminClient(**self.admin.client_options())

    @contextmanager
    def without(self, user, operation, topic):
        """Inside, the user lacks that right."""
        pattern = ResourcePattern(ResourceType.TOPIC, topic)
        acl = ACL(f"User:{user}", "*", operation, ACLPermissionType.ALLOW, pattern)
        with self.ask() as admin:
            admin.delete_acls([ACLFilter(acl.principal, "*", operation, ACLPermissionType.ALLOW, pattern)])
        time.sleep(0.5)  # until the broker has heard of it from its controller
        try:
            yield
        finally:
            with self.ask() as admin:
                admin.create_acls([acl])
            time.sleep(0.5)


def documented_acls():
    """The rights that the commands of docs/reference/security.md give, read from there."""
    text = (ROOT / "docs" / "reference" / "security.md").read_text(encoding="utf-8").replace("\\\n", " ")
    parser = ArgumentParser()
    for option in ("--allow-principal", "--topic", "--group", "--bootstrap-server", "--command-config"):
        parser.add_argument(option)
    parser.add_argument("--operation", action="append")
    parser.add_argument("--add", action="store_true", required=True)
    for command in re.findall(r"^kafka-acls\.sh (.*)$", text, re.MULTILINE):
        asked = parser.parse_args(shlex.split(command))
        for operation in asked.operation:
            yield ACL(
                asked.allow_principal,
                "*",
                ACLOperation[operation.upper()],
                ACLPermissionType.ALLOW,
                ResourcePattern(ResourceType.TOPIC, asked.topic)
                if asked.topic
                else ResourcePattern(ResourceType.GROUP, asked.group),
            )


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """A folder: ca.pem, another_ca.pem, and the broker's valid.pem and expired.pem, each with its key."""
    folder = tmp_path_factory.mktemp("certificates")
    authority, now = trustme.CA(), datetime.now(UTC)
    authority.cert_pem.write_to_path(folder / "ca.pem")
    trustme.CA().cert_pem.write_to_path(folder / "another_ca.pem")
    expired = {"not_before": now - timedelta(days=30), "not_after": now - timedelta(days=1)}
    for name, times in (("valid", {}), ("expired", expired)):
        leaf = authority.issue_cert(HOST, **times)
        key = load_pem_private_key(leaf.private_key_pem.bytes(), None)  # Kafka reads PKCS 8 only
        chain = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + chain
        (folder / f"{name}.pem").write_bytes(pem)
    return folder


@pytest.fixture(scope="session")
def kafka(tmp_path_factory, jar_cache, certificates):
    admin = KafkaConnection("", "admin", SecretStr("of-the-test"), certificates / "ca.pem")
    expired_port = free_port()
    properties = PROPERTIES.format(
        host=HOST, expired_port=expired_port, folder=certificates, jaas=admin.spark_options()["kafka.sasl.jaas.config"]
    )
    secured = Secured(
        properties=properties,
        format_options=("--add-scram", "SCRAM-SHA-512=[name=admin,password=of-the-test]"),
        connection=admin,
    )
    folder = tmp_path_factory.mktemp("secured_broker")
    with start_broker(folder, cache=jar_cache, port=0, secured=secured) as broker:
        admin = replace(admin, bootstrap=broker.bootstrap)
        ours = SecuredKafka(broker.bootstrap, f"{HOST}:{expired_port}", certificates, admin)
        ensure_topics(admin, {EVENTS: 1, DEAD_LETTERS: 1})
        with ours.ask() as client:
            users = [UserScramCredentialUpsertion(user, 2, password) for user, password in PASSWORDS.items()]
            assert set(client.alter_user_scram_credentials(users).values()) == {None}
            assert not client.create_acls(list(documented_acls()))["failed"]
        time.sleep(0.5)
        yield ours


@pytest.fixture(scope="session")
def broker(kafka):
    """Scorers of this folder are for this broker, and the open one is not started."""
    return kafka


@pytest.fixture(scope="module")
def new_topic(kafka):
    """new_topic(name): a topic that the administrator has made and uses."""

    def make(name, *, partitions=1):
        ensure_topics(kafka.admin, {name: partitions})
        return Topic(kafka.bootstrap, name, partitions, kafka.admin.client_options())

    return make
