"""The product on a real Kubernetes by its page's commands: one pod, update, replicas, a restarted node, executors.

The tests go on where the one before them ended.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import urllib3

from streaming.rehearse.incident_replay import SAMPLE
from tests.containers.kubernetes.cluster import ALIASES, HOME, NAMESPACE, NODE, STORES, Cluster, why_there_is_none
from tests.containers.project import ROOT, Project, checkout, fence, wait
from tests.containers.test_own_region import calls, send
from tests.harness.compose_file import SERVICES

pytestmark = pytest.mark.nightly
PAGE = "docs/how-to/kubernetes.md"
CLAIMS = ("state", "artifacts", "frames", "decisions", "archive", "registry", "spark-state")
API = f"https://{NODE}:16443"
QUERY = "SELECT last(risk) FROM risk WHERE region = 'mycity' AND time > now() - 10m"


def edit(path, *changes):
    text = path.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")


def fit_to_this_cluster(folder):
    """What its owner writes into the files; without names (DNS) and service addresses, and on two processors."""
    overlays = folder / "deploy" / "kubernetes" / "overlays"
    names = f"      hostAliases: {json.dumps(ALIASES)}\n"
    edit(overlays / "plain" / "kustomization.yaml", ("kafka:9092", "kafka:19092"))
    edit(folder / "deploy/kubernetes/base/scorer.yaml", ("    spec:\n", f"    spec:\n{names}"))
    edit(folder / "deploy/kubernetes/base/feedback.yaml", ("    spec:\n", f"    spec:\n{names}"))
    edit(folder / "deploy/kubernetes/base/commands.yaml", ("    spec:\n", f"    spec:\n{names}"))
    edit(overlays / "executors" / "executor.yaml", ("spec:\n", f"spec:\n{names[4:]}"))
    edit(overlays / "executors" / "kustomization.yaml", ("https://kubernetes.default.svc", API))
    edit(overlays / "executors" / "spark-defaults.conf", ("500m", "100m"))


@pytest.fixture(scope="module")
def cluster(client, tmp_path_factory):
    """The cluster with Kafka and InfluxDB in it, the images on its node, and volumes for the product."""
    if reason := why_there_is_none():
        pytest.skip(reason)
    folder = checkout(tmp_path_factory.mktemp("kubernetes"))
    (folder / ".venv").symlink_to(ROOT / ".venv")
    path = {"PATH": f"{HOME / 'bin'}{os.pathsep}{client['PATH']}", "KUBECONFIG": str(HOME / "admin.conf")}
    made = Cluster(Project(folder=folder, environment=client | path))
    made.tool("down")
    shutil.rmtree(HOME / "etcd", ignore_errors=True)  # what an earlier run left
    made.project.run("make", "secrets")
    made.project.compose("build", "scorer", limit_s=3600)
    made.up()
    try:
        made.load(*(SERVICES[name]["image"] for name in ("kafka", "influxdb", "scorer")))
        made.store_services()
        made.product_volumes(CLAIMS)
        fit_to_this_cluster(folder)
        yield made
    finally:
        made.tool("down")


def kubeflows_types(project):
    """The file with the schema of SparkApplication, from the operator's Go module."""
    module = "github.com/kubeflow/spark-operator/v2@v2.5.2"
    folder = Path(json.loads(project.run("go", "mod", "download", "-json", module))["Dir"])
    return folder / "config" / "crd" / "bases" / "sparkoperator.k8s.io_sparkapplications.yaml"


def has_new_scores(cluster, began_ms):
    try:
        found = cluster.store.series(QUERY)
    except (AssertionError, urllib3.exceptions.HTTPError):
        return False
    return bool(found) and found[0]["values"][0][0] > began_ms


def wait_for_new_scores(cluster):
    began_ms = time.time() * 1000
    wait(lambda: has_new_scores(cluster, began_ms), 300, cluster.how_it_is)


def names(cluster, of):
    return {pod["metadata"]["name"] for pod in cluster.pods(of)}


def endpoints(cluster):
    """Addresses behind the service `serve`, as the cluster itself keeps them."""
    selector = ["--selector", "kubernetes.io/service-name=serve"]
    slices = json.loads(cluster.kubectl("get", "endpointslices", *selector, "--output", "json"))["items"]
    found = [one for each in slices for one in each["endpoints"] or () if one["conditions"]["ready"]]
    return {address for one in found for address in one["addresses"]}


