"""deploy/ansible against an API server with its controllers and no node: a pod is ready when these tests say so.

The tests go on where the one before them ended.
"""

import json
import os
import shutil
import subprocess
import threading
from contextlib import contextmanager

import pytest

from streaming.rehearse.broker import free_port
from tests.containers.kubernetes.test_kubernetes import HOME, NAMESPACE, why_there_is_none
from tests.containers.project import ROOT, play, wait, write_inventory
from tests.harness.processes import commit_all, git, run

pytestmark = pytest.mark.nightly
BIN = HOME / "bin"
OVERLAY = "deploy/kubernetes/overlays/plain"


@contextmanager
def program(folder, name, *options):
    """One of the cluster's programs, until the end."""
    with (folder / f"{name}.log").open("wb") as log:
        started = subprocess.Popen([BIN / name, *options], cwd=folder, stdout=log, stderr=log)
    try:
        yield
    finally:
        started.terminate()
        started.wait(60)


class Server:
    """An API server: what kubectl says of the product's namespace."""

    def __init__(self, folder):
        self.folder, self.config = folder, folder / "admin.conf"

    def kubectl(self, *words):
        ran = run(BIN / "kubectl", "--kubeconfig", self.config, "--namespace", NAMESPACE, *words)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def answers(self):
        return run(BIN / "kubectl", "--kubeconfig", self.config, "get", "--raw", "/readyz").returncode == 0

    def objects(self, kind):
        return json.loads(self.kubectl("get", kind, "--output", "json"))["items"]

    def images(self):
        workloads = self.objects("deployment,statefulset")
        return {workload["spec"]["template"]["spec"]["containers"][0]["image"] for workload in workloads}

    def image_of(self, pod):
        pods = (each for each in self.objects("pods") if each["metadata"]["name"] == pod)
        return next((each["spec"]["containers"][0]["image"] for each in pods), "")

    def changed(self, playbook, *options):
        environment = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
        return play(self.folder / "inventory.yml", environment, playbook, *options)[0]

    def commit(self, old, new):
        overlay = self.folder / "repository" / OVERLAY / "kustomization.yaml"
        text = overlay.read_text()
        assert old in text
        overlay.write_text(text.replace(old, new))
        git(self.folder / "repository", "commit", "--quiet", "--all", "--message", "another")

    @contextmanager
    def as_its_node(self, never="none"):
        """Makes every pod ready, but those whose image ends so."""
        ready = json.dumps({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}})
        over = threading.Event()

        def work():
            while not over.wait(1):
                for pod in self.objects("pods"):
                    waits = pod["status"]["phase"] == "Pending" and "deletionTimestamp" not in pod["metadata"]
                    if waits and not pod["spec"]["containers"][0]["image"].endswith(never):
                        words = ("patch", "pod", pod["metadata"]["name"], "--subresource", "status", "--type", "merge")
                        run(BIN / "kubectl", "--kubeconfig", self.config, "-n", NAMESPACE, *words, "--patch", ready)

        working = threading.Thread(target=work)
        working.start()
        try:
            yield
        finally:
            over.set()
            working.join()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    if reason := why_there_is_none():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("server")
    (folder / "tokens.csv").write_text('secret,admin,admin,"system:masters"\n')
    assert run("openssl", "genrsa", "-out", folder / "sa.key", "2048").returncode == 0
    store, peer, api, other = (free_port() for _ in range(4))
    cluster = {"server": f"https://127.0.0.1:{api}", "insecure-skip-tls-verify": True}
    control = Server(folder)
    control.config.write_text(json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "it",
        "clusters": [{"name": "it", "cluster": cluster}], "users": [{"name": "it", "user": {"token": "secret"}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
    }))  # fmt: skip
    shutil.copytree(ROOT / "deploy", folder / "repository" / "deploy")
    commit_all(folder / "repository")
    write_inventory(
        folder, "clusters",
        kubernetes_folder=str(folder / "clone"), kubernetes_repository=str(folder / "repository"),
        kubernetes_version=git(folder / "repository", "branch", "--show-current"),
        kubernetes_config=str(control.config),
    )  # fmt: skip
    etcd = [f"--data-dir={folder}/etcd", "--unsafe-no-fsync", f"--listen-peer-urls=http://127.0.0.1:{peer}"]
    etcd += [f"--{what}-client-urls=http://127.0.0.1:{store}" for what in ("listen", "advertise")]
    server = [f"--etcd-servers=http://127.0.0.1:{store}", f"--secure-port={api}", "--bind-address=127.0.0.1"]
    server += ["--cert-dir=pki", "--token-auth-file=tokens.csv", "--authorization-mode=RBAC"]
    server += ["--service-account-issuer=https://kubernetes.default.svc", "--service-cluster-ip-range=10.97.0.0/16"]
    server += ["--service-account-key-file=sa.key", "--service-account-signing-key-file=sa.key"]
    controllers = ["--kubeconfig=admin.conf", "--service-account-private-key-file=sa.key", "--leader-elect=false"]
    controllers += ["--bind-address=127.0.0.1", f"--secure-port={other}"]
    with program(folder, "etcd", *etcd), program(folder, "kube-apiserver", *server):
        wait(control.answers, 120, (folder / "kube-apiserver.log").read_text)
        with program(folder, "kube-controller-manager", *controllers):
            control.kubectl("apply", "--filename", ROOT / OVERLAY / "namespace.yaml")
            yield control


def test_an_overlay_is_applied_once(server):
    assert server.changed("kubernetes", "--check") == 1
    with server.as_its_node():
        assert server.changed("kubernetes") == 2
        assert server.changed("kubernetes") == 0
    assert server.changed("kubernetes", "--check") == 0
    assert server.images() == {"incident-risk-scorer:0.1.0"}


def test_the_number_of_the_services_pods_outlives_an_update(server):
    scale = ("kubernetes-scale", "--extra-vars", "kubernetes_replicas=3")
    with server.as_its_node():
        assert server.changed(*scale, "--check") == 0
        assert [server.changed(*scale) for _ in range(2)] == [1, 0]
        server.commit("newTag: 0.1.0", "newTag: 0.2.0")
        assert server.changed("kubernetes", "--check") == 1
        assert server.changed("kubernetes") == 3
    assert server.images() == {"incident-risk-scorer:0.2.0"}
    (serve,) = (each for each in server.objects("deployment") if each["metadata"]["name"] == "serve")
    assert serve["spec"]["replicas"] == 3


def test_a_version_that_never_gets_ready_is_left_again(server):
    server.commit("newTag: 0.2.0", "newTag: 0.3.0")
    with server.as_its_node(never=":0.3.0"):
        assert server.changed("kubernetes", "--extra-vars", '{"kubernetes_workloads": []}') == 3
        wait(lambda: server.image_of("scorer-0").endswith(":0.3.0"), 60, lambda: server.kubectl("get", "pods"))
        assert server.changed("kubernetes-roll-back") == 3
        assert server.changed("kubernetes-roll-back") == 0
    assert server.images() == {"incident-risk-scorer:0.2.0"}
