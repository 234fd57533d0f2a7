"""The archive's table against a recount of the messages themselves, over many days, standstills and repeats."""

from collections import Counter

import numpy as np
import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from lifecycle.archive import ArchiveTable, archive_region, regions_of
from lifecycle.feed import FeedLog
from models.counting.count_state import BIN_S
from models.files.incident_archive import day_text, spans
from schemas.errors import CheckpointError, SinkError
from schemas.spec import DAY_S
from tests.harness.kept_world import KeptWorld, rows_of
from tests.unit.counting.test_count_state import CALL, HOUR, SPEC, event, incidents, recount

TODAY = 20_000  # days since 1970
START = TODAY * DAY_S + 9 * HOUR


def run(world, path):
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
            by_hour += sum(day.by_hour for day in run(world, folder / "archive").written)
    done = run(world, folder / "archive")
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
    assert run(world, folder / "archive").written == ()


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


def test_a_day_without_an_incident_is_known_to_be_empty(world, path):
    quiet_days(world, TODAY, TODAY + 5)
    done = run(world, path)
    assert [counts.incidents for counts in done.written] == [0, 0]
    empty = {("toyville", day, 0, SPEC.categories[0], 0): 0 for day in (TODAY + 1, TODAY + 2)}
    assert rows_of(path) == empty


def test_a_day_is_one_commit_that_names_its_region(world, path):
    quiet_days(world, TODAY, TODAY + 5)
    run(world, path)
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
    done = run(world, path)
    newest = world.taken[-1][0] // DAY_S - 3
    expected = [day for day in range(TODAY + 1, newest + 1) if day - TODAY not in lost]
    assert days_in(rows_of(path)) == expected
    assert done.missing == tuple(spans({TODAY + day for day in lost}))


def test_a_day_whose_kept_counts_are_gone_is_missing(world, path):
    quiet_days(world, TODAY, TODAY + 9)
    gone = world.checkpoint / "batches" / day_text(TODAY + 6) / "toyville.counts"  # closes TODAY + 3
    gone.unlink()
    done = run(world, path)
    assert days_in(rows_of(path)) == [TODAY + day for day in (1, 2, 3, 4, 5, 6)]  # the next file closes two days
    assert sum(day.by_hour for day in done.written) == 0

    for day in range(TODAY, TODAY + 7):
        (world.checkpoint / "batches" / day_text(day) / "toyville.counts").unlink(missing_ok=True)
    fresh = run(world, path.with_name("fresh"))
    assert days_in(rows_of(path.with_name("fresh"))) == [TODAY + 4, TODAY + 5, TODAY + 6]
    assert fresh.missing == ()


def test_days_of_which_not_even_the_hours_are_kept_are_missing_and_not_zero(world, path):
    for day in range(TODAY, TODAY + 30):
        clock = day * DAY_S + 9 * HOUR
        world.batch(clock, incidents([{**CALL, "key": day, "ago_s": 0}], clock))
    for day in range(TODAY + 4, TODAY + 25):
        (world.checkpoint / "batches" / day_text(day) / "toyville.counts").unlink()
    run(world, path)
    rows = rows_of(path)
    assert days_in(rows) == list(range(TODAY + 10, TODAY + 27))  # from TODAY + 25 the hours reach back 15 days
    assert set(rows.values()) == {1}


def test_of_a_first_start_only_whole_days_count(world, path):
    """The artifact's history ends years before; what lies between is unknown, and not quiet."""
    late = incidents([{**CALL, "key": 1, "ago_s": 20 * HOUR}], START)
    world.batch(START, late)
    quiet_days(world, TODAY + 1, TODAY + 5)
    run(world, path)
    assert days_in(rows_of(path)) == [TODAY + 1, TODAY + 2]


def test_two_regions_share_a_table(tmp_path, world, path):
    other = KeptWorld(tmp_path / "other", replace(SPEC, region="elsewhere"))
    for region in (world, other):
        quiet_days(region, TODAY, TODAY + 4)
        run(region, path)
    assert {region for region, *_ in rows_of(path)} == {"toyville", "elsewhere"}


def test_of_two_writers_that_do_not_know_of_each_other_one_is_refused(world, path):
    quiet_days(world, TODAY, TODAY + 4)
    first, second = (ArchiveTable(str(path), {}) for _ in range(2))
    archive_region(first, FeedLog(world.checkpoint), SPEC)
    before = rows_of(path)
    with pytest.raises(SinkError, match="another process writes the archive"):
        archive_region(second, FeedLog(world.checkpoint), SPEC)
    assert rows_of(path) == before


def test_a_checkpoint_on_the_clock_of_the_events_is_refused(tmp_path):
    world = KeptWorld(tmp_path, SPEC, clock="event")
    with pytest.raises(CheckpointError, match="clock of the events"):
        regions_of(world.checkpoint)


def test_a_checkpoint_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="is empty"):
        regions_of(tmp_path)


def test_spans_of_days():
    assert list(spans({0, 1, 2, 4})) == ["1970-01-01 to 1970-01-03", "1970-01-05"]
    assert list(spans(())) == []
