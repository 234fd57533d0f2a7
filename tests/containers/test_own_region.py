"""An own region by the pages' own commands: start, tokens, back-up, restore, upgrade, going back, a registry.

The tests go on where the one before them ended.
"""

import json
import re
import shutil
import time
from datetime import UTC, datetime

import pytest
import urllib3
from kafka import KafkaProducer

from tests.containers.project import ENDS, KAFKA, ROOT, SERVICE, Project, fence, first_start, opened, training, wait

pytestmark = pytest.mark.nightly
DEPLOY, OPERATIONS, MORE = "deploy/README.md", "docs/how-to/operations.md", "docs/how-to/containers.md"
TOKENS = "docs/how-to/secrets.md"
ASK_WITHOUT_LOGIN = """
import urllib.request, urllib.error
try:
    print(urllib.request.urlopen("http://127.0.0.1:5000/api/2.0/mlflow/registered-models/search").status)
except urllib.error.HTTPError as error:
    print(error.code)
"""


@pytest.fixture(scope="module")
def region(client, tmp_path_factory):
    with opened(tmp_path_factory.mktemp("ours"), client) as project:
        (project.folder / ".venv").symlink_to(ROOT / ".venv")
        yield project


def send(*messages):
    producer = KafkaProducer(bootstrap_servers=KAFKA)
    answers = [producer.send("incidents.v1", message) for message in messages]
    for answer in answers:
        answer.get(timeout=30)
    producer.close()


def calls(count):
    """Theft in the middle of the region, now."""
    now = datetime.now(UTC).isoformat()
    what = {"region": "mycity", "occurred_at": now, "category": "theft", "origin": "public_call"}
    place = {"lat": 41.88, "lon": -87.63}
    return [json.dumps({"incident_id": f"{now}-{number}"} | what | place).encode() for number in range(count)]


def artifact_of(project):
    """Folder of the one artifact."""
    (folder,) = (path for path in (project.folder / "data" / "artifacts" / "mycity").iterdir() if path.is_dir())
    return folder


def test_it_starts_as_its_page_says(region, record_property):
    start, _, health = first_start(region.folder).rpartition("docker compose exec")
    began = time.monotonic()
    region.shell(start, limit_s=3600)
    record_property("secrets, trained, built and created after, s", round(time.monotonic() - began))
    record_property("all well after another, s", round(region.wait_until_well()))
    region.shell("docker compose exec -T" + health)
    send(*calls(50))
    region.wait_for_consumed(50)


def status(token):
    headers = {"Authorization": f"Bearer {token}"}
    return urllib3.request("GET", f"{SERVICE}/v1/regions", headers=headers, retries=False, timeout=30.0).status


def wait_for_status(project, token, expected):
    wait(lambda: status(token) == expected, 30, lambda: f"{status(token)}\n{project.compose('logs', 'serve')}")


def test_a_token_of_the_service_opens_and_ends_while_the_service_runs(region):
    add, end, another = fence(TOKENS, "risk token cad").strip().splitlines()
    secret, before = region.folder / "secrets" / "service_token", region.containers()["serve"]["State"]["StartedAt"]
    first = secret.read_text()
    wait_for_status(region, first, 200)
    cad = region.shell(f"umask 077 && {add}").split()[-1]
    wait_for_status(region, cad, 200)
    region.shell(end)
    wait_for_status(region, cad, 401)
    region.shell(f"umask 077 && {another}")
    wait_for_status(region, secret.read_text(), 200)
    assert status(first) == 401
    assert region.containers()["serve"]["State"]["StartedAt"] == before
    assert f"the map is at {SERVICE}/," in region.compose("logs", "serve")


@pytest.mark.parametrize("of", ["scorer", "grafana"])
def test_a_token_is_replaced_and_the_old_one_is_refused(region, of):
    old = region.token(of)
    region.shell(fence(TOKENS, "-f /tokens/scorer").replace("scorer", of))
    region.wait_until_well()
    assert region.token(of) != old
    assert region.store(old).request("POST", "/write?db=risk", body=b"x y=1").status == 401
    region.wait_for_new_scores()


