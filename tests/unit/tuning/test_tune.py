"""Tuning and the recipe: that a search goes on where it stopped, when a recipe replaces the default, and its file."""

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial

from models.artifact import Training, newest_artifacts, read_artifact
from models.commands import result_in_words
from models.features import feature_names
from models.network_kinds import (
    DEFAULT,
    LEAST_WIDTH,
    MOST_WIDTH,
    Hyperparameters,
    RecipeFile,
    read_recipe,
    write_recipe,
)
from models.tuning import SPACE, open_study, tune
from schemas.errors import DataError, SettingsError
from schemas.limits import MAX_CATEGORIES, MAX_HORIZONS, MAX_WEIGHTS_BYTES
from tests.harness.gate_town import command
from tests.harness.small_town import LAYOUT, task_file, write_town
from tests.harness.toy import toy_tuned_on

pytestmark = pytest.mark.usefixtures("quick_training")
TUNED_ON = toy_tuned_on()


def valley(recipe, fold, seed):
    """Least at a learning rate of 6e-4 and small widths; folds differ, seeds hardly."""
    off = np.log(recipe.learning_rate / 6e-4) ** 2 / 20 + sum(recipe.widths) / 5000
    return 0.9 + off + 0.01 * fold + 1e-5 * (seed % 3)


def search(journal, *, trials=14, seed=0, loss=valley):
    tuned_on = msgspec.structs.replace(TUNED_ON, seed=seed, trials=trials)
    return tune(open_study(journal, tuned_on), loss, tuned_on, report=lambda what, share: None)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    journal = tmp_path_factory.mktemp("whole") / "journal"
    return journal, search(journal)


def test_the_default_is_the_first_trial_and_equal_seeds_try_equal_recipes(whole, tmp_path):
    _, tuned = whole
    assert (len(tuned.trials), tuned.trials[0].recipe) == (14, DEFAULT)
    assert search(tmp_path / "again") == tuned
    other = search(tmp_path / "other", seed=1)
    assert other.trials[0].recipe == DEFAULT
    assert other.trials[1].recipe != tuned.trials[1].recipe


def test_a_search_that_found_something_looks_closer_there(tmp_path):
    tuned = search(tmp_path / "journal", trials=40)
    distance = [abs(np.log(trial.recipe.learning_rate / 6e-4)) for trial in tuned.trials]
    assert np.mean(distance[-15:]) < np.mean(distance[1:11]) / 1.5  # the first ten are drawn evenly


@pytest.mark.parametrize("share", np.linspace(0, 1, 5))
def test_a_journal_that_ends_anywhere_is_gone_on_with_to_the_same_end(whole, tmp_path, share):
    journal, tuned = whole
    written = journal.read_bytes()
    torn = tmp_path / "journal"
    torn.write_bytes(written[: round(share * len(written))])
    assert search(torn) == tuned


def test_a_search_that_was_interrupted_twice_in_a_trial_goes_on_to_the_same_end(whole, tmp_path):
    calls = iter(range(1000))

    def interrupted(recipe, fold, seed):
        if next(calls) in (1, 8):
            raise KeyboardInterrupt
        return valley(recipe, fold, seed)

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            search(tmp_path / "journal", loss=interrupted)
    assert search(tmp_path / "journal", loss=interrupted) == whole[1]


def test_more_trials_go_on_from_those_that_there_are_and_no_seed_is_run_again(tmp_path):
    few = search(tmp_path / "journal", trials=6)
    more = search(tmp_path / "journal", trials=9)
    assert more.trials[:6] == few.trials
    assert len(more.trials) == 9
    assert search(tmp_path / "journal", trials=9, loss=lambda *_: pytest.fail("run again")) == more


def test_the_default_lies_in_the_space():
    first, second = DEFAULT.widths
    values = msgspec.structs.asdict(DEFAULT) | {"first": first, "second": second}
    create_trial(params={name: values[name] for name in SPACE}, distributions=SPACE, value=0.0)  # raises if it does not


def late(recipe, fold, seed):
    """Some are far better in the last fold alone, so that others come to lie above the median there."""
    return valley(recipe, fold, seed) - 0.3 * (fold == 2) * (recipe.patience < 5)


