"""Line protocol against a slow formatter and a small parser of its own."""

import math
import re
from dataclasses import replace
from itertools import product

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import PipelineError
from schemas.frame import ATTRIBUTION_GROUPS, Silence, Surge, Unusual
from schemas.grid import geohash
from streaming.sinks.line_protocol import changed, point_line, risk_lines, string, tag, top_lines, unusual_lines
from tests.harness.points import plain_risks, plain_tops, rounded
from tests.harness.toy import toy_frame, toy_spec

SPEC = toy_spec(3, 4)
SHAPE = (12, 2, 3)
FIELDS = ["expected", "risk", "low", "high", "usual"]
IDENTIFIER = r"(?:[^\\,= ]|\\[,= ])+"
NUMBER = r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?"
FIELD = rf'({IDENTIFIER})=({NUMBER}|"(?:[^"\\]|\\["\\])*")'
LINE = re.compile(rf"(\w+)((?:,{IDENTIFIER}={IDENTIFIER})+) ({FIELD}(?:,{FIELD})*) (\d+)")


def frame(seed=0, **columns):
    draw = np.random.default_rng(seed)
    expected = (10.0 ** draw.uniform(-8, 5, SHAPE)).astype(np.float32)
    scores = toy_frame(
        SPEC,
        expected,
        as_of_s=1_700_000_039,
        model="2026-11-01",
        low=np.floor(expected),
        usual=(expected * draw.uniform(0.5, 2, SHAPE)).astype(np.float32),
        observed_1h=draw.poisson(2, SHAPE[:2]).astype(np.int32),
        support=draw.integers(0, 3, SHAPE[:2]).astype(np.uint8),
        attribution=draw.uniform(0.2, 5, (3, *SHAPE[1:], len(ATTRIBUTION_GROUPS))).astype(np.float32),
    )
    return replace(scores, **columns)


def unescaped(text):
    return re.sub(r"\\([,= ])", r"\1", text)


def parsed(line):
    """(measurement, tags in written order, fields, seconds) of one line; numbers become floats."""
    match = LINE.fullmatch(line)
    assert match, line
    pairs = re.findall(rf",({IDENTIFIER})=({IDENTIFIER})", match[2])
    fields = {
        unescaped(key): re.sub(r'\\(["\\])', r"\1", value[1:-1]) if value.startswith('"') else float(value)
        for key, value in re.findall(FIELD, match[3])
    }
    tags = [(unescaped(key), unescaped(value)) for key, value in pairs]
    return match[1], tags, fields, int(match[len(match.groups())])


def points(lines):
    assert lines.endswith(b"\n")
    return [parsed(line) for line in lines.decode().removesuffix("\n").split("\n")]


def test_the_first_line_is_written_like_this():
    even = {
        name: np.full(SHAPE, value, np.float32) for name, value in zip(FIELDS, [1.5, 0.77687, 0, 4, 0.25], strict=True)
    }
    scores = frame(**even, observed_1h=np.full(SHAPE[:2], 3, np.int32), support=np.full(SHAPE[:2], 2, np.uint8))
    assert risk_lines(scores).split(b"\n")[0].decode() == (
        "risk,category=fire,cell=r000c000,geohash=dp61k2su,horizon=1h,region=toyville "
        'expected=1.5,risk=0.7769,low=0,high=4,usual=0.25,observed_1h=3,support="ok" 1699999980'
    )


@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0, 1))
def test_lines_are_those_of_a_slow_formatter(seed, share):
    scores = frame(seed)
    mask = np.random.default_rng(seed).random(SHAPE) < share
    assert risk_lines(scores, mask).decode().splitlines() == list(plain_risks(scores, mask))
    assert risk_lines(scores).decode().splitlines() == list(plain_risks(scores))
    assert risk_lines(scores, np.zeros(SHAPE, np.bool_)) == b""


@pytest.mark.parametrize(
    "value", [0.0, 5e-7, 1e-6, 9.9996e-4, 1e-3, 0.01, 0.0099999, 0.99996, 1.0, 9.9999, 10, 100_000, 99_996, 999_999]
)
def test_numbers_are_rounded_across_the_borders_of_decades(value):
    scores = frame(expected=np.full(SHAPE, value, np.float32))
    written = points(risk_lines(scores))[0][2]["expected"]
    assert written == float(rounded(np.float32(value)))
    assert abs(written - value) <= max(5e-7, value * 5.1e-4)


