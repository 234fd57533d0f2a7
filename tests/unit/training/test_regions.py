"""The file that lists regions: train's own options, paths from its folder, and refusals that name what is wrong."""

import inspect
import re
from pathlib import Path
from textwrap import dedent

import pytest

from models.cli.train_commands import train_command
from models.training.region_tasks import RegionTask, read_regions, task_for
from schemas.errors import DataError

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
    listed = tmp_path / "regions.toml"
    listed.write_text(
        ONE
        + '[[regions]]\nregion = "b"\ndata = "/data/b.zip"\nlayout = "chicago"\ncell_m = 2000\nuntil = "2016-01-23"\n'
        + 'merge = "repeated_calls"\nseed = 4\nepochs = 3\nstep_minutes = 60\nrecipe = "tuned/recipe.json"\n'
    )
    first, second = read_regions(listed)
    assert first == RegionTask(region="a", data=str(tmp_path / "a.csv"), layout="sample")
    assert second == RegionTask(
        region="b",
        data="/data/b.zip",
        layout="chicago",
        cell_m=2000.0,
        until="2016-01-23",
        merge="repeated_calls",
        seed=4,
        epochs=3,
        step_minutes=60,
        recipe=str(tmp_path / "tuned" / "recipe.json"),
    )


def test_an_archive_needs_no_layout(tmp_path):
    listed = tmp_path / "regions.toml"
    listed.write_text('[[regions]]\nregion = "a"\ndata = "archive:days@3"\nmissing_days = 2\n')
    (task,) = read_regions(listed)
    assert (task.data, task.missing_days) == (f"archive:{tmp_path / 'days'}@3", 2)


def test_the_example_in_the_readme_can_be_read(tmp_path):
    (example,) = re.findall(r"^ *```toml\n(.*?)^ *```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (tmp_path / "regions.toml").write_text(dedent(example))
    assert [task.region for task in read_regions(tmp_path / "regions.toml")] == ["riverton", "montgomery"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
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
    listed.write_text(text)
    with pytest.raises(DataError, match=said) as refused:
        read_regions(listed)
    assert str(listed) in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.toml cannot be read"):
        read_regions(tmp_path / "none.toml")


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
