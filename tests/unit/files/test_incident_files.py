"""Files of incidents: layouts, times, intervals and repeated calls; what is wrong with one is said with the remedy."""

import gzip
import math
import re
import zipfile
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
HEADER = "when,lat,lon,kind"
LAYOUT = "time=when,lat=lat,lon=lon,category=kind,timezone=America/Chicago"


def of_zone(timezone):
    return LAYOUT.replace("America/Chicago", timezone)


def row(time="2017-01-01T00:00", place="41.9,-87.6", kind="fire"):
    return f"{time},{place},{kind}"


def lines(*rows, header=HEADER):
    return "\n".join([header, *rows]) + "\n"


def read(tmp_path, text, layout=LAYOUT, **how):
    path = tmp_path / "t.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_incidents(path, parse_layout(layout), **how)


def utc(text):
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def test_chicago_is_sorted_by_time_and_keeps_rows_that_repeat(tmp_path):
    table = read(tmp_path, CHICAGO, "chicago")
    assert table.occurred_s.tolist() == [utc("2017-09-06 05:30:00"), utc("2017-10-13 00:14"), utc("2017-10-13 00:14")]
    assert table.categories == ("criminal_damage", "theft")
    assert table.category.tolist() == [1, 0, 0]
    assert table.lat_deg.tolist() == [41.844510467, 41.918711651, 41.918711651]
    assert table.exact_duplicates == 1
    assert [table.incident_id(i) for i in range(3)] == ["chicago-0000002", "chicago-0000001", "chicago-0000003"]


def test_montgomery_takes_the_class_before_the_colon_and_nothing_street_level(tmp_path):
    table = read(tmp_path, MONTGOMERY, "montgomery")
    assert table.categories == ("ems", "fire")
    assert table.occurred_s.tolist() == [utc("2015-12-10 22:40:00"), utc("2015-12-10 22:40:01")]
    assert "AVE" not in repr(table)


def test_gzipped_and_zipped_files_read_as_plain_ones_and_a_damaged_or_missing_file_is_refused(tmp_path):
    plain, packed = read(tmp_path, MONTGOMERY, "montgomery"), gzip.compress(MONTGOMERY.encode())
    (tmp_path / "calls.csv.gz").write_bytes(packed)
    with zipfile.ZipFile(tmp_path / "calls.zip", "w") as archive:
        archive.writestr("calls.csv", MONTGOMERY)
    for name in ("calls.csv.gz", "calls.zip"):
        table = read_incidents(tmp_path / name, LAYOUTS["montgomery"])
        assert table.lon_deg.tolist() == plain.lon_deg.tolist() == [-75.5812935, -75.3519752]
    (tmp_path / "t.zip").write_bytes(b"PK no archive")
    (tmp_path / "t.csv.gz").write_bytes(packed[:-30])
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
    ("local", "in_utc", "ambiguous", "nonexistent"),
    [
        ("2017-11-05 01:30:00", "2017-11-05 06:30:00", 1, 0),  # shown twice: clocks went back at 02:00
        ("2017-03-12 02:30:00", "2017-03-12 08:30:00", 0, 1),  # never shown: clocks went forward at 02:00
        ("2017-11-05T01:30:00-06:00", "2017-11-05 07:30:00", 0, 0),  # an offset needs no zone
    ],
)
def test_a_local_time_is_the_first_of_two_or_moved_on_by_the_change(tmp_path, local, in_utc, ambiguous, nonexistent):
    table = read(tmp_path, lines(row(local)))
    assert table.occurred_s.tolist() == [utc(in_utc)]
    assert (table.ambiguous_times, table.nonexistent_times) == (ambiguous, nonexistent)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("%d.%m.%Y %H:%M", "12.10.2017 19:14"),
        ("%d %b %Y %H:%M", "12 Oct 2017 19:14"),
        ("%Y%m%d%H%M", "201710121914"),
        ("%d/%m/%Y %H:%M%z", "13/10/2017 00:14+0000"),
        ("epoch", "1507853640"),
        ("epoch", "1507853640.9"),
        ("epoch_ms", "1507853640123"),
    ],
)
def test_other_time_formats_are_read(tmp_path, pattern, text):
    table = read(tmp_path, lines(*[row(text)] * 20, row("nan")), f"{LAYOUT},format={pattern}")
    assert set(table.occurred_s.tolist()) == {utc("2017-10-13 00:14:00")}
    assert table.skipped == {"bad_time": 1}


