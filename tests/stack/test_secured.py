"""A broker that lets nobody in without TLS, a password and a right (docs/reference/security.md), and the job on it.

What is right works, what is wrong is one clear line and no storm; canaries show that no secret leaks.
"""

import os
import re
import shlex
import signal
import time
from argparse import ArgumentParser
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ResourcePattern,
    ResourceType,
    UserScramCredentialUpsertion,
)
from kafka.errors import AuthorizationError
from pydantic import SecretStr

from schemas.errors import BrokerError
from schemas.frame import frame_path
from streaming.cli.doctor import examine
from streaming.kafka import KafkaConnection, ensure_topics, topic_faults
from streaming.rehearse.broker import HOST, Secured, free_port, start_broker
from streaming.settings import INFLUX_PREFIX, PREFIX, Settings
from tests.faults.stores import START
from tests.faults.stores import events as numbered_events
from tests.harness.proxy import Proxy
from tests.harness.scorer import Topic

ROOT = Path(__file__).parents[2]
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


WRONG = {
    "password": ({"RISK_KAFKA_PASSWORD": "wr0ng"}, "does not accept user 'scorer'", "RISK_KAFKA_PASSWORD"),
    "user": ({"RISK_KAFKA_USERNAME": "nobody"}, "does not accept user 'nobody'", "RISK_KAFKA_USERNAME"),
    "authority": ({"RISK_KAFKA_CA": "another_ca.pem"}, "signed by an authority that we do not trust", "RISK_KAFKA_CA"),
    "name": ({"RISK_KAFKA_BOOTSTRAP": "localhost"}, "is for another name", "RISK_KAFKA_BOOTSTRAP"),
    "expired": ({"RISK_KAFKA_BOOTSTRAP": "expired"}, "has expired", "renew it on the server"),
    "plain": (
        {name: "" for name in ("RISK_KAFKA_SECURITY", "RISK_KAFKA_USERNAME", "RISK_KAFKA_PASSWORD", "RISK_KAFKA_CA")},
        "requires TLS",
        "RISK_KAFKA_SECURITY=sasl_ssl",
    ),
}


@pytest.fixture
def relay():
    """relay(address): a proxy before it, which counts the connections."""
    with ExitStack() as opened:
        yield lambda address: opened.enter_context(Proxy(int(address.rpartition(":")[2])))


@pytest.fixture
def events(new_topic):
    return new_topic(EVENTS)


@pytest.fixture
def region(new_region):
    return new_region("riverton")


def assert_one_clear_line(scorer, *words):
    scorer.assert_ended(5, *words)
    output = scorer.output  # the artifact in force, the progress line; nothing again and again
    assert len(output.strip().splitlines()) <= 6, output
    assert not [word for word in ("numbat", "wr0ng") if word in output], output


def doctor_says(scorer):
    """What doctor found wrong with Kafka under the scorer's settings, seen and remedy together."""
    ours = {name: value for name, value in scorer.environment.items() if name.startswith((PREFIX, INFLUX_PREFIX))}
    lines = [each for each in examine(Settings.from_environment(ours), now_s=START) if each.grade == "fail"]
    return " ".join(f"{each.seen} {each.remedy}" for each in lines if each.what in ("Kafka", "topic"))


@pytest.mark.nightly
def test_with_the_documented_rights_the_job_counts_scores_and_puts_aside(kafka, events, new_scorer, region, tmp_path):
    password = tmp_path / "password"
    password.write_text(kafka.user("scorer").password.get_secret_value() + "\n", encoding="utf-8")
    settings = kafka.settings(RISK_KAFKA_PASSWORD="", RISK_KAFKA_PASSWORD_FILE=str(password))
    scorer = new_scorer("rights", events, **settings)
    region.publish(scorer.artifacts)
    site = replace(events, client=kafka.user("producer-site").client_options())
    site.send([*numbered_events(region, range(3), partitions=1), (0, b"rubbish", START * 1000)])
    scorer.start()
    scorer.wait_until(lambda: scorer.totals().get("riverton", {}).get("counted") == 3)
    scorer.wait_until(lambda: any(key.startswith("risk,") for key, _ in scorer.points()))
    assert doctor_says(scorer) == ""
    assert scorer.end(signal.SIGTERM) == 0
    place = TopicPartition(DEAD_LETTERS, 0)
    with KafkaConsumer(**kafka.user("dlq-reader").client_options()) as reader:
        assert reader.end_offsets([place])[place] == 1


