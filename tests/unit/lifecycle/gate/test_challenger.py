"""How a challenger is made from a champion: by its recipe."""

from msgspec.structs import replace

from lifecycle.retraining.challenger import recipe_of
from models.artifact.artifact import read_artifact
from models.hyperparameters import DEFAULT, Hyperparameters, TunedOn
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