def test_rows_that_cannot_be_used_are_counted_by_reason_and_an_id_belongs_to_its_row(tmp_path):
    text = (
        "kind;when;lon;lat\n"
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
    table = read(tmp_path, text, f"{LAYOUT},delimiter=;,name=town")
    assert (len(table), table.incident_id(0)) == (40, "town-0000002")
    told = {"no_place": "row 1", "short_row": "row 42", "bad_time": "row 43 'yesterday'"}
    assert told.items() <= table.examples.items()
    assert table.examples["bad_place"] == "row 47 '41.9' 'nan'"
    once = ("short_row", "bad_time", "before_1970", "after_2100", "no_time", "no_place", "no_category")
    assert table.skipped == {**dict.fromkeys(once, 1), "bad_place": 2}


@pytest.mark.parametrize("place", ["1899000.2,1156789.1", "nan,nan", "41.9,NULL", "-87.6,241.9"])
def test_too_many_places_that_cannot_be_read_are_refused(tmp_path, place):
    good, bad = [row()] * 19, row(place=place)
    assert read(tmp_path, lines(*good, bad)).skipped == {"bad_place": 1}
    first = place.replace(",", "' '")
    said = f"2 of 21 places cannot be read, first row 20 '{first}': places must be in degrees.*lat= and lon="
    with pytest.raises(DataError, match=said):
        read(tmp_path, lines(*good, bad, bad))


def test_empty_places_and_null_island_say_nothing_against_the_others_and_a_place_on_the_equator_is_one(tmp_path):
    places = (",", "41.9, ", "0,0", "0.01,-0.02", "0,6.6", "51.5,0")
    table = read(tmp_path, lines(*(row(place=place) for place in places)))
    assert table.skipped == {"no_place": 2, "null_island": 2}
    assert table.lat_deg.tolist() == [0, 51.5]


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
    assert len(read(tmp_path, lines(row(place=place)), of_zone(timezone))) == 1


QUOTES = [row()] * 20 + [row(kind='"fire')]  # of which the last one is not closed


@pytest.mark.parametrize(
    ("text", "layout", "said"),
    [
        ("", LAYOUT, "is empty"),
        (lines(), LAYOUT, "has no rows, or a header only"),
        (lines(row()), of_zone("Mars/Base"), "time zone"),
        (lines(*(row(kind=f"k{n}") for n in range(65))), LAYOUT, "65 categories"),
        (lines(row(kind="Пожар")), LAYOUT, "'Пожар' has no letter"),
        (lines(row(), row(kind="Ж-1"), row(kind="Щ-1")), LAYOUT, "'Ж-1' and 'Щ-1'"),
        *(
            (lines(row()).encode(of), LAYOUT, "is UTF-16.*-f UTF-16 -t UTF-8")
            for of in ("utf-16", "utf-16-le", "utf-16-be")
        ),
        (lines(row("soon")), LAYOUT, "1 of 1 times cannot be read, first row 1 'soon': correct format="),
        (lines(row("soon"), row()), LAYOUT, "first row 1 'soon': the others may be"),  # only where there are others
        (lines(*[row("01.02.2017")] * 3, *[row()] * 56), LAYOUT, "3 of 59 times"),
        *(
            (lines(row(time)), LAYOUT, "first row 1 .*add format=epoch .seconds. or format=epoch_ms")
            for time in ("1767225600", "1767225600.0", "1767225600123")
        ),
        *(
            (lines(*[row(place=place)] * 5), LAYOUT, "exchanged.*swap lat= and lon=")
            for place in ("-87.6,41.9", "-118.2,34.1", "151.2,-33.9")
        ),
        (lines(row(place="13.4,52.5")), of_zone("Europe/Berlin"), "longitude 15"),
        (lines(row(place="-71.7,-35.4")), of_zone("America/Lima"), "no town.*swap"),
        (lines(row(place="-87.6,41.9")), of_zone("UTC"), "no town.*swap"),
        # headers
        (lines(row(), header=HEADER + ",lat"), LAYOUT, "has more than one column 'lat': rename or remove"),
        (lines(row(), header="when;lat;lon;kind"), LAYOUT, "separated by ';': add delimiter=; to the layout"),
        (lines(row(), header='"when";"lat";"lon";"kind, short"'), LAYOUT, "add delimiter=;"),
        (lines(row(), header="when\tlat\tlon\tkind"), LAYOUT, "add delimiter=tab"),
        (lines(row(), header="when, lat,lon,kind "), LAYOUT, "' lat', 'kind ' begins or ends with a blank: remove"),
        (lines(row(), header="when,y,lon,kind"), LAYOUT, r"no column \['lat'\], but .*: name the columns"),
        # quotes that swallow rows: closed after a few and after many, never, in a header
        *(
            (
                lines(*QUOTES, *[row()] * n, row(kind='"ems"')),
                LAYOUT,
                rf"t.csv, row 21 \(line 22\): a field extends over {n + 2:,} lines that look like rows: a quote.*close",
            )
            for n in (10, 1_000)
        ),
        (
            "\n".join([*QUOTES, *[row()] * 10]),
            LAYOUT + ",header=when|lat|lon|kind",
            r"row 21 \(line 21\): a field extends over 11 lines",
        ),
        (
            lines(*QUOTES, *[row()] * 5_000),
            LAYOUT,
            r"row 21 \(line 22\): field larger.*: a quote was probably not closed; close",
        ),
        (lines(*[row()] * 9, header='when,lat,lon,"kind'), LAYOUT, r"the header \(line 1\): .*a quote"),
    ],
    ids=lambda part: f"{part!r:.40}",
)
def test_a_file_that_does_not_fit_is_refused_with_the_place_in_it_and_the_remedy(tmp_path, text, layout, said):
    with pytest.raises(DataError, match=said):
        read(tmp_path, text, layout)


@pytest.mark.parametrize(
    ("time", "formats"),
    [
        ("11/29/2026 07:15:00 PM", ["%m/%d/%Y %I:%M:%S %p"]),
        ("29.11.2026 19:15", ["%d.%m.%Y %H:%M"]),
        ("05/06/2026 07:15", ["%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M"]),
    ],
)
def test_times_that_all_fail_are_answered_with_a_format_that_reads_them(tmp_path, time, formats):
    text, said = lines(*[row(time)] * 3), " or ".join(f"format={pattern}" for pattern in formats)
    with pytest.raises(DataError, match=re.escape(f"fits {said}; ")):
        read(tmp_path, text)
    assert len(read(tmp_path, text, f"{LAYOUT},format={formats[0]}")) == 3


def test_a_text_of_many_lines_and_a_column_twice_that_is_not_used_are_no_fault(tmp_path):
    story = '"came, saw\n' + "nobody there, left again, no one\n" * 30 + '"'
    table = read(tmp_path, lines(row() + f",{story},a", row() + ",,b", header=HEADER + ",story,story"))
    assert table.row.tolist() == [1, 2]


def test_rows_of_the_future_are_left_out_and_counted_where_now_is_known_and_all_of_them_refused(tmp_path):
    times, now_s = ("2017-01-01T00:00", "2017-01-01T00:05", "2017-01-01T00:06", "2018-01-01T00:00"), 1_483_228_800
    text, layout = lines(*map(row, times)), of_zone("UTC")
    table = read(tmp_path, text, layout, now_s=now_s)
    assert (table.occurred_s - now_s).tolist() == [0, 300]
    assert table.skipped == {"in_the_future": 2}
    assert len(read(tmp_path, text, layout)) == 4
    with pytest.raises(DataError, match=r"all 4 rows lie in the future: check the year.*timezone=.*clock"):
        read(tmp_path, text, layout, now_s=9.0)


def test_rounded_local_times_are_counted_and_kept(tmp_path):
    #  local (UTC-6)   00:00:00   00:01:00   13:00:00   13:00:01   18:00:00 = midnight in UTC
    times = ("00:00:00", "00:01:00", "13:00:00", "13:00:01", "18:00:00")
    table = read(tmp_path, lines(*(row(f"2017-01-01T{time}") for time in times)))
    assert (len(table), table.whole_hours, table.midnights) == (5, 3, 1)


def test_a_category_that_is_not_utf8_is_refused_and_other_columns_may_be(tmp_path):
    text = lines(row() + ",Rue Béranger", header=HEADER + ",street")
    assert read(tmp_path, text.encode("latin-1")).categories == ("fire",)
    with pytest.raises(DataError, match=r"row 2: the category 'v.hicule' is not UTF-8.*iconv -f LATIN1 -t UTF-8"):
        read(tmp_path, (text + row(kind="véhicule,")).encode("latin-1"))
    assert read(tmp_path, lines(row(kind="Véhicule"))).categories == ("vehicule",)


def test_slugs_are_lower_case_words():
    slugs = [slug(name) for name in ("CRIMINAL DAMAGE", " EMS", "Fire/Alarm (2)", "Übung")]
    assert slugs == ["criminal_damage", "ems", "fire_alarm_2", "ubung"]


@pytest.mark.parametrize("tab", ["tab", r"\t"])
def test_a_layout_can_be_written_on_the_command_line(tmp_path, tab):
    layout = f"{LAYOUT},delimiter={tab},header=when|kind|lat|lon,until=-"
    table = read(tmp_path, "2017-10-12T19:14\tfire-3\t41.9\t-87.6\n", layout)
    assert (table.categories, table.incident_id(0)) == (("fire",), "file-0000001")


def test_a_quoted_part_may_hold_a_comma_and_two_columns_make_a_time(tmp_path):
    layout = 'time=DATE+{},lat=y,lon=x,"category=kind, short",timezone=America/Chicago,"format=%b %d, %Y %H%M"'
    text = 'TIME,x,y,"kind, short",DATE\n1914,-87.6,41.9,fire,"Oct 12, 2017"\n'
    table = read(tmp_path, text, layout.format("TIME"))
    assert (table.occurred_s.tolist(), table.categories) == ([utc("2017-10-13 00:14")], ("fire",))
    with pytest.raises(DataError, match=r"no column \['CLOCK'\]"):
        read(tmp_path, text, layout.format("CLOCK"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'' is neither one of them nor KEY=VALUE"),
        ("chicgo", "'chicgo' is neither one of them nor KEY=VALUE"),
        (LAYOUT.replace("lon=", "long="), "the key 'long' is unknown; lon= is missing"),
        (LAYOUT.replace("lat=lat,", ""), "lat= is missing)"),
        (LAYOUT.replace("time=", "start="), "end= is missing)"),
        (LAYOUT.replace("time=", "end="), "start= is missing)"),
        (LAYOUT.replace("time=when,", ""), "time= is missing)"),
        (LAYOUT + ",end=to", "time= and start= or end= are both given)"),
        (LAYOUT + ",start=from,end=to", "time= and start= or end= are both given)"),
        (LAYOUT + ",colour=red", "the key 'colour' is unknown)"),
        (LAYOUT + ",until=", "until= has no value)"),
        (LAYOUT + ",lat=y", "lat= is given twice)"),
        (LAYOUT + ",format=%b %d, %Y", "' %Y' is neither one of them nor KEY=VALUE"),
    ],
)
def test_the_key_that_is_missing_or_unknown_is_named(text, said):
    message = re.escape(f"{text!r} is no layout (") + ".*" + re.escape(said) + ".*in place of time="
    with pytest.raises(DataError, match=message):
        parse_layout(text)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("format=%m/%d/%Y %H:%M:%S %p", "write %I in place of %H, or drop %p"),
        ("format=%m/%d/%Y %I:%M", "add %p (AM or PM), or write %H"),
        ("format=%d %b %I%%p", "add %p"),
        *((f"delimiter={given}", "give the one character") for given in (";;", "tabs", "''")),
    ],
)
def test_half_a_clock_and_a_delimiter_of_more_than_one_character_are_refused(more, said):
    with pytest.raises(DataError, match=re.escape(f"{more}: ") + ".*" + re.escape(said)):
        parse_layout(f"{LAYOUT},{more}")


