"""An incident is erased by its id within the late limit; of one that is not, a number in a count remains."""

import pytest

from schemas.decode import incident_keys
from schemas.spec import DAYS_KEPT, HOUR_S
from tests.harness.region_bench import MIDDLE, NOW, event

pytestmark = pytest.mark.usefixtures("empty_cache")
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


def test_an_incident_that_is_cancelled_leaves_every_count_and_in_days_its_hash(tmp_path, toy, new_bench):
    spec = toy("riverton")
    bench = new_bench(tmp_path, spec)
    bench.batch(NOW - 2 * HOUR_S, event(spec, NOW - 3 * HOUR_S, number=NUMBER))
    assert counted(bench, spec) == 1
    erased = event(spec, NOW - 3 * HOUR_S, number=NUMBER, revision=1, status="cancelled")
    assert lived(bench, spec, erased) == ((False, True), (False, False))
    assert counted(bench, spec) == 1  # the other one


def test_of_an_incident_that_nobody_cancels_only_a_number_remains(tmp_path, toy, new_bench):
    spec = toy("riverton")
    bench = new_bench(tmp_path, spec)
    assert lived(bench, spec, event(spec, NOW - 60, number=NUMBER)) == ((False, True), (False, False))
    assert counted(bench, spec) == 2