def test_the_admins_password_and_token_are_replaced(region):
    password, token, _ = fence(TOKENS, "influx user password").strip().splitlines()
    old = (region.folder / "secrets" / "influxdb_admin_token").read_text().strip()
    region.run("/bin/sh", "-c", password.replace("exec ", "exec -T ", 1), answer="another-password\nanother-password\n")
    printed = region.shell(token.replace("exec ", "exec -T ", 1))
    (new,) = re.findall(r"\s(\S{86}==)\s", printed)
    region.run("install", "-m", "444", "/dev/stdin", "secrets/influxdb_admin_token", answer=new)
    region.compose("restart", "influxdb")
    region.wait_until_well()
    assert region.compose("run", "--rm", "influxdb-setup").count("kept") == 2

    listing, deleting = fence(TOKENS, "influx auth list").replace("exec ", "exec -T ").strip().splitlines()
    (line,) = (line for line in region.shell(listing).splitlines() if "admin's Token" in line)
    region.shell(re.sub(r"\bID\b", line.split()[0], deleting))
    assert region.store(old).request("GET", "/api/v2/authorizations").status == 401
    assert region.compose("run", "--rm", "influxdb-setup").count("kept") == 2


def test_what_was_backed_up_is_there_again_after_a_restore(region, record_property):
    region.shell("sh deploy/back-up.sh")
    backup = region.folder / "backup"
    record_property("back-up, MB", round(sum(file.stat().st_size for file in backup.rglob("*")) / 1e6))
    assert backup.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in backup.glob("*.tgz")} == {0o600}
    region.wait_until_well()
    send(*calls(20))
    region.wait_for_consumed(70)
    token, secret = region.token("scorer"), region.folder / "secrets" / "influxdb_admin_token"
    admins = secret.read_text()
    secret.unlink()
    began = time.monotonic()
    region.shell("sh deploy/restore.sh")
    region.wait_until_well()
    record_property("restored and all well after, s", round(time.monotonic() - began))
    assert (secret.read_text(), region.token("scorer")) == (admins, token)
    region.wait_for_new_scores()
    region.wait_for_consumed(50)


def test_an_upgrade_and_the_way_back_lose_nothing(region, record_property):
    upgrade = fence(OPERATIONS, "docker tag incident").replace("git tag --force before\n", "")  # no checkout of git
    began = time.monotonic()
    region.shell(upgrade.replace("git pull", "echo '# a change' >> streaming/flow/rows.py"))
    record_property("upgrade with a changed line, s", round(time.monotonic() - began))
    region.wait_until_well()
    send(*calls(10))
    region.wait_for_consumed(60)
    back = re.search(r"\*\*To go back\*\*:.*?\.\s", (ROOT / OPERATIONS).read_text(encoding="utf-8"), re.DOTALL)[0]
    stop, _, tag, up = re.findall(r"`([^`]+)`", back)
    for command in (stop, tag, up):
        region.shell(command)
    region.wait_until_well()
    send(*calls(10))
    region.wait_for_consumed(70)


def test_dead_letters_are_shown(region):
    send(b"rubbish")
    region.wait_for_consumed(71)
    printed = region.shell(fence(OPERATIONS, "kafka-console-consumer"))
    assert "not_json" in printed
    assert "b'rubbish'" in printed


def test_retraining_asks_its_triggers_and_says_why_it_waits(region, record_property):
    folder = artifact_of(region)
    region.shell("chown -R 10001 data/artifacts")
    region.shell(fence(MORE, "the first").replace("VERSION", folder.name).replace("--rm", "--rm -T"))
    assert json.loads((folder.parent / "pointer.json").read_text())["champion"] == folder.name
    region.compose("exec", "-T", "watch", "rm", "-f", "/state/checkpoint/watch.json")
    region.compose("restart", "watch")  # else it asks within a quarter of an hour
    answer = folder.parent / "retrain.json"

    def is_over():  # it is left as failed before it begins: it may be killed
        return answer.exists() and json.loads(answer.read_text())["because"] != "it did not come to its end"

    wait(is_over, 300, lambda: region.compose("logs", "--tail", "60", "watch"))
    asked = json.loads(answer.read_text())
    assert asked["outcome"] == "waits", asked
    assert "there is nothing to learn from yet: archive:/archive" in asked["because"]  # with or without its first look
    record_property("watch, GiB of 5", round(region.memory_gib("watch"), 2))
    region.wait_until_well()
    region.wait_for_new_scores()