HOUR = 3600


def read_intervals(tmp_path, *intervals):
    """intervals: (start, end), of thefts, or (start, end, category)."""
    rows = (row(f"{start},{end}", kind="".join(kind) or "theft") for start, end, *kind in intervals)
    text = lines(*rows, header="from,to,lat,lon,kind")
    return read(tmp_path, text, "start=from,end=to,lat=lat,lon=lon,category=kind,timezone=UTC")


def test_an_interval_gives_one_time_inside_it_the_same_whenever_it_is_read(tmp_path):
    tables = [read_intervals(tmp_path, *[("2017-01-01T22:00", "2017-01-02T06:00")] * 200) for _ in range(2)]
    first, again = (table.occurred_s.tolist() for table in tables)
    assert first == again == sorted(first)
    assert len(set(first)) > 190
    assert utc("2017-01-01 22:00") <= first[0] < utc("2017-01-01 23:00")
    assert utc("2017-01-02 05:00") <= first[-1] < utc("2017-01-02 06:00")
    assert (tables[0].uncertain_times, tables[0].exact_duplicates) == (200, 199)


def test_an_interval_without_length_or_without_an_end_is_the_time_of_its_start(tmp_path):
    table = read_intervals(tmp_path, ("2017-01-02T22:00", "2017-01-02T22:00"), ("2017-01-01T06:00", " "))
    assert table.occurred_s.tolist() == [utc("2017-01-01 06:00"), utc("2017-01-02 22:00")]
    assert (table.uncertain_times, table.row.tolist(), table.out_of_order) == (0, [2, 1], 1)


