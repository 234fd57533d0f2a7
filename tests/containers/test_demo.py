"""The demo of deploy/README.md in real containers, from its first start through what happens to it later.

The tests go on where the one before them ended.
"""

import json
import time

import pytest
import urllib3
from kafka import KafkaConsumer, TopicPartition

from models.counting.count_state import OUTCOMES
from tests.containers.project import KAFKA, SERVICE, fence, opened, wait
from tests.harness.grafana_world import VARIABLES
from tests.harness.influxql import filled_in, shown, table
from tests.harness.pages import ALERTS, PAGES

pytestmark = pytest.mark.nightly
SCORED = "SELECT count(risk) FROM risk WHERE region = 'montgomery' AND time > now() - 3m"
CHOSEN = {"region": "montgomery", "category": "all", "categories": "fire", "horizon": "1h", "cell": "r010c010"}
LEDGER = "SELECT last(*) FROM pipeline GROUP BY region"


@pytest.fixture(scope="module")
def demo(client, tmp_path_factory):
    with opened(tmp_path_factory.mktemp("demo"), client, "--env-file", "deploy/demo.env") as project:
        yield project


def ledger(store):
    """Totals of all regions, as the newest point of each tells them."""
    total = {}
    for row in table(store.series(LEDGER)):
        for name, value in row.items():
            name = name.removeprefix("last_")
            if isinstance(value, (int, float)) and name not in ("Time", "as_of"):
                total[name] = total.get(name, 0) + value
    return total


def end_of(topic):
    consumer = KafkaConsumer(bootstrap_servers=KAFKA, consumer_timeout_ms=5000)
    parts = [TopicPartition(topic, part) for part in consumer.partitions_for_topic(topic)]
    ends = consumer.end_offsets(parts)
    consumer.close()
    return sum(ends.values())


def test_it_comes_up_as_its_page_says(demo, record_property):
    began_s = time.time()
    demo.shell(fence("deploy/README.md", "--build\n").split("docker compose", 1)[0])
    demo.compose("build", limit_s=3600)
    record_property("secrets made and image built, s", round(time.time() - began_s))
    began_s = time.time()
    demo.compose("up", "--detach")
    demo.wait_until_well()
    record_property("all well after, s", round(time.time() - began_s))
    assert "The live map is at http://127.0.0.1:3000" in demo.compose("logs", "welcome")


def test_scores_of_now_are_in_the_store_and_only_grafana_may_read_them(demo):
    store = demo.grafanas_store()
    wait(lambda: bool(store.series(SCORED)), 240, lambda: demo.compose("logs", "--tail", "40", "scorer"))
    assert store.series(SCORED)[0]["values"][0][1] > 1000
    assert store.request("POST", "/write?db=risk&precision=s", body=b"risk x=1").status in (401, 403, 404)
    writer = demo.store(demo.token("scorer"))
    answer = json.loads(writer.request("GET", "/query", fields={"db": "risk", "q": SCORED}).data)
    assert "series" not in answer["results"][0], answer  # an answer without a right has status 200 all the same
    assert "error" in answer["results"][0], answer


def test_the_service_answers_whoever_has_its_token(demo):
    token = (demo.folder / "secrets" / "demo" / "service_token").read_text(encoding="utf-8")
    address = f"{SERVICE}/v1/regions/montgomery/scores?require=current"
    assert urllib3.request("GET", address, retries=False, timeout=30.0).status == 401
    asked = {"headers": {"Authorization": f"Bearer {token}"}, "retries": False, "timeout": 30.0}
    # Its past is sent within five minutes. Until then its feed is behind: not current, which the service says by 503.
    limit_s = 300 + 120
    wait(lambda: urllib3.request("GET", address, **asked).status == 200, limit_s, lambda: demo.compose("logs", "serve"))
    scores = json.loads(urllib3.request("GET", address, **asked).data)
    assert (scores["stale"], scores["category"]) == (False, "all")
    assert any(row["expected"] > 0 for row in scores["cells"])


