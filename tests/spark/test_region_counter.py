"""The stateful stage with a simulated state store and clock: no JVM, but Spark's own harness for processors.

Silent and new regions, merged calls against the recount of the fault tests, a clock that steps, erased incidents.
"""

import json

import numpy as np
import pytest
import torch

from models.features import FeatureEngine
from models.scoring import score
from schemas.decode import incident_keys
from schemas.errors import SpecMismatch
from schemas.incidents import unpack_rejections
from schemas.spec import DAYS_KEPT, HOUR_S
from streaming.artifacts_in_force import load_artifact
from streaming.flow import count
from streaming.flow.rows import UNASSIGNED
from tests.faults.oracle import Expected, Region
from tests.harness.region_bench import MIDDLE, NOW, Bench, empty_history, event
from tests.harness.toy import toy_network

pytestmark = pytest.mark.usefixtures("empty_cache")
DAY_S = 86_400


@pytest.fixture
def spec(toy):
    return toy("riverton")


@pytest.fixture
def bench(tmp_path, spec, new_bench):
    return new_bench(tmp_path, spec)


def scores_of(artifact, features):
    shape = (artifact.spec.grid.cells, len(artifact.spec.categories), len(artifact.spec.features))
    return score(np.frombuffer(features, "<f4").reshape(shape), artifact.network(), artifact.constants, artifact.spec)


def exciting_network(spec):
    """A network that adds log(1 + incidents of the cell's newest hour), squashed, and nothing to a quiet cell."""
    network = toy_network(spec)
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    with torch.no_grad():
        network.enter.weight[0, spec.features.index("cell_1h")] = 1
        network.middle.weight[0, 0] = 1
        network.leave.weight[:, 0] = 1
    return network


@pytest.mark.fault("F21")
def test_a_silent_region_is_scored_once_a_tick_and_falls_back_to_the_baseline(tmp_path, toy, publish):
    spec = toy("riverton")
    bench = Bench(tmp_path)
    folder = publish(bench.artifacts, spec, network=exciting_network(spec), history=empty_history(spec))
    bench.look()
    artifact = load_artifact(str(folder))
    features, summary = bench.batch(NOW, event(spec, NOW - 10))["riverton"]
    assert summary.ledger["counted"] == 1
    excited = scores_of(artifact, features)
    assert (excited.expected[MIDDLE, 0] > 1.5 * excited.usual[MIDDLE, 0]).all()
    assert (excited.risk[MIDDLE, 0] > excited.risk[MIDDLE, 1]).all()

    assert bench.batch(NOW + 20)["riverton"][0] is None  # the same tick, nothing new: nothing to score
    by_tick = {}
    for at_s in range(NOW + spec.tick_s, NOW + 4200, spec.tick_s):
        features, summary = bench.batch(at_s)["riverton"]
        assert summary.as_of_s == at_s
        assert summary.ledger["consumed"] == 0
        by_tick[at_s] = scores_of(artifact, features)
    still_in_the_hour = by_tick[NOW + 3300]
    assert (still_in_the_hour.expected[MIDDLE, 0] > still_in_the_hour.usual[MIDDLE, 0]).all()
    calm = by_tick[NOW + 4140]
    np.testing.assert_array_equal(calm.expected, calm.usual)


def test_incidents_that_aged_out_leave_no_trace_at_all(tmp_path, toy, new_bench):
    spec = toy("riverton")
    with_incidents, without = new_bench(tmp_path / "a", spec), new_bench(tmp_path / "b", spec)
    first = [event(spec, NOW - n, number=n, cell=n % 36, category=("fire", "ems")[n % 2]) for n in range(300)]
    with_incidents.batch(NOW, *first)
    without.batch(NOW)
    differences = []
    for days in (1, 20, 100, 399, 401):
        at_s = NOW + days * DAY_S
        seen = np.frombuffer(with_incidents.batch(at_s)["riverton"][0], "<f4")
        unseen = np.frombuffer(without.batch(at_s)["riverton"][0], "<f4")
        differences.append(int((seen != unseen).sum()))
    assert min(differences[:-1]) > 0
    assert differences[-1] == 0


