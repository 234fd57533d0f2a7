"""The recipe's limits and its file."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.features import feature_names
from models.hyperparameters import (
    DEFAULT,
    LEAST_WIDTH,
    MOST_WIDTH,
    Hyperparameters,
    RecipeFile,
    read_recipe,
    write_recipe,
)
from schemas.errors import DataError
from schemas.limits import MAX_CATEGORIES, MAX_HORIZONS, MAX_WEIGHTS_BYTES
from tests.harness.toy import toy_tuned_on

TUNED_ON = toy_tuned_on(trials=30)
KEPT = Path(__file__).parents[3] / "docs" / "evaluation"
WIDTHS = st.integers(LEAST_WIDTH, MOST_WIDTH)


def recipes():
    return st.builds(
        Hyperparameters,
        widths=st.tuples(WIDTHS, WIDTHS),
        learning_rate=st.floats(1e-6, 1),
        weight_decay=st.floats(0, 10),
        minibatch=st.integers(16, 10**6),
        patience=st.integers(1, 100),
    )


@given(recipe=recipes())
def test_a_recipe_comes_back_from_its_file_as_it_was(tmp_path_factory, recipe):
    path = tmp_path_factory.mktemp("recipe") / "recipe.json"
    write_recipe(path, recipe, TUNED_ON)
    assert read_recipe(path) == RecipeFile(recipe=recipe, tuned_on=TUNED_ON)
    assert json.loads(path.read_text())["tuned_on"]["trials"] == 30


def test_a_recipe_that_a_person_wrote_needs_no_more_than_what_differs(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text('{"recipe": {"weight_decay": 0}}')
    assert read_recipe(path) == RecipeFile(recipe=Hyperparameters(weight_decay=0.0))


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("widths", [7, 32], "width of 7: choose 8 to 128"),
        ("widths", [64, 129], "width of 129: choose 8 to 128"),
        ("widths", [64], r"length 2.*recipe\.widths"),
        ("widths", [64.5, 32], r"`int`.*recipe\.widths"),
        ("learning_rate", 0, "learning_rate of 0: choose 1e-06 to 1"),
        ("learning_rate", "fast", r"`float`.*recipe\.learning_rate"),
        ("weight_decay", -0.1, "weight_decay of -0.1: choose 0 to 10"),
        ("minibatch", 15, "minibatch of 15: choose 16"),
        ("patience", 0, "patience of 0: choose 1 to 100"),
        ("epochs", 12, "unknown field `epochs`"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_value_and_the_remedy(tmp_path, field, value, said):
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps({"recipe": {field: value}}))
    with pytest.raises(DataError, match=said) as refused:
        read_recipe(path)
    assert str(path) in str(refused.value)
    assert "models tune" in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"{}", b"widths: 64", b"\xff", b'{"recipe": {}, "epochs": 3}'])
def test_a_file_of_something_else_is_no_recipe(tmp_path, content):
    path = tmp_path / "recipe.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match="is no recipe"):
        read_recipe(path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.json cannot be read \(No such file"):
        read_recipe(tmp_path / "none.json")


def test_a_number_that_is_none_is_refused():
    with pytest.raises(DataError, match="learning_rate of nan"):
        Hyperparameters(learning_rate=float("nan"))


@pytest.mark.parametrize("kept", sorted(KEPT.glob("*.json")), ids=lambda path: path.stem)
def test_the_default_is_what_the_published_figures_were_measured_with(kept):
    recipe = json.loads(kept.read_text(encoding="utf-8"))["recipe"]
    assert Hyperparameters(**recipe | {"widths": tuple(recipe["widths"])}) == DEFAULT


def test_the_largest_network_that_a_recipe_allows_fits_into_an_artifact():
    first, second = Hyperparameters(widths=(MOST_WIDTH, MOST_WIDTH)).widths
    features = len(feature_names(tuple(f"{hours}h" for hours in range(1, MAX_HORIZONS + 1))))
    scaling = 2 * features
    linear = (features + MAX_CATEGORIES) * MAX_HORIZONS
    layers = (features + 1) * first + MAX_CATEGORIES * first + (first + 1) * second + (second + 1) * MAX_HORIZONS
    assert 4 * (scaling + linear + layers) + 4096 < MAX_WEIGHTS_BYTES
