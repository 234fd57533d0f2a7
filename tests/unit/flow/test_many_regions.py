"""A batch with new scores of many regions: what is stored, in which order, and what a failure leaves."""

import json
from collections import Counter
from dataclasses import replace
from functools import partial

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.all_categories import stored_views
from models.artifact import read_artifact
from models.measures import Forecast
from schemas.errors import PipelineError, SinkRefused
from schemas.forecasts import ClosedCounts
from schemas.frame import ATTRIBUTED_RANKS, ATTRIBUTION_GROUPS
from schemas.spec import DAY_S, HOUR_S
from streaming.artifacts_in_force import load_artifact
from streaming.flow.publish import closed_points, frame_of
from streaming.flow.rows import FIELDS, ScoredRow, Summary
from tests.harness import batch as harness
from tests.harness.batch import Rows
from tests.harness.plain_lines import plain_risks, plain_tops, plain_unusual
from tests.harness.points import points_in
from tests.harness.toy import CUTOFF_S, toy_artifact, toy_spec
from tests.unit.sinks.test_influx import sink_for

REGIONS = [f"town-{number}" for number in range(12)]
TOP_K = 4


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    artifacts = tmp_path_factory.mktemp("artifacts")
    return {region: toy_artifact(artifacts, toy_spec(3, 4, region=region)) for region in REGIONS}


def row_of(folder, as_of_s, draw, **summary_too):
    """A scored row of drawn numbers, most of them small."""
    spec = read_artifact(folder).spec
    places = (spec.grid.cells, len(spec.categories))
    shape = (*places, len(spec.horizons_s))
    expected = 10 ** draw.uniform(-8, 1.5, shape)
    scores = {
        "expected": expected,
        "risk": -np.expm1(-expected),
        "low": np.floor(expected),
        "high": np.ceil(3 * expected),
        "usual": expected * draw.uniform(0.5, 2, shape),
        "attribution": draw.uniform(0.2, 5, (ATTRIBUTED_RANKS, *shape[1:], len(ATTRIBUTION_GROUPS))),
    }
    counts = {"consumed": 1, "counted": 1}
    summary = Summary(
        as_of_s=as_of_s,
        ledger=counts,
        totals=counts,
        observed_1h=draw.poisson(1, places).astype("<i4").tobytes(),
        support=draw.integers(0, 3, places).astype("u1").tobytes(),
        **summary_too,
    )
    return {
        "region": spec.region,
        "artifact": str(folder),
        "summary": msgspec.msgpack.encode(summary),
        "scores": {"model": folder.name, **{name: scores[name].astype("<f4").tobytes() for name in FIELDS}},
    }


def plain_points(rows):
    for row in rows:
        scored = ScoredRow.of(row)
        frame = frame_of(scored, scored.summary)
        for view in stored_views(frame, load_artifact(row["artifact"]).constants):
            yield from plain_risks(view)
            yield from plain_tops(view, TOP_K)
        yield from plain_unusual(frame)


@pytest.fixture
def publisher_to(tmp_path):
    return partial(harness.publisher_to, checkpoint=tmp_path, top_k=TOP_K)


def stored_lines(store):
    return b"".join(store.acknowledged).decode().splitlines()


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, len(REGIONS)))
def test_every_point_is_stored_as_a_plain_encoder_writes_it_and_the_ledgers_are_last(
    stub_store, publisher_to, folders, seed, count
):
    draw = np.random.default_rng(seed)
    rows = [row_of(folders[region], CUTOFF_S + 60, draw) for region in draw.permutation(REGIONS)[:count]]
    stub_store.acknowledged.clear()
    stub_store.requests.clear()
    published = []
    sink = sink_for(stub_store)
    publisher_to(sink, watchers=[published.append])(Rows(*rows), 0)
    sink.close()
    *scores, ledgers = stub_store.acknowledged
    assert Counter(b"".join(scores).decode().splitlines()) == Counter(plain_points(rows))
    assert [key for key, _, _ in points_in(ledgers.decode())] == sorted(f"pipeline,region={r['region']}" for r in rows)
    [one] = published
    assert one.points == len(stored_lines(stub_store))
    assert list(one.views) == sorted(row["region"] for row in rows)


