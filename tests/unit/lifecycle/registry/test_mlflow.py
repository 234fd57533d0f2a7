"""What MLflow's own pages show of a version, and how a server that is away, or that others wrote to, is reported."""

import time

import pytest

from lifecycle.cli import open_registry
from lifecycle.registry import register
from schemas.errors import RegistryError
from streaming.rehearse.broker import free_port
from tests.harness.region_bench import empty_history
from tests.harness.registries import PAGE_FILES, desk_at, evaluation_folder
from tests.harness.toy import publish_artifact, toy_constants, toy_network, toy_spec
from tests.unit.lifecycle.registry.conftest import registered


@pytest.fixture
def desk(request, tmp_path, mlflow_template):
    return desk_at(request, "mlflow", tmp_path)


def test_mlflow_shows_a_version_with_its_figures_its_files_and_its_role(desk):
    from mlflow import MlflowClient

    spec = toy_spec()
    parts = {"constants": toy_constants(spec), "network": toy_network(spec), "history": empty_history(spec, 0)}
    rows = [{"horizon": "1h", "network_log_score": 0.25, "verdict": "tie"}, {"horizon": "4h", "network_log_score": 0.5}]
    version = publish_artifact(desk.made, spec=spec, evaluation=rows, **parts).name
    desk.register(version)
    desk.promote(version)
    client = MlflowClient(desk.address)
    shown = client.get_model_version_by_alias("incident-risk-toyville", "champion")
    assert shown.tags["version"] == version
    model = client.get_logged_model(shown.source.removeprefix("models:/"))
    assert (model.name, str(model.status)) == (version, "READY")
    assert {metric.key: metric.value for metric in model.metrics} == {
        "1h/network_log_score": 0.25,
        "4h/network_log_score": 0.5,
    }
    assert sorted(entry.path for entry in client.list_logged_model_artifacts(model.model_id)) == [
        "baseline.npz",
        "card.md",
        "history.npz",
        "manifest.json",
        "weights.safetensors",
    ]


def test_the_page_of_an_evaluation_is_an_artifact_of_the_version(desk, tmp_path):
    """Given at once or later; what is fetched is the artifact alone."""
    from mlflow import MlflowClient

    (version,) = desk.make(1)
    page = evaluation_folder(tmp_path / "judged")
    desk.register(version)
    register(desk.open(), desk.made_folder(version), desk.note, page)
    client = MlflowClient(desk.address)
    shown = client.get_model_version("incident-risk-toyville", "1")
    files = client.list_logged_model_artifacts(shown.source.removeprefix("models:/"), "evaluation")
    assert sorted(file.path for file in files) == [f"evaluation/{name}" for name in PAGE_FILES]
    assert [name for name, _ in desk.events()] == ["model_registered"]
    desk.promote(version)
    assert desk.sync().copied == (version,)


def test_what_another_hand_wrote_into_mlflow_is_refused_and_not_followed(desk):
    from mlflow import MlflowClient

    (version,) = registered(desk, 1)
    client = MlflowClient(desk.address)
    foreign = client.create_model_version("incident-risk-toyville", source=str(desk.made))
    assert list(desk.state().manifests) == [version]
    client.set_registered_model_alias("incident-risk-toyville", "champion", foreign.version)
    with pytest.raises(RegistryError, match=r"cannot be used .*champion"):
        desk.sync()
    client.set_registered_model_alias("incident-risk-toyville", "champion", "1")
    client.set_model_version_tag("incident-risk-toyville", "1", "version", "../../elsewhere")
    with pytest.raises(RegistryError, match="cannot be used"):
        desk.sync()


def test_a_server_that_is_away_is_named_soon():
    begun_s = time.monotonic()
    with pytest.raises(RegistryError, match="check the address, that the server runs"):
        open_registry(f"mlflow:http://127.0.0.1:{free_port()}").regions()
    assert time.monotonic() - begun_s < 60
