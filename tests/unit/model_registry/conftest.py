"""A desk for each kind of registry."""

import pytest

from tests.harness.registries import KINDS, desk_of, mlflow_store


@pytest.fixture(scope="session")
def mlflow_template(tmp_path_factory):
    """An empty store of MLflow's, to copy: its tables take seconds to make."""
    template = tmp_path_factory.mktemp("mlflow") / "empty.db"
    mlflow_store(template)
    return template


@pytest.fixture(params=KINDS)
def desk(request, tmp_path):
    template = request.getfixturevalue("mlflow_template") if request.param == "mlflow" else None
    return desk_of(request.param, tmp_path, template)
