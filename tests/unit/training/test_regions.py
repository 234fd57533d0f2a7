"""The file of tasks, and a region from its first day to its second training."""

import inspect
import re
import shutil
import time
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from incident_risk import app
from models.artifact import newest_artifacts, read_artifact
from models.commands import train_command
from models.features import FeatureEngine
from models.scoring import score
from models.training.region_tasks import RegionTask, read_regions, task_for
from models.training.train_region import prepare
from schemas.errors import DataError
from streaming.artifacts_in_force import refresh_roster
from tests.harness.small_town import LAYOUT, task_file, write_town
from tests.harness.toy import toy_artifact

README = Path(__file__).parents[3] / "models" / "README.md"
ONE = '[[regions]]\nregion = "a"\ndata = "a.csv"\nlayout = "sample"\n'


def test_the_options_of_train_have_names_and_defaults_of_the_file():
    options = inspect.signature(train_command).parameters
    how = {"file", "out", "workers", "master"}  # how it is done and where it goes, not what is made
    how |= {"per_day", "timezone"}  # of a region without data
    task = RegionTask(data="", region="")
    for name in options.keys() - how:
        default = options[name].default
        assert getattr(task, name) == (default or type(getattr(task, name))()), name


def test_every_option_is_read_and_paths_count_from_the_files_folder(tmp_path):
    first = {"region": "a", "data": "a.csv", "layout": "sample"}
    second = {"region": "b", "data": "/data/b.zip", "layout": "chicago", "cell_m": 2000, "until": "2016-01-23"}
    second |= {"merge": "repeated_calls", "seed": 4, "epochs": 3, "step_minutes": 60}
    second |= {"recipe": "tuned/recipe.json", "masks": "masks.geojson"}
    archived = {"region": "c", "data": "archive:days@3", "missing_days": 2}  # an archive needs no layout
    whole = {name: str(tmp_path / second[name]) for name in ("recipe", "masks")}
    assert list(read_regions(task_file(tmp_path / "regions.toml", first, second, archived))) == [
        RegionTask(**first | {"data": str(tmp_path / "a.csv")}),
        RegionTask(**second | whole),
        RegionTask(**archived | {"data": f"archive:{tmp_path / 'days'}@3"}),
    ]


