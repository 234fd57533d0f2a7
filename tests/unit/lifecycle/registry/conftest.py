"""A desk for each kind of registry."""

import pytest

from tests.harness.registries import ALL_KINDS, Desk, desk_at, mlflow_server, mlflow_store


@pytest.fixture(scope="session")
def mlflow_template(tmp_path_factory):
    """An empty store of MLflow's, to copy: its tables take seconds to make."""
    template = tmp_path_factory.mktemp("mlflow") / "empty.db"
    mlflow_store(template)
    return template


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """The address of a real server and the folder of its files."""
    folder = tmp_path_factory.mktemp("server")
    with mlflow_server(folder) as address:
        yield address, folder / "files"


@pytest.fixture
def desk(tmp_path):
    return Desk("folder", tmp_path)


@pytest.fixture(params=ALL_KINDS)
def any_desk(request, tmp_path, mlflow_template):
    return desk_at(request, request.param, tmp_path)
