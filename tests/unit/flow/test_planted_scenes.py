"""Scenes of a night, planted into drawn counts of a real city, and what the frame says of each: by the scorer's door.

The draws have the mean that the artifact calls usual. Its history ends with the last minute of a Sunday.
"""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from models.artifact import champion_of
from models.feature_lists import usual_columns
from models.features import FeatureEngine
from schemas.spec import HOUR_S
from tests.harness.recount import scored_frame

ARTIFACT = champion_of(Path("streaming/sample/artifacts"), "montgomery")
SPEC = ARTIFACT.spec
HOURS = 20  # from the history's end: until eight in the evening
CATEGORIES = len(SPEC.categories)
EMS = SPEC.categories.index("ems")
STREET = [SPEC.grid.index_of(f"r020c{col:03d}") for col in range(4, 28)]


@cache
def quiet_cell():
    """A cell in which about 0.02 incidents an hour are usual."""
    return int(np.abs(usual_hours()[-1].sum(axis=1) - 0.019).argmin())


@cache
def usual_hours():
    """(hours, cells, categories) what is usual in each."""
    state, engine, usual = ARTIFACT.history(), FeatureEngine(SPEC, ARTIFACT.constants), []
    for hour in range(HOURS):
        state.advance(ARTIFACT.manifest.data.cutoff_s + hour * HOUR_S)
        usual.append(np.exp(engine.compute(state).values[:, :, usual_columns(len(SPEC.horizons_s))][:, :, 0]))
    return np.stack(usual).astype(float)


def scene(seed, *, times=None, plant=None, dead=slice(0, 0), dead_of=slice(None)):
    """The frame at eight. times: {hour: factor} so many times the usual came in it, all in all; the last hour is -1.

    plant: cells' places of incidents in the last hour. dead: hours in which nothing came of the categories dead_of.
    """
    draw, cutoff_s = np.random.default_rng(seed), ARTIFACT.manifest.data.cutoff_s
    counts = draw.poisson(usual_hours())
    for hour, factor in (times or {}).items():
        usual = usual_hours()[hour]
        came = draw.multinomial(round(factor * usual.sum()), usual.ravel() / usual.sum())
        counts[hour] = came.reshape(usual.shape)
    counts[dead, :, dead_of] = 0
    hour, place = np.nonzero(counts.reshape(HOURS, -1))
    of_each = np.repeat(np.arange(len(hour)), counts.reshape(HOURS, -1)[hour, place])
    at_s = cutoff_s + hour[of_each] * HOUR_S + draw.integers(0, HOUR_S, len(of_each))
    places = place[of_each]
    if plant is not None:
        at_s = np.append(at_s, cutoff_s + (HOURS - 1) * HOUR_S + draw.integers(0, HOUR_S, len(plant)))
        places = np.append(places, plant)
    state = ARTIFACT.history()
    state.advance(cutoff_s + HOURS * HOUR_S - 1)
    for level in state.levels.values():
        level.add(at_s, places.astype(np.intp), 1)
    features = FeatureEngine(SPEC, ARTIFACT.constants).compute(state)
    return scored_frame(str(ARTIFACT.folder), features, state.as_of_s)


def told(frame):
    return [place.in_words(SPEC.grid) for place in frame.unusual]


def mixed(count):
    """As many of each category in one cell."""
    return [quiet_cell() * CATEGORIES + number % CATEGORIES for number in range(count)]