@pytest.mark.fault("F30")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        *product(FIELDS, [math.nan, math.inf, -math.inf, -0.001, 1e6]),
        ("risk", np.nextafter(np.float32(1), np.float32(2))),
    ],
)
def test_a_value_that_is_no_number_in_its_range_is_never_written(name, value):
    wrong = getattr(frame(), name).copy()
    wrong[7, 1, 2] = value
    with pytest.raises(PipelineError, match=rf"toyville, cell r001c003, ems: {name}={wrong[7, 1, 2]:.9g}"):
        risk_lines(frame(**{name: wrong}))


@pytest.mark.fault("F30")
@pytest.mark.parametrize(("name", "value"), [("observed_1h", -1), ("support", 3)])
def test_a_count_or_support_that_cannot_be_is_never_written(name, value):
    wrong = getattr(frame(), name).copy()
    wrong[3, 0] = value
    point = np.zeros(SHAPE, np.bool_)
    point[3, 0, 1] = True
    for mask in (None, point):
        with pytest.raises(PipelineError, match=f"r000c003, fire: .*{name}={value}"):
            risk_lines(frame(**{name: wrong}), mask)


def test_a_first_frame_a_new_tick_a_new_model_and_a_new_spec_are_written_in_full():
    now = frame()
    other = toy_spec(grid=SPEC.grid, region="elsewhere", categories=SPEC.categories)
    for before in (None, replace(now, as_of_s=now.as_of_s - 60), replace(now, model="old"), replace(now, spec=other)):
        assert changed(now, before).all()
        assert changed(now, before).dtype == np.bool_
    assert not changed(now, replace(now, as_of_s=now.as_of_s - 1)).any()


@given(seed=st.integers(0, 2**32 - 1), step=st.sampled_from([1e-7, 1e-5, 1e-3, 0.1]))
def test_a_point_counts_as_changed_when_its_line_is_another_one(seed, step):
    draw = np.random.default_rng(seed)
    before = frame(seed)
    values = {
        name: np.where(draw.random(SHAPE) < 0.1, getattr(before, name) * np.float32(1 - step), getattr(before, name))
        for name in FIELDS
    }
    seen = before.observed_1h + (draw.random(SHAPE[:2]) < 0.1).astype(np.int32)
    after = frame(seed, **values, observed_1h=seen)
    new, old = (risk_lines(each).splitlines() for each in (after, before))
    differs = [a != b for a, b in zip(new, old, strict=True)]
    assert changed(after, before).ravel().tolist() == differs


def test_the_top_is_the_order_of_a_plain_sort_and_risks_that_saturate_are_ranked_by_what_is_expected():
    written = top_lines(frame(3), 5).decode().splitlines()
    assert written == list(plain_tops(frame(3), 5))
    assert len(written) == 2 * 3 * 5
    expected = np.tile(np.arange(20, 32, dtype=np.float32)[:, None, None], (1, 2, 3))
    scores = frame(expected=expected, risk=np.ones(SHAPE, np.float32))
    assert [fields["expected"] for _, _, fields, _ in points(top_lines(scores, 2))][:2] == [31, 30]


def test_a_cell_with_neither_expected_nor_usual_has_lift_one_and_k_is_at_most_the_cells():
    nothing = np.zeros(SHAPE, np.float32)
    written = points(top_lines(frame(expected=nothing, usual=nothing, risk=nothing), 1000))
    assert len(written) == math.prod(SHAPE)
    assert {fields["lift"] for _, _, fields, _ in written} == {1.0}


def test_pipeline_numbers_are_floats_at_full_precision():
    line = point_line(
        "pipeline", {"region": "toyville"}, {"consumed": 123_456_789, "batch_s": 0.1, "state": 'so "fine"'}, 60
    )
    assert line == rb'pipeline,region=toyville consumed=123456789.0,batch_s=0.1,state="so \"fine\"" 60' + b"\n"


@pytest.mark.parametrize("fields", [{}, {"lag": math.nan}, {"lag": math.inf}])
def test_a_pipeline_point_without_a_finite_field_is_refused(fields):
    with pytest.raises(PipelineError, match="toyville at 60"):
        point_line("pipeline", {"region": "toyville"}, fields, 60)


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\\\r\n"), min_size=1)


@given(region=TEXT, name=TEXT, text=st.text(st.characters(codec="utf-8")))
def test_any_text_survives_escaping_except_line_breaks(region, name, text):
    line = point_line("pipeline", {"region": region}, {name: text}, 60).decode()
    assert parsed(line.removesuffix("\n")) == (
        "pipeline",
        [("region", region)],
        {name: text.replace("\r", " ").replace("\n", " ")},
        60,
    )


@pytest.mark.parametrize("text", ["", "a\\", "a\\b", "a\nb", "a\rb"])
def test_a_tag_that_no_escape_can_carry_is_refused(text):
    with pytest.raises(PipelineError, match="cannot be a tag"):
        tag(text)


