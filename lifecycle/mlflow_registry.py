"""A registry in MLflow: a registered model for each region, a LoggedModel for each version.

Roles are the aliases `champion` and `challenger`; the rest of the state is in tags, which no alias may have. MLflow
cannot change several of them at once: the order of the calls, and `consistent`, let a kill between any two leave the
state of before or of after. MLflow asks no one to wait, so two people who change a region at the same moment both
succeed, and the later one stays.

Only `open_registry` imports this file: MLflow takes two seconds to import. No model of MLflow's own is
ever loaded, only files are stored and fetched.
"""

import logging
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
import msgspec
from mlflow import MlflowClient
from mlflow import environment_variables as mlflow_settings
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.telemetry import set_telemetry_client

from lifecycle.registry import consistent, copy_evaluation, copy_files, registered
from models.artifact import Manifest, read_manifest
from schemas.errors import RegistryError
from schemas.files import write_errors
from schemas.records import RegionState
from schemas.spec import SLUG

EXPERIMENT = "incident-risk"
_PREFIX = f"{EXPERIMENT}-"  # of the registered models' names
_VERSION, _DIGEST, _RETIRED, _BEFORE = "version", "manifest_sha256", "retired", "champions_before"


class MlflowRegistry:
    """Versions and roles on the server at `address`."""

    def __init__(self, address: str) -> None:
        mlflow_settings.MLFLOW_DISABLE_TELEMETRY.set("true")  # or it reports its use to its makers
        set_telemetry_client()
        mlflow_settings.MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set("false")
        mlflow_settings.MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT.set("true")
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        for setting, value in (
            (mlflow_settings.MLFLOW_HTTP_REQUEST_MAX_RETRIES, "2"),
            (mlflow_settings.MLFLOW_HTTP_REQUEST_TIMEOUT, "30"),
        ):
            if not setting.is_set():  # MLflow's own let a person wait for minutes
                setting.set(value)
        self.address = address
        mlflow.set_tracking_uri(address)  # MLflow opens clients of its own in places
        mlflow.set_registry_uri(address)
        self._client = MlflowClient()

    def regions(self) -> list[str]:
        with self._errors():
            models = list(_pages(lambda page: self._client.search_registered_models(page_token=page)))
        names = (model.name.removeprefix(_PREFIX) for model in models if model.name.startswith(_PREFIX))
        return sorted(name for name in names if re.fullmatch(SLUG, name))

    def state(self, region: str) -> RegionState:
        return consistent(self._read(region)[0])

    def add(
        self, region: str, folder: Path, digest: str, announce: Callable[[], None], evaluation: Path | None = None
    ) -> None:
        """Upload the artifact with the figures of its training, and the page, then enter it."""
        state = self.state(region)
        is_known = registered(state, folder.name, digest) == state
        if is_known and evaluation is None:
            return
        if not is_known:
            announce()
        manifest = read_manifest(folder)
        tags = {_VERSION: folder.name, _DIGEST: digest, "spec": manifest.spec_fingerprint}
        with self._errors(), write_errors(RegistryError, f"the registry {self.address}"):
            if self._model(region) is None:
                self._client.create_registered_model(_PREFIX + region)
            model_id = self._uploaded(folder, manifest, tags)
            if evaluation:
                with tempfile.TemporaryDirectory() as clean:
                    copy_evaluation(evaluation, Path(clean) / "evaluation")
                    self._client.log_model_artifacts(model_id, clean)
            if is_known:
                return
            self._client.create_model_version(
                _PREFIX + region, source=f"models:/{model_id}", model_id=model_id, tags=tags, await_creation_for=0
            )

    def change(self, region: str, rule: Callable[[RegionState], RegionState]) -> RegionState:
        """Make the calls in an order that may be interrupted."""
        stored, numbers = self._read(region)
        after = rule(consistent(stored))
        name, client = _PREFIX + region, self._client
        with self._errors():
            for version in sorted({*after.retired} - {*stored.retired}):
                client.set_model_version_tag(name, numbers[version], _RETIRED, "true")
            grows = len(after.before) >= len(stored.before)
            if after.before != stored.before and grows:
                self._remember(name, after)
            for alias in ("champion", "challenger"):
                version = getattr(after, alias)
                if version and version != getattr(stored, alias):
                    client.set_registered_model_alias(name, alias, numbers[version])
            if after.before != stored.before and not grows:
                self._remember(name, after)
            if stored.challenger and after.challenger is None:
                client.delete_registered_model_alias(name, "challenger")
        return after

    def fetch(self, region: str, version: str, to: Path) -> None:
        """Download the version beside `to`, and copy the files that an artifact has."""
        _, numbers = self._read(region)
        address = f"models:/{_PREFIX}{region}/{numbers[version]}"
        try:
            with tempfile.TemporaryDirectory(dir=to.parent) as folder, self._errors():
                copy_files(Path(mlflow.artifacts.download_artifacts(address, dst_path=folder)), to)
        except OSError as error:
            remedy = "restore that version's files in MLflow from a copy, or promote another version"
            raise RegistryError(f"{address} at {self.address} cannot be copied ({error})", remedy) from error

    def _read(self, region: str) -> tuple[RegionState, dict[str, str]]:
        """The state as it is stored, and MLflow's number of each version."""
        query = f"name='{_PREFIX}{region}'"
        with self._errors():
            model = self._model(region)
            if model is None:
                return RegionState(), {}
            versions = list(_pages(lambda page: self._client.search_model_versions(query, page_token=page)))
        # Of two that are alike, the first one counts
        ordered = sorted(versions, key=lambda version: -int(version.version))
        tags = {str(version.version): version.tags for version in ordered if _VERSION in version.tags}
        numbers = {of_version[_VERSION]: number for number, of_version in tags.items()}
        try:
            fields = {
                "manifests": {version: tags[number].get(_DIGEST) for version, number in numbers.items()},
                "retired": sorted(version for version, number in numbers.items() if _RETIRED in tags[number]),
                "before": msgspec.json.decode(model.tags.get(_BEFORE, "[]")),
            }
            for alias in ("champion", "challenger"):
                if number := model.aliases.get(alias):
                    fields[alias] = tags.get(str(number), {}).get(_VERSION, "")
            return msgspec.convert(fields, RegionState), numbers
        except msgspec.DecodeError as error:
            remedy = "correct the tags and aliases in MLflow; the audit log has every change"
            raise RegistryError(f"{_PREFIX}{region} at {self.address} cannot be used ({error})", remedy) from error

    def _model(self, region: str) -> Any:
        """The registered model of the region; None when there is none."""
        if not re.fullmatch(SLUG, region):
            raise RegistryError(f"{region!r} is no region's name", "use a-z, 0-9, - and _")
        try:
            return self._client.get_registered_model(_PREFIX + region)
        except MlflowException as error:
            if error.error_code == ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
                return None
            raise

    def _uploaded(self, folder: Path, manifest: Manifest, tags: dict[str, str]) -> str:
        """The id of the LoggedModel with these files; one that an interrupted upload left unfinished is deleted."""
        client, named = self._client, self._client.get_experiment_by_name(EXPERIMENT)
        experiment = str(named.experiment_id if named else client.create_experiment(EXPERIMENT))
        for upload in client.search_logged_models([experiment], filter_string=f"name = '{folder.name}'"):
            if upload.status == "READY" and upload.tags.get(_DIGEST) == tags[_DIGEST]:
                return str(upload.model_id)
            client.delete_logged_model(upload.model_id)
        run = client.create_run(experiment, run_name=folder.name, tags=tags)
        model = client.create_logged_model(
            experiment, name=folder.name, source_run_id=run.info.run_id, tags=tags, params={"seed": str(manifest.seed)}
        )
        with tempfile.TemporaryDirectory() as clean:
            copy_files(folder, Path(clean))
            client.log_model_artifacts(model.model_id, clean)
        figures = [  # of the evaluation in the manifest, as `1h/network_log_score`
            Metric(f"{row.get('horizon', '')}/{name}".strip("/"), float(value), 0, 0, model_id=model.model_id)
            for row in manifest.evaluation
            for name, value in row.items()
            if not isinstance(value, str)
        ]
        client.log_batch(run.info.run_id, metrics=figures)
        client.finalize_logged_model(model.model_id, "READY")
        client.set_terminated(run.info.run_id)
        return str(model.model_id)

    def _remember(self, name: str, state: RegionState) -> None:
        self._client.set_registered_model_tag(name, _BEFORE, msgspec.json.encode(state.before).decode())

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """An error of MLflow's as RegistryError."""
        try:
            yield
        except MlflowException as error:
            remedy = "check the address, that the server runs, and the login"
            raise RegistryError(f"MLflow at {self.address}: {str(error)[:300]}", remedy) from error


def _pages(search: Callable[[str | None], Any]) -> Iterator[Any]:
    """All that a search finds; `search` gives the page of a token."""
    token = None
    while True:
        page = search(token)
        yield from page
        if not (token := page.token):
            return