@pytest.mark.parametrize("count", [9, 12])  # fewer than five of each category, which would be told by itself
@pytest.mark.parametrize("seed", range(3))
def test_mixed_calls_in_one_cell_are_told_once_and_with_their_mix(count, seed):
    frame = scene(seed, plant=mixed(count))
    here = [place for place in frame.unusual if quiet_cell() in place.cells(SPEC.grid)]
    assert here[0].category == "all", told(frame)
    assert here[0].observed >= count
    assert all(here[0].of_categories[name] >= count // CATEGORIES for name in SPEC.categories)
    assert all(place.observed > 2 * count // CATEGORIES for place in here[1:]), told(frame)  # mostly of something else


@pytest.mark.parametrize("times", [{-1: 2.7}, {-2: 2.5, -1: 2.5}])
@pytest.mark.parametrize("seed", range(3))
def test_a_city_with_far_more_of_everything_is_told(times, seed):
    frame = scene(seed, times=times)
    wide = [place.category for place in frame.unusual if len(place.cells(SPEC.grid)) == SPEC.grid.cells]
    assert wide == ["all"], told(frame)


@pytest.mark.parametrize("seed", range(3))
def test_six_hours_without_an_incident_are_a_silent_feed_and_no_calm_city(seed):
    frame, lively = scene(seed, dead=slice(-6, None)), scene(seed)
    [feed] = frame.silent
    assert (feed.category, feed.observed) == ("all", 0)
    begin_s = ARTIFACT.manifest.data.cutoff_s + (HOURS - 6) * HOUR_S
    assert begin_s - 1800 <= feed.since_s <= begin_s
    assert feed.usual == pytest.approx(usual_hours()[-6:].sum(), rel=0.15)
    assert not frame.unusual
    assert not lively.silent
    assert frame.expected.sum() == pytest.approx(lively.expected.sum(), rel=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_a_category_that_falls_silent_alone_is_named(seed):
    frame, lively = scene(seed, dead=slice(-6, None), dead_of=EMS), scene(seed)
    assert [feed.category for feed in frame.silent] == ["ems"]
    ems = [scored.expected[:, EMS].sum() for scored in (frame, lively)]
    assert ems[0] == pytest.approx(ems[1], rel=0.08)


def test_a_trickle_is_a_silent_feed_and_an_hour_after_its_return_it_is_not():
    dead = scene(0, dead=slice(-6, None), plant=[quiet_cell() * CATEGORIES])
    assert [(feed.category, feed.observed) for feed in dead.silent] == [("all", 1)]
    back = scene(0, dead=slice(-7, -1))
    until_s = ARTIFACT.manifest.data.cutoff_s + (HOURS - 1) * HOUR_S
    assert [(feed.category, feed.until_s) for feed in back.silent] == [("all", until_s)]
    assert back.expected.sum() == pytest.approx(scene(0).expected.sum(), rel=0.05)  # the forecast stays
    assert not scene(0, dead=slice(-12, -5)).silent  # five hours later the last hours are known


@pytest.mark.parametrize("seed", range(3))
def test_an_hour_without_an_incident_is_a_silent_feed(seed):
    [feed] = scene(seed, dead=slice(-1, None)).silent
    assert (feed.category, feed.until_s) == ("all", 0)


@pytest.mark.parametrize("seed", range(3))
def test_calls_along_a_street_are_told(seed):
    frame = scene(seed, plant=[cell * CATEGORIES + EMS for cell in STREET])
    assert any(len(np.intersect1d(place.cells(SPEC.grid), STREET)) >= 6 for place in frame.unusual), told(frame)


@pytest.mark.parametrize("seed", range(3))
def test_eight_calls_of_a_category_in_a_cell_are_told_by_its_name(seed):
    frame = scene(seed, plant=[quiet_cell() * CATEGORIES + EMS] * 8)
    here = [place for place in frame.unusual if quiet_cell() in place.cells(SPEC.grid)]
    assert [place.category for place in here] == ["ems"], told(frame)


def test_a_quiet_week_is_as_usual():
    """Drawn hour by hour from what each frame calls usual. The rule promises a call in fourteen days; one may be."""
    draw, state, engine = np.random.default_rng(0), ARTIFACT.history(), FeatureEngine(SPEC, ARTIFACT.constants)
    calls, last, silent, raised = [], -9, [], 0
    for hour in range(7 * 24):
        begin_s = ARTIFACT.manifest.data.cutoff_s + hour * HOUR_S
        state.advance(begin_s)
        frame = scored_frame(str(ARTIFACT.folder), engine.compute(state), begin_s)
        calls += told(frame) if frame.unusual and hour - last > 4 else []
        last, silent = (hour if frame.unusual else last), [*silent, *frame.silent]
        raised += bool(frame.surges)
        came = draw.poisson(frame.usual[:, :, 0]).ravel()
        places = np.repeat(np.arange(len(came)), came)
        state.advance(begin_s + HOUR_S - 1)  # what lies further ahead than a clock may be wrong is kept by no pane
        for level in state.levels.values():
            level.add(begin_s + draw.integers(0, HOUR_S, len(places)), places, 1)
    assert len(calls) <= 1, calls
    assert silent == []
    assert raised <= 7  # of 168 hours


def test_three_times_of_everything_in_the_last_hour_raises_the_forecast_of_the_next_hours_and_says_so():
    calm, stormy = scene(3), scene(3, times={-1: 3.0})
    assert calm.surges == ()
    assert {surge.category for surge in stormy.surges} >= {"ems", "fire", "traffic"}
    for surge in stormy.surges:
        place = SPEC.categories.index(surge.category)
        assert min(surge.factors[:2]) > 1 == surge.factors[2]
        assert surge.observed == stormy.observed_1h[:, place].sum()
        assert 1.2 < stormy.expected[:, place, 0].sum() / calm.expected[:, place, 0].sum() < 4
    np.testing.assert_allclose(stormy.usual, calm.usual, rtol=0.05)
