"""Registries of models for tests: one that is a folder, one of MLflow's without a server; and what they keep."""

import shutil
from pathlib import Path

from models.model_registry.folder import FolderRegistry
from models.model_registry.lifecycle import promote, register, retire, roll_back
from models.model_registry.sync import sync
from schemas.audit_log import record
from schemas.audit_verify import records, verify
from tests.harness.toy import toy_artifact, toy_spec

KINDS = ("folder", "mlflow")


class Desk:
    """A person with a registry, a job's folder and an audit log, all below `folder`."""

    def __init__(self, kind: str, folder: Path, *, address: str = "") -> None:
        self.kind, self.folder, self.address = kind, folder, address or f"sqlite:///{folder}/mlflow.db"
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

    MlflowClient(f"sqlite:///{template}").search_experiments()


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
