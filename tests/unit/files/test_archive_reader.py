"""The archive as training data: the same counts as in the file, and the same artifact from either."""

import msgspec
import numpy as np
import pytest
from deltalake import DeltaTable

from lifecycle.archive import ArchiveTable, file_days
from models.artifact import BASELINE, HISTORY, WEIGHTS, read_artifact, read_manifest, write_untrained
from models.counting.count_state import BIN_S
from models.evaluation.tasks import count, task_of
from models.files.incident_archive import Meaning, from_folder, read_archive
from models.files.incident_files import read_incidents
from models.files.layouts import parse_layout
from models.training.region_tasks import RegionTask, task_for
from models.training.train_region import prepare, train_region
from schemas.errors import DataError, RiskError
from schemas.spec import DAY_S
from tests.harness.small_town import LAYOUT, START_S, write_town
from tests.harness.toy import iso, toy_spec

pytestmark = pytest.mark.usefixtures("quick_training")


def archive_of(path, spec, *parts):
    """An archive of these days, appended one after the other; what reads it."""
    table = ArchiveTable(str(path), {})
    for part in parts:
        table.append(spec, part, "file")
    return f"archive:{path}"


def floored(path, to):
    """The file with each time at the start of its five minutes, in the order of time."""
    table = read_incidents(path, parse_layout(LAYOUT))
    lines = ["when,lat,lon,kind"]
    for row in range(len(table)):
        at_s = table.occurred_s[row] // BIN_S * BIN_S
        place = f"{table.lat_deg[row]:.12f},{table.lon_deg[row]:.12f}"
        lines.append(f"{iso(at_s)},{place},{table.categories[table.category[row]]}")
    to.write_text("\n".join(lines), encoding="utf-8")
    return to


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    """(file of whole days at bin starts, the task that learns from it, its spec, the same days in an archive, they)"""
    folder = tmp_path_factory.mktemp("town")
    file = floored(write_town(folder / "raw.csv", seed=5), folder / "town.csv")
    rows = file.read_text(encoding="utf-8").splitlines()
    last_day = iso(START_S + 59 * DAY_S)[:10]
    whole = [rows[0], *(row for row in rows[1:] if iso(START_S)[:10] < row[:10] < last_day)]
    task = RegionTask(data=str(file), layout=LAYOUT, region="town", epochs=1, step_minutes=720)
    spec = prepare(task).spec
    days = file_days(read_incidents(file, parse_layout(LAYOUT)), spec, set()).days
    archive_of(folder / "archive", spec, days)
    file.write_text("\n".join(whole), encoding="utf-8")  # the archive has whole days only
    return file, task, spec, folder / "archive", days


def test_the_archive_gives_the_counts_of_the_file(town):
    file, _, spec, path, _ = town
    of_file, archived = read_incidents(file, parse_layout(LAYOUT)), read_archive(f"archive:{path}")
    assert len(archived.table) == np.count_nonzero(spec.grid.locate(of_file.lat_deg, of_file.lon_deg)[1]) > 2900
    starts_s = np.arange(START_S, START_S + 60 * DAY_S + 1, BIN_S)
    cubes = []
    for table in (of_file, archived.table):
        cell, inside = spec.grid.locate(table.lat_deg, table.lon_deg)
        cubes.append(count(table.select(inside), cell[inside], starts_s, spec.grid).counts)
    np.testing.assert_array_equal(*cubes)


def test_training_on_either_gives_equal_artifacts_to_the_last_bit(town, tmp_path):
    file, task, _, path, _ = town
    spec, at_s = prepare(task).spec, START_S + 50 * DAY_S
    source = write_untrained(tmp_path / "like", spec, per_day=30, cutoff_s=at_s, created="20260101T000000Z")
    like = msgspec.structs.replace(task, like=str(source))
    made = {}
    for name, data in (("file", str(file)), ("archive", f"archive:{path}@1")):
        ready = prepare(msgspec.structs.replace(like, data=data))
        made[name] = train_region(ready, tmp_path / name, report=lambda what, share: None)[0]
    for part in (WEIGHTS, BASELINE):
        assert (made["file"] / part).read_bytes() == (made["archive"] / part).read_bytes(), part
    of_file, archived = (read_artifact(made[name]).history() for name in ("file", "archive"))
    for level in of_file.levels:
        np.testing.assert_array_equal(of_file.levels[level].ring, archived.levels[level].ring)
    records = [history.registry.records() for history in (of_file, archived)]
    for column in ("occurred_s", "cell", "category", "flags", "latest_s"):  # only the rows' own ids differ
        assert sorted(getattr(records[0], column).tolist()) == sorted(getattr(records[1], column).tolist())
    data = read_manifest(made["archive"]).data
    assert (data.file_name, data.table_version, data.layout) == ("archive", 1, "archive")
    assert data.sha256 == read_archive(f"archive:{path}").sha256
    assert b"table_version" not in (made["file"] / "manifest.json").read_bytes()
    assert HISTORY in {file.name for file in made["archive"].iterdir()}


