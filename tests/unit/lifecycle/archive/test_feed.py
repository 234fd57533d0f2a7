"""Hours in which the feed was silent or too many messages were refused: which ones the archive's days name."""

import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle import feed
from lifecycle.archive import ArchiveTable, archive_region
from lifecycle.feed import FeedLog, RegionFeed
from models.files.incident_archive import known_hours, read_archive
from schemas.batches import LoggedRegion
from schemas.decode import decode_messages
from schemas.spec import DAY_S
from tests.harness.checkpoint import KeptWorld
from tests.harness.pages import ALERTS
from tests.harness.toy import toy_event, toy_messages
from tests.unit.counting.test_count_state import CALL, HOUR, SPEC, incidents

TODAY = 20_000  # days since 1970


def life(folder, hours, *, every=1, calls=4, silent=(), rejects=None):
    """A job with calls in each `every`th hour that is not silent, and refused messages in some, archived."""
    world = KeptWorld(folder, SPEC)
    for number in range(hours):
        clock_s = TODAY * DAY_S + number * HOUR
        is_heard = number % every == 0 and number not in silent
        heard = [{**CALL, "key": calls * number + call, "ago_s": 0} for call in range(calls)] if is_heard else []
        world.batch(clock_s, incidents(heard, clock_s) if heard else None, rejected=(rejects or {}).get(number, 0))
    archive_region(ArchiveTable(str(folder / "archive"), {}), FeedLog(world.checkpoint), SPEC)
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
    archived = read_archive(f"archive:{path}")
    assert archived.table.cut_hours.tolist() == [TODAY * 24 + hour for hour in range(46, 56)]
    assert (archived.unknown, archived.until_s) == (0, (TODAY + 6) * DAY_S)
    hours = known_hours(f"archive:{path}", SPEC)
    said = [hours.says_something((TODAY * 24 + hour) * HOUR) for hour in (45, 46, 55, 56, 6 * 24)]
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
    archive_region(ArchiveTable(str(tmp_path / "archive"), {}), FeedLog(world.checkpoint), SPEC)
    cut = read_archive(f"archive:{tmp_path / 'archive'}").table.cut_hours.tolist()
    assert cut == [TODAY * 24 + number for number in bad]


def test_the_jobs_own_look_at_its_newest_days_agrees_with_the_archive(tmp_path):
    path = life(tmp_path, 9 * 24, silent=range(47, 56), rejects={100: 20})
    archived = set(read_archive(f"archive:{path}").table.cut_hours.tolist())
    assert len(archived) == 11
    live = FeedLog(tmp_path / "checkpoint")
    for newest in (4, 5, 3, 2):
        days = range(TODAY + newest - 3, TODAY + newest + 1)
        assert live.newest_cut_hours(SPEC, days[-1] * DAY_S) == {hour for hour in archived if hour // 24 in days}


@pytest.mark.parametrize("calls", [4, 1])
def test_a_running_job_sees_what_its_log_says_by_now(tmp_path, calls):
    """Asked every hour about the days before: each silence is cut out once it is long."""
    world, is_cut = KeptWorld(tmp_path, SPEC), []
    for number in range(6 * 24):
        clock_s = TODAY * DAY_S + number * HOUR
        heard = [{**CALL, "key": 4 * number + call, "ago_s": 0} for call in range(calls)]
        is_heard = number not in range(60, 90) and number % (1 if calls > 1 else 3) == 0
        world.batch(clock_s, incidents(heard, clock_s) if is_heard else None)
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
    (hours,) = RegionFeed.of(quiet).silent(longest_s=3 * HOUR)
    assert hours == range(TODAY * 24 + 5, TODAY * 24 + 10)


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
    ("title", "level", "spans", "least"),
    [
        ("Too many rejects", feed.SHARE, {feed.HALF_HOUR_S, feed.SIX_HOURS_S}, feed.LEAST),
        ("Most messages of a small feed refused", feed.SMALL_SHARE, {feed.SIX_HOURS_S}, feed.SMALL_LEAST),
    ],
)
def test_the_rules_are_those_of_the_alerts(title, level, spans, least):
    (rule,) = [alert for alert in ALERTS if alert["title"] == title]
    (condition,) = rule["data"][-1]["model"]["conditions"]
    assert condition["evaluator"] == {"type": "gt", "params": [level]}
    query, span = rule["data"][0]["model"]["query"], rule["data"][0]["relativeTimeRange"]
    windows = {span["from"]} | ({1800} if "now() - 30m" in query else set())
    assert (windows, f'"consumed" >= {least}' in query) == (spans, True)
