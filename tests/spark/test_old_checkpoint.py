"""A checkpoint that an older version wrote is resumed: the next batches give what that version stored for them."""

import json
import shutil

from streaming.disk.spark_files import last_commit
from tests.harness.old_checkpoint import unpack_old_checkpoint
from tests.harness.points import of_the_events, stored_points

NEWER = ("data_end_s", "challenger", "repeated")  # fields that the older version did not write


def test_a_checkpoint_of_an_older_version_goes_on_where_that_version_would_have(new_job):
    job = new_job("old")
    unpack_old_checkpoint(job.folder)
    totals = json.loads((job.folder / "totals.json").read_bytes())
    resumed_after = last_commit(job.settings.checkpoint)[0]

    shutil.move(job.folder / "next", job.folder / "input")
    with job.running():
        job.wait_until(lambda: job.consumed() == sum(ledger["consumed"] for ledger in totals.values()))

    assert [published.batch_id for published in job.with_messages()] == [resumed_after + 1, resumed_after + 2]
    newest = {region: summary.totals for batch in job.published for region, summary in batch.summaries.items()}
    assert newest == {region: {**ledger, "repeated": 0} for region, ledger in totals.items()}
    expected = stored_points([(job.folder / "stored.lp").read_bytes()])
    found = of_the_events(stored_points(job.sink.writes))
    by_category = {
        point: {name: value for name, value in fields.items() if name not in NEWER}
        for point, fields in found.items()
        if ",category=all," not in point[0]
    }
    assert by_category == of_the_events(expected)  # to the last digit that is stored; that version had no series of all
    assert len(by_category) < len(found)
