"""Options that cannot be meant are refused at once, with a sentence, before anything is read, sent or trained."""

import pytest
from typer.testing import CliRunner

import incident_risk
from schemas.errors import ArtifactError, DataError, SettingsError
from tests.harness.small_town import LAYOUT

TOWN = ("--layout", LAYOUT, "--region", "town")


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "town.csv"
    path.write_text("when,lat,lon,kind\n" + "".join(f"2026-01-{day:02d},41.0,-87.0,ems\n" for day in range(1, 29)))
    return path


def run(app, *words, **environment):
    return CliRunner().invoke(app, [str(word) for word in words], env=environment)


def replay(data, *options):
    return run(incident_risk.app, "replay", data, *TOWN, *options, RISK_KAFKA_BOOTSTRAP="127.0.0.1:1", RISK_AUDIT="")


def train(data, *options):
    return run(incident_risk.app, "train", "--data", data, *TOWN, *options)


def test_a_negative_speed_is_refused_as_an_option(data):
    ran = replay(data, "--speed", "-1")
    assert ran.exit_code == 2
    assert "--speed" in ran.output


def test_a_span_that_ends_before_it_begins_is_said(data):
    ran = replay(data, "--from", "2026-01-05", "--to", "2026-01-04")
    assert isinstance(ran.exception, DataError)
    assert "--from is not before --to" in str(ran.exception)


@pytest.mark.parametrize("out", ["/proc/nowhere", "a file"])
def test_a_folder_that_cannot_be_written_is_refused_before_training(data, tmp_path, out):
    (tmp_path / "a file").touch()
    ran = train(data, "--out", tmp_path / out)
    assert isinstance(ran.exception, ArtifactError)
    assert "cannot be written" in str(ran.exception)
    assert "incidents" not in ran.output


def test_a_folder_of_frames_that_cannot_be_written_is_refused_before_the_start(tmp_path):
    audit = tmp_path / "audit.jsonl"
    ran = run(incident_risk.app, "run", RISK_AUDIT=str(audit), RISK_FRAMES="/proc/nowhere")
    assert isinstance(ran.exception, SettingsError)
    assert "RISK_FRAMES=/proc/nowhere cannot be written" in str(ran.exception)
    assert not audit.exists()


@pytest.mark.parametrize("instant", ["yesterday", "2026-13-01T00:00:00Z", "2026-01-01T00:00:00"])
def test_a_time_that_is_none_is_a_wrong_setting(tmp_path, instant):
    folders = {"RISK_CHECKPOINT": str(tmp_path / "checkpoint"), "RISK_AUDIT": str(tmp_path / "audit.jsonl")}
    ran = run(incident_risk.app, "checkpoint", "--reset", instant, **folders)
    assert isinstance(ran.exception, SettingsError)
    assert f"--reset {instant}" in str(ran.exception)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "nothing to train on"),
        (("--data", "town.csv"), "nothing to train on"),
        (("tasks.toml", "--until", "2026-01-23"), "tasks.toml and options of one region"),
        (("tasks.toml", "--cell-m", "500"), "tasks.toml and options of one region"),
        (("--data", "none.csv", "--region", "a", "--master", "spark://a:7077"), "one worker needs no Spark"),
    ],
)
def test_a_training_that_cannot_be_meant_is_refused_before_anything_is_read(words, said):
    ran = run(incident_risk.app, "train", *words)
    assert isinstance(ran.exception, SettingsError)
    assert said in str(ran.exception)