def scores_at(cluster, address, form="json"):
    token = (cluster.project.folder / "secrets" / "service_token").read_text()
    url = f"http://{address}:8321/v1/regions/mycity/scores?category=theft&horizon=1h&format={form}"
    return urllib3.request("GET", url, headers={"Authorization": f"Bearer {token}"}, retries=False, timeout=30.0)


def test_one_pod_counts_scores_and_answers(cluster, record_property):
    train = next(line for line in fence("deploy/README.md", "risk train").splitlines() if "risk train" in line)
    cluster.project.shell(train.replace("incidents.csv", str(SAMPLE)).replace("--layout ...", "--layout sample"))
    shutil.copy(cluster.volumes / "scorer-token" / "scorer_influx_token", cluster.project.folder / "store-token")
    printed = cluster.project.shell(fence(PAGE, "create secret generic store"))
    assert "Warning" not in printed, "the namespace's level of Pod Security warns"
    began = time.monotonic()
    cluster.project.shell(fence(PAGE, "tar --create"))
    cluster.wait_until_ready()
    record_property("one pod ready after its model came, s", round(time.monotonic() - began))
    send(*calls(100))
    cluster.wait_for_consumed(100)
    wait_for_new_scores(cluster)
    (address,) = endpoints(cluster)
    answer = scores_at(cluster, address)
    assert answer.status == 200
    assert len(answer.json()["cells"]) > 100


@pytest.mark.parametrize("overlay", ["plain", "executors", "gpu", "kubeflow"])
def test_the_api_server_accepts_every_overlay(cluster, overlay):
    if overlay == "kubeflow":
        cluster.kubectl("apply", "--server-side", "--filename", str(kubeflows_types(cluster.project)))
        known = "kubectl get --raw /apis/sparkoperator.k8s.io/v1beta2 || true"
        wait(lambda: "sparkapplications" in cluster.project.shell(known), 60, cluster.how_it_is)
    printed = cluster.kubectl("apply", "--dry-run=server", "--kustomize", f"deploy/kubernetes/overlays/{overlay}")
    job = "sparkapplication.sparkoperator.k8s.io" if overlay == "kubeflow" else "statefulset.apps"
    assert f"{job}/scorer" in printed
    assert "Warning" not in printed


def test_an_update_of_the_image_loses_and_doubles_nothing(cluster, record_property):
    """The new image has the content of the old one, under another tag."""
    cluster.tag("incident-risk-scorer:0.1.0", "incident-risk-scorer:0.1.1")
    overlay = cluster.project.folder / "deploy/kubernetes/overlays/plain/kustomization.yaml"
    edit(overlay, ("newTag: 0.1.0", "newTag: 0.1.1"))
    began = time.monotonic()
    cluster.kubectl("apply", "--kustomize", str(overlay.parent))
    for _ in range(5):
        send(*calls(20))
        time.sleep(2)
    cluster.kubectl("rollout", "status", "statefulset/scorer", "--timeout", "420s")
    cluster.kubectl("rollout", "status", "deployment/serve", "--timeout", "420s")
    record_property("updated after, s", round(time.monotonic() - began))
    assert {one["image"].rpartition(":")[2] for pod in cluster.pods() for one in pod["spec"]["containers"]} == {"0.1.1"}
    cluster.wait_for_consumed(200)
    wait_for_new_scores(cluster)


def test_three_replicas_give_the_same_scores_and_one_is_enough_again(cluster):
    cluster.kubectl("scale", "deployment/serve", "--replicas", "3")
    wait(lambda: len(endpoints(cluster)) == 3, 180, cluster.how_it_is)

    def are_equal():
        return len({(answer.headers["ETag"], answer.data) for answer in map(ask, endpoints(cluster))}) == 1

    ask = lambda address: scores_at(cluster, address, "csv")  # noqa: E731, as JSON they say how long each has watched
    wait(are_equal, 60, cluster.how_it_is)  # a frame may come between two questions
    cluster.kubectl("scale", "deployment/serve", "--replicas", "1")
    wait(lambda: len(endpoints(cluster)) == 1, 60, cluster.how_it_is)


