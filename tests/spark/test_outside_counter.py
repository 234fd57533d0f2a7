"""Outside series in the stateful stage, with a simulated state store and clock: no JVM."""

import json

import msgspec
import numpy as np
import pytest

from models.features import FeatureEngine, features_of
from schemas.covariate import Covariate, value_of
from schemas.incidents import unpack_rejections
from schemas.spec import CovariateSeries
from streaming.flow import count
from streaming.flow.ledger import UNASSIGNED
from tests.harness.region_bench import NOW, Bench, empty_history, event
from tests.harness.toy import iso, publish_artifact, toy_constants, toy_network

pytestmark = pytest.mark.usefixtures("empty_cache")
HOUR = 3600
THIS_HOUR = NOW // HOUR * HOUR
COLUMN = "cov_wind_1h"


@pytest.fixture
def spec(toy):
    spec = toy("riverton", covariates=(CovariateSeries(name="wind", max_age_hours=24),), features=())
    return msgspec.structs.replace(spec, features=features_of(spec))


@pytest.fixture
def new_windy_bench(spec, tmp_path):
    """A bench whose region has outside series; one unit of the wind is one unit of its column."""

    def make(name="a", clock="wall"):
        bench = Bench(tmp_path / name, clock=clock)
        constants = toy_constants(spec, covariate_centre=np.zeros(1), covariate_scale=np.ones(1))
        publish_artifact(
            bench.artifacts, spec=spec, constants=constants, network=toy_network(spec), history=empty_history(spec)
        )
        bench.look()
        return bench

    return make


def forecast(value, *, issued_s=NOW - 600, hour=0, **changes):
    fields = {
        "region": "riverton",
        "series": "wind",
        "issued_at": iso(issued_s),
        "valid_at": iso(THIS_HOUR + hour * HOUR),
    }
    return json.dumps({**fields, "value": value, **changes}).encode()


def run(value, **changes):
    """A forecast of all hours that any horizon of the next minutes needs."""
    return [forecast(value, hour=hour, **changes) for hour in range(27)]


def column(spec, features, name=COLUMN):
    shape = (spec.grid.cells, len(spec.categories), len(spec.features))
    values = np.frombuffer(features, "<f4").reshape(shape)[:, :, spec.features.index(name)]
    assert (values == values[0, 0]).all()
    return float(values[0, 0])


def test_a_forecast_changes_the_frame_at_once_and_its_absence_is_said(spec, new_windy_bench):
    bench = new_windy_bench()
    features, summary = bench.batch(NOW, outside=[])["riverton"]
    assert column(spec, features) == 0
    assert summary.covariates_missing == 1
    features, summary = bench.batch(NOW + 5, outside=run(1.5))["riverton"]  # in the same tick
    assert column(spec, features) == 1.5
    assert summary.covariates_missing == 0
    assert summary.totals["covariates_accepted"] == 27
    assert bench.batch(NOW + 6, outside=run(1.5))["riverton"][0] is None  # nothing new
    _, summary = bench.batch(NOW + 7, outside=[])["riverton"]
    assert (summary.totals["covariates_accepted"], summary.totals["covariates_unused"]) == (27, 27)
    assert summary.covariates_missing == 0
    features, summary = bench.batch(NOW + 24 * HOUR, outside=[])["riverton"]  # too old by now
    assert column(spec, features) == 0
    assert summary.covariates_missing == 1


def test_what_is_issued_after_the_tick_never_changes_its_frame(spec, new_windy_bench):
    bench = new_windy_bench()
    bench.batch(NOW, outside=run(1.0))
    later = [*run(2.0, issued_s=NOW + 1), *run(3.0, issued_s=NOW + 200)]
    features, _ = bench.batch(NOW + 30, outside=later)["riverton"]
    assert column(spec, features) == 1.0
    for at_s, value in ((NOW + 60, 2.0), (NOW + 180, 2.0), (NOW + 240, 3.0)):
        assert column(spec, bench.batch(at_s, outside=[])["riverton"][0]) == value


