"""The events of a file are counted in the stream as training counts its rows."""

import numpy as np
import pytest

from models.counting.what_counts import counting
from models.features import FeatureEngine
from models.files.incident_files import read_incidents
from models.files.layouts import LAYOUTS
from models.training.replay import IncidentHistory, Replay
from models.training.train_region import spec_for
from schemas.decode import decode_messages
from schemas.spec import DAY_S
from streaming.rehearse.replay import Mix, messages, parse_when, plan_replay
from streaming.rehearse.sample import SAMPLE
from tests.harness.toy import toy_constants, toy_messages

PER_BATCH, DAYS = 50, 7


@pytest.mark.parametrize("merge", ["none", "repeated_calls"])
def test_a_week_of_events_gives_the_features_that_training_computes_of_the_file(merge):
    table = read_incidents(SAMPLE, LAYOUTS["sample"])
    cutoff_s = parse_when("2017-10-14", table.timezone)
    spec = spec_for(table, region="chicago", cell_m=3000, cutoff_s=cutoff_s, merge=merge)
    engine = FeatureEngine(spec, toy_constants(spec))
    calls = IncidentHistory.of(table, spec, int(table.occurred_s[-1]) + 1).calls
    of_file, streamed = (Replay(IncidentHistory.of(table, spec, cutoff_s)).lead_to(cutoff_s) for _ in range(2))
    plan = plan_replay(table, region="chicago", mix=Mix(), from_s=cutoff_s, to_s=cutoff_s + DAYS * DAY_S)
    row_of, sent = plan.position[plan.subject], list(messages(plan))
    for start in range(0, len(sent), PER_BATCH):
        batch, rows = sent[start : start + PER_BATCH], row_of[start : start + PER_BATCH]
        values, times_ms = [one.value for one in batch], [one.send_ms for one in batch]
        came = decode_messages(toy_messages(values, times_ms), {"chicago": spec}).incidents["chicago"]
        as_of_s = max(int(came.received_ms.max()) // 1000, streamed.as_of_s)
        streamed.apply(came, as_of_s)
        of_file.apply(calls.select(np.flatnonzero(np.isin(calls.kafka_offset, rows))), as_of_s)
        seen, wanted = engine.compute(streamed), engine.compute(of_file)
        for name in ("values", "observed_1h", "support"):
            np.testing.assert_array_equal(getattr(seen, name), getattr(wanted, name))
    is_merged = len(streamed.registry) > counting(streamed.registry.records()).sum()
    assert (len(sent) > 3000, is_merged) == (True, merge == "repeated_calls")
