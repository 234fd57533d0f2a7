"""A town whose champion is old, and the same with a challenger on trial. Trained once."""

import shutil

import msgspec
import pytest

from models.artifact import champion_of
from models.network_kinds import Hyperparameters, RecipeFile
from tests.harness.gate_town import Town, date, write_shifting_town
from tests.harness.made_examples import one_penalty

RECIPE = RecipeFile(recipe=Hyperparameters(widths=(24, 16), learning_rate=2e-3))


@pytest.fixture(scope="session")
def opened_town(tmp_path_factory):
    """A town with a champion of its first 25 days."""
    town = Town(tmp_path_factory.mktemp("opened"))
    write_shifting_town(town.folder / "town.csv")
    recipe = town.folder / "recipe.json"
    recipe.write_bytes(msgspec.json.encode(RECIPE))
    with one_penalty():
        town.command("train", town.task(recipe=recipe, until=date(25)), "--out", town.folder / "made")
    town.command("promote", champion_of(town.folder / "made", "town").folder, "--because", "the first")
    return town


@pytest.fixture
def town(opened_town, tmp_path):
    shutil.copytree(opened_town.folder, tmp_path, dirs_exist_ok=True)
    return Town(tmp_path)


@pytest.fixture(scope="session")
def tried(opened_town, tmp_path_factory):
    """The town with a challenger that retraining has made."""
    folder = tmp_path_factory.mktemp("tried")
    shutil.copytree(opened_town.folder, folder, dirs_exist_ok=True)
    town = Town(folder)
    with one_penalty():
        town.said = town.retrain()
    return town


@pytest.fixture
def trial(tried, tmp_path):
    shutil.copytree(tried.folder, tmp_path, dirs_exist_ok=True)
    return Town(tmp_path)
