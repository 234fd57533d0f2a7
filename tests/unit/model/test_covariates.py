"""The join of outside series as they were issued, against a look-up that goes through every message."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.artifact.history import pack_history, unpack_history
from models.counting.blobs import Changes, Journal, export_state, restore_state
from models.counting.count_state import CountState
from models.covariates import LIMIT, CovariateBook, SeriesScale, covariate_columns, covariate_means
from models.features import FeatureEngine, features_of
from schemas.covariate import NO_VALUES, VALUE
from schemas.errors import ArtifactError, DataError
from schemas.limits import COVARIATE_HOURS_AHEAD
from schemas.spec import CovariateSeries
from tests.harness.toy import toy_constants, toy_spec

HOUR = 3600
BASE = 480_000  # hours since 1970
MAX_AGE_HOURS = {"wind": 6, "rain": 30}


def outside_spec(**changes):
    """Two outside series."""
    series = tuple(CovariateSeries(name=name, max_age_hours=hours) for name, hours in MAX_AGE_HOURS.items())
    spec = toy_spec(covariates=series, **changes)
    return msgspec.structs.replace(spec, features=features_of(spec))


SPEC = outside_spec()
CONSTANTS = toy_constants(SPEC, covariate_centre=np.array([1.0, 0.0]), covariate_scale=np.array([2.0, 1.0]))


def values_of(*rows):
    """(series, hour since BASE, seconds after BASE at which it was issued, value) each."""
    return np.array([(series, BASE + hour, BASE * HOUR + issued, value) for series, hour, issued, value in rows], VALUE)


def looked_up(rows, series, hour, at_s):
    """The value of an hour as issued, or None: by going through all of them."""
    name, best = SPEC.covariates[series].name, None
    for row in rows:
        far = row["hour"] > row["issued_s"] // HOUR + COVARIATE_HOURS_AHEAD
        if row["series"] != series or row["hour"] != hour or row["issued_s"] > at_s or far:
            continue
        key = (row["issued_s"], row["value"])
        best = key if best is None or key > best else best
    return None if best is None or at_s - best[0] > MAX_AGE_HOURS[name] * HOUR else best[1]


def mean_of_horizon(rows, series, at_s, horizon_s):
    """Second by second would be the definition; values change on the hour only."""
    total, second = 0.0, at_s
    while second < at_s + horizon_s:
        stop = min((second // HOUR + 1) * HOUR, at_s + horizon_s)
        value = looked_up(rows, series, second // HOUR, at_s)
        if value is None:
            return np.nan
        total, second = total + value * (stop - second), stop
    return total / horizon_s


rows = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.integers(-2, 8) | st.just(COVARIATE_HOURS_AHEAD + 1),
        st.integers(-8, 6).map(lambda hours: hours * 1800) | st.integers(-HOUR, HOUR),
        st.integers(-3, 3),
    ),
    max_size=40,
)


@settings(deadline=None)
@given(rows, st.lists(st.integers(0, 3 * HOUR), min_size=1, max_size=5), st.randoms())
def test_the_book_knows_at_every_moment_what_a_search_of_all_messages_finds(drawn, moments, random):
    """The order and the batches do not matter, nor what is sent ahead of the clock or again."""
    book, sent = CovariateBook(), values_of(*drawn)
    order = list(range(len(sent)))
    random.shuffle(order)
    at = sorted(moments)
    parts = [order[number :: len(at)] for number in range(len(at))]
    received = NO_VALUES
    spec = msgspec.structs.replace(SPEC, horizons_s=(HOUR, 4 * HOUR))
    for moment, part in zip(at, parts, strict=True):
        at_s = BASE * HOUR + moment
        held = book.add(sent[part], at_s)
        received = np.concatenate([received, sent[part]])
        means = covariate_means(book, spec, at_s)
        for series in range(2):
            for number, horizon_s in enumerate(spec.horizons_s):
                np.testing.assert_allclose(
                    means[series, number], mean_of_horizon(received, series, at_s, horizon_s), atol=1e-12
                )
        assert len(held) == len(part)
        assert (book.values["hour"] >= at_s // HOUR).all()


def test_what_is_held_and_what_is_not():
    book = CovariateBook()
    book.add(values_of((0, 0, 0, 5.0)), BASE * HOUR)
    sent = values_of(
        (0, 0, 0, 5.0),  # known
        (0, 0, 0, 6.0),  # a larger one of the same issue
        (0, 0, -60, 7.0),  # older
        (0, 0, 60, 8.0),  # issued ahead of the clock: for later
        (0, -1, 0, 9.0),  # the hour is over
        (0, COVARIATE_HOURS_AHEAD + 1, 0, 1.0),  # too far ahead
        (1, COVARIATE_HOURS_AHEAD, 0, 1.0),  # as far as is kept
        (1, 0, 0, 2.0),  # another series
    )
    assert book.add(sent, BASE * HOUR).tolist() == [False, True, False, True, False, False, True, True]
    assert book.known(SPEC, BASE * HOUR, 1).tolist() == [[6.0], [2.0]]
    assert book.known(SPEC, BASE * HOUR + 60, 1).tolist() == [[8.0], [2.0]]
    assert CovariateBook().add(values_of((0, 0, 0, 5.0), (1, 0, 0, 2.0)), BASE * HOUR).all()  # none replaces the other


def test_a_value_counts_until_its_age_is_the_limit_and_not_a_second_longer():
    book = CovariateBook(values_of((0, 6, 0, 5.0)))
    last_s = (BASE + MAX_AGE_HOURS["wind"]) * HOUR
    assert book.known(SPEC, last_s, 1)[0] == 5.0
    assert np.isnan(book.known(SPEC, last_s + 1, 1)[0])


def test_the_column_is_the_distance_from_the_centre_within_the_limit_and_0_where_it_is_missing():
    at_s = BASE * HOUR + 1800
    book = CovariateBook()
    book.add(values_of(*((0, hour, 0, 2.0 + 2 * hour) for hour in range(5)), (1, 0, 0, 100.0), (1, 1, 0, 100.0)), at_s)
    scale = SeriesScale(centre=CONSTANTS.covariate_centre, scale=CONSTANTS.covariate_scale)
    columns, missing = covariate_columns(book, scale, SPEC, at_s)
    # wind over an hour from half past: half of 2 and half of 4; over 4 h: 2 / 2 + 4 + 6 + 8 + 10 / 2, a fourth of it
    np.testing.assert_allclose(columns, [(3 - 1) / 2, (6 - 1) / 2, 0, LIMIT, 0, 0])
    assert missing == 2  # both lack hours of the day ahead


def test_centre_and_scale_are_of_what_was_known_when_each_hour_began():
    sent = values_of(
        (0, 0, -60, 1.0),
        (0, 0, 0, 2.0),  # issued as the hour began: it counts
        (0, 0, 1, 50.0),  # a second too late
        (0, 1, 0, 3.0),
        (0, 1, 0, 4.0),  # the larger one of the same issue
        (0, 2, -5 * HOUR, 50.0),  # too old by then
        (0, 3, 0, 50.0),  # after the span
    )
    scale = SeriesScale.of(sent[::-1], SPEC, BASE * HOUR, (BASE + 3) * HOUR)
    assert (scale.centre[0], scale.scale[0]) == (3.0, 1.0)
    assert (scale.centre[1], scale.scale[1]) == (0.0, 1.0)  # never known
    still = SeriesScale.of(values_of((0, 0, 0, 7.0), (0, 1, 0, 7.0)), SPEC, BASE * HOUR, (BASE + 3) * HOUR)
    assert (still.centre[0], still.scale[0]) == (7.0, 1.0)


def state_at(at_s, values=NO_VALUES):
    state = CountState(SPEC)
    state.advance(at_s)
    state.know(values)
    return state


def full_day(value, *, issued=0):
    return values_of(*((series, hour, issued, value) for series in range(2) for hour in range(26)))


def test_what_is_issued_after_the_frame_never_changes_it():
    at_s = BASE * HOUR + 30  # half a minute into the tick
    engine = FeatureEngine(SPEC, CONSTANTS)
    before = engine.compute(state_at(at_s, full_day(3.0)))
    later = np.concatenate([full_day(3.0), full_day(-50.0, issued=1), full_day(-70.0, issued=4000)])
    after = engine.compute(state_at(at_s, later))
    np.testing.assert_array_equal(before.values, after.values)
    assert before.covariates_missing == after.covariates_missing == 0
    next_tick = engine.compute(state_at(at_s + 60, later))
    assert next_tick.values[0, 0, SPEC.features.index("cov_wind_1h")] == -LIMIT


def test_the_columns_are_the_same_in_every_cell_and_named_by_series_and_horizon():
    given = FeatureEngine(SPEC, CONSTANTS).compute(state_at(BASE * HOUR, full_day(3.0)))
    for name, series in (("wind", 1.0), ("rain", 3.0)):
        for horizon in SPEC.horizon_names:
            assert (given.values[:, :, SPEC.features.index(f"cov_{name}_{horizon}")] == series).all()
    nothing = FeatureEngine(SPEC, CONSTANTS).compute(state_at(BASE * HOUR))
    assert nothing.covariates_missing == 2
    outside = [name.startswith("cov_") for name in SPEC.features]
    np.testing.assert_array_equal(nothing.values[:, :, ~np.array(outside)], given.values[:, :, ~np.array(outside)])


def test_the_book_is_stored_with_the_counts():
    state = state_at(BASE * HOUR, full_day(3.0))
    again = restore_state(SPEC, export_state(state))
    np.testing.assert_array_equal(again.covariates.values, state.covariates.values)
    assert "c:book" not in export_state(state_at(BASE * HOUR))


def test_a_journal_names_the_book_by_its_digest_and_stores_it():
    digests = set()
    for value in (2.0, 3.0):
        journal, changes = Journal.start(state_at(BASE * HOUR))
        digests.add(journal.digest)
        journal.state.know(full_day(value))
        changes = changes.then(journal.record_book())
        digests.add(journal.digest)
    assert len(digests) == 3
    both = Changes(puts={"c": b"1"}, deletes=("a",)).then(Changes(puts={"d": b"2"}, deletes=("b",)))
    assert both == Changes(puts={"c": b"1", "d": b"2"}, deletes=("a", "b"))
    again = Journal.restore(SPEC, dict(changes.puts), as_of_s=BASE * HOUR, digest=journal.digest)
    np.testing.assert_array_equal(again.state.covariates.values, journal.state.covariates.values)


def test_the_history_of_an_artifact_has_the_book_and_a_forged_one_is_refused(tmp_path):
    state = state_at(BASE * HOUR, full_day(3.0))
    ends = {"first_day": 1, "cutoff_s": BASE * HOUR}
    again = unpack_history(pack_history(state), tmp_path, SPEC, **ends)
    np.testing.assert_array_equal(again.covariates.values, state.covariates.values)
    good = state.covariates.values
    forged = (
        values_of((2, 0, 0, 1.0)),  # a series that there is not
        values_of((-1, 0, 0, 1.0)),
        values_of((0, 0, 0, np.nan)),
        values_of((0, 0, 0, 1e10)),
        values_of((0, 0, 1, 1.0)),  # issued after the end
        values_of((0, 10**9, 0, 1.0)),
        good[::-1],  # in another order
    )
    for values in forged:
        state.covariates = CovariateBook(values)
        packed = pack_history(state)
        with pytest.raises(ArtifactError, match="outside series"):
            unpack_history(packed, tmp_path, SPEC, **ends)


@pytest.mark.parametrize("name", ["covariate_centre", "covariate_scale"])
def test_constants_have_the_series_of_the_spec_or_are_refused(name):
    arrays = CONSTANTS.arrays()
    assert type(CONSTANTS).checked(arrays, SPEC).arrays().keys() == arrays.keys()
    without = {key: array for key, array in arrays.items() if key != name}
    with pytest.raises(DataError, match="baseline holds"):
        type(CONSTANTS).checked(without, SPEC)
    with pytest.raises(DataError, match=f"{name} is float64"):
        type(CONSTANTS).checked({**arrays, name: np.ones(3)}, SPEC)
    with pytest.raises(DataError, match=f"{name} has values outside"):
        type(CONSTANTS).checked({**arrays, name: np.full(2, 1e10)}, SPEC)
    with pytest.raises(DataError, match="baseline holds"):
        type(CONSTANTS).checked(arrays, toy_spec())