def test_a_new_region_starts_from_its_artifacts_history(tmp_path, toy, publish):
    spec = toy("lakeside")
    bench = Bench(tmp_path, clock="event")
    history = empty_history(spec)
    history.levels["pane"].add(np.full(5, NOW - 4000), np.arange(5), 1)
    history.levels["day"].add(np.full(50, NOW - 9 * DAY_S), np.arange(50) % 7, 1)
    folder = publish(bench.artifacts, spec, history=history)
    assert bench.look()[0]["lakeside"].folder == str(folder)
    artifact = load_artifact(str(folder))
    features, summary = bench.batch(NOW)["lakeside"]
    assert summary.as_of_s == NOW - 3600
    expected = FeatureEngine(artifact.spec, artifact.constants).compute(history)
    assert features == expected.values.tobytes()
    assert summary.observed_1h == expected.observed_1h.astype("<i4").tobytes()
    assert sum(np.frombuffer(summary.observed_1h, "<i4")) == 5


def test_what_the_first_history_holds_is_not_counted_again_and_a_newer_artifact_changes_nothing_in_that(
    tmp_path, toy, publish
):
    spec, first_end_s = toy("riverton"), NOW - 3600
    bench = Bench(tmp_path)
    for number, end_s in enumerate((first_end_s, NOW - 60)):
        history = empty_history(spec, end_s)
        history.levels["day"].add(np.full(50, NOW - 9 * DAY_S), np.arange(50) % 7, 1)
        folder = publish(bench.artifacts, spec, created=f"2026010{number + 1}T000000Z", history=history)
        assert bench.look()[0]["riverton"].folder == str(folder)
        count._LIVE.clear()  # the second time it is restored from what is stored
        told_s = (first_end_s - 1, first_end_s, NOW - 100)
        values = [event(spec, at_s, number=10 * number + n) for n, at_s in enumerate(told_s)]
        _, summary = bench.batch(NOW + 60 * number, *values)["riverton"]
        assert (summary.ledger["excluded"], summary.ledger["counted"]) == (1, 2)
        assert sum(np.frombuffer(summary.observed_1h, "<i4")) == number + 1  # the other one is an hour old


@pytest.mark.fault("F29")
def test_stored_counts_of_another_spec_are_not_touched(tmp_path, toy, publish):
    bench = Bench(tmp_path)
    for number, spec in enumerate((toy("riverton"), toy("riverton", categories=("ems", "fire")))):
        publish(bench.artifacts, spec, created=f"2026010{number + 1}T000000Z", history=empty_history(spec))
        bench.roster.unlink(missing_ok=True)  # as if someone had removed it: the counter has its own check
        bench.look()
        if number == 0:
            bench.batch(NOW)
            stored = bench.stored("riverton")
            count._LIVE.clear()
        else:
            with pytest.raises(SpecMismatch, match="new checkpoint folder"):
                bench.batch(NOW + 60)
    assert bench.stored("riverton") == stored


def test_messages_of_no_region_have_a_ledger_of_their_own(spec, bench):
    values = [b"{", None, event(spec, NOW, region="atlantis"), event(spec, NOW - 1)]
    for times in (1, 2):
        results = bench.batch(NOW + times, *values)
        features, summary = results[UNASSIGNED]
        assert features is None
        refused = dict.fromkeys(("rejected_not_json", "rejected_null_value", "rejected_unknown_region"), 1)
        accepted = dict.fromkeys(("counted", "corrected", "duplicate", "repeated", "excluded"), 0)
        assert summary.ledger == {"consumed": 3, "rejected": 3, **accepted, **refused}
        assert summary.totals["consumed"] == 3 * times
        offsets = [refusal.kafka_offset for refusal in unpack_rejections(summary.rejections)]
        assert offsets == [4 * times - 4, 4 * times - 3, 4 * times - 2]
        assert results["riverton"][1].totals["consumed"] == times