def test_without_like_the_archives_own_cells_are_kept(town):
    _, task, spec, path, _ = town
    ready = prepare(msgspec.structs.replace(task, data=f"archive:{path}", layout=""))
    assert Meaning.of(ready.spec) == Meaning.of(spec)
    assert ready.spec.categories == ("ems", "fire")
    with pytest.raises(DataError, match="a cell side of 500 m"):
        prepare(msgspec.structs.replace(task, data=f"archive:{path}", layout="", cell_m=500))


def test_the_hash_is_of_the_rows_and_not_of_the_files(town, tmp_path):
    *_, spec, _, days = town
    hashes = set()
    for name, parts in (("late-first", (days[9:], days[:9])), ("early-first", (days[:9], days[9:]))):
        data = archive_of(tmp_path / name, spec, *parts)
        hashes.add(read_archive(data).sha256)
        hashes.add(read_archive(f"{data}@1", may_miss=99).sha256)
        DeltaTable(str(tmp_path / name)).optimize.compact()
        hashes.add(read_archive(data).sha256)
    assert len(hashes) == 3  # all days, and each version with only a part of them


def test_days_that_are_missing_are_listed_and_count_as_quiet_only_when_allowed(town, tmp_path):
    *_, spec, _, days = town
    data = archive_of(tmp_path / "archive", spec, [*days[:6], *days[8:20]])
    with pytest.raises(DataError, match=r"lacks 2 days of town \(2020-09-20 to 2020-09-21\)") as caught:
        read_archive(data)
    assert "missing_days = 2" in caught.value.remedy
    with pytest.raises(DataError):
        read_archive(data, may_miss=1)
    assert read_archive(data, may_miss=2).missing == 2


@pytest.mark.parametrize(
    ("data", "options", "text"),
    [
        ("archive:{path}/none", {}, "there is no folder"),
        ("archive:{path}@99", {}, "cannot be read"),
        ("archive:{path}", {"region": "elsewhere"}, "has no day of region 'elsewhere'"),
        ("archive:{path}", {"like": toy_spec(region="town")}, "no counts of town for these cells"),
    ],
)
def test_what_the_archive_does_not_have_is_refused(town, data, options, text):
    with pytest.raises(RiskError, match=text):
        read_archive(data.format(path=town[3]), **options)


def test_an_archive_of_two_regions_asks_for_one(town, tmp_path):
    *_, spec, _, days = town
    for region in ("town", "village"):
        data = archive_of(tmp_path / "archive", msgspec.structs.replace(spec, region=region), days)
    with pytest.raises(DataError, match=r"has 2 regions \(town, village\)"):
        read_archive(data)
    assert len(read_archive(data, region="village").table) > 1000


def test_a_path_in_a_list_of_regions_counts_from_the_lists_folder(tmp_path):
    assert from_folder("calls.csv", tmp_path) == str(tmp_path / "calls.csv")
    assert from_folder("archive:data@3", tmp_path) == f"archive:{tmp_path / 'data'}@3"
    assert from_folder("archive:s3://bucket/a", tmp_path) == "archive:s3://bucket/a"


def test_evaluate_judges_the_archives_days_in_its_own_cells(town):
    _, _, spec, path, _ = town
    task = task_of(task_for(f"archive:{path}"), step="4h", now_s=START_S + 400 * DAY_S)
    archived = read_archive(f"archive:{path}")
    assert (task.data_file, task.data_sha256, task.grid) == ("archive@1", archived.sha256, spec.grid)
    first_s, last_s = task.cube.starts_s[[0, -1]]
    judged = (archived.table.occurred_s >= first_s) & (archived.table.occurred_s < last_s)
    assert task.cube.counts.sum() == np.count_nonzero(judged) > 2500
