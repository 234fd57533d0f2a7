"""A champion that uses outside series gets a challenger, and both are compared with their values."""

import shutil

import pytest

from lifecycle.gate.held_out import compare_held_out
from lifecycle.gate.plan import read_plan
from lifecycle.gate.trial import read_trial
from lifecycle.retraining.challenger import all_known
from models.artifact.pointer import champion_of
from models.training.regions import RegionTask
from schemas.errors import DataError, GateClosed, SettingsError
from tests.harness.gate_town import DAY_S, Town, date
from tests.harness.small_town import LAYOUT, START_S
from tests.harness.windy_town import DAYS, START, forecasts, town, wind, write_forecasts, write_town

pytestmark = pytest.mark.usefixtures("quick_training")
SERIES = wind()
HELD_OUT_FROM_S = START_S + (DAYS - 14) * DAY_S


@pytest.fixture(scope="module")
def informed(tmp_path_factory):
    """The windy town with a champion of its first 40 days, and the trial of a challenger by `retrain`."""
    assert START == START_S
    made = Town(tmp_path_factory.mktemp("windy"))
    write_town(made.folder / "town.csv", town(SERIES))
    write_forecasts(made.folder / "wind.csv", forecasts(SERIES))
    task = made.task(covariates=made.folder / "wind.csv", step_minutes=720, until=date(40))
    made.command("train", task, "--out", made.folder / "made")
    made.promote(champion_of(made.folder / "made", "town").folder)
    made.said = made.retrain("--now", covariates=made.folder / "wind.csv")
    return made


def held_out(informed, values):
    champion, challenger = informed.both()
    task = RegionTask(data=str(informed.folder / "town.csv"), layout=LAYOUT, region="town", covariates=str(values))
    past = all_known(champion, task)
    return compare_held_out(champion, challenger, past, read_plan(informed.folder / "gate.toml")[0])


def test_the_challenger_has_learned_from_the_values_until_its_own_end(informed):
    champion, challenger = informed.both()
    assert read_trial(informed.artifacts, "town").challenger == challenger.version
    assert challenger.spec.fingerprint() == champion.spec.fingerprint()
    assert challenger.manifest.data.covariates_sha256 == champion.manifest.data.covariates_sha256 is not None
    until = (challenger.manifest.data.cutoff_s - START) // 3600
    assert challenger.constants.covariate_centre == pytest.approx(SERIES[1:until].mean(), abs=1e-9)


def test_both_are_compared_with_what_was_issued_and_without_it_they_are_worse(informed, tmp_path):
    informed_span = held_out(informed, informed.folder / "wind.csv")
    assert not any("wind" in remark for remark in informed_span.remarks)
    values = forecasts(SERIES)
    write_forecasts(tmp_path / "short.csv", values[values["issued_s"] < HELD_OUT_FROM_S])
    neutral = held_out(informed, tmp_path / "short.csv")
    (said,) = (remark for remark in neutral.remarks if remark.startswith("the outside series wind is missing in "))
    assert 85 < int(said.split()[7].rstrip("%")) <= 100
    assert neutral.baseline == informed_span.baseline
    gain = neutral.baseline - neutral.champion
    for name in ("champion", "challenger"):
        assert getattr(informed_span, name) < getattr(neutral, name) - max(gain, 0)


def test_the_values_must_be_those_of_the_champions_series(informed, tmp_path):
    with pytest.raises(GateClosed, match="uses the outside series wind"):
        informed.start(informed.state().challenger)
    values = forecasts(SERIES)[:100]
    write_forecasts(tmp_path / "elsewhere.csv", values, region="elsewhere")
    with pytest.raises(DataError, match="no row of the region town"):
        informed.start(informed.state().challenger, covariates=tmp_path / "elsewhere.csv")
    with pytest.raises(GateClosed, match="has a trial of"):
        informed.start(informed.state().challenger, covariates=informed.folder / "wind.csv")


def test_a_file_that_ends_before_the_held_out_days_is_refused_before_anything_is_trained(informed, tmp_path):
    made = Town(tmp_path)
    shutil.copytree(informed.folder, made.folder, dirs_exist_ok=True)
    made.end("a test", "--abandon")
    versions, values = made.state().manifests, forecasts(SERIES)
    write_forecasts(made.folder / "short.csv", values[values["issued_s"] < HELD_OUT_FROM_S - 2 * DAY_S])
    refused = "the outside series wind is missing in .* of the held-out moments"
    with pytest.raises(GateClosed, match=refused) as error:
        made.retrain("--now", covariates=made.folder / "short.csv")
    assert "until the end of the incidents" in error.value.remedy
    assert made.state().manifests == versions
    with pytest.raises(GateClosed, match=refused):
        made.start(informed.state().challenger, covariates=made.folder / "short.csv")
    with pytest.raises(GateClosed, match="has learned from the same data"):
        made.retrain("--now", covariates=informed.folder / "wind.csv")


@pytest.mark.nightly
def test_the_same_days_with_other_values_are_learned_from(informed, tmp_path):
    made = Town(tmp_path)
    shutil.copytree(informed.folder, made.folder, dirs_exist_ok=True)
    made.end("a test", "--abandon")
    versions, values = made.state().manifests, forecasts(SERIES)
    write_forecasts(made.folder / "other.csv", values[: -len(values) // 60])
    assert "trial started" in made.retrain("--now", covariates=made.folder / "other.csv")
    assert made.state().manifests.keys() > versions.keys()


def test_a_champion_without_outside_series_leaves_the_file_alone_and_says_so(tried):
    assert "a challenger is due" in tried.said
    assert "uses no outside series, the task's are not read" in tried.said.replace("\n", " ")
    assert tried.both()[1].manifest.data.covariates_sha256 is None
    with pytest.raises(SettingsError, match="uses no outside series"):
        tried.start(tried.state().challenger, covariates=tried.folder / "nowhere.csv")
