"""The command `archive` as an operator types it."""

import os
import time

import msgspec
import pytest
from deltalake import DeltaTable

from lifecycle.archive import ArchiveTable
from schemas.errors import ArtifactError, DataError, SettingsError, SinkError
from schemas.spec import DAY_S
from tests.harness.gate_town import command
from tests.harness.kept_world import KeptWorld, rows_of
from tests.harness.small_town import LAYOUT
from tests.harness.toy import iso
from tests.unit.counting.test_count_state import CALL, SPEC, incidents
from tests.unit.lifecycle.archive.test_archive import TODAY, days_in


@pytest.fixture
def world(tmp_path):
    """Six days with an incident at nine each."""
    made = KeptWorld(tmp_path, SPEC)
    for day in range(TODAY, TODAY + 6):
        clock = day * DAY_S + 9 * 3600
        made.batch(clock, incidents([{**CALL, "key": day, "ago_s": 0}], clock))
    return made


@pytest.fixture
def path(tmp_path):
    return tmp_path / "archive"


@pytest.fixture
def run(world, path):
    environment = {
        "RISK_CHECKPOINT": str(world.checkpoint),
        "RISK_ARCHIVE": str(path),
        "RISK_ARTIFACTS": str(world.artifacts),
    }

    return lambda *words: command(*words, **environment)


def calls(path, *times_s, kind="fire"):
    lat, lon = (axis[0] for axis in SPEC.grid.centres())
    path.write_text("\n".join(["when,lat,lon,kind", *(f"{iso(at_s)},{lat},{lon},{kind}" for at_s in times_s)]))
    return path


def imported(run, file, *, layout=LAYOUT, region="toyville"):
    return run("archive", "--data", file, "--layout", layout, "--region", region)


def row(said):
    return next(line.split() for line in said.splitlines() if line.startswith("toyville"))


def test_a_run_prints_what_it_added_and_the_next_adds_nothing(run, world):
    first, second = run("archive"), run("archive")
    assert row(first) == ["toyville", "2", "2", "0", "0", "2", "none"]
    assert "version 2" in first
    assert row(second) == ["toyville", "0", "0", "0", "0", "2", "none"]


def test_a_region_whose_artifact_is_gone_does_not_stop_the_others(run, world, path):
    roster = world.checkpoint / "roster.json"
    entries = msgspec.json.decode(roster.read_bytes())
    gone = {**entries["toyville"], "folder": str(path / "gone")}
    roster.write_bytes(msgspec.json.encode({"a-town": gone, **entries}))
    with pytest.raises(ArtifactError, match="gone"):
        run("archive")
    assert days_in(rows_of(path)) == [TODAY + 1, TODAY + 2]


def test_days_before_the_stream_come_from_a_file_and_those_that_are_there_stay(run, path, tmp_path):
    run("archive")
    before = rows_of(path)
    hours = [at for day in range(-5, 4) for at in range((TODAY + day) * DAY_S, (TODAY + day + 1) * DAY_S, 3600)]
    said = imported(run, calls(tmp_path / "calls.csv", *hours))
    assert "5 days with 120 incidents added" in said  # nine, less the first and last, and two that are there
    rows = rows_of(path)
    assert days_in(rows) == list(range(TODAY - 4, TODAY + 3))
    assert {key: count for key, count in rows.items() if key[1] > TODAY} == before
    assert sum(rows.values()) == 5 * 24 + 2
    assert "0 days with 0 incidents added" in imported(run, tmp_path / "calls.csv")


def test_a_hole_in_the_file_is_left_out_and_not_zero(run, path, tmp_path):
    hours = [TODAY * DAY_S + hour * 3600 for hour in range(24 * 12) if not 24 * 4 <= hour < 24 * 7]
    said = imported(run, calls(tmp_path / "calls.csv", *hours))
    assert days_in(rows_of(path)) == [TODAY + day for day in (1, 2, 3, 7, 8, 9, 10)]
    assert "nothing is recorded for too long: 2024-10-08 to 2024-10-10" in said


def test_a_quiet_day_of_a_file_with_few_incidents_is_known_to_be_empty(run, path, tmp_path):
    times = [(TODAY + day) * DAY_S for day in (0, 1, 3, 4, 6, 7)]
    imported(run, calls(tmp_path / "calls.csv", *times))
    assert days_in(rows_of(path)) == [TODAY + day for day in range(1, 7)]


def test_a_file_with_a_category_that_the_region_lacks_is_refused(run, tmp_path):
    with pytest.raises(DataError, match="no category storm"):
        imported(run, calls(tmp_path / "calls.csv", *range(0, 5 * DAY_S, 3600), kind="storm"))


def test_a_file_of_another_time_zone_is_refused(run, tmp_path):
    file = calls(tmp_path / "calls.csv", *range(0, 5 * DAY_S, 3600))
    with pytest.raises(DataError, match="time zone is America/Chicago"):
        imported(run, file, layout=LAYOUT.replace("UTC", "America/Chicago"))


def test_a_region_without_artifact_is_refused(run, tmp_path):
    with pytest.raises(ArtifactError, match="no artifact of 'elsewhere'"):
        imported(run, "x.csv", region="elsewhere")


@pytest.mark.parametrize(
    "words", ["--data x.csv", "--region toyville", f"--data x --layout {LAYOUT} --region a --keep-days 1"]
)
def test_half_of_the_options_of_a_file_is_a_mistake(run, words):
    with pytest.raises(SettingsError, match="belong together"):
        run("archive", *words.split())


def test_old_days_are_deleted_and_their_files_after_a_week(run, world, path, monkeypatch):
    run("archive")
    files = list(path.rglob("*.parquet"))
    now_s = (TODAY + 10) * DAY_S
    monkeypatch.setattr("lifecycle.watch.time.time", lambda: now_s)
    said = run("archive", "--keep-days", "8")
    assert "1 rows older than 8 days deleted" in said
    assert days_in(rows_of(path)) == [TODAY + 2]
    assert rows_of(path, version=2)  # those who read now are not cut off
    assert set(files) <= set(path.rglob("*.parquet"))

    week_ago = time.time() - 8 * DAY_S
    orphan = path / "region=toyville" / "part-00000-orphan.parquet"  # as a killed writer leaves it
    orphan.write_bytes(b"half")
    os.utime(orphan, (week_ago, week_ago))
    again = run("archive", "--keep-days", "8")
    assert not orphan.exists()
    assert (row(again)[:2], "0 rows older" in again) == (["toyville", "0"], True)
    assert days_in(rows_of(path)) == [TODAY + 2]  # what was deleted does not come back


def test_an_archive_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match="cannot be used"):
        ArchiveTable(str(tmp_path / "file"), {})


def test_what_a_commit_says_of_itself(run, path):
    run("archive")
    newest = DeltaTable(str(path)).history(1)[0]
    assert {name: newest[name] for name in ("region", "source", "days", "incidents", "known_by_hour", "open")} == {
        "region": "toyville", "source": "stream", "days": "1", "incidents": "1", "known_by_hour": "0", "open": "0",
    }  # fmt: skip