@pytest.mark.parametrize("loss", [valley, late])
def test_a_trial_above_the_median_is_given_up_and_marked(tmp_path, loss):
    tuned = search(tmp_path / "journal", trials=30, loss=loss)
    pruned = [trial for trial in tuned.trials if trial.pruned]
    assert 3 < len(pruned) < 27
    for trial in tuned.trials:
        before = [other for other in tuned.trials[: trial.number] if not other.pruned]
        judged = min(len(trial.losses), 2) if len(before) >= 5 else 0  # after the last fold nothing is saved
        medians = [np.median([other.losses[fold] for other in before]) for fold in range(judged)]
        above = [min(trial.losses[: fold + 1]) > median for fold, median in enumerate(medians)]
        assert above == [False] * (len(above) - trial.pruned) + [True] * trial.pruned
        assert (len(trial.losses) < 3) is trial.pruned
    assert not tuned.best.pruned
    study = open_study(tmp_path / "journal", TUNED_ON)
    assert [trial.state == TrialState.PRUNED for trial in study.trials] == [trial.pruned for trial in tuned.trials]


def test_the_value_of_a_trial_is_the_mean_of_its_folds(whole):
    for trial in whole[1].trials:
        each = [valley(trial.recipe, fold, 0) for fold in range(len(trial.losses))]
        assert trial.losses == pytest.approx(np.cumsum(each) / np.arange(1, len(each) + 1))


def test_a_recipe_that_is_better_by_more_than_seeds_differ_replaces_the_default(whole):
    tuned = whole[1]
    assert tuned.compared.seeds == (1, 2, 3)
    assert tuned.compared.gain == pytest.approx(
        np.mean([valley(DEFAULT, fold, 0) - valley(tuned.best.recipe, fold, 0) for fold in range(3)])
    )
    assert tuned.compared.spread == pytest.approx(2e-5)
    assert tuned.chosen == tuned.best.recipe != DEFAULT
    first, over_seeds, last = result_in_words(tuned)
    assert f"trial {tuned.best.number} has {1 - tuned.best.loss / tuned.trials[0].loss:.3%} less loss" in first
    assert f"default {np.mean(tuned.compared.default):.5f} (" in over_seeds
    assert last.endswith(f"trial {tuned.best.number} becomes the recipe")


def lucky(recipe, fold, seed):
    """Any other recipe is better with the seed of the search, and with no other one."""
    return 1 - (0.01 if seed == 0 and recipe != DEFAULT else 0) + 0.001 * seed


def slight(recipe, fold, seed):
    """Any other recipe is better by less than seeds differ."""
    return 1 - (0.001 if recipe != DEFAULT else 0) + 0.002 * seed


def harmful(recipe, fold, seed):
    return 1.0 if recipe == DEFAULT else 1.1


@pytest.mark.parametrize(("loss", "gain", "spread"), [(lucky, 0, 0.002), (slight, 0.001, 0.004)])
def test_a_recipe_that_was_lucky_with_one_seed_or_gains_less_than_seeds_differ_does_not(tmp_path, loss, gain, spread):
    tuned = search(tmp_path / "journal", loss=loss)
    assert tuned.best.recipe != DEFAULT
    assert (tuned.compared.gain, tuned.compared.spread) == (pytest.approx(gain), pytest.approx(spread))
    assert tuned.chosen == DEFAULT
    assert result_in_words(tuned)[-1].endswith("the default stays")


def test_where_nothing_beats_the_default_nothing_is_compared(tmp_path):
    tuned = search(tmp_path / "journal", loss=harmful)
    assert result_in_words(tuned) == ["no trial is better than the default on the same folds: the default stays"]
    assert (tuned.best.number, tuned.compared, tuned.chosen) == (0, None, DEFAULT)


def test_the_journal_of_another_search_is_refused_by_what_differs(whole):
    with pytest.raises(DataError, match=r"other settings \(data_sha256 was 0 and is 1, seed was 0 and is 4\): give"):
        open_study(whole[0], msgspec.structs.replace(TUNED_ON, data_sha256="1", seed=4, trials=99))


@pytest.mark.parametrize("content", [b"{}\n", b"null\n", b"no journal\nof ours\n", b"[1]\n{}\n"])
def test_a_journal_that_is_none_is_refused(tmp_path, content):
    (tmp_path / "journal").write_bytes(content)
    with pytest.raises(DataError, match="cannot be used"):
        open_study(tmp_path / "journal", TUNED_ON)


