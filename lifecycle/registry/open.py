"""Opens a registry by its address."""

from pathlib import Path

from lifecycle.registry.contract import ModelRegistry
from lifecycle.registry.folder import FolderRegistry
from schemas.errors import RegistryError, not_installed

MLFLOW = "mlflow:"


def open_registry(address: str) -> ModelRegistry:
    """`mlflow:URI`, or the path of a folder."""
    if not address.startswith(MLFLOW):
        return FolderRegistry(Path(address))
    uri = address.removeprefix(MLFLOW)
    if "@" in uri:
        raise RegistryError("the registry's address has a login in it", "write it into ~/.mlflow/credentials")
    try:
        from lifecycle.registry.mlflow import MlflowRegistry
    except ModuleNotFoundError as error:
        raise not_installed(error, "registry") from error
    return MlflowRegistry(uri)
