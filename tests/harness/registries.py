"""Registries of models for tests: one that is a folder, one of MLflow's without a server; and what they keep."""

import configparser
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
from typing import Any

import pytest

from lifecycle.registry import FolderRegistry, promote, register, retire, roll_back, sync
from schemas.audit import record, records, verify
from schemas.records import read_pointer
from streaming.rehearse.broker import free_port
from tests.harness.toy import toy_artifact, toy_spec

ROOT = Path(__file__).parents[2]
SERVER, MLFLOW = ROOT / "out" / "mlflow-server" / "bin", ROOT / "deploy" / "mlflow"
LOGIN = ("USERNAME", "PASSWORD")
ALL_KINDS = ("folder", "mlflow", pytest.param("server", marks=pytest.mark.store))


PAGE_FILES = ["calibration.png", "evaluation.json", "index.html"]


def evaluation_folder(folder):
    """As `risk evaluate` leaves one, with a file that is no part of the page."""
    folder.mkdir()
    for name in (*PAGE_FILES, "spark.log"):
        (folder / name).write_text(f"{name} of a test", encoding="utf-8")
    return folder


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
        from lifecycle.mlflow_registry import MlflowRegistry

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

    def registered(self, count):
        """The names of so many versions, older first, that have no role."""
        versions = self.make(count)
        for version in versions:
            self.register(version)
        return versions

    def scoring(self):
        """The name of a version that is the champion and lies in the job's folder."""
        (version,) = self.registered(1)
        self.promote(version)
        self.sync()
        return version

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

    def pointer(self, region="toyville"):
        return read_pointer(self.artifacts, region)

    def stored(self, name):
        """The registry's own copies of a file."""
        copies = list(self.copies.rglob(name))
        assert copies
        return copies

    def events(self):
        """Names of the audit log's records and their versions; the log must be unbroken."""
        content = self.audit.read_bytes() if self.audit.exists() else b""
        assert verify(content).faults == []
        return [(entry.event, entry.details.get("version")) for entry in records(content)]


def mlflow_store(template: Path) -> None:
    """A new store of MLflow's at `template`, for a desk beside it; it takes some seconds."""
    from mlflow import MlflowClient
    from mlflow.environment_variables import MLFLOW_SQLALCHEMYSTORE_POOLCLASS

    from lifecycle.mlflow_registry import EXPERIMENT

    MLFLOW_SQLALCHEMYSTORE_POOLCLASS.set("NullPool")  # a connection must outlive neither a fork nor the file
    files = template.with_name("desk") / "files"
    MlflowClient(f"sqlite:///{template}").create_experiment(EXPERIMENT, artifact_location=str(files))


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """The address of a real server of MLflow's, started as deploy/mlflow/start.sh does; its files in `folder`."""
    if not (SERVER / "mlflow").exists():
        pytest.skip("no MLflow server: uv venv out/mlflow-server, and in it uv pip install 'mlflow[auth]==3.17.2'")
    subprocess.run(["/bin/sh", MLFLOW / "make-secrets.sh", folder / "secrets"], check=True)
    port, login = free_port(), folder / "secrets" / "mlflow_login"
    login.write_text(login.read_text().replace("/mlflow/", f"{folder}/"))
    made = configparser.ConfigParser()
    made.read(login)
    here = {" /mlflow/": f" {folder}/", "///mlflow/": f"//{folder}/", "/run/secrets": str(folder / "secrets")}
    start = (MLFLOW / "start.sh").read_text()
    for there, place in (here | {"0.0.0.0": "127.0.0.1", "5000": str(port)}).items():  # noqa: S104
        assert there in start
        start = start.replace(there, place)
    path = f"{SERVER}:{os.environ['PATH']}"
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            ["/bin/sh", "-c", start],
            env=os.environ | {"PATH": path},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    names = {f"MLFLOW_TRACKING_{name}": made["mlflow"][f"mlflow_tracking_{name.lower()}"] for name in LOGIN}
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_until_it_asks_who_is_there(server, address, folder / "server.log")
        os.environ |= names
        yield address
    finally:
        for name in names:
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

    folder.mkdir(exist_ok=True)
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


def desk_at(request: Any, kind: str, tmp_path: Path) -> Desk:
    """A desk of that kind with an empty registry. All that it has lies in its folder, so that a test may copy it.

    MLflow's stands at one place in all tests: MLflow keeps what it has learned of a store by the store's address.
    """
    if kind == "server":
        return emptied(tmp_path / "desk", *request.getfixturevalue("server"))
    folder = tmp_path / "desk"
    if kind == "mlflow":
        template = request.getfixturevalue("mlflow_template")
        folder = template.with_name("desk")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        shutil.copyfile(template, folder / "mlflow.db")
    else:
        folder.mkdir()
    return Desk(kind, folder)
