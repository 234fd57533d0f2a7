"""Files of incidents: layouts, times, intervals and repeated calls."""

import gzip
import math
import zipfile
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from models.files.incident_files import draw_within, merge_repeated, read_incidents, slug
from models.files.layouts import LAYOUTS, parse_layout
from schemas.errors import DataError
from tests.harness.toy import toy_table

CHICAGO = """\
10/12/2017 07:14:00 PM,CRIMINAL DAMAGE,41.918711651,-87.76551063
09/06/2017 12:30:00 AM,THEFT,41.844510467,-87.705519454
10/12/2017 07:14:00 PM,CRIMINAL DAMAGE,41.918711651,-87.76551063
"""
MONTGOMERY = """\
lat,lng,desc,zip,title,timeStamp,twp,addr,e
40.2978759,-75.5812935,"A CT, WITH COMMA; STN 332",19525,EMS: BACK PAINS,2015-12-10 17:40:00,NEW HANOVER,A CT,1
40.1211818,-75.3519752,B AVE,,Fire: GAS-ODOR/LEAK,2015-12-10 17:40:01,NORRISTOWN,B AVE,1
"""


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def read(tmp_path, text, layout=None, **how):
    return read_incidents(write(tmp_path / "t.csv", text), layout or generic(), **how)


def utc(text):
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def generic(**changes):
    layout = parse_layout("name=town,time=when,lat=y,lon=x,category=kind,timezone=America/Chicago")
    return replace(layout, **changes)


def rows(*times):
    return "when,y,x,kind\n" + "".join(f"{time},41.9,-87.6,fire\n" for time in times)


def test_chicago_is_sorted_by_time_and_keeps_rows_that_repeat(tmp_path):
    table = read(tmp_path, CHICAGO, LAYOUTS["chicago"])
    assert table.occurred_s.tolist() == [utc("2017-09-06 05:30:00"), utc("2017-10-13 00:14"), utc("2017-10-13 00:14")]
    assert table.categories == ("criminal_damage", "theft")
    assert table.category.tolist() == [1, 0, 0]
    assert table.lat_deg.tolist() == [41.844510467, 41.918711651, 41.918711651]
    assert table.exact_duplicates == 1
    assert [table.incident_id(i) for i in range(3)] == ["chicago-0000002", "chicago-0000001", "chicago-0000003"]


def test_montgomery_takes_the_class_before_the_colon_and_nothing_street_level(tmp_path):
    table = read(tmp_path, MONTGOMERY, LAYOUTS["montgomery"])
    assert table.categories == ("ems", "fire")
    assert table.occurred_s.tolist() == [utc("2015-12-10 22:40:00"), utc("2015-12-10 22:40:01")]
    assert "AVE" not in repr(table)


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".zip"])
def test_plain_gzipped_and_zipped_files_read_the_same(tmp_path, suffix):
    path = tmp_path / f"calls{suffix}"
    if suffix == ".csv":
        write(path, MONTGOMERY)
    elif suffix == ".csv.gz":
        path.write_bytes(gzip.compress(MONTGOMERY.encode()))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("calls.csv", MONTGOMERY)
    assert read_incidents(path, LAYOUTS["montgomery"]).lon_deg.tolist() == [-75.5812935, -75.3519752]


@pytest.mark.parametrize(
    ("local", "in_utc", "ambiguous", "nonexistent"),
    [
        ("2017-11-05 01:30:00", "2017-11-05 06:30:00", 1, 0),  # shown twice: clocks went back at 02:00
        ("2017-03-12 02:30:00", "2017-03-12 08:30:00", 0, 1),  # never shown: clocks went forward at 02:00
        ("2017-11-05T01:30:00-06:00", "2017-11-05 07:30:00", 0, 0),  # an offset needs no zone
    ],
)
def test_a_local_time_is_the_first_of_two_or_moved_on_by_the_change(tmp_path, local, in_utc, ambiguous, nonexistent):
    table = read(tmp_path, rows(local))
    assert table.occurred_s.tolist() == [utc(in_utc)]
    assert (table.ambiguous_times, table.nonexistent_times) == (ambiguous, nonexistent)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("%d.%m.%Y %H:%M", "12.10.2017 19:14"),
        ("%d %b %Y %H:%M", "12 Oct 2017 19:14"),
        ("%Y%m%d%H%M", "201710121914"),
        ("%d/%m/%Y %H:%M%z", "13/10/2017 00:14+0000"),
    ],
)
def test_other_time_formats_are_read(tmp_path, pattern, text):
    table = read(tmp_path, rows(text), generic(time_format=pattern))
    assert table.occurred_s.tolist() == [utc("2017-10-13 00:14:00")]


