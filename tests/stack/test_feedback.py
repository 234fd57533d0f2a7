"""Marks through a real Kafka: sent, kept once, also when the store was away or the process was killed."""

import os
import signal
import time

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import MemberToRemove

from streaming.marks import GROUP
from tests.harness.points import stored_points
from tests.harness.toy import toy_artifact, toy_spec


@pytest.fixture
def feedback(broker, new_topic, tmp_path, commands):
    """feedback("send", ...): how the command ended."""
    topic, letters = new_topic(f"{tmp_path.name}.marks"), new_topic(f"{tmp_path.name}.refused")
    toy_artifact(tmp_path / "artifacts", toy_spec())
    environment = os.environ | {
        "RISK_KAFKA_BOOTSTRAP": broker.bootstrap,
        "RISK_FEEDBACK_TOPIC": topic.name,
        "RISK_DEAD_LETTER_TOPIC": letters.name,
        "RISK_ARTIFACTS": str(tmp_path / "artifacts"),
        "RISK_SINK": f"file:{tmp_path / 'store' / 'marks.lp'}",
    }

    def run(*words, wait=True):
        if wait:
            ran = commands.run("incident_risk", "feedback", *words, env=environment, timeout=120)
            return ran.returncode, ran.stdout, ran.stderr
        with (tmp_path / "said").open("wb") as said:
            return commands.popen("incident_risk", "feedback", *words, env=environment, out=(said, said))

    run.topic, run.letters, run.store = topic, letters, tmp_path / "store"
    return run


def send(feedback, cell, **changes):
    options = {"region": "toyville", "cell": cell, "mark": "useful", "desk": "north", "at": "2026-01-01T00:00:00Z"}
    words = [word for name, value in (options | changes).items() for word in (f"--{name}", value)]
    return feedback("send", *words)


def marks(feedback):
    path = feedback.store / "marks.lp"
    return stored_points([path.read_bytes()]) if path.exists() else {}


def test_marks_are_kept_once_and_refusals_go_to_the_dead_letters(feedback, broker):
    assert send(feedback, "r000c001")[0] == 0
    assert send(feedback, "r000c001", mark="great")[0] == 3
    with KafkaProducer(bootstrap_servers=broker.bootstrap) as producer:
        producer.send(feedback.topic.name, value=b'{"officer_name":"x"}').get(10)
    code, said, error = feedback("store", "--once")
    assert (code, said) == (0, "1 marks kept, 1 refused\n"), error
    assert len(marks(feedback)) == 1
    assert feedback("store", "--once")[1] == "0 marks kept, 0 refused\n"


def remove_members(broker):
    """The group without the dead process, which Kafka would remove 45 s after its last heartbeat."""
    with KafkaAdminClient(bootstrap_servers=broker.bootstrap) as admin:
        members = admin.describe_groups([GROUP])[GROUP]["members"]
        assert len(members) == 1
        admin.remove_group_members(GROUP, [MemberToRemove(member["member_id"]) for member in members])


def test_a_process_that_is_killed_before_its_store_answered_loses_nothing(feedback, broker):
    feedback.store.mkdir()
    blocked = feedback.store / "marks.lp"
    blocked.mkdir()  # the store refuses: a folder stands where its file must be
    for cell in ("r000c000", "r000c001"):
        assert send(feedback, cell)[0] == 0
    assert feedback("store", "--once")[0] != 0
    blocked.rmdir()
    process = feedback("store", wait=False)
    deadline = time.monotonic() + 60
    while len(marks(feedback)) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    assert len(marks(feedback)) == 2
    remove_members(broker)
    assert feedback("store", "--once")[0] == 0
    assert len(marks(feedback)) == 2
