"""The product on a real Kubernetes by its page's commands: one pod, update, replicas, a restarted node, executors.

First the cluster of one node, what runs beside the product in it, and volumes on this disk. The tests go on where the
one before them ended.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import urllib3

from tests.containers.project import (
    ROOT,
    Project,
    checkout,
    fence,
    training,
    wait,
    wait_for_consumed,
    wait_for_new_scores,
)
from tests.containers.test_own_region import calls, send
from tests.harness.compose_file import SERVICES
from tests.harness.influxql import Store

TOOL = Path(os.environ.get("CLUSTER", ROOT.parent / "shared" / "tools" / "kubernetes" / "cluster"))
HOME = Path(os.environ.get("CLUSTER_HOME", "/var/tmp/cluster"))  # noqa: S108 - programs and images of gigabytes
NODE = "10.89.0.1"
STORES = "stores"  # the namespace of Kafka and InfluxDB
NAMESPACE = "incident-risk"
ALIASES = [{"ip": NODE, "hostnames": ["kafka", "influxdb"]}]  # this cluster has no names (DNS)
Manifest = dict[str, Any]


def why_there_is_none() -> str:
    """Empty when a cluster can be started here."""
    if not TOOL.exists():
        return f"no Kubernetes for tests: {TOOL} is not there; name the command that starts one as CLUSTER"
    if not (HOME / "bin" / "kubectl").exists():
        return f"no Kubernetes for tests: run `{TOOL} build` first"
    return ""


def pod_of(service: Mapping[str, Any], volumes: Path) -> Manifest:
    """The pod that is to a cluster what `service`, as `docker compose config` prints it, is to an engine."""
    mounts, places = [], []

    def mount(target: str, place: Manifest, **more: Any) -> None:
        name = f"v{len(places)}"
        places.append({"name": name} | place)
        mounts.append({"name": name, "mountPath": target} | more)

    for entry in service.get("tmpfs", ()):
        mount(entry.partition(":")[0], {"emptyDir": {}})
    for volume in service.get("volumes", ()):
        source = Path(volume["source"]) if volume["type"] == "bind" else volumes / volume["source"]
        mount(volume["target"], {"hostPath": {"path": str(source)}})
    for secret in service.get("secrets", ()):
        mount(f"/run/secrets/{secret['source']}", {"secret": {"secretName": STORES}}, subPath=secret["source"])
    container: Manifest = {"name": "only", "image": service["image"], "volumeMounts": mounts}
    container["env"] = [
        {"name": name, "value": str(value)} for name, value in (service.get("environment") or {}).items()
    ]
    for of, words in (("command", "entrypoint"), ("args", "command")):
        if service.get(words):
            container[of] = [word.replace("$$", "$") for word in service[words]]
    pod = {"hostNetwork": True, "hostAliases": ALIASES, "enableServiceLinks": False}
    user, _, group = service.get("user", "").partition(":")
    who = {"securityContext": {"runAsUser": int(user), "runAsGroup": int(group)}} if user else {}
    return pod | who | {"containers": [container], "volumes": places}


def kept_running(name: str, pod: Manifest) -> Manifest:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {"replicas": 1, "serviceName": name, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name}, "spec": spec}


def run_once(name: str, pod: Manifest) -> Manifest:
    spec = {"backoffLimit": 20, "template": {"spec": pod | {"restartPolicy": "OnFailure"}}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}


def volume(claim: str, folder: Path) -> Manifest:
    spec = {
        "capacity": {"storage": "20Gi"},
        "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
        "hostPath": {"path": str(folder)},
        "claimRef": {"namespace": NAMESPACE, "name": claim},
    }
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": claim}, "spec": spec}


@dataclass(frozen=True, slots=True)
class Cluster:
    project: Project  # a checkout, in which `kubectl` and `docker` are commands

    @property
    def volumes(self) -> Path:
        return self.project.folder / "volumes"

    def tool(self, *words: str) -> str:
        return self.project.run(str(TOOL), *words, limit_s=3600)

    def up(self) -> None:
        """It writes its client's settings anew, so the page's commands would ask in another namespace."""
        self.tool("up")
        self.kubectl("config", "set-context", "--current", "--namespace", NAMESPACE)

    def load(self, *images: str) -> None:
        """Images of the engine into the node: minutes for gigabytes, so none that lies there since an earlier run."""
        record = HOME / "loaded"
        record.touch()
        for image in images:
            line = f"{image} {self.project.run('docker', 'image', 'inspect', '--format', '{{.Id}}', image).strip()}"
            lines = record.read_text().splitlines()
            if line not in lines:
                self.tool("load", image)
                others = [other for other in lines if other.split()[0] != image]
                record.write_text("\n".join([*others, line, ""]))

    def tag(self, image: str, other: str) -> None:
        """Another name for an image of the node."""
        of_the_node = ["ctr", "--address", str(HOME / "run" / "containerd.sock"), "--namespace", "k8s.io", "images"]
        listed = self.project.run(*of_the_node, "list", "--quiet").splitlines()
        (full_name,) = (name for name in listed if name.endswith(f"/{image}"))
        self.project.run(*of_the_node, "tag", "--force", full_name, full_name.removesuffix(image) + other)

    def kubectl(self, *words: str, answer: str = "", limit_s: float = 600) -> str:
        return self.project.run("kubectl", *words, answer=answer, limit_s=limit_s)

    def apply(self, manifests: Iterable[Manifest], *words: str) -> None:
        listing = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        self.kubectl(*words, "apply", "--filename", "-", answer=json.dumps(listing))

    def pods(self, name: str = "") -> list[Manifest]:
        """Of the product, or of one of its parts; those that are being deleted are not in it."""
        chosen = ["--selector", f"app.kubernetes.io/name={name}"] if name else []
        listing = json.loads(self.kubectl("get", "pods", "--namespace", NAMESPACE, "--output", "json", *chosen))
        return [pod for pod in listing["items"] if "deletionTimestamp" not in pod["metadata"]]

    def unready(self) -> dict[str, str]:
        """The pods of the product that are not ready, and how they are."""
        unready = {}
        for pod in self.pods():
            conditions = {each["type"]: each["status"] for each in pod["status"].get("conditions", ())}
            if conditions.get("Ready") != "True":
                unready[pod["metadata"]["name"]] = json.dumps(pod["status"].get("containerStatuses", pod["status"]))
        return unready

    def wait_until_ready(self, limit_s: float = 420) -> None:
        wait(lambda: self.pods("scorer") and not self.unready(), limit_s, self.how_it_is)

    def how_it_is(self) -> str:
        listing = self.kubectl("get", "pods", "--all-namespaces", "--output", "wide")
        events = self.kubectl("get", "events", "--namespace", NAMESPACE, "--sort-by", "lastTimestamp")
        log = self.project.shell("kubectl logs --tail 40 scorer-0 --container scorer || true")
        return f"{self.unready()}\n{listing}\n{events[-3000:]}\n{log}"

    def store_services(self) -> None:
        """Kafka and InfluxDB, their topics, buckets and tokens: by the very lines of compose.yaml."""
        services = json.loads(self.project.compose("config", "--format", "json"))["services"]
        for name in ("kafka", "influxdb", "scorer-token", "grafana-token"):
            (self.volumes / name).mkdir(parents=True)
            (self.volumes / name).chmod(0o777)  # each image has a user of its own
        self.kubectl("create", "namespace", STORES)
        files = [f"--from-file=secrets/{name}" for name in ("influxdb_admin_password", "influxdb_admin_token")]
        self.kubectl("create", "secret", "generic", STORES, *files, "--namespace", STORES)
        manifests = [kept_running(name, pod_of(services[name], self.volumes)) for name in ("kafka", "influxdb")]
        manifests += [run_once(name, pod_of(services[name], self.volumes)) for name in ("topics", "influxdb-setup")]
        self.apply(manifests, "--namespace", STORES)
        for name in ("topics", "influxdb-setup"):
            self.kubectl(
                "wait", "--for", "condition=complete", f"job/{name}", "--namespace", STORES, "--timeout", "300s"
            )

    def product_volumes(self, claims: Iterable[str]) -> None:
        for name in claims:
            (self.volumes / name).mkdir(parents=True)
            shutil.chown(self.volumes / name, 10001, 10001)
        self.apply(volume(name, self.volumes / name) for name in claims)

    def store(self) -> Store:
        token = (self.volumes / "grafana-token" / "grafana_influx_token").read_text().strip()
        return Store(url=f"http://{NODE}:8086", database="risk", token=token)

    def wait_for_consumed(self, count: int) -> None:
        wait_for_consumed(self.store, count, self.how_it_is, limit_s=420)

    def wait_for_new_scores(self) -> None:
        wait_for_new_scores(self.store, self.how_it_is)


pytestmark = pytest.mark.nightly
PAGE = "docs/how-to/kubernetes.md"
CLAIMS = ("state", "artifacts", "frames", "decisions", "archive", "registry", "spark-state")
API = f"https://{NODE}:16443"


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


def names(cluster, of):
    return {pod["metadata"]["name"] for pod in cluster.pods(of)}


def endpoints(cluster):
    """Addresses behind the service `serve`, as the cluster itself keeps them."""
    selector = ["--selector", "kubernetes.io/service-name=serve"]
    slices = json.loads(cluster.kubectl("get", "endpointslices", *selector, "--output", "json"))["items"]
    pods = [pod for each in slices for pod in each["endpoints"] or () if pod["conditions"]["ready"]]
    return {address for pod in pods for address in pod["addresses"]}


def scores_at(cluster, address, form="json"):
    token = (cluster.project.folder / "secrets" / "service_token").read_text()
    url = f"http://{address}:8321/v1/regions/mycity/scores?category=fire&horizon=1h&format={form}"
    return urllib3.request("GET", url, headers={"Authorization": f"Bearer {token}"}, retries=False, timeout=30.0)


def test_one_pod_counts_scores_and_answers(cluster, record_property):
    cluster.project.shell(training(cluster.project.folder))
    shutil.copy(cluster.volumes / "scorer-token" / "scorer_influx_token", cluster.project.folder / "store-token")
    printed = cluster.project.shell(fence(PAGE, "create secret generic store"))
    assert "Warning" not in printed, "the namespace's level of Pod Security warns"
    began = time.monotonic()
    cluster.project.shell(fence(PAGE, "tar --create"))
    cluster.wait_until_ready()
    record_property("one pod ready after its model came, s", round(time.monotonic() - began))
    send(*calls(100))
    cluster.wait_for_consumed(100)
    cluster.wait_for_new_scores()
    (address,) = endpoints(cluster)
    answer = scores_at(cluster, address)
    assert answer.status == 200
    assert len(answer.json()["cells"]) > 100


@pytest.mark.parametrize("overlay", ["plain", "executors", "gpu", "kubeflow"])
def test_the_api_server_accepts_every_overlay(cluster, overlay):
    if overlay == "kubeflow":
        cluster.kubectl("apply", "--server-side", "--filename", str(kubeflows_types(cluster.project)))
        kinds = "kubectl get --raw /apis/sparkoperator.k8s.io/v1beta2 || true"
        wait(lambda: "sparkapplications" in cluster.project.shell(kinds), 60, cluster.how_it_is)
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
    images = {container["image"] for pod in cluster.pods() for container in pod["spec"]["containers"]}
    assert {image.rpartition(":")[2] for image in images} == {"0.1.1"}
    cluster.wait_for_consumed(200)
    cluster.wait_for_new_scores()


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
        ["pgrep", "-f", r"^python -m incident_risk run$"],  # noqa: S607
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
    cluster.wait_for_new_scores()


def test_executors_in_pods_take_the_work_over(cluster, record_property):
    cluster.project.shell(fence(PAGE, "--kustomize deploy/kubernetes/overlays/executors"))
    refused = "is to be shared"
    wait(lambda: refused in cluster.project.shell("kubectl logs scorer-0 || true"), 240, cluster.how_it_is)
    cluster.project.shell(fence(PAGE, "mv /state/checkpoint/spark"))
    wait(lambda: len(cluster.pods("executor")) == 2, 120, cluster.how_it_is)
    cluster.wait_until_ready()
    send(*calls(100))
    cluster.wait_for_consumed(400)
    cluster.wait_for_new_scores()

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
    cluster.wait_for_new_scores()


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
    cluster.wait_for_new_scores()
