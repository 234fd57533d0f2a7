"""Random streams through real Spark against a recount of the JSON bytes in plain Python."""

from collections import Counter

import numpy as np
import pytest

from streaming.artifacts_in_force import load_artifact
from streaming.flow.rows import FIELDS
from tests.harness.random_world import OUTCOMES, Recount, known_bad, offline
from tests.spark.conftest import MORE_BATCHES


def artifacts_of(job):
    folders = {region.name: next(region.iterdir()) for region in job.artifacts.iterdir()}
    return {region: load_artifact(str(folder)) for region, folder in folders.items()}


@pytest.mark.fault("F14", "F16")
def test_counts_ledger_and_dead_letters_equal_a_recount_and_scores_the_offline_path(undisturbed, world):
    job, (specs, batches) = undisturbed, world
    recount = Recount(job.artifacts, known_bad(specs["riverton"]))
    clock_s, totals = recount.expected.clock_s, recount.expected.ledger
    unspark = offline(batches, artifacts_of(job))
    published = job.with_messages()
    assert len(published) == len(batches)
    for batch, seen, expected in zip(batches, published, unspark, strict=True):
        ledgers = recount.batch(batch)
        with_messages = {region: summary for region, summary in seen.summaries.items() if summary.ledger["consumed"]}
        assert with_messages.keys() == ledgers.keys()
        for region, summary in with_messages.items():
            assert Counter({k: v for k, v in summary.ledger.items() if v}) == ledgers[region]
            assert Counter({k: v for k, v in summary.totals.items() if v}) == totals[region]
            assert summary.ledger["consumed"] == sum(summary.ledger[name] for name in OUTCOMES[1:])
        for region, (features, scores) in expected.items():
            frame = seen.frames[region]
            assert frame.as_of_s == clock_s[region]
            np.testing.assert_array_equal(frame.observed_1h, recount.observed_1h(region))
            np.testing.assert_array_equal(frame.observed_1h, features.observed_1h)
            np.testing.assert_array_equal(frame.support, features.support)
            for name in FIELDS:
                np.testing.assert_array_equal(getattr(frame, name), getattr(scores, name), err_msg=name)
    assert job.letters.kept == recount.expected.refused

    every_outcome = sum(totals.values(), Counter())
    assert all(every_outcome[name] > 10 for name in OUTCOMES)
    assert {"future", "late", "unknown_region", "unknown_category", "outside_grid", "not_json", "person_field"} <= {
        reason for _, reason in recount.expected.refused.values()
    }


def test_a_batch_leaves_no_connection_open(undisturbed):
    """A job runs for months. Spark 4.2.0 did not close the one between state and Python worker (SPARK-58932)."""
    assert undisturbed.opened < MORE_BATCHES / 2