def of_no_region(bench, at_s, *values):
    """(clock, messages so far) of the ledger of no region; None where the batch has none."""
    _, summary = bench.batch(at_s, *values).get(UNASSIGNED, (None, None))
    return summary and (summary.as_of_s, summary.totals["consumed"])


def test_every_minute_has_a_ledger_of_no_region_also_without_messages(bench):
    """Else the first of a burst would be no step from anything, and no page and no alert would see it."""
    assert of_no_region(bench, NOW) == (NOW, 0)
    assert of_no_region(bench, NOW + 1) is None
    assert of_no_region(bench, NOW + 2, b"{") == (NOW + 2, 1)
    stored = bench.stored(UNASSIGNED)
    assert of_no_region(bench, NOW + 3) is None
    assert bench.stored(UNASSIGNED) == stored
    assert of_no_region(bench, NOW + 60) == (NOW + 60, 1)


def test_on_the_events_clock_only_messages_of_no_region_move_their_ledger(tmp_path, toy, new_bench):
    bench = new_bench(tmp_path, toy("riverton"), clock="event")
    asked = ((0,), (1, b"{"), (600,))
    assert [of_no_region(bench, NOW + after_s, *values) for after_s, *values in asked] == [None, (NOW + 1, 1), None]


@pytest.mark.fault("F41")
def test_after_a_start_the_ledger_of_no_region_replaces_that_of_a_batch_that_was_stored_but_not_committed(
    tmp_path, toy, new_bench
):
    """A repeated batch may have none of them any more: a region that has joined since takes its messages."""
    bench = new_bench(tmp_path, toy("riverton"), clock="event")
    bench.batch(NOW + 1, b"{")
    committed = bench.stored(UNASSIGNED)
    count._REPORTED.clear()
    _, summary = bench.batch(NOW + 2)[UNASSIGNED]
    assert (summary.as_of_s, summary.ledger["consumed"], summary.totals["consumed"]) == (NOW + 1, 0, 1)
    assert bench.stored(UNASSIGNED) == committed
    assert UNASSIGNED not in bench.batch(NOW + 3)


def calls(spec, batches=60):
    """Batches of calls from few places within some 400 m, corrected, cancelled and moved, at a clock that creeps."""
    draw = np.random.default_rng(8)
    at_s, (lat, lon) = NOW, (column[14] for column in spec.grid.centres())
    for number in range(batches):
        at_s += int(draw.choice([1, 60, 301, 3600], p=[0.3, 0.4, 0.2, 0.1]))
        yield (
            at_s,
            [
                event(
                    spec,
                    at_s - int(draw.integers(0, 1500)),
                    number=int(draw.integers(0, 80)),
                    lat=float(lat + 0.001 * draw.integers(0, 5)),
                    lon=float(lon),
                    category=("fire", "fire", "ems")[int(draw.integers(0, 3))],
                    revision=number,
                    status=("open", "open", "open", "cancelled")[int(draw.integers(0, 4))],
                )
                for _ in range(int(draw.choice([0, 1, 6])))
            ],
        )


def test_ledger_and_counts_equal_the_recount_whatever_a_worker_has_cached(tmp_path, toy, new_bench):
    spec = toy("riverton", merge="repeated_calls")
    bench = new_bench(tmp_path, spec)
    [manifest] = bench.artifacts.glob("*/*/manifest.json")
    region = Region.of(json.loads(manifest.read_bytes()))
    expected = Expected({region.name: region.start_s})
    for number, (at_s, values) in enumerate(calls(spec)):
        if number % 3 == 0:
            count._LIVE.clear()
        messages = [(0, bench.offset + place, value, at_s * 1000) for place, value in enumerate(values)]
        expected.take(messages, {region.name: region}, now_s=at_s)
        _, summary = bench.batch(at_s, *values)["riverton"]
        totals = {name: total for name, total in summary.totals.items() if total}
        assert totals == {name: total for name, total in expected.ledger["riverton"].items() if total}
        in_hours = bench.counts(spec).levels["hour"].sum_of_newest(24).reshape(spec.grid.cells, -1).sum(axis=0).tolist()
        held = expected.moment(region).counting
        assert in_hours == [sum(kind == name for _, kind, _ in held) for name in spec.categories]
    assert min(totals[name] for name in ("counted", "corrected", "repeated")) > 5


