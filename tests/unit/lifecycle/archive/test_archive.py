"""The archive's table against a recount of the messages, its command, kills at each step of a commit, and cut hours."""

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

from lifecycle import archive
from lifecycle.archive import ArchiveTable, FeedLog, RegionFeed, archive_region, regions_of
from models.counting.count_state import BIN_S
from models.files.incident_archive import day_text, known_hours, read_archive, spans
from schemas.batches import LoggedRegion
from schemas.decode import decode_messages
from schemas.errors import ArtifactError, CheckpointError, DataError, SettingsError, SinkError
from schemas.spec import DAY_S
from tests.harness.checkpoint import KeptWorld, rows_of
from tests.harness.gate_town import command
from tests.harness.pages import ALERTS
from tests.harness.processes import run_python
from tests.harness.small_town import LAYOUT
from tests.harness.toy import iso, toy_event, toy_messages
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


def heard(clock_s, key, calls):
    """So many calls of that moment, or nothing."""
    return incidents([{**CALL, "key": key + call, "ago_s": 0} for call in range(calls)], clock_s) if calls else None


def live(world, first, last, *, calls=0):
    """Days from first to last, with a batch at nine and so many calls in it."""
    for day in range(first, last + 1):
        clock_s = day * DAY_S + 9 * HOUR
        world.batch(clock_s, heard(clock_s, day, calls))


def forget(world, days):
    """Their kept counts are gone."""
    for day in days:
        (world.checkpoint / "batches" / day_text(day) / "toyville.counts").unlink(missing_ok=True)


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
    live(world, TODAY, TODAY + 5)
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
    live(world, TODAY, TODAY + 4)
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
    live(world, TODAY, TODAY + 9)
    forget(world, [TODAY + 6])  # it closes TODAY + 3
    done = archived(world, path)
    assert days_in(rows_of(path)) == [TODAY + day for day in (1, 2, 3, 4, 5, 6)]  # the next file closes two days
    assert sum(day.by_hour for day in done.written) == 0

    forget(world, range(TODAY, TODAY + 7))
    fresh = archived(world, path.with_name("fresh"))
    assert days_in(rows_of(path.with_name("fresh"))) == [TODAY + 4, TODAY + 5, TODAY + 6]
    assert fresh.missing == ()


def test_days_of_which_not_even_the_hours_are_kept_are_missing_and_not_zero(world, path):
    live(world, TODAY, TODAY + 29, calls=1)
    forget(world, range(TODAY + 4, TODAY + 25))
    archived(world, path)
    rows = rows_of(path)
    assert days_in(rows) == list(range(TODAY + 10, TODAY + 27))  # from TODAY + 25 the hours reach back 15 days
    assert set(rows.values()) == {1}


def test_of_a_first_start_only_whole_days_count(world, path):
    """The artifact's history ends years before; what lies between is unknown, and not quiet."""
    late = incidents([{**CALL, "key": 1, "ago_s": 20 * HOUR}], START)
    world.batch(START, late)
    live(world, TODAY + 1, TODAY + 5)
    archived(world, path)
    assert days_in(rows_of(path)) == [TODAY + 1, TODAY + 2]


def test_two_regions_share_a_table(tmp_path, world, path):
    other = KeptWorld(tmp_path / "other", replace(SPEC, region="elsewhere"))
    for region in (world, other):
        live(region, TODAY, TODAY + 4)
        archived(region, path)
    assert {region for region, *_ in rows_of(path)} == {"toyville", "elsewhere"}


def test_of_two_writers_that_do_not_know_of_each_other_one_is_refused(world, path):
    live(world, TODAY, TODAY + 4)
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
    live(made, TODAY, TODAY + 5, calls=1)
    return made


@pytest.fixture
def run(six_days, path):
    places = {"CHECKPOINT": six_days.checkpoint, "ARTIFACTS": six_days.artifacts, "ARCHIVE": path}
    environment = {f"RISK_{name}": str(place) for name, place in places.items()}
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
    command("archive", **settings)
    assert rows_of(path) == recounted(week, DAYS)


