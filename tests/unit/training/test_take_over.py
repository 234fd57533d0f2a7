"""A region from its first day to its second training: `train --like` takes over from what `cold-start` published."""

import re
import shutil
import time
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from incident_risk import app
from models.artifact import newest_artifacts, read_artifact
from models.features import FeatureEngine
from models.scoring import score
from schemas.errors import DataError
from streaming.artifacts_in_force import refresh_roster
from tests.harness.small_town import LAYOUT, write_town
from tests.harness.task_file import task_file

pytestmark = pytest.mark.usefixtures("quick_training")
BOUNDS = "40.99,-87.01,41.05,-86.94"
COLD = ["train", "--region", "town", "--timezone", "UTC", "--bounds", BOUNDS, "--per-day", "fire=30, ems=12.5"]


def run(out, arguments):
    return CliRunner().invoke(app, [*arguments, "--out", str(out)], catch_exceptions=False).output


def trained(data, out, **fields):
    options = {"data": data, "layout": LAYOUT, "region": "town", "epochs": 1, "step_minutes": 1440, **fields}
    return run(out, ["train", str(task_file(data.with_name("task.toml"), **options))])


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """The folder of artifacts, and in it that of a cold start."""
    folder = tmp_path_factory.mktemp("opened")
    with pytest.MonkeyPatch.context() as patched:  # versions are ordered by the second in which they were made
        patched.setattr("models.cli.train_commands.time", SimpleNamespace(time=lambda: time.time() - 60))
        assert "ems, fire" in run(folder, COLD)
    [first] = newest_artifacts(folder)["town"]
    return folder, first


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    return write_town(tmp_path_factory.mktemp("town") / "town.csv", seed=1)


def test_a_cold_start_expects_what_was_guessed_everywhere_alike_and_has_no_history(opened):
    artifact = read_artifact(opened[1])
    assert artifact.spec.categories == ("ems", "fire")
    state = artifact.history()
    values = FeatureEngine(artifact.spec, artifact.constants).compute(state).values
    scores = score(values, artifact.network(), artifact.constants, artifact.spec)
    day = scores.expected[:, :, -1]
    np.testing.assert_allclose(day.sum(axis=0), [12.5, 30], rtol=1e-5)
    np.testing.assert_allclose(day / day.mean(axis=0), 1, rtol=1e-5)
    assert "ems 12.5, fire 30" in artifact.card
    south, west, north, east = map(float, BOUNDS.split(","))
    _, inside = artifact.spec.grid.locate(np.array([south, north]), np.array([west, east]))
    assert inside.all()


def test_what_is_trained_like_it_takes_over_and_what_is_trained_anew_does_not(opened, town, tmp_path):
    roster, (artifacts, first) = tmp_path / "roster.json", opened
    refresh_roster(roster, artifacts)
    trained(town, artifacts)
    in_force, [refused] = refresh_roster(roster, artifacts)
    assert in_force["town"].folder == str(first)
    assert f"train with `--like {first}`" in str(refused.error)
    shutil.rmtree(refused.folder)
    trained(town, artifacts, like=first)
    in_force, _ = refresh_roster(roster, artifacts)
    newest = read_artifact(newest_artifacts(artifacts)["town"][0])
    assert in_force["town"].version == newest.version
    assert newest.spec == read_artifact(first).spec
    state = newest.history()
    counted = state.shape(state.levels["day"].sum_of_newest(100)).sum(axis=0).tolist()
    rows = town.read_text(encoding="utf-8").splitlines()
    assert counted == [sum(row.endswith(name) for row in rows) for name in newest.spec.categories]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"region": "city"}, "region is city, that of the artifact town"),
        ({"layout": LAYOUT.replace("UTC", "Etc/GMT+6")}, "time zone is Etc/GMT+6, that of the artifact UTC"),
        ({"cell_m": 500}, "a cell side of 500 m is asked for, and "),
    ],
)
def test_what_cannot_be_like_it_is_refused(opened, town, tmp_path, change, said):
    with pytest.raises(DataError, match=re.escape(said)):
        trained(town, tmp_path, like=opened[1], **change)


def test_a_category_that_the_artifact_has_not_is_named(opened, town, tmp_path):
    other = tmp_path / "other.csv"
    other.write_text(town.read_text(encoding="utf-8").replace("fire", "flood"), encoding="utf-8")
    with pytest.raises(DataError, match="no category flood"):
        trained(other, tmp_path, like=opened[1])


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--bounds", "41,-87,42"),
        ("--bounds", "42,-87,41,-86"),
        ("--cell-m", "nan"),
        ("--region", "Bad_Region!"),
        ("--per-day", "fire"),
        ("--per-day", "fire=0"),
        ("--per-day", "fire=nan"),
        ("--per-day", "fire=1,fire=2"),
        ("--timezone", "Nowhere"),
        ("--purpose", "patrols"),
    ],
)
def test_a_cold_start_that_makes_no_sense_names_the_value(tmp_path, option, value):
    with pytest.raises(DataError, match=re.escape(value.split(",")[-1])):
        run(tmp_path, [*COLD, option, value])


@pytest.mark.parametrize(
    ("bounds", "zone", "fault"),
    [
        ("-74.1,40.6,-73.8,40.8", "America/New_York", "no town lies at such a latitude"),
        ("13.2,52.4,13.6,52.6", "Europe/Berlin", "the time zone Europe/Berlin near longitude 15"),
    ],
)
def test_the_bounds_of_a_cold_start_with_latitude_and_longitude_exchanged_are_refused(tmp_path, bounds, zone, fault):
    with pytest.raises(DataError, match=f"--bounds '{bounds}'.*{fault}.*write SOUTH,WEST,NORTH,EAST"):
        run(tmp_path, [*COLD, "--timezone", zone, "--bounds", bounds])
    assert not list(tmp_path.iterdir())