@pytest.mark.fault("F39")
@pytest.mark.parametrize(
    "what", [pytest.param(what, marks=[] if what == "password" else pytest.mark.nightly) for what in WRONG]
)
def test_what_is_wrong_is_said_once_with_the_remedy_and_not_tried_again(
    what, kafka, certificates, events, new_scorer, region, relay
):
    changes, *words = WRONG[what]
    changes = dict(changes)
    if changes.get("RISK_KAFKA_CA"):
        changes["RISK_KAFKA_CA"] = str(certificates / changes["RISK_KAFKA_CA"])
    counted = relay(kafka.expired_bootstrap if what == "expired" else kafka.bootstrap)
    host = "localhost" if what == "name" else "127.0.0.1"
    settings = kafka.settings(**{**changes, "RISK_KAFKA_BOOTSTRAP": f"{host}:{counted.port}"})
    scorer = new_scorer(f"wrong_{what}", events, **settings)
    region.publish(scorer.artifacts)
    scorer.start()
    assert_one_clear_line(scorer, *words)
    assert 1 <= counted.accepted <= 4  # does anybody listen, twice; sign in; after a failure: is it TLS
    assert all(word in doctor_says(scorer) for word in words)


@pytest.mark.fault("F39")
@pytest.mark.parametrize(
    ("operation", "topic"), [(ACLOperation.READ, EVENTS), (ACLOperation.WRITE, DEAD_LETTERS)], ids=["read", "write"]
)
def test_a_missing_right_is_named_before_anything_is_read(operation, topic, kafka, events, new_scorer, region):
    scorer = new_scorer(f"no_{operation.name.lower()}", events, **kafka.settings())
    region.publish(scorer.artifacts)
    words = (f"user 'scorer' {operation.name.lower()} topic {topic}", "DESCRIBE", "docs/reference/security.md")
    with kafka.without("scorer", operation, topic):
        scorer.start()
        assert_one_clear_line(scorer, *words)
        assert all(word in doctor_says(scorer) for word in words)


@pytest.mark.fault("F39")
@pytest.mark.nightly
@pytest.mark.parametrize(
    ("operation", "topic"), [(ACLOperation.READ, EVENTS), (ACLOperation.WRITE, DEAD_LETTERS)], ids=["read", "write"]
)
def test_a_right_that_is_taken_away_while_the_job_runs_ends_it(operation, topic, kafka, events, new_scorer, region):
    scorer = new_scorer(f"lost_{operation.name.lower()}", events, **kafka.settings())
    region.publish(scorer.artifacts)
    scorer.start()
    scorer.wait_until(scorer.points)
    with kafka.without("scorer", operation, topic):
        events.send([(0, b"more rubbish", START * 1000)])
        assert_one_clear_line(scorer, "user 'scorer'", topic, "docs/reference/security.md")


@pytest.mark.fault("F39")
def test_nobody_may_do_more_than_is_written_down(kafka):
    with pytest.raises(BrokerError, match="docs/reference/security"):
        ensure_topics(kafka.user("producer-site"), {"another": 1})
    allowed = {
        (user, topic, right)
        for user in ("producer-site", "scorer", "dlq-reader")
        for topic in (EVENTS, DEAD_LETTERS)
        for right in ("READ", "WRITE")
        if not topic_faults(kafka.user(user), {topic: right})
    }
    assert allowed == {
        ("producer-site", EVENTS, "WRITE"),
        ("scorer", EVENTS, "READ"),
        ("scorer", DEAD_LETTERS, "WRITE"),
        ("dlq-reader", DEAD_LETTERS, "READ"),
    }
    with KafkaProducer(**kafka.user("scorer").client_options()) as producer, pytest.raises(AuthorizationError):
        producer.send(EVENTS, b"forged").get(timeout=20)