@pytest.mark.fault("F27")
def test_when_one_region_is_refused_its_batch_has_no_ledger_and_the_repeated_one_is_whole(
    stub_store, publisher_to, folders
):
    rows = [row_of(folders[region], CUTOFF_S + 60, np.random.default_rng(2)) for region in REGIONS]
    bad = json.dumps({"message": "failed to parse", "line": 3}).encode()
    stub_store.answers.extend([(204, b"", {}), (204, b"", {}), (400, bad, {})])
    sink, published = sink_for(stub_store), []
    publisher = publisher_to(sink, watchers=[published.append])
    with pytest.raises(SinkRefused, match=r"at line 3 of town-\d+ "):
        publisher(Rows(*rows), 0)
    assert isinstance(publisher.take_failure(), SinkRefused)
    assert not any(line.startswith("pipeline") for line in stored_lines(stub_store))
    assert published == []
    publisher(Rows(*rows), 0)
    sink.close()
    assert set(plain_points(rows)) <= set(stored_lines(stub_store))
    assert stub_store.acknowledged[-1].count(b"pipeline,") == len(REGIONS)


@pytest.mark.fault("F30")
def test_a_region_whose_scores_cannot_be_written_fails_the_batch_by_its_name(stub_store, publisher_to, folders):
    rows = [row_of(folders[region], CUTOFF_S + 60, np.random.default_rng(3)) for region in REGIONS]
    wrong = np.frombuffer(rows[7]["scores"]["high"], "<f4").copy()
    wrong[5] = np.nan
    rows[7]["scores"]["high"] = wrong.tobytes()
    sink = sink_for(stub_store)
    with pytest.raises(PipelineError, match=rf"{REGIONS[7]}, cell r000c000, ems: high=nan"):
        publisher_to(sink)(Rows(*rows), 0)
    sink.close()
    assert not any(line.startswith("pipeline") for line in stored_lines(stub_store))
    assert not any(f"region={REGIONS[7]} " in line for line in stored_lines(stub_store))


def test_each_region_has_the_outcomes_of_its_own_closed_horizons(stub_store, publisher_to, folders, tmp_path):
    hour_s = CUTOFF_S // HOUR_S * HOUR_S
    draw, sink, published = np.random.default_rng(5), sink_for(stub_store), []
    publisher = publisher_to(sink, watchers=[published.append])
    publisher(Rows(*(row_of(folders[region], hour_s, draw) for region in REGIONS)), 0)
    forecasts, stub_store.acknowledged[:] = published[0].frames, []
    closed = {
        region: ClosedCounts(
            horizon=number % 3,
            tick_s=hour_s,
            judged_s=hour_s + DAY_S,
            observed=draw.poisson(1, (12, 2)).astype("<i4").tobytes(),
        )
        for number, region in enumerate(REGIONS[::2])
    }
    rows = [
        row_of(folders[region], hour_s + DAY_S + 60, draw, closed=(closed[region],) if region in closed else ())
        for region in REGIONS
    ]
    publisher(Rows(*rows), 1)
    sink.close()
    expected = b"".join(
        closed_points(
            replace(
                Forecast.of(
                    forecasts[region].model,
                    forecasts[region].expected,
                    forecasts[region].usual,
                    load_artifact(str(folders[region])).constants,
                    of_network=not forecasts[region].baseline_only,
                ),
                has_history=(forecasts[region].support > 0).any(axis=1),
            ),
            counts,
            forecasts[region].spec,
        )
        for region, counts in closed.items()
    )
    found = [line for line in stored_lines(stub_store) if line.startswith("outcome")]
    assert Counter(found) == Counter(expected.decode().splitlines())
    assert {f"region={region}" for region in closed} == {line.split(" ")[0].split(",")[-1] for line in found}
