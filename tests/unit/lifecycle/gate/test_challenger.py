"""How a challenger is made from a champion: by its recipe, and by the values of its outside series."""

import pytest
from msgspec.structs import replace

from lifecycle.gate.plan import GatePlan
from lifecycle.retraining.challenger import recipe_of, registered_challenger
from models.artifact.artifact import read_artifact
from models.features import features_of
from models.hyperparameters import DEFAULT, Hyperparameters, TunedOn
from models.training.regions import RegionTask
from schemas.errors import GateClosed
from schemas.spec import CovariateSeries
from tests.harness.toy import toy_artifact, toy_spec

TUNED = TunedOn(data_sha256="0" * 64, layout="x", cell_m=1000, task="x", objective="x", seed=1, trials=30, made_at="x")


def test_the_recipe_is_the_champions_with_what_it_was_tuned_on(tmp_path):
    manifest = read_artifact(toy_artifact(tmp_path, toy_spec())).manifest
    recipe = Hyperparameters(network="conv", widths=(24, 16), patience=7)
    made = recipe_of(replace(manifest, network="conv", recipe=recipe, tuned_on=TUNED))
    assert (made.recipe, made.tuned_on) == (recipe, TUNED)


def test_of_a_champion_without_a_recipe_the_kind_of_network_stays(tmp_path):
    manifest = replace(read_artifact(toy_artifact(tmp_path, toy_spec())).manifest, recipe=None)
    assert recipe_of(manifest).recipe == DEFAULT
    made = recipe_of(replace(manifest, network="conv"))
    assert (made.recipe, made.tuned_on) == (replace(DEFAULT, network="conv"), None)


def test_without_the_values_of_its_outside_series_a_champion_gets_none_before_any_data_are_read(tmp_path):
    spec = toy_spec(covariates=(CovariateSeries(name="rain", max_age_hours=24),))
    folder = toy_artifact(tmp_path / "artifacts", replace(spec, features=features_of(spec)))
    task = RegionTask(data=str(tmp_path / "nowhere.csv"), layout="town", region=spec.region)
    with pytest.raises(GateClosed, match="the champion of toyville uses the outside series rain") as refused:
        registered_challenger(None, read_artifact(folder), task, GatePlan(), tmp_path, lambda *_: None)
    assert "as covariates" in refused.value.remedy
