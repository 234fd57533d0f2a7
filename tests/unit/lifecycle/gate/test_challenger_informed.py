"""A champion that knows days in advance gets a challenger that knows those of a longer file."""

import pytest

from lifecycle.gate import read_trial
from models.artifact import champion_of
from schemas.errors import DataError, GateClosed
from tests.harness.festive_town import DAYS, MATCHES, write_days, write_festive_town
from tests.harness.gate_town import PLAN, Town, date

pytestmark = pytest.mark.usefixtures("quick_training")


def test_a_challenger_knows_the_days_of_the_newest_file_and_none_is_made_without(tmp_path):
    made = Town(tmp_path)
    write_festive_town(tmp_path)
    (tmp_path / "gate.toml").write_text(PLAN + "margin = 0.9  # of eighty days\n")
    short, longer = tmp_path / "short.csv", tmp_path / "days.csv"
    write_days(short, match=MATCHES[MATCHES < DAYS - 9], fair=[5])
    task = made.task(calendar=short, step_minutes=480, until=date(40))
    made.command("train", task, "--out", tmp_path / "made")
    made.promote(champion_of(tmp_path / "made", "town").folder)
    versions = made.state().manifests
    with pytest.raises(DataError, match=r"calendar no days, and .* has fair, match"):
        made.retrain("--now")
    assert made.state().manifests == versions
    assert "trial started" in made.retrain("--now", calendar=longer)
    champion, challenger = made.both()
    assert read_trial(made.artifacts, "town").challenger == challenger.version
    assert challenger.spec.fingerprint() == champion.spec.fingerprint()
    last = [artifact.constants.calendar[:, 1].max() for artifact in (champion, challenger)]
    assert last[0] < last[1]
    assert "challenger" in made.compare(challenger.version)  # which is given no file: each artifact has its own days
    made.end("a test", "--abandon")
    with pytest.raises(GateClosed, match="has learned from the same data"):
        made.retrain("--now", calendar=longer)