def test_a_model_with_odd_signs_stays_one_line():
    scores = frame(model='baseline:no "net"\nC:\\x')
    assert points(top_lines(scores, 1))[0][2]["model"] == 'baseline:no "net" C:\\x'
    assert string("a\nb\r\nc") == '"a b  c"'


def test_an_unusual_place_is_a_point_of_its_category_and_the_least_likely_one_of_all():
    given = {"hours": 2, "usual": 1.5}
    first_named, second_named = SPEC.categories
    rare = Unusual(category=second_named, row=0, col=1, rows=2, cols=3, observed=9, days=40.0, **given)
    common = Unusual(category=first_named, row=1, col=0, rows=1, cols=1, observed=5, days=20.0, **given)
    quiet = {"days": 0, "hours": 0, "observed": 0, "usual": 0, "says": "", "middle": "", "own_days": 0, "silent": 0}
    quiet |= {"raised": 1}

    def figures(place):
        lat, lon = (of[place.cells(SPEC.grid)].mean() for of in SPEC.grid.centres())
        shown = {"days": place.days, "observed": place.observed, **given, "says": place.in_words(SPEC.grid)}
        return shown | {"middle": geohash(float(lat), float(lon), 8), "own_days": place.days, "silent": 0, "raised": 1}

    for places in ((), (rare,), (rare, common)):
        points = [parsed(line) for line in unusual_lines(frame(unusual=places)).decode().splitlines()]
        first = {place.category: figures(place) for place in places}
        first["all"] = figures(places[0]) | {"own_days": 0} if places else quiet
        assert [dict(tags)["category"] for _, tags, *_ in points] == ["all", *SPEC.categories]
        for measurement, tags, fields, tick_s in points:
            assert (measurement, dict(tags)["region"], tick_s) == ("unusual", SPEC.region, frame().tick_s)
            assert fields == first.get(dict(tags)["category"], quiet) | {"model": "2026-11-01"}


def test_a_surge_is_said_with_its_factor_and_stands_before_the_place():
    surge = Surge(category=SPEC.categories[0], factors=(2.5, 1.4), spreads=(0.3, 0.2), observed=30, usual=4.2)
    place = Unusual(
        category=SPEC.categories[0], row=0, col=0, rows=1, cols=1, hours=1, observed=9, usual=1.0, days=40.0
    )
    lines = unusual_lines(frame(unusual=(place,), surges=(surge,))).decode().splitlines()
    of_all, own, other = (parsed(line)[2] for line in lines)
    says = (
        f"forecast raised: {SPEC.categories[0]} x2.5: 30 instead of 4.2 in the last hour; {place.in_words(SPEC.grid)}"
    )
    assert (of_all["raised"], of_all["says"], own["raised"], own["says"]) == (2.5, says, 2.5, says)
    assert (other["raised"], other["says"]) == (1, "")


def test_a_silent_feed_is_named_where_all_would_be_as_usual():
    first_named, second_named = SPEC.categories
    feed = Silence(category=first_named, since_s=1_700_000_000, observed=0, usual=23.4, days=90.0)
    of_all = Unusual(category="all", row=0, col=0, rows=1, cols=1, hours=1, observed=9, usual=0.5, days=40.0)
    lines = unusual_lines(frame(unusual=(of_all,), silent=(feed,))).decode().splitlines()
    by_category = {dict(tags)["category"]: fields for _, tags, fields, _ in map(parsed, lines)}
    told = "FEED SILENT: fire since 14 Nov 22:13: 0 instead of 23.4"
    place = "all at r000c000: 9 instead of 0.5 in 1 h"
    shown = {name: (of["says"], of["silent"], of["own_days"]) for name, of in by_category.items()}
    whole = unusual_lines(frame(silent=(msgspec.structs.replace(feed, category="all", usual=99.0), feed))).decode()
    each = [fields for _, _, fields, _ in map(parsed, whole.splitlines())]
    assert [(of["silent"], "FEED SILENT: all" in of["says"]) for of in each] == [(99.0, True)] * 3
    back = unusual_lines(frame(silent=(msgspec.structs.replace(feed, until_s=1_700_007_200),))).decode()
    assert "FEED WAS SILENT: fire from 14 Nov 22:13 to 00:13: 0 instead of 23.4" in back
    assert {fields["silent"] for _, _, fields, _ in map(parsed, back.splitlines())} == {0}
    assert shown == {"all": (f"{told}; {place}", 23.4, 40), first_named: (told, 23.4, 0), second_named: ("", 0, 0)}
