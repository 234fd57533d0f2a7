"""A Kubernetes of one node for the tests, what runs beside the product in it, and volumes on this disk."""

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3

from tests.containers.project import ROOT, Project, wait
from tests.harness.influxql import Store, table

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
        kept = HOME / "loaded"
        kept.touch()
        for image in images:
            line = f"{image} {self.project.run('docker', 'image', 'inspect', '--format', '{{.Id}}', image).strip()}"
            lines = kept.read_text().splitlines()
            if line not in lines:
                self.tool("load", image)
                others = [one for one in lines if one.split()[0] != image]
                kept.write_text("\n".join([*others, line, ""]))

    def tag(self, image: str, other: str) -> None:
        """Another name for an image of the node."""
        of_the_node = ["ctr", "--address", str(HOME / "run" / "containerd.sock"), "--namespace", "k8s.io", "images"]
        listed = self.project.run(*of_the_node, "list", "--quiet").splitlines()
        (known,) = (name for name in listed if name.endswith(f"/{image}"))
        self.project.run(*of_the_node, "tag", "--force", known, known.removesuffix(image) + other)

    def kubectl(self, *words: str, answer: str = "", limit_s: float = 600) -> str:
        return self.project.run("kubectl", *words, answer=answer, limit_s=limit_s)

    def apply(self, manifests: Iterable[Manifest], *words: str) -> None:
        listing = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        self.kubectl(*words, "apply", "--filename", "-", answer=json.dumps(listing))

    def pods(self, name: str = "") -> list[Manifest]:
        """Of the product, or of one of its parts; those that are being deleted are not in it."""
        chosen = ["--selector", f"app.kubernetes.io/name={name}"] if name else []
        found = json.loads(self.kubectl("get", "pods", "--namespace", NAMESPACE, "--output", "json", *chosen))
        return [pod for pod in found["items"] if "deletionTimestamp" not in pod["metadata"]]

    def unready(self) -> dict[str, str]:
        """The pods of the product that are not ready, and how they are."""
        found = {}
        for pod in self.pods():
            conditions = {one["type"]: one["status"] for one in pod["status"].get("conditions", ())}
            if conditions.get("Ready") != "True":
                found[pod["metadata"]["name"]] = json.dumps(pod["status"].get("containerStatuses", pod["status"]))
        return found

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
        made = [kept_running(name, pod_of(services[name], self.volumes)) for name in ("kafka", "influxdb")]
        made += [run_once(name, pod_of(services[name], self.volumes)) for name in ("topics", "influxdb-setup")]
        self.apply(made, "--namespace", STORES)
        for name in ("topics", "influxdb-setup"):
            self.kubectl(
                "wait", "--for", "condition=complete", f"job/{name}", "--namespace", STORES, "--timeout", "300s"
            )

    def product_volumes(self, claims: Iterable[str]) -> None:
        for name in claims:
            (self.volumes / name).mkdir(parents=True)
            shutil.chown(self.volumes / name, 10001, 10001)
        self.apply(volume(name, self.volumes / name) for name in claims)

    @property
    def store(self) -> Store:
        token = (self.volumes / "grafana-token" / "grafana_influx_token").read_text().strip()
        return Store(url=f"http://{NODE}:8086", database="risk", token=token)

    def consumed(self) -> int:
        """Messages in the ledgers of all regions; -1 while the store starts."""
        try:
            found = table(self.store.series("SELECT last(consumed) FROM pipeline GROUP BY region"))
        except (AssertionError, urllib3.exceptions.HTTPError):
            return -1
        return sum(row["last"] for row in found)

    def wait_for_consumed(self, count: int) -> None:
        wait(lambda: self.consumed() >= count, 420, lambda: f"{self.consumed()} of {count}\n{self.how_it_is()}")
        assert self.consumed() == count
