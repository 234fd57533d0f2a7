"""What is wrong with a whole incident file is said by the place in it and the remedy."""

import re

import pytest

from models.files.incident_files import read_incidents
from models.files.layouts import parse_layout
from schemas.errors import DataError

LAYOUT = "time=when,lat=lat,lon=lon,category=kind,timezone=America/Chicago"
HEADER = "when,lat,lon,kind"


def read(tmp_path, text, more="", **how):
    path = tmp_path / "t.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_incidents(path, parse_layout(LAYOUT + more), **how)


def lines(*rows, header=HEADER):
    return "\n".join([header, *rows]) + "\n"


def row(text="fire", time="2026-01-01T00:00", place="41.9,-87.6"):
    return f"{time},{place},{text}"


def refused(tmp_path, said, text, more="", **how):
    with pytest.raises(DataError, match=said):
        read(tmp_path, text, more, **how)


@pytest.mark.parametrize("rows", [10, 1_000])
def test_a_quote_that_swallows_rows_is_named_with_its_row(tmp_path, rows):
    text = lines(*[row()] * 20, row('"fire'), *[row()] * rows, row('"ems"'))
    said = rf"t.csv, row 21 \(line 22\): a field extends over {rows + 2:,} lines that look like rows: a quote"
    refused(tmp_path, said + ".*close or remove it", text)


@pytest.mark.parametrize(
    ("text", "more", "said"),
    [
        (
            "\n".join([*[row()] * 20, row('"fire'), *[row()] * 10]),
            ",header=when|lat|lon|kind",
            r"row 21 \(line 21\): a field extends over 11 lines",
        ),  # never closed
        (
            lines(*[row()] * 20, row('"fire'), *[row()] * 5_000),
            "",
            r"row 21 \(line 22\): field larger.*: a quote was probably not closed; close",
        ),
        (lines(*[row()] * 9, header='when,lat,lon,"kind'), "", r"the header \(line 1\): .*a quote"),
    ],
    ids=["no header", "more than a field holds", "in the header"],
)
def test_a_quote_that_is_never_closed_is_named_with_its_row(tmp_path, text, more, said):
    refused(tmp_path, said, text, more)


def test_a_text_of_many_lines_and_a_column_twice_that_is_not_used_are_no_fault(tmp_path):
    story = '"came, saw\n' + "nobody there, left again, no one\n" * 30 + '"'
    table = read(tmp_path, lines(row() + f",{story},a", row() + ",,b", header=HEADER + ",story,story"))
    assert table.row.tolist() == [1, 2]


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


@pytest.mark.parametrize("delimiter", ["tab", r"\t"])
def test_a_tab_is_written_in_two_ways(tmp_path, delimiter):
    text = lines(row()).replace(",", "\t")
    assert len(read(tmp_path, text, f",delimiter={delimiter}")) == 1


@pytest.mark.parametrize("place", ["1899000.2,1156789.1", "nan,nan", "41.9,NULL", "-87.6,241.9"])
def test_too_many_places_that_cannot_be_read_are_refused(tmp_path, place):
    good, bad = [row()] * 19, row(place=place)
    assert read(tmp_path, lines(*good, bad)).skipped == {"bad_place": 1}
    first = place.replace(",", "' '")
    said = f"2 of 21 places cannot be read, first row 20 '{first}': places must be in degrees.*lat= and lon="
    refused(tmp_path, said, lines(*good, bad, bad))


def test_places_that_are_empty_or_in_the_gulf_of_guinea_say_nothing_against_the_others(tmp_path):
    table = read(tmp_path, lines(*[row()] * 5, row(place=","), row(place="41.9, "), row(place="0,0"), row(place="0,0")))
    assert table.skipped == {"no_place": 2, "null_island": 2}


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("when,lat,lon,kind,lat", "has more than one column 'lat': rename or remove"),
        ("when;lat;lon;kind", "separated by ';': add delimiter=; to the layout"),
        ('"when";"lat";"lon";"kind, short"', "add delimiter=;"),
        ("when\tlat\tlon\tkind", "add delimiter=tab"),
        ("when, lat,lon,kind ", "' lat', 'kind ' begins or ends with a blank: remove it from the header"),
        ("when,y,lon,kind", r"no column \['lat'\], but .*: name the columns"),
    ],
)
def test_a_header_that_does_not_fit_is_refused_with_the_remedy(tmp_path, header, said):
    refused(tmp_path, said, lines(row(), header=header))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_file_in_utf_16_is_told_to_be_converted(tmp_path, encoding):
    refused(tmp_path, "is UTF-16.*iconv -f UTF-16 -t UTF-8", lines(row()).encode(encoding))


@pytest.mark.parametrize(
    ("more", "time"),
    [(",format=epoch", "1767225600"), (",format=epoch", "1767225600.9"), (",format=epoch_ms", "1767225600123")],
)
def test_times_may_be_counted_since_1970(tmp_path, more, time):
    table = read(tmp_path, lines(*[row(time=time)] * 20, row(time="nan")), more)
    assert set(table.occurred_s.tolist()) == {1_767_225_600}
    assert table.skipped == {"bad_time": 1}


@pytest.mark.parametrize(
    ("rows", "said", "how"),
    [
        ([row(time="soon")], "first row 1 'soon': correct format=", {}),
        ([row(time="soon"), row()], "first row 1 'soon': the others may be", {}),  # only where there are others
        ([], "has no rows, or a header only", {}),
        ([row()] * 2, "all 2 rows lie in the future: check the year.*timezone=.*clock", {"now_s": 9.0}),
        *(
            ([row(time=time)], "first row 1 .*add format=epoch .seconds. or format=epoch_ms", {})
            for time in ("1767225600", "1767225600.0", "1767225600123")
        ),
        *(
            ([row(place=place)] * 5, "exchanged.*swap lat= and lon=", {})
            for place in ("-87.6,41.9", "-118.2,34.1", "151.2,-33.9")
        ),
    ],
)
def test_what_is_wrong_with_all_rows_is_said(tmp_path, rows, said, how):
    refused(tmp_path, said, lines(*rows), **how)


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
    ("time", "formats"),
    [
        ("11/29/2026 07:15:00 PM", "fits format=%m/%d/%Y %I:%M:%S %p; "),
        ("29.11.2026 19:15", "fits format=%d.%m.%Y %H:%M; "),
        ("05/06/2026 07:15", "fits format=%m/%d/%Y %H:%M or format=%d/%m/%Y %H:%M; "),
        ("yesterday", "first row 1 'yesterday': correct format="),
    ],
)
def test_times_that_all_fail_are_answered_with_a_format_that_reads_them(tmp_path, time, formats):
    refused(tmp_path, re.escape(formats), lines(*[row(time=time)] * 3))
    if "fits" in formats:
        (proposed,) = re.findall(r"format=(.*?)(?: or|;)", formats)[:1]
        assert len(read(tmp_path, lines(*[row(time=time)] * 3), f",format={proposed}")) == 3
