"""From a file to a task and to the command's output: steps, blocks, grid, and what is refused."""

import csv
import hashlib
import json
import re
from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.evaluation import evaluate as evaluate_module
from models.evaluation import tasks as module
from models.evaluation.tasks import earlier
from models.evaluation.tasks import task_of as task_of_region
from models.measures import type_for
from models.training.region_tasks import RegionTask
from schemas.errors import DataError, SettingsError
from tests.harness.gate_town import command
from tests.harness.small_town import LAYOUT, task_file, write_town

NOW_S = 2_000_000_000


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    return write_town(tmp_path_factory.mktemp("town") / "town.csv", seed=1)


def task_of(path, *, step="hour", layout=LAYOUT, cell_m=1000.0, origins=1, fine=1):
    asked = RegionTask(region="town", data=str(path), layout=layout, cell_m=cell_m, fine=fine)
    return task_of_region(asked, step=step, origins=origins, now_s=NOW_S)


def rows_of(path):
    """[time, latitude, longitude, kind] as text, in the order of time."""
    with path.open(encoding="utf-8", newline="") as file:
        return sorted(csv.reader(file))[:-1]  # the line of headings is the last


def written(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["when", "lat", "lon", "kind"], *rows])
    return path


@pytest.mark.parametrize(("step", "hours"), [("hour", 1), ("4h", 4)])
def test_the_cube_is_the_file_recounted_in_whole_steps_and_blocks_of_70_15_15(town, step, hours):
    task, recounted, step_s = task_of(town, step=step), Counter(), 3600 * hours
    corners, happened = task.grid.corners(), []
    for when, lat, lon, kind in rows_of(town):
        happened.append(int(datetime.fromisoformat(when).timestamp()) // step_s * step_s)
        row, col = (int(np.searchsorted(of, float(at))) - 1 for of, at in zip(corners, (lat, lon), strict=True))
        if 0 <= row < task.grid.rows and 0 <= col < task.grid.cols:
            recounted[happened[-1], row * task.grid.cols + col, kind] += 1
    starts, steps = task.cube.starts_s.tolist(), len(task.cube)
    inside = {key: count for key, count in recounted.items() if starts[0] <= key[0] < starts[-1]}
    counted = {
        (starts[step], cell, task.cube.categories[category]): int(task.cube.counts[step, cell, category])
        for step, cell, category in zip(*np.nonzero(task.cube.counts), strict=True)
    }
    assert counted == inside
    assert len(task.incidents) == sum(inside.values())
    assert (starts[0], starts[-1]) == (happened[0] + step_s, happened[-1])
    assert (task.validation, task.test) == (steps * 70 // 100, steps * 85 // 100)
    assert task.scored.all()


def test_a_local_day_is_one_step_however_many_hours_it_has(tmp_path):
    begin, random = datetime(2021, 1, 1, 8, tzinfo=UTC), np.random.default_rng(0)
    rows = [
        (begin + timedelta(hours=float(hour)), 41 + 0.03 * random.random(), -87 + 0.03 * random.random(), "ems")
        for hour in np.sort(random.uniform(0, 24 * 330, 3000))
    ]
    path = written(tmp_path / "year.csv", rows)
    task = task_of(path, step="day", layout="time=when,lat=lat,lon=lon,category=kind,timezone=America/Chicago")
    hours = np.diff(task.cube.starts_s) / 3600
    assert sorted(set(hours)) == [23, 24, 25]
    assert (np.count_nonzero(hours == 23), np.count_nonzero(hours == 25)) == (1, 1)


def test_the_grid_knows_only_what_is_learned_from(town, tmp_path):
    """The town grows to the north in the judged time: the grid stays, and what it misses is said or refused."""
    rows = rows_of(town)
    judged = len(rows) * 90 // 100
    for share, refused in ((20, False), (2, True)):
        moved = [[*row[:1], 41.2, *row[2:]] if n >= judged and n % share == 0 else row for n, row in enumerate(rows)]
        path = written(tmp_path / f"moved-{share}.csv", moved)
        if refused:
            with pytest.raises(DataError, match=r"of the .* incidents of the judged steps lie outside the grid"):
                task_of(path)
            continue
        task = task_of(path)
        assert task.grid == task_of(town).grid
        assert task.outside == sum(row[1] == 41.2 for row in moved)
        assert "outside the grid" in {line.what for line in task.row_counts}


def test_counts_take_the_smallest_type_and_more_of_them_than_memory_may_hold_are_refused(town, monkeypatch):
    cube = task_of(town).cube
    assert cube.counts.dtype == np.int8
    monkeypatch.setattr(module, "MAX_CUBE_BYTES", cube.counts.nbytes)
    assert task_of(town).cube.counts.nbytes == cube.counts.nbytes
    monkeypatch.setattr(module, "MAX_CUBE_BYTES", cube.counts.nbytes - 1)
    with pytest.raises(DataError, match=f"{cube.counts.size:,} counts, at most {cube.counts.size - 1:,} of up to"):
        task_of(town)


@given(st.integers(0, 2**31 - 1))
def test_the_type_of_counts_holds_the_largest(most):
    kind = type_for(most)
    assert np.array([most]).astype(kind)[0] == most
    assert kind.itemsize == 1 or most > np.iinfo(f"i{kind.itemsize // 2}").max


def test_a_file_from_which_nothing_can_be_learned_is_refused(town, tmp_path):
    rows = rows_of(town)
    for some, words in (
        (rows[:400], r"whole steps \(hour\).*at least 200 are needed|at least 500 over"),
        (rows[::6], "at least 500 over 21 days are needed"),
        ([[when, 41.0, -87.0, kind] for when, _, _, kind in rows], "lie in one cell"),
    ):
        with pytest.raises(DataError, match=words):
            task_of(written(tmp_path / "town.csv", some))


def evaluated_by_command(folder, town, *words, out="out", **fields):
    """What the command said of a task of these fields, and the figures that it wrote."""
    file = task_file(folder / "task.toml", region="town", data=town, layout=LAYOUT, **fields)
    words = ("evaluate", file, "--seeds", 1, "--step", "4h", "--out", folder / out, *words)
    said = " ".join(command(*words, COLUMNS="200").split())
    return said, json.loads((folder / out / "evaluation.json").read_text(encoding="utf-8"))


@pytest.mark.usefixtures("quick", "few_trees")
def test_the_command_prints_the_rows_the_table_and_the_verdict_and_writes_the_report(town, tmp_path):
    said, figures = evaluated_by_command(tmp_path, town, fine=4)
    for row in figures["rows"]:
        assert row["model"] in said
    assert f"{len(rows_of(town)):,} rows in the file: read" in said
    assert "four hours" in figures["title"]
    assert figures["title"].endswith(", squares of 250 m inside")  # judged, though no unit answers any category
    assert "ems: forecast x shares: more" in said
    cells, squares = figures["inside_cells"][:2]
    assert (cells["model"], squares["model"]) == ("cells alone", "forecast x shares")
    assert cells["incidents"] == sum(row["actual"] for row in figures["rows"][0]["totals"]["by_category"])
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert page.count("Where inside the cell") == 2
    best_rule = next(row["model"] for row in figures["rows"] if row["kind"] == "rule")
    assert figures["best_rule"] == best_rule
    assert f"({best_rule})" in said
    assert "report: " in said
    assert 0 <= figures["grid"]["judged_incidents_outside"] <= 3
    assert (figures["seeds"], figures["recipe"]["widths"]) == ([0], [64, 32])
    digest = hashlib.sha256(town.read_bytes()).hexdigest()
    assert figures["data"] == {"file_name": town.name, "sha256": digest}
    assert digest in page


@pytest.mark.nightly
@pytest.mark.usefixtures("quick", "few_trees")
def test_several_origins_and_a_recipe_by_the_command(town, tmp_path):
    recipe = tmp_path / "recipe.json"
    recipe.write_text('{"recipe": {"widths": [16, 8]}}', encoding="utf-8")
    with pytest.raises(SettingsError, match="earlier blocks chose it"):
        evaluated_by_command(tmp_path, town, "--origins", 2, recipe=recipe)
    _, figures = evaluated_by_command(tmp_path, town, recipe=recipe)
    assert figures["recipe"]["widths"] == [16, 8]
    said, figures = evaluated_by_command(tmp_path, town, "--origins", 2, out="origins")
    assert len(figures["origins"]["judged_from"]) == 2
    assert "inside_cells" not in figures
    assert "over all 2 origins" in said


def test_the_grid_of_several_origins_knows_only_what_the_earliest_learns_from(town, tmp_path):
    rows = rows_of(town)
    late = len(rows) * 62 // 100  # after what the earlier origin learns from, before what the last one does
    grown = [
        [row[0], 41.06 + 0.002 * (n % 3), *row[2:]] if n >= late and n % 50 == 0 else row for n, row in enumerate(rows)
    ]
    path = written(tmp_path / "grown.csv", grown)
    whole, rolling = task_of(path), task_of(path, origins=2)
    assert rolling.grid == task_of(town, origins=2).grid
    assert whole.grid != rolling.grid
    back = earlier(rolling, 1)
    starts = back.cube.starts_s
    north = [datetime.fromisoformat(row[0]).timestamp() for row in grown if float(row[1]) > 41.05]
    assert back.outside == sum(starts[back.test] <= when < starts[-1] for when in north) > 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["berlin"], "berlin is no file of tasks: give a TOML file of tables [[regions]], or archive:PATH"),
        (["archive:none", "--step", "week"], "--step week is unknown: choose one of hour, 4h, day"),
        (["none.toml"], "none.toml"),
    ],
)
def test_a_wrong_option_of_the_command_is_named(words, said, tmp_path):
    with pytest.raises(DataError, match=re.escape(said)):
        command("evaluate", *words, "--out", tmp_path)


def test_squares_that_are_too_small_and_those_of_an_archive_are_refused(town):
    with pytest.raises(DataError, match=r"squares of 87\.5 m: choose squares of at least 100 m"):
        task_of(town, step="4h", cell_m=700.0, fine=8)
    with pytest.raises(DataError, match="fine, and archive:none: leave out fine: an archive has no places"):
        RegionTask(region="town", data="archive:none", fine=2)


def test_an_out_that_cannot_be_written_is_refused_before_the_work(town, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate_module, "evaluate", None)
    with pytest.raises(SettingsError, match=r"--out .*town\.csv cannot be written \(File exists\): name another"):
        evaluated_by_command(tmp_path, town, out=town)
