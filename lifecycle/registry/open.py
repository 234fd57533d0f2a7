"""Opens a registry by its address."""

from pathlib import Path

from lifecycle.registry.contract import ModelRegistry
from lifecycle.registry.folder import FolderRegistry
from schemas.errors import RegistryError, needs_extra

MLFLOW = "mlflow:"


def open_registry(address: str) -> ModelRegistry:
    """`mlflow:URI`, or the path of a folder."""
    if not address.startswith(MLFLOW):
        return FolderRegistry(Path(address))
    uri = address.removeprefix(MLFLOW)
    if "@" in uri:
        raise RegistryError("the registry's address has a login in it", "write it into ~/.mlflow/credentials")
    with needs_extra("registry"):
        from lifecycle.registry.mlflow import MlflowRegistry
    return MlflowRegistry(uri)