def test_going_back_works_while_the_scorer_hangs(region):
    first = artifact_of(region)
    train, newer = training(region.folder), f"--region mycity --like {first} --until 2016-08-26"
    region.shell(train.replace("--region mycity --cell-m 1000", newer))
    (second,) = (path for path in first.parent.iterdir() if path.is_dir() and path != first)
    region.shell(f"chown -R 10001 data/artifacts && chmod -R a+rX {second}")
    register = ("run", "--rm", "-T", "registry", "promote", f"/artifacts/mycity/{second.name}", "--because", "newer")
    region.compose(*register)
    assert champion(region) == second.name
    region.compose("exec", "-T", "scorer", "sh", "-c", "kill -STOP -1")
    try:
        wait(lambda: "scorer" in region.unhappy(), 240, lambda: region.containers()["scorer"]["State"])
        (back,) = re.findall(r"^docker compose run --rm registry rollback .*$", (ROOT / MORE).read_text(), re.MULTILINE)
        region.shell(back.replace("--rm", "--rm -T"))
        assert champion(region) == first.name
    finally:
        region.compose("exec", "-T", "scorer", "sh", "-c", "kill -CONT -1")
    region.wait_until_well()
    region.wait_for_new_scores()
    shutil.rmtree(second)


def champion(project):
    return json.loads((project.folder / "data" / "artifacts" / "mycity" / "pointer.json").read_text())["champion"]


def test_a_demo_beside_the_region_leaves_it_as_it_is(region, record_property):
    """Its image is another one: the lines of the product were changed since the region's was built."""
    changed = region.folder / "schemas" / "__init__.py"
    changed.write_text(changed.read_text(encoding="utf-8") + "\n# a change\n", encoding="utf-8")
    (ports,) = re.findall(r"begin with `([^`]+)`", (ROOT / DEPLOY).read_text(encoding="utf-8"))
    before = identities(region)
    secrets, start = fence(DEPLOY, "--build\n").strip().splitlines()
    demo = Project(
        folder=region.folder, environment=region.environment | dict(port.split("=") for port in ports.split()),
        options=("--env-file", "deploy/demo.env"),
    )  # fmt: skip
    began = time.monotonic()
    try:
        region.shell(f"{secrets} && {ports} {start} --detach", limit_s=3600)
        demo.wait_until_well(900)
        record_property("the demo beside the region, all well after, s", round(time.monotonic() - began))
        region.compose("up", "--detach")
        assert identities(region) == before
    finally:
        demo.compose("down", "--volumes")
    assert identities(region) == before
    region.wait_until_well()
    region.wait_for_new_scores()


def identities(project):
    """Which containers these are, of which images, and since when they run; of those that end at once not."""
    return {
        name: (container["Id"], container["Image"], container["State"]["StartedAt"])
        for name, container in project.containers().items()
        if name not in ENDS
    }


def test_a_registry_in_mlflow_says_which_version_scores(region, record_property):
    folder = artifact_of(region)
    start, commands, up = fence(MORE, "mlflow/make-secrets").replace("sudo ", "").partition("docker compose run")
    began = time.monotonic()
    region.shell(start, limit_s=3600)
    record_property("images with MLflow built, s", round(time.monotonic() - began))
    began = time.monotonic()
    region.shell((commands + up).replace("VERSION", folder.name).replace("--rm", "--rm -T"))
    record_property("MLflow up, registered and promoted, s", round(time.monotonic() - began))
    assert json.loads((folder.parent / "pointer.json").read_text())["champion"] == folder.name
    listed = region.compose("run", "--rm", "-T", "registry", "versions", "--json")
    (version,) = json.loads(listed[listed.index("[") :])
    assert (version["version"], version["role"]) == (folder.name, "champion")
    record_property("mlflow, GiB of 1", round(region.memory_gib("mlflow"), 2))
    refused = region.run("docker", "compose", "exec", "-T", "mlflow", "python", "-c", ASK_WITHOUT_LOGIN)
    assert refused.strip() == "401"
    region.wait_until_well()
    region.wait_for_new_scores()