def test_intervals_that_cannot_be_used_are_counted_by_reason_and_a_category_of_them_only_is_none(tmp_path):
    table = read_intervals(
        tmp_path,
        *[("2017-01-01T00:00", "2017-01-08T00:00")] * 20,
        ("2017-01-01T00:00", "2017-01-08T00:01"),
        ("2017-01-01T00:00", "later"),
        ("2017-01-01T00:00", "9999-01-01T00:00"),
        ("", "2017-01-01T00:00"),
        ("2017-01-02T00:00", "2017-01-01T23:59", "arson"),
    )
    assert (len(table), table.categories) == (20, ("theft",))
    assert table.skipped == {"interval_too_long": 1, "end_before_start": 1, "bad_end": 2, "no_time": 1}
    with pytest.raises(DataError, match="end_before_start"):
        read_intervals(tmp_path, ("2017-01-02T00:00", "2017-01-01T00:00"))


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


def merged_rows(*calls):
    """The rows that stay, by time. calls: (second, latitude, category), in the file's order."""
    rows = sorted(range(len(calls)), key=lambda number: calls[number][0])
    second, lat_deg, category = np.array([calls[number] for number in rows]).T
    table = toy_table(
        second,
        lat_deg=lat_deg,
        lon_deg=np.full(len(calls), -75.0),
        category=category.astype(np.int16),
        row=np.array(rows) + 1,
    )
    merged = merge_repeated(table)
    assert merged.repeated_calls == len(calls) - len(merged)
    return merged.row.tolist()


def test_the_limits_belong_to_it_and_the_first_call_stays():
    #  second     0    900   901
    #  call       a     b     c       one place: b repeats a; c repeats b, though b is left out
    for seconds, left in (((901, 900, 0), [3]), ((902, 901, 0), [3, 2])):
        assert merged_rows(*((second, 40.0, 0) for second in seconds)) == left
    for apart_m, left in ((199.98, [1]), (200.02, [1, 2])):
        assert merged_rows((0, 40.0, 0), (0, 40.0 + math.degrees(apart_m / 6_371_008.8), 0)) == left
    assert merged_rows((0, 40.0, 0), (0, 40.0, 1)) == [1, 2]
    assert merged_rows(*[(0, 40.0, 0)] * 500) == [1]