@pytest.mark.fault("F20")
def test_a_clock_that_steps_an_hour_back_and_ahead_moves_no_region_back(spec, bench):
    host = [NOW, NOW - HOUR_S, NOW - HOUR_S + 60, NOW + HOUR_S, NOW + 120, NOW + HOUR_S + 60]
    clocks, totals = [], None
    for number, at_s in enumerate(host):
        bench.tester._currentProcessingTimeMs = (
            at_s * 1000
        )  # Spark's own test clock refuses to go back; a host does not
        _, summary = bench.batch(at_s, event(spec, at_s - 30, cell=MIDDLE, number=number))["riverton"]
        clocks.append(summary.as_of_s)
        totals = summary.totals
    assert clocks == [NOW, NOW, NOW, NOW + HOUR_S, NOW + HOUR_S, NOW + HOUR_S + 60]
    assert totals["consumed"] == totals["counted"] == len(host)
    assert totals["rejected"] == 0


@pytest.mark.fault("F20")
def test_events_of_a_right_clock_are_refused_with_their_place_while_the_hosts_is_an_hour_behind(spec, bench):
    bench.batch(NOW, event(spec, NOW - 30, number=1))
    behind_s = NOW - HOUR_S
    bench.tester._currentProcessingTimeMs = behind_s * 1000
    _, summary = bench.batch(behind_s, event(spec, NOW - 20, number=2), sent_s=NOW)["riverton"]
    assert summary.as_of_s == NOW
    assert {name: count for name, count in summary.totals.items() if count} == {
        "consumed": 2,
        "counted": 1,
        "rejected": 1,
        "rejected_future": 1,
    }
    (refused,) = unpack_rejections(summary.rejections)
    assert (refused.reason, refused.kafka_offset) == ("future", 1)


NUMBER = "zebrafinch7731"
ID = f"i-{NUMBER}"
TRACES = (ID.encode(), incident_keys([ID]).tobytes())  # the id itself, and the hash that stands for it


def is_named(bench, spec):
    """Whether the id, and whether its hash, is anywhere in what the store holds of the region."""
    (head,), blobs = bench.stored(spec.region)
    everything = bytes(head) + b"".join(name.encode() + bytes(blob) for (name,), (blob,) in blobs.items())
    return tuple(trace in everything for trace in TRACES)


def counted(bench, spec):
    """Incidents of the cell and category on all days."""
    state = bench.counts(spec)
    return int(state.shape(state.levels["day"].sum_of_newest(DAYS_KEPT))[MIDDLE, 0])


def lived(bench, spec, *messages):
    """What is named at once, and after seven days of a batch every half an hour with an incident elsewhere."""
    bench.batch(NOW, event(spec, NOW - 60, number="other"), *messages)
    at_once = is_named(bench, spec)
    for number in range(1, 7 * 48):
        at_s = NOW + number * HOUR_S // 2
        bench.batch(at_s, event(spec, at_s - 60, cell=0, number=f"later-{number}"))
    return at_once, is_named(bench, spec)


@pytest.mark.parametrize("is_cancelled", [True, False])
def test_an_incident_leaves_every_count_when_it_is_cancelled_and_else_only_a_number(is_cancelled, spec, bench):
    bench.batch(NOW - 2 * HOUR_S, event(spec, NOW - 3 * HOUR_S, number=NUMBER))
    assert counted(bench, spec) == 1
    erased = event(spec, NOW - 3 * HOUR_S, number=NUMBER, revision=1, status="cancelled")
    assert lived(bench, spec, *[erased] * is_cancelled) == ((False, True), (False, False))
    assert counted(bench, spec) == (1 if is_cancelled else 2)  # the other one
