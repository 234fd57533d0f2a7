"""Why `rebuild` stays: a reset of the checkpoint does not bring back the minutes that a store has lost."""

import pytest

from streaming.flow.ledger import tick_of
from tests.harness.region_bench import NOW, Bench, empty_history, event
from tests.harness.toy import iso

pytestmark = pytest.mark.usefixtures("empty_cache")
MINUTES, AT_ONCE = 12, 4  # a batch after a reset takes what waits, of more than one minute


def frames(folder, spec, publish, *, clock, batches):
    """tick -> features of its last scores. batches: (the host's clock, messages) of each."""
    bench = Bench(folder, clock=clock)
    publish(bench.artifacts, spec, history=empty_history(spec))
    bench.look()
    last = {}
    for at_s, messages in batches:
        features, summary = bench.batch(at_s, *messages)[spec.region]
        if features is not None:
            last[tick_of(summary.as_of_s, spec)] = features
    return last


@pytest.mark.parametrize(("clock", "back"), [("wall", 0), ("event", MINUTES // AT_ONCE)])
def test_a_job_that_was_reset_writes_other_minutes_than_those_that_were_lost(tmp_path, toy, publish, clock, back):
    spec = toy("riverton")
    times = [NOW + minute * spec.tick_s for minute in range(MINUTES)]
    sent = [event(spec, at_s - 20, number=at_s, cell=at_s % 36, received_at=iso(at_s)) for at_s in times]
    live = frames(
        tmp_path / "live",
        spec,
        publish,
        clock=clock,
        batches=[(at_s, [message]) for at_s, message in zip(times, sent, strict=True)],
    )
    hours_later = times[-1] + 6 * 3600
    waiting = [(hours_later + first, sent[first : first + AT_ONCE]) for first in range(0, MINUTES, AT_ONCE)]
    again = frames(tmp_path / "reset", spec, publish, clock=clock, batches=waiting)
    assert len(live) == MINUTES
    assert len(live.keys() & again.keys()) == back
    assert all(again[tick] == live[tick] for tick in live.keys() & again.keys())
