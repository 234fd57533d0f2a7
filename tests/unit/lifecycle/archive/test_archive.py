"""The archive's table against a recount of the messages, its command, and a kill at each step of a commit."""

import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from typer.testing import CliRunner

from incident_risk import app
from lifecycle.archive import ArchiveTable, archive_region, regions_of
from lifecycle.feed import FeedLog
from models.counting.count_state import BIN_S
from models.files.incident_archive import day_text, spans
from schemas.errors import ArtifactError, CheckpointError, DataError, SettingsError, SinkError
from schemas.spec import DAY_S
from tests.harness.checkpoint import KeptWorld, rows_of
from tests.harness.gate_town import command
from tests.harness.processes import run_python
from tests.harness.small_town import LAYOUT
from tests.harness.toy import iso
from tests.unit.counting.test_count_state import CALL, HOUR, SPEC, event, incidents, recount

TODAY = 20_000  # days since 1970
START = TODAY * DAY_S + 9 * HOUR


def archived(world, path):
    return archive_region(ArchiveTable(str(path), {}), FeedLog(world.checkpoint), world.spec)


def recounted(world, days):
    """{(region, day, cell, category, bin): count} of the final revisions as they were when each day was closed."""
    counted = Counter()
    for day in days:
        closed_s = (day + 1) * DAY_S + world.spec.registry_keep_s
        _, total = recount([batch for batch in world.taken if batch[0] < closed_s])
        for (width, bin_, cell, kind), count in total.items():
            if width == BIN_S and bin_ * BIN_S // DAY_S == day and count:
                counted[world.spec.region, day, cell, world.spec.categories[kind], bin_ % (DAY_S // BIN_S)] += count
    return counted


def days_in(rows):
    return sorted({day for _, day, *_ in rows})


def quiet_days(world, first, last, *, hour=9):
    for day in range(first, last + 1):
        world.batch(day * DAY_S + hour * HOUR)


@st.composite
def fortnights(draw):
    clock, batches, offset = START, [], 0
    for events in draw(st.lists(st.lists(event, max_size=5), min_size=12, max_size=30)):
        batch = incidents(events, clock, offset)
        batches.append((clock, batch))
        offset += len(events)
        clock += draw(st.sampled_from([1, 300, 5 * HOUR, 13 * HOUR, 23 * HOUR]))
    return batches


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fortnights(), st.sets(st.integers(0, 29)), st.booleans())
def test_the_table_equals_a_recount_of_the_messages(tmp_path_factory, batches, runs, reuse):
    """Late, corrected, cancelled and repeated messages among them; archived at any times, also twice."""
    folder = tmp_path_factory.mktemp("world")
    world = KeptWorld(folder, SPEC)
    by_hour = 0
    for number, (clock, batch) in enumerate(batches):
        if not reuse:  # an id of its own for each
            batch.key[:] = np.arange(len(batch)) + 1000 * number
        world.batch(clock, batch)
        if number in runs:
            by_hour += sum(day.by_hour for day in archived(world, folder / "archive").written)
    done = archived(world, folder / "archive")
    by_hour += sum(day.by_hour for day in done.written)
    rows = rows_of(folder / "archive")
    kept_on = batches[-1][0] // DAY_S
    closed = range(TODAY + 1, kept_on - 2)  # the first day was not whole; two days and one are remembered
    assert days_in(rows) == list(closed)
    assert done.missing == ()
    counted = {key: count for key, count in rows.items() if count}
    expected = recounted(world, closed)
    if by_hour:
        assert reuse
        assert hours(counted) == hours(expected)
    else:
        assert counted == expected
    assert archived(world, folder / "archive").written == ()


def hours(rows):
    by_hour = Counter()
    for (*place, bin_), count in rows.items():
        by_hour[*place, bin_ // 12] += count
    return by_hour


@pytest.fixture
def world(tmp_path):
    return KeptWorld(tmp_path, SPEC)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "archive"


def test_a_day_without_an_incident_is_known_to_be_empty_and_one_commit_that_names_its_region(world, path):
    quiet_days(world, TODAY, TODAY + 5)
    done = archived(world, path)
    assert [counts.incidents for counts in done.written] == [0, 0]
    empty = {("toyville", day, 0, SPEC.categories[0], 0): 0 for day in (TODAY + 1, TODAY + 2)}
    assert rows_of(path) == empty
    table = DeltaTable(str(path))
    assert table.version() == 2
    assert table.transaction_version("toyville") == TODAY + 2


@pytest.mark.parametrize(
    ("off_s", "lost"),
    [
        (DAY_S, []),  # what is a day late is still counted
        (DAY_S + 1, [3]),  # a report of the day before, a day late, may be missing
        (4 * DAY_S, [3, 4, 5, 6]),
    ],
)
def test_days_of_a_long_standstill_are_missing_and_not_zero(world, path, off_s, lost):
    quiet_days(world, TODAY, TODAY + 4)
    last_s = world.taken[-1][0]
    again_s = last_s + off_s
    for day in range(12):
        world.batch(again_s + day * DAY_S)
    done = archived(world, path)
    newest = world.taken[-1][0] // DAY_S - 3
    expected = [day for day in range(TODAY + 1, newest + 1) if day - TODAY not in lost]
    assert days_in(rows_of(path)) == expected
    assert done.missing == tuple(spans({TODAY + day for day in lost}))


def test_a_day_whose_kept_counts_are_gone_is_missing(world, path):
    quiet_days(world, TODAY, TODAY + 9)
    gone = world.checkpoint / "batches" / day_text(TODAY + 6) / "toyville.counts"  # closes TODAY + 3
    gone.unlink()
    done = archived(world, path)
    assert days_in(rows_of(path)) == [TODAY + day for day in (1, 2, 3, 4, 5, 6)]  # the next file closes two days
    assert sum(day.by_hour for day in done.written) == 0

    for day in range(TODAY, TODAY + 7):
        (world.checkpoint / "batches" / day_text(day) / "toyville.counts").unlink(missing_ok=True)
    fresh = archived(world, path.with_name("fresh"))
    assert days_in(rows_of(path.with_name("fresh"))) == [TODAY + 4, TODAY + 5, TODAY + 6]
    assert fresh.missing == ()


def test_days_of_which_not_even_the_hours_are_kept_are_missing_and_not_zero(world, path):
    for day in range(TODAY, TODAY + 30):
        clock = day * DAY_S + 9 * HOUR
        world.batch(clock, incidents([{**CALL, "key": day, "ago_s": 0}], clock))
    for day in range(TODAY + 4, TODAY + 25):
        (world.checkpoint / "batches" / day_text(day) / "toyville.counts").unlink()
    archived(world, path)
    rows = rows_of(path)
    assert days_in(rows) == list(range(TODAY + 10, TODAY + 27))  # from TODAY + 25 the hours reach back 15 days
    assert set(rows.values()) == {1}


def test_of_a_first_start_only_whole_days_count(world, path):
    """The artifact's history ends years before; what lies between is unknown, and not quiet."""
    late = incidents([{**CALL, "key": 1, "ago_s": 20 * HOUR}], START)
    world.batch(START, late)
    quiet_days(world, TODAY + 1, TODAY + 5)
    archived(world, path)
    assert days_in(rows_of(path)) == [TODAY + 1, TODAY + 2]


def test_two_regions_share_a_table(tmp_path, world, path):
    other = KeptWorld(tmp_path / "other", replace(SPEC, region="elsewhere"))
    for region in (world, other):
        quiet_days(region, TODAY, TODAY + 4)
        archived(region, path)
    assert {region for region, *_ in rows_of(path)} == {"toyville", "elsewhere"}


def test_of_two_writers_that_do_not_know_of_each_other_one_is_refused(world, path):
    quiet_days(world, TODAY, TODAY + 4)
    first, second = (ArchiveTable(str(path), {}) for _ in range(2))
    archive_region(first, FeedLog(world.checkpoint), SPEC)
    before = rows_of(path)
    with pytest.raises(SinkError, match="another process writes the archive"):
        archive_region(second, FeedLog(world.checkpoint), SPEC)
    assert rows_of(path) == before


def test_a_checkpoint_that_is_empty_or_on_the_clock_of_the_events_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="is empty"):
        regions_of(tmp_path)
    with pytest.raises(CheckpointError, match="clock of the events"):
        regions_of(KeptWorld(tmp_path, SPEC, clock="event").checkpoint)


def test_spans_of_days():
    assert list(spans({0, 1, 2, 4})) == ["1970-01-01 to 1970-01-03", "1970-01-05"]
    assert list(spans(())) == []


@pytest.fixture
def six_days(tmp_path):
    """Six days with an incident at nine each."""
    made = KeptWorld(tmp_path, SPEC)
    for day in range(TODAY, TODAY + 6):
        clock = day * DAY_S + 9 * 3600
        made.batch(clock, incidents([{**CALL, "key": day, "ago_s": 0}], clock))
    return made


@pytest.fixture
def run(six_days, path):
    environment = {
        "RISK_CHECKPOINT": str(six_days.checkpoint),
        "RISK_ARCHIVE": str(path),
        "RISK_ARTIFACTS": str(six_days.artifacts),
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


def test_a_run_prints_what_it_added_as_its_commit_says_and_the_next_adds_nothing(run, path):
    first, second = run("archive"), run("archive")
    assert row(first) == ["toyville", "2", "2", "0", "0", "2", "none"]
    assert "version 2" in first
    assert row(second) == ["toyville", "0", "0", "0", "0", "2", "none"]
    newest = DeltaTable(str(path)).history(1)[0]
    told = {"region": "toyville", "source": "stream", "days": "1", "incidents": "1", "known_by_hour": "0", "open": "0"}
    assert {name: newest[name] for name in told} == told


def test_a_region_whose_artifact_is_gone_does_not_stop_the_others(run, six_days, path):
    roster = six_days.checkpoint / "roster.json"
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


@pytest.mark.parametrize(
    ("kind", "fields", "error", "said"),
    [
        ("storm", {}, DataError, "no category storm"),
        ("fire", {"layout": LAYOUT.replace("UTC", "America/Chicago")}, DataError, "time zone is America/Chicago"),
        ("fire", {"region": "elsewhere"}, ArtifactError, "no artifact of 'elsewhere'"),
    ],
)
def test_a_file_that_does_not_fit_its_region_is_refused(run, tmp_path, kind, fields, error, said):
    file = calls(tmp_path / "calls.csv", *range(0, 5 * DAY_S, 3600), kind=kind)
    with pytest.raises(error, match=said):
        imported(run, file, **fields)


@pytest.mark.parametrize(
    "words", ["--data x.csv", "--region toyville", f"--data x --layout {LAYOUT} --region a --keep-days 1"]
)
def test_half_of_the_options_of_a_file_is_a_mistake(run, words):
    with pytest.raises(SettingsError, match="belong together"):
        run("archive", *words.split())


def test_old_days_are_deleted_and_their_files_after_a_week(run, six_days, path, monkeypatch):
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


COMPILER = shutil.which("cc")
ROOT = Path(__file__).parents[4]
DAYS = range(TODAY + 1, TODAY + 5)


@pytest.fixture(scope="module")
def week(tmp_path_factory):
    """A week of incidents, some corrected a day later."""
    draw = random.Random(1)
    made = KeptWorld(tmp_path_factory.mktemp("killed"), SPEC)
    for number in range(2 * 24 * 4):
        clock = TODAY * 86_400 + number * HOUR
        key, place = number + 1, {"cell": draw.randrange(4), "category": draw.randrange(2)}
        events = [{**CALL, **place, "key": key, "ago_s": draw.randrange(HOUR)}]
        if number > 24:
            events.append({**CALL, **place, "key": key - 24, "revision": 1, "ago_s": 25 * HOUR})
        made.batch(clock, incidents(events, clock))
    return made


@pytest.fixture(scope="module")
def killer(tmp_path_factory):
    library = tmp_path_factory.mktemp("killer") / "kill_at.so"
    source = Path(__file__).with_name("kill_at.c")
    subprocess.run([COMPILER, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return str(library)


@pytest.mark.skipif(COMPILER is None, reason="needs a C compiler (Debian: apt-get install gcc libc6-dev)")
@pytest.mark.parametrize(
    ("file", "when", "committed"),
    [("data", "before", 0), ("data", "after", 0), ("log", "before", 0), ("log", "after", 1)],
)
def test_a_kill_at_any_step_of_a_commit_loses_and_doubles_nothing(week, killer, tmp_path, file, when, committed):
    """At the second day's commit: one day is there, and two are to come."""
    path = tmp_path / "archive"
    hit = {"data": "2", "log": "3"}[file]  # to make the table is a commit, too
    settings = {"RISK_CHECKPOINT": str(week.checkpoint), "RISK_ARCHIVE": str(path)}
    kill = {"LD_PRELOAD": killer, "KILL_AT": file, "KILL_WHEN": when, "KILL_HIT": hit}
    killed = run_python("-m", "incident_risk", "archive", cwd=ROOT, env=os.environ | settings | kill)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert days_in(rows_of(path)) == list(DAYS)[: 1 + committed]
    CliRunner().invoke(app, ["archive"], env=settings, catch_exceptions=False)
    assert rows_of(path) == recounted(week, DAYS)
