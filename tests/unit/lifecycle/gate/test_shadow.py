"""Judged hours as they are written, read, cut and added up to days, and whether they are late."""

from collections import defaultdict
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from lifecycle.shadow import RECENT_DAYS, days_of, drop_unneeded, judged_hours, judged_late, read_shadow, shadow_path
from schemas.forecasts import ClosedCounts, ClosedFiles, ClosedHorizon, closed_folder, last_grace_s
from schemas.spec import DAY_S, HOUR_S
from tests.harness.gate_town import CHALLENGER, CHAMPION, judged_hour, write_hours
from tests.harness.toy import toy_spec

ZONE = "America/Chicago"
VERSIONS = {"spec": toy_spec(timezone=ZONE), "champion": CHAMPION, "challenger": CHALLENGER}
START_S = 1_762_056_000  # 23:00 in Chicago, on the evening before the clocks go back


def hour(tick_s, **changes):
    number = tick_s // 3600 % 97
    fields = {
        "values": 8,
        "champion": 1.0 + number,
        "challenger": 2.0 + number,
        "baseline": 3.0 + number,
        "observed": {"ems": number, "fire": 1},
        "champion_expected": {"ems": 0.5, "fire": 0.25 * number},
        "challenger_expected": {"ems": 0.75, "fire": 0.5},
    }
    if number % 2:  # in the others nothing was followed
        fields |= {"alone": 4.0 + number, "alone_expected": {"ems": 0.125 * number, "fire": 2.0}}
    return judged_hour(tick_s, **fields | changes)


def local(tick_s):
    return datetime.fromtimestamp(tick_s, UTC).astimezone(ZoneInfo(ZONE))


OURS = {}
OTHERS = [{"horizon": "4h"}, {"champion_version": "baseline"}, {"champion_version": CHALLENGER}]
DRAWN = st.dictionaries(
    st.integers(0, 24 * 30),
    st.tuples(
        st.sampled_from([CHALLENGER, CHALLENGER, "", CHAMPION]), st.booleans(), st.sampled_from([*[OURS] * 6, *OTHERS])
    ),
    max_size=80,
)


@given(DRAWN, st.none() | st.integers(0, 24 * 30), st.randoms())
def test_days_are_those_of_a_plain_loop(drawn, start, random):
    """From the start of a trial on an hour without its challenger has failed; one that is cut out has done neither.

    Other horizons and champions do not count, and of an hour that was written twice the last line does.
    """
    if start is not None:  # at one of the hours, which counts
        start = min(drawn, key=lambda number: abs(number - start), default=start)
    since_s = None if start is None else START_S + start * 3600
    hours = [
        hour(START_S + number * 3600, **{"challenger_version": version, "is_cut": is_cut, **other})
        for number, (version, is_cut, other) in drawn.items()
    ]
    random.shuffle(hours)
    ours = [each for each in hours if (each.horizon, each.champion_version) == ("1h", CHAMPION)]
    hours = [*(replace(each, challenger=1e6) for each in ours[::3]), *hours]
    by_day = defaultdict(list)
    for each in ours:
        if each.challenger_version == CHALLENGER if since_s is None else each.tick_s >= since_s:
            by_day[local(each.tick_s).date()].append(each)
    newest = max(by_day, default=None)
    if newest and max(local(each.tick_s).hour for each in by_day[newest]) < 23:
        del by_day[newest]
    days = days_of(hours, **VERSIONS, since_s=since_s)
    assert [day.day for day in days] == [str(date) for date in sorted(by_day)]
    for day in days:
        of_day = by_day[datetime.fromisoformat(day.day).date()]
        clear = [each for each in of_day if not each.is_cut]
        judged = [each for each in clear if each.challenger_version == CHALLENGER]
        counts = (len(judged), len(clear) - len(judged), len(of_day) - len(clear), 8 * len(judged))
        assert (day.hours, day.failed, day.cut, day.values) == counts
        assert day.challenger == pytest.approx(sum(each.challenger for each in judged))
        alone = [each.champion if each.alone is None else each.alone for each in judged]
        alone_expected = [each.alone_expected or each.champion_expected for each in judged]
        assert day.alone == pytest.approx(sum(alone))
        assert day.alone_expected["ems"] == sum(expected["ems"] for expected in alone_expected)
        assert day.observed == {"ems": sum(each.observed["ems"] for each in judged), "fire": len(judged)}
        assert day.weekday == datetime.fromisoformat(day.day).isoweekday()


def test_the_days_on_which_the_clocks_change_have_23_and_25_hours():
    year = [hour(START_S + number * 3600) for number in range(24 * 365)]
    lengths = {day.day: day.hours for day in days_of(year, **VERSIONS)[1:]}
    assert {day: hours for day, hours in lengths.items() if hours != 24} == {"2025-11-02": 25, "2026-03-08": 23}


VERSION = st.sampled_from(["baseline", CHAMPION, CHALLENGER, "20260103T000000Z-cccccccc"])
LIVED = st.lists(st.tuples(st.integers(1, 90), VERSION, VERSION), min_size=1, max_size=6)  # days, champion, challenger


