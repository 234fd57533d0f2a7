"""What docs/explanation/tries.md says of tuning is what the kept journals say, read again by `tune` itself."""

import shutil
from pathlib import Path

import pytest

from models.hyperparameters import DEFAULT, read_recipe
from models.tuning.search import open_study
from models.tuning.tune import tune
from tests.harness.readme import rows_below

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "tries.md"
KEPT = ROOT / "docs" / "tuning"
FILES = {"montgomery": "Montgomery, 4 km", "chicago": "Chicago, 3 km"}
SAMPLERS = {"tpe": "TPE", "grid": "grid"}
PLACES = ["montgomery-tpe", "montgomery-grid", "chicago-tpe", "chicago-grid"]


def nothing_is_fitted(recipe, fold, seed):
    raise AssertionError(f"{recipe} with seed {seed} is not in the journal")


def result_of(place, folder):
    """The finished search: nothing is measured again, and the kept journal is not written to."""
    journal = shutil.copy(KEPT / place / "trials.journal", folder / f"{place}.journal")
    tuned_on = read_recipe(KEPT / place / "recipe.json").tuned_on
    return tune(open_study(Path(journal), tuned_on), nothing_is_fitted, tuned_on, report=lambda what, share: None)


def line_of(place, result):
    name, sampler = place.split("-")
    stopped, best, compared = sum(trial.pruned for trial in result.trials), result.best, result.compared
    widths = "the default" if compared is None else f"{best.recipe.widths[0]}, {best.recipe.widths[1]}"
    less = f"{100 * (1 - best.loss / result.trials[0].loss):.2f} %"
    gain = "not needed" if compared is None else f"{100 * compared.gain:.2f} of {100 * compared.spread:.2f} %"
    decision = "the default stays" if result.chosen == DEFAULT else f"trial {best.number} is the recipe"
    cells = (FILES[name], SAMPLERS[sampler], f"{len(result.trials)} ({stopped})", widths, less, gain, decision)
    return f"| {' | '.join(cells)} |"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuning")
    return {place: result_of(place, folder) for place in PLACES}


def test_the_table_is_that_of_the_journals(results):
    lines = [line_of(place, result) for place, result in results.items()]
    assert rows_below(PAGE.read_text(encoding="utf-8"), "| file | search |") == lines


def test_the_kept_recipes_are_those_that_the_journals_choose(results):
    for place, result in results.items():
        assert read_recipe(KEPT / place / "recipe.json").recipe == result.chosen
        assert len(result.trials) == (20 if place.endswith("tpe") else 18)