def test_the_example_in_the_readme_can_be_read(tmp_path):
    (example,) = re.findall(r"^ *```toml\n(.*?)^ *```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (tmp_path / "regions.toml").write_text(dedent(example))
    assert [task.region for task in read_regions(tmp_path / "regions.toml")] == ["riverton", "montgomery"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read"),
        ("", "missing required field `regions`"),
        ("regions = []", "length >= 1"),
        ("[[regions]", "lists no regions"),
        (ONE + "cells = 3\n", "unknown field `cells`"),
        (ONE.replace('layout = "sample"\n', ""), "gives no `layout` for a"),
        (ONE + "epochs = 0\n", r">= 1.*regions\[0\]\.epochs"),
        (ONE + "step_minutes = 4\n", r">= 5.*step_minutes"),
        (ONE + "until = 2016-01-23\n", r"`str`.*until"),
        (ONE + ONE, "lists a more than once"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, text, said):
    listed = tmp_path / "regions.toml"
    if text is not None:
        listed.write_text(text)
    with pytest.raises(DataError, match=said) as refused:
        read_regions(listed)
    assert str(listed) in str(refused.value)


def test_a_region_is_found_in_its_file_or_has_the_defaults_on_an_archive(tmp_path):
    listed = tmp_path / "regions.toml"
    listed.write_text(ONE)
    assert task_for(str(listed)) == task_for(str(listed), "a") == read_regions(listed)[0]
    listed.write_text(ONE + ONE.replace('"a"', '"b"'))
    assert task_for(str(listed), "b").region == "b"
    for region in ("", "c"):
        with pytest.raises(DataError, match="lists a, b: name one of them"):
            task_for(str(listed), region)
    assert task_for("archive:days", "a") == RegionTask(data="archive:days", region="a")
    with pytest.raises(DataError, match=r"calls\.csv is no file of tasks"):
        task_for("calls.csv", "a")


@pytest.mark.parametrize(
    ("field", "named", "other", "wrong", "said"),
    [
        ("answered_by", ("ems",), ("fire",), ("theft",), "name some of ems, fire, each once"),
        ("purpose", "ems_readiness", "fire", "patrols", "purpose 'patrols': choose from ems_readiness"),
    ],
)
def test_a_task_names_its_use_and_one_that_is_like_it_keeps_it(tmp_path, field, named, other, wrong, said):
    write_town(tmp_path / "town.csv", seed=1)
    fields = {"region": "town", "data": "town.csv", "layout": LAYOUT, field: named}
    [task] = read_regions(task_file(tmp_path / "task.toml", **fields))
    ready = prepare(task)
    default = {"answered_by": (), "purpose": ""}
    assert {name: getattr(ready.spec, name) for name in default} == default | {field: named}
    like = str(toy_artifact(tmp_path / "artifacts", ready.spec))
    again = RegionTask(region="town", data=task.data, layout=LAYOUT, like=like)
    assert prepare(again).spec == ready.spec
    words = ["".join(value) for value in (other, named)]  # each is a word, or one alone
    with pytest.raises(DataError, match=rf"{field} {words[0]}, and .* has {words[1]}: leave it out"):
        prepare(msgspec.structs.replace(again, **{field: other}))
    with pytest.raises(DataError, match=said):
        prepare(msgspec.structs.replace(task, **{field: wrong}))


def test_squares_are_those_of_the_task_or_of_the_artifact_that_it_is_like(tmp_path):
    data = write_town(tmp_path / "town.csv", seed=1)
    task = RegionTask(region="town", data=str(data), layout=LAYOUT, answered_by=("ems", "fire"), fine=2)
    spec = prepare(task).spec
    assert spec.fine == 2
    again = msgspec.structs.replace(task, like=str(toy_artifact(tmp_path / "artifacts", spec)))
    assert prepare(msgspec.structs.replace(again, answered_by=(), fine=1)).spec == prepare(again).spec == spec
    with pytest.raises(DataError, match=r"fine 4, and .* has 2: leave it out"):
        prepare(msgspec.structs.replace(again, fine=4))
    with pytest.raises(DataError, match="no standing unit answers fire: name every category in answered_by"):
        prepare(msgspec.structs.replace(task, answered_by=("ems",)))


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
        patched.setattr("models.commands.time", SimpleNamespace(time=lambda: time.time() - 60))
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
    ("change", "category", "said"),
    [
        ({"region": "city"}, "fire", "region is city, that of the artifact town"),
        ({"layout": LAYOUT.replace("UTC", "Etc/GMT+6")}, "fire", "time zone is Etc/GMT+6, that of the artifact UTC"),
        ({"cell_m": 500}, "fire", "a cell side of 500 m is asked for, and "),
        ({}, "flood", "no category flood"),
    ],
)
def test_what_cannot_be_like_it_is_refused(opened, town, tmp_path, change, category, said):
    data = tmp_path / "town.csv"
    data.write_text(town.read_text(encoding="utf-8").replace("fire", category), encoding="utf-8")
    with pytest.raises(DataError, match=re.escape(said)):
        trained(data, tmp_path, like=opened[1], **change)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        *(
            ([f"--{option}", value], re.escape(value.split(",")[-1]))
            for option, value in (
                ("bounds", "41,-87,42"),
                ("bounds", "42,-87,41,-86"),
                ("cell-m", "nan"),
                ("region", "Bad_Region!"),
                ("per-day", "fire"),
                ("per-day", "fire=0"),
                ("per-day", "fire=nan"),
                ("per-day", "fire=1,fire=2"),
                ("timezone", "Nowhere"),
                ("purpose", "patrols"),
            )
        ),
        *(
            (["--timezone", zone, "--bounds", bounds], f"--bounds '{bounds}'.*{fault}.*write SOUTH,WEST,NORTH,EAST")
            for bounds, zone, fault in (
                ("-74.1,40.6,-73.8,40.8", "America/New_York", "no town lies at such a latitude"),
                ("13.2,52.4,13.6,52.6", "Europe/Berlin", "the time zone Europe/Berlin near longitude 15"),
            )
        ),
    ],
)
def test_a_cold_start_that_makes_no_sense_names_the_value(tmp_path, options, said):
    with pytest.raises(DataError, match=said):
        run(tmp_path, [*COLD, *options])
    assert not list(tmp_path.iterdir())