def test_a_mark_of_a_shift_is_in_the_store(demo):
    mark = ("--region", "montgomery", "--cell", CHOSEN["cell"], "--mark", "useful", "--desk", "north")
    demo.compose("exec", "-T", "scorer", "python", "-m", "incident_risk", "feedback", "send", *mark)
    store = demo.grafanas_store()
    query = "SELECT sum(marks) FROM feedback WHERE region = 'montgomery' AND mark = 'useful'"
    wait(lambda: bool(store.series(query)), 60, lambda: demo.compose("logs", "feedback"))
    assert store.series(query)[0]["values"][0][1] == 1


def test_the_archive_has_looked_and_found_no_final_day_yet(demo):
    wait(
        lambda: "archive: /archive, version" in demo.compose("logs", "watch"),
        120,
        lambda: demo.compose("logs", "watch"),
    )
    (line,) = (line for line in demo.compose("logs", "watch").splitlines() if "| montgomery " in line)
    assert line.split("|")[1].split()[:3] == ["montgomery", "0", "0"]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_asks_nothing_that_the_store_refuses(demo, page):
    store, now_s = demo.grafanas_store(), time.time()
    targets = [target for panel in PAGES[page]["panels"] for target in panel.get("targets", [])]
    for target in targets:
        shown(store, target["query"], from_s=now_s - 3600, to_s=now_s, variables=VARIABLES | CHOSEN)
    assert bool(targets) == (page != "runbook")


def test_the_alerts_ask_nothing_that_the_store_refuses(demo):
    store, now_s = demo.grafanas_store(), time.time()
    for rule in ALERTS:
        query = rule["data"][0]
        store.series(filled_in(query["model"]["query"], from_s=now_s - 3600, to_s=now_s))
    assert ALERTS


@pytest.mark.parametrize("service", ["scorer", "kafka", "influxdb"])
def test_a_service_that_is_killed_comes_back_by_itself_and_scores_go_on(demo, service, record_property):
    before, began = demo.restarts(service), time.time()
    demo.kill(service)
    wait(lambda: demo.restarts(service) > before, 120, demo.containers)
    demo.wait_for_new_scores("montgomery", began)
    record_property(f"{service}: new scores after its SIGKILL, s", round(time.time() - began))
    demo.wait_until_well()


def test_after_all_that_every_message_is_in_the_ledger_once(demo):
    demo.compose("stop", "replay")
    store, sent = demo.grafanas_store(), end_of("incidents.v1")
    assert sent > 100
    wait(lambda: ledger(store).get("consumed") == sent, 240, lambda: (sent, ledger(store)))
    totals = ledger(store)
    refused = sum(value for name, value in totals.items() if name.startswith("rejected_"))
    assert refused == end_of("incidents.v1.dlq")
    counted = sum(value for name, value in totals.items() if name in OUTCOMES)
    assert counted + refused == sent, totals


def test_down_and_up_go_on_with_what_the_volumes_kept(demo, record_property):
    consumed = ledger(demo.grafanas_store())["consumed"]
    demo.compose("down", "--timeout", "100")
    began = time.time()
    demo.compose("up", "--detach")
    demo.wait_until_well()
    record_property("all well again after, s", round(time.time() - began))
    demo.wait_for_new_scores("montgomery", began)
    assert ledger(demo.grafanas_store())["consumed"] >= consumed


def test_each_service_stays_below_its_limit_of_memory(demo, images, record_property):
    for line in images:
        name, _, kind = line.rpartition(": ")
        record_property(name, kind)
    containers = demo.containers()
    size = demo.run("docker", "image", "inspect", "--format", "{{.Size}}", containers["scorer"]["Image"])
    record_property("image of the scorer, GB", round(int(size) / 1e9, 2))
    for name, container in containers.items():
        if container["State"]["Running"]:
            used, limit = demo.memory_gib(name), container["HostConfig"]["Memory"] / 2**30
            record_property(f"{name}: of {limit:.0f} GiB", round(used, 2))
            assert used < 0.8 * limit, name
