"""The files of deploy/kubernetes without a cluster: Kubernetes' schemas, our rules, and what compose.yaml says."""

import functools
import os
import re
import shutil
import warnings
from pathlib import Path

import pytest
import yaml

from schemas import product_version
from streaming.settings import Settings
from tests.harness.compose_file import ROOT, SERVICES
from tests.harness.processes import run

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import kubernetes_validate

# It parses both of its files of 1 MB anew for each document.
kubernetes_validate.utils.schema_contents = functools.cache(kubernetes_validate.utils.schema_contents)
FILES = ROOT / "deploy" / "kubernetes"
OLDEST, NEWEST = "1.31", "1.37"
OF_OPERATOR = "sparkoperator.k8s.io"
OVERLAYS = sorted(path.name for path in (FILES / "overlays").iterdir())
PATCHES = {"pods.yaml"} | {
    f"overlays/{overlay}/{one['path']}"
    for overlay in OVERLAYS
    for one in yaml.safe_load((FILES / "overlays" / overlay / "kustomization.yaml").read_text()).get("patches", ())
}


def whole_files():
    for path in sorted(FILES.rglob("*.yaml")):
        name = path.relative_to(FILES).as_posix()
        if path.name not in ("kustomization.yaml", "fields.yaml") and not PATCHES & {name, path.name}:
            yield name


def documents(name):
    return list(yaml.safe_load_all((FILES / name).read_text(encoding="utf-8")))


def of_kubernetes(found):
    return [one for one in found if one["apiVersion"].partition("/")[0] != OF_OPERATOR]


def with_pods(found):
    return [one for one in found if one["kind"] in ("Deployment", "StatefulSet")]


def pod_of(document):
    return document["spec"]["template"]["spec"]


def put_together(folder):
    """What `kubectl apply --kustomize` sends."""
    home = Path(os.environ.get("CLUSTER_HOME", "/var/tmp/cluster")) / "bin"  # noqa: S108 - tests/containers/kubernetes
    kubectl = shutil.which("kubectl", path=f"{os.environ['PATH']}{os.pathsep}{home}")
    if kubectl is None:
        pytest.skip("no kubectl, which puts the overlays together")
    ran = run(kubectl, "kustomize", str(folder))
    assert ran.returncode == 0, ran.stderr
    return list(yaml.safe_load_all(ran.stdout))


@pytest.fixture(scope="module", params=OVERLAYS)
def rendered(request):
    return put_together(FILES / "overlays" / request.param)


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("name", list(whole_files()))
def test_every_file_keeps_to_the_schemas(name, version):
    for document in of_kubernetes(documents(name)):
        kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_every_overlay_keeps_to_the_schemas(rendered, version):
    for document in of_kubernetes(rendered):
        kubernetes_validate.validate(document, version, strict=True)


def test_every_pod_has_bounds_and_no_rights(rendered):
    pods = [pod_of(one) for one in with_pods(rendered)]
    assert len(pods) == (5 if len(of_kubernetes(rendered)) == len(rendered) else 4)
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
            }  # fmt: skip
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
            assert "memory" in container["resources"]["limits"]
            assert container["image"].startswith(f"incident-risk-scorer:{product_version()}")


def test_only_the_driver_of_executors_has_a_token(rendered):
    with_token = [pod["metadata"]["name"] for pod in with_pods(rendered) if pod_of(pod)["automountServiceAccountToken"]]
    kinds = {one["kind"] for one in rendered}
    assert with_token == (["scorer"] if {"Role", "StatefulSet"} <= kinds else [])


def test_the_driver_that_an_operator_starts_may_use_its_account_when_it_makes_executors():
    """The account itself mounts no token, so without this the driver could not ask the API server."""
    job = documents("overlays/kubeflow/application.yaml")[-1]["spec"]
    assert job["driver"]["template"]["spec"]["automountServiceAccountToken"] is True
    assert job["executor"]["template"]["spec"]["automountServiceAccountToken"] is False


def images(node):
    """Every image that a document names: of containers, for Spark's executors, and of a SparkApplication."""
    if isinstance(node, list):
        for one in node:
            yield from images(one)
    elif isinstance(node, dict):
        for name, value in node.items():
            is_for_executors = name == "value" and node.get("name") == "IMAGE"
            if is_for_executors or name == "image":
                yield value
            else:
                yield from images(value)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_image_that_the_plain_overlay_names_is_that_of_every_overlay(overlay, tmp_path):
    for name in ("kubernetes", "gpu"):
        shutil.copytree(ROOT / "deploy" / name, tmp_path / name)
    plain = tmp_path / "kubernetes" / "overlays" / "plain" / "kustomization.yaml"
    own = f"{{name: incident-risk-scorer, newTag: {product_version()}}}"
    assert own in plain.read_text()
    plain.write_text(plain.read_text().replace(own, f"{own[:-1]}, newName: registry.example.org:5000/risk}}"))
    found = list(images(put_together(tmp_path / "kubernetes" / "overlays" / overlay)))
    assert set(found) == {f"registry.example.org:5000/risk:{product_version()}"}
    assert len(found) == {"plain": 5, "executors": 6, "gpu": 6, "kubeflow": 5}[overlay]


def test_no_budget_forbids_the_drain_of_the_one_node_that_holds_all_pods_but_executors(rendered):
    """A pod that is to replace an evicted one waits for the scorer to leave that node, too."""
    assert all("podAffinity" in pod_of(pod)["affinity"] for pod in with_pods(rendered))
    budgets = [one["spec"]["selector"]["matchLabels"] for one in rendered if one["kind"] == "PodDisruptionBudget"]
    assert all(labels == {"app.kubernetes.io/name": "executor"} for labels in budgets)


def test_the_scorer_chooses_the_node_and_a_person_finds_it_without_a_scorer(rendered):
    chosen = {}
    for pod in with_pods(rendered):
        (term,) = pod_of(pod)["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        chosen[pod["metadata"]["name"]] = term["labelSelector"]["matchLabels"]
    commands = chosen.pop("commands")
    assert commands == {"app.kubernetes.io/part-of": "incident-risk-scorer"}
    assert {"serve", "feedback", "watch"} <= chosen.keys()
    assert all(labels == {"app.kubernetes.io/name": "scorer"} for labels in chosen.values())


def test_every_setting_is_one_that_the_product_knows(rendered):
    data = {}
    for document in rendered:
        if document["kind"] == "ConfigMap" and document["metadata"]["name"].split("-")[0] in ("settings", "store"):
            data |= document["data"]
    known = re.findall(r"^#?([A-Z0-9_]+)=", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE)
    assert {name.removesuffix("_FILE") for name in data} <= set(known)
    settings = Settings.from_environment({name: value for name, value in data.items() if "TOKEN" not in name})
    assert settings.artifacts == Path("/artifacts")
    assert settings.frames == Path("/frames")


@pytest.mark.parametrize("name", ["scorer", "feedback", "watch"])
def test_a_pod_runs_what_its_service_in_compose_runs(name):
    (document,) = (one for one in documents(f"base/{name}.yaml") if one["kind"] in ("Deployment", "StatefulSet"))
    (container,) = pod_of(document)["containers"]
    assert container["args"] == SERVICES[name]["command"]
    grace_s = int(SERVICES[name]["stop_grace_period"].removesuffix("s"))
    assert pod_of(document).get("terminationGracePeriodSeconds", 30) >= grace_s