def test_rows_that_cannot_be_used_are_counted_by_reason_and_an_id_belongs_to_its_row(tmp_path):
    text = (
        "kind;when;x;y\n"
        + "fire;2017-01-01T00:00;;41.9\n"
        + "fire;2017-01-01T00:00;-87.6;41.9\n" * 40
        + "fire;2017-01-01T00:00\n"
        "fire;yesterday;-87.6;41.9\n"
        "fire;1969-12-31T00:00;-87.6;41.9\n"
        "fire;2100-01-02T00:00;-87.6;41.9\n"
        "fire; ;-87.6;41.9\n"
        "fire;2017-01-01T00:00;nan;41.9\n"
        "fire;2017-01-01T00:00;-187.6;41.9\n"
        "?;2017-01-01T00:00;-87.6;41.9\n"
    )
    table = read(tmp_path, text, generic(delimiter=";"))
    assert (len(table), table.incident_id(0)) == (40, "town-0000002")
    told = {"no_place": "row 1", "short_row": "row 42", "bad_time": "row 43 'yesterday'"}
    assert told.items() <= table.examples.items()
    assert table.examples["bad_place"] == "row 47 '41.9' 'nan'"
    once = ("short_row", "bad_time", "before_1970", "after_2100", "no_time", "no_place", "no_category")
    assert table.skipped == {**dict.fromkeys(once, 1), "bad_place": 2}