def life(folder, hours, *, every=1, calls=4, silent=(), rejects=None):
    """A job with calls in each `every`th hour that is not silent, and refused messages in some, archived."""
    world = KeptWorld(folder, SPEC)
    for number in range(hours):
        clock_s = TODAY * DAY_S + number * HOUR
        is_heard = number % every == 0 and number not in silent
        taken = heard(clock_s, calls * number, calls * is_heard)
        world.batch(clock_s, taken, rejected=(rejects or {}).get(number, 0))
    archived(world, folder / "archive")
    return folder / "archive"


def cut_of(path):
    """{day: hours that are cut out, None when not known} of the table, read without our reader."""
    rows = DeltaTable(str(path)).to_pyarrow_table().to_pylist()
    bits = {row["day"].toordinal() - 719_163 - TODAY: row["cut_hours"] for row in rows}
    return {day: None if cut is None else [hour for hour in range(24) if cut >> hour & 1] for day, cut in bits.items()}


def test_a_silence_is_cut_out_from_its_last_incident_to_its_end(tmp_path):
    """At 46 h comes the last incident; from 50 h on the alert is up; at 56 h there is one again."""
    path = life(tmp_path, 9 * 24, silent=range(47, 56))
    cut = cut_of(path)
    assert cut == {1: [22, 23], 2: list(range(8)), 3: [], 4: [], 5: []}
    read = read_archive(f"archive:{path}")
    assert read.table.cut_hours.tolist() == [TODAY * 24 + hour for hour in range(46, 56)]
    assert (read.unknown, read.until_s) == (0, (TODAY + 6) * DAY_S)
    known = known_hours(f"archive:{path}", SPEC)
    said = [known.says_something((TODAY * 24 + hour) * HOUR) for hour in (45, 46, 55, 56, 6 * 24)]
    assert said == [True, False, False, True, False]  # of the last one the archive says nothing yet


def test_hours_whose_broken_messages_name_their_region_are_cut_out(tmp_path):
    """From bytes to the archive: 60 messages an hour, and in twelve hours 40 more that are refused."""
    world, bad = KeptWorld(tmp_path, SPEC), range(30, 42)
    for number in range(6 * 24):
        clock_s = TODAY * DAY_S + number * HOUR
        sound = [toy_event(SPEC, at_s=clock_s, cell=0, incident_id=f"{number}-{call}") for call in range(60)]
        refused = [b'{"region": "%s", "incident_' % SPEC.region.encode()] * (40 * (number in bad))
        decoded = decode_messages(toy_messages(sound + refused, 1000 * clock_s), {SPEC.region: SPEC})
        assert decoded.rejections.keys() <= {SPEC.region}
        taken = decoded.incidents[SPEC.region]
        world.batch(clock_s, taken, rejected=len(decoded.rejections.get(SPEC.region, [])))
    archived(world, tmp_path / "archive")
    cut = read_archive(f"archive:{tmp_path / 'archive'}").table.cut_hours.tolist()
    assert cut == [TODAY * 24 + number for number in bad]