def test_a_killed_job_and_a_restarted_node_lose_and_double_nothing(cluster, record_property):
    (killed,) = subprocess.run(
        ["pgrep", "-f", r"^risk run$"],  # noqa: S607
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    os.kill(int(killed), signal.SIGKILL)
    send(*calls(50))
    cluster.wait_for_consumed(250)

    cluster.tool("down")
    began = time.monotonic()
    cluster.up()
    cluster.wait_until_ready()
    record_property("ready after a restart of the node, s", round(time.monotonic() - began))
    send(*calls(50))
    cluster.wait_for_consumed(300)
    wait_for_new_scores(cluster)


def test_executors_in_pods_take_the_work_over(cluster, record_property):
    cluster.project.shell(fence(PAGE, "--kustomize deploy/kubernetes/overlays/executors"))
    refused = "is to be shared"
    wait(lambda: refused in cluster.project.shell("kubectl logs scorer-0 || true"), 240, cluster.how_it_is)
    cluster.project.shell(fence(PAGE, "mv /state/checkpoint/spark"))
    wait(lambda: len(cluster.pods("executor")) == 2, 120, cluster.how_it_is)
    cluster.wait_until_ready()
    send(*calls(100))
    cluster.wait_for_consumed(400)
    wait_for_new_scores(cluster)

    first = min(names(cluster, "executor"))
    cluster.kubectl("delete", "pod", first, "--grace-period", "0", "--force")
    send(*calls(100))
    cluster.wait_for_consumed(500)
    wait(
        lambda: first not in str(cluster.pods("executor")) and len(cluster.pods("executor")) == 2,
        120,
        cluster.how_it_is,
    )

    began = time.monotonic()
    of_product = "app.kubernetes.io/name"
    cluster.kubectl(
        "drain", "node", "--pod-selector", of_product, "--delete-emptydir-data", "--force", "--timeout", "300s"
    )
    send(*calls(100))
    cluster.kubectl("uncordon", "node")
    cluster.wait_for_consumed(600)
    record_property("counted on after the node was drained, s", round(time.monotonic() - began))
    wait_for_new_scores(cluster)


def test_every_frame_of_all_this_is_equal_to_a_recount_without_spark(cluster):
    cluster.kubectl("scale", "deployment/commands", "--replicas", "1")
    cluster.kubectl("rollout", "status", "deployment/commands", "--timeout", "180s")
    cluster.kubectl("scale", "statefulset/scorer", "--replicas", "0")
    wait(lambda: not cluster.pods("scorer") and not cluster.pods("executor"), 240, cluster.how_it_is)
    again = ["python", "-c", (ROOT / "tests/harness/recount.py").read_text(encoding="utf-8")]
    printed = cluster.kubectl("exec", "deployment/commands", "--", *again, limit_s=1200)
    assert re.search(r"recounted [1-9][\d,]* frames, 0 differ", printed), printed


def rights_of(cluster, account):
    """(resource, verbs) of each line with a resource."""
    listing = cluster.kubectl("auth", "can-i", "--list", "--as", account, "--no-headers")
    lines = [line for line in listing.splitlines() if not line.startswith(" ")]
    return {(line.split()[0], line[line.rindex("[") :]) for line in lines}


def test_the_job_has_no_more_rights_than_it_uses(cluster):
    """Least rights of the service account, and that none of the product's other pods has a token."""
    accounts = [f"system:serviceaccount:{NAMESPACE}:{name}" for name in ("scorer", "default")]
    more, every_ones = (rights_of(cluster, account) for account in accounts)
    assert more - every_ones == {("pods", "[create delete deletecollection get list patch watch]")}
    elsewhere = f"kubectl auth can-i create pods --as {accounts[0]} --namespace {STORES} || true"
    assert cluster.project.shell(elsewhere).strip() == "no"
    for pod in cluster.pods():
        if pod["metadata"]["labels"]["app.kubernetes.io/name"] != "scorer":
            assert pod["spec"]["automountServiceAccountToken"] is False


def test_the_work_goes_back_into_one_pod(cluster):
    cluster.project.shell(fence(PAGE, "readlink spark"))
    assert not cluster.pods("executor")
    send(*calls(100))
    cluster.wait_for_consumed(700)
    wait_for_new_scores(cluster)
