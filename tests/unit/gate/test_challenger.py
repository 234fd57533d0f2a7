"""How a challenger is made from a champion: not beside outside series."""

import pytest
from msgspec.structs import replace

from models.artifact.artifact import read_artifact
from models.features import features_of
from models.gate.challenger import registered_challenger
from models.gate.plan import GatePlan
from models.training.regions import RegionTask
from schemas.errors import GateClosed
from schemas.spec import CovariateSeries
from tests.harness.toy import toy_artifact, toy_spec


def test_a_champion_with_outside_series_is_refused_before_any_data_are_read(tmp_path):
    spec = toy_spec(covariates=(CovariateSeries(name="rain", max_age_hours=24),))
    folder = toy_artifact(tmp_path / "artifacts", replace(spec, features=features_of(spec)))
    task = RegionTask(data=str(tmp_path / "nowhere.csv"), layout="town", region=spec.region)
    with pytest.raises(GateClosed, match="uses the outside series rain") as refused:
        registered_challenger(None, read_artifact(folder), task, GatePlan(), tmp_path, lambda *_: None)
    assert f"--like {folder} and --covariates" in refused.value.remedy
    assert "registry promote toyville VERSION" in refused.value.remedy