def test_the_jobs_own_look_at_its_newest_days_agrees_with_the_archive(tmp_path):
    path = life(tmp_path, 9 * 24, silent=range(47, 56), rejects={100: 20})
    cut = set(read_archive(f"archive:{path}").table.cut_hours.tolist())
    assert len(cut) == 11
    live = FeedLog(tmp_path / "checkpoint")
    for newest in (4, 5, 3, 2):
        days = range(TODAY + newest - 3, TODAY + newest + 1)
        assert live.newest_cut_hours(SPEC, days[-1] * DAY_S) == {hour for hour in cut if hour // 24 in days}


@pytest.mark.parametrize("calls", [4, 1])
def test_a_running_job_sees_what_its_log_says_by_now(tmp_path, calls):
    """Asked every hour about the days before: each silence is cut out once it is long."""
    world, is_cut = KeptWorld(tmp_path, SPEC), []
    for number in range(6 * 24):
        clock_s = TODAY * DAY_S + number * HOUR
        is_heard = number not in range(60, 90) and number % (1 if calls > 1 else 3) == 0
        world.batch(clock_s, heard(clock_s, 4 * number, calls * is_heard))
        cut = FeedLog(tmp_path / "checkpoint").newest_cut_hours(SPEC, clock_s - 26 * HOUR)
        is_cut.append(TODAY * 24 + 62 in cut)
    # From the first time that its day is asked about; where a call comes in three hours, after 30 hours of silence
    assert is_cut.index(True) == (74 if calls > 1 else 88)


def test_silences_up_to_the_alerts_level_are_none(tmp_path):
    assert set().union(*cut_of(life(tmp_path, 9 * 24, silent=(48, 49, 50))).values()) == set()


def test_a_small_region_has_quiet_nights_without_any_fault(tmp_path):
    """A call in four hours: the alert fires between any two, and nothing is cut out until four days are silent."""
    cut = cut_of(life(tmp_path, 24 * 24, every=4, calls=1, silent=range(292, 388)))
    whole, quiet = list(range(24)), {day: [] for day in range(1, 21)}
    assert cut == quiet | {12: whole, 13: whole, 14: whole, 15: whole, 16: [0, 1, 2, 3]}


def test_hours_of_refused_messages_are_cut_out_where_they_are_too_many(tmp_path):
    """With a message an hour: two of eight in six hours are too few for the first rule, and no half for the second."""
    cut = cut_of(life(tmp_path, 9 * 24, calls=1, rejects={30: 2, 60: 20, 61: 1, 90: 7}))
    assert cut == {1: [], 2: [12, 13], 3: [18], 4: [], 5: []}


def test_a_stream_without_any_incident_is_silent_since_its_first_batch():
    """Not since 1970: the hours before a `checkpoint --reset` are no silence."""
    at_s = TODAY * DAY_S + 5 * HOUR
    quiet = [LoggedRegion(as_of_s=at_s + minute * 60, newest_event_s=0) for minute in range(5 * 60)]
    assert list(RegionFeed.of(quiet[:180]).silent(longest_s=3 * HOUR)) == []
    (silence,) = RegionFeed.of(quiet).silent(longest_s=3 * HOUR)
    assert silence == range(TODAY * 24 + 5, TODAY * 24 + 10)


minute = st.tuples(st.integers(1, 240), st.integers(0, 12), st.integers(0, 12))


@settings(max_examples=60, deadline=None)
@given(st.lists(minute, min_size=1, max_size=25))
def test_refusals_equal_a_recount_by_the_words_of_the_alerts(steps):
    """Half an hour decides where it has twenty messages, else six hours; or most of five messages in six hours."""
    at_s, batches, taken = TODAY * DAY_S, [], []
    totals = {"consumed": 0, "rejected": 0}
    for minutes, good, bad in steps:
        at_s += 60 * minutes
        if batches:  # what the first line has was before the log
            taken.append((at_s, good + bad, bad))
        totals = {"consumed": totals["consumed"] + good + bad, "rejected": totals["rejected"] + bad}
        batches.append(LoggedRegion(as_of_s=at_s, totals=totals, newest_event_s=at_s))
    expected = set()
    for end_s, *_ in taken:
        half, six = ([batch for batch in taken if end_s - window < batch[0] <= end_s] for window in (1800, 21_600))
        first = half if sum(batch[1] for batch in half) >= 20 else six
        for inside, least, share in ((first, 20, 0.05), (six, 5, 0.5)):
            messages, refused = (sum(batch[place] for batch in inside) for place in (1, 2))
            if messages >= least and refused > share * messages:
                expected |= {batch[0] // HOUR for batch in inside if batch[2]}
    assert RegionFeed.of(batches).refused() == expected


@pytest.mark.parametrize(
    ("title", "level", "windows", "least"),
    [
        ("Too many rejects", archive.SHARE, {archive.HALF_HOUR_S, archive.SIX_HOURS_S}, archive.LEAST),
        ("Most messages of a small feed refused", archive.SMALL_SHARE, {archive.SIX_HOURS_S}, archive.SMALL_LEAST),
    ],
)
def test_the_rules_are_those_of_the_alerts(title, level, windows, least):
    (rule,) = [alert for alert in ALERTS if alert["title"] == title]
    (condition,) = rule["data"][-1]["model"]["conditions"]
    assert condition["evaluator"] == {"type": "gt", "params": [level]}
    query, span = rule["data"][0]["model"]["query"], rule["data"][0]["relativeTimeRange"]
    asked = {span["from"]} | ({1800} if "now() - 30m" in query else set())
    assert (asked, f'"consumed" >= {least}' in query) == (windows, True)