@given(LIVED, st.integers(0, 3))
def test_what_is_dropped_is_read_by_no_judgement_and_what_is_left_is_bounded(tmp_path_factory, lived, other):
    """A judgement of the newest champion, or of a trial beside another, is the same before and after."""
    path = tmp_path_factory.mktemp("shadow") / "town.jsonl"
    roles = [(champion, challenger) for days, champion, challenger in lived for _ in range(2 * days)]  # by half days
    before = [
        hour(START_S + number * DAY_S // 2, champion_version=champion, challenger_version=challenger)
        for number, (champion, challenger) in enumerate(roles)
    ]
    write_hours(path, before)
    newest_s, needed = before[-1].tick_s, {lived[-1][1], lived[other % len(lived)][1]}
    drop_unneeded(path, champions=needed, newest_s=newest_s)
    after = list(read_shadow(path))
    for champion in needed:
        for challenger in (None, CHALLENGER):
            ours = {"spec": toy_spec(timezone=ZONE), "champion": champion, "challenger": challenger, "since_s": START_S}
            assert days_of(after, **ours) == days_of(before, **ours)
    left = {each.tick_s for each in after}
    dropped = [each for each in before if each.tick_s not in left]
    assert all(each.tick_s < newest_s - RECENT_DAYS * DAY_S and each.champion_version not in needed for each in dropped)
    assert sum(each.champion_version not in needed for each in after) <= 2 * RECENT_DAYS + 1


def test_a_file_is_read_by_its_horizon_and_its_champion(tmp_path):
    path = shadow_path(tmp_path, "toyville")
    hours = [
        hour(START_S + number * HOUR_S, horizon=horizon, champion_version=champion)
        for number in range(3)
        for horizon in ("1h", "24h")
        for champion in (CHAMPION, CHALLENGER)
    ]
    write_hours(path, hours)
    assert list(read_shadow(path)) == hours
    assert list(judged_hours(tmp_path, toy_spec())) == [each for each in hours if each.horizon == "1h"]
    read = list(judged_hours(tmp_path, toy_spec(), CHAMPION))
    assert read == [each for each in hours if (each.horizon, each.champion_version) == ("1h", CHAMPION)]
    assert len(read) == 3  # the challenger's own name stands in every line


@pytest.mark.parametrize("fails", ["os.fsync", "pathlib.Path.replace"])
def test_a_kill_while_hours_are_dropped_leaves_the_file_of_before(tmp_path, monkeypatch, fails):
    path = tmp_path / "town.jsonl"
    old = [hour(START_S + number * DAY_S, champion_version=CHALLENGER) for number in range(200)]
    write_hours(path, old)
    path.write_bytes(path.read_bytes() + b'{"cut off')
    before, newest_s = path.read_bytes(), old[-1].tick_s
    with monkeypatch.context() as patched:
        patched.setattr(fails, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            drop_unneeded(path, champions=[CHAMPION], newest_s=newest_s)
    assert path.read_bytes() == before
    drop_unneeded(path, champions=[CHAMPION], newest_s=newest_s)
    assert list(read_shadow(path)) == old[-RECENT_DAYS - 1 :]
    assert path.read_bytes().endswith(b'{"cut off')  # the next hour's writer cuts it
    written = path.stat().st_ino
    drop_unneeded(path, champions=[CHAMPION], newest_s=newest_s)
    assert path.stat().st_ino == written  # nothing was left to drop
    assert [each.name for each in tmp_path.iterdir()] == ["town.jsonl"]


SPEC = toy_spec(region="town")
NEWEST_S = 1_800_000_000
DUE_S = NEWEST_S + SPEC.horizons_s[0] + last_grace_s(SPEC)
LATE_S = NEWEST_S + (1 + 24 + 1 + 3) * 3600 + 1  # itself, late reports, grace, judge


def late_of(checkpoint, now_s, *, since_s=0):
    return judged_late(checkpoint, SPEC, since_s=since_s, now_s=now_s)


@pytest.mark.usefixtures("far_from_utc")
def test_late_hours_want_a_judge_where_counts_wait_and_else_the_job_and_a_young_trial_has_none(tmp_path):
    assert late_of(tmp_path, LATE_S - 1, since_s=NEWEST_S) == ""
    assert late_of(tmp_path, LATE_S, since_s=NEWEST_S).startswith("no hour is judged, ")
    write_hours(shadow_path(tmp_path, "town"), [judged_hour(NEWEST_S)])
    assert late_of(tmp_path, LATE_S - 1) == ""
    assert "see whether it runs, and RISK_CHECKPOINT" in late_of(tmp_path, LATE_S)
    observed = np.zeros((SPEC.grid.cells, len(SPEC.categories)), np.int32)
    closed = ClosedHorizon(horizon=0, tick_s=NEWEST_S, judged_s=DUE_S, observed=observed)
    ClosedFiles(closed_folder(tmp_path)).keep(SPEC, [ClosedCounts.of(closed)])
    assert late_of(tmp_path, LATE_S) == (
        "the newest judged hour began at 2027-01-15 08:00 UTC, and 1 files of counts wait: see `risk watch --check`"
    )
