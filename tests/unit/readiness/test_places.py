"""Files of places, and tables of driving times."""

import numpy as np
import pytest

from models.posts_plan import Place, read_places, read_times
from schemas.errors import DataError
from tests.harness.toy import toy_grid

GRID = toy_grid(6, 5)


def written(folder, text, name="places.csv"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_places_are_read_with_the_units_that_stand_there(tmp_path):
    text = "\ufeffplace,lat,lon,units\nNorth,41.04,-86.98,2\nSouth,41.01,-86.98,0\n"
    places = read_places(written(tmp_path, text), GRID)
    assert places == [
        Place(place="North", lat=41.04, lon=-86.98, units=2),
        Place(place="South", lat=41.01, lon=-86.98, units=0),
    ]
    assert read_places(written(tmp_path, "place,lat,lon\nNorth,41.04,-86.98\n"), GRID)[0].units is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("place,lat\na,41\n", "field `lon`.*: give a CSV file with the columns place,lat,lon"),
        ("place,lat,lon\n", "has no row"),
        ("place,lat,lon\na,41.01,x\n", r"Expected `float`, got `str` - at `\$\[0\].lon`"),
        ("place,lat,lon\na,41.01,nan\n", r"`\$\[0\].lon`"),
        ("place,lat,lon\na,41.01,-86.98\na,41.01,-86.98\n", "'a' stands several times"),
        (
            "place,lat,lon\na,42.01,-86.98\n",
            "1 of 1 places lie outside the grid, the first at 42.01000, -86.98000: leave them out",
        ),
        ("place,lat,lon,units\na,41.01,-86.98,1.5\n", r"`\$\[0\].units`"),
    ],
)
def test_a_file_of_places_that_cannot_be_used_is_refused(tmp_path, text, said):
    with pytest.raises(DataError, match=said):
        read_places(written(tmp_path, text), GRID)


def two_places():
    return [Place(place="a", lat=41.01, lon=-86.98), Place(place="b", lat=41.02, lon=-86.98)]


def times(folder, *rows):
    return written(folder, "\n".join(("place,cell,minutes", *rows)), "times.csv")


def read(path, answered=(0, 1)):
    return read_times(path, two_places(), GRID, minutes=8, answered=np.array(answered, np.int32))


def test_driving_times_say_what_is_reached(tmp_path):
    path = times(tmp_path, "a,r000c000,3", "a,r000c001,9", "b,r000c000,8", "b,r000c001,1", "c,r000c000,0")
    reach, digest = read(path)
    assert [reach.points_of(place).tolist() for place in range(2)] == [[0], [0, 1]]
    assert (reach.per_cell, len(digest)) == (1, 64)
    assert read(path)[1] == digest


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (("a,r000c000,3", "a,r000c000,1"), "has two times from 'a' to r000c000"),
        (("a,r000c000,3", "a,r000c001,9", "b,r000c000,8"), "lacks 1 times, the first from 'b' to r000c001"),
        (("a,r000c000,3", "a,r000c001,9", "b,r000c000,9", "b,r000c001,9"), "'b' reaches no cell in 8 minutes"),
        (
            ("a,r000c000,-3", "a,r000c001,9", "b,r000c000,9", "b,r000c001,9"),
            r"Expected `float` >= 0.0 - at `\$\[0\].minutes`",
        ),
        (("a,r009c000,3",), "no cell 'r009c000'"),
        (("a,r000c000,soon",), r"Expected `float`, got `str` - at `\$\[0\].minutes`"),
    ],
)
def test_a_table_with_gaps_or_nonsense_is_refused(tmp_path, rows, said):
    with pytest.raises(DataError, match=said):
        read(times(tmp_path, *rows))
