"""The spec: equal meaning, equal fingerprint; nonsense is refused; what each purpose forbids."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import DataError
from schemas.grid import Grid
from schemas.spec import DAY_S, HOUR_S, PURPOSES, Spec, differences, forbidden

FROZEN = "0d5c77fb6243f11e"
WITHOUT_SQUARES = "a0ad47e13ed0f964"  # before there were any  # of streaming/sample/artifacts
GRID = Grid(south_deg=41.6, west_deg=-87.9, cell_m=1000, rows=40, cols=30)
SPEC = Spec(
    region="riverton",
    timezone="America/Chicago",
    grid=GRID,
    categories=("fire", "ems"),
    features=("count_1h", "count_24h"),
)


def test_the_fingerprint_of_this_spec_never_changes():
    """Artifacts carry fingerprints. If this one changes, every stored artifact and checkpoint is refused."""
    assert SPEC.fingerprint() == "f697058cfc575953"


OTHER = {
    "region": "lakeside",
    "timezone": "UTC",
    "grid": msgspec.structs.replace(GRID, rows=41),
    "categories": ("ems", "fire"),
    "counted_origins": ("public_call",),
    "tick_s": 30,
    "slide_s": 600,
    "horizons_s": (HOUR_S,),
    "late_limit_s": 2 * DAY_S,
    "future_limit_s": 60,
    "features": ("count_24h", "count_1h"),
    "merge": "repeated_calls",
    "holidays": "US-IL",
    "calendar": ("match",),
    "answered_by": ("ems",),
    "purpose": "fire",
    "masked": "0123456789abcdef",
    "fine": 4,
}
ANSWERED = msgspec.structs.replace(SPEC, answered_by=SPEC.categories)


def other(name):
    """A spec, and the same with another value of a field; squares need units that answer every category."""
    spec = ANSWERED if name == "fine" else SPEC
    return spec, msgspec.structs.replace(spec, **{name: OTHER[name]})


def test_a_spec_without_merging_is_written_as_before_there_was_a_choice():
    """So an option that nobody uses changes no fingerprint."""
    assert list(msgspec.json.decode(SPEC.as_json())) == [
        name
        for name in Spec.__struct_fields__
        if name not in ("merge", "holidays", "calendar", "answered_by", "purpose", "masked", "fine")
    ]
    merging = msgspec.structs.replace(SPEC, merge="repeated_calls")
    assert merging.as_json() == SPEC.as_json()[:-1] + b',"merge":"repeated_calls"}'
    squares = msgspec.structs.replace(ANSWERED, fine=4)
    assert squares.as_json() == ANSWERED.as_json()[:-1] + b',"fine":4}'
    for spec in (SPEC, merging, squares):
        assert msgspec.json.decode(spec.as_json(), type=Spec) == spec


def test_the_samples_artifact_keeps_its_fingerprint_and_the_bytes_of_its_spec():
    [path] = Path("streaming/sample/artifacts/montgomery").glob("*/manifest.json")
    written = msgspec.json.decode(path.read_bytes())
    spec = msgspec.convert(written["spec"], Spec)
    assert (spec.merge, spec.fingerprint(), written["spec_fingerprint"]) == ("none", FROZEN, FROZEN)
    assert spec.as_json() == msgspec.json.encode(written["spec"])
    assert msgspec.structs.replace(spec, fine=1).fingerprint() == WITHOUT_SQUARES


def test_every_field_and_every_one_of_the_grid_changes_the_fingerprint():
    assert list(OTHER) == list(Spec.__struct_fields__)
    prints = {other(name)[1].fingerprint() for name in OTHER}
    for field in Grid.__struct_fields__:
        moved = msgspec.structs.replace(GRID, **{field: getattr(GRID, field) + 2})
        prints.add(msgspec.structs.replace(SPEC, grid=moved).fingerprint())
    assert len(prints | {SPEC.fingerprint()}) == len(OTHER) + len(Grid.__struct_fields__) + 1


def test_every_field_that_differs_is_named_with_both_values_and_long_ones_are_cut():
    for name in OTHER:
        spec, changed = other(name)
        [said] = differences(spec, changed)
        assert said.startswith("grid.rows was 40 and is 41" if name == "grid" else f"{name} was ")
        assert differences(changed, changed) == []
    many = tuple(f"category-number-{n}" for n in range(60))
    changed = msgspec.structs.replace(SPEC, tick_s=30, categories=many)
    assert [said.split()[0] for said in differences(SPEC, changed)] == ["categories", "tick_s"]
    assert max(map(len, differences(SPEC, changed))) < 300


specs = st.builds(
    Spec,
    region=st.from_regex(r"[a-z0-9][a-z0-9_-]{0,62}", fullmatch=True),
    timezone=st.sampled_from(["UTC", "America/Chicago", "Asia/Kathmandu"]),
    grid=st.builds(
        Grid,
        south_deg=st.integers(-60, 59) | st.floats(-60, 59),
        west_deg=st.integers(-180, 170) | st.floats(-180, 170),
        cell_m=st.integers(200, 5000) | st.floats(200, 5000),
        rows=st.integers(1, 60),
        cols=st.integers(1, 60),
    ),
    categories=st.lists(st.sampled_from("abcdefgh"), min_size=1, unique=True).map(tuple),
    features=st.lists(st.text(max_size=5), max_size=3).map(tuple),
)


@settings(max_examples=40)
@given(specs)
def test_a_spec_survives_json_and_keeps_its_fingerprint(spec):
    again = msgspec.json.decode(msgspec.json.encode(spec), type=Spec)
    assert again == spec
    assert again.fingerprint() == spec.fingerprint()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"region": "River Town"}, r"^'River Town': write .* as slugs, of a-z"),
        ({"region": "riverton\n"}, r"^'riverton\\n': write .* as slugs, of a-z"),
        ({"region": "x" * 64}, r"^'x{64}': write .* as slugs, of a-z"),
        ({"categories": ()}, "name 1 to 64"),
        ({"answered_by": ("theft",)}, "name some of fire, ems, each once"),
        ({"answered_by": ("ems", "ems")}, "name some of fire, ems, each once"),
        (
            {"categories": ("ems", "theft"), "answered_by": ("ems", "theft")},
            "answered_by has theft: no unit of ems_readiness answers it, .* posts for others are a patrol map",
        ),
        ({"fine": 3}, "fine = 3: choose 1, 2, 4, 8 squares a side of a cell"),
        ({"fine": 0}, "fine = 0: choose 1, 2"),
        (
            {"fine": 8, "grid": msgspec.structs.replace(GRID, cell_m=700), "answered_by": ("fire", "ems")},
            "fine = 8 makes squares of 87.5 m: choose squares of at least 100 m: smaller ones identify households",
        ),
        ({"fine": 4}, "fine = 4, and no standing unit answers fire, ems: .* at this scale is a patrol map"),
        ({"fine": 4, "answered_by": ("ems",)}, "no standing unit answers fire: name every category in answered_by"),
        ({"purpose": "patrols"}, "purpose 'patrols': choose from ems_readiness, fire, road_safety, crowd_safety, disp"),
        ({"purpose": "fire", "categories": ("ems", "theft")}, "forbids theft: no unit of fire answers it, .* leave"),
        ({"categories": ("fire", "fire")}, "name 1 to 64"),
        ({"categories": tuple(f"c{number}" for number in range(65))}, "name 1 to 64"),
        ({"categories": ("fire", "all")}, "^category 'all' is the sum over all categories: give that category another"),
        ({"categories": ("Fire",)}, r"^'Fire': write .* as slugs, of a-z"),
        ({"counted_origins": ("rumour",)}, "choose from"),
        ({"late_limit_s": 10}, "late_limit_s=10: choose 300 to"),
        ({"late_limit_s": 8 * DAY_S}, "choose 300 to 604800"),
        ({"slide_s": 7}, "slide_s must divide an hour"),
        ({"slide_s": 0}, "slide_s must divide an hour"),
        ({"tick_s": 7}, "tick_s=7: .*tick_s a day"),
        ({"tick_s": -60}, "tick_s=-60: .*tick_s a day"),
        ({"slide_s": 30}, "choose 60 to 900"),
        ({"future_limit_s": -1}, "choose 0 or more"),
        ({"future_limit_s": 86_401}, "at most 86400"),
        ({"horizons_s": tuple(HOUR_S * n for n in range(1, 8))}, "at most 6"),
        ({"horizons_s": (169 * HOUR_S,)}, "none beyond 604800 s"),
        ({"horizons_s": ()}, "whole hours"),
        ({"horizons_s": (1800,)}, "whole hours"),
        ({"horizons_s": (HOUR_S, HOUR_S)}, "each once"),
        ({"horizons_s": (2 * HOUR_S, HOUR_S)}, "the shortest first"),
        ({"calendar": ("match", "match")}, r"calendar .*name at most 16 different days, as slugs"),
        ({"calendar": tuple(f"s{n}" for n in range(17))}, "at most 16 different days"),
        ({"calendar": ("No slug",)}, "different days, as slugs"),
        ({"timezone": "Chicago"}, "IANA name"),
        ({"timezone": "../UTC"}, "IANA name"),
    ],
)
def test_a_wrong_spec_is_refused_with_the_value_and_what_to_do(wrong, said):
    with pytest.raises(DataError, match=said):
        msgspec.structs.replace(SPEC, **wrong)


def test_a_wrong_or_unknown_field_in_a_file_is_refused():
    fields = msgspec.to_builtins(SPEC)
    for wrong in ({"slides": 3}, {"region": "A B"}, {"grid": {**fields["grid"], "cell": 3}}, {"tick_s": "60"}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({**fields, **wrong}, Spec)


def test_levels_tile_each_other_reach_far_enough_and_say_how_much_they_take_in_store_and_memory():
    pane, hour, day = SPEC.levels
    assert hour.width_s % pane.width_s == 0
    assert day.width_s % hour.width_s == 0
    assert pane.width_s * pane.keep > SPEC.late_limit_s
    assert SPEC.registry_keep_s == SPEC.late_limit_s + DAY_S
    assert SPEC.horizon_names == ("1h", "4h", "24h")
    assert SPEC.series == 40 * 30 * (2 + 1) * 3
    bins = (26 * 12 + 1 + 1) + (15 * 24 + 1) + (400 + 1)
    assert SPEC.counters == 40 * 30 * 2 * bins
    large = msgspec.structs.replace(GRID, rows=256, cols=256)
    with pytest.raises(DataError, match="1376256 series and"):
        msgspec.structs.replace(SPEC, grid=large, categories=tuple("abcdef"))


CALLED = ["ems", "fire", "traffic", "battery-fire", "drug_overdose", "water_rescue", "stopped_vehicle", "storm_damage"]
FOUND = ["drug_arrest", "warrant", "traffic_stop", "stop_and_search", "narcotics", "drugs", "weapons_violation"]
PROPERTY, VIOLENCE = ["theft", "motor_vehicle_theft", "burglary", "criminal-damage"], ["assault", "battery", "robbery"]
PROPERTY += ["trespassing", "panhandling", "homeless-camp", "disorderly_conduct", "suspicious_person"]


UNANSWERED = {
    "ems_readiness": PROPERTY,
    "fire": PROPERTY + VIOLENCE,
    "road_safety": PROPERTY + VIOLENCE,
    "crowd_safety": PROPERTY,
    "dispatch_staffing": [],
}


@pytest.mark.parametrize("purpose", PURPOSES)
def test_a_purpose_forbids_what_patrols_find_or_none_of_its_units_answers_and_not_what_units_are_called_to(purpose):
    assert list(forbidden(purpose, CALLED)) == []
    pairs = dict(forbidden(purpose, [*FOUND, "ems"]))
    assert pairs == dict.fromkeys(FOUND, "patrols find it, so its counts say where patrols were")
    assert list(dict(forbidden(purpose, PROPERTY + VIOLENCE))) == UNANSWERED[purpose]
