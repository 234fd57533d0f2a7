"""Registries of models for tests: one that is a folder, one of MLflow's without a server; and what they keep."""

import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from models.model_registry.folder import FolderRegistry
from models.model_registry.lifecycle import promote, register, retire, roll_back
from models.model_registry.sync import sync
from schemas.audit_log import record
from schemas.audit_verify import records, verify
from streaming.rehearse.broker import free_port
from tests.harness.toy import toy_artifact, toy_spec

SERVER = Path(__file__).parents[2] / "out" / "mlflow-server" / "bin" / "mlflow"
KINDS = ("folder", "mlflow")


class Desk:
    """A person with a registry, a job's folder and an audit log, all below `folder`."""

    def __init__(self, kind: str, folder: Path, *, address: str = "") -> None:
        self.kind, self.folder, self.address = kind, folder, address or f"sqlite:///{folder}/mlflow.db"
        self.copies = folder / {"folder": "registry"}.get(kind, "files")  # where the registry keeps what it was given
        self.artifacts, self.audit, self.made = folder / "artifacts", folder / "audit.jsonl", folder / "made"

    def open(self):
        """Anew: an object of MLflow's must not go through a fork."""
        if self.kind == "folder":
            return FolderRegistry(self.folder / "registry")
        from models.model_registry.mlflow import MlflowRegistry

        return MlflowRegistry(self.address)

    def make(self, count, region="toyville"):
        """The names of so many versions that training has made, older first."""
        spec = toy_spec(region=region)
        return [toy_artifact(self.made, spec, created=f"202601{day:02d}T000000Z").name for day in range(1, count + 1)]

    def note(self, event, details):
        record(self.audit, event, {**details, "by": "eve", "because": "a test"}, at_s=0)

    def made_folder(self, version, region="toyville"):
        return self.made / region / version

    def register(self, version, region="toyville"):
        return register(self.open(), self.made_folder(version, region), self.note)

    def promote(self, version, role="champion", region="toyville"):
        return promote(self.open(), region, version, role, self.note)

    def roll_back(self, region="toyville"):
        return roll_back(self.open(), region, self.note)

    def retire(self, version, region="toyville"):
        return retire(self.open(), region, version, self.note)

    def sync(self, region="toyville"):
        return sync(self.open(), self.artifacts, region, self.note)

    def state(self, region="toyville"):
        return self.open().state(region)

    def events(self):
        """Names of the audit log's records and their versions; the log must be unbroken."""
        content = self.audit.read_bytes() if self.audit.exists() else b""
        assert verify(content).faults == []
        return [(one.event, one.details.get("version")) for one in records(content)]


def mlflow_store(template: Path) -> None:
    """A new store of MLflow's at `template`; it takes some seconds."""
    from mlflow import MlflowClient
    from mlflow.environment_variables import MLFLOW_SQLALCHEMYSTORE_POOLCLASS

    MLFLOW_SQLALCHEMYSTORE_POOLCLASS.set("NullPool")  # a connection must outlive neither a fork nor the file
    MlflowClient(f"sqlite:///{template}").search_experiments()


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """The address of a real server of MLflow's with a login, as docs/how-to/registry.md asks for; files in `folder`."""
    if not SERVER.exists():
        pytest.skip("no MLflow server: uv venv out/mlflow-server, and in it uv pip install 'mlflow[auth]==3.17.2'")
    port, password = free_port(), "a password of the test"
    (folder / "auth.ini").write_text(
        f"[mlflow]\ndefault_permission = NO_PERMISSIONS\ndatabase_uri = sqlite:///{folder}/auth.db\n"
        f"admin_username = admin\nadmin_password = {password}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    words = ["server", "--app-name", "basic-auth", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    words += ["--artifacts-destination", str(folder / "files"), "--serve-artifacts", "--workers", "1"]
    environment = os.environ | {
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "of the test",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [SERVER, *words, "--host", "127.0.0.1", "--port", str(port)],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_until_it_asks_who_is_there(server, address, folder / "server.log")
        os.environ |= {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": password}
        yield address
    finally:
        for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
            os.environ.pop(name, None)
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)


def _wait_until_it_asks_who_is_there(server: subprocess.Popen, address: str, log: Path) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()
        code = 0
        try:
            urllib.request.urlopen(f"{address}/api/2.0/mlflow/registered-models/search", timeout=5)  # noqa: S310
            pytest.fail("it lets everybody in")
        except urllib.error.HTTPError as error:
            code = error.code
        except OSError:
            time.sleep(0.5)
        if code:
            assert code == 401
            return
    pytest.fail(f"it did not start: {log.read_text()}")


def emptied(folder: Path, address: str, files: Path) -> Desk:
    """A desk with a server that other tests have used."""
    from mlflow import MlflowClient

    folder.mkdir()
    desk = Desk("server", folder, address=address)
    desk.copies = files
    desk.open()
    client = MlflowClient()
    for model in client.search_registered_models():
        client.delete_registered_model(model.name)
    for experiment in client.search_experiments():
        for model in client.search_logged_models([experiment.experiment_id]):
            client.delete_logged_model(model.model_id)
    shutil.rmtree(files, ignore_errors=True)
    return desk


def desk_of(kind: str, folder: Path, template: Path) -> Desk:
    """A desk with an empty registry."""
    folder.mkdir(parents=True, exist_ok=True)
    desk = Desk(kind, folder)
    if kind == "mlflow":
        from mlflow import MlflowClient

        from models.model_registry.mlflow import EXPERIMENT

        shutil.copyfile(template, folder / "mlflow.db")
        MlflowClient(desk.address).create_experiment(EXPERIMENT, artifact_location=str(folder / "files"))
    return desk