# --- The commands -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """run(command, *options, **fields of the task): what it printed."""
    data = write_town(tmp_path_factory.mktemp("command") / "incidents.csv", seed=1)

    def run(name, *options, **fields):
        task = {"data": data, "layout": LAYOUT, "region": "toyville", "epochs": 1, "step_minutes": 720, **fields}
        return command(name, task_file(data.with_name("task.toml"), **task), *options)

    return run


@pytest.mark.nightly
def test_the_command_goes_on_and_train_reads_what_it_wrote(run, tmp_path):
    assert "best of 2 trials" in run("tune", "--out", tmp_path, "--trials", 2)
    said = run("tune", "--out", tmp_path, "--trials", 3)
    assert "best of 3 trials" in said
    assert "0, default" in said
    written = json.loads((tmp_path / "recipe.json").read_text())
    assert (written["tuned_on"]["trials"], written["tuned_on"]["layout"]) == (3, "file")
    assert read_recipe(tmp_path / "recipe.json").recipe.patience == written["recipe"]["patience"]
    assert "best of 3 trials" in run("tune", "--out", tmp_path, "--trials", 1)
    assert json.loads((tmp_path / "recipe.json").read_text())["tuned_on"]["trials"] == 3


def test_train_makes_the_network_of_the_recipe(run, tmp_path):
    path = tmp_path / "recipe.json"
    path.write_text('{"recipe": {"widths": [24, 16]}}')
    run("train", "--out", tmp_path / "artifacts", recipe=path)
    artifact = read_artifact(newest_artifacts(tmp_path / "artifacts")["toyville"][0])
    network, manifest = artifact.network(), artifact.manifest
    assert (network.enter.out_features, network.middle.out_features) == (24, 16)
    assert (manifest.recipe, manifest.tuned_on) == (Hyperparameters(widths=(24, 16)), None)
    assert manifest.training == Training(
        epochs=1,
        step_minutes=720,
        workers=1,
        device="cuda" if torch.cuda.is_available() else "cpu",
        fitted_until_s=manifest.data.cutoff_s,
    )


def test_a_folder_that_cannot_be_made_is_refused_before_the_file_is_read(tmp_path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(SettingsError, match=r"--out .*file cannot be written .*: name another folder"):
        command("tune", tmp_path / "none.toml", "--out", file)


OF_THIRTY = toy_tuned_on(trials=30)
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
    write_recipe(path, recipe, OF_THIRTY)
    assert read_recipe(path) == RecipeFile(recipe=recipe, tuned_on=OF_THIRTY)
    assert json.loads(path.read_text())["tuned_on"]["trials"] == 30


def test_a_recipe_that_a_person_wrote_needs_no_more_than_what_differs(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text('{"recipe": {"weight_decay": 0}}')
    assert read_recipe(path) == RecipeFile(recipe=Hyperparameters(weight_decay=0.0))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"widths": [7, 32]}, "width of 7: choose 8 to 128"),
        ({"widths": [64, 129]}, "width of 129: choose 8 to 128"),
        ({"widths": [64]}, r"length 2.*recipe\.widths"),
        ({"widths": [64.5, 32]}, r"`int`.*recipe\.widths"),
        ({"learning_rate": 0}, "learning_rate of 0: choose 1e-06 to 1"),
        ({"learning_rate": "fast"}, r"`float`.*recipe\.learning_rate"),
        ({"weight_decay": -0.1}, "weight_decay of -0.1: choose 0 to 10"),
        ({"minibatch": 15}, "minibatch of 15: choose 16"),
        ({"patience": 0}, "patience of 0: choose 1 to 100"),
        ({"epochs": 12}, "unknown field `epochs`"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_value_and_the_remedy(tmp_path, fields, said):
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps({"recipe": fields}))
    with pytest.raises(DataError, match=said) as refused:
        read_recipe(path)
    assert str(path) in str(refused.value)
    assert "risk tune" in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"{}", b"widths: 64", b"\xff", b'{"recipe": {}, "epochs": 3}'])
def test_a_file_of_something_else_is_no_recipe(tmp_path, content):
    path = tmp_path / "recipe.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match="is no recipe"):
        read_recipe(path)


def test_a_file_that_is_not_there_is_named_and_a_number_that_is_none_refused(tmp_path):
    with pytest.raises(DataError, match=r"none\.json cannot be read \(No such file"):
        read_recipe(tmp_path / "none.json")
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