TOKEN = "quokka-5511-token"
# What of each stays the same however it is quoted or escaped on its way.
CANARIES = {"token": "quokka-5511", "password": "numbat"}


def canaries_in(text):
    """Names of the canaries in `text`, bytes or str, also as UTF-16, in which Java writes some strings."""
    data = text if isinstance(text, bytes) else text.encode()
    forms = {name: (word.encode(), word.encode("utf-16-le")) for name, word in CANARIES.items()}
    return sorted(name for name, words in forms.items() if any(word in data for word in words))


def leaks_of(process):
    """{what: canaries} of a running process: its command line as `ps` shows it, and its environment."""
    try:
        return {
            f"command line of {process.name()}": canaries_in("\0".join(process.cmdline())),
            f"environment of {process.name()}": canaries_in(
                "\0".join(f"{k}={v}" for k, v in process.environ().items())
            ),
        }
    except psutil.NoSuchProcess:
        return {}


def name_of(process):
    """None of a worker that Spark has ended meanwhile."""
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return None


def leaks_below(folder):
    """{file: canaries} of every file below the folder."""
    return {str(path): canaries_in(path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def only_leaks(places):
    return {what: canaries for what, canaries in places.items() if canaries}


@pytest.mark.fault("F27", "F43")
@pytest.mark.parametrize("by_file", ["token", pytest.param("password", marks=pytest.mark.nightly)])
def test_no_secret_is_anywhere_but_where_it_was_given(
    by_file, kafka, new_topic, new_scorer, new_region, stub_store, tmp_path
):
    settings = kafka.settings(RISK_SINK="influxdb", INFLUXDB_V2_TOKEN=TOKEN, INFLUXDB_V2_URL=stub_store.url)
    name = {"token": "INFLUXDB_V2_TOKEN", "password": "RISK_KAFKA_PASSWORD"}[by_file]
    secret = tmp_path / "secret"
    secret.write_text(settings.pop(name) + "\n", encoding="utf-8")
    settings[f"{name}_FILE"] = str(secret)
    by_environment = "password" if by_file == "token" else "token"
    settings[{"token": "INFLUXDB_V2_TOKEN", "password": "RISK_KAFKA_PASSWORD"}[by_environment]] += "\n"

    topic, region = new_topic(EVENTS), new_region("riverton")
    scorer = new_scorer(f"canaries_{by_file}", topic, **settings)
    region.publish(scorer.artifacts)
    local, frame = scorer.folder / "spark_local", frame_path(scorer.folder / "frames", "riverton")
    local.mkdir()
    scorer.start(SPARK_LOCAL_DIRS=str(local), TMPDIR=str(local))
    topic.send([(0, region.event(1, cell=3, at_s=START + 60), (START + 60) * 1000), (0, b"rubbish", START * 1000)])
    scorer.wait_until(lambda: frame.exists() and any(b"risk," in body for body in stub_store.acknowledged))

    main = psutil.Process(scorer.process.pid)
    assert canaries_in("\0".join(main.cmdline())) == []
    assert leaks_of(main)[f"environment of {main.name()}"] == [by_environment]  # the scan can see; and we said so
    kinds = {name_of(child) for child in scorer.children} - {None}
    assert "java" in kinds
    assert len(kinds) > 1, kinds  # Python workers
    for child in scorer.children:
        assert only_leaks(leaks_of(child)) == {}
    assert only_leaks(leaks_below(scorer.folder)) == {}

    stub_store.answers.append((401, f"who is Token {TOKEN}?".encode(), {"X-Echo": TOKEN}))
    topic.send([(0, region.event(2, cell=4, at_s=START + 120), (START + 120) * 1000)])
    scorer.assert_ended(6, "INFLUXDB_V2_TOKEN", "who is Token ***?")
    files = leaks_below(scorer.folder)
    assert only_leaks(files) == {}
    names = {os.path.basename(path) for path in files}
    wanted = "terminal.txt spark.log riverton.frame guard.json roster.json manifest.json metadata"
    assert set(wanted.split()) <= names