def test_every_message_is_accepted_unused_or_a_dead_letter_and_the_incidents_ledger_is_its_own(spec, new_windy_bench):
    bench = new_windy_bench()
    outside = [
        forecast(1.0),
        forecast(1.0, hour=-1),  # the hour is over
        forecast(1.0, issued_s=NOW + 301),  # ahead of the clock
        forecast(1.0, series="rain"),
        forecast(1.0, region="atlantis"),
        forecast("high"),
        None,
        forecast(1.0, issued_s=NOW + 300, hour=3),  # as far ahead as clocks may differ
    ]
    found = bench.batch(NOW, event(spec, NOW - 5), b"no event", outside=outside)
    summary, unassigned = found["riverton"][1], found[UNASSIGNED][1]
    assert summary.ledger["consumed"] == summary.ledger["counted"] == 1
    assert unassigned.ledger["consumed"] == unassigned.ledger["rejected"] == 1
    of_region = {name: count for name, count in summary.totals.items() if name.startswith("covariates")}
    assert of_region == {"covariates_accepted": 2, "covariates_unused": 1, "covariates_rejected": 3}
    assert unassigned.totals["covariates_rejected"] == 2
    letters = [
        (refused.kafka_offset, refused.reason)
        for one in (summary, unassigned)
        for refused in unpack_rejections(one.refused_covariates)
    ]
    assert sorted(letters) == [
        (2, "future"), (3, "unknown_category"), (4, "unknown_region"), (5, "schema"), (6, "null_value"),
    ]  # fmt: skip
    assert [rejection.reason for rejection in unpack_rejections(unassigned.rejections)] == ["not_json"]


def test_a_rebuilt_state_and_the_cached_one_give_the_bytes_of_the_offline_path(spec, new_windy_bench):
    """Also where a worker's cache lags behind, and where a failed attempt was ahead of the store."""
    draw = np.random.default_rng(5)
    benches = [new_windy_bench(name) for name in ("cached", "rebuilt", "lagging", "tried twice")]
    caches = [{} for _ in benches]
    state = empty_history(spec)
    engine = FeatureEngine(spec, toy_constants(spec, covariate_centre=np.zeros(1), covariate_scale=np.ones(1)))
    at_s, compared = NOW, 0
    for number in range(40):
        at_s += int(draw.choice([1, 20, 61, 1800]))
        hours = draw.integers(0, 30, 20)
        outside = [
            forecast(float(value), issued_s=at_s - int(draw.integers(-90, 4000)), hour=(at_s - NOW) // HOUR + int(hour))
            for value, hour in zip(draw.normal(size=20), hours, strict=True)
        ] * int(draw.choice([0, 1]))
        values = [event(spec, at_s - 30, number=number)] * int(draw.choice([0, 1]))
        caches[1] = {}
        results = []
        for which, bench in enumerate(benches):
            lags = which == 2 and number % 3
            count._LIVE.clear()
            if not lags:
                count._LIVE.update(caches[which])
            if which == 3:
                stored = bench.all_stored()
                offsets = bench.offset, bench.outside_offset
                bench.batch(at_s, *values, outside=outside)
                bench.store_again(stored)
                bench.offset, bench.outside_offset = offsets
            results.append(bench.batch(at_s, *values, outside=outside)["riverton"])
            if not lags:
                caches[which] = dict(count._LIVE)
        (features, summary), *others = results
        for other_features, other in others:
            assert other_features == features
            assert (other.totals, other.covariates_missing) == (summary.totals, summary.covariates_missing)
        state.advance(at_s)
        decoded = [msgspec.json.decode(one, type=Covariate) for one in outside]
        for one in decoded:  # one by one, as no batch would have them
            state.know(np.array([value_of(one, 0)], state.covariates.values.dtype))
        if features is not None:
            offline = engine.compute(state)
            names = [name for name in spec.features if name.startswith("cov_")]
            assert [column(spec, features, name) for name in names] == [
                float(offline.values[0, 0, spec.features.index(name)]) for name in names
            ]
            assert summary.covariates_missing == offline.covariates_missing
            compared += 1
    assert compared > 20


def test_a_job_without_such_a_topic_stores_and_says_nothing_of_it(toy, new_bench, tmp_path):
    bench = new_bench(tmp_path, toy("riverton"))
    _, summary = bench.batch(NOW, event(toy("riverton"), NOW - 5))["riverton"]
    assert not [name for name in summary.totals if "covariates" in name]
    assert "c:book" not in {key[0] for key in bench.stored("riverton")[1]}
