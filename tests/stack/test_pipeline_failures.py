"""What ends the job is told in one line, with an exit code of its own."""

import socket

import pytest

pytestmark = pytest.mark.stack
START = 1_700_000_000
SECRET_CANARY = "numbat8087"


@pytest.fixture
def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield probe.getsockname()[1]  # taken, but nobody listens


@pytest.fixture(scope="module")
def topic(new_topic):
    return new_topic("failures", partitions=2)


def assert_one_clear_line(scorer, code, *words):
    ended, said = scorer.end(), scorer.output
    assert ended == code, said
    errors = [line for line in said.splitlines() if line.startswith("error:")]
    assert len(errors) == 1, said
    assert [word for word in words if word not in errors[0]] == []
    assert SECRET_CANARY not in said


def assert_no_trace(scorer):
    assert not [word for word in ("Traceback", "Py4J", "at org.apache") if word in scorer.output], scorer.output


def test_an_empty_folder_of_artifacts(new_scorer, topic):
    scorer = new_scorer("no_artifacts", topic)
    scorer.start()
    assert_one_clear_line(scorer, 4, "no usable artifact", "models train")
    assert_no_trace(scorer)


def test_a_store_that_does_not_listen(new_scorer, topic, new_region, closed_port):
    scorer = new_scorer("no_store", topic, RISK_SINK="influxdb", INFLUXDB_V2_TOKEN=SECRET_CANARY)
    new_region("riverton").publish(scorer.artifacts)
    scorer.start(INFLUXDB_V2_URL=f"http://127.0.0.1:{closed_port}", RISK_WRITE_TIMEOUT_S="1")
    assert_one_clear_line(scorer, 6, str(closed_port), "INFLUXDB_V2_URL")
    assert_no_trace(scorer)


def test_a_broker_that_does_not_listen(new_scorer, topic, new_region, closed_port):
    scorer = new_scorer("no_broker", topic, RISK_KAFKA_BOOTSTRAP=f"127.0.0.1:{closed_port}")
    new_region("riverton").publish(scorer.artifacts)
    scorer.start()
    assert_one_clear_line(scorer, 5, str(closed_port))
    assert_no_trace(scorer)


def test_a_topic_that_does_not_exist(new_scorer, topic, new_region):
    scorer = new_scorer("no_topic", topic, RISK_TOPIC="nowhere")
    new_region("riverton").publish(scorer.artifacts)
    scorer.start()
    assert_one_clear_line(scorer, 5, "nowhere")
    assert_no_trace(scorer)


def test_a_store_that_refuses_while_the_job_runs(new_scorer, topic, new_region, stub_store):
    scorer = new_scorer("refused", topic, RISK_SINK="influxdb", INFLUXDB_V2_TOKEN=SECRET_CANARY)
    region = new_region("riverton")
    region.publish(scorer.artifacts)
    scorer.start(INFLUXDB_V2_URL=stub_store.url)
    scorer.wait_until(lambda: len(stub_store.acknowledged) > 1)  # the check and the first frame
    stub_store.answers.append((401, b'{"code":"unauthorized","message":"unauthorized access"}', {}))
    topic.send([(0, region.event(1, cell=3, at_s=START + 60), (START + 60) * 1000)])
    assert_one_clear_line(scorer, 6, "INFLUXDB_V2_TOKEN")
    assert_no_trace(scorer)


def test_a_java_process_that_is_killed_and_then_a_checkpoint_of_another_spec(new_scorer, topic, new_region):
    scorer = new_scorer("another_spec", topic)
    folder = new_region("riverton").publish(scorer.artifacts)
    scorer.start()
    scorer.wait_until(lambda: scorer.points())
    next(child for child in scorer.children if child.name() == "java").kill()
    assert_one_clear_line(scorer, 7, "Java process is gone", "spark.log")

    folder.rename(scorer.folder / "put aside")
    new_region("riverton", categories=("ems",)).publish(scorer.artifacts, created="20260201T000000Z")
    (scorer.folder / "terminal.txt").unlink()
    scorer.start()
    assert_one_clear_line(scorer, 4, "new checkpoint folder")
    assert_no_trace(scorer)