@pytest.mark.parametrize(
    ("text", "layout", "message"),
    [
        (rows("never"), generic(), "1 of 1 times cannot be read, first row 1 'never'.*format="),
        (rows(*["01.02.2017"] * 3, *["2017-01-01"] * 56), generic(), "3 of 59 times"),
        (rows("2017-01-01").replace("41.9,-87.6", "-87.6,41.9"), generic(), "swap lat= and lon="),
        (rows("2017-07-01").replace("41.9,-87.6", "13.4,52.5"), generic(timezone="Europe/Berlin"), "longitude 15"),
        (rows("2017-01-01").replace("41.9,-87.6", "-71.7,-35.4"), generic(timezone="America/Lima"), "no town.*swap"),
        (rows("2017-01-01").replace("41.9,-87.6", "-87.6,41.9"), generic(timezone="UTC"), "no town.*swap"),
        (rows("2017-01-01").replace("fire", "Пожар"), generic(), "'Пожар' has no letter"),
        (rows("2017-01-01") + "2017-01-01,41.9,-87.6,Ж-1\n2017-01-01,41.9,-87.6,Щ-1\n", generic(), "'Ж-1' and 'Щ-1'"),
        ("", generic(), "is empty"),
        ("when,y,x,kind\n" + "".join(f"2017-01-01,1,1,k{i}\n" for i in range(65)), generic(), "65 categories"),
        (rows("2017-01-01"), generic(timezone="Mars/Base"), "time zone"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_the_reason(tmp_path, text, layout, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, text, layout)


def test_rows_of_the_future_are_left_out_and_counted_where_now_is_known(tmp_path):
    text, now_s = rows("2017-01-01T00:00", "2017-01-01T00:05", "2017-01-01T00:06", "2018-01-01T00:00"), 1_483_228_800
    table = read(tmp_path, text, generic(timezone="UTC"), now_s=now_s)
    assert (table.occurred_s - now_s).tolist() == [0, 300]
    assert table.skipped == {"in_the_future": 2}
    assert len(read(tmp_path, text, generic(timezone="UTC"))) == 4


def test_a_damaged_or_missing_file_is_refused(tmp_path):
    (tmp_path / "t.zip").write_bytes(b"PK no archive")
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(MONTGOMERY.encode())[:-30])
    for name in ("t.zip", "t.csv.gz", "none.csv"):
        with pytest.raises(DataError, match=name):
            read_incidents(tmp_path / name, LAYOUTS["montgomery"])


@pytest.mark.parametrize(
    ("method", "damage", "message"),
    [
        (zipfile.ZIP_STORED, "encrypted", "cannot be unpacked here .*encrypted.*: unpack it, and give the .csv"),
        (zipfile.ZIP_STORED, "method", "cannot be unpacked here .*compression method.*: unpack it, and give the .csv"),
        (zipfile.ZIP_STORED, "version", "cannot be unpacked here .*version 9.9.*: unpack it, and give the .csv"),
        (zipfile.ZIP_LZMA, "bytes", "cannot be read .*: give a .csv, .csv.gz or .zip with one .csv"),
    ],
)
def test_a_zip_that_cannot_be_unpacked_is_refused_in_words(tmp_path, method, damage, message):
    path = tmp_path / "t.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("t.csv", MONTGOMERY * 20)
    packed = bytearray(path.read_bytes())
    directory = packed.index(b"PK\x01\x02")
    if damage == "encrypted":
        packed[6] |= 1
        packed[directory + 8] |= 1
    elif damage == "version":
        packed[directory + 6] = 99
    elif damage == "method":
        packed[8:10] = packed[directory + 10 : directory + 12] = (99).to_bytes(2, "little")
    else:
        packed[60:90] = bytes(30)
    path.write_bytes(packed)
    with pytest.raises(DataError, match=message):
        read_incidents(path, LAYOUTS["montgomery"])


@pytest.mark.parametrize(
    ("place", "timezone"),
    [
        ("41.9,-87.6", "UTC"),  # UTC says nothing of a place
        ("43.8,87.6", "Asia/Shanghai"),  # far west of its zone's sun, and no other reading fits
        ("42.9,-9.2", "Europe/Madrid"),
        ("13.4,52.5", "Indian/Mauritius"),
        ("-0.1,51.5", "Africa/Nairobi"),
        ("78.2,15.6", "Arctic/Longyearbyen"),
        ("-54.9,-67.6", "America/Punta_Arenas"),
    ],
)
def test_places_that_fit_their_clock_or_no_other_are_taken(tmp_path, place, timezone):
    text = rows("2017-07-01").replace("41.9,-87.6", place)
    assert len(read(tmp_path, text, generic(timezone=timezone))) == 1


def test_slugs_are_lower_case_words():
    slugs = [slug(name) for name in ("CRIMINAL DAMAGE", " EMS", "Fire/Alarm (2)", "Übung")]
    assert slugs == ["criminal_damage", "ems", "fire_alarm_2", "ubung"]


def test_a_layout_can_be_written_on_the_command_line(tmp_path):
    layout = parse_layout(
        "time=when,lat=y,lon=x,category=kind,timezone=America/Chicago,delimiter=tab,header=when|kind|y|x,until=-"
    )
    table = read(tmp_path, "2017-10-12T19:14\tfire-3\t41.9\t-87.6\n", layout)
    assert (table.categories, table.incident_id(0)) == (("fire",), "file-0000001")


def test_a_quoted_part_may_hold_a_comma_and_two_columns_make_a_time(tmp_path):
    layout = parse_layout(
        'time=DATE+TIME,lat=y,lon=x,"category=kind, short",timezone=America/Chicago,"format=%b %d, %Y %H%M"'
    )
    text = 'TIME,x,y,"kind, short",DATE\n1914,-87.6,41.9,fire,"Oct 12, 2017"\n'
    table = read(tmp_path, text, layout)
    assert (table.occurred_s.tolist(), table.categories) == ([utc("2017-10-13 00:14")], ("fire",))
    with pytest.raises(DataError, match=r"no column \['CLOCK'\]"):
        read_incidents(tmp_path / "t.csv", generic(time_column="DATE+CLOCK", category_column="kind, short"))


def test_null_island_is_no_place_and_a_place_on_the_equator_is_one(tmp_path):
    text = "when,y,x,kind\n" + "".join(
        f"2017-01-01,{place},fire\n" for place in ("0,0", "0.01,-0.02", "0,6.6", "51.5,0")
    )
    table = read(tmp_path, text)
    assert table.skipped == {"null_island": 2}
    assert table.lat_deg.tolist() == [0, 51.5]


def test_rounded_local_times_are_counted_and_kept(tmp_path):
    #  local (UTC-6)   00:00:00   00:01:00   13:00:00   13:00:01   18:00:00 = midnight in UTC
    text = rows(*(f"2017-01-01T{time}" for time in ("00:00:00", "00:01:00", "13:00:00", "13:00:01", "18:00:00")))
    table = read(tmp_path, text)
    assert (len(table), table.whole_hours, table.midnights) == (5, 3, 1)


def test_a_category_that_is_not_utf8_is_refused_and_other_columns_may_be(tmp_path):
    text = "when,y,x,kind,street\n2017-01-01T00:00,41.9,-87.6,fire,Rue Béranger\n"
    path = tmp_path / "latin.csv"
    path.write_bytes(text.encode("latin-1"))
    assert read_incidents(path, generic()).categories == ("fire",)
    path.write_bytes((text + "2017-01-01T01:00,41.9,-87.6,véhicule,\n").encode("latin-1"))
    with pytest.raises(DataError, match=r"row 2: the category 'v.hicule' is not UTF-8.*iconv -f LATIN1 -t UTF-8"):
        read_incidents(path, generic())
    write(path, "when,y,x,kind\n2017-01-01T01:00,41.9,-87.6,Véhicule\n")
    assert read_incidents(path, generic()).categories == ("vehicule",)


HOUR = 3600
LAYOUT = parse_layout("start=from,end=to,lat=y,lon=x,category=kind,timezone=UTC")


def read_intervals(tmp_path, text):
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="utf-8")
    return read_incidents(path, LAYOUT)


def intervals(*pairs):
    return "from,to,y,x,kind\n" + "".join(f"{start},{end},41.9,-87.6,theft\n" for start, end in pairs)


def test_an_interval_gives_one_time_inside_it_the_same_whenever_it_is_read(tmp_path):
    text = intervals(*[("2017-01-01T22:00", "2017-01-02T06:00")] * 200)
    tables = [read_intervals(tmp_path, text), read_intervals(tmp_path, text)]
    first, again = (table.occurred_s.tolist() for table in tables)
    assert first == again == sorted(first)
    assert len(set(first)) > 190
    assert utc("2017-01-01 22:00") <= first[0] < utc("2017-01-01 23:00")
    assert utc("2017-01-02 05:00") <= first[-1] < utc("2017-01-02 06:00")
    assert (tables[0].uncertain_times, tables[0].exact_duplicates) == (200, 199)


def test_an_interval_without_length_or_without_an_end_is_the_time_of_its_start(tmp_path):
    table = read_intervals(tmp_path, intervals(("2017-01-02T22:00", "2017-01-02T22:00"), ("2017-01-01T06:00", " ")))
    assert table.occurred_s.tolist() == [utc("2017-01-01 06:00"), utc("2017-01-02 22:00")]
    assert (table.uncertain_times, table.row.tolist(), table.out_of_order) == (0, [2, 1], 1)


def test_intervals_that_cannot_be_used_are_counted_by_reason_and_a_category_of_them_only_is_none(tmp_path):
    text = intervals(
        *[("2017-01-01T00:00", "2017-01-08T00:00")] * 20,
        ("2017-01-01T00:00", "2017-01-08T00:01"),
        ("2017-01-01T00:00", "later"),
        ("2017-01-01T00:00", "9999-01-01T00:00"),
        ("", "2017-01-01T00:00"),
    )
    table = read_intervals(tmp_path, text + "2017-01-02T00:00,2017-01-01T23:59,41.9,-87.6,arson\n")
    assert (len(table), table.categories) == (20, ("theft",))
    assert table.skipped == {"interval_too_long": 1, "end_before_start": 1, "bad_end": 2, "no_time": 1}
    with pytest.raises(DataError, match="end_before_start"):
        read_intervals(tmp_path, intervals(("2017-01-02T00:00", "2017-01-01T00:00")))


def test_each_step_gets_the_share_of_the_interval_that_lies_in_it():
    #  hour      0         1         2         3
    #  interval     [-----------------------)         0:30 to 2:45
    draws, random = 20_000, np.random.default_rng(5)
    times = draw_within(np.full(draws, HOUR // 2), np.full(draws, 11 * HOUR // 4), random)
    shares = np.histogram(times, HOUR * np.arange(4))[0] / draws
    due = np.array([0.5, 1, 0.75]) / 2.25
    assert (np.abs(shares - due) < 4 * np.sqrt(due * (1 - due) / draws)).all()
    assert shares.sum() == 1
    assert set(draw_within(np.full(200, 7), np.full(200, 10), random).tolist()) == {7, 8, 9}  # its end cannot be drawn
    assert draw_within(np.array([7]), np.array([7]), random).tolist() == [7]


EARTH_M = 6_371_008.8


def table_of(calls):
    """calls: (second, latitude, longitude, category), in the file's order."""
    calls = [(*call, row) for row, call in enumerate(calls, start=1)]
    columns = list(zip(*sorted(calls, key=lambda call: call[0]), strict=True))
    return toy_table(
        columns[0],
        lat_deg=np.array(columns[1], np.float64),
        lon_deg=np.array(columns[2], np.float64),
        category=np.array(columns[3], np.int16),
        row=np.array(columns[4], np.int64),
    )


def test_the_limits_belong_to_it_and_the_first_call_stays():
    #  second     0    900   901
    #  call       a     b     c       one place: b repeats a; c repeats b, though b is left out
    for seconds, left in (((901, 900, 0), [3]), ((902, 901, 0), [3, 2])):
        assert merge_repeated(table_of([(second, 40.0, -75.0, 0) for second in seconds])).row.tolist() == left
    for apart_m, left in ((199.98, [1]), (200.02, [1, 2])):
        north = 40.0 + math.degrees(apart_m / EARTH_M)
        assert merge_repeated(table_of([(0, 40.0, -75.0, 0), (0, north, -75.0, 0)])).row.tolist() == left
    assert merge_repeated(table_of([(0, 40.0, -75.0, 0), (0, 40.0, -75.0, 1)])).row.tolist() == [1, 2]
    merged = merge_repeated(table_of([(0, 40.0, -75.0, 0)] * 500))
    assert (merged.row.tolist(), merged.repeated_calls) == ([1], 499)
