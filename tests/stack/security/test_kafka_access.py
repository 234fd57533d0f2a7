"""TLS, passwords and rights on a real broker: what is right works, what is wrong is one clear line and no storm."""

import signal
from contextlib import ExitStack
from dataclasses import replace

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ACLOperation
from kafka.errors import AuthorizationError

from schemas.errors import BrokerError
from streaming.cli.doctor import examine
from streaming.settings import INFLUX_PREFIX, PREFIX, Settings
from streaming.topics.kafka import ensure_topics, topic_faults
from tests.faults import stores
from tests.harness.proxy import Proxy

EVENTS, DEAD_LETTERS = "incidents.v1", "incidents.v1.dlq"
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
    said = scorer.output  # the artifact in force, the progress line; nothing again and again
    assert len(said.strip().splitlines()) <= 6, said
    assert not [word for word in ("numbat", "wr0ng") if word in said], said


def doctor_says(scorer):
    """What doctor found wrong with Kafka under the scorer's settings, seen and remedy together."""
    ours = {name: value for name, value in scorer.environment.items() if name.startswith((PREFIX, INFLUX_PREFIX))}
    found = examine(Settings.from_environment(ours), now_s=stores.START)
    return " ".join(
        f"{one.seen} {one.remedy}" for one in found if one.what in ("Kafka", "topic") and one.grade == "fail"
    )


@pytest.mark.nightly
def test_with_the_documented_rights_the_job_counts_scores_and_puts_aside(kafka, events, new_scorer, region, tmp_path):
    password = tmp_path / "password"
    password.write_text(kafka.user("scorer").password.get_secret_value() + "\n", encoding="utf-8")
    settings = kafka.settings(RISK_KAFKA_PASSWORD="", RISK_KAFKA_PASSWORD_FILE=str(password))
    scorer = new_scorer("rights", events, **settings)
    region.publish(scorer.artifacts)
    site = replace(events, client=kafka.user("producer-site").client_options())
    site.send([*stores.events(region, range(3), partitions=1), (0, b"rubbish", stores.START * 1000)])
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
        events.send([(0, b"more rubbish", stores.START * 1000)])
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
